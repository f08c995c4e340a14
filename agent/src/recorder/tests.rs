//! The promise that nothing starts unproved (P1), against an honest gateway, a lying one, and none.

use super::*;
use crate::testbed::{Machine, Tenant, ended, intent};
use belay_agent_rules::limits::IN_FLIGHT_MAX;
use belay_certs::statement::Statement;
use belay_protocol::{RefusalCode, StatementMade};

/// A machine whose recorder speaks with the test as with its gateway.
struct Bench {
    tenant: Tenant,
    machine: Machine,
    recorder: Recorder,
    heard: mpsc::Receiver<ToGateway>,
    /// The size of the log in the last receipt given: as our gateway does, the next proof starts there.
    given: u64,
}

impl Bench {
    /// Approved, connected, nothing said.
    async fn new() -> Self {
        let tenant = Tenant::new("acme");
        let machine = Machine::joined(&tenant);
        let authority = machine.approved(&tenant);
        let (recorder, _) = machine.recorder(&authority);
        let heard = connect(&recorder).await;
        Self { tenant, machine, recorder, heard, given: 0 }
    }

    /// As after `kill -9`: what the old recorder still does reaches no file that counts, and the outbox is read again. Not
    /// connected.
    fn restart(&mut self) {
        let outbox = self.machine.path().join("outbox");
        std::fs::copy(&outbox, outbox.with_extension("copy")).unwrap();
        std::fs::rename(outbox.with_extension("copy"), &outbox).unwrap();
        (self.recorder, _) = self.machine.recorder(&self.machine.authority());
    }

    async fn hear(&mut self) -> StatementMade {
        hear(&mut self.heard).await
    }

    /// Records what came and answers with its receipt.
    async fn answer(&mut self, made: &StatementMade) {
        let index = self.tenant.log.record(made);
        let receipt = self.tenant.log.receipt(index, made.consistency_from.max(self.given));
        self.given = self.tenant.log.size();
        self.recorder.receipt(receipt).await;
    }

    fn prove(&self, n: u8) -> tokio::task::JoinHandle<Result<Permission, NoProof>> {
        let (recorder, tracker) = (self.recorder.clone(), TaskTracker::new());
        tracker.spawn(async move { recorder.prove(intent(n)).await })
    }

    async fn refuse(&self, made: &StatementMade, code: RefusalCode) {
        let refused =
            StatementRefused { statement: said(made).head.id.0, code: code.code(), sentence: "because".into() };
        self.recorder.refused(refused).await;
    }
}

async fn connect(recorder: &Recorder) -> mpsc::Receiver<ToGateway> {
    let (link, heard) = mpsc::channel(IN_FLIGHT_MAX);
    recorder.connected(link).await;
    heard
}

async fn hear(heard: &mut mpsc::Receiver<ToGateway>) -> StatementMade {
    match heard.recv().await.expect("the link is open") {
        ToGateway::StatementMade(made) => made,
        other => panic!("{other:?}"),
    }
}

fn said(made: &StatementMade) -> Statement {
    Statement::parse(made.text.as_bytes()).unwrap()
}

/// The reason of an end.
fn end_of(made: &StatementMade, n: u8) -> String {
    match said(made).body {
        Body::SessionEnded { session, reason, .. } if session == Id([n; 16]) => reason.unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_intent_is_proved_and_the_head_it_proved_is_kept() {
    let mut bench = Bench::new().await;
    bench.tenant.log.noise();
    let proving = bench.prove(1);
    let made = bench.hear().await;
    assert_eq!((made.seq, made.consistency_from, made.origin.as_str()), (1, 0, ""));
    assert_eq!(said(&made).head.device.to_string(), "web1.acme");
    bench.answer(&made).await;
    let recorded = proving.await.unwrap().unwrap();
    assert_eq!(recorded.recorded().checkpoint().size, 2);
    bench.recorder.report(ended(1)).await.unwrap();
    let made = bench.hear().await;
    assert_eq!((made.seq, made.consistency_from, made.origin.as_str()), (2, 2, "gw.example/acme"));
    assert_eq!(said(&made).head.checkpoint.unwrap().size, 2);
    bench.answer(&made).await;
    bench.recorder.settled().await;
}

#[tokio::test]
async fn statements_form_a_chain() {
    let mut bench = Bench::new().await;
    for n in 1..=3 {
        bench.recorder.report(ended(n)).await.unwrap();
    }
    let mut previous = None;
    for seq in 1..=3 {
        let made = bench.hear().await;
        let head = said(&made).head;
        assert_eq!((head.seq, head.previous), (seq, previous));
        previous = Some(belay_certs::Digest::of(made.text.as_bytes()));
    }
}

#[tokio::test]
async fn two_intents_at_once_are_both_proved_from_receipts_that_follow_each_other() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.prove(1), bench.prove(2));
    let (first, second) = (bench.hear().await, bench.hear().await);
    assert_eq!((first.seq, second.seq), (1, 2), "the second did not wait for the first's receipt");
    let at = bench.tenant.log.record(&first);
    bench.recorder.receipt(bench.tenant.log.receipt(at, 0)).await;
    let at = bench.tenant.log.record(&second);
    // As our gateway does: the next proof starts where the last receipt ended.
    bench.recorder.receipt(bench.tenant.log.receipt(at, 1)).await;
    one.await.unwrap().unwrap();
    assert_eq!(two.await.unwrap().unwrap().recorded().checkpoint().size, 2);
}

#[tokio::test]
async fn two_receipts_of_one_commit_share_a_head() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.prove(1), bench.prove(2));
    let (first, second) = (bench.hear().await, bench.hear().await);
    let places = [bench.tenant.log.record(&first), bench.tenant.log.record(&second)];
    for at in places {
        bench.recorder.receipt(bench.tenant.log.receipt(at, 0)).await;
    }
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_receipt_that_another_overtook_is_asked_for_again() {
    let mut bench = Bench::new().await;
    bench.tenant.log.noise();
    let proving = bench.prove(1);
    let made = bench.hear().await;
    bench.answer(&made).await;
    proving.await.unwrap().unwrap();
    let (one, two) = (bench.prove(2), bench.prove(3));
    let (first, second) = (bench.hear().await, bench.hear().await);
    assert_eq!((first.consistency_from, second.consistency_from), (2, 2));
    for made in [&first, &second] {
        let at = bench.tenant.log.record(made);
        bench.recorder.receipt(bench.tenant.log.receipt(at, 2)).await;
    }
    let again = bench.hear().await;
    assert_eq!((again.text.as_str(), again.consistency_from), (second.text.as_str(), 3));
    bench.recorder.receipt(bench.tenant.log.receipt(3, 3)).await;
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_nothing_starts_and_the_log_says_so() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let intent = bench.hear().await;
    assert_eq!(proving.await.unwrap().unwrap_err(), NoProof::Late);
    let end = bench.hear().await;
    assert!(end_of(&end, 1).starts_with("not started: the gateway did not prove within 3 s"));
    // The receipt comes late after all: it is believed, and it starts nothing.
    bench.answer(&intent).await;
    bench.answer(&end).await;
    bench.recorder.settled().await;
}

#[tokio::test]
async fn a_connection_that_is_lost_keeps_nobody_waiting() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    bench.hear().await;
    bench.recorder.disconnected().await;
    assert_eq!(proving.await.unwrap().unwrap_err(), NoProof::Offline);
    bench.heard = connect(&bench.recorder).await;
    bench.hear().await;
    assert!(end_of(&bench.hear().await, 1).starts_with("not started: the gateway is not connected"));
}

#[tokio::test]
async fn the_gateways_words_reach_people_as_one_plain_line() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let made = bench.hear().await;
    let sentence = "no\u{1b}[2J\n\u{202e}yes".to_owned();
    let code = RefusalCode::Frozen.code();
    bench.recorder.refused(StatementRefused { statement: said(&made).head.id.0, code, sentence }).await;
    assert_eq!(proving.await.unwrap().unwrap_err(), NoProof::Refused("no [2J \u{fffd}yes".to_owned()));
}

#[tokio::test]
async fn an_intent_that_nobody_waits_for_any_more_is_said_to_have_ended() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let intent = bench.hear().await;
    proving.abort();
    assert!(proving.await.unwrap_err().is_cancelled());
    let end = bench.hear().await;
    assert_eq!(end_of(&end, 1), "not started: nobody waited for the proof any more");
    bench.answer(&intent).await;
    bench.answer(&end).await;
    bench.recorder.settled().await;
}

#[tokio::test]
async fn offline_or_pending_nothing_is_even_signed() {
    let mut bench = Bench::new().await;
    bench.recorder.disconnected().await;
    assert_eq!(bench.recorder.prove(intent(1)).await.unwrap_err(), NoProof::Offline);
    assert_eq!(bench.recorder.last_seq().await, 0);
    assert!(bench.heard.recv().await.is_none());

    let pending = Machine::joined(&bench.tenant);
    let (recorder, _) = pending.recorder(&pending.authority());
    let _heard = connect(&recorder).await;
    assert_eq!(recorder.prove(intent(1)).await.unwrap_err(), NoProof::Pending);
    assert_eq!(recorder.report(ended(1)).await.unwrap_err(), NotKept::Pending);
}

#[tokio::test]
async fn a_reconnect_sends_everything_unanswered_again_unchanged_and_in_order() {
    let mut bench = Bench::new().await;
    for n in 1..=3 {
        bench.recorder.report(ended(n)).await.unwrap();
    }
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(bench.hear().await);
    }
    bench.answer(&first[0]).await;
    bench.recorder.disconnected().await;
    bench.recorder.report(ended(4)).await.unwrap();
    bench.heard = connect(&bench.recorder).await;
    let again = [bench.hear().await, bench.hear().await, bench.hear().await];
    assert_eq!([&again[0].text, &again[1].text], [&first[1].text, &first[2].text]);
    assert_eq!([again[0].seq, again[1].seq, again[2].seq], [2, 3, 4]);
    assert!(again.iter().all(|made| made.consistency_from == 1), "with the head kept by now");
}

#[tokio::test]
async fn after_a_crash_what_was_said_is_sent_again_and_open_sessions_are_ended_truly() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let proved = bench.hear().await;
    bench.answer(&proved).await;
    proving.await.unwrap().unwrap();
    let _proving = bench.prove(2);
    let unproved = bench.hear().await;
    bench.restart();
    let mut heard = connect(&bench.recorder).await;
    let again = hear(&mut heard).await;
    assert_eq!((&again.text, again.consistency_from), (&unproved.text, 1), "the head survived too");
    let ends = [hear(&mut heard).await, hear(&mut heard).await];
    assert_eq!(end_of(&ends[0], 1), "the agent stopped while the session was open");
    assert_eq!(end_of(&ends[1], 2), "not started: the agent stopped before the proof came");
    for made in [&again, &ends[0], &ends[1]] {
        bench.answer(made).await;
    }
    bench.recorder.settled().await;
    bench.restart();
    assert_eq!(bench.recorder.last_seq().await, 4, "and not ended twice");
}

#[tokio::test]
async fn a_smaller_or_forked_log_proves_nothing() {
    let mut bench = Bench::new().await;
    let before = bench.tenant.log.fork();
    bench.tenant.log.noise();
    let proving = bench.prove(1);
    let made = bench.hear().await;
    bench.answer(&made).await;
    proving.await.unwrap().unwrap();

    let mut fork = before;
    fork.noise();
    fork.noise();
    let proving = bench.prove(2);
    let made = bench.hear().await;
    let at = fork.record(&made);
    bench.recorder.receipt(fork.receipt(at, 2)).await;
    let no_proof = proving.await.unwrap().unwrap_err();
    assert!(matches!(&no_proof, NoProof::Unproved(_)), "{no_proof}");
    assert!(end_of_pending(&mut bench, 2).await.starts_with("not started: the gateway's proof"));
}

/// The end of session `n`, once the gateway tells the truth again and hears it.
async fn end_of_pending(bench: &mut Bench, n: u8) -> String {
    bench.recorder.disconnected().await;
    bench.heard = connect(&bench.recorder).await;
    let _intent = bench.hear().await;
    end_of(&bench.hear().await, n)
}

#[tokio::test]
async fn a_gateway_whose_proofs_fail_twice_must_begin_again() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.prove(1), bench.prove(2));
    let (first, second) = (bench.hear().await, bench.hear().await);
    for made in [&first, &second] {
        let mut fork = bench.tenant.log.fork();
        let at = fork.record(made);
        let mut receipt = fork.receipt(at, 0);
        receipt.index += 1;
        bench.recorder.receipt(receipt).await;
    }
    assert!(matches!(one.await.unwrap(), Err(NoProof::Unproved(_))));
    assert!(matches!(two.await.unwrap(), Err(NoProof::Unproved(_))));
    while bench.heard.recv().await.is_some() {}
    assert_eq!(bench.recorder.prove(intent(3)).await.unwrap_err(), NoProof::Offline);
}

#[tokio::test]
async fn a_receipt_for_another_type_of_entry_starts_nothing() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let made = bench.hear().await;
    let at = bench.tenant.log.record_as(&made, Some("session.refused"));
    bench.recorder.receipt(bench.tenant.log.receipt(at, 0)).await;
    proving.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_receipt_for_one_session_does_not_start_another() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.prove(1), bench.prove(2));
    let (first, second) = (bench.hear().await, bench.hear().await);
    let at = bench.tenant.log.record(&first);
    let mut receipt = bench.tenant.log.receipt(at, 0);
    receipt.statement = said(&second).head.id.0;
    bench.recorder.receipt(receipt).await;
    assert!(matches!(two.await.unwrap(), Err(NoProof::Unproved(_))));
    bench.recorder.receipt(bench.tenant.log.receipt(at, 0)).await;
    one.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_cannot_record_says_so_to_the_person_and_gets_everything_later() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let made = bench.hear().await;
    bench.refuse(&made, RefusalCode::NotRecorded).await;
    assert_eq!(proving.await.unwrap().unwrap_err(), NoProof::Refused("because".into()));
    let again = bench.hear().await;
    assert_eq!(again.text, made.text, "the same statement, after a wait");
    bench.answer(&again).await;
    let end = bench.hear().await;
    assert!(end_of(&end, 1).starts_with("not started: the gateway did not record this session"));
    bench.answer(&end).await;
    bench.recorder.settled().await;
}

#[tokio::test]
async fn a_refusal_for_good_is_told_and_what_follows_is_still_said() {
    for code in [RefusalCode::PersonMismatch, RefusalCode::Frozen, RefusalCode::SequenceFork] {
        let mut bench = Bench::new().await;
        let proving = bench.prove(1);
        let made = bench.hear().await;
        bench.refuse(&made, code).await;
        assert_eq!(proving.await.unwrap().unwrap_err(), NoProof::Refused("because".into()));
        assert!(end_of(&bench.hear().await, 1).starts_with("not started"));
        let mut heard = connect(&bench.recorder).await;
        assert_eq!(hear(&mut heard).await.text, made.text, "kept until its receipt, whatever was said");
    }
}

#[tokio::test]
async fn rubbish_receipts_and_refusals_for_nothing_change_nothing() {
    let mut bench = Bench::new().await;
    let proving = bench.prove(1);
    let made = bench.hear().await;
    bench.answer(&made).await;
    proving.await.unwrap().unwrap();
    // Again, and for what never was.
    bench.recorder.receipt(bench.tenant.log.receipt(0, 0)).await;
    let refused = StatementRefused { statement: [9; 16], code: 1, sentence: String::new() };
    bench.recorder.refused(refused).await;
    assert_eq!(bench.recorder.last_seq().await, 1);
    bench.recorder.settled().await;
}

#[tokio::test]
async fn closing_keeps_what_was_said_before() {
    let mut bench = Bench::new().await;
    let _proving = bench.prove(1);
    bench.hear().await;
    bench.recorder.report(ended(1)).await.unwrap();
    bench.recorder.close().await;
    assert!(matches!(bench.recorder.report(ended(2)).await, Err(NotKept::Broken(_))));
    assert!(matches!(bench.recorder.prove(intent(2)).await, Err(NoProof::Broken(_))));
    bench.restart();
    assert_eq!(bench.recorder.last_seq().await, 2);
}
