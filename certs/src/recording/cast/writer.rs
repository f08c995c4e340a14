//! Events into lines. The time is an argument; what is held back for a moment is half a character.

use crate::limits::CAST_PIECE_BYTES_MAX;
use std::fmt::Write;

/// Bytes of the longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// Writes the lines of one recording behind its header.
#[derive(Debug, Default)]
pub struct Writer {
    /// The last event's time, in microseconds since the session's start: none is earlier.
    last: u64,
    /// The beginning of a character that was shown, at most three bytes.
    shown: Vec<u8>,
    /// The beginning of a character that was typed.
    typed: Vec<u8>,
}

impl Writer {
    /// Appends what the person received at `at` (microseconds since the session's start) to `text`: at most one line for each
    /// [`CAST_PIECE_BYTES_MAX`] bytes. A character whose end is not there yet is held back until it is.
    pub fn output(&mut self, at: u64, bytes: &[u8], text: &mut String) {
        let at = self.at(at);
        for piece in bytes.chunks(CAST_PIECE_BYTES_MAX) {
            data_line(at, 'o', &mut self.shown, piece, text);
        }
    }

    /// Likewise for what was typed.
    pub fn input(&mut self, at: u64, bytes: &[u8], text: &mut String) {
        let at = self.at(at);
        for piece in bytes.chunks(CAST_PIECE_BYTES_MAX) {
            data_line(at, 'i', &mut self.typed, piece, text);
        }
    }

    /// The terminal has a new size.
    pub fn resize(&mut self, at: u64, columns: u32, rows: u32, text: &mut String) {
        let at = self.at(at);
        line(at, 'r', text, |text| write!(text, "{columns}x{rows}"));
    }

    /// Something happened: at most [`CAST_PIECE_BYTES_MAX`] bytes of `words` are kept, on one line.
    pub fn marker(&mut self, at: u64, words: &str, text: &mut String) {
        let at = self.at(at);
        let end = words.floor_char_boundary(CAST_PIECE_BYTES_MAX);
        line(at, 'm', text, |text| {
            escape(words.get(..end).unwrap_or_default(), text);
            Ok(())
        });
    }

    /// Writes the beginnings of characters that are held back as the bytes they are: no end comes, or not in this chunk.
    pub fn flush(&mut self, text: &mut String) {
        for (code, held) in [('o', &mut self.shown), ('i', &mut self.typed)] {
            let bytes = std::mem::take(held);
            if !bytes.is_empty() {
                line(self.last, code, text, |text| {
                    raw(&bytes, text);
                    Ok(())
                });
            }
        }
    }

    /// The last event's time, in microseconds since the session's start.
    pub fn last(&self) -> u64 {
        self.last
    }

    fn at(&mut self, at: u64) -> u64 {
        self.last = self.last.max(at);
        self.last
    }
}

fn line(at: u64, code: char, text: &mut String, data: impl FnOnce(&mut String) -> std::fmt::Result) {
    let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
    // Nothing that is written to a `String` fails.
    let _ = write!(text, "[{seconds}.{micros:06}, \"{code}\", \"");
    let _ = data(text);
    text.push_str("\"]\n");
}

/// One line of what was held back and `piece`, but for the beginning of a character at its end.
fn data_line(at: u64, code: char, held: &mut Vec<u8>, piece: &[u8], text: &mut String) {
    let joined;
    let bytes = if held.is_empty() {
        piece
    } else {
        joined = [held.as_slice(), piece].concat();
        joined.as_slice()
    };
    let (now, later) = bytes.split_at(bytes.len().saturating_sub(unfinished(bytes)));
    if !now.is_empty() {
        line(at, code, text, |text| {
            for chunk in now.utf8_chunks() {
                escape(chunk.valid(), text);
                raw(chunk.invalid(), text);
            }
            Ok(())
        });
    }
    *held = later.to_vec();
}

/// How many bytes at the end are the beginning of a character that more bytes could make whole.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = bytes.get(bytes.len().saturating_sub(CHARACTER_BYTES_MAX - 1)..).unwrap_or_default();
    let Some(start) = tail.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return 0 };
    let last = tail.get(start..).unwrap_or_default();
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        Ok(_) | Err(_) => 0,
    }
}

/// JSON's own escapes; everything else as itself.
fn escape(valid: &str, text: &mut String) {
    let mut rest = valid;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\' || c == '\x7f') {
        let (plain, from) = rest.split_at(at);
        text.push_str(plain);
        let mut characters = from.chars();
        match characters.next() {
            Some('\n') => text.push_str("\\n"),
            Some('\r') => text.push_str("\\r"),
            Some('\t') => text.push_str("\\t"),
            Some('"') => text.push_str("\\\""),
            Some('\\') => text.push_str("\\\\"),
            // All that is left is below 0x80.
            Some(other) => unit(text, "\\u00", u32::from(other)),
            None => {}
        }
        rest = characters.as_str();
    }
    text.push_str(rest);
}

/// Bytes that are no UTF-8: each as Python's surrogateescape has it.
fn raw(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        unit(text, "\\udc", u32::from(*byte));
    }
}

/// The escape of one unit; without `write!`, which takes ten times as long.
fn unit(text: &mut String, start: &str, low: u32) {
    text.push_str(start);
    for digit in [low >> 4 & 0xf, low & 0xf] {
        text.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}
