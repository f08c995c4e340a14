//! Where in a script its interpreter and its declaration stand: the `#!` line, and the comment block of PEP 723
//! (`# /// belay` to `# ///`).
//!
//! Not here: what the declaration says (`declaration`).

use crate::invalid::{Invalid, malformed};
use crate::limits::INTERPRETER_BYTES_MAX;

/// What comments begin with in the languages that scripts are written in.
const COMMENTS: [&str; 4] = ["#", "//", "--", ";"];
/// Behind the comment's sign, in the first line of the block.
const OPENING: &str = " /// belay";
/// Behind the comment's sign, in its last line.
const CLOSING: &str = " ///";
/// The program that looks for another one in `PATH`.
const ENV: &str = "env";

/// The program that a script's first line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Its absolute path.
    pub program: String,
    /// Its one argument, if there is one: what the kernel passes on as a whole.
    pub argument: Option<String>,
}

impl Interpreter {
    /// The name that `/usr/bin/env NAME` looks for in `PATH`; `None` when `program` is the interpreter itself.
    pub fn searched(&self) -> Option<&str> {
        self.argument.as_deref().filter(|_| self.is_env())
    }

    fn is_env(&self) -> bool {
        self.program.rsplit('/').next() == Some(ENV)
    }
}

/// The interpreter of a script.
///
/// # Errors
/// When the first line is no `#!` line that works the same everywhere.
pub(super) fn interpreter(text: &str) -> Result<Interpreter, Invalid> {
    let wrong = |why: &str| malformed(format!("line 1: {why}"));
    let line = text.lines().next().unwrap_or_default();
    let rest = line
        .strip_prefix("#!")
        .ok_or_else(|| wrong("the script does not begin with #! and its interpreter, as #!/bin/sh"))?;
    if rest.len() > INTERPRETER_BYTES_MAX {
        return Err(wrong(&format!("what follows #! is longer than {INTERPRETER_BYTES_MAX} bytes")));
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) {
        return Err(wrong("what follows #! is not plain ASCII"));
    }
    let blank = |c: char| matches!(c, ' ' | '\t');
    let rest = rest.trim_matches(blank);
    let (program, argument) = rest.split_once(blank).unwrap_or((rest, ""));
    let argument = argument.trim_matches(blank);
    if !program.starts_with('/') || program.ends_with('/') {
        return Err(wrong("the interpreter is not an absolute path, as #!/bin/sh"));
    }
    let argument = (!argument.is_empty()).then(|| argument.to_owned());
    let interpreter = Interpreter { program: program.to_owned(), argument };
    let is_name = |name: &str| {
        !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-'))
    };
    match (interpreter.is_env(), interpreter.searched()) {
        (true, Some(name)) if is_name(name) => Ok(interpreter),
        (true, _) => {
            Err(wrong("behind env stands one name, as #!/usr/bin/env python3; for options write the path itself"))
        }
        (false, _) => Ok(interpreter),
    }
}

/// The declaration as TOML in which every line has the number it has in the script: what is not in the block is empty.
///
/// # Errors
/// When there is no block, more than one, or it is not closed.
pub(super) fn declaration(text: &str) -> Result<String, Invalid> {
    let mut out = String::new();
    let mut block = Block::Before;
    for (number, line) in (1..).zip(text.lines()) {
        block = match block {
            Block::Before => opening(line).map_or(Block::Before, |comment| Block::Inside { comment, number }),
            Block::Inside { comment, number: opened } => {
                let content = line.strip_prefix(comment).ok_or_else(|| unclosed(number, opened, comment))?;
                if content == CLOSING {
                    Block::Behind
                } else {
                    out.push_str(content.strip_prefix(' ').unwrap_or(content));
                    Block::Inside { comment, number: opened }
                }
            }
            Block::Behind if opening(line).is_some() => {
                return Err(malformed(format!("line {number}: a second declaration begins: keep one")));
            }
            Block::Behind => Block::Behind,
        };
        out.push('\n');
    }
    match block {
        Block::Behind => Ok(out),
        Block::Inside { comment, number } => Err(unclosed(text.lines().count(), number, comment)),
        Block::Before => Err(malformed(
            "line 2: there is no declaration: begin one below the #! line with `# /// belay` and end it with `# ///`",
        )),
    }
}

/// Where in the script a place in the text of [`declaration`] stands, both in bytes; `line` counts from 1. `None` when that
/// line is in no comment.
pub(super) fn in_script(text: &str, declared: &str, offset: usize) -> Option<usize> {
    let before = declared.get(..offset)?;
    let number = before.matches('\n').count();
    let column = offset.checked_sub(before.rfind('\n').map_or(0, |at| at.saturating_add(1)))?;
    let start: usize = text.split_inclusive('\n').take(number).map(str::len).sum();
    let line = text.get(start..)?.lines().next()?;
    let content = COMMENTS.into_iter().find_map(|comment| line.strip_prefix(comment))?;
    let content = content.strip_prefix(' ').unwrap_or(content);
    start.checked_add(line.len().checked_sub(content.len())?)?.checked_add(column)
}

/// What the first line of the block is, and where the line behind it begins, in bytes.
pub(super) fn behind_opening(text: &str) -> Option<(&'static str, usize)> {
    let mut end = 0_usize;
    for line in text.split_inclusive('\n') {
        end = end.saturating_add(line.len());
        if let Some(comment) = opening(line.strip_suffix('\n').unwrap_or(line)) {
            return Some((comment, end));
        }
    }
    None
}

/// How far the lines of a script are.
#[derive(Clone, Copy)]
enum Block<'t> {
    /// The block has not begun.
    Before,
    /// It began at line `number`, in comments that begin with `comment`.
    Inside { comment: &'t str, number: usize },
    /// It is over.
    Behind,
}

/// What the comments of a block that this line opens begin with.
fn opening(line: &str) -> Option<&'static str> {
    COMMENTS.into_iter().find(|comment| line.strip_prefix(comment) == Some(OPENING))
}

fn unclosed(number: usize, opened: usize, comment: &str) -> Invalid {
    malformed(format!("line {number}: the declaration from line {opened} is not closed: end it with `{comment} ///`"))
}
