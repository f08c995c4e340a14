//! A device's life after its approval: another name, other labels, another machine in its place, a new device CA, the end;
//! and a tenant whose root keys are lost.

#[path = "hacked/impostor.rs"]
mod impostor;

use belay_certs::device::DeviceRecord;
use belay_tests::{
    Person, Said, Terminal, World,
    programs::programs,
    run,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// ssh's own status, for a connection that did not come about.
const NO_CONNECTION: i32 = 255;

fn ca(world: &World) -> PathBuf {
    world.tenant_dir("acme").join("device-ca")
}

fn device(world: &World, words: &[&str]) -> Said {
    let tech = world.person("tech");
    run(tech.belay_command().unwrap().arg("device").args(words).arg("--yes"), b"").unwrap()
}

/// The serial of the record that a device's agent holds.
fn serial(world: &World, device: &str) -> u64 {
    let kept = fs::read(world.agent_dir(device).join("record.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    DeviceRecord::parse(kept["record"].as_str().unwrap().as_bytes()).unwrap().serial
}

/// Waits until a command on the device succeeds.
fn serves(tech: &Person, name: &str) {
    until(&format!("{name} to serve"), GENEROUS, || {
        run(tech.ssh_command().args(["--", name, "true"]), b"")?.succeeded().map(drop)
    })
    .unwrap();
}

/// The whole log, verified.
fn events(world: &World) -> Vec<Value> {
    let tech = world.person("tech");
    let archive = world.dir().join("acme.tar");
    let said = tech.gw("log export acme").must();
    fs::write(&archive, &said.stdout).unwrap();
    tech.belay(["log", "verify", "acme", "--export", archive.to_str().unwrap()]).unwrap().must();
    belay_tests::export::events(&belay_tests::export::unpack(&said.stdout).unwrap())
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// A policy with one line changed, signed and pushed by the owner.
fn edit_policy(world: &World, from: &str, to: &str) {
    let tech = world.person("tech");
    let text = tech.belay(["policy", "show", "acme"]).unwrap().must().out();
    let version = text.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    let version: u64 = version.split_whitespace().next().unwrap().parse().unwrap();
    let digest = belay_certs::Digest::of(text.as_bytes());
    let mut next: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("previous = ")) {
        match line.starts_with("version = ") {
            true => next.extend([format!("version = {}", version + 1), format!("previous = \"{digest}\"")]),
            false => next.push(line.to_owned()),
        }
    }
    let changed = next.join("\n").replace(from, to) + "\n";
    assert!(changed.contains(to), "{changed}");
    let file = world.dir().join(format!("acme-{}.toml", version + 1));
    fs::write(&file, changed).unwrap();
    let file = file.to_str().unwrap();
    let root = world.root_key("acme");
    tech.belay(["policy", "sign", file, "--yes", "--key", root.to_str().unwrap()]).unwrap().must();
    tech.belay(["policy", "push", file]).unwrap().must();
}

#[test]
fn a_renamed_device_answers_to_its_new_name_only_and_loses_no_session_and_no_word() {
    let world = World::small();
    let tech = world.person("tech");
    let mut shell = tech.ssh_command();
    shell.args(["-tt", "--", "web1.acme", "sh -c 'echo begun; read line; echo heard $line'"]);
    let mut shell = Terminal::open(&shell, 80, 24).unwrap();
    shell.see("begun").unwrap();
    let before = serial(&world, "web1.acme");
    // What the agent says while the gateway is away waits in its outbox under the old name.
    let ca = ca(&world);
    let said = device(&world, &["rename", "web1.acme", "www.acme", "--ca", ca.to_str().unwrap()]).must();
    assert!(said.out().contains("web1.acme") && said.out().contains("www.acme approved"), "{}", said.story());
    serves(&tech, "www.acme");
    assert!(serial(&world, "web1.acme") > before);
    // The session of before goes on, and its end is told under the new name.
    shell.keys("still here\r").unwrap();
    shell.see("heard still here").unwrap();
    assert!(shell.ended(GENEROUS).unwrap().success());
    tech.ssh("web1.acme", "true").must_refuse(NO_CONNECTION, &["web1.acme is called www.acme now"]);
    let names: Vec<Value> = tech.belay(["devices", "--json"]).unwrap().must().json().as_array().unwrap().clone();
    assert_eq!(names.iter().map(|row| &row["name"]).collect::<Vec<_>>(), ["www.acme"]);
    until("the session's end", GENEROUS, || {
        let sessions = tech.gw("sessions --tenant acme --json").must().json();
        let open = sessions.as_array().unwrap().iter().filter(|row| row["ended"].is_null()).count();
        anyhow::ensure!(open == 0, "{sessions:#}");
        Ok(())
    })
    .unwrap();
    let events = events(&world);
    let approved = of_type(&events, "device.approved");
    assert_eq!((approved.len(), &approved[1]["device"], &approved[1]["formerly"]), (2, &"www".into(), &"web1".into()));
}

#[test]
fn what_was_said_under_the_old_name_and_not_delivered_is_delivered_after_the_renaming() {
    let world = World::small();
    let tech = world.person("tech");
    let mut command = tech.ssh_command();
    command.args(["-tt", "--", "web1.acme", "sh -c 'echo begun; read line'"]);
    let shell = Terminal::open(&command, 80, 24).unwrap();
    shell.see("begun").unwrap();
    // Killed: at its next start it says that the session was cut off. It starts while no gateway is there to hear it.
    world.kill_agent("web1.acme");
    world.kill_gateway();
    drop(shell);
    world.start_agent("web1.acme").unwrap();
    world.log("web1.acme").wait("a try", 0, GENEROUS, |line| line.contains("the agent starts")).unwrap();
    world.stop_agent("web1.acme").unwrap();
    world.start_gateway().unwrap();
    let ca = ca(&world);
    device(&world, &["rename", "web1.acme", "www.acme", "--ca", ca.to_str().unwrap()]).must();
    world.start_agent("web1.acme").unwrap();
    serves(&tech, "www.acme");
    let events = events(&world);
    let ended = of_type(&events, "session.ended");
    assert_eq!(ended[0]["device"], "web1", "{ended:#?}");
    assert_eq!(of_type(&events, "statement.rejected").len(), 0);
    let opened = of_type(&events, "session.opened");
    assert_eq!(opened.last().unwrap()["device"], "www");
}

#[test]
fn labels_are_changed_and_the_agent_goes_by_them_at_once() {
    let world = World::small();
    let ca = ca(&world);
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--on", "tag:front", "--as", world.account()]);
    let guest = guest.unwrap();
    guest.ssh("web1.acme", "true").must_refuse(NO_CONNECTION, &["web1.acme"]);
    device(&world, &["relabel", "web1.acme", "--label", "front", "--ca", ca.to_str().unwrap()]).must();
    serves(&guest, "web1.acme");
    device(&world, &["relabel", "web1.acme", "--ca", ca.to_str().unwrap()]).must();
    until("the grant to be gone", GENEROUS, || {
        let said = run(guest.ssh_command().args(["--", "web1.acme", "true"]), b"")?;
        anyhow::ensure!(said.code() != Some(0), "{}", said.story());
        Ok(())
    })
    .unwrap();
    // Somebody without `enrol` changes nothing.
    let mut other = guest.belay_command().unwrap();
    other.args(["device", "relabel", "web1.acme", "--label", "front", "--yes", "--ca"]).arg(&ca);
    run(&mut other, b"").unwrap().must_refuse(1, &["enrol"]);
}

#[test]
fn new_hardware_takes_a_name_only_when_the_approver_says_so_and_the_old_machine_is_out() {
    let world = World::small();
    let tech = world.person("tech");
    let token = world.dir().join("again.token");
    world.make_token("acme", &token, &["--name", "web1"]).unwrap();
    let state = world.dir().join("agents/new.acme");
    let mut join = programs().unwrap().agent();
    join.arg("join").arg("--token-file").arg(&token).args(["--name", "web1"]).arg("--state").arg(&state);
    run(&mut join, b"").unwrap().must();
    serves(&tech, "web1.acme");
    world.try_approve("acme", "*").unwrap().must_refuse(1, &["REPLACES serial 1", "--replace"]);
    serves(&tech, "web1.acme");
    let old_log = world.log("web1.acme").mark();
    let mut approve = tech.belay_command().unwrap();
    approve.args(["approve", "web1.acme", "--replace", "--yes", "--ca"]).arg(ca(&world));
    let said = run(&mut approve, b"").unwrap().must();
    assert!(said.out().contains("the same machine, installed anew"), "{}", said.story());
    assert!(said.err().contains("device revoke --tenant acme --serial 1"), "{}", said.story());
    world.log("web1.acme").wait("its end", old_log, GENEROUS, |line| line.contains("NotAdmitted")).unwrap();
    tech.ssh("web1.acme", "true").must_refuse(NO_CONNECTION, &["web1.acme"]);
    world.stop_agent("web1.acme").unwrap();
    world.start_agent("new.acme").unwrap();
    serves(&tech, "web1.acme");
    let events = events(&world);
    assert_eq!(of_type(&events, "device.replaced").len(), 1);
    assert_eq!(events.iter().filter(|event| event["type"] == "device.approved").count(), 2);
}

#[test]
fn a_device_ca_is_exchanged_and_no_session_notices() {
    let world = World::small();
    let tech = world.person("tech");
    let mut shell = tech.ssh_command();
    shell.args(["-tt", "--", "web1.acme", "sh -c 'echo begun; read line; echo heard $line'"]);
    let mut shell = Terminal::open(&shell, 80, 24).unwrap();
    shell.see("begun").unwrap();
    let (old, new) = (ca(&world), world.dir().join("new-ca"));
    let mut make = std::process::Command::new("ssh-keygen");
    run(make.args(["-q", "-t", "ed25519", "-N", "", "-C", "new-ca", "-f"]).arg(&new), b"").unwrap().must();
    let line = |path: &PathBuf| {
        let text = fs::read_to_string(path.with_extension("pub")).unwrap();
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    let (old_line, new_line) = (line(&old), line(&new));
    device(&world, &["recertify", "acme", "--ca", new.to_str().unwrap()])
        .must_refuse(1, &["no device CA in the policy"]);
    let show = tech.belay(["policy", "show", "acme"]).unwrap().must().out();
    let entry = show.lines().find(|line| line.contains(&old_line) && line.trim_start().starts_with("ca = ")).unwrap();
    let both = entry.replacen("ca = [", &format!("ca = [\"{new_line}\", "), 1);
    edit_policy(&world, entry, &both);
    tech.belay(["config"]).unwrap().must();
    let before = serial(&world, "web1.acme");
    let done = device(&world, &["recertify", "acme", "--ca", new.to_str().unwrap()]).must();
    assert!(done.out().contains("all 1 devices of acme"), "{}", done.story());
    world.log("web1.acme").wait("it", 0, GENEROUS, |line| line.contains("shows a new host certificate")).unwrap();
    let again = device(&world, &["recertify", "acme", "--ca", new.to_str().unwrap()]).must();
    assert!(!again.out().contains("recertified with"), "{}", again.story());
    // The old one leaves. Laptops that have the new policy refuse what it certified, by name.
    edit_policy(&world, &both, &format!("ca = [\"{new_line}\"]"));
    tech.belay(["config"]).unwrap().must();
    let known = fs::read_to_string(tech.home().join("known_hosts")).unwrap();
    assert!(known.contains(&format!("@revoked *.acme {old_line}")), "{known}");
    serves(&tech, "web1.acme");
    assert_eq!(serial(&world, "web1.acme"), before, "the record stays");
    shell.keys("me\r").unwrap();
    shell.see("heard me").unwrap();
    // The agent kept it: it is there after a restart.
    world.stop_agent("web1.acme").unwrap();
    world.start_agent("web1.acme").unwrap();
    serves(&tech, "web1.acme");
    assert_eq!(of_type(&events(&world), "device.recertified").len(), 1);
}

#[test]
fn a_revoked_device_is_out_at_once_and_stock_ssh_refuses_whoever_has_its_key() {
    let world = World::small();
    let tech = world.person("tech");
    let mut shell = tech.ssh_command();
    shell.args(["-tt", "--", "web1.acme", "sh -c 'echo begun; read line'"]);
    let shell = Terminal::open(&shell, 80, 24).unwrap();
    shell.see("begun").unwrap();
    let root = world.root_key("acme");
    device(&world, &["revoke", "web1.acme", "--root", root.to_str().unwrap()]).must();
    shell.ended(GENEROUS).unwrap();
    until("the device to be refused", GENEROUS, || {
        let said = run(tech.ssh_command().args(["--", "web1.acme", "true"]), b"")?;
        anyhow::ensure!(said.code() == Some(NO_CONNECTION), "{}", said.story());
        Ok(())
    })
    .unwrap();
    // Somebody stands in the gateway's way with the device's own key and certificate.
    let state = world.agent_dir("web1.acme");
    let kept: Value = serde_json::from_slice(&fs::read(state.join("record.json")).unwrap()).unwrap();
    let key = fs::read_to_string(state.join("host_key")).unwrap();
    let rogue = impostor::Impostor::start(&key, kept["certificate"].as_str());
    let led = |person: &Person| {
        let mut ssh = person.ssh_command();
        ssh.args(["-o", "ProxyJump=none", "-o", "HostName=127.0.0.1", "-o", "HostKeyAlias=web1.acme", "-p"]);
        ssh.arg(rogue.port.to_string()).args(["--", "web1.acme", "true"]);
        run(&mut ssh, b"").unwrap()
    };
    // Until the laptop knows, it believes: what follows is the list's doing.
    led(&tech).must();
    assert_eq!(rogue.heard(), ["true"]);
    tech.belay(["config"]).unwrap().must();
    led(&tech).must_refuse(NO_CONNECTION, &["revoked"]);
    assert_eq!(rogue.heard(), ["true"]);
}

#[test]
fn a_tenant_whose_root_keys_are_lost_begins_anew_and_each_machine_forgets_by_hand() {
    let world = World::small();
    let tech = world.person("tech");
    let lost = world.policy0("acme").unwrap();
    let dir = world.dir().join("anew");
    fs::create_dir(&dir).unwrap();
    let invite = world.operator(&["tenant", "invite", "acme"]).unwrap().must();
    fs::write(dir.join("invite.toml"), &invite.stdout).unwrap();
    let mut init = programs().unwrap().belay();
    init.arg("--home").arg(world.dir().join("other-home")).arg("--identity").arg(tech.key());
    init.args(["init", "acme", "--person", "tech", "--as", world.account(), "--key"]).arg(tech.public_key());
    init.arg("--invite").arg(dir.join("invite.toml")).arg("--dir").arg(&dir);
    let begun = run(&mut init, b"").unwrap().must();
    let hash = begun.out().split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
    let zero = dir.join("policy-0.toml");
    let zero = zero.to_str().unwrap();
    world
        .operator(&["tenant", "adopt", "acme", zero])
        .unwrap()
        .must_refuse(1, &["it is another tenant's or a forgery"]);
    world
        .operator(&["tenant", "restart", "acme", zero, "--lost", &hash])
        .unwrap()
        .must_refuse(1, &["the chain held here"]);
    let mark = world.log("web1.acme").mark();
    world.operator(&["tenant", "restart", "acme", zero, "--lost", &lost]).unwrap().must();
    // The machine of the old chain takes nothing of it, and is turned away.
    world.log("web1.acme").wait("its end", mark, GENEROUS, |line| line.contains("NotAdmitted")).unwrap();
    let forget = |words: &[&str]| {
        let mut forget = programs().unwrap().agent();
        run(forget.arg("forget").args(words).arg("--state").arg(world.agent_dir("web1.acme")), b"").unwrap()
    };
    forget(&["--tenant", "acme"]).must_refuse(1, &["another belay-agent is using it"]);
    world.stop_agent("web1.acme").unwrap();
    forget(&["--tenant", "globex"]).must_refuse(1, &["belongs to web1.acme"]);
    let forgotten = forget(&["--tenant", "acme"]).must();
    assert!(forgotten.out().contains("aside-20"), "{}", forgotten.story());
    // A laptop that starts anew, a token of the new chain, and the machine is back.
    let anew = Person { name: "anew".to_owned(), dir: world.dir().join("people/anew") };
    fs::create_dir_all(&anew.dir).unwrap();
    for file in ["id_ed25519", "id_ed25519.pub"] {
        fs::copy(tech.dir.join(file), anew.dir.join(file)).unwrap();
    }
    anew.trust(&hash, &dir).unwrap();
    anew.belay(["config"]).unwrap().must();
    let token = dir.join("web1.token");
    run(anew.belay_command().unwrap().args(["token", "acme", "-o"]).arg(&token), b"").unwrap().must();
    world.join("web1.acme", &token).unwrap().must();
    world.start_agent("web1.acme").unwrap();
    run(anew.belay_command().unwrap().args(["approve", "web1.acme", "--yes", "--ca"]).arg(dir.join("device-ca")), b"")
        .unwrap()
        .must();
    serves(&anew, "web1.acme");
    let entries = anew.log("acme");
    let restarted: Vec<_> = entries.iter().filter(|entry| entry["type"] == "policy.restarted").collect();
    assert_eq!((restarted.len(), &restarted[0]["lost"], &restarted[0]["devices_lost"]), (1, &lost.into(), &1.into()));
    anew.belay(["log", "verify", "acme"]).unwrap().must();
}
