//! The conditions of a grant, each through the real `ssh`: `on` and `except` with names and labels, several accounts, hours.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/granted.rs"]
mod granted;
#[path = "parts/policies.rs"]
mod policies;

use belay_certs::{Timestamp, time::SECOND};
use belay_tests::{Person, Terminal, World, run, wait::GENEROUS};
use std::time::SystemTime;

const REFUSED: i32 = 254;
/// The gateway's own no, before anything reaches the device.
const NO_WAY: i32 = 255;

/// web1 and srv1, which is labelled `server`, and a guest with a shell on both.
fn world() -> (World, Person) {
    let world = World::small();
    let token = world.dir().join("labelled.token");
    world.make_token("acme", &token, &["--label", "server,site-a"]).unwrap();
    world.join("srv1.acme", &token).unwrap().must();
    world.start_agent("srv1.acme").unwrap();
    world.approve("acme", "srv1").unwrap();
    world.until_online("srv1.acme").unwrap();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    (world, guest)
}

/// Replaces a line of the guest's grant.
fn in_grant(text: &str, from: &str, to: &str) -> String {
    let at = text.find("who = [\"guest\"]").unwrap();
    let (before, grant) = text.split_at(at);
    before.to_owned() + &grant.replacen(from, to, 1)
}

#[test]
fn names_and_labels_say_which_devices_a_grant_reaches() {
    let (world, guest) = world();
    let reaches = |device: &str| guest.ssh(device, "true");
    let cases: [(&str, bool, bool); 7] = [
        ("on = [\"*\"]", true, true),
        ("on = [\"tag:server\"]", false, true),
        ("on = [\"web*\"]", true, false),
        ("on = [\"*\"]\nexcept = [\"srv1\"]", true, false),
        ("on = [\"*\"]\nexcept = [\"tag:site-a\"]", true, false),
        ("on = [\"tag:server\", \"web1\"]\nexcept = [\"tag:Server\", \"db*\"]", true, true),
        ("on = [\"tag:other\"]", false, false),
    ];
    let mut held = cases[0].0;
    for (on, web1, srv1) in cases {
        if on != held {
            changed::change(&world, "srv1.acme", |text| in_grant(text, held, on));
            held = on;
        }
        for (device, granted) in [("web1.acme", web1), ("srv1.acme", srv1)] {
            let said = reaches(device);
            match granted {
                true => drop(said.must()),
                false => {
                    let sentence = format!("no grant lets guest reach {device}");
                    said.must_refuse(NO_WAY, &[&sentence]);
                }
            }
            explained(&world, device, granted);
        }
    }
}

/// `belay who` says the same of the guest as what happens.
#[track_caller]
fn explained(world: &World, device: &str, granted: bool) {
    let said = world.person("tech").belay(["who", device, "--json"]).unwrap().must().json();
    let of_guest =
        |grant: &&serde_json::Value| grant["people"].as_array().unwrap().iter().any(|p| p["person"] == "guest");
    let line = said["grants"].as_array().unwrap().iter().find(of_guest).unwrap().clone();
    assert_eq!(line["counts"], granted, "{device}: {line:#}");
}

#[test]
fn a_grant_for_several_accounts_gives_each_of_them_and_no_other() {
    let (world, guest) = world();
    let own = world.account().to_owned();
    changed::change(&world, "web1.acme", |text| {
        in_grant(text, &format!("as = [\"{own}\"]"), &format!("as = [\"{own}\", \"nobody\"]"))
    });
    assert_eq!(guest.ssh("web1.acme", "id -un").must().out().trim(), own);
    guest.ssh("mail@web1.acme", "id -un").must_refuse(REFUSED, &[&format!("gives {own}, nobody"), "mail"]);
    // `nobody` has no login: its own shell says so, after the session was opened as it.
    let said = guest.ssh("nobody@web1.acme", "id -un");
    assert!(!said.err().contains("is not granted"), "{}", said.story());
    let entries = world.person("tech").log("acme");
    let of = |kind: &str, account: &str| {
        entries.iter().any(|e| e["type"] == kind && e["person"] == "guest" && e["account"] == account)
    };
    assert!(of("session.opened", &own) && of("session.refused", "mail"), "{entries:#?}");
    assert!(own != "root" || of("session.opened", "nobody"), "{entries:#?}");
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// `HH:MM` in UTC, so many minutes from now.
fn clock(minutes: i64) -> String {
    now().plus(minutes * 60 * SECOND).to_string()[11..16].to_owned()
}

fn daily(from: i64, to: i64) -> String {
    format!("hours = \"Mon-Sun {}-{} UTC\"", clock(from), clock(to))
}

fn live(guest: &Person) -> Terminal {
    let mut ssh = guest.ssh_command();
    ssh.args(["-tt", "--", "web1.acme", "echo begun; exec cat"]);
    let shell = Terminal::open(&ssh, 80, 24).unwrap();
    shell.see("begun").unwrap();
    shell
}

#[test]
fn outside_its_hours_a_grant_gives_nothing_and_what_lives_ends() {
    let (world, guest) = world();
    let inside = daily(-60, 60);
    changed::change(&world, "web1.acme", |text| granted::add_to_grant(text, "guest", &inside));
    guest.ssh("web1.acme", "true").must();
    let shell = live(&guest);
    let later = daily(120, 180);
    changed::change(&world, "web1.acme", |text| text.replace(&inside, &later));
    shell.see("this session was ended: the grant at line").unwrap();
    shell.see("counts only at Mon-Sun").unwrap();
    shell.ended(GENEROUS).unwrap();
    let mark = world.dir().join("ran");
    guest.ssh("web1.acme", &format!("touch {}", mark.display())).must_refuse(REFUSED, &["counts only at Mon-Sun"]);
    assert!(!mark.exists());
    // The person still has a grant: what needs no device is answered, and `who` says why nothing else is.
    let said = run(guest.belay_command().unwrap().args(["who", "web1.acme"]), b"").unwrap().must();
    assert!(said.out().contains("no, outside hours") && said.out().contains("now is outside"), "{}", said.story());
}

#[test]
fn the_end_of_the_hours_ends_a_session_without_anybody_doing_anything() {
    if std::env::var_os("BELAY_LONG").is_none() {
        println!("skipped: waits for the end of a minute, under BELAY_LONG=1");
        return;
    }
    let (world, guest) = world();
    let window = daily(-60, 2);
    let end = (now().micros() / (60 * SECOND) + 2) * 60 * SECOND;
    changed::change(&world, "web1.acme", |text| granted::add_to_grant(text, "guest", &window));
    let shell = live(&guest);
    // Up to two minutes, and one look has one.
    let see = || shell.see("this session was ended: the grant at line");
    see().or_else(|_| see()).unwrap();
    let late = now().micros() - end;
    println!("measured: the session ended {} ms after its hours", late / 1000);
    assert!(late >= -SECOND, "ended before its hours did");
    shell.ended(GENEROUS).unwrap();
}
