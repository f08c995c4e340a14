//! Configuration that is wrong: refused before anything happens, with the file and what is wrong in it.

use belay_tests::{Plan, Said, World, run, wait::GENEROUS};
use std::{fs, io::Write};

fn serve(world: &World) -> Said {
    belay_tests::call::run_within(&mut world.serve_command().unwrap(), b"", GENEROUS).unwrap()
}

#[test]
fn an_unknown_key_refuses_to_start_the_gateway() {
    let world = World::of(Plan::without_devices());
    world.stop_gateway().unwrap();
    let file = world.gateway_dir().join("gateway.toml");
    let good = fs::read_to_string(&file).unwrap();
    for (wrong, words) in [
        (format!("colour = \"red\"\n{good}"), "colour"),
        (good.replace("[ssh]", "[ssh]\nlisten_on = \"127.0.0.1:1\""), "listen_on"),
        (good.replace("listen = ", "listen = nonsense "), "line"),
    ] {
        fs::write(&file, wrong).unwrap();
        let said = serve(&world);
        assert!(!said.status.success(), "{}", said.story());
        assert!(said.err().contains("gateway.toml") && said.err().contains(words), "{}", said.story());
    }
    fs::write(&file, good).unwrap();
    world.start_gateway().unwrap();
    world.person("tech").gw("devices").must();
}

#[test]
fn two_gateways_never_share_a_directory() {
    let world = World::of(Plan::without_devices());
    let said = serve(&world);
    assert!(!said.status.success() && said.err().contains("another belay-gateway"), "{}", said.story());
    world.person("tech").gw("devices").must();
}

#[test]
fn an_unknown_key_stops_belay() {
    let world = World::of(Plan::without_devices());
    let tech = world.person("tech");
    let mut file = fs::File::options().append(true).create(true).open(tech.home().join("config.toml")).unwrap();
    writeln!(file, "colour = \"red\"").unwrap();
    let said = tech.belay(["devices"]).unwrap();
    assert!(!said.status.success(), "{}", said.story());
    assert!(said.err().contains("config.toml") && said.err().contains("colour"), "{}", said.story());
}

#[test]
fn an_agent_without_a_tenant_says_how_it_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = belay_tests::programs::programs().unwrap().agent();
    let said = run(agent.args(["run", "--state"]).arg(dir.path().join("state")), b"").unwrap();
    assert!(!said.status.success() && said.err().contains("join"), "{}", said.story());
}

#[test]
fn init_never_overwrites_a_gateway() {
    let world = World::of(Plan::without_devices());
    let key = world.gateway_dir().join("keys/ssh_host_ed25519_key");
    let before = fs::read(&key).unwrap();
    let mut init = belay_tests::programs::programs().unwrap().gateway();
    let said = run(init.arg("init").arg(world.gateway_dir()).args(["--name", "gw.example"]), b"").unwrap();
    assert!(!said.status.success(), "{}", said.story());
    assert_eq!(fs::read(&key).unwrap(), before);
}
