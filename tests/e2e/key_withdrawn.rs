//! One key of a person taken from the policy: what was opened with it ends, what was opened with their other key goes on.

#[path = "parts/policies.rs"]
mod policies;

use belay_tests::{
    Person, Plan, Terminal, World, run,
    wait::{GENEROUS, until},
};
use std::fs;

/// A shell on a terminal.
fn shell(person: &Person, device: &str) -> Terminal {
    let mut ssh = person.ssh_command();
    ssh.args(["-tt", "--", device, "echo begun; exec cat"]);
    let shell = Terminal::open(&ssh, 80, 24).unwrap();
    shell.see("begun").unwrap();
    shell
}

fn key_of(person: &Person) -> String {
    format!("{:?}", fs::read_to_string(person.public_key()).unwrap().trim())
}

fn push(world: &World, owner: &str, tenant: &str, change: impl FnOnce(&str) -> String) {
    let owner = world.person(owner);
    let text = policies::next(&policies::newest(&owner, tenant));
    let changed = change(&text);
    assert_ne!(changed, text, "nothing was changed");
    owner.gw_with_input(&format!("policy push {tenant}"), &policies::signed(&changed, &world.root_key(tenant))).must();
}

/// Gives `person` the key of another laptop as well.
fn second_key(world: &World, owner: &str, tenant: &str, person: &Person, other: &Person) {
    let (first, second) = (key_of(person), key_of(other));
    push(world, owner, tenant, |text| text.replace(&first, &format!("{first}, {second}")));
}

/// The first laptop's shell and outer connection end, the second's go on.
fn must_end_one(first: &Person, gone: Terminal, second: &Person, mut stays: Terminal) {
    let said = gone.see("this session was ended: this key belongs to nobody the policy knows").unwrap();
    assert!(!gone.ended(GENEROUS).unwrap().success(), "{said}");
    until("the connection to the gateway to end", GENEROUS, || {
        let said = run(first.ssh_command().args(["-O", "check", "gw"]), b"")?;
        anyhow::ensure!(!said.status.success(), "{}", said.story());
        Ok(())
    })
    .unwrap();
    first.gw("devices").must_refuse(255, &["Permission denied"]);
    run(second.ssh_command().args(["-O", "check", "gw"]), b"").unwrap().must();
    stays.keys("still here\n").unwrap();
    stays.see("still here").unwrap();
    stays.see("still here").unwrap();
}

#[test]
fn a_key_taken_from_a_person_ends_its_sessions_and_leaves_the_other_keys() {
    let world = World::small();
    let account = world.account().to_owned();
    let first = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    let second = world.stranger("guests-second").unwrap();
    second_key(&world, "tech", "acme", &first, &second);
    until("the second key to count", GENEROUS, || second.ssh("web1.acme", "true").succeeded()).unwrap();
    let (gone, stays) = (shell(&first, "web1.acme"), shell(&second, "web1.acme"));
    let old = key_of(&first);
    push(&world, "tech", "acme", |text| text.replace(&format!("{old}, "), ""));
    must_end_one(&first, gone, &second, stays);
    let entries = world.person("tech").log("acme");
    let ended: Vec<_> = entries.iter().filter(|e| e["type"] == "session.ended" && e["reason"].is_string()).collect();
    assert!(ended.iter().any(|e| e["reason"].as_str().unwrap().contains("belongs to nobody")), "{ended:#?}");
}

#[test]
fn a_key_taken_from_a_providers_person_ends_its_sessions_at_the_customers() {
    let world = World::of(Plan::provider());
    world.provide("msp", &["acme", "globex"]).unwrap();
    let first = world.hire("msp", "tech", "field").unwrap();
    let second = world.stranger("techs-second").unwrap();
    second_key(&world, "boss", "msp", &first, &second);
    for device in ["web1.acme", "till1.globex"] {
        until("the second key to count", GENEROUS, || second.ssh(device, "true").succeeded()).unwrap();
    }
    let elsewhere = shell(&first, "till1.globex");
    let (gone, stays) = (shell(&first, "web1.acme"), shell(&second, "web1.acme"));
    let old = key_of(&first);
    push(&world, "boss", "msp", |text| text.replace(&format!("{old}, "), ""));
    must_end_one(&first, gone, &second, stays);
    elsewhere.see("this session was ended: this key belongs to nobody the policy knows").unwrap();
    elsewhere.ended(GENEROUS).unwrap();
}
