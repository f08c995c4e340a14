//! What was granted and is no more: a withdrawn grant, person or device ends the live shell and its whole connection.
//!
//! The promise is two seconds from the policy's arrival at the agent. Here the end is waited for generously and its time is
//! printed; the benches hold the line.

#[path = "parts/policies.rs"]
mod policies;

use belay_tests::{
    Daemon, Person, Said, Terminal, World,
    log::Log,
    run,
    wait::{GENEROUS, until},
};
use std::{process::Command, time::Instant};

/// A person with a shell on a terminal and a second channel on the same connection.
struct Live {
    shell: Terminal,
    second: Daemon,
}

fn open(world: &World, person: &Person) -> Live {
    let control = format!("ControlPath={}", world.dir().join("live").display());
    let mut ssh = person.ssh_command();
    ssh.args(["-tt", "-o", "ControlMaster=yes", "-o", &control, "web1.acme", "echo begun; exec cat"]);
    let shell = Terminal::open(&ssh, 80, 24).unwrap();
    shell.see("begun").unwrap();
    let mut second: Command = person.ssh_command();
    second.args(["-o", &control, "web1.acme", "echo second; exec sleep 600"]);
    let log = Log::default();
    let second = Daemon::start("second", second, log.clone(), &world.dir().join("logs/second.log")).unwrap();
    log.wait("second", 0, GENEROUS, |line| line == "second").unwrap();
    Live { shell, second }
}

/// Both end by themselves; the terminal shows `reason`.
fn must_end(world: &World, live: Live, what: &str, reason: &str, mark: usize) {
    let arrived = world
        .log("web1.acme")
        .wait("a new policy", mark, GENEROUS, |line| line.contains("policy") && line.contains("version="));
    let begun = Instant::now();
    arrived.unwrap();
    let rest = live.shell.see(reason).unwrap();
    println!("{rest}");
    let status = live.shell.ended(GENEROUS).unwrap();
    let shell_after = begun.elapsed();
    live.second.ended(GENEROUS).unwrap();
    println!(
        "measured: {what}: shell ended {} ms after the policy, its connection after {} ms",
        shell_after.as_millis(),
        begun.elapsed().as_millis()
    );
    assert!(!status.success(), "the shell ended as if all were well");
}

#[test]
fn a_removed_person_is_out_at_once() {
    let world = World::small();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    let live = open(&world, &guest);
    let mark = world.log("web1.acme").mark();
    world.remove_person("acme", "guest").unwrap();
    must_end(&world, live, "person", "this session was ended: ", mark);
    guest.hang_up();
    let said = guest.ssh("web1.acme", "true");
    assert!(!said.status.success(), "{}", said.story());
    // The device keeps an end before the client hears it; the gateway has it a moment later.
    until("both ends to say why", GENEROUS, || {
        let entries = world.person("tech").log("acme");
        let ended = entries.iter().filter(|entry| entry["type"] == "session.ended" && entry["reason"].is_string());
        anyhow::ensure!(ended.count() >= 2, "{entries:#?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_withdrawn_grant_ends_the_shell_and_its_connection_and_leaves_the_person() {
    let world = World::small();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    let live = open(&world, &guest);
    let mark = world.log("web1.acme").mark();
    let tech = world.person("tech");
    let said = push_change(&world, &tech, "acme", |text| {
        // The guest's grant is the last one; it becomes one for another device.
        let (before, grant) = text.rsplit_once("[[grants]]").unwrap();
        assert!(grant.contains("guest"), "{text}");
        format!("{before}[[grants]]{}", grant.replace("on = [\"*\"]", "on = [\"somewhere-else\"]"))
    });
    said.must();
    must_end(&world, live, "grant", "no grant lets guest reach web1.acme", mark);
    guest.ssh("web1.acme", "true").must_refuse(255, &["no grant lets guest reach web1.acme"]);
}

#[test]
fn a_narrower_grant_ends_what_it_no_longer_holds_and_nothing_else() {
    let world = World::small();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    let tech = world.person("tech");
    let stays = open(&world, &tech);
    let mut ssh = guest.ssh_command();
    ssh.args(["-tt", "web1.acme", "echo begun; exec cat"]);
    let goes = Terminal::open(&ssh, 80, 24).unwrap();
    goes.see("begun").unwrap();
    push_change(&world, &tech, "acme", |text| {
        let (before, grant) = text.rsplit_once("[[grants]]").unwrap();
        format!("{before}[[grants]]{}", grant.replace("do = [\"shell\"]", "do = [\"files\"]"))
    })
    .must();
    goes.see("no grant gives guest `shell` on web1.acme, only files").unwrap();
    goes.ended(GENEROUS).unwrap();
    let mut shell = stays.shell;
    shell.keys("still here\n").unwrap();
    shell.see("still here").unwrap();
}

#[test]
fn a_revoked_device_serves_nobody_any_more() {
    let world = World::small();
    let tech = world.person("tech");
    let live = open(&world, &tech);
    let mark = world.log("web1.acme").mark();
    let approved = tech.log("acme").into_iter().find(|entry| entry["type"] == "device.approved").unwrap();
    let serial = approved["serial"].as_u64().unwrap();
    push_change(&world, &tech, "acme", |text| {
        let revoked = text.replace("revoked = []", &format!("revoked = [{serial}]"));
        assert_ne!(revoked, text);
        revoked
    })
    .must();
    must_end(&world, live, "device", "was revoked", mark);
    until("the device to be turned away", GENEROUS, || {
        let said = run(tech.ssh_command().args(["web1.acme", "true"]), b"")?;
        anyhow::ensure!(!said.status.success(), "{}", said.story());
        Ok(())
    })
    .unwrap();
}

/// Pushes the newest policy with one change, signed by the tenant's root key.
fn push_change(world: &World, person: &Person, tenant: &str, change: impl FnOnce(String) -> String) -> Said {
    let text = change(policies::next(&policies::newest(person, tenant)));
    person.gw_with_input(&format!("policy push {tenant}"), &policies::signed(&text, &world.root_key(tenant)))
}
