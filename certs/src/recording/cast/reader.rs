//! Lines into events, with the very bytes that were shown. Reads what the writer writes; of JSON's escapes all.

use super::Header;
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{CAST_HEADER_BYTES_MAX, CAST_LINE_BYTES_MAX};

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Microseconds since the session's start; never less than of the event before.
    pub at: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The person received this.
    Output(Vec<u8>),
    /// The person typed this.
    Input(Vec<u8>),
    /// The terminal has another size.
    Resize {
        /// Its width.
        columns: u32,
        /// Its height.
        rows: u32,
    },
    /// Something that the device says in words.
    Marker(String),
}

/// Reads one recording, chunk after chunk.
#[derive(Debug, Default)]
pub struct Reader {
    /// The first line, once it was read.
    header: Option<Header>,
    /// The number of the last line, from 1.
    line: u64,
    /// The last event's time.
    last: u64,
}

impl Reader {
    /// The header; `None` before the first chunk.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The events of the next chunk, whose `text` is whole lines.
    ///
    /// # Errors
    /// With the number of the line that is not UTF-8, too long, cut off, no event, or earlier than the one before.
    pub fn read(&mut self, text: &[u8]) -> Result<Vec<Event>, Invalid> {
        let mut events = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.line = self.line.saturating_add(1);
            let event = self.one(line).map_err(|invalid| invalid.of(format!("line {} of the recording", self.line)))?;
            events.extend(event);
        }
        Ok(events)
    }

    fn one(&mut self, line: &[u8]) -> Result<Option<Event>, Invalid> {
        let max = if self.header.is_none() { CAST_HEADER_BYTES_MAX } else { CAST_LINE_BYTES_MAX };
        if line.len() > max {
            return Err(Invalid::new(Fault::TooLarge, format!("has {} bytes, over the limit of {max}", line.len())));
        }
        let line = std::str::from_utf8(line).map_err(|_| malformed("is not UTF-8"))?;
        let line = line.strip_suffix('\n').ok_or_else(|| malformed("is cut off: it has no end"))?;
        if self.header.is_none() {
            self.header = Some(Header::parse(line)?);
            return Ok(None);
        }
        let event = parse(line).ok_or_else(|| malformed("is not [SECONDS, CODE, DATA]"))??;
        if event.at < self.last {
            return Err(malformed("is earlier than the one before"));
        }
        self.last = event.at;
        Ok(Some(event))
    }
}

/// `None` when it has not the shape of an event.
fn parse(line: &str) -> Option<Result<Event, Invalid>> {
    let (seconds, rest) = line.strip_prefix('[')?.split_once('.')?;
    let (fraction, rest) = rest.split_once(", \"")?;
    if fraction.len() != 6 || ![seconds, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let at = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)?;
    let (code, rest) = rest.split_once("\", \"")?;
    let data = data(rest.strip_suffix("\"]")?)?;
    let kind = match code {
        "o" => EventKind::Output(data),
        "i" => EventKind::Input(data),
        "r" => {
            let (columns, rows) = std::str::from_utf8(&data).ok()?.split_once('x')?;
            EventKind::Resize { columns: columns.parse().ok()?, rows: rows.parse().ok()? }
        }
        "m" => EventKind::Marker(String::from_utf8(data).ok()?),
        _ => return Some(Err(malformed(format!("has the code {code:?}, which is none of o, i, r and m")))),
    };
    Some(Ok(Event { at, kind }))
}

/// The bytes that the inside of a JSON string stands for.
fn data(mut rest: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(at) = rest.find(['\\', '"']) {
        let (plain, from) = rest.split_at(at);
        bytes.extend_from_slice(plain.as_bytes());
        let mut characters = from.strip_prefix('\\')?.chars();
        let plain = match characters.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\x08',
            'f' => '\x0c',
            same @ ('"' | '\\' | '/') => same,
            'u' => {
                rest = unit(characters.as_str(), &mut bytes)?;
                continue;
            }
            _ => return None,
        };
        bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
        rest = characters.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// The bytes of the four digits behind `\u`, with the second half of a pair; answers with what follows.
fn unit<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Option<&'t str> {
    let (first, rest) = four(text)?;
    let character = match first {
        // Python's surrogateescape: one byte that is no UTF-8.
        0xdc80..=0xdcff => {
            bytes.push(u8::try_from(first & 0xff).ok()?);
            return Some(rest);
        }
        0xd800..=0xdbff => {
            let (second, behind) = four(rest.strip_prefix("\\u")?)?;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            let character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(behind);
        }
        other => char::from_u32(other)?,
    };
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn four(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some((u32::from_str_radix(digits, 16).ok().filter(|_| hex)?, rest))
}
