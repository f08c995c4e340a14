//! The demo as a person runs it: up until Ctrl-C, everything ended after it, and again in the same directory.

use belay_tests::{
    Daemon, Person,
    call::run_within,
    log::Log,
    run,
    wait::{BULKY, GENEROUS},
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{fs, path::Path, process::Command};

fn demo(dir: &Path, more: &[&str]) -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.arg("--dir").arg(dir).args(more);
    demo
}

fn pids(dir: &Path) -> Vec<(String, Pid)> {
    let ports: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("ports.json")).unwrap()).unwrap();
    for door in ["ssh", "quic"] {
        assert!(ports[door].as_u64().is_some_and(|port| port > 0), "{ports}");
    }
    let pids = ports["pids"].as_object().unwrap().iter();
    pids.map(|(name, pid)| (name.clone(), Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap()).unwrap()))
        .collect()
}

#[test]
fn the_demo_stays_up_until_it_is_told_to_end_and_leaves_nothing_running() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("demo");
    let log = Log::default();
    let up = Daemon::start("demo", demo(&dir, &[]), log.clone(), &scratch.path().join("log")).unwrap();
    log.wait("its invitation", 0, BULKY, |line| line.contains("stays up until Ctrl-C")).unwrap();
    for (config, target, works) in [
        ("ssh_config", "web1.acme", true),
        ("ssh_config", "db1.acme", true),
        ("ssh_config", "till1.globex", true),
        ("ssh_config.leaver", "web1.acme", false),
        ("ssh_config.leaver", "till1.globex", false),
        ("ssh_config.other", "till1.globex", true),
        ("ssh_config.other", "web1.acme", false),
        ("ssh_config.auditor", "web1.acme", false),
    ] {
        let mut ssh = Person::plain_ssh();
        let said = run(ssh.arg("-F").arg(dir.join(config)).args([target, "echo in"]), b"").unwrap();
        assert_eq!(said.out() == "in\n", works, "{}", said.story());
    }
    for file in [
        "gateway/belay.db",
        "agents/web1.acme",
        "people/tech/id_ed25519",
        "tenants/acme/device-ca",
        "tenants/acme/policy-1.toml",
        "tenants/msp-customers/policy-1.toml",
    ] {
        assert!(dir.join(file).exists(), "{file} is missing");
    }
    for secret in ["root-1", "root-2", "device-ca"] {
        assert!(!dir.join("gateway/keys").join(secret).exists(), "the gateway has {secret}");
    }
    let busy = run_within(&mut demo(&dir, &["--once"]), b"", GENEROUS).unwrap();
    assert!(!busy.status.success() && busy.err().contains("another demo runs"), "{}", busy.story());
    let running = pids(&dir);
    assert_eq!(running.len(), 5, "{running:?}");
    let pid = Pid::from_raw(i32::try_from(up.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(up.ended(GENEROUS).unwrap().success());
    for (name, pid) in running {
        assert!(test_kill_process(pid).is_err(), "{name} still runs");
    }
    let again = run_within(&mut demo(&dir, &["--once"]), b"", BULKY).unwrap().must();
    assert!(again.out().contains("the demo did everything it says"), "{}", again.story());
}

#[test]
fn the_demo_leaves_a_directory_alone_that_is_something_else() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "kept").unwrap();
    let said = run(&mut demo(dir.path(), &["--once"]), b"").unwrap();
    assert!(!said.status.success() && said.err().contains("left alone"), "{}", said.story());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_wrong_word_is_answered_with_the_usage() {
    let said = run(Command::new(env!("CARGO_BIN_EXE_demo")).arg("--nonsense"), b"").unwrap();
    said.must_refuse(2, &["usage: cargo demo"]);
}
