//! The gateway's JSON of a job, whole and in changes, and how it ends.

use super::*;
use serde_json::json;

fn id() -> Id {
    "0707070707070707070707070707070f".parse().unwrap()
}

fn run(device: &str, state: &str) -> Value {
    json!({
        "device": device, "serial": 7, "state": state, "exit": null, "signal": null, "reason": null, "offered": null,
        "started": null, "ended": null, "duration_ms": null, "output": null, "output_bytes": null, "output_dropped": null,
        "output_kept": 0,
    })
}

fn whole(phase: &str, over: bool, states: &[&str]) -> Value {
    let runs: Vec<Value> = (1..).zip(states).map(|(n, state)| run(&format!("web{n}"), state)).collect();
    json!({
        "job": id(), "tenant": "acme", "runbook": "restart-service", "version": Digest::of(b"x"), "person": "ada",
        "account": "root", "devices": states.len(), "submitted": "2026-11-22T10:00:00Z",
        "not_before": "2026-11-22T10:00:00Z", "not_after": "2026-11-22T10:15:00Z", "phase": phase, "counts": {},
        "order": "tenant = \"acme\"\n", "signature": "-----BEGIN", "reason": null, "over": over, "runs": runs,
    })
}

fn job(phase: &str, over: bool, states: &[&str]) -> Job {
    Job::read(whole(phase, over, states).to_string().as_bytes(), &id()).unwrap()
}

#[test]
fn a_job_is_read_and_changes_are_put_into_it() {
    let mut job = job("open", false, &["waiting", "started", "waiting"]);
    assert_eq!((job.tally(), job.ended(), job.end()), ("2 waiting, 1 started".to_owned(), 0, End::Open));
    let mut failed = run("web2", "failed");
    failed["exit"] = json!(3);
    failed["output"] = json!(Digest::of(b"out"));
    let change = json!({
        "job": id(), "phase": "open", "reason": null, "over": false, "counts": {"failed": 1}, "runs": [failed, run("web1", "waiting")],
    });
    let changed = job.take(change.to_string().as_bytes()).unwrap();
    assert_eq!(changed.iter().map(|run| run.device.as_str()).collect::<Vec<_>>(), ["web2"], "web1 is as it was");
    assert_eq!((changed[0].exit, changed[0].output), (Some(3), Some(Digest::of(b"out"))));
    assert_eq!(job.raw["runs"][1], failed);
    assert_eq!((&job.raw["counts"], &job.raw["person"]), (&json!({"failed": 1}), &json!("ada")));
    assert_eq!(job.raw["runs"].as_array().unwrap().len(), 3);
    // After a lost connection the whole comes again.
    let again = job.take(whole("over", true, &["succeeded", "failed", "timed out"]).to_string().as_bytes()).unwrap();
    assert_eq!(again.len(), 3);
    assert_eq!((job.end(), job.tally().as_str()), (End::Partly, "1 succeeded, 1 failed, 1 timed out"));
}

#[test]
fn a_change_does_not_repeat_the_secrets_of_a_line_and_they_stay() {
    let mut first = whole("open", false, &["waiting", "waiting"]);
    first["runs"][0]["sealed"] = json!("YWdl");
    let mut job = Job::read(first.to_string().as_bytes(), &id()).unwrap();
    let change =
        json!({"job": id(), "phase": "open", "over": false, "runs": [run("web1", "started"), run("web2", "waiting")]});
    let changed = job.take(change.to_string().as_bytes()).unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].line().to_string().split(' ').nth(2), Some("YWdl"));
    assert_eq!(job.raw["runs"][0]["sealed"], "YWdl");
    assert_eq!((&job.raw["runs"][0]["state"], job.raw["runs"][1].get("sealed")), (&json!("started"), None));
}

#[test]
fn a_gateway_that_tells_of_another_job_or_device_is_not_believed() {
    let mut job = job("open", false, &["waiting"]);
    let other = whole("open", false, &["waiting"]).to_string().replace("0f\"", "0e\"");
    assert!(Job::read(other.as_bytes(), &id()).is_err() && job.take(other.as_bytes()).is_err());
    let more = whole("open", false, &["waiting", "waiting"]);
    assert!(job.take(more.to_string().as_bytes()).unwrap_err().sentence().contains("web2"));
    for (member, value) in [("phase", json!("shut")), ("over", json!(1)), ("runs", json!({})), ("job", json!("x"))] {
        let mut broken = whole("open", false, &["waiting"]);
        broken[member] = value;
        assert!(job.take(broken.to_string().as_bytes()).is_err(), "{member}");
    }
    assert!(job.take(whole("open", false, &["gone"]).to_string().as_bytes()).is_err());
    assert!(job.take(b"").is_err());
}

#[test]
fn the_exit_status_says_how_a_job_ended() {
    for (phase, over, states, end, status) in [
        ("over", true, &["succeeded", "succeeded"][..], End::Succeeded, 0),
        ("over", true, &["succeeded", "failed"], End::Partly, 3),
        ("over", true, &["succeeded", "expired"], End::Partly, 3),
        ("over", true, &["failed"], End::Partly, 3),
        ("over", true, &["interrupted", "refused"], End::Partly, 3),
        ("stopped", true, &["timed out", "not started"], End::Partly, 3),
        ("over", true, &["started"], End::Partly, 3),
        ("over", true, &["refused", "expired"], End::Nothing, 1),
        ("open", false, &["succeeded", "waiting"], End::Open, 4),
        ("cancelled", false, &["started"], End::Open, 4),
        ("cancelled", true, &["succeeded", "not started"], End::Cancelled, 130),
    ] {
        let job = job(phase, over, states);
        assert_eq!(job.end(), end, "{phase} {states:?}");
        assert_eq!(job.end().verdict().map_or_else(|failure| failure.status(), |()| 0), status, "{phase} {states:?}");
    }
}

#[test]
fn several_jobs_end_as_the_worst_of_them() {
    let together = |ends: &[End]| ends.iter().copied().reduce(End::and).unwrap();
    assert_eq!(together(&[End::Succeeded, End::Succeeded]), End::Succeeded);
    assert_eq!(together(&[End::Nothing, End::Nothing]), End::Nothing);
    assert_eq!(together(&[End::Succeeded, End::Nothing]), End::Partly, "something was done");
    assert_eq!(together(&[End::Partly, End::Open, End::Succeeded]), End::Open);
    assert_eq!(together(&[End::Cancelled, End::Open]), End::Cancelled);
}
