//! What a file session did: the first paths in order, and the sums of all of them.
//!
//! Not here: how a machine watches its file sessions (the agent's `files/`).

use super::words::is_plain;
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{FILE_PATH_BYTES_MAX, FILES_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};

/// Shown at the end of a path of which only the start is kept.
const CUT: char = '…';

/// Everything one file session did, as its machine saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The first deeds, in the order in which they were finished; at most [`FILES_BYTES_MAX`] of JSON.
    pub list: Vec<FileDeed>,
    /// Deeds that the list has no room for. The sums below count them too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// Files sent to the machine.
    pub up: u64,
    /// Their bytes, as they were written.
    pub up_bytes: u64,
    /// Files fetched from the machine.
    pub down: u64,
    /// Their bytes, as they were read.
    pub down_bytes: u64,
    /// Everything else that changed something: renamed, removed, made, linked, given other attributes.
    pub changed: u64,
    /// Transfers among them that were not closed in good order.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partial: u64,
    /// Deeds that the machine refused (no such file, no permission, no room); none of them is in the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// The session was cut off: what it did after the last deed here is not known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unfinished: bool,
}

/// One thing that was done to one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDeed {
    /// What.
    pub did: Deed,
    /// To what; see [`path_text`].
    pub path: String,
    /// The new name, or what a link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Bytes of a transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The transfer was not closed in good order: `bytes` is what is known of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
}

/// What can be done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// Written to, from the person.
    Up,
    /// Read, to the person.
    Down,
    /// Copied on the machine.
    Copy,
    /// Given another name.
    Rename,
    /// Removed.
    Remove,
    /// A directory was made.
    Mkdir,
    /// A directory was removed.
    Rmdir,
    /// A symbolic link was made: `path` is the link, `to` what it says.
    Symlink,
    /// A second name was given to a file: `to` is the new one.
    Hardlink,
    /// Size, owner, permissions or times were set.
    Attributes,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A path as it is recorded: whatever is no plain character is written as `\xNN`, `\n`, `\u{…}` or `\\`, so that two paths
/// never look the same and nobody's terminal obeys one. Of a longer one the start is kept, with `…` at its end.
pub fn path_text(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            let shown = match character {
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\t' => "\\t".to_owned(),
                plain if is_plain(plain) => plain.to_string(),
                low if low.is_ascii() => format!("\\x{:02x}", u32::from(low)),
                other => format!("\\u{{{:x}}}", u32::from(other)),
            };
            if !add(&mut text, &shown) {
                return text;
            }
        }
        for byte in chunk.invalid() {
            if !add(&mut text, &format!("\\x{byte:02x}")) {
                return text;
            }
        }
    }
    text
}

/// Adds what still fits before the mark of a cut; otherwise the mark.
fn add(text: &mut String, shown: &str) -> bool {
    let fits = text.len() + shown.len() + CUT.len_utf8() <= FILE_PATH_BYTES_MAX;
    if fits {
        text.push_str(shown);
    } else {
        text.push(CUT);
    }
    fits
}

impl Files {
    /// Counts a deed, and lists it while there is room.
    pub fn add(&mut self, deed: FileDeed) {
        let bytes = deed.bytes.unwrap_or_default();
        let (count, sum) = match deed.did {
            Deed::Up => (&mut self.up, Some(&mut self.up_bytes)),
            Deed::Down => (&mut self.down, Some(&mut self.down_bytes)),
            Deed::Copy
            | Deed::Rename
            | Deed::Remove
            | Deed::Mkdir
            | Deed::Rmdir
            | Deed::Symlink
            | Deed::Hardlink
            | Deed::Attributes => (&mut self.changed, None),
        };
        *count = count.saturating_add(1);
        if let Some(sum) = sum {
            *sum = sum.saturating_add(bytes);
        }
        self.partial = self.partial.saturating_add(u64::from(deed.partial));
        // A list without gaps: the first that does not fit ends it.
        if self.unlisted == 0 {
            self.list.push(deed);
            if self.list_bytes().is_some_and(|bytes| bytes <= FILES_BYTES_MAX) {
                return;
            }
            self.list.pop();
        }
        self.unlisted = self.unlisted.saturating_add(1);
    }

    fn list_bytes(&self) -> Option<usize> {
        serde_json::to_vec(&self.list).ok().map(|json| json.len())
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        for deed in &self.list {
            for path in std::iter::once(&deed.path).chain(&deed.to) {
                if path.len() > FILE_PATH_BYTES_MAX || !path.chars().all(is_plain) {
                    return Err(malformed(
                        "statement has a path that is too long or holds a control character: write what `path_text` makes of it",
                    ));
                }
            }
        }
        match self.list_bytes() {
            Some(bytes) if bytes <= FILES_BYTES_MAX => Ok(()),
            Some(_) | None => Err(Invalid::new(
                Fault::TooLarge,
                format!("list of files is longer than {FILES_BYTES_MAX} bytes of JSON"),
            )),
        }
    }
}

/// One short line for people: `2 up (1,024 bytes), 1 down (7 bytes), 3 changes; 1 partial, 2 refused`.
impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (count, bytes, way) in [(self.up, self.up_bytes, "up"), (self.down, self.down_bytes, "down")] {
            if count > 0 {
                parts.push(format!("{count} {way} ({} bytes)", grouped(bytes)));
            }
        }
        if self.changed > 0 {
            parts.push(format!("{} changed", self.changed));
        }
        for (count, word) in [(self.partial, "partial"), (self.failed, "refused")] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        if self.unfinished {
            parts.push("cut off".to_owned());
        }
        if parts.is_empty() { f.write_str("nothing moved") } else { f.write_str(&parts.join(", ")) }
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            let _ = text.write_char(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(path: &str) -> FileDeed {
        FileDeed { did: Deed::Up, path: path.to_owned(), to: None, bytes: Some(7), partial: false }
    }

    #[test]
    fn hostile_paths_become_plain_and_stay_different() {
        for (path, text) in [
            (b"/etc/motd".as_slice(), "/etc/motd"),
            ("/tmp/Bücher ✓".as_bytes(), "/tmp/Bücher ✓"),
            (b"/a\nb\tc\\n", r"/a\nb\tc\\n"),
            (b"\x1b[2J\x07\x7f", r"\x1b[2J\x07\x7f"),
            (b"/caf\xe9", r"/caf\xe9"),
            ("a\u{202e}b\u{9b}c\u{200b}d\u{feff}\u{2028}".as_bytes(), r"a\u{202e}b\u{9b}c\u{200b}d\u{feff}\u{2028}"),
        ] {
            assert_eq!(path_text(path), text);
            assert!(path_text(path).chars().all(is_plain));
        }
        let long = path_text(&[0xff; 4096]);
        assert!(long.ends_with('…') && long.len() <= FILE_PATH_BYTES_MAX, "{}", long.len());
    }

    #[test]
    fn a_list_that_is_full_goes_on_counting() {
        let mut files = Files::default();
        for number in 0..1_000 {
            files.add(deed(&format!("/srv/{number}/\"\"\"\"")));
        }
        files.check().unwrap();
        assert_eq!((files.up, files.up_bytes), (1_000, 7_000));
        assert_eq!(files.list.len() as u64 + files.unlisted, 1_000);
        assert!(files.list.len() > 100, "{}", files.list.len());
        assert_eq!(files.list[42].path, "/srv/42/\"\"\"\"");
        files.list.push(deed(&"x".repeat(FILE_PATH_BYTES_MAX)));
        assert_eq!(files.check().unwrap_err().fault, Fault::TooLarge);
        files.list = vec![deed("a\nb")];
        assert_eq!(files.check().unwrap_err().fault, Fault::Malformed);
    }

    #[test]
    fn the_line_for_people_says_what_moved() {
        let mut files = Files::default();
        assert_eq!(files.to_string(), "nothing moved");
        files.add(FileDeed { bytes: Some(1_234_567), ..deed("/a") });
        files.add(FileDeed { did: Deed::Down, partial: true, bytes: Some(12), ..deed("/b") });
        files.add(FileDeed { did: Deed::Remove, bytes: None, ..deed("/c") });
        files.failed = 2;
        assert_eq!(files.to_string(), "1 up (1,234,567 bytes), 1 down (12 bytes), 1 changed, 1 partial, 2 refused");
    }
}
