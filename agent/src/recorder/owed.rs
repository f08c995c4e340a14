//! Ends of sessions that are not written yet: left behind by the last run, or tried on a disk that was full. None is forgotten
//! while the agent runs; what it still owes when it stops, the next start finds in the journal as a session without an end.

use crate::limits::{ENDS_RETRY, RECORDER_BATCH_MAX};
use belay_agent_rules::{Orphan, StatementChain};
use belay_certs::{
    Id,
    statement::{self, Body},
};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// At most one end for each open session, so never more than sessions can be open (`SESSIONS_OPEN_MAX`).
#[derive(Debug)]
pub(super) struct Owed {
    /// What is to be said, by session.
    ends: BTreeMap<Id, Body>,
    /// When to try again though nobody speaks; none while nothing is owed.
    retry_at: Option<Instant>,
}

impl Owed {
    /// The ends of the sessions that the last run left behind.
    pub(super) fn left_behind(orphans: Vec<Orphan>) -> Self {
        let end = |Orphan { session, proved }| {
            let reason = match proved {
                true => "the agent stopped while the session was open",
                false => "not started: the agent stopped before the proof came",
            };
            (session, ended(session, reason))
        };
        let ends: BTreeMap<Id, Body> = orphans.into_iter().map(end).collect();
        let retry_at = (!ends.is_empty()).then(Instant::now);
        Self { ends, retry_at }
    }

    /// `end` is to be said of `session`. A session that is not open in `chain`, or whose end is owed already, needs none.
    pub(super) fn owe(&mut self, chain: &StatementChain, session: Id, end: Body) {
        if chain.is_open(session) {
            self.ends.entry(session).or_insert(end);
        }
    }

    /// What to say next: as much as fits one write beside what others say.
    pub(super) fn next(&self) -> Vec<Body> {
        self.ends.values().take(RECORDER_BATCH_MAX).cloned().collect()
    }

    /// A round is over, written or not; `chain` says which ends are.
    pub(super) fn settle(&mut self, chain: &StatementChain) {
        let before = self.ends.len();
        self.ends.retain(|session, _| chain.is_open(*session));
        let wait = if self.ends.len() < before { std::time::Duration::ZERO } else { ENDS_RETRY };
        self.retry_at = (!self.ends.is_empty()).then(|| Instant::now() + wait);
    }

    /// When to try again though nobody speaks.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

/// The end of a session that began in the log and not, or no more, on this machine.
pub(super) fn ended(session: Id, reason: &str) -> Body {
    let reason = Some(statement::word(reason));
    let (exit, signal, recording) = (None, None, None);
    Body::SessionEnded { session, exit, signal, reason, bytes_in: 0, bytes_out: 0, recording, files: None }
}
