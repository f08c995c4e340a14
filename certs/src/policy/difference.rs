//! What changes between two versions, in lines for the person who is about to sign the newer one.
//!
//! Policies, people and grants are taken apart field by field, so a field added later cannot be forgotten here.

use super::document::{Devices, Gateway, Person, Recording, Root, Runbooks};
use super::{GrantLine, Policy};
use crate::PublicKey;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// What a policy says, in words.
#[derive(Default)]
struct Facts {
    /// What it says exactly once: a name and a value.
    single: Vec<(&'static str, String)>,
    /// What it says any number of times.
    many: Vec<Fact>,
}

/// One of many things.
struct Fact {
    /// What is compared.
    text: String,
    /// What is shown: the same, for a grant with its line.
    shown: String,
}

/// Every difference, one line each: `~` changed, `-` taken away, `+` added. Empty when nothing but `previous` differs.
pub fn difference(old: &Policy, new: &Policy) -> Vec<String> {
    let (before, after) = (Facts::of(old), Facts::of(new));
    let changed = before.single.iter().zip(&after.single).filter(|(before, after)| before != after);
    let mut lines: Vec<String> = changed.map(|((name, from), (_, to))| format!("~ {name}: {from} -> {to}")).collect();
    lines.extend(missing(&before.many, &after.many).map(|fact| format!("- {fact}")));
    lines.extend(missing(&after.many, &before.many).map(|fact| format!("+ {fact}")));
    if common_grants(old, new) != common_grants(new, old) {
        lines.push("~ grants are in another order: the first that holds decides about review".to_owned());
    }
    lines
}

impl Facts {
    fn of(policy: &Policy) -> Self {
        let Policy {
            tenant,
            version,
            previous: _,
            issued,
            expires,
            min_agent,
            root: Root { threshold, keys },
            gateway,
            devices: Devices { ca, revoked },
            imports,
            serves,
            people,
            grants,
            runbooks: Runbooks { signers, withdrawn },
            recording,
        } = policy;
        let mut facts = Self::default();
        facts.once("tenant", tenant);
        facts.once("version", version);
        facts.once("issued", issued);
        facts.once("expires", expires);
        facts.once("min_agent", min_agent);
        facts.once("root threshold", threshold);
        facts.each("root key", keys.iter().map(named));
        facts.gateway(gateway);
        facts.each("device CA", ca.iter().map(named));
        facts.each("revoked device serial", revoked);
        facts.each("import", imports.iter().map(|(tenant, policy0)| format!("{tenant} with version 0 {policy0}")));
        facts.each("serves", serves.iter().map(|one| format!("{} with version 0 {}", one.tenant, one.policy0)));
        people.iter().for_each(|person| facts.person(person));
        facts.many.extend(grants.iter().map(|grant| Fact {
            text: format!("grant: {}", words(grant)),
            shown: format!("grant line {}: {}", grant.line, words(grant)),
        }));
        facts.each("runbook signer", signers);
        facts.each("withdrawn runbook", withdrawn);
        facts.recording(recording);
        facts
    }

    fn gateway(&mut self, gateway: &Gateway) {
        let Gateway { ssh, ssh_host_keys, addresses, transport_ca, logs } = gateway;
        self.once("gateway ssh", ssh);
        self.once("current log", &logs.last().map_or("none", |log| &log.origin));
        self.each("gateway host key", ssh_host_keys.iter().map(named));
        self.each("gateway address", addresses);
        self.each("gateway transport CA", transport_ca);
        self.each("log", logs.iter().map(|log| format!("{} with key {}", log.origin, log.vkey)));
    }

    fn person(&mut self, person: &Person) {
        let Person { name, robot, keys, teams } = person;
        let kind = if *robot { "robot" } else { "person" };
        self.each(kind, [name]);
        self.each(&format!("{kind} {name} has key"), keys.iter().map(named));
        self.each(&format!("{kind} {name} is in team"), teams);
    }

    fn recording(&mut self, recording: &Recording) {
        let Recording { to, readable_by_gateway, input, keep_days } = recording;
        self.once("recordings readable by the gateway", readable_by_gateway);
        self.once("recordings hold what is typed", input);
        self.once("recordings kept", &keep_days.map_or("until deleted".to_owned(), |days| format!("{days} days")));
        self.each("recordings to", to);
    }

    fn once(&mut self, name: &'static str, value: &dyn Display) {
        self.single.push((name, value.to_string()));
    }

    fn each<T: Display>(&mut self, what: &str, values: impl IntoIterator<Item = T>) {
        let texts = values.into_iter().map(|value| format!("{what} {value}"));
        self.many.extend(texts.map(|text| Fact { shown: text.clone(), text }));
    }
}

fn named(key: &PublicKey) -> String {
    format!("{} {}", key.fingerprint(), key.comment()).trim_end().to_owned()
}

/// A grant without its line.
fn words(grant: &GrantLine) -> String {
    let GrantLine {
        line: _,
        who,
        on,
        except,
        actions,
        accounts,
        forward_to,
        hours,
        ticket,
        runbooks,
        risk,
        devices_max,
        review,
    } = grant;
    let mut all = format!("{} may {}", list(who), list(actions));
    let mut add = |word: &str, part: String| {
        if !part.is_empty() {
            all.push_str(&format!(" {word} {part}"));
        }
    };
    add("as", list(accounts));
    add("on", list(on));
    add("except", list(except));
    add("forward_to", list(forward_to));
    add("runbooks", list(runbooks));
    add("risk", risk.to_string());
    add("devices_max", devices_max.map(|max| max.to_string()).unwrap_or_default());
    add("hours", hours.as_ref().map(ToString::to_string).unwrap_or_default());
    add("ticket", ticket.as_ref().map(ToString::to_string).unwrap_or_default());
    add("review", review.to_string());
    all
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// The facts that `other` does not have, each as often as it is missing there.
fn missing<'f>(facts: &'f [Fact], other: &'f [Fact]) -> impl Iterator<Item = &'f str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for fact in other {
        *counts.entry(fact.text.as_str()).or_default() += 1;
    }
    facts.iter().filter_map(move |fact| match counts.get_mut(fact.text.as_str()) {
        Some(left) if *left > 0 => {
            *left -= 1;
            None
        }
        Some(_) | None => Some(fact.shown.as_str()),
    })
}

/// The grants of `policy` that `other` has too, in order, each once.
fn common_grants(policy: &Policy, other: &Policy) -> Vec<String> {
    let others: BTreeSet<String> = other.grants.iter().map(words).collect();
    let mut seen = BTreeSet::new();
    policy.grants.iter().map(words).filter(|grant| others.contains(grant) && seen.insert(grant.clone())).collect()
}
