//! What happens to recordings, as their entries say it. What a device says of them is in its `session.ended`.
//!
//! The session's device and whoever did it are in the envelope.

use belay_certs::{Digest, Id};
use serde::{Deserialize, Serialize};

/// How somebody looks into a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Look {
    /// Its chunks are handed over.
    Read,
    /// A search shows lines of it.
    Search,
}

/// Somebody is about to see what a session showed; recorded before the first byte of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingRead {
    /// Whose recording.
    pub session: Id,
    /// How.
    pub kind: Look,
}

/// A session is over without a signed end that names its recording, or nothing was heard of it for long after the way to it
/// was gone: what is here is a prefix, proved by its notes. In the second case a machine that comes back may still send more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingCut {
    /// Whose recording.
    pub session: Id,
    /// Chunks that are here.
    pub chunks: u64,
    /// Of the text of the last note that is here.
    pub head: Digest,
}

/// The chunks of a recording are removed; its notes stay, and prove whatever copy somebody took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingDeleted {
    /// Whose recording.
    pub session: Id,
    /// How many chunks it had.
    pub chunks: u64,
    /// Bytes that they took, as they were stored.
    pub bytes: u64,
    /// Of the text of its last note.
    pub head: Digest,
    /// Which rule said so.
    pub why: String,
}

/// A recording is held or let go: while it is held, nothing deletes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingHold {
    /// Whose recording.
    pub session: Id,
    /// Why, as the person says it.
    pub reason: String,
}
