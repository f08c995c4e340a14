//! What happens to the outputs of runs, as their entries say it. What a device says of one is in its `run.ended`.
//!
//! The run's device and whoever did it are in the envelope.

use super::Look;
use belay_certs::{Digest, Id};
use serde::{Deserialize, Serialize};

/// Somebody is about to see lines that a run printed; recorded before the first byte of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRead {
    /// Of which job the run is.
    pub job: Id,
    /// How.
    pub kind: Look,
}

/// What a run printed is removed; the run's signed end names its digest and length, and proves whatever copy somebody took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDeleted {
    /// Of which job the run is.
    pub job: Id,
    /// Bytes of the output file that were here.
    pub bytes: u64,
    /// Of the whole file, as the run's signed end names it; none when no end was heard, or it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Which rule said so.
    pub why: String,
}

/// What a run printed is held or let go: while it is held, nothing deletes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputHold {
    /// Of which job the run is.
    pub job: Id,
    /// Why, as the person says it.
    pub reason: String,
}
