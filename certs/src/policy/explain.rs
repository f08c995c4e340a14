//! Who can reach a device, how, and which line says so; and of every other line why it does not. For a person to read.
//!
//! From the policies alone. Nothing here makes a [`super::Grant`]: what acts on a device asks `decide`.

use super::decide::check_device;
use super::policies::is_named;
use super::{DeviceFacts, DevicePattern, GrantLine, Person, Policies, Refusal};
use crate::PersonRef;

/// One grant of the tenant's policy, as it concerns one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained<'a> {
    /// What it says.
    pub grant: &'a GrantLine,
    /// Each name in its `who`, in the same order, and the people that it means.
    pub who: Vec<Named<'a>>,
    /// Whether it is about the device, and why.
    pub fit: Fit<'a>,
}

/// A name in `who`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// As the grant writes it.
    pub name: &'a PersonRef,
    /// Whom it means.
    pub meaning: Meaning,
}

/// What a name in `who` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// One person, and whether it is a robot.
    Person(Kind),
    /// A team, and who is in it: nobody, if all have left.
    Team(Vec<(PersonRef, Kind)>),
    /// Nobody knows: the import's policy is not held here. A device that holds it knows.
    NotHeld,
}

/// What a person is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A human.
    Human,
    /// A program.
    Robot,
}

/// Whether a grant is about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit<'a> {
    /// This one of its `on` fits, and nothing of its `except`.
    Reaches(&'a DevicePattern),
    /// This one of its `except` fits.
    Excepted(&'a DevicePattern),
    /// Nothing of its `on` fits.
    Elsewhere,
}

impl Explained<'_> {
    /// Everybody it means, each once, whether human or robot.
    pub fn people(&self) -> Vec<(PersonRef, Kind)> {
        let mut all: Vec<(PersonRef, Kind)> = Vec::new();
        for Named { name, meaning } in &self.who {
            let meant = match meaning {
                Meaning::Person(kind) => vec![((*name).clone(), *kind)],
                Meaning::Team(people) => people.clone(),
                Meaning::NotHeld => Vec::new(),
            };
            for one in meant {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        all
    }
}

/// Every grant of the tenant's policy in its order. Expiry, hours, accounts and tickets are not looked at: they are in the
/// grants, and change by the minute.
///
/// # Errors
/// When the device is another tenant's or revoked: then no line counts.
pub fn explain<'a>(policies: &Policies<'a>, device: &DeviceFacts) -> Result<Vec<Explained<'a>>, Refusal> {
    check_device(policies, device)?;
    let grants = policies.tenant.policy().grants.iter();
    Ok(grants.map(|grant| Explained { grant, who: who(policies, grant), fit: grant.fit(device) }).collect())
}

fn who<'a>(policies: &Policies<'_>, grant: &'a GrantLine) -> Vec<Named<'a>> {
    grant.who.iter().map(|name| Named { name, meaning: meaning(policies, name) }).collect()
}

fn meaning(policies: &Policies<'_>, name: &PersonRef) -> Meaning {
    let home = match &name.tenant {
        None => Some(policies.tenant),
        Some(tenant) => policies.import(tenant),
    };
    let Some(home) = home else { return Meaning::NotHeld };
    let kind = |person: &Person| if person.robot { Kind::Robot } else { Kind::Human };
    let people = &home.policy().people;
    if let Some(person) = people.iter().find(|person| person.name == name.name) {
        return Meaning::Person(kind(person));
    }
    let members = people.iter().map(|person| (policies.name_in(home, person), person));
    Meaning::Team(
        members
            .filter(|(called, person)| is_named(called, person, name))
            .map(|(called, person)| (called, kind(person)))
            .collect(),
    )
}

impl GrantLine {
    /// Whether it is about this device, as [`GrantLine::reaches`] has it.
    fn fit(&self, device: &DeviceFacts) -> Fit<'_> {
        let find =
            |patterns: &'_ [DevicePattern]| patterns.iter().position(|p| p.matches(&device.address, &device.labels));
        let on = find(&self.on).and_then(|at| self.on.get(at));
        let except = find(&self.except).and_then(|at| self.except.get(at));
        match (on, except) {
            (Some(_), Some(except)) => Fit::Excepted(except),
            (Some(on), None) => Fit::Reaches(on),
            (None, _) => Fit::Elsewhere,
        }
    }
}
