//! Rows that leave a screen become lines: what was wrapped is joined again, and no line grows without end.

use super::{grid::Row, visible::push};
use crate::limits::SCREEN_LINE_BYTES_MAX;

/// One line that a terminal showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the last of it was written, in milliseconds since the session's start.
    pub at_ms: u64,
    /// Its text without the spaces at its end, at most [`SCREEN_LINE_BYTES_MAX`] bytes; deceiving characters as `\u{…}`.
    pub text: String,
}

/// Where rows go when they leave.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Finished lines that nobody took yet.
    lines: Vec<Line>,
    /// The beginning of a line whose last row goes on in the next one.
    text: String,
    /// When the last of `text` was written.
    at_ms: u64,
}

impl Leaving {
    /// A row scrolled away, was erased or is left behind; what it goes on with comes next.
    pub(super) fn row(&mut self, row: &Row) {
        self.at_ms = self.at_ms.max(row.touched_ms);
        row.each_char(|c| {
            // A character takes at most 11 bytes as `\u{10ffff}` does.
            if self.text.len() + 11 > SCREEN_LINE_BYTES_MAX {
                self.end();
                self.at_ms = row.touched_ms;
            }
            push(&mut self.text, c);
        });
        if !row.wrapped {
            self.end();
        }
    }

    /// What went on in a row that never comes ends here.
    pub(super) fn end(&mut self) {
        let text = self.text.trim_end_matches(' ');
        if !text.is_empty() {
            self.lines.push(Line { at_ms: self.at_ms, text: text.to_owned() });
        }
        self.text.clear();
        self.at_ms = 0;
    }

    /// A row as it stood before it is changed; what is being joined stays as it is.
    pub(super) fn as_it_stood(&mut self, row: &Row) {
        let mut alone = Self::default();
        alone.row(row);
        alone.end();
        self.lines.append(&mut alone.lines);
    }

    /// The finished lines.
    pub(super) fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}
