//! What is said about recordings: chunks on the way up, and how many of them are durable.
//!
//! What a chunk's note says, and whether it is true, is in `certs`.

use crate::codec::{Decode, Encode};
use crate::limits::*;
use crate::message::messages;

/// The first frame on a recording's stream, by the agent; [`RecordingChunk`]s follow, from chunk `chunk` on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordingBegun {
    /// Id of the session.
    pub session: [u8; 16],
    /// The number of the chunk that the stream begins with, from 0.
    pub chunk: u64,
}

/// One chunk of a recording; its number stands in the note.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordingChunk {
    /// The note as signed; at most [`RECORDING_NOTE_BYTES_MAX`] bytes.
    pub note: String,
    /// The device's armoured signature (`recording.v1@belay`).
    pub signature: String,
    /// The bytes to store, exactly; at most [`RECORDING_BLOB_BYTES_MAX`].
    pub blob: Vec<u8>,
}

/// So many chunks of a recording are durable at the gateway: all of them, from the first on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordingKept {
    /// Id of the session.
    pub session: [u8; 16],
    /// How many.
    pub chunks: u64,
}

/// A recording will not be kept: its session must end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordingRefused {
    /// Id of the session.
    pub session: [u8; 16],
    /// Why, for a person.
    pub sentence: String,
}

messages! {
    RecordingKept = 74, SMALL_BODY_BYTES_MAX, |_this| Ok(());
    RecordingRefused = 75, SENTENCE_BODY_BYTES_MAX, |this| {
        at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX)
    };
    RecordingBegun = 161, SMALL_BODY_BYTES_MAX, |_this| Ok(());
    RecordingChunk = 162, RECORDING_CHUNK_BODY_BYTES_MAX, |this| {
        at_most("note", this.note.len(), RECORDING_NOTE_BYTES_MAX)?;
        at_most("signature", this.signature.len(), SIGNATURE_BYTES_MAX)?;
        at_most("blob", this.blob.len(), RECORDING_BLOB_BYTES_MAX)
    };
}
