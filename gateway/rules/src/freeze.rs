//! Freezes: where nothing starts and nothing goes on until somebody lifts it; and the judge of beginning and lifting one.
//!
//! A device is frozen by its name, whichever machine has it, and by its host key, whatever that machine is called. Enforced by the
//! gateway alone (TRUST.md). Not here: what is ended when one begins.

use crate::draft::Draft;
use crate::event::What;
use crate::event::freezes::{FreezeBegun, FreezeLifted};
use crate::limits::{FREEZES_PER_TENANT_MAX, REASON_CHARS_MAX};
use crate::refusal::Refusal;
use belay_certs::{DeviceAddress, DeviceName, Fault, Invalid, PersonRef, TenantName, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What can be frozen. As text: `acme`, `web1.acme`, `acme/anna`, `acme/msp:anna`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frozen {
    /// A whole tenant.
    Tenant(TenantName),
    /// One device.
    Device(DeviceAddress),
    /// One person, in one tenant: a provider's people act in many.
    Person(TenantName, PersonRef),
}

impl Frozen {
    /// Whose it is.
    pub fn tenant(&self) -> &TenantName {
        match self {
            Self::Tenant(tenant) | Self::Person(tenant, _) => tenant,
            Self::Device(address) => &address.tenant,
        }
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => tenant.fmt(f),
            Self::Device(address) => address.fmt(f),
            Self::Person(tenant, person) => write!(f, "{tenant}/{person}"),
        }
    }
}

impl FromStr for Frozen {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('/') {
            Some((tenant, person)) => Ok(Self::Person(tenant.parse()?, person.parse()?)),
            None if text.contains('.') => text.parse().map(Self::Device),
            None => text.parse().map(Self::Tenant).map_err(|invalid| {
                let sentence = format!("{}; write TENANT, DEVICE.TENANT or TENANT/PERSON", invalid.sentence);
                Invalid::new(Fault::Malformed, sentence)
            }),
        }
    }
}

impl Serialize for Frozen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Frozen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One freeze. As text it is the sentence that whoever is kept out reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// What is frozen.
    pub frozen: Frozen,
    /// The fingerprint of the host key of the device that had the name when it was frozen, if one did.
    pub host_key: Option<String>,
    /// Since when, by the gateway's clock.
    pub since: Timestamp,
    /// Who did it.
    pub by: PersonRef,
    /// Why, if that was said.
    pub reason: Option<String>,
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frozen, since, by, reason, host_key: _ } = self;
        write!(f, "{frozen} has been frozen since {} by {by}", since.whole_second())?;
        if let Some(reason) = reason {
            write!(f, " ({reason})")?;
        }
        f.write_str(": nothing starts there until somebody with `operate` thaws it")
    }
}

/// Every freeze of one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freezes(BTreeMap<TenantName, OfTenant>);

/// Those of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfTenant {
    /// Of all of it.
    whole: Option<Freeze>,
    devices: BTreeMap<DeviceName, Freeze>,
    /// Frozen devices that are called otherwise now: under which names they were frozen, by the name that they have.
    renamed: BTreeMap<DeviceName, BTreeSet<DeviceName>>,
    people: BTreeMap<PersonRef, Freeze>,
}

impl OfTenant {
    fn all(&self) -> impl Iterator<Item = &Freeze> {
        self.whole.iter().chain(self.devices.values()).chain(self.people.values())
    }

    /// The freeze of the device that has this name, by its name or by its host key.
    fn of_device(&self, device: &DeviceName) -> Option<&Freeze> {
        let renamed = || self.renamed.get(device)?.first().and_then(|name| self.devices.get(name));
        self.devices.get(device).or_else(renamed)
    }

    /// The device that was frozen under this name has no other one.
    fn forget_other_names(&mut self, name: &DeviceName) {
        self.renamed.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
    }
}

impl Freezes {
    /// What keeps these people from doing anything on this device, if something does.
    pub fn find<'a>(
        &self,
        tenant: &TenantName,
        device: Option<&DeviceName>,
        people: impl IntoIterator<Item = &'a PersonRef>,
    ) -> Option<&Freeze> {
        let of = self.0.get(tenant)?;
        let device = || device.and_then(|device| of.of_device(device));
        of.whole.as_ref().or_else(device).or_else(|| people.into_iter().find_map(|person| of.people.get(person)))
    }

    /// The freeze of exactly this.
    pub fn get(&self, frozen: &Frozen) -> Option<&Freeze> {
        let of = self.0.get(frozen.tenant())?;
        match frozen {
            Frozen::Tenant(_) => of.whole.as_ref(),
            Frozen::Device(address) => of.devices.get(&address.device),
            Frozen::Person(_, person) => of.people.get(person),
        }
    }

    /// What somebody means who names a device by the name that it has now, and that was frozen under another.
    pub fn meant(&self, frozen: Frozen) -> Frozen {
        let Frozen::Device(address) = &frozen else { return frozen };
        let found = self.0.get(&address.tenant).and_then(|of| of.of_device(&address.device));
        found.map_or(frozen, |freeze| freeze.frozen.clone())
    }

    /// Whether a device of the tenant with this host key is frozen.
    pub fn holds_key(&self, tenant: &TenantName, host_key: &str) -> bool {
        self.of(tenant).any(|freeze| freeze.host_key.as_deref() == Some(host_key))
    }

    /// The approved device with this host key is called so now: what froze it holds under that name too, and under the one that it
    /// was said for.
    pub fn called(&mut self, address: &DeviceAddress, host_key: &str) {
        let Some(of) = self.0.get_mut(&address.tenant) else { return };
        let of_key = of.devices.iter().filter(|(_, freeze)| freeze.host_key.as_deref() == Some(host_key));
        let names: Vec<DeviceName> = of_key.map(|(name, _)| name.clone()).collect();
        for name in names {
            of.forget_other_names(&name);
            if name != address.device {
                of.renamed.entry(address.device.clone()).or_default().insert(name);
            }
        }
    }

    /// Those of one tenant: all of it first, then devices, then people, by name.
    pub fn of(&self, tenant: &TenantName) -> impl Iterator<Item = &Freeze> {
        self.0.get(tenant).into_iter().flat_map(OfTenant::all)
    }

    /// Whether a tenant's are the same in both.
    pub fn are_alike(&self, other: &Self, tenant: &TenantName) -> bool {
        self.0.get(tenant) == other.0.get(tenant)
    }

    /// Adds one that is durable.
    pub fn add(&mut self, freeze: Freeze) {
        let of = self.0.entry(freeze.frozen.tenant().clone()).or_default();
        match freeze.frozen.clone() {
            Frozen::Tenant(_) => of.whole = Some(freeze),
            Frozen::Device(address) => drop(of.devices.insert(address.device, freeze)),
            Frozen::Person(_, person) => drop(of.people.insert(person, freeze)),
        }
    }

    /// Takes one out whose end is durable.
    pub fn remove(&mut self, frozen: &Frozen) {
        let Some(of) = self.0.get_mut(frozen.tenant()) else { return };
        match frozen {
            Frozen::Tenant(_) => of.whole = None,
            Frozen::Device(address) => {
                of.devices.remove(&address.device);
                of.forget_other_names(&address.device);
            }
            Frozen::Person(_, person) => drop(of.people.remove(person)),
        }
        if of.all().next().is_none() {
            self.0.remove(frozen.tenant());
        }
    }
}

/// May this person freeze that? `host_key` is the fingerprint of the device's that has the name. The event, and the freeze that counts once it is durable.
///
/// # Errors
/// When it is frozen already, they are frozen themselves or would be, the reason is too long, or there are too many.
pub fn begin(
    held: &Freezes,
    frozen: Frozen,
    host_key: Option<String>,
    (by, reason): (&PersonRef, Option<&str>),
    now: Timestamp,
) -> Result<(Draft, Freeze), Refusal> {
    check_operator(held, frozen.tenant(), by)?;
    if let Some(freeze) = held.get(&frozen) {
        return Err(Refusal::FrozenAlready(Box::new(freeze.clone())));
    }
    if matches!(&frozen, Frozen::Person(_, person) if person == by) {
        return Err(Refusal::FreezesSelf(by.clone()));
    }
    check_reason(reason.unwrap_or("-"))?;
    if held.of(frozen.tenant()).count() >= FREEZES_PER_TENANT_MAX {
        return Err(Refusal::TooManyFreezes(frozen.tenant().clone()));
    }
    let reason = reason.map(str::to_owned);
    let begun = FreezeBegun { frozen: frozen.clone(), host_key: host_key.clone(), reason: reason.clone() };
    let draft = draft(&frozen, What::FreezeBegun(begun), by);
    Ok((draft, Freeze { frozen, host_key, since: now, by: by.clone(), reason }))
}

/// May this person lift that freeze?
///
/// # Errors
/// When it is not frozen, or they are frozen themselves.
pub fn lift(held: &Freezes, frozen: &Frozen, by: &PersonRef) -> Result<Draft, Refusal> {
    check_operator(held, frozen.tenant(), by)?;
    if held.get(frozen).is_none() {
        return Err(Refusal::NotFrozen(frozen.clone()));
    }
    Ok(draft(frozen, What::FreezeLifted(FreezeLifted { frozen: frozen.clone() }), by))
}

/// Whoever is frozen ends nobody's session, freezes nobody and lifts nothing. A frozen tenant's operators do: who else could
/// thaw it?
///
/// # Errors
/// Their freeze.
pub fn check_operator(held: &Freezes, tenant: &TenantName, by: &PersonRef) -> Result<(), Refusal> {
    match held.get(&Frozen::Person(tenant.clone(), by.clone())) {
        Some(freeze) => Err(Refusal::Frozen(Box::new(freeze.clone()))),
        None => Ok(()),
    }
}

/// Whether a person's own words fit an entry and a line.
///
/// # Errors
/// They are none, or too many.
pub fn check_reason(text: &str) -> Result<(), Refusal> {
    match text.chars().count() {
        1..=REASON_CHARS_MAX if !text.contains(char::is_control) => Ok(()),
        _ => Err(Refusal::WordsUnfit),
    }
}

fn draft(frozen: &Frozen, what: What, by: &PersonRef) -> Draft {
    let draft = Draft::new(frozen.tenant().clone().into(), what).by(by.clone());
    match frozen {
        Frozen::Device(address) => draft.on(address.device.clone()),
        Frozen::Tenant(_) | Frozen::Person(..) => draft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::now;

    fn frozen(text: &str) -> Frozen {
        text.parse().unwrap()
    }

    fn person(text: &str) -> PersonRef {
        text.parse().unwrap()
    }

    fn held(texts: &[&str]) -> Freezes {
        let mut held = Freezes::default();
        for text in texts {
            let host_key = text.contains('.').then(|| format!("SHA256:{text}"));
            let (_, freeze) = begin(&held, frozen(text), host_key, (&person("op"), None), now()).unwrap();
            held.add(freeze);
        }
        held
    }

    #[test]
    fn what_is_frozen_is_read_as_it_is_written() {
        for text in ["acme", "web1.acme", "acme/anna", "acme/msp:anna"] {
            assert_eq!(frozen(text).to_string(), text);
            assert_eq!(frozen(text).tenant().as_str(), "acme");
        }
        for wrong in ["", "Acme", "acme/", "web1.acme/anna", "acme/a b", "a.b.c", "msp:anna"] {
            assert!(wrong.parse::<Frozen>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_freeze_keeps_out_whom_it_names_and_nobody_else() {
        let of = |texts: &[&str], tenant: &str, device: &str, who: &str| {
            let held = held(texts);
            let tenant: TenantName = tenant.parse().unwrap();
            held.find(&tenant, Some(&device.parse().unwrap()), [&person(who)]).map(|freeze| freeze.frozen.to_string())
        };
        assert_eq!(of(&["acme"], "acme", "web1", "anna").as_deref(), Some("acme"));
        assert_eq!(of(&["acme"], "globex", "web1", "anna"), None);
        assert_eq!(of(&["web1.acme"], "acme", "web1", "anna").as_deref(), Some("web1.acme"));
        assert_eq!(of(&["web1.acme"], "acme", "web2", "anna"), None);
        assert_eq!(of(&["web1.acme"], "globex", "web1", "anna"), None);
        assert_eq!(of(&["acme/msp:anna"], "acme", "web1", "msp:anna").as_deref(), Some("acme/msp:anna"));
        assert_eq!(of(&["acme/msp:anna"], "acme", "web1", "anna"), None);
    }

    #[test]
    fn a_frozen_device_is_frozen_under_every_name_that_it_gets_and_its_old_name_stays_frozen() {
        let mut held = held(&["web1.acme", "db1.acme"]);
        let acme: TenantName = "acme".parse().unwrap();
        let of = |held: &Freezes, device: &str| {
            let found = held.find(&acme, Some(&device.parse().unwrap()), [&person("anna")]);
            found.map(|freeze| freeze.frozen.to_string())
        };
        assert!(held.holds_key(&acme, "SHA256:web1.acme") && !held.holds_key(&acme, "SHA256:other"));
        held.called(&"www.acme".parse().unwrap(), "SHA256:web1.acme");
        held.called(&"www2.acme".parse().unwrap(), "SHA256:other");
        for (device, frozen) in [("www", Some("web1.acme")), ("web1", Some("web1.acme")), ("www2", None)] {
            assert_eq!(of(&held, device).as_deref(), frozen, "{device}");
        }
        held.called(&"front.acme".parse().unwrap(), "SHA256:web1.acme");
        assert_eq!((of(&held, "www"), of(&held, "front").as_deref()), (None, Some("web1.acme")));
        assert_eq!(held.meant(frozen("front.acme")), frozen("web1.acme"));
        assert_eq!(held.meant(frozen("www.acme")), frozen("www.acme"));
        held.remove(&frozen("web1.acme"));
        assert_eq!(
            (of(&held, "front"), of(&held, "web1"), of(&held, "db1").as_deref()),
            (None, None, Some("db1.acme"))
        );
        // Back under its own name it is frozen by that, once.
        held.called(&"db2.acme".parse().unwrap(), "SHA256:db1.acme");
        held.called(&"db1.acme".parse().unwrap(), "SHA256:db1.acme");
        assert_eq!((of(&held, "db2"), of(&held, "db1").as_deref()), (None, Some("db1.acme")));
        held.remove(&frozen("db1.acme"));
        assert_eq!(held, Freezes::default());
    }

    #[test]
    fn a_freeze_begins_once_ends_once_and_says_what_when_and_who() {
        let mut held = held(&["acme"]);
        let again = begin(&held, frozen("acme"), None, (&person("op"), None), now()).unwrap_err();
        assert!(matches!(again, Refusal::FrozenAlready(_)));
        assert!(again.to_string().contains("acme has been frozen since 20"), "{again}");
        let draft = lift(&held, &frozen("acme"), &person("op")).unwrap();
        assert_eq!(draft.what.type_name(), "freeze.lifted");
        held.remove(&frozen("acme"));
        assert_eq!(held, Freezes::default());
        assert_eq!(lift(&held, &frozen("acme"), &person("op")), Err(Refusal::NotFrozen(frozen("acme"))));
    }

    #[test]
    fn whoever_is_frozen_lifts_nothing_and_nobody_locks_themselves_out() {
        let mut held = held(&["acme"]);
        let own = begin(&held, frozen("acme/op"), None, (&person("op"), None), now());
        assert_eq!(own.unwrap_err(), Refusal::FreezesSelf(person("op")));
        let (_, freeze) = begin(&held, frozen("acme/op"), None, (&person("boss"), Some("why not")), now()).unwrap();
        held.add(freeze);
        assert!(matches!(lift(&held, &frozen("acme"), &person("op")), Err(Refusal::Frozen(_))));
        let frozen_too = begin(&held, frozen("web1.acme"), None, (&person("op"), None), now());
        assert!(matches!(frozen_too, Err(Refusal::Frozen(_))));
        assert!(lift(&held, &frozen("acme/op"), &person("boss")).is_ok());
    }

    #[test]
    fn a_reason_fits_a_line() {
        let begin =
            |reason: &str| begin(&Freezes::default(), frozen("acme"), None, (&person("op"), Some(reason)), now());
        assert!(begin("a laptop was stolen").is_ok() && begin(&"x".repeat(REASON_CHARS_MAX)).is_ok());
        for wrong in [String::new(), "x".repeat(REASON_CHARS_MAX + 1), "two\nlines".to_owned()] {
            assert_eq!(begin(&wrong).unwrap_err(), Refusal::WordsUnfit);
        }
    }
}
