//! A recording whose chunks were deleted, as the log says it: when, by which rule, and what its notes still prove.
//!
//! The entry is the gateway's word, and no device's: what it says of the recording is held against the notes, which are signed.

use super::proofs::Proven;
use crate::failure::{Outcome, While, refused};
use belay_certs::{Digest, Id, Timestamp, recording::Note};
use serde::Deserialize;

/// What is written in the log of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The place of the entry.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// What the entry says of it.
    said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Said {
    session: Id,
    chunks: u64,
    bytes: u64,
    head: Digest,
    why: String,
}

/// What notes without their chunks prove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// How many there are.
    pub chunks: u64,
    /// Bytes of the chunks, as they were stored.
    pub bytes: u64,
    /// The end of the last chunk, in milliseconds since the session's start.
    pub to_ms: u64,
    /// Of the last note's text.
    pub head: Option<Digest>,
}

impl Noted {
    /// Takes the next note, which was checked, and the digest of its text.
    pub fn take(&mut self, note: &Note, text: Digest) {
        self.chunks += 1;
        self.bytes = self.bytes.saturating_add(note.blob_bytes);
        (self.to_ms, self.head) = (note.to_ms, Some(text));
    }
}

impl Deleted {
    /// What the log says of the deletion of a session's recording.
    ///
    /// # Errors
    /// The entry does not read, or there are two of them.
    pub fn of(entries: &[Proven], session: &Id) -> Outcome<Option<Self>> {
        let mut found: Option<Self> = None;
        for proven in entries.iter().filter(|proven| proven.entry.kind == "recording.deleted") {
            let detail = serde_json::Value::Object(proven.entry.detail.clone());
            let said: Said = serde_json::from_value(detail).during(|| format!("entry {}", proven.index))?;
            if said.session != *session {
                continue;
            }
            if let Some(first) = &found {
                let sentence = format!("entry {} deletes the recording that entry {} did", proven.index, first.index);
                return Err(refused(sentence));
            }
            found = Some(Self { index: proven.index, at: proven.entry.at, said });
        }
        Ok(found)
    }

    /// Which rule said so, in the gateway's words.
    pub fn why(&self) -> &str {
        &self.said.why
    }

    /// Whether these are all notes of what was deleted.
    ///
    /// # Errors
    /// The entry tells of another recording.
    pub fn check(&self, noted: &Noted) -> Outcome {
        let Said { chunks, bytes, head, .. } = self.said;
        if (noted.chunks, noted.bytes, noted.head) == (chunks, bytes, Some(head)) {
            return Ok(());
        }
        Err(refused(format!(
            "the {} notes of the recording are not of the {chunks} chunks of {bytes} bytes that entry {} says were deleted",
            noted.chunks, self.index
        )))
    }

    /// Why there is nothing to show, and what there is instead.
    pub fn refusal(&self) -> String {
        let Said { session, why, .. } = &self.said;
        format!(
            "the recording of {session} was deleted at {}: {why} (entry {} of the log); its notes are kept: \
             `belay evidence {session} -o PACK.tar` proves with them how long it was, and its digest",
            self.at, self.index
        )
    }
}
