//! Who is refused, declined, called off, and how the log says so.

use super::bench::*;
use crate::limits::DECLINES_PER_MINUTE_MAX;
use crate::testbed::{now, sign};
use belay_agent_rules::limits::RUNS_MAX;
use belay_certs::{
    Id, Namespace,
    order::Outcome,
    output::Stream,
    statement::{Body, RunIntent},
};
use belay_protocol::{RefusalCode, RunOffered, StatementMade};

/// What was refused, and why.
fn refusal(made: &StatementMade) -> (RunIntent, String) {
    match said(made).body {
        Body::RunRefused { intent, reason } => (intent, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_order_of_somebody_who_may_not_is_refused_in_the_log_and_remembered() {
    let mut bench = Bench::new().await;
    let bob = crate::testbed::key("bob");
    let with_bob = bench.tenant.publish(|draft| draft.people.push(("bob", bob.public().clone())));
    bench.life.authority.take_policy(&bench.tenant.name(), &with_bob).unwrap();
    let mut draft = bench.draft("true");
    draft.signer = bob;
    bench.offer(&draft).await;
    let made = bench.hear().await;
    let (intent, reason) = refusal(&made);
    assert_eq!((intent.order, intent.person.to_string().as_str()), (draft.order.id, "bob"));
    assert!(reason.contains("bob") && intent.grant_line.is_none(), "{reason}");
    bench.answer(&made).await;
    bench.life.recorder.settled().await;
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("refused here before"));
    bench.restart().await;
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("refused here before"));
}

#[tokio::test]
async fn what_is_not_proved_to_be_anybodys_leaves_no_statement() {
    let mut bench = Bench::new().await;
    let good = bench.draft("true");
    let mut strange = bench.draft("true");
    strange.signer = stranger();
    let mut foreign = bench.draft("true");
    foreign.order.tenant = "globex".parse().unwrap();
    let wrong_purpose = RunOffered {
        order_signature: sign(Namespace::Runbook, &good.order.to_text(), &good.signer).signatures[0].clone(),
        ..good.signed()
    };
    let garbage = RunOffered { order: vec![0xff; 100], ..good.signed() };
    for (offer, id, hint) in [
        (strange.signed(), strange.order.id, "who is nobody in acme"),
        (foreign.signed(), foreign.order.id, "is for globex, not for acme"),
        (wrong_purpose, good.order.id, "order.v1@belay"),
        (garbage, Id([0; 16]), "the order"),
    ] {
        let digest = belay_certs::Digest::of(&offer.order).0;
        bench.offer_signed(offer).await;
        let declined = bench.declined().await;
        assert_eq!((declined.order, declined.digest), (id.0, digest), "{}", declined.sentence);
        assert!(declined.sentence.contains(hint), "{}", declined.sentence);
    }
    assert_eq!(bench.life.recorder.last_seq().await, 0);
    // And none of them is remembered: the true one still runs.
    let end = bench.run(&good).await;
    assert_eq!(end.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_gateway_that_offers_rubbish_is_answered_so_often_and_no_more() {
    let mut bench = Bench::new().await;
    let good = bench.draft("true");
    for _ in 0..DECLINES_PER_MINUTE_MAX + 5 {
        bench.offer_signed(RunOffered { order: b"rubbish".to_vec(), ..good.signed() }).await;
    }
    bench.offer(&good).await;
    bench.intent().await;
    for _ in 0..DECLINES_PER_MINUTE_MAX {
        bench.declined().await;
    }
    assert!(bench.is_silent());
}

#[tokio::test]
async fn what_the_machine_lacks_is_refused_before_anything_is_noted() {
    let mut bench = Bench::new().await;
    for (interpreter, hint) in [
        ("#!/no/such/program", "there is no program /no/such/program on this machine"),
        ("#!/usr/bin/env no-such-name", "there is no program no-such-name in /usr/local/sbin"),
        ("#!/etc/passwd", "there is no program /etc/passwd"),
    ] {
        let draft = bench.draft_for(interpreter, "", "true");
        bench.offer(&draft).await;
        let (intent, reason) = refusal(&bench.hear().await);
        assert!(intent.order == draft.order.id && reason.contains(hint), "{reason}");
        assert!(!bench.directory(draft.order.id).exists());
    }
    let mut draft = bench.draft("true");
    let ghosts = bench.tenant.publish(|draft| draft.grants = grants(&GRANTS.replace("ACCOUNT", "no-such-account")));
    bench.life.authority.take_policy(&bench.tenant.name(), &ghosts).unwrap();
    draft.order.account = "no-such-account".parse().unwrap();
    bench.offer(&draft).await;
    let (_, reason) = refusal(&bench.hear().await);
    assert!(reason.contains("there is no account no-such-account"), "{reason}");
}

#[tokio::test]
async fn a_clock_that_is_not_believed_starts_nothing_and_both_are_named() {
    let mut bench = Bench::new().await;
    bench.life.authority.clock().gateway_says(moment("2026-12-01T13:00:00Z"));
    let draft = bench.draft("true");
    bench.offer(&draft).await;
    let (_, reason) = refusal(&bench.hear().await);
    assert!(reason.contains("2026-12-01T12:00:00Z") && reason.contains("2026-12-01T13:00:0"), "{reason}");
}

#[tokio::test]
async fn an_order_from_before_the_machine_remembers_is_refused() {
    let mut bench = Bench::new().await;
    std::fs::write(bench.machine.dir.at("since"), format!("{}\n", now().plus(belay_certs::time::SECOND))).unwrap();
    bench.restart().await;
    let draft = bench.draft("true");
    bench.offer(&draft).await;
    let (_, reason) = refusal(&bench.hear().await);
    assert!(reason.contains("what this machine remembers of orders begins at"), "{reason}");
}

#[tokio::test]
async fn one_order_offered_twice_is_one_run() {
    let mut bench = Bench::new().await;
    let file = bench.file("ran");
    let draft = bench.draft(&format!("echo x >> {}", file.display()));
    bench.offer(&draft).await;
    bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.offer(&draft).await;
    bench.answer(&intent).await;
    let end = bench.end().await;
    bench.offer(&draft).await;
    bench.life.runs.kept(end.order, end.output_bytes);
    bench.forgotten(end.order).await;
    assert!(bench.is_silent());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "x\n");
}

#[tokio::test]
async fn a_busy_machine_refuses_one_more() {
    let mut bench = Bench::new().await;
    for _ in 0..RUNS_MAX {
        bench.offer(&bench.draft("true")).await;
        bench.intent().await;
    }
    let draft = bench.draft("true");
    bench.offer(&draft).await;
    let (intent, reason) = refusal(&bench.hear().await);
    assert!(intent.order == draft.order.id && reason.contains("8 runs are going on here"), "{reason}");
    assert!(!bench.directory(draft.order.id).exists());
}

#[tokio::test]
async fn a_run_that_is_called_off_before_it_starts_never_starts() {
    let mut bench = Bench::new().await;
    let file = bench.file("ran");
    let script = format!("touch {}", file.display());
    let draft = bench.draft(&script);
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.life.runs.cancelled(order, "its job was\ncancelled by bob");
    let end = bench.end().await;
    assert_eq!(verdict(&end), (Outcome::NotStarted, "its job was cancelled by bob"));
    // The receipt comes all the same: it starts nothing.
    bench.answer(&intent).await;
    bench.life.recorder.settled().await;
    bench.forgotten(order).await;
    // One that was withheld, and one that may no more start.
    let draft = bench.draft(&script);
    bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer_as(&intent, Some("run.withheld")).await;
    assert_eq!(verdict(&bench.end().await), (Outcome::NotStarted, "its job was cancelled"));
    let draft = bench.draft(&script);
    bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.tenant.log.record(&intent);
    bench.refuse(&intent, RefusalCode::Withdrawn).await;
    assert_eq!(verdict(&bench.end().await), (Outcome::NotStarted, "because"));
    bench.life.recorder.settled().await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_run_that_is_called_off_while_it_runs_is_ended() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("echo begun\nsleep 1000");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    bench.life.runs.cancelled(order, "enough");
    let end = bench.end().await;
    assert_eq!((verdict(&end), end.signal.as_deref()), ((Outcome::Cancelled, "enough"), Some("TERM")));
    assert_eq!(text(&bench.output(&end), Stream::Out), "begun\n");
}

#[tokio::test]
async fn what_a_new_policy_forbids_does_not_start_and_does_not_go_on() {
    let mut bench = Bench::new().await;
    let running = bench.draft("echo begun\nsleep 1000");
    let order = bench.offer(&running).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    // The same script in another version, so that only one of both is withdrawn.
    let noted = bench.draft("true");
    bench.offer(&noted).await;
    let intent = bench.intent().await;
    let (one, two) = (running.order.version, noted.order.version);
    let withdrawn = grants(&(GRANTS.to_owned() + &format!("withdrawn = [\"{one}\", \"{two}\"]\n")));
    let newer = bench.tenant.publish(|draft| draft.grants = withdrawn);
    bench.life.authority.take_policy(&bench.tenant.name(), &newer).unwrap();
    let end = bench.end().await;
    let (outcome, reason) = verdict(&end);
    assert!(end.order == order && outcome == Outcome::Cancelled && reason.contains("`withdrawn`"), "{reason}");
    bench.answer(&intent).await;
    let end = bench.end().await;
    let (outcome, reason) = verdict(&end);
    assert!(end.order == noted.order.id && outcome == Outcome::Refused && reason.contains("`withdrawn`"), "{reason}");
}

#[tokio::test]
async fn a_run_whose_grant_is_lost_is_ended() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("echo begun\nsleep 1000");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    let without = grants(&GRANTS.replace(", \"run\"", "").replace("runbooks = [\"*\"]\n", ""));
    let newer = bench.tenant.publish(|draft| draft.grants = without);
    bench.life.authority.take_policy(&bench.tenant.name(), &newer).unwrap();
    let end = bench.end().await;
    assert_eq!(end.outcome, Outcome::Cancelled);
    assert!(end.reason.unwrap().contains("alice"));
}
