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
/// What the gateway says of it, the first file of the archive.
const ABOUT: &str = "recording.json";
/// Its size at most, in bytes: a command line and some words.
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
        self.check_device(number, &note)?;
        Ok(Chunk { note, signed, blob })
    }

    /// Checks the note of the next chunk, whose bytes are gone.
    ///
    /// # Errors
    /// As [`Checker::take`].
    pub fn take_note(&mut self, signed: &SignedNote) -> Outcome<Note> {
        let number = self.chain.chunks();
        let note = signed.verify(&self.whose.host_key).map_err(|invalid| named(number, invalid))?;
        self.chain.take_digest(&signed.text, note.blob_bytes, note.blob)?;
        self.check_device(number, &note)?;
        Ok(note)
    }

    fn check_device(&self, number: u64, note: &Note) -> Outcome {
        if note.device == self.whose.device {
            return Ok(());
        }
        Err(refused(format!("chunk {number} of the recording is of {}", note.device)))
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
    /// It was deleted, or the gateway does not give it.
    pub fn fetch(case: &'c Case<'_>) -> Outcome<Self> {
        match &case.deleted {
            Some(deleted) => Err(refused(deleted.refusal())),
            None if case.about.state == "deleted" => Err(refused(format!(
                "the gateway says that the recording of {} was deleted, and no entry of the log of {} says so: it hides it",
                case.about.session, case.about.tenant
            ))),
            None => Self::fetch_any(case),
        }
    }

    /// Takes what is there of it, if only its notes.
    ///
    /// # Errors
    /// The gateway does not give it.
    pub fn fetch_any(case: &'c Case<'_>) -> Outcome<Self> {
        let mut file = tempfile::tempfile().during(|| "cannot make a temporary file".to_owned())?;
        case.gateway.run_into(&["recording", &case.about.session.to_string()], &[], &mut file, TAR_BYTES_MAX)?;
        Ok(Self { file, whose: &case.whose, said: &case.said })
    }

    /// Reads it from its beginning and hands on each chunk when it is checked.
    ///
    /// # Errors
    /// It is cut off or altered, with the chunk's number; or `take` fails.
    pub fn read(&self, take: &mut dyn FnMut(Chunk<'_>) -> Outcome) -> Outcome<Extent> {
        let mut checker = Checker::new(self.whose);
        each(self.again()?, &mut |pieces, number, signed| {
            let names = [blob::file_name(number, true), blob::file_name(number, false)];
            let blob = pieces.next(number, &names, RECORDING_BLOB_BYTES_MAX)?;
            let blob = blob.ok_or_else(|| refused(cut(number)))?;
            take(checker.take(signed, &blob)?)
        })?;
        checker.end(self.said)
    }

    /// Reads the notes of one whose chunks were deleted, and hands on each when it is checked.
    ///
    /// # Errors
    /// As [`Taken::read`]; or a chunk is there.
    pub fn read_notes(&self, take: &mut dyn FnMut(&Note, &SignedNote) -> Outcome) -> Outcome<Extent> {
        let mut checker = Checker::new(self.whose);
        each(self.again()?, &mut |_, _, signed| take(&checker.take_note(&signed)?, &signed))?;
        checker.end(self.said)
    }

    /// What the gateway says of it beside: nothing of that is checked here.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn about(&self) -> Outcome<serde_json::Value> {
        let mut archive = tar::Archive::new(BufReader::new(self.again()?));
        let mut pieces = Pieces(archive.entries().during(|| "the recording is no archive".to_owned())?);
        let about = pieces.next(0, &[ABOUT.to_owned()], ABOUT_BYTES_MAX)?;
        let about = about.ok_or_else(|| refused("the gateway sent no recording"))?;
        serde_json::from_slice(&about).during(|| format!("{ABOUT} of the recording is not understood"))
    }

    fn again(&self) -> Outcome<File> {
        let again = || "cannot read what was fetched".to_owned();
        let mut file = self.file.try_clone().during(again)?;
        file.rewind().during(again)?;
        Ok(file)
    }
}

fn cut(number: u64) -> String {
    format!("chunk {number} of the recording is cut off")
}

/// The files of the archive, one after the other.
struct Pieces<'a>(tar::Entries<'a, BufReader<File>>);

impl Pieces<'_> {
    /// The next file, which must have one of these names, and belongs to this chunk; none behind the last.
    fn next(&mut self, number: u64, names: &[String], max: usize) -> Outcome<Option<Vec<u8>>> {
        let Some(entry) = self.0.next() else { return Ok(None) };
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
    }
}

/// Hands on the number and the note of every chunk, and whatever stands behind it.
fn each(file: File, take: &mut dyn FnMut(&mut Pieces<'_>, u64, SignedNote) -> Outcome) -> Outcome {
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut pieces = Pieces(archive.entries().during(|| "the recording is no archive".to_owned())?);
    if pieces.next(0, &[ABOUT.to_owned()], ABOUT_BYTES_MAX)?.is_none() {
        return Err(refused("the gateway sent no recording"));
    }
    let mut number = 0;
    while let Some(note) = pieces.next(number, &[format!("{number:08}.note")], RECORDING_NOTE_BYTES_MAX)? {
        let signature = pieces.next(number, &[format!("{number:08}.note.sig")], SIGNATURE_BYTES_MAX)?;
        let signature = signature.ok_or_else(|| refused(cut(number)))?;
        take(&mut pieces, number, signed(number, note, signature)?)?;
        number += 1;
    }
    Ok(())
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
