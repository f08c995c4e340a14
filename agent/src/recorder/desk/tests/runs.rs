//! The marks of runs on a disk that fails, and a desk that dies behind each write: nothing starts that is not durable (P1, P5).

use super::*;
use crate::{
    recorder::runs::{NotNoted, Noting, RunCall, Word},
    testbed::{now, run_intent},
};
use belay_agent_rules::run_ledger::{Found, Stage};
use belay_certs::{
    Timestamp,
    order::Outcome,
    statement::{RunEnd, SignedStatement},
    time::SECOND,
};
use std::path::PathBuf;

const ORDER: Id = Id([1; 16]);

fn not_after() -> Timestamp {
    now().plus(900 * SECOND)
}

struct Bench {
    tenant: Tenant,
    machine: Machine,
    authority: Arc<Authority>,
    desk: Desk,
    heard: mpsc::Receiver<ToGateway>,
}

/// The answers of one note.
struct Noted {
    answer: oneshot::Receiver<Result<(), NotNoted>>,
    word: oneshot::Receiver<Word>,
}

impl Bench {
    fn new() -> Self {
        let tenant = Tenant::new("acme");
        let machine = Machine::joined(&tenant);
        let authority = machine.approved(&tenant);
        let outbox = Outbox::open(machine.dir.at("outbox")).unwrap();
        let mut desk = Desk::new(outbox, authority.clone(), machine.host_key.clone());
        let (link, heard) = mpsc::channel(8);
        desk.round(vec![Call::Connected(link)], Vec::new());
        Self { tenant, machine, authority, desk, heard }
    }

    fn path(&self) -> PathBuf {
        self.machine.dir.at("outbox")
    }

    fn call(&mut self, call: RunCall) {
        self.desk.round(vec![Call::Run(call)], Vec::new());
    }

    /// The same while the disk takes nothing.
    fn call_on_full_disk(&mut self, call: RunCall) {
        let mut full = File::open(self.path()).unwrap();
        self.desk.outbox.swap_file(&mut full);
        self.call(call);
        self.desk.outbox.swap_file(&mut full);
    }

    fn receipt(&mut self, made: &StatementMade) {
        let at = self.tenant.log.record(made);
        let receipt = self.tenant.log.receipt(at, made.consistency_from);
        self.desk.round(vec![Call::Receipt(Box::new(receipt))], Vec::new());
    }

    /// As after `kill -9`.
    fn found(&self) -> Vec<(Id, Found)> {
        Outbox::open(self.path()).unwrap().chain().runs().found(now())
    }

    fn noted(&mut self) -> (StatementMade, oneshot::Receiver<Word>) {
        let (call, mut noted) = note();
        self.call(call);
        noted.answer.try_recv().unwrap().unwrap();
        (sent(&mut self.heard).unwrap(), noted.word)
    }
}

fn note() -> (RunCall, Noted) {
    let ((answer, answered), (word, heard)) = (oneshot::channel(), oneshot::channel());
    let note = Noting { intent: run_intent(1), not_after: not_after(), held_bytes: 0, now: now() };
    (RunCall::Note { note: Box::new(note), word, answer }, Noted { answer: answered, word: heard })
}

fn begin() -> (RunCall, oneshot::Receiver<Result<(), NotKept>>) {
    let (answer, answered) = oneshot::channel();
    (RunCall::Begin { order: ORDER, now: now(), answer }, answered)
}

fn end(outcome: Outcome) -> (RunCall, oneshot::Receiver<()>, oneshot::Receiver<Result<(), NotKept>>) {
    let ((answer, answered), (proved, heard)) = (oneshot::channel(), oneshot::channel());
    let end = RunEnd {
        order: ORDER,
        outcome,
        exit: None,
        signal: None,
        reason: Some("because".to_owned()),
        duration_ms: 0,
        output: None,
        output_bytes: 0,
        output_dropped: 0,
    };
    (RunCall::End { end: Box::new(end), proved, answer }, heard, answered)
}

#[tokio::test]
async fn marks_that_cannot_be_written_were_not_made_and_the_next_try_is_whole() {
    let mut bench = Bench::new();
    let (call, mut noted) = note();
    bench.call_on_full_disk(call);
    assert!(matches!(noted.answer.try_recv().unwrap(), Err(NotNoted::Kept(NotKept::Broken(_)))));
    assert!(sent(&mut bench.heard).is_none() && bench.found().is_empty());

    let (made, mut word) = bench.noted();
    assert_eq!((made.seq, bench.found()), (1, vec![(ORDER, Found::Noted)]));
    bench.receipt(&made);
    assert!(matches!(word.try_recv().unwrap(), Word::Proved(_)));
    let (call, mut begun) = begin();
    bench.call_on_full_disk(call);
    assert!(matches!(begun.try_recv().unwrap(), Err(NotKept::Broken(_))));
    assert_eq!(bench.found(), [(ORDER, Found::Noted)]);
    let (call, mut begun) = begin();
    bench.call(call);
    begun.try_recv().unwrap().unwrap();
    assert_eq!(bench.found(), [(ORDER, Found::Interrupted)]);

    let (call, _proved, mut ended) = end(Outcome::Cancelled);
    bench.call_on_full_disk(call);
    assert!(matches!(ended.try_recv().unwrap(), Err(NotKept::Broken(_))));
    assert_eq!(bench.found(), [(ORDER, Found::Interrupted)]);
    let (call, mut proved, mut ended) = end(Outcome::Cancelled);
    bench.call(call);
    ended.try_recv().unwrap().unwrap();
    assert_eq!(bench.found(), [(ORDER, Found::Ended { proved: false })]);
    // After a failed write sending waits a while.
    bench.desk.delivery.hurry(0);
    bench.desk.round(Vec::new(), Vec::new());
    let made = sent(&mut bench.heard).unwrap();
    assert!(proved.try_recv().is_err());
    bench.receipt(&made);
    proved.try_recv().unwrap();
    assert_eq!(bench.desk.outbox.chain().pending_count(), 0);

    let forget = |answer| RunCall::Forget { order: ORDER, output_bytes: 0, acknowledged: 0, answer };
    let (answer, mut forgotten) = oneshot::channel();
    bench.call_on_full_disk(forget(answer));
    assert!(forgotten.try_recv().unwrap().is_err());
    let (answer, mut forgotten) = oneshot::channel();
    bench.call(forget(answer));
    forgotten.try_recv().unwrap().unwrap();
    assert!(bench.found().is_empty());
}

#[tokio::test]
async fn nothing_begins_without_a_proof_or_twice() {
    let mut bench = Bench::new();
    let refused = |bench: &mut Bench| {
        let (call, mut begun) = begin();
        bench.call(call);
        begun.try_recv().unwrap().unwrap_err()
    };
    refused(&mut bench);
    let (made, mut word) = bench.noted();
    refused(&mut bench);
    bench.receipt(&made);
    assert!(matches!(word.try_recv().unwrap(), Word::Proved(_)));
    // Withdrawn between the proof and the start.
    let withdrawn = StatementRefused {
        statement: Statement::parse(made.text.as_bytes()).unwrap().head.id.0,
        code: RefusalCode::Withdrawn.code(),
        sentence: "cancelled".to_owned(),
    };
    bench.desk.round(vec![Call::Refused(withdrawn)], Vec::new());
    refused(&mut bench);
    let (call, _proved, mut ended) = end(Outcome::NotStarted);
    bench.call(call);
    ended.try_recv().unwrap().unwrap();
    assert_eq!(bench.desk.outbox.chain().pending_count(), 1, "the intent is answered, the end waits");
    refused(&mut bench);
    let (call, mut noted) = note();
    bench.call(call);
    assert!(matches!(noted.answer.try_recv().unwrap(), Err(NotNoted::Taken(_))));
}

#[tokio::test]
async fn a_desk_that_dies_after_a_mark_and_before_the_answer_left_it_on_disk() {
    let mut bench = Bench::new();
    let (call, noted) = note();
    drop(noted);
    bench.call(call);
    assert_eq!(bench.found(), [(ORDER, Found::Noted)]);
    let outbox = Outbox::open(bench.path()).unwrap();
    let held: Vec<SignedStatement> = outbox.chain().pending().map(|made| made.statement.clone()).collect();
    let mut desk = Desk::new(outbox, bench.authority.clone(), bench.machine.host_key.clone());
    let (link, mut heard) = mpsc::channel(8);
    let (word, mut said) = oneshot::channel();
    desk.round(vec![Call::Run(RunCall::AwaitWord { order: ORDER, word }), Call::Connected(link)], Vec::new());
    let made = sent(&mut heard).unwrap();
    assert_eq!(made.text, held[0].text);
    bench.desk = desk;
    bench.receipt(&made);
    assert!(matches!(said.try_recv().unwrap(), Word::Proved(_)));
    let (call, begun) = begin();
    drop(begun);
    bench.call(call);
    assert_eq!(bench.found(), [(ORDER, Found::Interrupted)]);
    assert_eq!(bench.desk.outbox.chain().runs().stage(ORDER), Some(Stage::Started));
}
