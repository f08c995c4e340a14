//! What a run printed, so that only some can read it: its lines in the age files of sealed lines, and out of them again.
//!
//! A sealed line alone is what stock tools open: `base64 -d | age -d | zstd -d` gives the lines inside. Not here: who the readers
//! are (`recording::blob::Readers`), keys on disk.

use super::{Line, Read, read};
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{OUTPUT_BYTES_MAX, RECORDING_CHUNK_TEXT_BYTES};
use crate::recording::blob::{self, Identities, Readers};

/// Seals whole lines, those of cuts excepted: how much was dropped is said in the open, in the device's statement too. Where
/// anybody may read, they stay as they are.
///
/// # Errors
/// When age does not encrypt: nothing may be kept then.
pub fn seal(lines: &str, readers: &Readers) -> Result<String, Invalid> {
    if matches!(readers, Readers::Anybody) {
        return Ok(lines.to_owned());
    }
    let (mut sealed, mut group) = (String::new(), String::new());
    for line in lines.split_inclusive('\n') {
        let is_cut = line.split(' ').nth(1) == Some("x");
        if is_cut || group.len().saturating_add(line.len()) > RECORDING_CHUNK_TEXT_BYTES {
            sealed.push_str(&seal_group(&std::mem::take(&mut group), readers)?);
        }
        if is_cut { sealed.push_str(line) } else { group.push_str(line) }
    }
    sealed.push_str(&seal_group(&group, readers)?);
    Ok(sealed)
}

fn seal_group(lines: &str, readers: &Readers) -> Result<String, Invalid> {
    let Some((at, _)) = lines.split_once(' ') else { return Ok(String::new()) };
    let at = super::number(at)?;
    Ok(Line::Sealed { at, blob: readers.seal(lines.as_bytes())? }.to_text())
}

/// The lines with those that are sealed in their places.
///
/// # Errors
/// `WrongSigner` when there are sealed ones and none of the identities opens them; `TooLarge` when there is more inside than
/// [`OUTPUT_BYTES_MAX`]; else when what is inside is not exactly what [`seal`] puts there; with the number of the line.
pub fn open(file: Read, identities: Option<&Identities>) -> Result<Read, Invalid> {
    let mut lines: Vec<Line> = Vec::with_capacity(file.lines.len());
    let mut inside_bytes = 0_u64;
    for (number, line) in (1_usize..).zip(file.lines) {
        let wrong = |invalid: Invalid| invalid.of(format!("line {number} of the output"));
        let inside = match line {
            Line::Piece { .. } | Line::Cut { .. } => vec![line],
            Line::Sealed { at, blob } => {
                let text = blob::open(&blob, identities).map_err(wrong)?;
                // A few bytes become a megabyte: a hostile machine has thousands of them.
                inside_bytes = inside_bytes.saturating_add(text.len() as u64);
                if inside_bytes > OUTPUT_BYTES_MAX {
                    let sentence = format!("there is more inside than {OUTPUT_BYTES_MAX} bytes");
                    return Err(wrong(Invalid::new(Fault::TooLarge, sentence)));
                }
                inside(at, &text).map_err(wrong)?
            }
        };
        let before = lines.last().map_or(0, Line::at);
        if inside.first().is_some_and(|first| first.at() < before) {
            return Err(wrong(malformed("is earlier than the one before")));
        }
        lines.extend(inside);
    }
    Ok(Read { lines, whole_bytes: file.whole_bytes })
}

fn inside(at: u64, text: &[u8]) -> Result<Vec<Line>, Invalid> {
    let lines = read(text).map_err(|invalid| invalid.of("inside"))?;
    if lines.iter().any(|line| !matches!(line, Line::Piece { .. })) {
        return Err(malformed("seals what is no piece of output"));
    }
    match lines.first() {
        Some(first) if first.at() == at => Ok(lines),
        Some(first) => Err(malformed(format!("says {at} ms, and begins inside at {} ms", first.at()))),
        None => Err(malformed("seals nothing")),
    }
}

#[cfg(test)]
mod tests;
