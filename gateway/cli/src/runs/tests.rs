//! Commands about runs against a script that stands in for the gateway: what is asked, signed, sent and shown.

use crate::testing::stage::{Stage, earlier, row, script, text};
use belay_certs::{
    Digest, Namespace, Signed,
    order::{CheckedOrder, Clocks, DeviceLine, Order},
    policy::Policies,
    sshsig,
    time::SECOND,
};
use serde_json::{Value, json};
use std::fs;

const DEVICES: &[(&str, &[&str], u64)] =
    &[("web1.acme", &["server"], 7), ("web2.acme", &["server"], 8), ("db1.acme", &[], 9)];
const RUN: [&str; 5] = ["run", "restart-service", "service=cups", "--on", "acme/web*"];

/// A tenant with three devices, of which two are servers, and one runbook.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.has_devices(DEVICES);
    stage.has_runbooks(&[(&script(60), &stage.acme.person)]);
    stage
}

fn run(device: &str, state: &str) -> Value {
    json!({"device": device, "serial": 7, "state": state})
}

fn whole(over: bool, runs: &[Value]) -> Value {
    json!({
        "job": "<ID>", "tenant": "acme", "runbook": "restart-service", "person": "alice", "account": "root",
        "not_before": "2026-11-22T10:00:00Z", "not_after": "2026-11-22T10:15:00Z", "phase": if over { "over" } else { "open" },
        "reason": null, "over": over, "counts": {}, "runs": runs,
    })
}

fn change(over: bool, runs: &[Value]) -> Value {
    json!({"job": "<ID>", "phase": if over { "over" } else { "open" }, "reason": null, "over": over, "counts": {}, "runs": runs})
}

/// Both devices, from waiting to these words.
fn goes(stage: &Stage, web1: &str, web2: &str) {
    stage.takes_orders(&[
        whole(false, &[run("web1", "waiting"), run("web2", "waiting")]),
        change(false, &[run("web1", "started")]),
        change(false, &[run("web1", web1)]),
        change(true, &[run("web2", web2)]),
    ]);
}

fn with<'w>(words: &[&'w str], more: &[&'w str]) -> Vec<&'w str> {
    words.iter().chain(more).copied().collect()
}

#[test]
fn a_run_sends_one_order_that_every_device_permits_and_follows_it_to_its_end() {
    let (stage, script) = (stage(), script(60));
    stage.has_runbooks(&[(&script, &stage.acme.person)]);
    goes(&stage, "succeeded", "succeeded");
    let more =
        ["--for", "1h", "--wave", "1,100%", "--stop-above", "5%", "--timeout", "30s", "--ticket", "INC-42", "--yes"];
    stage.belay(&with(&RUN, &more)).unwrap();
    let (order, signed, list) = stage.sent();
    assert_eq!(list.to_text(), "web1 7\nweb2 8\n");
    assert_eq!((order.account.as_str(), order.ticket.as_deref()), ("root", Some("INC-42")));
    assert_eq!(order.not_after, order.not_before.plus(3_600 * SECOND));
    assert_eq!((order.waves.gates(2), order.timeout.unwrap().seconds()), (vec![1, 2], 30));
    assert_eq!(order.arguments.values().collect::<Vec<_>>(), ["cups"]);
    assert_eq!(order.to_text().as_bytes(), signed.bytes, "one spelling");
    let policies = Policies { tenant: &stage.chain, imports: Vec::new() };
    let signature = sshsig::sign(Namespace::Runbook, script.as_bytes(), &stage.acme.person).unwrap();
    let runbook = Signed { bytes: script.into_bytes(), signatures: vec![signature] };
    let checked = CheckedOrder::of(&policies, &signed, &runbook, Clocks { here: earlier(0), gateway: None }).unwrap();
    checked.check_list(&list).unwrap();
    assert_eq!(checked.signer(), stage.acme.person_key());
    assert!(!stage.asked().contains("devices"), "the gateway's word about devices is not asked for");
}

#[test]
fn several_tenants_are_one_question_and_an_order_each() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    stage.serves_globex();
    let words = ["run", "restart-service", "service=cups", "--on", "acme/web*,globex/tag:server", "--yes"];
    stage.belay(&words).unwrap();
    let globex = fs::read(stage.home.dir().join("said/run_globex_--json")).unwrap();
    let globex = String::from_utf8(globex).unwrap();
    assert!(globex.starts_with("tenant = \"globex\"\n") && globex.ends_with("\nweb1 3\n"), "{globex}");
    assert_eq!(stage.sent().2.to_text(), "web1 7\nweb2 8\n");
    assert_eq!(stage.asked().matches("--follow").count(), 2, "both are followed");
    // What one gateway refuses does not undo what the other has taken, and is not forgotten.
    fs::remove_file(stage.home.dir().join("answers/run_globex_--json")).unwrap();
    assert_eq!(stage.status(&words), 3);
    assert_eq!(stage.asked().matches("--follow").count(), 3);
}

#[test]
fn the_exit_status_is_that_of_the_job() {
    let stage = stage();
    for (web1, web2, status) in [
        ("succeeded", "succeeded", 0),
        ("succeeded", "failed", 3),
        ("refused", "expired", 1),
        ("interrupted", "expired", 3),
    ] {
        goes(&stage, web1, web2);
        assert_eq!(stage.status(&with(&RUN, &["--yes"])), status, "{web1} {web2}");
        assert_eq!(stage.status(&with(&RUN, &["--yes", "--json"])), status, "{web1} {web2}");
    }
    assert_eq!(stage.status(&with(&RUN, &["--yes", "--detach"])), 4);
}

#[test]
fn without_a_yes_or_with_a_dry_run_nothing_is_signed() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    for more in [&["--dry-run"][..], &["--dry-run", "--json"]] {
        stage.belay(&with(&RUN, more)).unwrap();
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let refused = stage.belay(&RUN).unwrap_err();
        assert!(refused.status() == 2 && refused.sentence().contains("add --yes"), "{refused:?}");
    }
    assert!(!stage.asked().contains("run acme"));
}

#[test]
fn a_device_that_would_refuse_keeps_all_from_being_signed() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    let words = ["run", "restart-service", "service=cups", "--on", "acme/*", "--yes"];
    let refused = stage.belay(&words).unwrap_err();
    assert!(refused.sentence().contains("db1.acme: ") && !refused.sentence().contains("web1.acme"), "{refused:?}");
    assert!(stage.status(&["run", "restart-service", "service=cups", "--on", "acme/*", "--dry-run"]) == 1);
    let words = ["run", "restart-service", "service=cups", "--on", "acme/web*", "--as", "deploy", "--yes"];
    assert!(stage.belay(&words).unwrap_err().sentence().contains("deploy"));
    assert!(!stage.asked().contains("run acme"));
}

#[test]
fn what_the_runbook_does_not_know_is_refused_before_a_record_is_asked_for() {
    let stage = stage();
    for (arguments, hint) in [
        (&[][..], "service is missing"),
        (&["service=cups", "mod=reload"], "no parameter mod"),
        (&["service=Cups!"], "does not fit its pattern"),
        (&["service=cups", "mode=stop"], "restart, reload"),
        (&["service=cups", "service=cups"], "given twice"),
        (&["cups"], "NAME=VALUE"),
    ] {
        let words = with(&with(&["run", "restart-service"], arguments), &["--on", "acme/*", "--yes"]);
        let refused = stage.belay(&words).unwrap_err();
        assert!(refused.sentence().contains(hint), "{arguments:?}: {refused:?}");
    }
    for (words, hint) in [
        (&["run", "restart-service", "service=cups", "--on", "acme/mail*", "--yes"][..], "means no device"),
        (
            &["run", "restart-service", "service=cups", "--on", "acme/web*,mail1.acme", "--yes"],
            "acme/mail1 means no device",
        ),
        (&["run", "restart-service", "service=cups", "--on", "globex/*", "--yes"], "not trusted here"),
        (&["run", "restart-service", "service=cups", "--on", "web1", "--yes"], "acme/tag:LABEL"),
        (&with(&RUN, &["--for", "8d", "--yes"]), "at most 7 days"),
        (&with(&RUN, &["--wave", "1,10%", "--yes"]), "100%"),
        (&with(&RUN, &["--from", "2020-01-01T00:00:00Z", "--yes"]), "ended"),
    ] {
        let refused = stage.belay(words).unwrap_err();
        assert!(refused.sentence().contains(hint), "{words:?}: {refused:?}");
    }
    assert!(!stage.asked().contains("run acme"));
}

#[test]
fn a_record_that_nobody_approved_stays_out_and_is_refused_when_it_is_named() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    let record = crate::testing::record("web3.acme", &["server"], 4, &crate::testing::key());
    let answers = stage.home.dir().join("answers/records_acme_--json_--limit_500");
    let mut rows: Vec<Value> = serde_json::from_slice(&fs::read(&answers).unwrap()).unwrap();
    rows.push(row(&stage.acme, &stage.chain, &record, &stage.thief));
    fs::write(&answers, json!(rows).to_string()).unwrap();
    stage.belay(&with(&RUN, &["--yes"])).unwrap();
    assert_eq!(stage.sent().2.to_text(), "web1 7\nweb2 8\n");
    let words = ["run", "restart-service", "service=cups", "--on", "web1.acme,web3.acme", "--yes"];
    assert!(stage.belay(&words).unwrap_err().sentence().contains("web3.acme is not believed"));
}

#[test]
fn an_older_record_than_was_seen_is_refused_when_it_is_named() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    stage.belay(&with(&RUN, &["--yes"])).unwrap();
    stage.has_devices(&[("web1.acme", &["server"], 3)]);
    let words = ["run", "restart-service", "service=cups", "--on", "web1.acme", "--yes"];
    assert!(stage.belay(&words).unwrap_err().sentence().contains("hides the newer record"));
}

#[test]
fn the_newest_runbook_that_verifies_is_run_and_never_one_of_two() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    let (old, new, forged) = (script(60), script(30), script(10));
    let versions =
        stage.has_runbooks(&[(&forged, &stage.thief), (&new, &stage.acme.person), (&old, &stage.acme.person)]);
    stage.belay(&with(&RUN, &["--yes"])).unwrap();
    assert_eq!(stage.sent().0.version, versions[1]);
    let by_hash = versions[2].to_string();
    stage.belay(&["run", &by_hash, "service=cups", "--on", "acme/web*", "--yes"]).unwrap();
    assert_eq!(stage.sent().0.version, versions[2]);
    let by_hash = versions[0].to_string();
    let refused = stage.belay(&["run", &by_hash, "service=cups", "--on", "acme/web*", "--yes"]).unwrap_err();
    assert!(refused.sentence().contains("signers"), "{refused:?}");
    let twin = new.clone() + "# another\n";
    let twins = stage.has_runbooks(&[(&new, &stage.acme.person), (&twin, &stage.acme.person)]);
    let refused = stage.belay(&with(&RUN, &["--yes"])).unwrap_err();
    assert!(twins.iter().all(|twin| refused.sentence().contains(&twin.to_string())), "{refused:?}");
    stage.belay(&["runbook", "list", "acme"]).unwrap();
    stage.belay(&["runbook", "list", "--json"]).unwrap();
    stage.belay(&["runbook", "show", &versions[1].to_string()]).unwrap();
    assert!(stage.belay(&["runbook", "show", "other", "--tenant", "acme"]).is_err());
}

#[test]
fn a_gateway_that_calls_an_old_runbook_new_or_shows_other_bytes_is_not_believed() {
    let stage = stage();
    let (old, new) = (script(60), script(30));
    let versions = stage.has_runbooks(&[(&new, &stage.acme.person), (&old, &stage.acme.person)]);
    let rows = json!([{"name": "restart-service", "version": versions[1], "issued": earlier(0)}]);
    stage.answers("runbooks_acme_--json_--name_restart-service", rows.to_string());
    assert!(stage.belay(&with(&RUN, &["--dry-run"])).unwrap_err().sentence().contains("no runbook restart-service"));
    let file = |version: &Digest| format!("runbook_show_acme_{}", version.to_string().replace(':', "_"));
    let answers = stage.home.dir().join("answers");
    fs::copy(answers.join(file(&versions[1])), answers.join(file(&versions[0]))).unwrap();
    let by_hash = versions[0].to_string();
    let refused = stage.belay(&["runbook", "show", &by_hash, "--tenant", "acme"]).unwrap_err();
    assert!(refused.sentence().contains("other bytes"), "{refused:?}");
}

#[test]
fn a_lost_connection_is_taken_up_again() {
    let stage = stage();
    goes(&stage, "succeeded", "succeeded");
    let first = text(&[
        whole(false, &[run("web1", "waiting"), run("web2", "waiting")]),
        change(false, &[run("web1", "started")]),
    ]);
    stage.answers("job_ID_--follow_--json.first", first + "{\"job\":");
    stage.answers("run_acme_--json.first", "");
    stage.belay(&with(&RUN, &["--yes"])).unwrap();
    assert_eq!(stage.asked().matches("--follow").count(), 2);
    assert_eq!(stage.asked().matches("run acme --json").count(), 2, "the same order again");
}

#[test]
fn what_the_gateway_refuses_is_its_sentence() {
    let stage = stage();
    let refused = stage.belay(&with(&RUN, &["--yes"])).unwrap_err();
    assert_eq!((refused.status(), refused.sentence()), (1, "acme: no answer to run acme --json"));
}

#[test]
fn an_older_gateway_is_followed_without_what_devices_print() {
    let stage = stage();
    let mut ended = run("web1", "succeeded");
    (ended["output"], ended["output_bytes"]) = (json!(Digest::of(b"1 o aGVsbG8K\n")), json!(13));
    stage.takes_orders(&[whole(true, &[ended, run("web2", "succeeded")])]);
    stage.answers("job_ID_--follow_--json_--output.usage", "job takes no --output with --follow\n");
    let failure = stage.belay(&with(&RUN, &["--yes", "--output"])).unwrap_err();
    assert_eq!(failure.status(), 3, "they succeeded, and their output was not shown: {failure:?}");
    assert_eq!(stage.asked().matches("--follow --json").count(), 2);
    stage.takes_orders(&[whole(true, &[run("web1", "succeeded"), run("web2", "succeeded")])]);
    stage.belay(&with(&RUN, &["--yes", "--output"])).unwrap();
}

#[test]
fn outputs_are_shown_when_they_are_what_the_device_stated() {
    let stage = stage();
    let file = b"1 o aGVsbG8K\n";
    let mut ended = run("web1", "failed");
    ended["output"] = json!(Digest::of(file));
    let over = whole(true, &[ended.clone(), run("web2", "succeeded")]);
    stage.takes_orders(std::slice::from_ref(&over));
    let part = |device: &str| json!({"job": over["job"], "device": device, "at": 0, "output": "1 o aGVsbG8K\n"});
    let followed = "job_ID_--follow_--json_--output";
    stage.answers(followed, text(&[over.clone(), part("web1")]));
    // It was over, and what was printed had not come.
    stage.answers(&format!("{followed}.first"), text(std::slice::from_ref(&over)));
    assert_eq!(stage.status(&with(&RUN, &["--yes", "--output"])), 3);
    assert_eq!(stage.asked().matches("--follow --json --output").count(), 2);
    stage.answers(followed, text(&[over.clone(), part("db1")]));
    let failure = stage.belay(&with(&RUN, &["--yes", "--output"])).unwrap_err();
    assert!(failure.sentence().contains("db1 printed"), "{failure:?}");
    stage.answers("job_ID_--device_web1_--output", file);
    stage.answers("job_ID_--json", whole(true, &[ended]).to_string());
    let id = "0f".repeat(16);
    stage.belay(&["job", &id, "--device", "web1", "--output"]).unwrap();
    stage.answers("job_ID_--device_web1_--output", b"1 o aGVsbA==\n");
    let refused = stage.belay(&["job", &id, "--device", "web1.acme", "--output"]).unwrap_err();
    assert!(refused.sentence().contains("is not shown"), "{refused:?}");
    // What is still with the device is not held against the gateway.
    let mut longer = run("web1", "failed");
    (longer["output"], longer["output_bytes"]) = (json!(Digest::of(file)), json!(file.len()));
    stage.answers("job_ID_--json", whole(true, &[longer]).to_string());
    stage.answers("job_ID_--device_web1_--output", b"1 o aGVs");
    stage.belay(&["job", &id, "--device", "web1", "--output"]).unwrap();
}

#[test]
fn high_risk_wants_another_person_for_the_order_before_anything_is_signed() {
    let stage = stage();
    let risky = script(60).replacen("risk = \"normal\"", "risk = \"high\"", 1);
    stage.has_runbooks(&[(&risky, &stage.acme.person)]);
    let refused = stage.belay(&with(&RUN, &["--yes"])).unwrap_err();
    assert!(refused.sentence().contains("let another person sign the order"), "{refused:?}");
    assert!(!stage.asked().contains("run acme"));
}

#[test]
fn jobs_are_listed_shown_and_cancelled() {
    let stage = stage();
    let id = "0f".repeat(16);
    stage.answers("jobs_--tenant_acme_--json", json!([{"job": id, "counts": {"failed": 1}}]).to_string());
    for more in [&[][..], &["--json"], &["--csv"]] {
        stage.belay(&with(&["jobs", "acme"], more)).unwrap();
    }
    stage.answers("job_ID_--json", whole(true, &[run("web1", "failed")]).to_string());
    for more in [&[][..], &["--json"], &["--csv"], &["--device", "web1"]] {
        stage.belay(&with(&["job", &id], more)).unwrap();
    }
    assert!(stage.belay(&["job", &id, "--device", "db1"]).unwrap_err().sentence().contains("not for db1"));
    assert_eq!(stage.status(&["job", &id, "--output"]), 2);
    stage.answers("cancel_ID", "job <ID> is cancelled: 1 runs that had started were told so\n");
    stage.belay(&["cancel", &id]).unwrap();
    assert!(stage.asked().contains(&format!("cancel {id}")));
}

/// The job of the order that was sent last, with these states.
fn old_job(stage: &Stage, over: bool, runs: &[(&str, u64, &str)]) -> (Order, Value) {
    let (order, signed, _) = stage.sent();
    let runs: Vec<Value> = runs
        .iter()
        .map(|(device, serial, state)| json!({"device": device, "serial": serial, "state": state}))
        .collect();
    let mut job = whole(over, &runs);
    job["order"] = json!(String::from_utf8(signed.bytes).unwrap());
    job["signature"] = json!(signed.signatures[0]);
    stage.answers("job_ID_--json", job.to_string());
    (order, job)
}

#[test]
fn a_retry_orders_the_same_again_for_those_that_failed_or_never_began() {
    let stage = stage();
    stage.has_devices(&[("web1.acme", &["server"], 7), ("web2.acme", &["server"], 8), ("web3.acme", &["server"], 9)]);
    goes(&stage, "succeeded", "failed");
    let words =
        ["run", "restart-service", "service=cups", "mode=reload", "--on", "acme/web*", "--timeout", "30s", "--yes"];
    stage.belay(&with(&words, &["--detach"])).unwrap_err();
    let (old, _) =
        old_job(&stage, true, &[("web1", 7, "succeeded"), ("web2", 8, "timed out"), ("web3", 9, "interrupted")]);
    // The device was relabelled in between: its record is another.
    stage.has_devices(&[
        ("web1.acme", &["server"], 7),
        ("web2.acme", &["server", "new"], 12),
        ("web3.acme", &["server"], 9),
    ]);
    stage.has_runbooks(&[(&script(5), &stage.acme.person)]);
    stage.takes_orders(&[whole(true, &[run("web2", "succeeded")])]);
    stage.belay(&["retry", &old.id.to_string(), "--yes"]).unwrap();
    let (new, _, list) = stage.sent();
    assert_eq!(list.lines(), ["web2 12".parse::<DeviceLine>().unwrap()]);
    assert_ne!(new.id, old.id);
    assert_eq!((new.version, &new.arguments, new.timeout), (old.version, &old.arguments, old.timeout));
    assert_eq!((new.account, new.runbook), (old.account, old.runbook));
    // One device has left in between: the others are ordered all the same.
    let states = [("web1", 7, "failed"), ("web2", 8, "failed"), ("web3", 9, "failed")];
    let words = ["run", "restart-service", "service=cups", "--on", "acme/web*", "--detach", "--yes"];
    stage.has_devices(&[("web1.acme", &["server"], 7), ("web2.acme", &["server"], 8), ("web3.acme", &["server"], 9)]);
    fs::remove_file(stage.home.dir().join("tenants/acme/serials.toml")).unwrap();
    stage.belay(&words).unwrap_err();
    let (old, _) = old_job(&stage, true, &states);
    stage.has_devices(&[("web1.acme", &["server"], 7), ("web3.acme", &["server"], 9)]);
    stage.belay(&["retry", &old.id.to_string(), "--yes", "--detach"]).unwrap_err();
    assert_eq!(stage.sent().2.to_text(), "web1 7\nweb3 9\n");
}

#[test]
fn a_retry_believes_no_order_that_no_person_signed_for_these_devices() {
    let stage = stage();
    goes(&stage, "succeeded", "failed");
    stage.belay(&with(&RUN, &["--yes", "--detach"])).unwrap_err();
    let all = [("web1", 7, "failed"), ("web2", 8, "failed")];
    let refused = |hint: &str| {
        let id = stage.sent().0.id.to_string();
        let refused = stage.belay(&["retry", &id, "--yes"]).unwrap_err();
        assert!(refused.sentence().contains(hint), "{hint}: {refused:?}");
    };
    old_job(&stage, false, &all);
    refused("is not over");
    old_job(&stage, true, &[("web1", 7, "succeeded"), ("web2", 8, "cancelled")]);
    refused("no device of the job");
    old_job(&stage, true, &[("web1", 7, "failed")]);
    refused("other devices");
    old_job(&stage, true, &[("web1", 7, "failed"), ("web2", 9, "failed")]);
    refused("other devices");
    let (_, mut job) = old_job(&stage, true, &all);
    let text = job["order"].as_str().unwrap().to_owned();
    let stranger = belay_certs::PrivateKey::generate_ed25519("").unwrap();
    job["signature"] = json!(sshsig::sign(Namespace::Order, text.as_bytes(), &stranger).unwrap());
    stage.answers("job_ID_--json", job.to_string());
    refused("nobody in the policy");
    job["order"] = json!(text.replace("cups", "sshd"));
    stage.answers("job_ID_--json", job.to_string());
    refused("the old order");
    assert_eq!(stage.asked().matches("run acme --json").count(), 1);
}

#[test]
fn a_runbook_is_signed_with_its_moment_and_pushed_to_those_who_trust_its_author() {
    let stage = stage();
    let file = stage.path().join("restart.sh");
    fs::write(&file, script(3_600)).unwrap();
    let name = file.display().to_string();
    assert!(stage.belay(&["runbook", "push", &name, "--all"]).unwrap_err().sentence().contains("runbook sign"));
    stage.belay(&["runbook", "check", &name]).unwrap();
    stage.belay(&["runbook", "sign", &name]).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert_ne!(bytes, script(3_600).into_bytes(), "its moment is another");
    let signature = fs::read_to_string(stage.path().join("restart.sh.sig")).unwrap();
    let author = sshsig::verify(Namespace::Runbook, &bytes, signature.trim()).unwrap();
    assert_eq!(author, *stage.acme.person_key());
    stage.answers("runbook_push_acme", "restart-service sha256:… is in the library of acme\n");
    stage.belay(&["runbook", "push", &name, "--all"]).unwrap();
    stage.belay(&["runbook", "push", &name, "--tenant", "acme"]).unwrap();
    let thief = crate::testing::stage::write_key(&stage.path().join("thief"), &stage.thief).display().to_string();
    stage.belay(&["runbook", "sign", &name, "--key", &thief]).unwrap();
    let refused = stage.belay(&["runbook", "push", &name, "--all"]).unwrap_err();
    assert!(refused.sentence().contains("brought nowhere"), "{refused:?}");
    assert_eq!(stage.status(&["runbook", "push", &name, "--tenant", "acme"]), 1);
    assert_eq!(stage.asked().matches("runbook push").count(), 2);
    fs::write(&file, bytes.repeat(2)).unwrap();
    assert_eq!(stage.status(&["runbook", "push", &name, "--tenant", "acme"]), 1);
}
