//! Reading people, grants and runbook signers, whose names must all mean somebody.

use super::document::{ActionKind, GrantLine, Person, Runbooks};
use super::raw::{RawGrant, RawPerson, RawRunbooks};
use crate::invalid::{Fault, Invalid};
use crate::limits::{GRANT_LIST_MAX, TEAMS_PER_PERSON_MAX, WITHDRAWN_MAX};
use crate::limits::{GRANTS_MAX, KEYS_PER_PERSON_MAX, PEOPLE_MAX};
use crate::reader::{Reader, Text};
use crate::{Digest, PersonName, PersonRef, PublicKey, TenantName};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// The names that grants and signers may use.
pub(super) struct Names<'a> {
    /// People and teams of this policy.
    own: BTreeSet<PersonName>,
    /// The imports, whose people are not known here.
    imports: &'a BTreeMap<TenantName, Digest>,
}

impl<'a> Names<'a> {
    /// All of one policy. A name is one person or one team, never both.
    pub(super) fn of(
        reader: &Reader<'_>,
        people: &[Spanned<RawPerson>],
        imports: &'a BTreeMap<TenantName, Digest>,
    ) -> Result<Self, Invalid> {
        reader.bounded("[[people]]", people, PEOPLE_MAX)?;
        let mut own = BTreeSet::new();
        for raw in people.iter().map(|person| &person.get_ref().name) {
            let name: PersonName = reader.value(raw)?;
            if !own.insert(name) {
                let sentence = format!("there are two people named {}: rename one", raw.get_ref());
                return Err(reader.wrong(raw.span(), sentence));
            }
        }
        let mut teams = BTreeSet::new();
        for raw in people.iter().flat_map(|person| &person.get_ref().teams) {
            let team: PersonName = reader.value(raw)?;
            if own.contains(&team) {
                return Err(reader.wrong(raw.span(), format!("{team} is a person and a team: rename one")));
            }
            teams.insert(team);
            if own.len() + teams.len() > PEOPLE_MAX {
                let sentence = format!("there are over {PEOPLE_MAX} people and teams");
                return Err(reader.at(raw.span(), Invalid::new(Fault::TooLarge, sentence)));
            }
        }
        own.append(&mut teams);
        Ok(Self { own, imports })
    }

    /// A list of people and teams, each of which must be one.
    fn list(&self, reader: &Reader<'_>, what: &str, raw: &[Text]) -> Result<Vec<PersonRef>, Invalid> {
        let names: Vec<PersonRef> = reader.list(what, raw, GRANT_LIST_MAX)?;
        for (name, raw) in names.iter().zip(raw) {
            match &name.tenant {
                Some(tenant) if !self.imports.contains_key(tenant) => {
                    let sentence = format!("{name} is of no imported policy: add [import.{tenant}]");
                    return Err(reader.wrong(raw.span(), sentence));
                }
                None if !self.own.contains(&name.name) => {
                    let sentence = format!("{name} is neither a person nor a team of this policy");
                    return Err(reader.wrong(raw.span(), sentence));
                }
                Some(_) | None => {}
            }
        }
        Ok(names)
    }
}

/// The people. No key is in two of them, nor twice in one.
pub(super) fn people(reader: &Reader<'_>, raw: &[Spanned<RawPerson>]) -> Result<Vec<Person>, Invalid> {
    let mut owners: BTreeMap<PublicKey, &str> = BTreeMap::new();
    let mut all = Vec::with_capacity(raw.len());
    for RawPerson { name, robot, keys: lines, teams } in raw.iter().map(Spanned::get_ref) {
        let keys: Vec<PublicKey> = reader.list("`keys`", lines, KEYS_PER_PERSON_MAX)?;
        for (key, line) in keys.iter().zip(lines) {
            if let Some(other) = owners.insert(key.clone(), name.get_ref()) {
                let sentence = format!("this key of {} is {other}'s too: take it from one", name.get_ref());
                return Err(reader.wrong(line.span(), sentence));
            }
        }
        let teams = reader.list("`teams`", teams, TEAMS_PER_PERSON_MAX)?;
        all.push(Person { name: reader.value(name)?, robot: *robot, keys, teams });
    }
    Ok(all)
}

/// The grants, in order.
pub(super) fn grants(
    reader: &Reader<'_>,
    raw: &[Spanned<RawGrant>],
    names: &Names<'_>,
) -> Result<Vec<GrantLine>, Invalid> {
    reader.bounded("[[grants]]", raw, GRANTS_MAX)?;
    raw.iter().map(|raw| grant(reader, raw, names)).collect()
}

fn grant(reader: &Reader<'_>, section: &Spanned<RawGrant>, names: &Names<'_>) -> Result<GrantLine, Invalid> {
    let raw = section.get_ref();
    let grant = GrantLine {
        line: reader.line(section.span().start),
        who: names.list(reader, "`who`", &raw.who)?,
        on: reader.list("`on`", &raw.on, GRANT_LIST_MAX)?,
        except: reader.list("`except`", &raw.except, GRANT_LIST_MAX)?,
        actions: reader.list("`do`", &raw.actions, GRANT_LIST_MAX)?,
        accounts: reader.list("`as`", &raw.accounts, GRANT_LIST_MAX)?,
        forward_to: reader.list("`forward_to`", &raw.forward_to, GRANT_LIST_MAX)?,
        hours: reader.optional(raw.hours.as_ref())?,
        ticket: reader.optional(raw.ticket.as_ref())?,
        runbooks: reader.list("`runbooks`", &raw.runbooks, GRANT_LIST_MAX)?,
        risk: reader.optional(raw.risk.as_ref())?.unwrap_or_default(),
        devices_max: raw.devices_max,
        review: raw.review,
    };
    match unclear(&grant, raw.risk.is_some()) {
        Some(sentence) => Err(reader.wrong(section.span(), sentence)),
        None => Ok(grant),
    }
}

/// What is missing in a grant, or there without any effect. Its author meant something else than it says.
fn unclear(grant: &GrantLine, has_risk: bool) -> Option<&'static str> {
    let gives = |action| grant.actions.contains(&action);
    let as_account = grant.actions.iter().any(|action| action.has_account());
    let for_run = !grant.runbooks.is_empty() || grant.devices_max.is_some() || has_risk;
    match () {
        () if grant.who.is_empty() => Some("this grant names nobody: give `who` a person or team"),
        () if grant.on.is_empty() => Some("this grant names no device: give `on` a pattern, as \"*\""),
        () if grant.actions.is_empty() => Some("this grant gives nothing: give `do` an action"),
        () if as_account && grant.accounts.is_empty() => {
            Some("shell, files, forward and run happen as an account: give `as` at least one")
        }
        () if !as_account && !grant.accounts.is_empty() => {
            Some("`as` is for shell, files, forward and run, and `do` has none of them")
        }
        () if !gives(ActionKind::Forward) && !grant.forward_to.is_empty() => {
            Some("`forward_to` is for `forward`, and `do` does not have it")
        }
        () if !gives(ActionKind::Run) && for_run => {
            Some("`runbooks`, `risk` and `devices_max` are for `run`, and `do` does not have it")
        }
        () => None,
    }
}

/// Whose runbooks count, and which no more.
pub(super) fn runbooks(reader: &Reader<'_>, raw: &RawRunbooks, names: &Names<'_>) -> Result<Runbooks, Invalid> {
    Ok(Runbooks {
        signers: names.list(reader, "`signers`", &raw.signers)?,
        withdrawn: reader.list("`withdrawn`", &raw.withdrawn, WITHDRAWN_MAX)?,
    })
}
