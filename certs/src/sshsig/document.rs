//! The small signed documents as TOML: written in one fixed field order, read strictly.
//!
//! Not here: the policy, which has tables and line numbers of its own, and JSON (`statement`, `entry`).

use super::text;
use crate::{
    invalid::{Fault, Invalid, malformed},
    time::Timestamp,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use std::fmt::{Display, Write};

/// Reads `bytes` as a document of type `T`; the struct's `deny_unknown_fields` makes it strict.
///
/// # Errors
/// With the line and what is wrong there.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, Invalid> {
    let text = text(bytes, bytes_max)?;
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = super::line_number(text.as_bytes(), offset);
        malformed(format!("line {line}: {}", error.message().replace('\n', ", ")))
    })
}

/// A document being written, one field a line in the order of the calls.
#[derive(Default)]
pub(crate) struct Document(String);

impl Document {
    /// `name = "value"`.
    pub(crate) fn quoted(mut self, name: &str, value: impl Display) -> Self {
        let _ = writeln!(self.0, "{name} = {}", quote(value));
        self
    }

    /// `name = value` for numbers and moments, which TOML writes without quotes.
    pub(crate) fn bare(mut self, name: &str, value: impl Display) -> Self {
        let _ = writeln!(self.0, "{name} = {value}");
        self
    }

    /// `name = ["a", "b"]`.
    pub(crate) fn list<T: Display>(mut self, name: &str, values: &[T]) -> Self {
        let quoted: Vec<String> = values.iter().map(quote).collect();
        let _ = writeln!(self.0, "{name} = [{}]", quoted.join(", "));
        self
    }

    /// `name = '''` and `text` on lines of its own, for what a person should recognise as it is.
    pub(crate) fn block(mut self, name: &str, text: &str) -> Self {
        let literal = text.ends_with('\n')
            && !text.contains("'''")
            && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
        let value = if literal { format!("'''\n{text}'''") } else { quote(text) };
        let _ = writeln!(self.0, "{name} = {value}");
        self
    }

    /// `# text`, for the person who opens the file.
    pub(crate) fn comment(mut self, text: &str) -> Self {
        let _ = writeln!(self.0, "# {text}");
        self
    }

    /// `[name]`: what follows stands in that table.
    pub(crate) fn table(mut self, name: &str) -> Self {
        let _ = writeln!(self.0, "\n[{name}]");
        self
    }

    /// The text so far.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

fn quote(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

/// `#[serde(deserialize_with)]`: a moment as TOML writes it, without quotes, in UTC.
pub(crate) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    toml::value::Datetime::deserialize(deserializer)?.to_string().parse().map_err(D::Error::custom)
}

/// Refuses a list longer than `count_max` or with one value twice.
///
/// # Errors
/// With the name of the field.
pub(crate) fn check_list<T: Ord + Display>(field: &str, values: &[T], count_max: usize) -> Result<(), Invalid> {
    if values.len() > count_max {
        return Err(Invalid::new(
            Fault::TooLarge,
            format!("{field} has {} values, over the limit of {count_max}", values.len()),
        ));
    }
    let mut sorted: Vec<&T> = values.iter().collect();
    sorted.sort();
    match sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b) {
        Some((twice, _)) => Err(malformed(format!("{field} has {twice} twice: remove one"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
