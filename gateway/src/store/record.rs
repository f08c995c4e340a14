//! The one way in which anything changes: an ask goes to the writer, and the answer comes back when it is durable.

use super::Store;
use super::broken::{Broken, RecordError};
use super::limits::{BYTES_PER_ENTRY, QUEUE_WAIT};
use super::recordings::Chunk;
use super::turn_jobs::Piece;
use belay_certs::tlog::{Hash, leaf_hash};
use belay_certs::{Id, Timestamp};
use belay_rules::statement::Seen;
use belay_rules::{Ask, Draft, Event, LogName, Outcome, Refusal, note};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What was recorded; it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The log of the entry below.
    pub log: LogName,
    /// Its place in the log, from 0.
    pub index: u64,
    /// Its place among all answers since the store was opened: of two, the later recorded has the higher one, also when the
    /// log began anew in between.
    pub turn: u64,
    /// The exact bytes of the entry: the ask's own, or the first one when there are several.
    pub entry: Vec<u8>,
    /// How it ended.
    pub outcome: Outcome,
}

/// An ask on its way to the writer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Answered, RecordError>>,
}

/// What an asker hears.
#[derive(Debug)]
pub(super) enum Answered {
    /// An event is recorded.
    Recorded(Recorded),
    /// So many bytes of a run's output, or chunks of a recording, are kept.
    Kept(u64),
}

/// Whether an ask can wait for others while many come (`gathering.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// If it is of a kind for which nobody sits and waits.
    CanWait,
    /// Others wait behind it.
    AtOnce,
}

/// What the writer has to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Enter a note that is written already: callers write side by side, the writer would do it one by one.
    Enter(Box<Ready>),
    /// Judge an ask.
    Judge {
        ask: Box<Ask>,
        urgency: Urgency,
        /// For a statement: whether the log head it names is one this log had.
        seen: Seen,
        now: Timestamp,
    },
    /// Keep a piece of a run's output: no event, for the end of the run says what all of it is.
    Keep(Box<Piece>),
    /// Take a chunk of a recording whose bytes are durable into the tables: no event, for the session's end names all of it.
    Chunk(Box<Chunk>),
}

impl Work {
    /// Entries it can lead to, roughly.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Enter(_) => 1,
            Self::Judge { ask, .. } => ask.weight(),
            Self::Chunk(_) => 1,
            Self::Keep(piece) => piece.bytes.len().div_ceil(BYTES_PER_ENTRY).max(1),
        }
    }
}

/// An event with its entry's bytes and their leaf hash.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) event: Event,
    pub(super) bytes: Vec<u8>,
    pub(super) leaf: Hash,
}

impl Ready {
    /// Writes the entry of `draft`.
    ///
    /// # Errors
    /// [`Refusal::EntryInvalid`] when it does not fit an entry; broken when there is no randomness for its id.
    pub(super) fn new(draft: Draft, now: Timestamp) -> Result<Self, RecordError> {
        let event = draft.event(Id::random().map_err(Broken::from)?, now);
        let bytes = event.entry().and_then(|entry| entry.to_bytes());
        let bytes = bytes.map_err(|invalid| Refusal::EntryInvalid(invalid.sentence))?;
        Ok(Self { leaf: leaf_hash(&bytes), event, bytes })
    }
}

impl Store {
    /// Records what `ask` asks for, if the rules allow it. When this returns `Ok`, the entry, the tables and the log's
    /// signed head are durable, together; then, and only then, may the asker act.
    ///
    /// Cancelling it halfway loses the answer only: what was queued is recorded or refused all the same.
    ///
    /// # Errors
    /// [`RecordError::Refused`] when the rules say no; [`RecordError::Broken`] when the disk or the machine failed, or
    /// more asks wait than the store can take.
    pub async fn record(&self, ask: Ask, now: Timestamp) -> Result<Recorded, RecordError> {
        self.record_with(ask, Urgency::CanWait, now).await
    }

    /// As [`Store::record`], also for who cannot wait.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_with(&self, ask: Ask, urgency: Urgency, now: Timestamp) -> Result<Recorded, RecordError> {
        let work = match ask {
            Ask::Note(draft) => {
                note::check(&draft)?;
                Work::Enter(Box::new(Ready::new(draft, now)?))
            }
            ask => Work::Judge { seen: self.seen(&ask).await?, ask: Box::new(ask), urgency, now },
        };
        match self.answered(work).await? {
            Answered::Recorded(recorded) => Ok(recorded),
            Answered::Kept(_) => Err(Broken::new("an ask was answered as a piece of output").into()),
        }
    }

    /// Keeps a piece of a run's output if it continues what is there. How many bytes are there, durable, when this returns.
    ///
    /// # Errors
    /// As [`Store::record`]; refused for a run that was never offered, and for more than any run may say.
    pub async fn keep(&self, piece: Piece) -> Result<u64, RecordError> {
        self.keep_work(Work::Keep(Box::new(piece))).await
    }

    pub(super) async fn keep_work(&self, work: Work) -> Result<u64, RecordError> {
        match self.answered(work).await? {
            Answered::Kept(kept) => Ok(kept),
            Answered::Recorded(_) => Err(Broken::new("something to keep was answered as an ask").into()),
        }
    }

    async fn answered(&self, work: Work) -> Result<Answered, RecordError> {
        let (answer, answered) = oneshot::channel();
        self.queue(Job { work, answer }).await?;
        answered.await.map_err(|_| Broken::new("the store is closed"))?
    }

    async fn queue(&self, job: Job) -> Result<(), Broken> {
        let closed = || Broken::new("the store is closed");
        match self.sender().try_send(job) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
            Err(mpsc::error::TrySendError::Full(job)) => match timeout(QUEUE_WAIT, self.sender().send(job)).await {
                Ok(sent) => sent.map_err(|_| closed()),
                Err(_) => {
                    Err(Broken::new("the store is busy: more waits to be recorded than the disk takes; try again"))
                }
            },
        }
    }

    /// Compares the log head that a statement names with the log: the writer has no time for it.
    async fn seen(&self, ask: &Ask) -> Result<Seen, Broken> {
        let Ask::Statement { statement, .. } = ask else { return Ok(Seen::Fits) };
        let log = LogName::Tenant(statement.head.device.tenant.clone());
        let (Some(checkpoint), Some(head)) = (&statement.head.checkpoint, self.shared().heads.get(&log)) else {
            return Ok(Seen::Fits);
        };
        if checkpoint.origin != head.identity.origin {
            return Ok(Seen::Fits);
        }
        let had = self.root_at(&log, checkpoint.size).await?;
        Ok(if had == Some(checkpoint.root.0) { Seen::Fits } else { Seen::Denied })
    }
}
