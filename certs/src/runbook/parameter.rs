//! What a runbook wants to be told: parameters, and whether an argument is one of them.
//!
//! An argument is text everywhere, in one spelling: what was signed is what the script sees.

use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{ARGUMENT_BYTES_MAX, NAME_BYTES_MAX, SHOWN_CHARS_MAX};
use crate::pattern::Pattern;
use crate::statement::is_plain;
use std::{fmt, str::FromStr};

/// A parameter's name: 1 to 64 of `a-z 0-9 _`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterName(String);

impl ParameterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The environment variable in which the script finds it: `BELAY_ARG_SERVICE`.
    pub fn variable(&self) -> String {
        format!("BELAY_ARG_{}", self.0.to_ascii_uppercase())
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ParameterName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let body = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let start = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !body || !start || text.len() > NAME_BYTES_MAX {
            return Err(malformed(format!(
                "{:?} is not a parameter name: use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '_', starting with a letter",
                shown(text)
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

crate::digest::serde_as_text!(ParameterName);

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// What it is for, one line; empty when the author did not say.
    pub description: String,
    /// Which values it takes.
    pub kind: Kind,
    /// Whether an order must give it. Never together with a default.
    pub required: bool,
    /// What it is when an order does not give it; a value it takes.
    pub default: Option<String>,
}

/// Which values a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Any plain text, or what fits the pattern as a whole.
    String {
        /// The pattern.
        pattern: Option<Pattern>,
    },
    /// A whole number of 64 bits with sign, in decimal: `0`, `42`, `-7`.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(Vec<String>),
    /// Text that only the device reads, or what fits the pattern as a whole: see [`crate::secrets`].
    Secret {
        /// The pattern.
        pattern: Option<Pattern>,
    },
}

impl Kind {
    /// Whether its values are for the device alone.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret { .. })
    }
}

impl Parameter {
    /// Whether this is a value that it takes.
    ///
    /// # Errors
    /// When it is not; the sentence says which there are.
    pub fn check(&self, value: &str) -> Result<(), Invalid> {
        if self.kind.is_secret() {
            return Err(malformed("is secret, and an order shows its arguments to everybody: give it as NAME=@FILE"));
        }
        check_argument(value)?;
        let wrong = |rule: String| Err(malformed(format!("{:?} {rule}", shown(value))));
        match &self.kind {
            Kind::String { pattern: Some(pattern) } if !pattern.matches(value) => {
                wrong(format!("does not fit its pattern {pattern}"))
            }
            Kind::Integer if !is_integer(value) => wrong("is not a whole number, as 42 or -7".to_owned()),
            Kind::Boolean if !matches!(value, "true" | "false") => wrong("is not true or false".to_owned()),
            Kind::Choice(words) if !words.iter().any(|word| word == value) => {
                wrong(format!("is none of {}", words.join(", ")))
            }
            Kind::String { .. } | Kind::Integer | Kind::Boolean | Kind::Choice(_) | Kind::Secret { .. } => Ok(()),
        }
    }
}

/// Whether this may be an argument at all, whatever the parameter: plain characters that a person sees before signing, and not
/// too many.
///
/// # Errors
/// When it is not; the sentence shows its beginning.
pub fn check_argument(value: &str) -> Result<(), Invalid> {
    if value.len() > ARGUMENT_BYTES_MAX {
        let sentence = format!("a value of {} bytes is over the limit of {ARGUMENT_BYTES_MAX}", value.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    if !value.chars().all(is_plain) {
        return Err(malformed(format!(
            "{:?} has a character that cannot be seen, breaks the line or turns its direction: take it out",
            shown(value)
        )));
    }
    Ok(())
}

/// One spelling for each number: no `+`, no leading zeros, no `-0`.
fn is_integer(value: &str) -> bool {
    value.parse::<i64>().is_ok_and(|number| number.to_string() == value)
}

/// The beginning of what somebody wrote, short enough for one sentence.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
