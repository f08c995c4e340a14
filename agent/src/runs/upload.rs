//! How far a run's output is: written here, at its end, at the gateway. Whoever carries bytes watches it.
//!
//! Not here: the streams (`quic/output.rs`); the counting of offsets (`belay_agent_rules::output::Upload`).

use crate::state::runs::OutputFile;
use belay_agent_rules::output::Ahead;
use std::sync::Arc;
use tokio::sync::watch;

/// Where the output is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// The file; none before there is anything in it.
    pub(crate) file: Option<Arc<OutputFile>>,
    /// Bytes that are written and synced: only these may be sent.
    pub(crate) durable: u64,
    /// Whether nothing will be added any more.
    pub(crate) whole: bool,
    /// Bytes that the gateway keeps, by its own word.
    pub(crate) kept: u64,
    /// Where the newest stream began: a gateway that has less than that has lost what it had, as one that was restored from a
    /// backup, and is sent all that it lacks.
    begun: u64,
    /// How often the gateway said so: a stream that it stopped is begun anew at its next word.
    pub(crate) said: u64,
    /// Whether the run is forgotten: nothing is to be sent any more.
    pub(crate) forgotten: bool,
}

/// The same, to be watched.
#[derive(Debug, Default)]
pub(crate) struct Progress(watch::Sender<Standing>);

impl Progress {
    /// Watches it.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.0.subscribe()
    }

    /// So many bytes of `file` are durable.
    pub(super) fn grown(&self, file: &Arc<OutputFile>, durable: u64) {
        self.0.send_modify(|standing| {
            standing.file = Some(file.clone());
            standing.durable = durable;
        });
    }

    /// Nothing will be added any more.
    pub(super) fn whole(&self) {
        self.0.send_modify(|standing| standing.whole = true);
    }

    /// Nothing is to be sent any more.
    pub(super) fn forget(&self) {
        self.0.send_modify(|standing| standing.forgotten = true);
    }

    /// The gateway keeps everything before `offset`. It may say so again.
    ///
    /// # Errors
    /// When there are fewer bytes: it says what it cannot know.
    pub(super) fn keep(&self, offset: u64) -> Result<(), Ahead> {
        let bytes = self.0.borrow().durable;
        if offset > bytes {
            return Err(Ahead { said: offset, bytes });
        }
        self.0.send_modify(|standing| {
            standing.kept = if offset < standing.begun { offset } else { standing.kept.max(offset) };
            standing.said = standing.said.wrapping_add(1);
        });
        Ok(())
    }

    /// A stream begins at this offset.
    pub(crate) fn begins(&self, offset: u64) {
        self.0.send_modify(|standing| standing.begun = offset);
    }

    /// Waits until the gateway keeps all of the whole file: how many bytes it has, and how many are kept.
    pub(super) async fn is_kept(&self) -> (u64, u64) {
        let mut standing = self.0.subscribe();
        let all = standing.wait_for(|standing| standing.whole && standing.kept >= standing.durable).await;
        all.map_or((0, 0), |standing| (standing.durable, standing.kept))
    }
}
