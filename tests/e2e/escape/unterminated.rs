//! Sessions whose end nobody tells: their agent died with all that it knew, or is away. They are unterminated until somebody
//! comes back who knows more.

use super::{Bench, DEVICE, Live, Received, SILENCE, changed};
use anyhow::{Context, ensure};
use belay_tests::{
    run,
    wait::{GENEROUS, until},
    world::Held,
};
use serde_json::Value;
use std::fs;

/// How long nothing may be heard here, in seconds.
const SILENCE_SECONDS: u64 = 3;

/// A world whose gateway waits for no machine long.
fn impatient() -> Bench {
    let bench = Bench::new();
    bench.world.stop_gateway().unwrap();
    bench.world.wait_in_silence(SILENCE_SECONDS).unwrap();
    bench.world.start_gateway().unwrap();
    bench.world.until_online(DEVICE).unwrap();
    bench
}

impl Bench {
    /// A shell on a pipe with a chunk of its recording at the gateway, and its id.
    fn recorded(&self, command: &str) -> (Live, String) {
        let mut live = self.session(&["-T"], command);
        live.types("echo once more");
        live.sees("once more");
        let session = self.id_of(command);
        until("its first chunk", GENEROUS, || self.about(&session)).unwrap();
        (live, session)
    }

    /// What the list says of a session.
    fn listed(&self, session: &str) -> anyhow::Result<Value> {
        let rows: Value = serde_json::from_slice(&self.tech.gw("sessions --json").succeeded()?.stdout)?;
        let rows = rows.as_array().context("no list")?;
        rows.iter().find(|row| row["id"] == session).cloned().context("it is not listed")
    }

    #[track_caller]
    fn until_unterminated(&self, session: &str) {
        until("a recording that is unterminated", SILENCE, || {
            let about = self.about(session)?;
            ensure!(about["state"] == "unterminated" && about["ended"].is_null(), "{about}");
            Ok(())
        })
        .unwrap();
    }

    #[track_caller]
    fn until_listed(&self, session: &str, state: &str) -> Value {
        until(&format!("a session that is {state}"), GENEROUS, || {
            let row = self.listed(session)?;
            ensure!(row["state"] == state, "{row}");
            Ok(row)
        })
        .unwrap()
    }

    /// How often the log says that a session's recording was cut off.
    fn cuts(&self, session: &str) -> usize {
        let is_cut = |entry: &&Value| entry["type"] == "recording.cut" && entry["session"] == session;
        self.tech.log("acme").iter().filter(is_cut).count()
    }
}

/// The client goes.
fn gone(mut live: Live) -> Received {
    live.ssh.kill().unwrap();
    live.end(GENEROUS)
}

/// The way to every session ends: the gateway gives up a machine that says nothing after a minute, and finds at a start what was
/// cut off at once.
fn lost(bench: &Bench) {
    if std::env::var_os("BELAY_LONG").is_none() {
        bench.world.kill_gateway();
        bench.world.start_gateway().unwrap();
    }
}

/// A session that nobody records, and its id: begun under a policy without `[recording]`.
fn unrecorded(bench: &Bench) -> (Live, String) {
    changed::change(&bench.world, DEVICE, |text| {
        let (before, rest) = text.split_once("[recording]\n").unwrap();
        let after = rest.find("\n[").map_or("", |at| &rest[at + 1..]);
        format!("{before}{after}")
    });
    let command = "exec sh # unrecorded";
    let mut live = bench.session(&["-T"], command);
    live.types("echo here");
    live.sees("here");
    let session = bench.id_of(command);
    (live, session)
}

/// The policy has `[recording]` again.
fn recorded_again(bench: &Bench) {
    changed::change(&bench.world, DEVICE, |text| format!("{text}\n[recording]\nreadable_by_gateway = true\n"));
}

#[test]
fn an_agent_that_died_with_all_it_knew_leaves_unterminated_sessions_and_joining_anew_changes_nothing() {
    let bench = impatient();
    let (mut live, session) = bench.recorded("exec sh");
    let (silent, unrecorded) = unrecorded(&bench);
    assert_eq!(bench.listed(&unrecorded).unwrap()["state"], "live");
    live.types(&format!("rm -rf {}; kill -9 {}", bench.state(), bench.agent()));
    bench.killed();
    let received = gone(live);
    gone(silent);
    lost(&bench);
    bench.until_unterminated(&session);
    let row = bench.until_listed(&session, "unterminated");
    assert!(row["recording"]["state"] == "unterminated" && row["ended"].is_null(), "{row}");
    let row = bench.until_listed(&unrecorded, "unterminated");
    assert!(row["recording"].is_null() && row["ended"].is_null(), "{row}");
    for table in [bench.tech.gw("sessions").must().out(), bench.tech.belay(["sessions"]).unwrap().must().out()] {
        assert_eq!(table.lines().filter(|line| line.contains("unterminated")).count(), 2, "{table}");
    }
    // What is there proves itself.
    fs::create_dir_all(bench.state()).unwrap();
    bench.put_back_key();
    bench.judge(&session, &received);
    fs::remove_dir_all(bench.state()).unwrap();

    let token = bench.world.dir().join("again.token");
    bench.world.make_token("acme", &token, &["--name", "web1"]).unwrap();
    bench.world.join(DEVICE, &token).unwrap().must();
    bench.world.start_agent(DEVICE).unwrap();
    let mut approve = bench.tech.belay_command().unwrap();
    approve
        .args(["approve", DEVICE, "--replace", "--yes", "--ca"])
        .arg(bench.world.tenant_dir("acme").join("device-ca"));
    run(&mut approve, b"").unwrap().must();
    bench.world.until_online(DEVICE).unwrap();
    recorded_again(&bench);
    // The new one has a session of its own that it does not end, and the gateway has looked once more.
    let (mut again, other) = bench.recorded("exec sh # again");
    again.types(&format!("kill -9 {}", bench.agent()));
    bench.killed();
    gone(again);
    lost(&bench);
    bench.until_unterminated(&other);
    assert_eq!(bench.about(&session).unwrap()["state"], "unterminated");
    assert_eq!((bench.cuts(&session), bench.cuts(&unrecorded), bench.cuts(&other)), (1, 0, 1));
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_machine_that_comes_back_after_it_was_given_up_says_the_rest_and_that_counts() {
    let bench = impatient();
    let (mut live, session) = bench.recorded("exec sh");
    live.types("echo the end");
    live.sees("the end");
    bench.world.hold_agent(DEVICE, Held::Still);
    let received = gone(live);
    lost(&bench);
    bench.until_unterminated(&session);
    bench.world.hold_agent(DEVICE, Held::Running);
    bench.until_state(&session, "whole");
    let shown = bench.judge(&session, &received).asciinema_cat();
    assert!(String::from_utf8_lossy(&shown).contains("the end"), "what it held came later");
    assert_eq!((bench.until_listed(&session, "ended")["ended"].is_null(), bench.cuts(&session)), (false, 1));

    // Killed, and its journal is there: it says that the session is over, and no second time that the recording is cut off.
    let (mut live, session) = bench.recorded("exec sh # again");
    live.types(&format!("kill -9 {}", bench.agent()));
    bench.killed();
    let received = gone(live);
    lost(&bench);
    bench.until_unterminated(&session);
    bench.restart();
    bench.until_state(&session, "cut off");
    bench.judge(&session, &received);
    let reason = bench.ended(&session).context("no end").unwrap()["reason"].clone();
    assert_eq!(reason, "the agent stopped while the session was open");
    assert_eq!((bench.cuts(&session), &bench.listed(&session).unwrap()["state"]), (1, &"ended".into()));
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}
