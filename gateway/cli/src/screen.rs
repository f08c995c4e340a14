//! What a person sees: escaped text, tables, notes and the one question.
//!
//! Strings that come from a gateway or a device are hostile: everything printed goes through [`escape`].

use crate::failure::{Outcome, While, refused, usage};
use belay_certs::screen::deceives;
pub use belay_certs::screen::visible as escape;
use serde_json::Value;
use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{BufRead, IsTerminal, Read, Write},
};

/// Longest answer to a question, in bytes: "yes" and a line end fit many times.
const ANSWER_BYTES_MAX: u64 = 64;

/// [`escape`] for text of several lines: line ends and tabs stay.
pub fn escape_lines(text: &str) -> String {
    let kept = |c: char| c == '\n' || c == '\t';
    text.split_inclusive(kept).fold(String::with_capacity(text.len()), |mut out, part| {
        let body = part.trim_end_matches(kept);
        out.push_str(&escape(body));
        out.push_str(part.get(body.len()..).unwrap_or_default());
        out
    })
}

/// Prints a line on standard output. A reader that went away is not an error of ours.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{}", escape_lines(line));
}

/// Prints a line on standard error: progress and warnings that no script parses.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", escape_lines(line));
}

/// Writes a document unchanged where a program reads it, escaped where a person does.
pub fn document(text: &str) {
    let mut out = std::io::stdout();
    let shown = if out.is_terminal() { Cow::Owned(escape_lines(text)) } else { Cow::Borrowed(text) };
    let _ = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
}

/// Prints JSON in which deceiving characters are `\uXXXX`: the same value for a program, harmless on a terminal.
pub fn json(value: &Value) {
    let _ = writeln!(std::io::stdout(), "{}", json_text(value));
}

/// The same on one line, where a program reads a line at a time. A reader that went away ends it.
///
/// # Errors
/// Nobody reads any more.
pub fn json_line(value: &Value) -> Outcome {
    writeln!(std::io::stdout(), "{}", undeceived(&value.to_string())).during(|| "nobody reads any more".to_owned())
}

fn json_text(value: &Value) -> String {
    undeceived(&format!("{value:#}"))
}

fn undeceived(plain: &str) -> String {
    plain.chars().fold(String::with_capacity(plain.len()), |mut out, c| {
        if c != '\n' && deceives(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
        out
    })
}

/// Rows of cells under a heading, every column as wide as its widest cell; cells are escaped.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<Vec<Cow<'_, str>>> =
        std::iter::once(&heading).chain(rows).map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            lines.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in &lines {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Asks once; only `y` or `yes` goes on. `yes` is the person's `--yes`.
///
/// # Errors
/// The person said no, or nobody is there to ask and `--yes` was not given.
pub fn confirm(question: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(usage(format!("{question} There is no terminal to ask on: read what is above and add --yes")));
    }
    let mut errors = std::io::stderr();
    let _ = write!(errors, "{} [y/N] ", escape(question)).and_then(|()| errors.flush());
    let mut answer = String::new();
    let _ = input.lock().take(ANSWER_BYTES_MAX).read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing was signed and nothing was sent")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_cannot_move_the_cursor_or_turn_the_text_around() {
        assert_eq!(escape("web1\u{1b}[2J"), "web1\\u{1b}[2J");
        assert_eq!(escape("a\u{202e}b\u{2066}c\u{200b}d\u{9b}"), "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{9b}");
        assert_eq!(escape("line\nforged"), "line\\u{a}forged");
        assert_eq!(escape("Zürich 東京"), "Zürich 東京");
    }

    #[test]
    fn several_lines_keep_their_ends_and_nothing_else() {
        assert_eq!(escape_lines("a\n\tb\r\n\u{7}c"), "a\n\tb\\u{d}\n\\u{7}c");
        assert_eq!(escape_lines(""), "");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = serde_json::json!({"name": "a\u{202e}\u{1b}b\nc\u{e0001}"});
        let text = json_text(&value);
        assert!(text.chars().all(|c| c == '\n' || !deceives(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_table_is_aligned_and_a_hostile_cell_stays_in_its_row() {
        let rows = vec![vec!["web1".to_owned(), "on\nline".to_owned()], vec!["database".to_owned(), "off".to_owned()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME      STATE\nweb1      on\\u{a}line\ndatabase  off\n");
    }

    #[test]
    fn without_a_terminal_only_yes_goes_on() {
        assert!(confirm("Sign?", true).is_ok());
    }
}
