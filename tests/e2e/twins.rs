//! Two agents with one identity: the newest wins, the older is told, and the log says so.

use belay_tests::{Daemon, World, log::Log, programs::programs, run, wait::GENEROUS};
use std::process::Command;

#[test]
fn the_newest_of_two_agents_with_one_identity_wins_and_the_older_is_told() {
    let world = World::small();
    let tech = world.person("tech");
    let copy = world.dir().join("agents/twin");
    run(Command::new("cp").arg("-a").arg(world.agent_dir("web1.acme")).arg(&copy), b"").unwrap().must();
    let mark = world.log("web1.acme").mark();
    let mut command = programs().unwrap().agent();
    command.arg("run").arg("--state").arg(&copy);
    let log = Log::default();
    let twin = Daemon::start("agent", command, log.clone(), &world.dir().join("logs/twin.log")).unwrap();
    log.wait("connected", 0, GENEROUS, |line| line.contains("connected to the gateway")).unwrap();
    let told = world.log("web1.acme").wait("its replacement", mark, GENEROUS, |line| line.contains("took its place"));
    told.unwrap();
    // The one that answers now is the twin.
    tech.ssh("web1.acme", "true").must();
    log.wait("a login", 0, GENEROUS, |line| line.contains("login")).unwrap();
    let entries = tech.log("acme");
    let superseded = entries.iter().filter(|entry| entry["type"] == "device.superseded").count();
    assert_eq!(superseded, 1, "{entries:#?}");
    drop(twin);
}
