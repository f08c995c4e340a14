//! The free text inside a statement: what of it is kept, and the bounds that a reader checks again.

use crate::invalid::{Fault, Invalid, malformed};
pub use crate::limits::WORD_BYTES_MAX;

/// The longest start of `bytes` that fits `bytes_max` bytes of UTF-8, whole characters only. What is not UTF-8, every
/// control character but tab and newline, and what turns the direction of writing becomes U+FFFD: an auditor's terminal
/// obeys no one else's escapes, and shows letters in the order they have.
pub fn readable(bytes: &[u8], bytes_max: usize) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        let broken = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for character in chunk.valid().chars().chain(broken) {
            let shown = if is_shown(character) { character } else { char::REPLACEMENT_CHARACTER };
            if out.len() + shown.len_utf8() > bytes_max {
                return out;
            }
            out.push(shown);
        }
    }
    out
}

/// What a word of a statement (account, target, ticket, reason) keeps of text that a stranger chose.
pub fn word(text: &str) -> String {
    readable(text.as_bytes(), WORD_BYTES_MAX)
}

/// Whether a character may stand in a path or an argument: nothing that commands a terminal, breaks a line, hides or turns letters.
pub(crate) fn is_plain(character: char) -> bool {
    match character {
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => false,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}' => false,
        other => !other.is_control(),
    }
}

fn is_shown(character: char) -> bool {
    match character {
        '\t' | '\n' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        other => !other.is_control(),
    }
}

pub(super) fn check_option(name: &str, text: Option<&str>) -> Result<(), Invalid> {
    text.map_or(Ok(()), |text| check_word(name, text))
}

pub(super) fn check_word(name: &str, text: &str) -> Result<(), Invalid> {
    check_readable(name, text, WORD_BYTES_MAX)
}

pub(super) fn check_readable(name: &str, text: &str, bytes_max: usize) -> Result<(), Invalid> {
    if !text.chars().all(is_shown) {
        return Err(malformed(format!(
            "statement has a control character in `{name}`: write what `readable` makes of it"
        )));
    }
    check_length(text, bytes_max, name)
}

pub(super) fn check_length(text: &str, bytes_max: usize, name: &str) -> Result<(), Invalid> {
    if text.len() > bytes_max {
        let sentence = format!("{name} has {} bytes, at most {bytes_max} are allowed", text.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(())
}
