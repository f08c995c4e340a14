//! A recording as a gateway hands it over (tar), read once from its beginning to its end and checked chunk by chunk.
//!
//! Not here: the text of the chunks (`stream`).

use super::case::{Case, Said};
use crate::failure::{Outcome, While, refused};
use belay_certs::{
    DeviceAddress, Id, PublicKey,
    limits::{RECORDING_BLOB_BYTES_MAX, RECORDING_NOTE_BYTES_MAX, SIGNATURE_BYTES_MAX},
    recording::{Chain, Note, SignedNote, blob},
};
use std::{
    fs::File,
    io::{BufReader, Read, Seek},
};

/// The largest recording that is taken, in bytes: years of one terminal.
const TAR_BYTES_MAX: u64 = 1 << 36;
/// `recording.json`, in bytes: a command line and some words.
const ABOUT_BYTES_MAX: usize = 64 << 10;

/// One chunk that is what its device recorded.
pub struct Chunk<'a> {
    /// What its note says.
    pub note: Note,
    /// The note with its signature.
    pub signed: SignedNote,
    /// Its bytes as stored.
    pub blob: &'a [u8],
}

/// Whose recording it must be.
#[derive(Debug, Clone)]
pub struct Whose {
    /// The session.
    pub session: Id,
    /// The device.
    pub device: DeviceAddress,
    /// Which signed every note.
    pub host_key: PublicKey,
}

/// How far a recording goes that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it: the session's signed end names its last chunk.
    Whole(u64),
    /// So many chunks from its beginning: nothing signed says how many there were.
    Beginning(u64),
}

/// Checks chunks in order.
pub struct Checker<'w> {
    whose: &'w Whose,
    chain: Chain,
}

impl<'w> Checker<'w> {
    /// Before the first chunk.
    pub fn new(whose: &'w Whose) -> Self {
        Self { whose, chain: Chain::new(whose.session) }
    }

    /// The number of the next chunk.
    pub fn next(&self) -> u64 {
        self.chain.chunks()
    }

    /// Checks the next chunk.
    ///
    /// # Errors
    /// It is not the next, not of this device, not signed by it, or altered; the sentence names the chunk.
    pub fn take<'a>(&mut self, signed: SignedNote, blob: &'a [u8]) -> Outcome<Chunk<'a>> {
        let number = self.chain.chunks();
        signed.verify(&self.whose.host_key).map_err(|invalid| named(number, invalid))?;
        let note = self.chain.take(&signed.text, blob)?;
        if note.device != self.whose.device {
            return Err(refused(format!("chunk {number} of the recording is of {}", note.device)));
        }
        Ok(Chunk { note, signed, blob })
    }

    /// Checks that nothing is missing, as far as the device said what there must be.
    ///
    /// # Errors
    /// The session's end names a chunk that is not here.
    pub fn end(self, said: &Said) -> Outcome<Extent> {
        let chunks = self.chain.chunks();
        let Some(head) = said.recording else { return Ok(Extent::Beginning(chunks)) };
        if self.chain.is_whole() && self.chain.head() != Some(head) {
            let last = chunks.saturating_sub(1);
            return Err(refused(format!("chunk {last} of the recording is not the one that the session's end names")));
        }
        if self.chain.check_end(head).is_err() {
            return Err(refused(format!(
                "chunk {chunks} of the recording is missing: the session's end names a later one"
            )));
        }
        Ok(Extent::Whole(chunks))
    }
}

/// Puts the chunk in front, once.
fn named(number: u64, invalid: belay_certs::Invalid) -> belay_certs::Invalid {
    if invalid.sentence.starts_with("chunk ") {
        invalid
    } else {
        invalid.of(format!("chunk {number} of the recording"))
    }
}

/// A recording as a gateway sent it, in a file without a name that goes when this process goes.
pub struct Taken<'c> {
    file: File,
    whose: &'c Whose,
    said: &'c Said,
}

impl<'c> Taken<'c> {
    /// Takes it from the gateway.
    ///
    /// # Errors
    /// The gateway does not give it.
    pub fn fetch(case: &'c Case<'_>) -> Outcome<Self> {
        if case.about.state == "deleted" {
            let session = case.about.session;
            return Err(refused(format!(
                "the recording of {session} was deleted: `belay log proof {} {session}` shows when and why",
                case.about.tenant
            )));
        }
        let mut file = tempfile::tempfile().during(|| "cannot make a temporary file".to_owned())?;
        case.gateway.run_into(&["recording", &case.about.session.to_string()], &[], &mut file, TAR_BYTES_MAX)?;
        Ok(Self { file, whose: &case.whose, said: &case.said })
    }

    /// Reads it from its beginning and hands on each chunk when it is checked.
    ///
    /// # Errors
    /// It is cut off or altered, with the chunk's number; or `take` fails.
    pub fn read(&self, take: &mut dyn FnMut(Chunk<'_>) -> Outcome) -> Outcome<Extent> {
        let again = || "cannot read what was fetched".to_owned();
        let mut file = self.file.try_clone().during(again)?;
        file.rewind().during(again)?;
        read(file, self.whose, self.said, take)
    }
}

fn read(file: File, whose: &Whose, said: &Said, take: &mut dyn FnMut(Chunk<'_>) -> Outcome) -> Outcome<Extent> {
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut checker = Checker::new(whose);
    let mut files = archive.entries().during(|| "the recording is no archive".to_owned())?.peekable();
    let cut = |number: u64| format!("chunk {number} of the recording is cut off");
    let mut piece = |number: u64, names: &[String], max: usize| -> Outcome<Option<Vec<u8>>> {
        let Some(entry) = files.next() else { return Ok(None) };
        let mut entry = entry.during(|| cut(number))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !names.contains(&path) {
            let wanted = names.first().map_or("", String::as_str);
            return Err(refused(format!(
                "chunk {number} of the recording: the archive has {path:?} where {wanted} must be"
            )));
        }
        if entry.size() > max as u64 {
            return Err(refused(format!("chunk {number} of the recording: {path} is larger than {max} bytes")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).during(|| cut(number))?;
        if bytes.len() as u64 != entry.size() {
            return Err(refused(cut(number)));
        }
        Ok(Some(bytes))
    };
    if piece(0, &["recording.json".to_owned()], ABOUT_BYTES_MAX)?.is_none() {
        return Err(refused("the gateway sent no recording"));
    }
    loop {
        let number = checker.next();
        let Some(note) = piece(number, &[format!("{number:08}.note")], RECORDING_NOTE_BYTES_MAX)? else { break };
        let signature = piece(number, &[format!("{number:08}.note.sig")], SIGNATURE_BYTES_MAX)?;
        let names = [blob::file_name(number, true), blob::file_name(number, false)];
        let blob = piece(number, &names, RECORDING_BLOB_BYTES_MAX)?;
        let (Some(signature), Some(blob)) = (signature, blob) else { return Err(refused(cut(number))) };
        take(checker.take(signed(number, note, signature)?, &blob)?)?;
    }
    checker.end(said)
}

/// A note and its signature from the bytes of their files.
///
/// # Errors
/// One is not text.
pub fn signed(number: u64, note: Vec<u8>, signature: Vec<u8>) -> Outcome<SignedNote> {
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).during(|| format!("chunk {number} of the recording: its note is not text"))
    };
    Ok(SignedNote { text: text(note)?, signature: text(signature)? })
}
