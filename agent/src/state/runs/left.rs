//! Outputs that no gateway takes any more, in a directory beside the runs: whoever runs the machine finds them there.
//!
//! Nothing is deleted here, and what is here is nobody's run. Not here: when that is so (`runs/left.rs`).

use super::{Broken, OUTPUT, RunFiles};
use crate::{
    limits::{OUTPUTS_LEFT_BYTES_MAX, RUN_BLOCK_BYTES},
    state::files,
};
use belay_certs::Id;
use std::{fs, io, path::PathBuf};

impl RunFiles {
    /// Moves a run's output there. Returns where it is. Again is the same.
    ///
    /// Crash before the move: it is the run's as before. Crash after: it is there, and the run has none any more.
    ///
    /// # Errors
    /// When it cannot be moved, or the directory holds [`OUTPUTS_LEFT_BYTES_MAX`]: the run keeps it then, or it is there whole.
    pub(crate) fn leave(&self, order: Id) -> Result<PathBuf, Broken> {
        let (from, to) = (self.of(order).join(OUTPUT), self.left.join(order.to_string()));
        let failed = |error| Broken::new(format!("{} cannot be moved to {}", from.display(), to.display()), error);
        if !self.is_left(order) {
            files::make_directory(&self.left)?;
            let bytes = fs::metadata(&from).map_err(failed)?.len();
            if self.left_bytes().saturating_add(bytes) > OUTPUTS_LEFT_BYTES_MAX {
                let full = format!(
                    "{} holds {OUTPUTS_LEFT_BYTES_MAX} bytes, the most it may; move what is there elsewhere",
                    self.left.display()
                );
                return Err(Broken::new(full, io::ErrorKind::StorageFull.into()));
            }
            fs::rename(&from, &to).map_err(failed)?;
        }
        files::sync_parent(&to)?;
        files::sync_parent(&from)?;
        Ok(to)
    }

    /// Whether the output of this run was left there.
    pub(crate) fn is_left(&self, order: Id) -> bool {
        self.left.join(order.to_string()).exists()
    }

    fn left_bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.left).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().map_or(0, |meta| meta.len().max(RUN_BLOCK_BYTES))).sum()
    }
}
