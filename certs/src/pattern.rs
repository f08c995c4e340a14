//! The patterns of tickets and of runbook parameters: literals, `[…]` classes, and `+ * ?` behind one of them. Always the whole text.
//!
//! Matching walks a set of states, never back: its time is bounded by pattern times text, whatever either holds.
//! Not here: what else a ticket (`policy`) or a parameter (`runbook`) must be.

use crate::invalid::{Invalid, malformed};
use crate::limits::{PATTERN_ATOMS_MAX, PATTERN_BYTES_MAX};
use std::{fmt, iter::Peekable, str::Chars, str::FromStr};

/// A pattern like `INC-[0-9]+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As written.
    text: String,
    /// Its parts in order; at most [`PATTERN_ATOMS_MAX`].
    atoms: Vec<Atom>,
}

/// One character of the text, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Atom {
    /// The characters it takes: one bit for each of ASCII.
    set: u128,
    /// `?` or `*`: it may be left out.
    optional: bool,
    /// `+` or `*`: it may repeat.
    repeats: bool,
}

impl Pattern {
    /// Whether the whole of `text` fits; what holds anything but visible ASCII never does. Takes time for at most
    /// [`PATTERN_ATOMS_MAX`] steps a byte.
    pub fn matches(&self, text: &str) -> bool {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        let states =
            text.bytes().fold(self.skip_optional(1), |states, byte| self.skip_optional(self.step(states, byte)));
        states >> self.atoms.len() & 1 == 1
    }

    /// The states after one character. Bit `i` is set when the next character may be atom `i`'s.
    fn step(&self, states: u64, byte: u8) -> u64 {
        let takes = |(i, atom): (usize, &Atom)| match states >> i & 1 == 1 && atom.set >> byte & 1 == 1 {
            true => 2 << i | u64::from(atom.repeats) << i,
            false => 0,
        };
        self.atoms.iter().enumerate().map(takes).fold(0, |all, one| all | one)
    }

    fn skip_optional(&self, states: u64) -> u64 {
        let skip = |states, (i, atom): (usize, &Atom)| states | (u64::from(atom.optional) & states >> i) << (i + 1);
        self.atoms.iter().enumerate().fold(states, skip)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::read(text).map_err(|why| malformed(format!("{text:?} is not a pattern, as [a-z0-9-]+: {why}")))
    }
}

impl Pattern {
    /// The pattern, or why it is none, for a sentence that says which.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(format!("it has 1 to {PATTERN_BYTES_MAX} characters"));
        }
        let mut rest = text.chars().peekable();
        let mut atoms = Vec::new();
        while let Some(first) = rest.next() {
            let set = match first {
                '[' => class(&mut rest).ok_or("a class is like [A-Z0-9_-], without '^' and '\\'")?,
                literal if literal.is_ascii_alphanumeric() || "-_/#:=@!,;&%~".contains(literal) => bit(literal),
                _ => return Err("outside a class use letters, digits and -_/#:=@, and write [.] for a dot".to_owned()),
            };
            let quantifier = rest.next_if(|c| matches!(c, '+' | '*' | '?'));
            let (optional, repeats) = (matches!(quantifier, Some('*' | '?')), matches!(quantifier, Some('*' | '+')));
            atoms.push(Atom { set, optional, repeats });
        }
        if atoms.len() > PATTERN_ATOMS_MAX {
            return Err(format!("it has more than {PATTERN_ATOMS_MAX} parts"));
        }
        Ok(Self { text: text.to_owned(), atoms })
    }
}

/// The rest of a class behind its `[`. A `-` is itself when first or last.
fn class(rest: &mut Peekable<Chars<'_>>) -> Option<u128> {
    let mut set = 0;
    loop {
        let first = rest.next()?;
        if first == ']' {
            return (set != 0).then_some(set);
        }
        let mut last = first;
        if first != '-' && rest.next_if_eq(&'-').is_some() {
            match rest.peek() {
                Some(']') => set |= bit('-'),
                _ => last = rest.next()?,
            }
        }
        let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | '\\' | '^');
        if !legal(first) || !legal(last) || first > last {
            return None;
        }
        set |= (first..=last).map(bit).fold(0, |all, one| all | one);
    }
}

/// The bit of one ASCII character; none for any other.
fn bit(c: char) -> u128 {
    1_u128.checked_shl(u32::from(c)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(text)
    }

    #[test]
    fn quantifiers_and_classes_mean_what_they_say() {
        assert!(fits("A?B*C", "C") && fits("A?B*C", "ABBC") && !fits("A?B*C", "AAC"));
        assert!(
            fits("[A-C_-]+", "-_CAB")
                && !fits("[A-C_-]+", "D")
                && fits("[-x]", "-")
                && fits("[.]", ".")
                && !fits("[.]", "x")
        );
        assert!(fits("[A-Z]+-[0-9]+", "CHG-7") && !fits("[A-Z]+-[0-9]+", "CHG7"));
        assert!(fits("x*x", "x") && fits("x*x", "xxx") && fits("[+*?|()]", "|"));
    }

    #[test]
    fn everything_outside_the_small_language_is_refused() {
        for text in [
            "",
            "+",
            "a++",
            "a+?",
            "(a|b)",
            "a{3}",
            "^a$",
            ".",
            "a\\d",
            "[",
            "[]",
            "[^a]",
            "[z-a]",
            "[a",
            "a]",
            "[[:alpha:]]",
            "ä",
            "[ä]",
            "a b",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
        assert!("a".repeat(PATTERN_ATOMS_MAX).parse::<Pattern>().is_ok());
        assert!("a".repeat(PATTERN_ATOMS_MAX + 1).parse::<Pattern>().is_err());
    }

    #[test]
    fn hostile_patterns_and_long_texts_cost_no_time() {
        let pattern: Pattern = "[a-z]*".repeat(20).parse().unwrap();
        assert!(pattern.matches(&"a".repeat(100_000)));
        assert!(!pattern.matches(&("a".repeat(100_000) + "B")));
    }

    #[test]
    fn what_nobody_sees_never_fits() {
        for text in ["a b", "a\n", "\u{e9}", "a\0", "\u{202e}a"] {
            assert!(!fits("[!-~]*", text), "{text:?}");
        }
        assert!(fits("[!-~]*", ""));
    }
}
