//! Values out of a TOML document, so that whatever is wrong is told with its line.

use crate::Timestamp;
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::SHOWN_CHARS_MAX;
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, ops::Range, str::FromStr};
use toml::{Spanned, value::Datetime};

/// Text, and where it stands.
pub(crate) type Text = Spanned<String>;

/// A document and where its lines begin.
pub(crate) struct Reader<'t> {
    text: &'t str,
    /// The offset behind every line end.
    starts: Vec<usize>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            starts: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect(),
        }
    }

    /// The line, from 1, that an offset is on.
    pub(crate) fn line(&self, offset: usize) -> usize {
        1 + self.starts.partition_point(|start| *start <= offset)
    }

    /// `invalid` with its line in front, cut to what one sentence can show.
    pub(crate) fn at(&self, span: Range<usize>, invalid: Invalid) -> Invalid {
        let sentence: String = invalid.sentence.chars().take(SHOWN_CHARS_MAX).collect();
        Invalid::new(invalid.fault, format!("line {}: {sentence}", self.line(span.start)))
    }

    /// What does not follow the format, with its line.
    pub(crate) fn wrong(&self, span: Range<usize>, sentence: impl Into<String>) -> Invalid {
        self.at(span, malformed(sentence))
    }

    /// The whole document in its shape.
    pub(crate) fn document<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        toml::from_str(self.text).map_err(|error| {
            let sentence = error.message().lines().collect::<Vec<_>>().join(", ");
            self.wrong(error.span().unwrap_or_default(), sentence)
        })
    }

    pub(crate) fn value<T: FromStr<Err = Invalid>>(&self, raw: &Text) -> Result<T, Invalid> {
        raw.get_ref().parse().map_err(|invalid| self.at(raw.span(), invalid))
    }

    pub(crate) fn optional<T: FromStr<Err = Invalid>>(&self, raw: Option<&Text>) -> Result<Option<T>, Invalid> {
        raw.map(|raw| self.value(raw)).transpose()
    }

    pub(crate) fn moment(&self, raw: &Spanned<Datetime>) -> Result<Timestamp, Invalid> {
        raw.get_ref().to_string().parse().map_err(|invalid| self.at(raw.span(), invalid))
    }

    /// A list of at most `max` different values.
    pub(crate) fn list<T>(&self, what: &str, raw: &[Text], max: usize) -> Result<Vec<T>, Invalid>
    where
        T: FromStr<Err = Invalid> + Ord + Clone,
    {
        self.bounded(what, raw, max)?;
        let mut seen = BTreeSet::new();
        let mut all = Vec::with_capacity(raw.len());
        for one in raw {
            let value: T = self.value(one)?;
            if !seen.insert(value.clone()) {
                return Err(self.wrong(one.span(), format!("{what} has {:?} twice: take one away", one.get_ref())));
            }
            all.push(value);
        }
        Ok(all)
    }

    /// A list of 1 to `max` different values.
    pub(crate) fn some<T>(&self, what: &str, raw: &Spanned<Vec<Text>>, max: usize) -> Result<Vec<T>, Invalid>
    where
        T: FromStr<Err = Invalid> + Ord + Clone,
    {
        if raw.get_ref().is_empty() {
            return Err(self.wrong(raw.span(), format!("{what} is empty: give at least one")));
        }
        self.list(what, raw.get_ref(), max)
    }

    /// Refuses a list of more than `max`, at its first item too many.
    pub(crate) fn bounded<T>(&self, what: &str, raw: &[Spanned<T>], max: usize) -> Result<(), Invalid> {
        match raw.get(max) {
            None => Ok(()),
            Some(over) => {
                let sentence = format!("{what} has {} items, over the limit of {max}", raw.len());
                Err(self.at(over.span(), Invalid::new(Fault::TooLarge, sentence)))
            }
        }
    }
}
