//! The newest log head this device has verified, for every log it ever believed. A smaller or other tree is never accepted.
//!
//! Kept in the outbox's journal, so that a receipt and the head it proved become durable in one write. Heads of logs that the
//! policy no longer names stay: a policy that names one again must not make the device forget it. There are at most as many
//! as policy versions.

use belay_agent_rules::Line;
use belay_certs::{Digest, statement::CheckpointSeen, tlog::Checkpoint};
use std::collections::BTreeMap;

/// Verified heads by origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogView(BTreeMap<String, Checkpoint>);

impl LogView {
    /// The head kept of the log `origin`; none when nothing of it was ever verified.
    pub(crate) fn kept(&self, origin: &str) -> Option<&Checkpoint> {
        self.0.get(origin)
    }

    /// Goes by a line that is durable.
    pub(crate) fn apply(&mut self, line: &Line) {
        if let Line::Kept { origin, size, root } = line {
            self.0.insert(origin.clone(), Checkpoint { origin: origin.clone(), size: *size, root: root.0 });
        }
    }

    /// The lines that give this view when they are replayed.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Line> {
        self.0.values().map(line)
    }
}

/// The line that makes a verified head durable.
pub(crate) fn line(kept: &Checkpoint) -> Line {
    Line::Kept { origin: kept.origin.clone(), size: kept.size, root: Digest(kept.root) }
}

/// The head as a statement tells it.
pub(crate) fn seen(kept: &Checkpoint) -> CheckpointSeen {
    CheckpointSeen { origin: kept.origin.clone(), size: kept.size, root: Digest(kept.root) }
}
