//! A command's words, sorted into options and the rest.

use super::super::show::Form;
use super::recordings::{KindWord, Since};
use belay_certs::{DeviceAddress, DeviceName, Id, PersonRef, RunbookName, TenantName};
use std::{iter::Peekable, slice::Iter, str::FromStr};

/// The words that were not looked at yet.
pub(super) struct Rest<'a> {
    pub(super) words: Peekable<Iter<'a, String>>,
}

/// What a command was given.
#[derive(Default)]
pub(super) struct Said {
    /// Words that are no options.
    pub(super) plain: Vec<String>,
    pub(super) tenant: Option<TenantName>,
    pub(super) device: Option<DeviceAddress>,
    pub(super) limit: Option<u64>,
    pub(super) from: Option<u64>,
    pub(super) after: Option<DeviceAddress>,
    pub(super) token: Option<Id>,
    pub(super) beyond: Option<u64>,
    pub(super) wait: Option<u64>,
    pub(super) person: Option<PersonRef>,
    pub(super) since: Option<Since>,
    pub(super) until: Option<Since>,
    pub(super) sealed: Option<Since>,
    pub(super) kind: Option<KindWord>,
    pub(super) form: Form,
    /// A device by its name, with or without its tenant.
    pub(super) run_of: Option<DeviceName>,
    pub(super) name: Option<RunbookName>,
    /// What was found, in a person's words.
    pub(super) note: Option<String>,
    /// Where something stands on the work list.
    pub(super) state: Option<belay_rules::review::State>,
    /// Why, in a person's words.
    pub(super) reason: Option<String>,
    /// Options without a value, other than `--json`, that were given.
    pub(super) flags: Vec<&'static str>,
}

/// Options without a value, other than `--json`.
const FLAGS: [&str; 4] = ["--csv", "--follow", "--output", "--records"];

impl Rest<'_> {
    /// Reads all words: at most `plain_max` that are no options, and the `options` that this command has.
    pub(super) fn read(mut self, usage: &str, plain_max: usize, options: &[&str]) -> Result<Said, String> {
        let mut said = Said::default();
        while let Some(word) = self.words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if !name.starts_with('-') || name == "-" {
                if said.plain.len() == plain_max {
                    return Err(format!("{word:?} is one word too many; write `{usage}`"));
                }
                said.plain.push(word.clone());
                continue;
            }
            if !options.contains(&name) {
                return Err(format!("there is no option {name:?} here; write `{usage}`"));
            }
            if name == "--json" && value.is_none() {
                said.form = Form::Json;
                continue;
            }
            if let Some(flag) = FLAGS.into_iter().find(|flag| *flag == name && value.is_none()) {
                said.flags.push(flag);
                continue;
            }
            let value = value
                .or_else(|| self.words.next().cloned())
                .ok_or_else(|| format!("{name} needs a value; write `{usage}`"))?;
            match name {
                "--tenant" => once(&mut said.tenant, name, &value)?,
                "--device" if options.contains(&"--output") => {
                    // A job is of one tenant, so its device's name is enough.
                    let short = value.split_once('.').map_or(value.as_str(), |(device, _)| device);
                    once(&mut said.run_of, name, short)?;
                }
                "--device" => once(&mut said.device, name, &value)?,
                "--name" => once(&mut said.name, name, &value)?,
                "--reason" => once(&mut said.reason, name, &value)?,
                "--note" => once(&mut said.note, name, &value)?,
                "--state" => once(&mut said.state, name, &value)?,
                "--limit" => once(&mut said.limit, name, &value)?,
                "--from" => once(&mut said.from, name, &value)?,
                "--after" => once(&mut said.after, name, &value)?,
                "--token" => once(&mut said.token, name, &value)?,
                "--beyond" => once(&mut said.beyond, name, &value)?,
                "--person" => once(&mut said.person, name, &value)?,
                "--since" => once(&mut said.since, name, &value)?,
                "--until" => once(&mut said.until, name, &value)?,
                "--sealed" => once(&mut said.sealed, name, &value)?,
                "--kind" => once(&mut said.kind, name, &value)?,
                "--wait" => once(&mut said.wait, name, &value)?,
                _ => return Err(format!("{name} takes no value; write `{usage}`")),
            }
        }
        Ok(said)
    }
}

/// An option's value; given twice, nobody could say which one counts.
fn once<T: FromStr<Err: std::fmt::Display>>(slot: &mut Option<T>, name: &str, value: &str) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("{name} is given twice"));
    }
    *slot = Some(value.parse().map_err(|error| format!("{name}: {error}"))?);
    Ok(())
}

impl Said {
    pub(super) fn one_tenant(mut self, usage: &str) -> Result<TenantName, String> {
        let name = self.plain.pop().ok_or_else(|| format!("a tenant is missing; write `{usage}`"))?;
        name.parse().map_err(|invalid: belay_certs::Invalid| invalid.sentence)
    }
}
