//! Orders, what becomes of their runs, and what runs wrote.

use super::fixtures::{Speaker, ended, order, run_intent};
use super::live::{opened, session, statement, with_device};
use super::*;
use crate::store::gathering::can_wait;
use crate::store::record::{Job, Work};
use crate::store::{Piece, RecordError, Urgency};
use belay_certs::order::{DeviceLine, Outcome as How};
use belay_certs::statement::{Body, RunEnd};
use belay_certs::{DeviceName, Digest};
use belay_rules::Refusal;
use belay_rules::job::{Missed, Withheld};
use belay_rules::statement::Seen;
use belay_rules::submission::{RunState, Submission};
use tokio::sync::oneshot;

pub(super) const JOB: Id = Id([0x0b; 16]);
const LIST: &str = "web1 1\n";

pub(super) fn web1() -> DeviceName {
    "web1".parse().unwrap()
}

fn submission() -> Submission {
    let order = order(JOB, LIST);
    Submission {
        signed: Signed { bytes: order.to_text().into_bytes(), signatures: vec!["signature".to_owned()] },
        order,
        list: LIST.as_bytes().to_vec(),
        person: ann(),
        key: "SHA256:ann".to_owned(),
        author_key: "SHA256:carol".to_owned(),
        bearer: ann(),
    }
}

pub(super) fn submit() -> Ask {
    Ask::SubmitJob(Box::new(submission()))
}

pub(super) fn offer() -> Ask {
    let line = DeviceLine { name: web1(), serial: 1, sealed: None };
    Ask::OfferRuns { tenant: tenant(), job: JOB, devices: vec![(0, line)] }
}

fn cancel() -> Ask {
    Ask::CancelJob { tenant: tenant(), job: JOB, by: ann() }
}

pub(super) fn starts() -> Body {
    Body::RunStarted(run_intent(JOB, LIST))
}

fn ends(outcome: How) -> Body {
    let reason = (!outcome.has_begun()).then(|| "it was called off".to_owned());
    Body::RunEnded(RunEnd {
        order: JOB,
        outcome,
        exit: (outcome == How::Succeeded).then_some(0),
        signal: None,
        reason,
        duration_ms: 0,
        output: None,
        output_bytes: 0,
        output_dropped: 0,
    })
}

pub(super) fn piece(offset: u64, bytes: &[u8]) -> Piece {
    Piece { tenant: tenant(), device: web1(), job: JOB, offset, bytes: bytes.to_vec(), at: now() }
}

async fn state(world: &World) -> Option<RunState> {
    world.store.tenant(&tenant()).unwrap().run(JOB, &web1()).await.unwrap().map(|run| run.state)
}

pub(super) async fn refused(world: &World, ask: Ask) -> Refusal {
    match world.store.record(ask, now()).await.unwrap_err() {
        RecordError::Refused(refusal) => refusal,
        RecordError::Broken(broken) => panic!("{broken}"),
    }
}

#[tokio::test]
async fn an_order_is_offered_started_and_ended_once_and_a_restart_changes_nothing() {
    let (world, mut device, join) = with_device().await;
    let first = world.record(submit()).await;
    world.record(offer()).await;
    assert_eq!(state(&world).await, Some(RunState::Offered));
    let world = world.reopen().await;
    assert_eq!(world.store.jobs_open().await.unwrap(), [(tenant(), JOB)]);
    let again = world.record(submit()).await;
    assert_eq!((again.outcome, again.index), (Outcome::Again, first.index));
    let said = device.say(starts());
    assert_eq!(world.record(statement(join, said.clone(), None)).await.outcome, Outcome::Recorded);
    assert_eq!(state(&world).await, Some(RunState::Started));
    let world = world.reopen().await;
    assert_eq!(world.record(statement(join, said, None)).await.outcome, Outcome::Again);
    world.record(statement(join, device.say(ends(How::Succeeded)), None)).await;
    let runs = [(How::Succeeded, 1)].into();
    world.record(Ask::EndJob { tenant: tenant(), job: JOB, runs, unanswered: 0 }).await;
    assert_eq!(state(&world).await, Some(RunState::Ended(How::Succeeded)));
    assert!(world.store.jobs_open().await.unwrap().is_empty());
    assert_eq!(refused(&world, cancel()).await, Refusal::JobOver(JOB));
    let types = world.types(&acme_log()).await;
    let job: Vec<&str> =
        types.iter().map(String::as_str).filter(|kind| kind.starts_with("job.") || kind.starts_with("run.")).collect();
    assert_eq!(job, ["job.submitted", "job.offered", "run.started", "run.ended", "job.ended"]);
    world.check().await;
}

#[tokio::test]
async fn what_was_called_off_does_not_start_and_an_intent_sent_again_gets_no_second_receipt() {
    let (world, mut device, join) = with_device().await;
    world.record(submit()).await;
    let early = world.record(statement(join, device.say(starts()), None)).await;
    let not_offered = Refusal::RunWithheld { order: JOB, why: Withheld::NotOffered };
    assert_eq!(early.outcome, Outcome::Withheld(not_offered));
    world.record(offer()).await;
    let said = device.say(starts());
    assert_eq!(world.record(statement(join, said.clone(), None)).await.outcome, Outcome::Recorded);
    world.record(cancel()).await;
    let cancelled = Refusal::RunWithheld { order: JOB, why: Withheld::Cancelled };
    assert_eq!(refused(&world, statement(join, said.clone(), None)).await, cancelled);
    let world = world.reopen().await;
    assert_eq!(refused(&world, statement(join, said, None)).await, cancelled);
    assert_eq!(refused(&world, offer()).await, cancelled);
    assert_eq!(refused(&world, cancel()).await, Refusal::JobCancelled(JOB));
    let missed = Missed { runs: 2, places: 3, tolerated: 1 };
    assert_eq!(refused(&world, Ask::StopJob { tenant: tenant(), job: JOB, missed }).await, Refusal::JobOver(JOB));
    world.record(statement(join, device.say(ends(How::NotStarted)), None)).await;
    assert_eq!(state(&world).await, Some(RunState::Ended(How::NotStarted)));
    world.check().await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_again_with_all_that_follows_from_it() {
    let (world, mut device, join) = with_device().await;
    let said = device.say(starts());
    let steps: [(Ask, Outcome); 3] = [
        (submit(), Outcome::Again),
        (offer(), Outcome::Recorded),
        (statement(join, said.clone(), None), Outcome::Again),
    ];
    for (ask, outcome) in steps {
        world.faults.lose_answer.store(true, Ordering::SeqCst);
        assert!(matches!(world.store.record(ask.clone(), now()).await, Err(RecordError::Broken(_))));
        assert_eq!(world.record(ask).await.outcome, outcome);
    }
    assert_eq!(state(&world).await, Some(RunState::Started));
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(world.store.keep(piece(0, b"some")).await.is_err());
    assert_eq!(world.store.keep(piece(0, b"some output")).await.unwrap(), 11, "what is there is not written twice");
    assert_eq!(world.store.tenant(&tenant()).unwrap().output(JOB, &web1(), 0).await.unwrap(), b"some output");
    world.check().await;
}

#[tokio::test]
async fn output_is_kept_where_it_continues_and_nowhere_else() {
    let (world, ..) = with_device().await;
    world.record(submit()).await;
    let unknown = world.store.keep(piece(0, b"x")).await.unwrap_err();
    assert!(matches!(unknown, RecordError::Refused(Refusal::RunUnknown(_))), "{unknown}");
    world.record(offer()).await;
    assert_eq!(world.store.keep(piece(0, b"abc")).await.unwrap(), 3);
    assert_eq!(world.store.keep(piece(5, b"gap")).await.unwrap(), 3);
    assert_eq!(world.store.keep(piece(1, b"bcde")).await.unwrap(), 5);
    let world = world.reopen().await;
    assert_eq!(world.store.keep(piece(0, b"")).await.unwrap(), 5);
    let max = belay_certs::limits::OUTPUT_BYTES_MAX;
    let rest = vec![b'x'; usize::try_from(max).unwrap() - 5];
    assert_eq!(world.store.keep(piece(5, &rest)).await.unwrap(), max);
    let over = world.store.keep(piece(max, b"y")).await.unwrap_err();
    assert!(matches!(over, RecordError::Refused(Refusal::OutputTooLong(_))), "{over}");
    let kept = world.store.tenant(&tenant()).unwrap().run(JOB, &web1()).await.unwrap().unwrap().output_kept;
    assert_eq!(kept, max);
}

#[tokio::test]
async fn a_declined_order_has_ended_and_a_device_says_its_end_once() {
    let (world, mut device, join) = with_device().await;
    world.record(submit()).await;
    world.record(offer()).await;
    let digest = Digest::of(b"offered");
    let decline = Ask::DeclineRun {
        tenant: tenant(),
        device: web1(),
        order: JOB,
        digest,
        sentence: "signed by nobody".to_owned(),
    };
    world.record(decline).await;
    assert_eq!(state(&world).await, Some(RunState::Ended(How::Refused)));
    let ended = Refusal::RunWithheld { order: JOB, why: Withheld::Ended(How::Refused) };
    let started = world.record(statement(join, device.say(starts()), None)).await;
    assert_eq!(started.outcome, Outcome::Withheld(ended));
    world.record(statement(join, device.say(ends(How::NotStarted)), None)).await;
    assert_eq!(state(&world).await, Some(RunState::Ended(How::Refused)), "the first word counts");
    world.check().await;
}

#[tokio::test]
async fn another_order_under_the_same_id_is_refused() {
    let (world, ..) = with_device().await;
    world.record(submit()).await;
    let mut other = submission();
    other.signed.bytes.push(b'\n');
    assert_eq!(refused(&world, Ask::SubmitJob(Box::new(other))).await, Refusal::OrderIdTaken(JOB));
    let elsewhere = Ask::CancelJob { tenant: tenant(), job: Id([9; 16]), by: ann() };
    assert_eq!(refused(&world, elsewhere).await, Refusal::JobUnknown(Id([9; 16])));
}

#[test]
fn what_a_machine_says_of_runs_can_wait_unless_more_is_behind_it_and_what_it_says_of_sessions_cannot() {
    let mut device = Speaker::new("web1", 1);
    let mut waits = |body: Body, urgency: Urgency| {
        let ask = Box::new(statement(Id([1; 16]), device.say(body), None));
        let work = Work::Judge { ask, urgency, seen: Seen::Fits, now: now() };
        can_wait(&Job { work, answer: oneshot::channel().0 })
    };
    for body in [starts(), ends(How::Succeeded)] {
        assert!(waits(body.clone(), Urgency::CanWait) && !waits(body, Urgency::AtOnce));
    }
    for body in [opened(1), ended(session(1))] {
        assert!(!waits(body, Urgency::CanWait));
    }
    let work = Work::Keep(Box::new(piece(0, b"said")));
    assert!(!can_wait(&Job { work, answer: oneshot::channel().0 }), "its next piece waits");
}
