//! The note of one chunk: what the device signs of it (`recording.v1@belay`).
//!
//! ```text
//! belay recording 1
//! device web1.acme
//! serial 3
//! session 32 hex digits
//! chunk 0
//! from_ms 0
//! to_ms 1987
//! blob_bytes 5123
//! blob sha256:…
//! previous sha256:… | none
//! last no | yes
//! ```
//!
//! Not here: whether notes follow each other (`chain`).

use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{RECORDING_BLOB_BYTES_MAX, RECORDING_CHUNKS_MAX, RECORDING_NOTE_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::{DeviceAddress, Digest, Id, Namespace, PrivateKey, PublicKey, sshsig};
use std::{fmt, str::FromStr};

/// The first line.
const HEAD: &str = "belay recording 1";

/// What is said about one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The device that recorded.
    pub device: DeviceAddress,
    /// The serial of its record; at least 1.
    pub serial: u64,
    /// The session.
    pub session: Id,
    /// The chunk's number, from 0.
    pub chunk: u64,
    /// Its first event, in milliseconds since the session's start.
    pub from_ms: u64,
    /// Its last event, likewise; never before the first.
    pub to_ms: u64,
    /// The length of the blob; 1 to [`RECORDING_BLOB_BYTES_MAX`].
    pub blob_bytes: u64,
    /// The blob's digest.
    pub blob: Digest,
    /// The digest of the text of the note before; `None` in chunk 0 only.
    pub previous: Option<Digest>,
    /// Whether the recording ends with this chunk.
    pub last: bool,
}

/// A note with the device's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    /// The exact text that was signed.
    pub text: String,
    /// The armoured signature, as `ssh-keygen -Y sign` writes it.
    pub signature: String,
}

impl Note {
    /// The text, each line with its line end.
    pub fn to_text(&self) -> String {
        let Self { device, serial, session, chunk, from_ms, to_ms, blob_bytes, blob, previous, last } = self;
        let previous = previous.map_or("none".to_owned(), |digest| digest.to_string());
        let last = if *last { "yes" } else { "no" };
        format!(
            "{HEAD}\ndevice {device}\nserial {serial}\nsession {session}\nchunk {chunk}\nfrom_ms {from_ms}\nto_ms {to_ms}\n\
             blob_bytes {blob_bytes}\nblob {blob}\nprevious {previous}\nlast {last}\n"
        )
    }

    /// Reads exactly what [`Note::to_text`] writes.
    ///
    /// # Errors
    /// When a line is not what it must be, or a value is out of its bounds.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        read(text).map_err(|invalid| invalid.of("the note of a chunk"))
    }

    /// The note and the signature of the device's host key.
    ///
    /// # Errors
    /// When the key cannot sign, which no Ed25519 key does.
    pub fn sign(&self, host_key: &PrivateKey) -> Result<SignedNote, Invalid> {
        let text = self.to_text();
        let signature = sshsig::sign(Namespace::Recording, text.as_bytes(), host_key)?;
        Ok(SignedNote { text, signature })
    }
}

impl SignedNote {
    /// The digest of the text: what the next note and the session's end name.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// What it says, whoever signed it.
    ///
    /// # Errors
    /// As [`Note::parse`].
    pub fn note(&self) -> Result<Note, Invalid> {
        Note::parse(&self.text)
    }

    /// What it says, if `host_key` signed it.
    ///
    /// # Errors
    /// `BadSignature` or `WrongSigner` when it did not; else as [`Note::parse`]. Of a note that reads, with the chunk.
    pub fn verify(&self, host_key: &PublicKey) -> Result<Note, Invalid> {
        let note = self.note()?;
        let wrong = |invalid: Invalid| invalid.of(format!("chunk {} of the recording", note.chunk));
        if self.signature.len() > SIGNATURE_BYTES_MAX {
            return Err(wrong(Invalid::new(Fault::TooLarge, "its signature is too long")));
        }
        let signer = sshsig::verify(Namespace::Recording, self.text.as_bytes(), &self.signature).map_err(wrong)?;
        if signer.as_ssh().key_data() != host_key.as_ssh().key_data() {
            let (by, key) = (signer.fingerprint(), host_key.fingerprint());
            let sentence = format!("its note is signed by {by}, not by the device's host key {key}");
            return Err(wrong(Invalid::new(Fault::WrongSigner, sentence)));
        }
        Ok(note)
    }
}

fn read(text: &str) -> Result<Note, Invalid> {
    sshsig::text(text.as_bytes(), RECORDING_NOTE_BYTES_MAX)?;
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return Err(malformed(format!("does not begin with {HEAD:?}")));
    }
    let mut lines = Lines(lines);
    let note = Note {
        device: lines.value("device")?,
        serial: lines.value("serial")?,
        session: lines.value("session")?,
        chunk: lines.value("chunk")?,
        from_ms: lines.value("from_ms")?,
        to_ms: lines.value("to_ms")?,
        blob_bytes: lines.value("blob_bytes")?,
        blob: lines.value("blob")?,
        previous: match lines.word("previous")? {
            "none" => None,
            digest => Some(digest.parse()?),
        },
        last: lines.word("last")? == "yes",
    };
    // One text for one note: another way to write the same would have another digest.
    if note.to_text() != text {
        return Err(malformed("is not written as Belay writes it"));
    }
    check(&note)?;
    Ok(note)
}

fn check(note: &Note) -> Result<(), Invalid> {
    if note.serial == 0 {
        return Err(malformed("has the serial 0"));
    }
    if note.chunk >= RECORDING_CHUNKS_MAX {
        let sentence = format!("is of chunk {}: a recording has at most {RECORDING_CHUNKS_MAX}", note.chunk);
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    if (note.chunk == 0) != note.previous.is_none() {
        return Err(malformed("names the note before it if and only if it is not the first"));
    }
    if note.to_ms < note.from_ms {
        return Err(malformed("ends before it begins"));
    }
    if !(1..=RECORDING_BLOB_BYTES_MAX as u64).contains(&note.blob_bytes) {
        let sentence = format!("is of {} bytes, not of 1 to {RECORDING_BLOB_BYTES_MAX}", note.blob_bytes);
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(())
}

/// The lines that follow the head.
struct Lines<'t>(std::str::Lines<'t>);

impl<'t> Lines<'t> {
    fn word(&mut self, name: &str) -> Result<&'t str, Invalid> {
        let word = self.0.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        word.ok_or_else(|| malformed(format!("lacks the line {name:?} at its place")))
    }

    fn value<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Result<T, Invalid> {
        self.word(name)?.parse().map_err(|error: T::Err| malformed(format!("has a wrong {name}: {error}")))
    }
}

#[cfg(test)]
mod tests;
