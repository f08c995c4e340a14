//! A provider and two customers: one pinned hash reaches both, nobody learns of the other, one signature ends it everywhere.

#[path = "parts/policies.rs"]
mod policies;

use belay_certs::{Timestamp, time::SECOND};
use belay_tests::{
    Daemon, Person, Plan, World,
    log::Log,
    run,
    wait::{GENEROUS, until},
};
use std::{
    fs,
    process::Command,
    time::{Instant, SystemTime},
};

fn served() -> (World, Person) {
    let world = World::of(Plan::provider());
    world.provide("msp", &["acme", "globex"]).unwrap();
    let tech = world.hire("msp", "tech", "field").unwrap();
    (world, tech)
}

/// A command on a device that goes on until it is ended.
fn live(world: &World, tech: &Person, device: &str) -> Daemon {
    let log = Log::default();
    let mut ssh: Command = tech.ssh_command();
    ssh.args(["--", device, "echo begun; exec sleep 1000"]);
    let live = Daemon::start("live", ssh, log.clone(), &world.dir().join(format!("logs/live-{device}.log"))).unwrap();
    log.wait("its beginning", 0, GENEROUS, |line| line == "begun").unwrap();
    live
}

fn newest(person: &Person, tenant: &str) -> u64 {
    let rows = person.belay(["policy", "show", "--json"]).unwrap().json();
    let row = rows.as_array().unwrap().iter().find(|row| row["tenant"] == tenant).cloned();
    row.unwrap_or_else(|| panic!("{tenant} is not in {rows}"))["version"].as_u64().unwrap()
}

#[test]
fn one_pinned_hash_reaches_every_customer_and_one_signature_ends_it() {
    let (world, tech) = served();
    let pins = fs::read_to_string(tech.home().join("trust.toml")).unwrap();
    assert_eq!((pins.matches("sha256:").count(), pins.contains("msp")), (1, true), "{pins}");
    let known_hosts = fs::read_to_string(tech.home().join("known_hosts")).unwrap();
    assert!(known_hosts.contains("@cert-authority *.acme ") && known_hosts.contains("@cert-authority *.globex "));
    for device in ["web1.acme", "till1.globex"] {
        assert_eq!(tech.ssh(device, "echo $BELAY_PERSON").must().out(), "msp:tech\n");
    }
    let listed = tech.belay(["devices", "--json"]).unwrap().json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db1.acme", "till1.globex", "web1.acme"]);
    let opened = world.person("ana").log("acme").into_iter().rfind(|entry| entry["type"] == "session.opened").unwrap();
    assert_eq!(opened["person"], "msp:tech", "{opened}");
    let used: Vec<&str> =
        opened["policies"].as_array().unwrap().iter().map(|used| used["tenant"].as_str().unwrap()).collect();
    assert_eq!(used, ["acme", "msp"]);

    let boss = world.person("boss");
    let before = newest(&boss, "msp");
    let sessions = ["web1.acme", "db1.acme", "till1.globex"].map(|device| live(&world, &tech, device));
    let begun = Instant::now();
    world.remove_person("msp", "tech").unwrap();
    let pushed = begun.elapsed();
    for session in sessions {
        assert!(!session.ended(GENEROUS).unwrap().success(), "a session ended as if all were well");
    }
    println!(
        "measured: a person removed at the provider: signed and pushed in {} ms, out of every customer after {} ms",
        pushed.as_millis(),
        begun.elapsed().as_millis()
    );
    assert_eq!(newest(&boss, "msp"), before + 1, "it takes one version");
    tech.hang_up();
    for device in ["web1.acme", "till1.globex"] {
        // No policy knows the key any more, so the door itself stays closed.
        tech.ssh(device, "true").must_refuse(255, &["Permission denied"]);
    }
    assert_eq!(world.person("ana").ssh("web1.acme", "echo mine").must().out(), "mine\n");
}

#[test]
fn a_customer_learns_nothing_of_another_from_the_provider_they_share() {
    let (world, tech) = served();
    tech.ssh("web1.acme", "true").must();
    tech.ssh("till1.globex", "true").must();
    let ana = world.person("ana");
    let shown = ana.gw("policy show msp").must();
    assert!(shown.out().contains("tech") && shown.out().contains("msp-customers"), "{}", shown.story());
    let fetched = ana.gw_with_input("policy fetch", b"{}").must();
    let told = [
        shown,
        fetched,
        ana.gw("devices").must(),
        ana.gw("sessions --json").must(),
        ana.gw("log tail acme --json").must(),
    ];
    for said in told {
        assert!(!said.out().contains("globex") && !said.out().contains("till1"), "{}", said.story());
    }
    let nowhere = ana.gw("policy show nowhere");
    for tenant in ["globex", "msp-customers"] {
        let said = ana.gw(&format!("policy show {tenant}"));
        assert_eq!((said.code(), said.err()), (nowhere.code(), nowhere.err()), "{}", said.story());
    }
    let held = run(Command::new("grep").args(["-rl", "globex"]).arg(world.agent_dir("web1.acme")), b"").unwrap();
    assert_eq!(held.out(), "", "a device of acme holds globex' name");
    let verified = ana.belay(["log", "verify", "acme"]).unwrap().must();
    println!("{}", verified.out());
}

#[test]
fn when_the_providers_policy_has_expired_its_people_are_out_and_the_customers_own_go_on() {
    let (world, tech) = served();
    tech.ssh("web1.acme", "true").must();
    let boss = world.person("boss");
    let text = policies::next(&policies::newest(&boss, "msp"));
    let soon = Timestamp::from_system(SystemTime::now()).whole_second().plus(8 * SECOND);
    let expires = text.lines().find(|line| line.starts_with("expires = ")).unwrap();
    let text = text.replace(expires, &format!("expires = {soon}"));
    let pushed = boss.gw_with_input("policy push msp", &policies::signed(&text, &world.root_key("msp"))).must();
    assert!(pushed.err().contains("the policy of msp"), "the expiry is not told: {}", pushed.story());
    let refused = until("the provider's policy to expire", GENEROUS, || {
        let said = tech.ssh("web1.acme", "true");
        if said.status.success() { anyhow::bail!("still in") } else { Ok(said) }
    });
    println!("{}", refused.as_ref().unwrap().story());
    until("the reason to be told", GENEROUS, || {
        let said = tech.ssh("web1.acme", "true");
        anyhow::ensure!(said.err().contains("of the policy of msp expired at"), "{}", said.story());
        Ok(())
    })
    .unwrap();
    tech.gw("devices").must_refuse(1, &["of the policy of msp expired at"]);
    let ana = world.person("ana");
    let said = ana.ssh("web1.acme", "echo mine").must();
    assert_eq!(said.out(), "mine\n");
    let listed = ana.gw("devices").must();
    assert!(listed.err().contains("the policy of msp (version"), "{}", listed.story());
    assert!(!listed.out().contains("expire"), "{}", listed.story());
}

#[test]
fn a_key_of_two_names_is_refused_where_it_can_be_and_is_nobodys_where_it_cannot() {
    let (world, tech) = served();
    let ana = world.person("ana");
    let add = |owner: &str, tenant: &str, name: &str, of: &Person| {
        let mut add = world.person(owner).belay_command().unwrap();
        add.args(["person", "add", tenant, name, "--yes", "--key"]).arg(of.public_key());
        run(add.arg("--root").arg(world.root_key(tenant)), b"").unwrap()
    };
    let twice = add("ana", "acme", "contractor", &tech);
    println!("{}", twice.err());
    twice.must_refuse(1, &["belongs to", "contractor", "msp:tech"]);
    tech.ssh("web1.acme", "true").must();

    // A customer's people are none of the provider's business: its version counts, and the key is nobody's at the customer.
    add("boss", "msp", "ana-too", &ana).must();
    let refused = until("the key to be nobody's", GENEROUS, || {
        ana.hang_up();
        let said = ana.ssh("web1.acme", "true");
        if said.status.success() { anyhow::bail!("still in") } else { Ok(said) }
    });
    refused.unwrap().must_refuse(255, &["this key belongs to ana and msp:ana-too at once"]);
    tech.ssh("web1.acme", "true").must();
    world.remove_person("msp", "ana-too").unwrap();
    until("the key to be ana's again", GENEROUS, || {
        ana.hang_up();
        ana.ssh("web1.acme", "true").succeeded().map(drop)
    })
    .unwrap();
}
