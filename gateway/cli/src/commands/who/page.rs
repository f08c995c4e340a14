//! What `belay who` shows: a table of the people who can reach the device, then every grant explained; the same as JSON.
//! Pure: policies, labels and the moment are given.

use crate::screen::{escape, table};
use belay_certs::{
    PersonRef, TenantName, Timestamp,
    policy::{ActionKind, Chain, DeviceFacts, Explained, Fit, GrantLine, Hours, Kind, Meaning, Named, Policies},
};
use serde_json::{Value, json};
use std::fmt::Write;

/// The device's labels, and who says so.
pub(super) enum Labels {
    /// The person asking.
    Given(Vec<String>),
    /// The gateway, whose word they are here.
    Told(Vec<String>),
    /// Nobody.
    Unknown,
}

impl Labels {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::Given(labels) | Self::Told(labels) => labels,
            Self::Unknown => &[],
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Self::Given(_) => "given",
            Self::Told(_) => "gateway",
            Self::Unknown => "unknown",
        }
    }
}

/// Everything there is to show.
pub(super) struct Page<'a> {
    pub(super) policies: &'a Policies<'a>,
    pub(super) device: &'a DeviceFacts,
    pub(super) labels: &'a Labels,
    pub(super) now: Timestamp,
    pub(super) lines: Vec<Explained<'a>>,
}

impl Page<'_> {
    /// What makes the answer less than the whole truth, a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let expired = self.chains().filter_map(|chain| chain.check_expiry(self.now).err());
        let mut all: Vec<String> = expired.map(|refusal| refusal.to_string()).collect();
        all.extend(
            self.policies.check_keys().err().map(|invalid| format!("{invalid}; until then they are nobody here")),
        );
        for tenant in self.missing() {
            all.push(format!("the policy of {tenant} is not here, so its people are missing from this answer"));
        }
        if matches!(self.labels, Labels::Unknown) {
            all.push(
                "the device's labels are not known here, so lines with `tag:` may be wrong: give them with --label"
                    .to_owned(),
            );
        }
        all
    }

    fn chains(&self) -> impl Iterator<Item = &Chain> {
        std::iter::once(self.policies.tenant).chain(self.policies.imports.iter().copied())
    }

    fn missing(&self) -> impl Iterator<Item = String> {
        let imports = self.policies.tenant.policy().imports.keys();
        let held = |tenant: &&TenantName| self.policies.imports.iter().any(|chain| chain.tenant() == *tenant);
        imports.filter(move |tenant| !held(tenant)).map(ToString::to_string)
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let mut out = self.head();
        let rows: Vec<Vec<String>> = self.lines.iter().flat_map(|line| self.rows(line)).collect();
        match rows.is_empty() {
            true => out.push_str("nobody can reach it\n"),
            false => out.push_str(&table(&["PERSON", "MAY", "AS", "NOW", "LINE"], &rows)),
        }
        for line in &self.lines {
            self.explain(line, &mut out);
        }
        out
    }

    fn head(&self) -> String {
        let chains = self.chains().map(|chain| format!("version {} of {}", chain.version(), chain.tenant()));
        let labels = match self.labels {
            Labels::Given(labels) => format!("labels {}", or_none(labels)),
            Labels::Told(labels) => format!("labels {} as the gateway tells", or_none(labels)),
            Labels::Unknown => "labels not known".to_owned(),
        };
        let chains = chains.collect::<Vec<_>>().join(", ");
        format!("{}, {}, by {chains}, at {}\n\n", self.device.address, escape(&labels), self.now.whole_second())
    }

    /// A row for everybody whom this line lets reach the device.
    fn rows(&self, line: &Explained<'_>) -> Vec<Vec<String>> {
        let Fit::Reaches(_) = line.fit else { return Vec::new() };
        let grant = line.grant;
        let (may, accounts) = (words(&grant.actions, ","), or_dash(words(&grant.accounts, ",")));
        let row =
            |name: String| vec![name, may.clone(), accounts.clone(), self.standing(grant), grant.line.to_string()];
        let unknown = line.who.iter().filter(|named| named.meaning == Meaning::NotHeld);
        let people = line.people().into_iter().map(|(person, kind)| called(&person, kind));
        people.chain(unknown.map(|named| format!("{} (who?)", named.name))).map(row).collect()
    }

    /// Whether the grant counts at this moment.
    fn standing(&self, grant: &GrantLine) -> String {
        let outside = grant.hours.as_ref().is_some_and(|hours| !hours.contains(self.now));
        match (outside, grant.ticket.is_some()) {
            (true, _) => "no, outside hours".to_owned(),
            (false, true) => "with a ticket".to_owned(),
            (false, false) => "yes".to_owned(),
        }
    }

    fn explain(&self, line: &Explained<'_>, out: &mut String) {
        let (grant, address) = (line.grant, &self.device.address);
        let fit = match line.fit {
            Fit::Reaches(on) => format!("counts for {address}, which `on` names with {on}"),
            Fit::Excepted(except) => format!("does not count for {address}, which `except` names with {except}"),
            Fit::Elsewhere => format!("does not count for {address}: `on` names only {}", words(&grant.on, ", ")),
        };
        let _ = writeln!(out, "\nline {}: {fit}", grant.line);
        let mut say = |word: &str, what: String| {
            let _ = writeln!(out, "  {word:<11} {}", escape(&what));
        };
        for named in &line.who {
            say("who", meaning(named));
        }
        say("do", words(&grant.actions, ", "));
        for (word, what) in [("as", words(&grant.accounts, ", ")), ("except", words(&grant.except, ", "))] {
            if !what.is_empty() {
                say(word, what);
            }
        }
        if grant.actions.contains(&ActionKind::Forward) {
            say("forward_to", or_nothing(words(&grant.forward_to, ", ")));
        }
        if grant.actions.contains(&ActionKind::Run) {
            let devices = grant.devices_max.map_or_else(String::new, |max| format!(", at most {max} devices an order"));
            say("runbooks", format!("{} of {} risk{devices}", or_nothing(words(&grant.runbooks, ", ")), grant.risk));
        }
        if let Some(hours) = &grant.hours {
            say("hours", format!("{hours}: now is {}", if hours.contains(self.now) { "inside" } else { "outside" }));
        }
        if let Some(ticket) = &grant.ticket {
            say("ticket", format!("{ticket}: sent as BELAY_TICKET, or asked for on the terminal"));
        }
        if grant.review {
            say("review", "what is done is marked for review".to_owned());
        }
    }

    /// For a program.
    pub(super) fn json(&self) -> Value {
        let policies = self.chains().map(|chain| {
            json!({
                "tenant": chain.tenant(), "version": chain.version(), "digest": chain.digest(),
                "expires": chain.policy().expires, "expired": chain.check_expiry(self.now).is_err(),
            })
        });
        let policies: Vec<Value> = policies.collect();
        json!({
            "device": self.device.address, "labels": self.labels.all(), "labels_from": self.labels.source(),
            "at": self.now.whole_second(), "policies": policies, "missing": self.missing().collect::<Vec<_>>(),
            "warnings": self.warnings(), "grants": self.lines.iter().map(|line| self.line_json(line)).collect::<Vec<_>>(),
        })
    }

    fn line_json(&self, line: &Explained<'_>) -> Value {
        let grant = line.grant;
        let (counts, by, reason) = match line.fit {
            Fit::Reaches(on) => (true, Some(on.to_string()), "on"),
            Fit::Excepted(except) => (false, Some(except.to_string()), "except"),
            Fit::Elsewhere => (false, None, "elsewhere"),
        };
        let inside = |hours: &Hours| hours.contains(self.now);
        json!({
            "line": grant.line, "counts": counts, "because": reason, "pattern": by,
            "who": line.who.iter().map(named_json).collect::<Vec<_>>(),
            "people": line.people().iter().map(|(person, kind)| person_json(person, *kind)).collect::<Vec<_>>(),
            "do": list(&grant.actions), "as": list(&grant.accounts), "on": list(&grant.on), "except": list(&grant.except),
            "forward_to": list(&grant.forward_to), "runbooks": list(&grant.runbooks), "risk": grant.risk.as_str(),
            "devices_max": grant.devices_max, "hours": grant.hours.as_ref().map(ToString::to_string),
            "inside_hours": grant.hours.as_ref().is_none_or(inside),
            "ticket": grant.ticket.as_ref().map(ToString::to_string), "review": grant.review,
        })
    }
}

fn named_json(named: &Named<'_>) -> Value {
    let means = match &named.meaning {
        Meaning::Person(_) => "person",
        Meaning::Team(_) => "team",
        Meaning::NotHeld => "not held",
    };
    json!({ "name": named.name, "means": means })
}

fn person_json(person: &PersonRef, kind: Kind) -> Value {
    json!({ "person": person, "robot": kind == Kind::Robot })
}

/// A name in `who`, with whom it means.
fn meaning(named: &Named<'_>) -> String {
    let name = named.name;
    match &named.meaning {
        Meaning::Person(kind) => called(name, *kind),
        Meaning::Team(people) if people.is_empty() => format!("{name}: a team that nobody is in"),
        Meaning::Team(people) => {
            let people: Vec<String> = people.iter().map(|(person, kind)| called(person, *kind)).collect();
            format!("{name}: {}", people.join(", "))
        }
        Meaning::NotHeld => format!("{name}: whoever that is, for that policy is not here"),
    }
}

fn called(person: &PersonRef, kind: Kind) -> String {
    match kind {
        Kind::Human => person.to_string(),
        Kind::Robot => format!("{person} (robot)"),
    }
}

fn list<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn words<T: ToString>(items: &[T], between: &str) -> String {
    list(items).join(between)
}

fn or_none(labels: &[String]) -> String {
    if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
