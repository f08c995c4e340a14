//! Reading a declaration: its TOML in, a [`Runbook`] whose every value is right out, or the first thing wrong with its line.

use super::{Interpreter, Kind, Parameter, ParameterName, Platform, Runbook};
use crate::Digest;
use crate::invalid::{Invalid, malformed};
use crate::limits::{CHOICES_MAX, DESCRIPTION_BYTES_MAX, PARAMETERS_MAX};
use crate::reader::{Reader, Text};
use crate::statement::is_plain;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Spanned, Value, value::Datetime};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRunbook {
    name: Text,
    description: Text,
    issued: Spanned<Datetime>,
    #[serde(default)]
    platforms: Vec<Text>,
    account: Option<Text>,
    timeout: Option<Text>,
    output: Option<Text>,
    risk: Option<Text>,
    #[serde(default)]
    parameters: BTreeMap<Text, RawParameter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParameter {
    #[serde(rename = "type")]
    kind: Text,
    description: Option<Text>,
    pattern: Option<Text>,
    #[serde(default)]
    choices: Vec<Text>,
    secret: Option<Spanned<bool>>,
    required: Option<Spanned<bool>>,
    default: Option<Spanned<Value>>,
}

/// What is wrong so far.
#[derive(Default)]
struct Mistakes(Vec<Invalid>);

impl Mistakes {
    fn take<T>(&mut self, value: Result<T, Invalid>) -> Option<T> {
        value.map_err(|invalid| self.0.push(invalid)).ok()
    }
}

/// The runbook that the text declares, or what is wrong with it: one mistake of each member.
pub(super) fn read(
    reader: &Reader<'_>,
    interpreter: Result<Interpreter, Invalid>,
    version: Digest,
) -> Result<Runbook, Vec<Invalid>> {
    let mut wrong = Mistakes::default();
    let interpreter = wrong.take(interpreter);
    let raw: Option<RawRunbook> = wrong.take(reader.document());
    let (Some(interpreter), Some(raw)) = (interpreter, raw) else { return Err(wrong.0) };
    let parameters = parameters(reader, &raw, &mut wrong);
    let description = wrong.take(about(reader, &raw.description));
    let name = wrong.take(reader.value(&raw.name));
    let issued = wrong.take(reader.moment(&raw.issued));
    let platforms = wrong.take(reader.list("`platforms`", &raw.platforms, Platform::ALL.len()));
    let account = wrong.take(reader.optional(raw.account.as_ref()));
    let timeout = wrong.take(reader.optional(raw.timeout.as_ref()));
    let output = wrong.take(reader.optional(raw.output.as_ref()));
    let risk = wrong.take(reader.optional(raw.risk.as_ref()));
    let (Some(name), Some(description), Some(issued), Some(platforms)) = (name, description, issued, platforms) else {
        return Err(wrong.0);
    };
    let (Some(account), Some(timeout), Some(output), Some(risk)) = (account, timeout, output, risk) else {
        return Err(wrong.0);
    };
    if !wrong.0.is_empty() {
        return Err(wrong.0);
    }
    let (timeout, output, risk) = (timeout.unwrap_or_default(), output.unwrap_or_default(), risk.unwrap_or_default());
    Ok(Runbook {
        version,
        name,
        description,
        issued,
        interpreter,
        platforms,
        account,
        timeout,
        output,
        risk,
        parameters,
    })
}

fn parameters(reader: &Reader<'_>, raw: &RawRunbook, wrong: &mut Mistakes) -> BTreeMap<ParameterName, Parameter> {
    let keys: Vec<&Text> = raw.parameters.keys().collect();
    if let Some(over) = keys.get(PARAMETERS_MAX) {
        wrong.0.push(reader.wrong(over.span(), format!("there are more than {PARAMETERS_MAX} parameters")));
        return BTreeMap::new();
    }
    let read = raw.parameters.iter().filter_map(|(name, raw)| {
        let parameter = wrong.take(parameter(reader, name, raw));
        wrong.take(reader.value(name)).zip(parameter)
    });
    read.collect()
}

/// What a runbook does: that must be said.
fn about(reader: &Reader<'_>, raw: &Text) -> Result<String, Invalid> {
    let text = description(reader, raw)?;
    if text.is_empty() {
        return Err(reader.wrong(raw.span(), "the description is empty: say what it does"));
    }
    Ok(text)
}

fn parameter(reader: &Reader<'_>, name: &Text, raw: &RawParameter) -> Result<Parameter, Invalid> {
    let required = raw.required.as_ref().is_some_and(|required| *required.get_ref());
    let mut parameter = Parameter {
        description: raw.description.as_ref().map(|text| description(reader, text)).transpose()?.unwrap_or_default(),
        kind: kind(reader, raw)?,
        required,
        default: None,
    };
    if let Some(default) = &raw.default {
        if parameter.kind.is_secret() {
            let sentence = format!("the parameter {} is secret and has a default: take it out", name.get_ref());
            return Err(reader.wrong(default.span(), sentence));
        }
        if required {
            let sentence = format!("the parameter {} is required and has a default: keep one", name.get_ref());
            return Err(reader.wrong(default.span(), sentence));
        }
        let value =
            in_text(&parameter.kind, default.get_ref()).and_then(|value| parameter.check(&value).map(|()| value));
        let value = value.map_err(|invalid| reader.at(default.span(), invalid.of("the default")))?;
        parameter.default = Some(value);
    }
    Ok(parameter)
}

fn kind(reader: &Reader<'_>, raw: &RawParameter) -> Result<Kind, Invalid> {
    let secret = raw.secret.as_ref().is_some_and(|secret| *secret.get_ref());
    let kind = match raw.kind.get_ref().as_str() {
        "string" if secret => Kind::Secret { pattern: reader.optional(raw.pattern.as_ref())? },
        "string" => Kind::String { pattern: reader.optional(raw.pattern.as_ref())? },
        "integer" => Kind::Integer,
        "boolean" => Kind::Boolean,
        "choice" => Kind::Choice(choices(reader, raw)?),
        other => {
            let sentence = format!("{other:?} is not a type: use string, integer, boolean or choice");
            return Err(reader.wrong(raw.kind.span(), sentence));
        }
    };
    if let (true, false, Some(said)) = (secret, kind.is_secret(), &raw.secret) {
        return Err(reader.wrong(said.span(), "`secret` is for strings"));
    }
    match (&kind, &raw.pattern, raw.choices.first()) {
        (Kind::Integer | Kind::Boolean | Kind::Choice(_), Some(pattern), _) => {
            Err(reader.wrong(pattern.span(), "`pattern` is for strings"))
        }
        (Kind::String { .. } | Kind::Secret { .. } | Kind::Integer | Kind::Boolean, _, Some(choice)) => {
            Err(reader.wrong(choice.span(), "`choices` are for the type choice"))
        }
        (Kind::String { .. } | Kind::Secret { .. } | Kind::Integer | Kind::Boolean, None, None)
        | (Kind::String { .. } | Kind::Secret { .. }, Some(_), None)
        | (Kind::Choice(_), None, _) => Ok(kind),
    }
}

fn choices(reader: &Reader<'_>, raw: &RawParameter) -> Result<Vec<String>, Invalid> {
    if raw.choices.is_empty() {
        return Err(reader.wrong(raw.kind.span(), "the type choice needs `choices`"));
    }
    let words: Vec<Word> = reader.list("`choices`", &raw.choices, CHOICES_MAX)?;
    Ok(words.into_iter().map(|word| word.0).collect())
}

/// One choice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Word(String);

impl std::str::FromStr for Word {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        super::check_argument(text)?;
        if text.is_empty() {
            return Err(malformed("a choice is empty: give it a word"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A default as its type writes it in TOML, in the one spelling that arguments have.
fn in_text(kind: &Kind, default: &Value) -> Result<String, Invalid> {
    match (kind, default) {
        (Kind::String { .. } | Kind::Secret { .. } | Kind::Choice(_), Value::String(text)) => Ok(text.clone()),
        (Kind::Integer, Value::Integer(number)) => Ok(number.to_string()),
        (Kind::Boolean, Value::Boolean(truth)) => Ok(truth.to_string()),
        (Kind::String { .. } | Kind::Secret { .. } | Kind::Choice(_), _) => Err(malformed("is not text in quotes")),
        (Kind::Integer, _) => Err(malformed("is not a whole number without quotes")),
        (Kind::Boolean, _) => Err(malformed("is not true or false without quotes")),
    }
}

/// One line that shows what it says.
fn description(reader: &Reader<'_>, raw: &Text) -> Result<String, Invalid> {
    let text = raw.get_ref();
    if text.len() > DESCRIPTION_BYTES_MAX {
        return Err(reader.wrong(raw.span(), format!("the description is longer than {DESCRIPTION_BYTES_MAX} bytes")));
    }
    if !text.chars().all(is_plain) {
        return Err(reader.wrong(raw.span(), "the description has a character that cannot be seen or breaks the line"));
    }
    Ok(text.clone())
}
