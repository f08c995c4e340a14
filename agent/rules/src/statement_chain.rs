//! What this device has said, in order: the head that the next statement continues, what waits for its receipt, and which
//! sessions began and were not said to have ended. The ledger of runs goes with it, for they share the journal's writes.
//!
//! Every change is a [`Line`] that was made durable first; replaying the lines gives the same chain. Not here: files, keys,
//! and when a statement is sent (`delivery`).

use crate::{
    journal::Line,
    limits::{PENDING_BYTES_MAX, PENDING_MAX, SESSIONS_OPEN_MAX},
    run_ledger::RunLedger,
};
use belay_certs::{
    Digest, Id,
    statement::{Body, SignedStatement},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Where the chain stands: what the next statement must continue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The number of the last statement; 0 before the first.
    pub seq: u64,
    /// The digest of its bytes.
    pub digest: Option<Digest>,
}

impl Position {
    /// The position after a statement of these bytes.
    pub fn after(self, text: &str) -> Self {
        Self { seq: self.seq.saturating_add(1), digest: Some(Digest::of(text.as_bytes())) }
    }
}

/// What a statement does to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The session starts when this is proved.
    Opened,
    /// The session is over.
    Ended,
    /// Nothing was started.
    Refused,
    /// The run starts when this is proved.
    #[serde(rename = "run_started")]
    RunStarted,
    /// The run is over, or never began.
    #[serde(rename = "run_ended")]
    RunEnded,
    /// The order was refused.
    #[serde(rename = "run_refused")]
    RunRefused,
}

impl What {
    /// What `body` does, and to which session or run; a run goes by its order's id.
    pub fn of(body: &Body) -> (Self, Id) {
        match body {
            Body::SessionOpened(intent) => (Self::Opened, intent.session),
            Body::SessionRefused { intent, .. } => (Self::Refused, intent.session),
            Body::SessionEnded { session, .. } => (Self::Ended, *session),
            Body::RunStarted(intent) => (Self::RunStarted, intent.order),
            Body::RunRefused { intent, .. } => (Self::RunRefused, intent.order),
            Body::RunEnded(end) => (Self::RunEnded, end.order),
        }
    }
}

/// A signed statement that waits for its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: Id,
    /// What it does.
    pub what: What,
    /// To which session.
    pub session: Id,
    /// Its bytes and signature.
    #[serde(flatten)]
    pub statement: SignedStatement,
}

impl Made {
    fn bytes(&self) -> usize {
        self.statement.text.len().saturating_add(self.statement.signature.len())
    }
}

/// A session whose end was not said by the time the agent stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// The session.
    pub session: Id,
    /// Whether its intent was proved: if not, it never started.
    pub proved: bool,
}

/// A line that does not continue the chain: the journal is damaged, or we are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it does not continue the statements before it: {0}")]
pub struct Misfit(pub(crate) &'static str);

/// The device's statements as far as they still matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatementChain {
    /// The last statement made.
    position: Position,
    /// Statements without a receipt, oldest first; their numbers rise, with gaps where one was answered out of turn.
    pending: VecDeque<Made>,
    /// The bytes of all of them.
    pending_bytes: usize,
    /// Sessions with an intent and no end, and whether the intent was proved.
    open: BTreeMap<Id, bool>,
    /// The orders seen: their marks are lines between the statements about them.
    runs: RunLedger,
}

impl StatementChain {
    /// What the next statement continues.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Statements that wait for their receipt, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Made> {
        self.pending.iter()
    }

    /// How many wait.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Their bytes.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The oldest waiting statement with a number above `seq`.
    pub fn pending_after(&self, seq: u64) -> Option<&Made> {
        let at = self.pending.partition_point(|made| made.seq <= seq);
        self.pending.get(at)
    }

    /// The waiting statement with this id.
    pub fn pending_by_id(&self, id: Id) -> Option<&Made> {
        self.pending.iter().find(|made| made.id == id)
    }

    /// Whether the session began and its end was not said.
    pub fn is_open(&self, session: Id) -> bool {
        self.open.contains_key(&session)
    }

    /// The orders this device has seen.
    pub fn runs(&self) -> &RunLedger {
        &self.runs
    }

    /// Whether a statement is one that always has room: the end of something that began.
    pub fn is_owed(&self, what: What, session: Id) -> bool {
        match what {
            What::Ended => self.is_open(session),
            What::RunEnded => self.runs.is_under_way(session),
            What::Opened | What::Refused | What::RunStarted | What::RunRefused => false,
        }
    }

    /// Every such session: after a start, those that the last run left behind.
    pub fn orphans(&self) -> Vec<Orphan> {
        self.open.iter().map(|(session, proved)| Orphan { session: *session, proved: *proved }).collect()
    }

    /// Whether one more statement may be made beside `unwritten` others. The end of an open session always may: a session
    /// that could begin can also be said to have ended, and so can a run.
    pub fn has_room(&self, what: What, session: Id, unwritten: usize) -> bool {
        let pending = self.pending.len().saturating_add(unwritten);
        let roomy = pending < PENDING_MAX && self.pending_bytes < PENDING_BYTES_MAX;
        match what {
            What::Opened => roomy && self.open.len().saturating_add(unwritten) < SESSIONS_OPEN_MAX,
            What::Refused | What::RunStarted | What::RunRefused => roomy,
            What::Ended | What::RunEnded => roomy || self.is_owed(what, session),
        }
    }

    /// Applies a line that is durable.
    ///
    /// # Errors
    /// When it does not continue the chain; nothing changed then.
    pub fn apply(&mut self, line: &Line) -> Result<(), Misfit> {
        match line {
            Line::Head(position) => self.begin(*position),
            Line::Open { session, proved } => {
                self.open.insert(*session, *proved);
                Ok(())
            }
            Line::Waiting(made) => self.wait(made),
            Line::Made(made) => self.make(made),
            Line::Done { seq } => self.settle(*seq),
            // The log view's, kept in the same journal so that one sync makes both durable.
            Line::Kept { .. } => Ok(()),
            Line::RunNoted { .. }
            | Line::RunSeen { .. }
            | Line::RunBegun { .. }
            | Line::RunForgotten { .. }
            | Line::RunsLetGo { .. }
            | Line::Run { .. } => self.runs.apply(line),
        }
    }

    /// The lines that give this chain when they are replayed: what a compacted journal begins with.
    pub fn snapshot(&self) -> Vec<Line> {
        let open = self.open.iter().map(|(session, proved)| Line::Open { session: *session, proved: *proved });
        let waiting = self.pending.iter().cloned().map(Line::Waiting);
        std::iter::once(Line::Head(self.position)).chain(open).chain(self.runs.snapshot()).chain(waiting).collect()
    }

    fn begin(&mut self, position: Position) -> Result<(), Misfit> {
        if *self != Self::default() {
            return Err(Misfit("a head in the middle"));
        }
        self.position = position;
        Ok(())
    }

    fn make(&mut self, made: &Made) -> Result<(), Misfit> {
        if self.position.seq.checked_add(1) != Some(made.seq) {
            return Err(Misfit("a number is missing or used twice"));
        }
        self.runs.check_made(made)?;
        self.runs.made(made)?;
        self.position = self.position.after(&made.statement.text);
        match made.what {
            What::Opened => drop(self.open.insert(made.session, false)),
            What::Ended => drop(self.open.remove(&made.session)),
            // The ledger's, above.
            What::Refused | What::RunStarted | What::RunRefused | What::RunEnded => {}
        }
        self.enqueue(made);
        Ok(())
    }

    fn wait(&mut self, made: &Made) -> Result<(), Misfit> {
        let last = self.pending.back().map_or(0, |last| last.seq);
        if made.seq <= last || made.seq > self.position.seq {
            return Err(Misfit("a waiting statement is out of order"));
        }
        self.enqueue(made);
        Ok(())
    }

    fn enqueue(&mut self, made: &Made) {
        self.pending_bytes = self.pending_bytes.saturating_add(made.bytes());
        self.pending.push_back(made.clone());
    }

    fn settle(&mut self, seq: u64) -> Result<(), Misfit> {
        let at = self.pending.partition_point(|made| made.seq < seq);
        match self.pending.get(at) {
            Some(made) if made.seq == seq => self.runs.check_done(made)?,
            Some(_) | None => return Err(Misfit("an answer to a statement that does not wait")),
        }
        let Some(made) = self.pending.remove(at) else { return Err(Misfit("an answer to nothing")) };
        self.pending_bytes = self.pending_bytes.saturating_sub(made.bytes());
        self.runs.done(&made);
        if let (What::Opened, Some(proved)) = (made.what, self.open.get_mut(&made.session)) {
            *proved = true;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn id(n: u64) -> Id {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        Id(bytes)
    }

    /// Statement `seq` about `session`.
    pub(crate) fn made(seq: u64, what: What, session: u64) -> Made {
        let statement = SignedStatement { text: format!("statement {seq}"), signature: "signature".into() };
        Made { seq, id: id(1_000 + seq), what, session: id(session), statement }
    }

    /// A chain of `count` waiting statements, each about a session of its own that was refused.
    pub(crate) fn chain_of(count: u64) -> StatementChain {
        let mut chain = StatementChain::default();
        for seq in 1..=count {
            chain.apply(&Line::Made(made(seq, What::Refused, seq))).unwrap();
        }
        chain
    }

    #[test]
    fn each_statement_continues_the_one_before() {
        let chain = chain_of(2);
        assert_eq!(chain.position(), Position { seq: 2, digest: Some(Digest::of(b"statement 2")) });
        let mut forked = chain.clone();
        assert!(forked.apply(&Line::Made(made(2, What::Refused, 9))).is_err(), "a number is used once");
        assert!(forked.apply(&Line::Made(made(4, What::Refused, 9))).is_err(), "no number is left out");
        assert_eq!(forked, chain);
    }

    #[test]
    fn what_was_answered_out_of_turn_is_not_sent_again() {
        let mut chain = chain_of(3);
        chain.apply(&Line::Done { seq: 2 }).unwrap();
        assert_eq!(chain.pending().map(|made| made.seq).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(chain.pending_after(1).unwrap().seq, 3);
        assert!(chain.pending_after(3).is_none());
        assert!(chain.apply(&Line::Done { seq: 2 }).is_err(), "one answer each");
        assert!(chain.pending_by_id(id(1_002)).is_none());
    }

    #[test]
    fn a_session_without_an_end_is_an_orphan_and_says_whether_it_was_proved() {
        let mut chain = StatementChain::default();
        chain.apply(&Line::Made(made(1, What::Opened, 1))).unwrap();
        chain.apply(&Line::Made(made(2, What::Opened, 2))).unwrap();
        chain.apply(&Line::Made(made(3, What::Opened, 3))).unwrap();
        chain.apply(&Line::Done { seq: 2 }).unwrap();
        chain.apply(&Line::Made(made(4, What::Ended, 3))).unwrap();
        let orphans = chain.orphans();
        assert_eq!(orphans, [Orphan { session: id(1), proved: false }, Orphan { session: id(2), proved: true }]);
    }

    #[test]
    fn a_full_outbox_takes_no_intent_and_still_every_end() {
        let mut chain = StatementChain::default();
        chain.apply(&Line::Made(made(1, What::Opened, 1))).unwrap();
        for seq in 2..=PENDING_MAX as u64 {
            chain.apply(&Line::Made(made(seq, What::Refused, seq))).unwrap();
        }
        assert!(!chain.has_room(What::Opened, id(2), 0));
        assert!(!chain.has_room(What::Refused, id(2), 0));
        assert!(!chain.has_room(What::Ended, id(2), 0), "a session that never began needs no end");
        assert!(chain.has_room(What::Ended, id(1), 0));
    }

    #[test]
    fn a_large_statement_fills_the_outbox_by_its_bytes() {
        let mut chain = StatementChain::default();
        let mut large = made(1, What::Refused, 1);
        large.statement.text = "x".repeat(PENDING_BYTES_MAX);
        chain.apply(&Line::Made(large)).unwrap();
        assert!(!chain.has_room(What::Opened, id(2), 0));
        chain.apply(&Line::Done { seq: 1 }).unwrap();
        assert_eq!((chain.pending_count(), chain.pending_bytes()), (0, 0));
        assert!(chain.has_room(What::Opened, id(2), 0));
    }

    #[test]
    fn statements_not_yet_written_count_too() {
        let chain = chain_of(PENDING_MAX as u64 - 1);
        assert!(chain.has_room(What::Opened, id(1), 0));
        assert!(!chain.has_room(What::Opened, id(1), 1));
    }

    #[test]
    fn a_snapshot_replays_to_the_same_chain() {
        let mut chain = chain_of(5);
        chain.apply(&Line::Made(made(6, What::Opened, 60))).unwrap();
        chain.apply(&Line::Made(made(7, What::Opened, 70))).unwrap();
        for seq in [1, 4, 7] {
            chain.apply(&Line::Done { seq }).unwrap();
        }
        let mut replayed = StatementChain::default();
        chain.snapshot().iter().for_each(|line| replayed.apply(line).unwrap());
        assert_eq!(replayed, chain);
        assert!(replayed.apply(&Line::Head(Position::default())).is_err());
    }
}
