//! A chunk's text as it is stored: one zstd frame, and around it one age file to the policy's recipients, if there are any.
//!
//! So all plain blobs in a row are what `zstd -d` opens, and each sealed one is what `age -d` opens. Not here: what the text says
//! (`cast`).

use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{RECORDING_BLOB_BYTES_MAX, RECORDING_TEXT_BYTES_MAX};
use crate::policy::{Recording, check_recipient};
use std::io::{Read, Write};

/// zstd's fastest ordinary level: terminal output shrinks to a tenth with it, and a busy device has better to do.
const LEVEL: i32 = 1;
/// The largest window a frame may ask for, as a power of two: the longest text needs no more.
const WINDOW_LOG_MAX: u32 = 20;
/// The first bytes of an age file.
const AGE_HEAD: &[u8] = b"age-encryption.org/v1\n";

/// Who can open the blobs of a recording.
#[derive(Clone)]
pub enum Readers {
    /// Whoever has them: the gateway and everybody it shows them to.
    Anybody,
    /// Only the holders of these recipients' identities.
    Only(Vec<age::x25519::Recipient>),
}

/// An auditor's age keys.
pub struct Identities(Vec<age::x25519::Identity>);

impl Readers {
    /// What a policy says; `None` when it has no `[recording]`: nothing is recorded.
    ///
    /// # Errors
    /// When a recipient is none, which no policy that was read has.
    pub fn of(recording: &Recording) -> Result<Option<Self>, Invalid> {
        if !recording.is_on() {
            return Ok(None);
        }
        if recording.readable_by_gateway {
            return Ok(Some(Self::Anybody));
        }
        Ok(Some(Self::Only(recipients(&recording.to)?)))
    }

    /// Who reads what a run prints: those that the policy names and those that the order names beside them; anybody where the
    /// gateway reads recordings, or where nothing is recorded. So no order takes anything away from anybody.
    ///
    /// # Errors
    /// When a recipient is none, which no document that was read has.
    pub fn of_run(recording: &Recording, output_to: &[String]) -> Result<Self, Invalid> {
        if recording.readable_by_gateway || recording.to.is_empty() {
            return Ok(Self::Anybody);
        }
        let more = output_to.iter().filter(|one| !recording.to.contains(*one));
        Ok(Self::Only(recipients(recording.to.iter().chain(more))?))
    }

    /// The name of the file of chunk `chunk`, as it is kept and handed over.
    pub fn file_name(&self, chunk: u64) -> String {
        file_name(chunk, matches!(self, Self::Anybody))
    }

    /// The blob of `text`.
    ///
    /// # Errors
    /// When it has more than [`RECORDING_TEXT_BYTES_MAX`] bytes, or becomes longer than [`RECORDING_BLOB_BYTES_MAX`].
    pub fn seal(&self, text: &[u8]) -> Result<Vec<u8>, Invalid> {
        if text.len() > RECORDING_TEXT_BYTES_MAX {
            return Err(too_large(text.len(), RECORDING_TEXT_BYTES_MAX));
        }
        let packed = zstd::bulk::compress(text, LEVEL).map_err(|error| not_sealed(&error))?;
        let blob = match self {
            Self::Anybody => packed,
            Self::Only(recipients) => encrypt(&packed, recipients)?,
        };
        if blob.len() > RECORDING_BLOB_BYTES_MAX {
            return Err(too_large(blob.len(), RECORDING_BLOB_BYTES_MAX));
        }
        Ok(blob)
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anybody => f.write_str("Anybody"),
            Self::Only(recipients) => write!(f, "Only({} recipients)", recipients.len()),
        }
    }
}

impl Identities {
    /// The recipient of the first.
    pub fn public(&self) -> Option<String> {
        self.0.first().map(|identity| identity.to_public().to_string())
    }

    /// Reads an identity file as `age-keygen` writes it: one `AGE-SECRET-KEY-1…` a line, `#` before a comment.
    ///
    /// # Errors
    /// With the number of a line that is neither; and when there is no key.
    pub fn parse(file: &str) -> Result<Self, Invalid> {
        let lines =
            (1..).zip(file.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let parse = |(number, line): (usize, &str)| {
            line.parse()
                .map_err(|_| malformed(format!("line {number} is not an age identity: give `age-keygen`'s file")))
        };
        let all = lines.map(parse).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(malformed("there is no age identity in the file: give what `age-keygen` wrote"));
        }
        Ok(Self(all))
    }
}

/// The name of the file of chunk `chunk`.
pub fn file_name(chunk: u64, plain: bool) -> String {
    let end = if plain { "" } else { ".age" };
    format!("{chunk:08}.cast.zst{end}")
}

/// Whether everybody can open the blob.
pub fn is_plain(blob: &[u8]) -> bool {
    !blob.starts_with(AGE_HEAD)
}

/// The text of a blob; `identities` are needed for a sealed one.
///
/// # Errors
/// `Unsigned` when it is sealed and none of the identities opens it; else when it is no blob, or its text is too long.
pub fn open(blob: &[u8], identities: Option<&Identities>) -> Result<Vec<u8>, Invalid> {
    if blob.len() > RECORDING_BLOB_BYTES_MAX {
        return Err(too_large(blob.len(), RECORDING_BLOB_BYTES_MAX));
    }
    if is_plain(blob) {
        return unpack(blob);
    }
    let Some(identities) = identities else {
        return Err(Invalid::new(Fault::WrongSigner, "it is encrypted: give the auditor's age identity"));
    };
    let cannot = |error: age::DecryptError| {
        let fault = match error {
            age::DecryptError::NoMatchingKeys => Fault::WrongSigner,
            _ => Fault::Malformed,
        };
        Invalid::new(fault, format!("it does not open with the identity given: {}", not_opened(&error)))
    };
    let sealed = age::Decryptor::new(blob).map_err(cannot)?;
    let mut reader = sealed.decrypt(identities.0.iter().map(|one| one as &dyn age::Identity)).map_err(cannot)?;
    let mut packed = Vec::new();
    reader.read_to_end(&mut packed).map_err(|error| malformed(format!("its encryption is broken: {error}")))?;
    unpack(&packed)
}

fn recipients<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<Vec<age::x25519::Recipient>, Invalid> {
    texts.into_iter().map(|text| recipient(text)).collect()
}

/// One of no use to anybody is refused: age gives up in the middle where it is among others.
fn recipient(text: &str) -> Result<age::x25519::Recipient, Invalid> {
    check_recipient(text)?;
    text.parse().map_err(|error| malformed(format!("{text:?} is not an age recipient: {error}")))
}

fn encrypt(packed: &[u8], recipients: &[age::x25519::Recipient]) -> Result<Vec<u8>, Invalid> {
    let each = recipients.iter().map(|one| one as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(each).map_err(|error| not_sealed(&not_encrypted(&error)))?;
    let mut blob = Vec::new();
    let sealed = encryptor.wrap_output(&mut blob).and_then(|mut writer| {
        writer.write_all(packed)?;
        writer.finish()
    });
    sealed.map_err(|error| not_sealed(&error))?;
    Ok(blob)
}

/// Exactly one frame, whose text has its maximum: neither the frame's own claim nor its window is believed.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, Invalid> {
    if packed.is_empty() {
        return Err(malformed("it is empty"));
    }
    let broken = |error: std::io::Error| malformed(format!("its compression is broken: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
    let mut text = Vec::new();
    (&mut decoder).take(RECORDING_TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(broken)?;
    if text.len() > RECORDING_TEXT_BYTES_MAX {
        return Err(too_large(text.len(), RECORDING_TEXT_BYTES_MAX));
    }
    if !decoder.finish().is_empty() {
        return Err(malformed("it has bytes behind its one zstd frame"));
    }
    Ok(text)
}

/// What age refused. Its own sentences come out of a catalogue of translations, which a device would carry for nothing.
pub(crate) fn not_encrypted(error: &age::EncryptError) -> String {
    match error {
        age::EncryptError::Io(error) => error.to_string(),
        age::EncryptError::MissingRecipients => "it has no recipients".to_owned(),
        // Only passphrases, plugins and labels come here, and nothing of ours has any.
        other => format!("{other:?}"),
    }
}

/// Why age opened nothing, likewise.
pub(crate) fn not_opened(error: &age::DecryptError) -> String {
    match error {
        age::DecryptError::Io(error) => return error.to_string(),
        age::DecryptError::NoMatchingKeys => "it is encrypted to other recipients",
        age::DecryptError::DecryptionFailed => "its key or its text was altered",
        age::DecryptError::InvalidHeader => "its header is not age's",
        age::DecryptError::InvalidMac => "its header was altered",
        age::DecryptError::UnknownFormat => "it is a later version of age's format",
        // Only passphrases and plugins come here, and nothing of ours has any.
        other => return format!("{other:?}"),
    }
    .to_owned()
}

fn not_sealed(error: &dyn std::fmt::Display) -> Invalid {
    malformed(format!("a chunk of a recording was not sealed: {error}"))
}

fn too_large(bytes: usize, max: usize) -> Invalid {
    Invalid::new(Fault::TooLarge, format!("it has {bytes} bytes or more, over the limit of {max}"))
}

#[cfg(test)]
mod tests;
