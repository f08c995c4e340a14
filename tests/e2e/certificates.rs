//! Transport certificates with a short life: renewed under a live session, lost and won back by the host key, and a new CA.

#[path = "parts/policies.rs"]
mod policies;

use belay_tests::{
    Person, Plan, Terminal, World,
    plan::Tenant,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{fs, time::Instant};

const WEB1: &str = "web1.acme";
const DB1: &str = "db1.acme";

/// A world whose gateway gives certificates for so many seconds, and a device that joined under it.
fn short_lived(seconds: u32) -> World {
    let world = World::of(Plan::without_devices());
    world.stop_gateway().unwrap();
    let file = world.gateway_dir().join("gateway.toml");
    let text = fs::read_to_string(&file).unwrap();
    let short = text.replace("certificate_seconds = 2592000", &format!("certificate_seconds = {seconds}"));
    assert_ne!(short, text);
    fs::write(file, short).unwrap();
    world.start_gateway().unwrap();
    let token = world.dir().join("web1.token");
    world.make_token("acme", &token, &[]).unwrap();
    world.join(WEB1, &token).unwrap().must();
    world.start_agent(WEB1).unwrap();
    world.approve("acme", "web1").unwrap();
    world.until_online(WEB1).unwrap();
    world
}

/// The key and the certificates that a device shows.
fn transport(world: &World, device: &str) -> (Value, Value) {
    let text = fs::read_to_string(world.agent_dir(device).join("transport.json")).unwrap();
    let kept: Value = serde_json::from_str(&text).unwrap();
    (kept["key"].clone(), kept["chain"][0].clone())
}

/// A session that answers whatever is typed, on a login of its own.
struct Live(Terminal, u32);

impl Live {
    fn open(tech: &Person) -> Self {
        let mut ssh = tech.ssh_command();
        ssh.args(["-o", "ControlPath=none", "-tt", WEB1, "while read -r line; do echo \"got $line\"; done"]);
        let mut live = Self(Terminal::open(&ssh, 80, 24).unwrap(), 0);
        live.answers();
        live
    }

    fn answers(&mut self) {
        self.1 += 1;
        self.0.keys(&format!("word{}\n", self.1)).unwrap();
        self.0.see(&format!("got word{}", self.1)).unwrap();
    }
}

#[test]
fn a_certificate_is_renewed_with_a_new_key_while_a_session_goes_on() {
    let world = short_lived(6);
    let tech = world.person("tech");
    let mut live = Live::open(&tech);
    let connections = || tech.log("acme").iter().filter(|entry| entry["type"] == "device.connected").count();
    let before = connections();
    let mut shown = transport(&world, WEB1);
    for _ in 0..3 {
        let next = until("the next certificate", GENEROUS, || {
            let now = transport(&world, WEB1);
            anyhow::ensure!(now.0 != shown.0, "the key is the same");
            Ok(now)
        })
        .unwrap();
        assert_ne!(next.1, shown.1);
        shown = next;
        live.answers();
    }
    assert_eq!(connections(), before, "the connection was cut");
    // By now the gateway has exchanged its own certificate as well.
    world.stop_agent(WEB1).unwrap();
    world.start_agent(WEB1).unwrap();
    world.until_online(WEB1).unwrap();
}

#[test]
fn a_machine_that_was_off_for_longer_than_its_certificate_comes_back_by_itself() {
    let world = short_lived(4);
    let old = transport(&world, WEB1);
    world.stop_agent(WEB1).unwrap();
    let stopped = Instant::now();
    until("the certificate to end", GENEROUS, || {
        anyhow::ensure!(stopped.elapsed().as_secs() > 5, "not yet");
        Ok(())
    })
    .unwrap();
    let mark = world.log(WEB1).mark();
    let begun = Instant::now();
    world.start_agent(WEB1).unwrap();
    let told = |line: &str| line.contains("gave a new one to the host key");
    world.log(WEB1).wait("the way back", mark, GENEROUS, told).unwrap();
    world.until_online(WEB1).unwrap();
    println!("measured: back after {} ms with a certificate that had ended", begun.elapsed().as_millis());
    assert_ne!(transport(&world, WEB1).0, old.0, "a new key");
}

#[test]
fn a_new_ca_takes_the_place_of_the_old_one_under_a_live_session_and_strands_nobody() {
    let (name, owner, devices) = ("acme", "tech", &["web1", "db1", "gone1"]);
    let world = World::of(Plan { tenants: vec![Tenant { name, owner, people: &[], onlookers: &[], devices }] });
    let tech = world.person("tech");
    let mut live = Live::open(&tech);
    let token = world.dir().join("old.token");
    world.make_token("acme", &token, &[]).unwrap();

    world.operator(&["transport-ca", "retire"]).unwrap().must_refuse(1, &["no previous transport CA"]);
    let said = world.operator(&["transport-ca", "rotate"]).unwrap().must().out();
    let fingerprints: Vec<&str> = said.split_whitespace().filter(|word| word.starts_with("sha256:")).collect();
    let (new, old) = (fingerprints[0], fingerprints[1]);
    live.answers();
    world.operator(&["transport-ca", "rotate"]).unwrap().must_refuse(1, &["not retired yet"]);
    let invite = world.operator(&["tenant", "invite", "acme"]).unwrap().must().out();
    assert!(invite.contains(new) && invite.contains(old), "{invite}");

    // Devices and tokens that know only the old CA go on.
    world.join("web2.acme", &token).unwrap().must();
    world.stop_agent(DB1).unwrap();
    world.start_agent(DB1).unwrap();
    world.until_online(DB1).unwrap();
    world.stop_agent(DB1).unwrap();
    world.stop_agent("gone1.acme").unwrap();
    let refused = world.operator(&["transport-ca", "retire"]).unwrap();
    refused.must_refuse(1, &["the policy of acme does not name the CA in force"]);

    // The customer adds the new one; a device that is switched off does not hear of it. A device that the customer revokes
    // will never come again, and is not waited for.
    let next = policies::next(&policies::newest(&tech, "acme"));
    let named = next.replace(&format!("transport_ca = [\"{old}\"]"), &format!("transport_ca = [\"{new}\", \"{old}\"]"));
    assert_ne!(named, next, "{next}");
    let mut approvals = tech.log("acme").into_iter().filter(|entry| entry["type"] == "device.approved");
    let gone = approvals.find(|entry| entry["device"] == "gone1").unwrap()["serial"].as_u64().unwrap();
    let revoking = named.replace("revoked = []", &format!("revoked = [{gone}]"));
    assert_ne!(revoking, named, "{named}");
    let named = revoking;
    tech.gw_with_input("policy push acme", &policies::signed(&named, &world.root_key("acme"))).must();
    let refused = world.operator(&["transport-ca", "retire"]).unwrap();
    refused.must_refuse(1, &["db1.acme has not said that it holds a policy that names the CA in force"]);
    let shown = |wanted: &dyn Fn(&str) -> bool| {
        let asked = || {
            let shown = world.operator(&["transport-ca", "show"])?.must().out();
            anyhow::ensure!(wanted(&shown), "{shown}");
            Ok(())
        };
        until("the devices to take their policy", GENEROUS, asked).unwrap();
    };
    shown(&|shown| shown.contains("db1.acme") && !shown.contains("web1.acme") && !shown.contains("gone1.acme"));
    world.start_agent(DB1).unwrap();
    world.until_online(DB1).unwrap();
    shown(&|shown| shown.contains("nobody needs the previous one"));

    world.operator(&["transport-ca", "retire"]).unwrap().must();
    live.answers();
    assert!(!world.operator(&["tenant", "invite", "acme"]).unwrap().must().out().contains(old));
    // The devices' certificates are of the CA that is gone: they get new ones by their host keys.
    for device in [WEB1, DB1] {
        world.stop_agent(device).unwrap();
        world.start_agent(device).unwrap();
        world.until_online(device).unwrap();
    }
    world.stop_gateway().unwrap();
    world.start_gateway().unwrap();
    world.until_online(WEB1).unwrap();
}
