//! Evidence of how it was then: of sessions and runs of a device that has another host key since, and of a recording that is
//! deleted. What a device signed is checked with the record that the log has of its serial, and never with the gateway's word.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/edited.rs"]
mod edited;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::{Context, ensure};
use belay_tests::{
    Person, Plan, Said, Terminal, World,
    programs::programs,
    run,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::fs;

const DEVICE: &str = "web1.acme";
/// A day and a bit, in microseconds: longer than the test's policy keeps.
const LONG_AGO: &str = "90000000000";

/// The session of this command on the device, once its recording is whole.
#[track_caller]
fn recorded(tech: &Person, command: &str) -> String {
    until("a whole recording", GENEROUS, || {
        let rows: Value = serde_json::from_slice(&tech.gw("sessions --json").must().stdout)?;
        let rows = rows.as_array().context("no rows")?;
        let row = rows.iter().find(|row| row["command"] == command).context("no such session")?;
        ensure!(row["recording"]["state"] == "whole", "{row:#}");
        Ok(row["id"].as_str().context("no id")?.to_owned())
    })
    .unwrap()
}

/// The tenant's policy lets the gateway read recordings: these tests need no auditor's key.
fn readable(world: &World, more: &str) {
    changed::change(world, DEVICE, |text| {
        let (before, rest) = text.split_once("[recording]\n").unwrap_or((text, ""));
        let after = rest.find("\n[").map_or("", |at| &rest[at + 1..]);
        format!("{before}{after}\n[recording]\nreadable_by_gateway = true\n{more}")
    });
}

/// Packs it and has a stranger verify the pack without a gateway.
#[track_caller]
fn proved(world: &World, tech: &Person, id: &str) -> Said {
    let pack = world.dir().join(format!("{id}.tar")).to_str().unwrap().to_owned();
    tech.belay(["evidence", id, "-o", &pack]).unwrap().must();
    let place = world.dir().join(format!("{id}.stranger"));
    fs::create_dir(&place).unwrap();
    let stranger = Person::make(&place, "stranger").unwrap();
    let said = stranger.belay(["evidence", "verify", &pack]).unwrap().must();
    let whole = fs::read(&pack).unwrap();
    for at in (7..whole.len()).step_by(whole.len() / 8) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&pack, changed).unwrap();
        stranger.belay(["evidence", "verify", &pack]).unwrap().must_refuse(1, &["the pack does not verify"]);
    }
    said
}

/// The machine is installed anew: another host key and another serial under its name.
fn install_anew(world: &World, tech: &Person) {
    let token = world.dir().join("again.token");
    world.make_token("acme", &token, &["--name", "web1"]).unwrap();
    let state = world.dir().join("agents/new.acme");
    let mut join = programs().unwrap().agent();
    join.arg("join").arg("--token-file").arg(&token).args(["--name", "web1"]).arg("--state").arg(&state);
    run(&mut join, b"").unwrap().must();
    world.stop_agent(DEVICE).unwrap();
    let ca = world.tenant_dir("acme").join("device-ca");
    let mut approve = tech.belay_command().unwrap();
    run(approve.args(["approve", DEVICE, "--replace", "--yes", "--ca"]).arg(ca), b"").unwrap().must();
    world.start_agent("new.acme").unwrap();
    until("the new machine to serve", GENEROUS, || {
        run(tech.ssh_command().args(["--", DEVICE, "echo the new machine"]), b"")?.succeeded().map(drop)
    })
    .unwrap();
}

#[test]
fn sessions_and_runs_of_before_a_machine_was_installed_anew_are_proved_by_the_log() {
    let world = World::of(Plan::small());
    let author = runs::allow(&world, DEVICE);
    readable(&world, "");
    let tech = world.person("tech");
    runs::push(&world, &author, "mark", "", "echo said by the old machine");
    jobs::order(&tech, &["mark", "--on", DEVICE]);
    let job = jobs::newest(&tech);
    assert_eq!(jobs::states(&jobs::job(&tech, &job)), [("web1".to_owned(), "succeeded".to_owned())]);
    tech.ssh(DEVICE, "echo on the old machine").must();
    let old = recorded(&tech, "echo on the old machine");
    install_anew(&world, &tech);
    let new = recorded(&tech, "echo the new machine");
    for (session, shown) in [(&old, "on the old machine\n"), (&new, "the new machine\n")] {
        assert_eq!(tech.belay(["replay", session]).unwrap().must().out(), shown);
        let file = world.dir().join("x.cast").to_str().unwrap().to_owned();
        let said = tech.belay(["recording", session, "-o", &file]).unwrap().must();
        assert!(said.err().contains("the recording is whole"), "{}", said.story());
        let said = proved(&world, &tech, session);
        assert!(said.out().contains("its recording is whole"), "{}", said.story());
    }
    let said = tech.belay(["replay", &format!("{job}/web1")]).unwrap().must();
    assert!(
        said.out() == "said by the old machine\n" && said.err().contains("are what the device signed"),
        "{}",
        said.story()
    );
    let said = proved(&world, &tech, &job);
    assert!(said.out().contains("web1.acme: succeeded"), "{}", said.story());

    // The gateway changes what the run printed: it is not shown, and the sentence says which two things differ.
    world.stop_gateway().unwrap();
    let forged = "UPDATE output SET bytes = CAST(replace(CAST(bytes AS TEXT), 'o', 'e') AS BLOB) WHERE job = ?";
    assert_eq!(edited::edit(&world, forged, &[&job]), 1);
    world.start_gateway().unwrap();
    let refused = tech.belay(["replay", &format!("{job}/web1")]).unwrap();
    let words = ["web1.acme: the gateway has an output of", "the device signed one of", "was altered"];
    let refused = refused.must_refuse(1, &words);
    assert!(refused.stdout.is_empty(), "{}", refused.story());
}

#[test]
fn a_session_whose_device_got_another_name_meanwhile_is_proved_under_both_serials() {
    let world = World::of(Plan::small());
    readable(&world, "");
    let tech = world.person("tech");
    let command = "sh -c 'echo begun; read line; echo heard $line'";
    let mut shell = tech.ssh_command();
    shell.args(["-tt", "--", DEVICE, command]);
    let mut shell = Terminal::open(&shell, 80, 24).unwrap();
    shell.see("begun").unwrap();
    let ca = world.tenant_dir("acme").join("device-ca");
    let mut rename = tech.belay_command().unwrap();
    run(rename.args(["device", "rename", DEVICE, "www.acme", "--yes", "--ca"]).arg(ca), b"").unwrap().must();
    until("the new name", GENEROUS, || {
        run(tech.ssh_command().args(["--", "www.acme", "true"]), b"")?.succeeded().map(drop)
    })
    .unwrap();
    shell.keys("me\r").unwrap();
    shell.see("heard me").unwrap();
    assert!(shell.ended(GENEROUS).unwrap().success());
    let session = recorded(&tech, command);
    let said = proved(&world, &tech, &session);
    assert!(
        said.out().contains("on web1.acme: tech as") && said.out().contains("recording is whole"),
        "{}",
        said.story()
    );
}

#[test]
fn a_recording_that_was_deleted_is_proved_by_its_notes() {
    let world = World::of(Plan::small());
    readable(&world, "keep = \"1d\"\n");
    let tech = world.person("tech");
    tech.ssh(DEVICE, "echo soon gone").must();
    let session = recorded(&tech, "echo soon gone");
    world.stop_gateway().unwrap();
    for (table, column, key) in [("recording", "kept_us", "session"), ("session", "ended_us", "id")] {
        let statement = format!("UPDATE {table} SET {column} = {column} - {LONG_AGO} WHERE {key} = ?");
        assert_eq!(edited::edit(&world, &statement, &[&session]), 1);
    }
    world.start_gateway().unwrap();
    until("the deletion", GENEROUS, || {
        let deleted = tech.log("acme").iter().any(|entry| entry["type"] == "recording.deleted");
        ensure!(deleted);
        Ok(())
    })
    .unwrap();
    let why = ["was deleted at", "the policy says `keep = \"1d\"`", "of the log); its notes are kept"];
    tech.belay(["replay", &session]).unwrap().must_refuse(1, &why);
    let file = world.dir().join("x.cast").to_str().unwrap().to_owned();
    tech.belay(["recording", &session, "-o", &file]).unwrap().must_refuse(1, &why);
    let said = proved(&world, &tech, &session);
    for line in [
        "command: echo soon gone",
        "the content of its recording was deleted at",
        "`keep = \"1d\"`",
        "of the policy has that rule",
        "its notes still prove its length and digest: 1 chunks of",
        "the session's signed end names the last of them",
    ] {
        assert!(said.out().contains(line), "{line}: {}", said.story());
    }
}
