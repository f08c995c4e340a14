//! How an answer looks: a table for people, JSON for programs, and in neither a character that deceives a terminal.
//!
//! Names, addresses and versions come from devices: to a terminal they are hostile until they are escaped.

use belay_certs::screen::deceives;
pub(super) use belay_certs::screen::visible as escape;
use serde::Serialize;
use std::{
    borrow::Cow,
    fmt::{Display, Write},
};

/// How somebody wants an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// A table for people.
    #[default]
    Table,
    /// `--json`.
    Json,
}

/// Rows under a heading, every column as wide as its widest cell. Cells are escaped; an empty one is a `-`.
pub(super) fn table<const COLUMNS: usize>(heading: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let shown: Vec<[Cow<'_, str>; COLUMNS]> = std::iter::once(heading.map(Cow::Borrowed))
        .chain(
            rows.iter().map(|row| row.each_ref().map(|cell| if cell.is_empty() { "-".into() } else { escape(cell) })),
        )
        .collect();
    let mut widths = [0; COLUMNS];
    for row in &shown {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &shown {
        let start = out.len();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(out, "{cell:<width$}  ");
        }
        let end = out.trim_end_matches(' ').len();
        out.truncate(end.max(start));
        out.push('\n');
    }
    out
}

/// One line of JSON. Deceiving characters are `\uXXXX`: the same value to a program, harmless on a terminal.
///
/// # Errors
/// Never for the answers of this door: JSON can say all of them.
pub(super) fn json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(format!("{}\n", harmless(&serde_json::to_string(value)?)))
}

/// JSON text with deceiving characters as `\uXXXX`. It has them only inside strings.
pub(super) fn harmless(json: &str) -> Cow<'_, str> {
    if !json.contains(deceives) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if deceives(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The text of a value that may be missing; nothing becomes an empty cell.
pub(super) fn or_empty(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_made_text_cannot_move_the_cursor_or_turn_the_line_around() {
        assert_eq!(
            escape("0.1.0\u{1b}[2J\u{9b}\u{202e}x\u{200b}\n"),
            "0.1.0\\u{1b}[2J\\u{9b}\\u{202e}x\\u{200b}\\u{a}"
        );
        assert_eq!(escape("Zürich 東京"), "Zürich 東京");
    }

    #[test]
    fn a_table_is_aligned_and_a_hostile_cell_stays_in_its_row() {
        let rows = [["web1".to_owned(), "on\nline".to_owned()], ["database".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "STATE"], &rows), "NAME      STATE\nweb1      on\\u{a}line\ndatabase  -\n");
        assert_eq!(table(["NAME", "STATE"], &[]), "NAME  STATE\n");
    }

    #[test]
    fn json_is_the_same_value_without_deceiving_characters() {
        let value = serde_json::json!({"name": "a\u{202e}\u{1b}b\n\u{e0001}\u{9b}"});
        let text = json(&value).unwrap();
        assert!(text.trim_end().chars().all(|c| !deceives(c)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
