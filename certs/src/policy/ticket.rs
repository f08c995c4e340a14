//! The pattern a ticket must fit: literals, `[…]` classes, and `+ * ?` behind one of them. Always the whole ticket.
//!
//! Matching walks a set of states, never back: its time is bounded by pattern times ticket, whatever either holds.

use crate::invalid::{Invalid, malformed};
use crate::limits::{TICKET_ATOMS_MAX, TICKET_BYTES_MAX};
use std::{fmt, iter::Peekable, str::Chars, str::FromStr};

/// A pattern like `INC-[0-9]+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketPattern {
    text: String,
    atoms: Vec<Atom>,
}

/// One character of the ticket, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Atom {
    /// The characters it takes: one bit for each of ASCII.
    set: u128,
    /// `?` or `*`: it may be left out.
    optional: bool,
    /// `+` or `*`: it may repeat.
    repeats: bool,
}

impl TicketPattern {
    /// Whether the whole ticket fits. An empty one, one over `TICKET_BYTES_MAX` or with anything but
    /// visible ASCII never does.
    pub fn matches(&self, ticket: &str) -> bool {
        let visible = ticket.bytes().all(|byte| byte.is_ascii_graphic());
        if ticket.is_empty() || ticket.len() > TICKET_BYTES_MAX || !visible {
            return false;
        }
        let states =
            ticket.bytes().fold(self.skip_optional(1), |states, byte| self.skip_optional(self.step(states, byte)));
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

impl fmt::Display for TicketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TicketPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| malformed(format!("{text:?} is not a ticket pattern, as INC-[0-9]+: {why}"));
        if text.is_empty() || text.len() > TICKET_BYTES_MAX {
            return Err(wrong(&format!("it has 1 to {TICKET_BYTES_MAX} characters")));
        }
        let mut rest = text.chars().peekable();
        let mut atoms = Vec::new();
        while let Some(first) = rest.next() {
            let set = match first {
                '[' => class(&mut rest).ok_or_else(|| wrong("a class is like [A-Z0-9_-], without '^' and '\\'"))?,
                literal if literal.is_ascii_alphanumeric() || "-_/#:=@!,;&%~".contains(literal) => bit(literal),
                _ => return Err(wrong("outside a class use letters, digits and -_/#:=@, and write [.] for a dot")),
            };
            let quantifier = rest.next_if(|c| matches!(c, '+' | '*' | '?'));
            let (optional, repeats) = (matches!(quantifier, Some('*' | '?')), matches!(quantifier, Some('*' | '+')));
            atoms.push(Atom { set, optional, repeats });
        }
        if atoms.len() > TICKET_ATOMS_MAX {
            return Err(wrong(&format!("it has more than {TICKET_ATOMS_MAX} parts")));
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

    fn fits(pattern: &str, ticket: &str) -> bool {
        pattern.parse::<TicketPattern>().unwrap().matches(ticket)
    }

    #[test]
    fn the_whole_ticket_must_fit() {
        assert!(fits("INC-[0-9]+", "INC-1") && fits("INC-[0-9]+", "INC-0042"));
        for ticket in [
            "",
            "INC-",
            "INC-1x",
            "xINC-1",
            "inc-1",
            "INC-1\n",
            "INC-1 ",
            "\nINC-1",
            "INC-1\0",
            "INC-\u{0661}",
            "INC-1,INC-2",
        ] {
            assert!(!fits("INC-[0-9]+", ticket), "{ticket:?}");
        }
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
    fn a_pattern_that_fits_nothing_at_all_still_wants_a_ticket() {
        assert!(!fits("[0-9]*", "") && fits("[0-9]*", "1"));
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
            assert!(text.parse::<TicketPattern>().is_err(), "{text:?}");
        }
        assert!("a".repeat(TICKET_ATOMS_MAX).parse::<TicketPattern>().is_ok());
        assert!("a".repeat(TICKET_ATOMS_MAX + 1).parse::<TicketPattern>().is_err());
    }

    #[test]
    fn hostile_patterns_and_long_tickets_cost_no_time() {
        let pattern: TicketPattern = "[a-z]*".repeat(20).parse().unwrap();
        assert!(!pattern.matches(&("a".repeat(127) + "B")));
        assert!(!pattern.matches(&"a".repeat(TICKET_BYTES_MAX + 1)));
    }
}
