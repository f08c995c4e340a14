//! What must stop now: a session that is killed, and tenants, devices and people that are frozen. Sessions and runs end within
//! two seconds, nothing starts, restarts change nothing, and the log says who did it.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{
    Daemon, Person, Plan, World,
    log::Log,
    run,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// What a freeze and a kill promise.
const WITHIN: Duration = Duration::from_secs(2);

/// A command on a device that goes on until it is ended, and that has written the id of its process into a file.
fn live(world: &World, person: &Person, device: &str, name: &str) -> Daemon {
    live_by(world, person.ssh_command(), device, name)
}

fn live_by(world: &World, mut ssh: Command, device: &str, name: &str) -> Daemon {
    let (log, pid) = (Log::default(), world.dir().join(name));
    ssh.args(["--", device, &format!("echo $$ > {}; echo begun; exec sleep 1000", pid.display())]);
    let file = world.dir().join(format!("logs/live-{name}.log"));
    let live = Daemon::start("live", ssh, log.clone(), &file).unwrap();
    log.wait("its beginning", 0, GENEROUS, |line| line == "begun").unwrap();
    live
}

/// Whether the process that wrote this file is still there.
fn runs_still(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    Path::new("/proc").join(pid.trim()).exists()
}

#[track_caller]
fn must_end(world: &World, session: Daemon, name: &str, begun: Instant) {
    assert!(!session.ended(GENEROUS).unwrap().success(), "{name} ended as if all were well");
    until("the end of its process", GENEROUS, || {
        anyhow::ensure!(!runs_still(&world.dir().join(name)));
        Ok(())
    })
    .unwrap();
    println!("measured: {name} ended after {} ms", begun.elapsed().as_millis());
    assert!(begun.elapsed() < WITHIN, "{name} went on for {:?}", begun.elapsed());
}

/// The sessions that go on, with their devices.
fn open(person: &Person) -> Vec<(String, String)> {
    let rows = person.gw("sessions --json").json();
    let open = rows.as_array().unwrap().iter().filter(|row| row["ended"] == Value::Null);
    let word = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    open.map(|row| (word(row, "id"), word(row, "device"))).collect()
}

fn types(person: &Person) -> Vec<String> {
    person.log("acme").iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_killed_session_ends_with_its_connection_and_nothing_else_does() {
    let world = World::of(Plan::demo());
    let tech = world.person("tech");
    // Two sessions over one connection to the device.
    let shared = || {
        let mut ssh = tech.ssh_command();
        ssh.args(["-o", "ControlMaster=auto", "-o"]).arg(format!("ControlPath={}", world.dir().join("cm").display()));
        ssh
    };
    let one = live_by(&world, shared(), "web1.acme", "one");
    let two = live_by(&world, shared(), "web1.acme", "two");
    let other = live(&world, &tech, "db1.acme", "other");
    let sessions = open(&tech);
    let of_web1: Vec<&String> = sessions.iter().filter(|(_, device)| device == "web1.acme").map(|(id, _)| id).collect();
    let id = of_web1[0].clone();
    // Whoever may not operate learns nothing and ends nothing.
    world.person("auditor").gw(&format!("kill {id}")).must_refuse(1, &["`operate`"]);
    let begun = Instant::now();
    let said = tech.belay(["kill", &id]).unwrap().must();
    assert!(
        said.out().contains("tech on web1.acme is ended") && said.out().contains("freeze acme/tech"),
        "{}",
        said.story()
    );
    // It ends whole, and that is said.
    assert!(said.out().contains("1 other session"), "{}", said.story());
    must_end(&world, one, "one", begun);
    must_end(&world, two, "two", begun);
    assert!(runs_still(&world.dir().join("other")));
    until("the ends in the log", GENEROUS, || {
        anyhow::ensure!(open(&tech).len() == 1);
        Ok(())
    })
    .unwrap();
    let log = tech.log("acme");
    let killed: Vec<&Value> = log.iter().filter(|entry| entry["type"] == "session.killed").collect();
    assert_eq!((killed.len(), &killed[0]["session"], &killed[0]["of"]), (1, &Value::from(id.clone()), &"tech".into()));
    let ended = log.iter().find(|entry| entry["type"] == "access.ended" && entry["access"] == killed[0]["access"]);
    assert!(ended.unwrap()["reason"].as_str().unwrap().contains("tech ended session"), "{ended:?}");
    tech.gw(&format!("kill {id}")).must_refuse(1, &["has been over since", "nothing was changed"]);
    tech.gw(&format!("kill {}", "0".repeat(32))).must_refuse(1, &["there is no session", "that you may end"]);
    // Nobody is kept out by a kill.
    assert_eq!(tech.ssh("web1.acme", "echo back").must().out(), "back\n");
    drop(other);
    tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_frozen_device_lets_nobody_in_until_it_is_thawed_whatever_happens_to_the_gateway() {
    let world = World::of(Plan::demo());
    let (tech, stranger) = (world.person("tech"), world.person("other"));
    let (there, elsewhere) = (live(&world, &tech, "web1.acme", "there"), live(&world, &tech, "db1.acme", "elsewhere"));
    let unfrozen = stranger.ssh("web1.acme", "true");
    let begun = Instant::now();
    tech.belay(["freeze", "web1.acme", "--reason", "it's a \"stolen\" disk"]).unwrap().must();
    must_end(&world, there, "there", begun);
    assert!(runs_still(&world.dir().join("elsewhere")));
    let refused = || {
        tech.ssh("web1.acme", "true").must_refuse(255, &["web1.acme has been frozen since 20", "by tech", "stolen"]);
        let now = stranger.ssh("web1.acme", "true");
        assert_eq!((now.code(), now.err()), (unfrozen.code(), unfrozen.err()), "strangers are told nothing");
    };
    refused();
    assert_eq!(tech.ssh("db1.acme", "echo here").must().out(), "here\n");
    tech.gw("freeze web1.acme").must_refuse(1, &["nothing was changed", "has been frozen since"]);
    drop(elsewhere);
    // Durable before anybody was told, and loaded before the doors open.
    world.kill_gateway();
    world.start_gateway().unwrap();
    refused();
    world.until_state("web1.acme", "online").unwrap();
    refused();
    let freezes = tech.belay(["freezes", "--json"]).unwrap().json();
    assert_eq!(freezes.as_array().unwrap().len(), 1, "{freezes:#}");
    assert_eq!((&freezes[0]["frozen"], &freezes[0]["by"]), (&"web1.acme".into(), &"tech".into()));
    world.stop_gateway().unwrap();
    world.start_gateway().unwrap();
    world.until_state("web1.acme", "online").unwrap();
    tech.belay(["thaw", "web1.acme"]).unwrap().must();
    assert_eq!(tech.ssh("web1.acme", "echo back").must().out(), "back\n");
    tech.gw("thaw web1.acme").must_refuse(1, &["is not frozen"]);
    let types = types(&tech);
    let count = |kind: &str| types.iter().filter(|found| *found == kind).count();
    assert_eq!(["freeze.begun", "freeze.lifted"].map(count), [1, 1]);
    assert!(count("access.refused") >= 3, "{types:?}");
    tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_frozen_device_stays_frozen_under_another_name() {
    let world = World::of(Plan::demo());
    let tech = world.person("tech");
    tech.belay(["freeze", "web1.acme", "--reason", "stolen"]).unwrap().must();
    let ca = world.tenant_dir("acme").join("device-ca");
    let renamed = ["device", "rename", "web1.acme", "www.acme", "--yes", "--ca", ca.to_str().unwrap()];
    tech.belay(renamed).unwrap().must();
    // Under its new name and, once it is known there, after a crash.
    let frozen = || {
        until("its freeze", GENEROUS, || {
            let said = run(tech.ssh_command().args(["--", "www.acme", "true"]), b"")?;
            anyhow::ensure!(said.err().contains("web1.acme has been frozen since"), "{}", said.story());
            Ok(())
        })
        .unwrap();
    };
    frozen();
    world.kill_gateway();
    world.start_gateway().unwrap();
    frozen();
    assert!(tech.belay(["thaw", "www.acme"]).unwrap().must().out().contains("web1.acme is thawed"));
    until("it to serve", GENEROUS, || {
        run(tech.ssh_command().args(["--", "www.acme", "true"]), b"")?.succeeded().map(drop)
    })
    .unwrap();
    tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_frozen_person_of_a_provider_is_kept_out_where_that_was_said_and_nowhere_else() {
    let world = World::of(Plan::provider());
    world.provide("msp", &["acme", "globex"]).unwrap();
    let (tech, ana) = (world.hire("msp", "tech", "field").unwrap(), world.person("ana"));
    let (there, elsewhere) =
        (live(&world, &tech, "web1.acme", "there"), live(&world, &tech, "till1.globex", "elsewhere"));
    ana.gw("freeze acme/msp:teck").must_refuse(1, &["there is no person msp:teck"]);
    ana.gw("freeze acme/tech").must_refuse(1, &["there is no person tech"]);
    ana.gw("freeze acme/ana").must_refuse(1, &["you are ana"]);
    ana.gw("freeze web9.acme").must_refuse(1, &["there is no device web9.acme"]);
    ana.gw("freeze globex/msp:tech").must_refuse(1, &["nothing there is granted to you"]);
    let begun = Instant::now();
    ana.gw("freeze acme/msp:tech").must();
    must_end(&world, there, "there", begun);
    assert!(runs_still(&world.dir().join("elsewhere")));
    tech.ssh("db1.acme", "true").must_refuse(255, &["acme/msp:tech has been frozen since"]);
    assert_eq!(tech.ssh("till1.globex", "echo here").must().out(), "here\n");
    assert_eq!(ana.ssh("web1.acme", "echo mine").must().out(), "mine\n");
    ana.gw("thaw acme/msp:tech").must();
    assert_eq!(tech.ssh("db1.acme", "echo back").must().out(), "back\n");
    drop(elsewhere);
}

#[test]
fn every_channel_of_a_frozen_persons_connection_ends_and_nobody_elses_does() {
    let world = World::of(Plan::demo());
    let more = ["--do", "shell,operate,audit", "--as", world.account()];
    let (tech, boss) = (world.person("tech"), world.add_person("acme", "boss", &more).unwrap());
    let control = format!("ControlPath={}", world.dir().join("cm").display());
    let names = ["one", "two", "three"];
    let sessions = names.map(|name| {
        let mut ssh = tech.ssh_command();
        ssh.args(["-o", "ControlMaster=auto", "-o", &control]);
        live_by(&world, ssh, "web1.acme", name)
    });
    let other = live(&world, &boss, "web1.acme", "other");
    let log = tech.log("acme");
    let is_ours = |entry: &&Value| entry["command"].as_str().is_some_and(|command| command.contains("echo begun"));
    let opened = log.iter().filter(is_ours).filter(|entry| entry["person"] == "tech");
    let accesses: Vec<&Value> = opened.map(|entry| &entry["access"]).collect();
    assert!(accesses.len() == 3 && accesses.iter().all(|one| *one == accesses[0]), "not one connection: {accesses:?}");
    let begun = Instant::now();
    boss.gw("freeze acme/tech --reason 'a stolen laptop'").must();
    for (session, name) in sessions.into_iter().zip(names) {
        must_end(&world, session, name, begun);
    }
    // Whoever holds the connection opens no further channel either.
    let mut ssh = tech.ssh_command();
    ssh.args(["-o", &control, "--", "web1.acme", "true"]);
    run(&mut ssh, b"").unwrap().must_refuse(255, &["acme/tech has been frozen since"]);
    assert!(runs_still(&world.dir().join("other")), "the session of somebody whom nobody froze was ended");
    until("the ends in the log", GENEROUS, || {
        let ended = boss.gw("sessions --person tech --json").must().json();
        let rows = ended.as_array().unwrap();
        let over = rows.iter().filter(is_ours).filter(|row| row["ended"] != Value::Null).count();
        anyhow::ensure!(over == 3, "{ended:#}");
        Ok(())
    })
    .unwrap();
    drop(other);
}

#[test]
fn a_frozen_tenant_runs_nothing_and_its_jobs_go_on_once_it_is_thawed() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let ran = world.dir().join("ran");
    let body = format!("echo $BELAY_DEVICE >> {}\nexec sleep 300", ran.display());
    runs::push(&world, &author, "slow", "", &body);
    world.stop_agent("web3.acme").unwrap();
    let said = jobs::order(&tech, &["slow", "--on", "acme/*", "--detach"]);
    assert_eq!(said.code(), Some(4), "{}", said.story());
    let id = jobs::newest(&tech);
    let states = || jobs::states(&jobs::job(&tech, &id)).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    until("the first two", GENEROUS, || {
        let lines = fs::read_to_string(&ran).unwrap_or_default().lines().count();
        anyhow::ensure!(lines == 2 && states() == ["started", "started", "waiting"], "{:?}", states());
        Ok(())
    })
    .unwrap();
    let begun = Instant::now();
    tech.gw("freeze acme --reason investigation").must();
    until("the end of what ran", GENEROUS, || {
        anyhow::ensure!(states() == ["cancelled", "cancelled", "waiting"], "{:?}", states());
        Ok(())
    })
    .unwrap();
    println!("measured: the runs of a frozen tenant ended after {} ms", begun.elapsed().as_millis());
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
    let job = jobs::job(&tech, &id);
    assert!(job["runs"][0]["reason"].as_str().unwrap().contains("acme has been frozen since"), "{job:#}");
    // No orders, no sessions; devices stay connected and are offered nothing.
    jobs::order(&tech, &["slow", "--on", "web1.acme", "--detach"]).must_refuse(1, &["acme has been frozen since"]);
    tech.ssh("web1.acme", "true").must_refuse(255, &["acme has been frozen since"]);
    world.start_agent("web3.acme").unwrap();
    world.until_state("web3.acme", "online").unwrap();
    world.kill_gateway();
    world.start_gateway().unwrap();
    world.until_state("web3.acme", "online").unwrap();
    assert_eq!(states()[2], "waiting");
    assert_eq!(fs::read_to_string(&ran).unwrap().lines().count(), 2);
    tech.gw("thaw acme").must();
    until("the third", GENEROUS, || {
        let lines = fs::read_to_string(&ran).unwrap();
        anyhow::ensure!(lines.lines().last() == Some("web3.acme"), "{lines}");
        Ok(())
    })
    .unwrap();
    tech.belay(["cancel", &id]).unwrap().must();
    until("the end of the job", GENEROUS, || {
        anyhow::ensure!(jobs::job(&tech, &id)["over"] == true);
        Ok(())
    })
    .unwrap();
    tech.belay(["log", "verify", "acme"]).unwrap().must();
}
