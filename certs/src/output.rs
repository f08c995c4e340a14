//! What a run printed, as a text file: one line a piece, so that `awk` and `base64 -d` read it and `sha256sum` proves it (P8).
//!
//! ```text
//! MILLISECONDS o BASE64        a piece of standard output
//! MILLISECONDS e BASE64        a piece of standard error
//! MILLISECONDS x BYTES         here so many bytes were dropped; at most once
//! MILLISECONDS s BASE64        lines `o` and `e` that only some can read: zstd, and age around it
//! ```
//!
//! Milliseconds count from the run's start and never fall; those of `s` are the first line's inside. The file is the run's
//! recording: its digest is in the device's statement of the end. Not here: which pieces are kept (the agent's rules), files.

mod cast;
mod sealed;

pub use cast::to_cast;
pub use sealed::{open, seal};

use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{OUTPUT_BYTES_MAX, OUTPUT_PIECE_BYTES_MAX, RECORDING_BLOB_BYTES_MAX};
use crate::recording::blob;
use base64::{Engine, engine::general_purpose::STANDARD};

/// What a line is made of beside the digits of its numbers and the BASE64: two spaces, a letter and the line end.
const LINE_FRAME_BYTES: usize = 4;
/// The digits of the largest number.
const DIGITS_MAX: usize = 20;
/// The longest line, in bytes: a sealed one.
pub const LINE_BYTES_MAX: usize = DIGITS_MAX + LINE_FRAME_BYTES + RECORDING_BLOB_BYTES_MAX.div_ceil(3) * 4;
// A sealed line is the longest.
const _: () = assert!(OUTPUT_PIECE_BYTES_MAX <= RECORDING_BLOB_BYTES_MAX);

/// Where a piece was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Bytes that the script wrote, exactly: in any encoding, with whatever they would do to a terminal.
    Piece {
        /// Milliseconds since the run's start.
        at: u64,
        /// Where to.
        stream: Stream,
        /// 1 to [`OUTPUT_PIECE_BYTES_MAX`] bytes.
        bytes: Vec<u8>,
    },
    /// What was written between the piece before and the piece behind is not kept.
    Cut {
        /// When the first of it was written, in milliseconds since the run's start.
        at: u64,
        /// How many bytes, at least 1.
        dropped: u64,
    },
    /// Pieces that only the holders of some age identities can read: see [`open`].
    Sealed {
        /// When the first of them was written, in milliseconds since the run's start.
        at: u64,
        /// An age file of at most [`RECORDING_BLOB_BYTES_MAX`] bytes, of a zstd frame, of their lines.
        blob: Vec<u8>,
    },
}

/// A file as far as it is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// Its lines.
    pub lines: Vec<Line>,
    /// Where the last whole line ends, in bytes: behind it stands half a line, or nothing.
    pub whole_bytes: usize,
}

impl Line {
    /// The line with its line end.
    pub fn to_text(&self) -> String {
        match self {
            Self::Piece { at, stream: Stream::Out, bytes } => format!("{at} o {}\n", STANDARD.encode(bytes)),
            Self::Piece { at, stream: Stream::Err, bytes } => format!("{at} e {}\n", STANDARD.encode(bytes)),
            Self::Cut { at, dropped } => format!("{at} x {dropped}\n"),
            Self::Sealed { at, blob } => format!("{at} s {}\n", STANDARD.encode(blob)),
        }
    }

    /// Milliseconds since the run's start.
    pub fn at(&self) -> u64 {
        match self {
            Self::Piece { at, .. } | Self::Cut { at, .. } | Self::Sealed { at, .. } => *at,
        }
    }

    /// Reads one line without its line end.
    fn parse(line: &str) -> Result<Self, Invalid> {
        let mut words = line.splitn(3, ' ');
        let (Some(at), Some(kind), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return Err(malformed("is not MILLISECONDS, o, e, x or s, and what belongs to it"));
        };
        let at = number(at)?;
        match kind {
            "o" => Ok(Self::Piece { at, stream: Stream::Out, bytes: piece(rest)? }),
            "e" => Ok(Self::Piece { at, stream: Stream::Err, bytes: piece(rest)? }),
            "x" => match number(rest)? {
                0 => Err(malformed("says that nothing was dropped")),
                dropped => Ok(Self::Cut { at, dropped }),
            },
            "s" => Ok(Self::Sealed { at, blob: age_file(rest)? }),
            _ => Err(malformed("is neither o, e, x nor s")),
        }
    }
}

impl Read {
    /// Whether some of it can be read only with an age identity.
    pub fn is_sealed(&self) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Sealed { .. }))
    }

    /// Bytes that the script wrote and that are in the file for everybody to read.
    pub fn kept(&self) -> u64 {
        let kept = |line: &Line| match line {
            Line::Cut { .. } | Line::Sealed { .. } => 0,
            Line::Piece { bytes, .. } => bytes.len() as u64,
        };
        self.lines.iter().map(kept).fold(0, u64::saturating_add)
    }

    /// Bytes that the script wrote and that the file says it does not have.
    pub fn dropped(&self) -> u64 {
        let dropped = |line: &Line| match line {
            Line::Cut { dropped, .. } => *dropped,
            Line::Piece { .. } | Line::Sealed { .. } => 0,
        };
        self.lines.iter().map(dropped).fold(0, u64::saturating_add)
    }
}

/// The length of the line of a piece of `bytes` bytes at `at`.
pub fn line_bytes(at: u64, bytes: usize) -> usize {
    let digits = at.checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + LINE_FRAME_BYTES + bytes.div_ceil(3) * 4
}

/// Reads a whole file.
///
/// # Errors
/// As [`read_cut_off`]; and when it ends in the middle of a line.
pub fn read(file: &[u8]) -> Result<Vec<Line>, Invalid> {
    let Read { lines, whole_bytes } = read_cut_off(file)?;
    if whole_bytes < file.len() {
        return Err(malformed(format!("the output ends in the middle of line {}", lines.len().saturating_add(1))));
    }
    Ok(lines)
}

/// Reads a file whose end may be missing, because its writer died.
///
/// # Errors
/// When it is longer than [`OUTPUT_BYTES_MAX`], or a whole line is not exactly as [`Line::to_text`] writes it, is earlier than
/// the one before, or is a second cut; with the number of the line.
pub fn read_cut_off(file: &[u8]) -> Result<Read, Invalid> {
    if file.len() as u64 > OUTPUT_BYTES_MAX {
        let sentence = format!("the output has {} bytes, at most {OUTPUT_BYTES_MAX} are allowed", file.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    let (mut read, mut was_cut) = (Read::default(), false);
    for (number, raw) in (1..).zip(file.split_inclusive(|byte| *byte == b'\n')) {
        let wrong = |invalid: Invalid| invalid.of(format!("line {number} of the output"));
        let Some(raw) = raw.strip_suffix(b"\n") else {
            check_rest(raw).map_err(wrong)?;
            break;
        };
        let line = std::str::from_utf8(raw).map_err(|_| wrong(malformed("is not text")))?;
        let line = Line::parse(line).map_err(wrong)?;
        if read.lines.last().is_some_and(|before| before.at() > line.at()) {
            return Err(wrong(malformed("is earlier than the one before")));
        }
        if matches!(line, Line::Cut { .. }) && std::mem::replace(&mut was_cut, true) {
            return Err(wrong(malformed("is a second cut")));
        }
        read.lines.push(line);
        read.whole_bytes = read.whole_bytes.saturating_add(raw.len()).saturating_add(1);
    }
    Ok(read)
}

/// Half a line is no longer than a whole one.
fn check_rest(rest: &[u8]) -> Result<(), Invalid> {
    if rest.len() >= LINE_BYTES_MAX {
        return Err(malformed(format!("is longer than {LINE_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn number(text: &str) -> Result<u64, Invalid> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = text.parse().ok().filter(|_| plain);
    number.ok_or_else(|| malformed("has no whole number where one must be"))
}

fn age_file(text: &str) -> Result<Vec<u8>, Invalid> {
    let blob = base64(text)?;
    if blob.len() > RECORDING_BLOB_BYTES_MAX {
        return Err(malformed(format!("seals more than {RECORDING_BLOB_BYTES_MAX} bytes")));
    }
    if blob::is_plain(&blob) {
        return Err(malformed("has no age file where it must be"));
    }
    Ok(blob)
}

fn base64(text: &str) -> Result<Vec<u8>, Invalid> {
    STANDARD.decode(text).map_err(|_| malformed("has no base64 where it must be"))
}

fn piece(text: &str) -> Result<Vec<u8>, Invalid> {
    let bytes = base64(text)?;
    if bytes.is_empty() || bytes.len() > OUTPUT_PIECE_BYTES_MAX {
        return Err(malformed(format!("has not 1 to {OUTPUT_PIECE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
