//! What runs ask of the recorder: the two durable marks, the end, and what the gateway says of an intent (P1, P5).
//!
//! Not here: what the marks mean (`belay_agent_rules::run_ledger`), and the run itself (`runs/`).

use super::{Call, NotKept, Recorder};
use belay_agent_rules::run_ledger::{Found, NotTaken};
use belay_certs::{
    Id, Timestamp,
    receipt::Permission,
    statement::{RunEnd, RunIntent},
};
use tokio::sync::oneshot;

/// What became of the intent to run something. Said once.
#[derive(Debug)]
pub(crate) enum Word {
    /// It is proved to be in the log, and permits the start.
    Proved(Box<Permission>),
    /// It is in the log as withheld, for this reason, or the gateway will never record it: nothing starts.
    Withheld(String),
}

/// Why a run is not noted, or an order not remembered as refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNoted {
    /// The order may not be taken.
    #[error(transparent)]
    Taken(#[from] NotTaken),
    /// It could not be signed or kept.
    #[error(transparent)]
    Kept(#[from] NotKept),
}

type Answer<T> = oneshot::Sender<T>;

/// What the desk is told or asked about runs.
#[derive(Debug)]
pub(super) enum RunCall {
    /// May this order be taken at all?
    Check { order: Id, not_after: Timestamp, now: Timestamp, answer: Answer<Result<(), NotTaken>> },
    /// Make the first mark with this intent.
    Note { note: Box<Noting>, word: Answer<Word>, answer: Answer<Result<(), NotNoted>> },
    /// Say that this order was refused, and remember it.
    Refuse { note: Box<Noting>, reason: String, answer: Answer<Result<(), NotNoted>> },
    /// Let ids go whose window was long over at this moment.
    LetGo { now: Timestamp },
    /// What did the last run of the agent leave?
    Found { now: Timestamp, answer: Answer<Vec<(Id, Found)>> },
    /// Say what becomes of the intent of this noted run.
    AwaitWord { order: Id, word: Answer<Word> },
    /// Say when the end of this run is proved.
    AwaitEnd { order: Id, proved: Answer<()> },
    /// Make the second mark.
    Begin { order: Id, now: Timestamp, answer: Answer<Result<(), NotKept>> },
    /// Say that the run is over.
    End { end: Box<RunEnd>, proved: Answer<()>, answer: Answer<Result<(), NotKept>> },
    /// Forget the run but for its id.
    Forget { order: Id, output_bytes: u64, acknowledged: u64, answer: Answer<Result<(), NotKept>> },
}

/// What a note needs.
#[derive(Debug)]
pub(crate) struct Noting {
    /// What is to be said.
    pub(crate) intent: RunIntent,
    /// The end of the order's window.
    pub(crate) not_after: Timestamp,
    /// The files of all runs together, in bytes.
    pub(crate) held_bytes: u64,
    /// When it is.
    pub(crate) now: Timestamp,
}

impl Recorder {
    /// Whether the order may be taken at all: see `RunLedger::check_new`.
    pub(crate) async fn check_run(&self, order: Id, not_after: Timestamp, now: Timestamp) -> Result<(), NotNoted> {
        self.ask_run(|answer| RunCall::Check { order, not_after, now, answer }).await??;
        Ok(())
    }

    /// Makes the first mark and its intent durable, in one write. What becomes of the intent is heard later, once. Wait for the
    /// answer before the next is noted.
    ///
    /// Cut off half-way: it is noted or it is not; the next start finds it.
    pub(crate) async fn note_run(&self, noting: Noting) -> Result<oneshot::Receiver<Word>, NotNoted> {
        let (word, heard) = oneshot::channel();
        self.ask_run(|answer| RunCall::Note { note: Box::new(noting), word, answer }).await??;
        Ok(heard)
    }

    /// Says that an order was refused and remembers its id, in one write.
    pub(crate) async fn refuse_run(&self, noting: Noting, reason: String) -> Result<(), NotNoted> {
        self.ask_run(|answer| RunCall::Refuse { note: Box::new(noting), reason, answer }).await?
    }

    /// Lets ids go that no clock takes any more. `now` is a moment that was certainly reached.
    pub(crate) async fn let_runs_go(&self, now: Timestamp) {
        self.tell(Call::Run(RunCall::LetGo { now })).await;
    }

    /// Every run that is not forgotten, and what is to be done about it: asked once, at the start.
    pub(crate) async fn runs_found(&self, now: Timestamp) -> Vec<(Id, Found)> {
        self.ask_run(|answer| RunCall::Found { now, answer }).await.unwrap_or_default()
    }

    /// What becomes of the intent of a run that was noted before the agent was started.
    pub(crate) async fn await_word(&self, order: Id) -> oneshot::Receiver<Word> {
        let (word, heard) = oneshot::channel();
        self.tell(Call::Run(RunCall::AwaitWord { order, word })).await;
        heard
    }

    /// The proof of an end that was said before the agent was started.
    pub(crate) async fn await_end(&self, order: Id) -> oneshot::Receiver<()> {
        let (proved, heard) = oneshot::channel();
        self.tell(Call::Run(RunCall::AwaitEnd { order, proved })).await;
        heard
    }

    /// Makes the second mark durable: the script may start when this returns, and only then. Who asks holds the proof.
    ///
    /// Cut off half-way: it may have begun, so it is never started again.
    pub(crate) async fn begin_run(&self, order: Id, now: Timestamp, _proof: &Permission) -> Result<(), NotKept> {
        self.ask_run(|answer| RunCall::Begin { order, now, answer }).await?
    }

    /// Says that a run is over. Durable on return; the proof that it is in the log is heard later.
    pub(crate) async fn end_run(&self, end: RunEnd) -> Result<oneshot::Receiver<()>, NotKept> {
        let (proved, heard) = oneshot::channel();
        self.ask_run(|answer| RunCall::End { end: Box::new(end), proved, answer }).await??;
        Ok(heard)
    }

    /// Forgets a run whose end is proved and whose output is acknowledged, but for its id.
    pub(crate) async fn forget_run(&self, order: Id, output_bytes: u64, acknowledged: u64) -> Result<(), NotKept> {
        self.ask_run(|answer| RunCall::Forget { order, output_bytes, acknowledged, answer }).await?
    }

    async fn ask_run<T>(&self, call: impl FnOnce(Answer<T>) -> RunCall) -> Result<T, NotKept> {
        let gone = || NotKept::Broken("the agent is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call::Run(call(answer))).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}
