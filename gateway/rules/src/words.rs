//! A command line as it comes over ssh, cut into words: quotes as in a shell, and nothing is ever expanded.

use crate::limits::COMMAND_LINE_BYTES_MAX;

/// What quotes a character stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// None: spaces divide words, a backslash keeps the next character.
    Outside,
    /// `'…'`: everything stands for itself.
    Single,
    /// `"…"`: a backslash keeps `"` and `\`.
    Double,
}

/// The words of a line. `'a b'`, `"a b"` and `a\ b` are one word each; `$`, `*`, `;` and the like stand for themselves.
///
/// # Errors
/// One sentence: the line is too long, not UTF-8, holds a control character, or a quote is left open.
pub fn split(line: &[u8]) -> Result<Vec<String>, String> {
    if line.len() > COMMAND_LINE_BYTES_MAX {
        return Err(format!("the command has {} bytes, at most {COMMAND_LINE_BYTES_MAX} are read", line.len()));
    }
    let line = std::str::from_utf8(line).map_err(|_| "the command is not UTF-8 text".to_owned())?;
    if line.contains(char::is_control) {
        return Err("the command holds a control character; write it in one line of visible text".to_owned());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quotes = Quotes::Outside;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quotes, c) {
            (Quotes::Outside, ' ') => words.extend(word.take()),
            (Quotes::Outside, '\'') => quotes = open(&mut word, Quotes::Single),
            (Quotes::Outside, '"') => quotes = open(&mut word, Quotes::Double),
            (Quotes::Single, '\'') | (Quotes::Double, '"') => quotes = Quotes::Outside,
            (Quotes::Outside, '\\') => push(&mut word, rest.next().ok_or("the command ends in a backslash")?),
            (Quotes::Double, '\\') => match rest.next().ok_or_else(unclosed)? {
                kept @ ('"' | '\\') => push(&mut word, kept),
                other => {
                    push(&mut word, '\\');
                    push(&mut word, other);
                }
            },
            (Quotes::Outside | Quotes::Single | Quotes::Double, plain) => push(&mut word, plain),
        }
    }
    if quotes != Quotes::Outside {
        return Err(unclosed());
    }
    words.extend(word);
    Ok(words)
}

/// A quote begins a word even when nothing is in it: `''` is one empty word.
fn open(word: &mut Option<String>, quotes: Quotes) -> Quotes {
    word.get_or_insert_default();
    quotes
}

fn push(word: &mut Option<String>, c: char) {
    word.get_or_insert_default().push(c);
}

fn unclosed() -> String {
    "a quote is opened and never closed".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).unwrap()
    }

    #[test]
    fn spaces_divide_and_quotes_hold_together() {
        assert_eq!(words("devices  web --json "), ["devices", "web", "--json"]);
        assert_eq!(words("a 'b c' \"d e\" f\\ g h'i'\"j\""), ["a", "b c", "d e", "f g", "hij"]);
        assert_eq!(words("'' \"\""), ["", ""]);
        assert_eq!(words("  "), Vec::<String>::new());
        assert_eq!(words(r#"'a\b"c' "a\"b\\c\d'" \'"#), [r#"a\b"c"#, r#"a"b\c\d'"#, "'"]);
    }

    #[test]
    fn nothing_is_expanded_and_nothing_is_an_operator() {
        assert_eq!(
            words("devices $HOME `id` *; ls|cat >x ~ {a,b} #c"),
            ["devices", "$HOME", "`id`", "*;", "ls|cat", ">x", "~", "{a,b}", "#c"]
        );
    }

    #[test]
    fn what_cannot_be_cut_is_refused_with_a_sentence() {
        for (line, part) in [("a 'b", "quote"), ("a \"b", "quote"), ("a \"b\\", "quote"), ("a\\", "backslash")] {
            assert!(split(line.as_bytes()).unwrap_err().contains(part), "{line}");
        }
        for line in ["a\nb", "a\tb", "a\0b", "a\u{1b}[2J", "a\u{9b}b"] {
            assert!(split(line.as_bytes()).unwrap_err().contains("control"), "{line:?}");
        }
        assert!(split(b"a \xff").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_line_has_a_longest_length() {
        assert_eq!(split("a".repeat(COMMAND_LINE_BYTES_MAX).as_bytes()).unwrap().len(), 1);
        assert!(split("a".repeat(COMMAND_LINE_BYTES_MAX + 1).as_bytes()).unwrap_err().contains("at most"));
    }
}
