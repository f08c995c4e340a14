//! What was typed, key by key, as the lines that were entered.
//!
//! Not here: what a terminal showed of it (`lines`).

use super::{Line, visible};
use crate::limits::TYPED_LINE_BYTES_MAX;

/// Keys on their way into lines. Each line ends with a return, and at [`TYPED_LINE_BYTES_MAX`] in any case.
#[derive(Debug, Default)]
pub struct Typed {
    bytes: Vec<u8>,
    /// When the first of them was typed.
    at_ms: u64,
}

impl Typed {
    /// Takes what was typed at `at_ms` milliseconds: the lines that end with it. Empty ones are left out.
    pub fn feed(&mut self, at_ms: u64, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for byte in bytes {
            if self.bytes.is_empty() {
                self.at_ms = at_ms;
            }
            match byte {
                b'\r' | b'\n' => lines.extend(self.finish()),
                byte => self.bytes.push(*byte),
            }
            if self.bytes.len() >= TYPED_LINE_BYTES_MAX {
                lines.extend(self.finish());
            }
        }
        lines
    }

    /// What was typed since the last line, when no more comes; none where that is nothing.
    pub fn finish(&mut self) -> Option<Line> {
        let typed = std::mem::take(&mut self.bytes);
        let text = visible(&String::from_utf8_lossy(&typed)).into_owned();
        (!text.trim().is_empty()).then_some(Line { at_ms: self.at_ms, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: impl IntoIterator<Item = Line>) -> Vec<(u64, String)> {
        lines.into_iter().map(|line| (line.at_ms, line.text)).collect()
    }

    #[test]
    fn keys_become_the_line_that_was_entered_at_its_first_key() {
        let mut typed = Typed::default();
        for (at_ms, key) in (100..).step_by(100).zip("mount /mnt".bytes()) {
            assert_eq!(typed.feed(at_ms, &[key]), []);
        }
        assert_eq!(texts(typed.feed(2_000, b"\r")), [(100, "mount /mnt".to_owned())]);
        assert_eq!(texts(typed.feed(3_000, b"\r\n\rls\ru")), [(3_000, "ls".to_owned())]);
        assert_eq!(texts(typed.finish()), [(3_000, "u".to_owned())]);
        assert_eq!(typed.finish(), None);
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_nothing_in_it_deceives() {
        let mut typed = Typed::default();
        let lines = typed.feed(5, &[b'x'; TYPED_LINE_BYTES_MAX + 1]);
        assert_eq!(lines.iter().map(|line| line.text.len()).collect::<Vec<_>>(), [TYPED_LINE_BYTES_MAX]);
        assert_eq!(texts(typed.finish()), [(5, "x".to_owned())]);
        let escaped = typed.feed(6, b"\x1b]0;title\x07\xff\n");
        assert!(escaped.len() == 1 && !escaped[0].text.contains(['\x1b', '\x07']), "{escaped:?}");
    }
}
