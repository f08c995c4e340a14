//! The folder for a colleague without `belay`, once a device is revoked: stock ssh finds the list, for it refuses every host of
//! a tenant whose list it does not find.

#[path = "hacked/impostor.rs"]
mod impostor;

use belay_tests::{Person, Plan, Said, World, run};
use serde_json::Value;
use std::{fs, path::Path};

/// ssh's own status, for a connection that did not come about.
const NO_CONNECTION: i32 = 255;

/// What `word` is of the record that a device's agent holds.
fn kept(world: &World, device: &str, word: &str) -> String {
    let kept = fs::read(world.agent_dir(device).join("record.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    kept[word].as_str().unwrap().to_owned()
}

fn ssh(config: &Path, words: &[&str]) -> Said {
    run(Person::plain_ssh().arg("-F").arg(config).args(words), b"").unwrap()
}

#[test]
fn a_colleague_reaches_the_others_once_a_device_is_revoked_and_never_that_one() {
    let mut plan = Plan::demo();
    plan.tenants.truncate(1);
    let world = World::of(plan);
    let tech = world.person("tech");
    let root = world.root_key("acme");
    let revoke = ["device", "revoke", "db1.acme", "--yes", "--root", root.to_str().unwrap()];
    tech.belay(revoke).unwrap().must();

    let folder = world.dir().join("a colleague's folder");
    let place = folder.to_str().unwrap();
    let hand_over = |more: &[&str]| tech.belay([&["config", "--for", "windows", "-o", place][..], more].concat());
    hand_over(&[]).unwrap().must_refuse(2, &["--path", "~/.ssh/belay"]);
    hand_over(&["--path", ".ssh/belay"]).unwrap().must_refuse(2, &["not a whole path"]);
    assert!(!folder.exists(), "what was refused was written all the same");
    hand_over(&["--path", place]).unwrap().must();
    let readme = fs::read_to_string(folder.join("README.txt")).unwrap();
    assert!(readme.contains(&format!("Include \"{place}/ssh_config\"\r\n")), "{readme}");

    let config = world.dir().join("colleague.ssh_config");
    let key = tech.key();
    let text = format!("IdentityFile \"{}\"\nIdentitiesOnly yes\nInclude \"{place}/ssh_config\"\n", key.display());
    fs::write(&config, text).unwrap();
    assert_eq!(ssh(&config, &["web1.acme", "echo in"]).must().out(), "in\n");

    // Somebody stands in the gateway's way with the revoked device's own key and certificate.
    let host_key = fs::read_to_string(world.agent_dir("db1.acme").join("host_key")).unwrap();
    let rogue = impostor::Impostor::start(&host_key, Some(&kept(&world, "db1.acme", "certificate")));
    let port = rogue.port.to_string();
    let led = ["-o", "ProxyJump=none", "-o", "HostName=127.0.0.1", "-o", "HostKeyAlias=db1.acme", "-p", &port];
    let led = [&led[..], &["db1.acme", "true"]].concat();
    let unlisted = [&["-o", "RevokedHostKeys=none"][..], &led].concat();
    ssh(&config, &led).must_refuse(NO_CONNECTION, &["revoked"]);
    assert_eq!(rogue.heard(), [""; 0]);
    // It is the list that refuses.
    ssh(&config, &unlisted).must();
    assert_eq!(rogue.heard(), ["true"]);
}
