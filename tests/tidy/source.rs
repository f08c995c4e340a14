//! Reads Rust source just well enough to check its shape: what is code and what is text, and how long functions are.
//!
//! What the rules are is not here: see `tidy.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One Rust file of the workspace.
pub struct Source {
    /// Its path from the top of the workspace, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same with comments and the insides of strings blanked, line by line.
    pub code: String,
}

/// Every Rust file below `top`, except what cargo builds.
pub fn all(top: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    collect(top, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let path = file.strip_prefix(top).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            Source { path, code: blank(&text), text }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            collect(&path, files);
        } else if name.ends_with(".rs") && !name.starts_with('.') {
            files.push(path);
        }
    }
}

impl Source {
    /// The code up to the file's own tests.
    pub fn program(&self) -> &str {
        let tests = self.code.find("#[cfg(test)]");
        self.code.get(..tests.unwrap_or(self.code.len())).unwrap_or(&self.code)
    }

    /// Whether the whole file is made for tests.
    pub fn is_for_tests(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let made_for = |part: &str| {
            part.trim_end_matches(".rs").trim_end_matches('s').ends_with("test") || part.starts_with("fixture")
        };
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("/fixtures/")
            || made_for(name)
    }

    /// The lines in which a word of the program stands.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let lines = self.program().lines().enumerate();
        lines.filter(|(_, line)| has_word(line, word)).map(|(at, _)| at + 1).collect()
    }

    /// Name, first line and number of lines of every function.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let starts_word = at == 0 || !is_word(bytes[at - 1]);
            let name: String = self.code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if starts_word
                && !name.is_empty()
                && let Some(end) = end_of_body(bytes, at)
            {
                let first = line_of(bytes, at);
                found.push((name, first, line_of(bytes, end) - first + 1));
            }
        }
        found
    }
}

/// Whether `word` stands in `line` as a word of its own. A word with other signs in it is looked for as it is.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let bytes = line.as_bytes();
        let before = at.checked_sub(1).is_some_and(|at| is_word(bytes[at])) && is_word(word.as_bytes()[0]);
        let after =
            bytes.get(at + word.len()).is_some_and(|byte| is_word(*byte)) && word.bytes().last().is_some_and(is_word);
        !before && !after
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The closing brace of the function that begins at `at`; none for one without a body.
fn end_of_body(code: &[u8], at: usize) -> Option<usize> {
    let (mut depth, mut nested) = (0_i32, 0_i32);
    for (place, byte) in code.iter().enumerate().skip(at) {
        match byte {
            // `;` in an array type of the signature is no end of it.
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b';' if depth == 0 && nested == 0 => return None,
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(place),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The text with comments and the insides of literals as blanks; every line stays where it is.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => find(bytes, at, b"\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => end_of_block_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' if is_raw_string(bytes, at) => end_of_raw_string(bytes, at),
            b'\'' => end_of_character(bytes, at),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut out[at..end.min(bytes.len())] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end.max(at + 1);
    }
    // Only whole literals and comments were blanked, so what is left are whole characters.
    String::from_utf8(out).unwrap()
}

/// The place just before the next `what`, or the end.
fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let rest = &bytes[from..];
    rest.windows(what.len()).position(|window| window == what).map_or(bytes.len(), |place| from + place)
}

fn end_of_block_comment(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn is_raw_string(bytes: &[u8], at: usize) -> bool {
    let word_before = at.checked_sub(1).is_some_and(|before| is_word(bytes[before]) && bytes[before] != b'b');
    let quote = bytes[at + 1..].iter().position(|byte| *byte != b'#').map(|skip| bytes[at + 1 + skip]);
    !word_before && quote == Some(b'"')
}

fn end_of_raw_string(bytes: &[u8], from: usize) -> usize {
    let marks = bytes[from + 1..].iter().take_while(|byte| **byte == b'#').count();
    let mut end = vec![b'"'];
    end.resize(1 + marks, b'#');
    find(bytes, from + 2 + marks, &end) + end.len()
}

/// The end of a character literal; a lifetime has none.
fn end_of_character(bytes: &[u8], from: usize) -> usize {
    if bytes.get(from + 1) == Some(&b'\\') {
        return find(bytes, from + 3, b"'") + 1;
    }
    let width = bytes.get(from + 1).map_or(1, |first| match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    });
    if bytes.get(from + 1 + width) == Some(&b'\'') { from + 2 + width } else { from + 1 }
}

mod tests {
    use super::{Source, blank};

    fn source(text: &str) -> Source {
        Source { path: "x.rs".to_owned(), code: blank(text), text: text.to_owned() }
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let code = blank("a(\"}\\\"{\"); // {\n/* { /* } */ { */ b('{', '\\'', r#\"\"{\"#, &'a x, \"ä{\");");
        assert_eq!(code.matches(['{', '}']).count(), 0, "{code}");
        assert_eq!(code.matches(['a', 'b']).count(), 3, "{code}");
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn functions_are_measured_from_their_name_to_their_closing_brace() {
        let source =
            source("trait T { fn none(&self, x: [u8; 2]);\n fn two(&self) {\n } }\nfn one<'a>() -> char { '}' }\n");
        let found: Vec<(String, usize, usize)> = source.functions();
        assert_eq!(found, [("two".to_owned(), 2, 2), ("one".to_owned(), 4, 1)]);
    }

    #[test]
    fn a_word_is_found_whole_and_outside_of_tests_only() {
        let source = source("use quinn::A;\n// quinn\nlet quinny = 1;\n#[cfg(test)]\nuse quinn::B;\n");
        assert_eq!(source.lines_with("quinn"), [1]);
    }
}
