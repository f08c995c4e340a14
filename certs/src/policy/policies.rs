//! A tenant's policy together with the policies it imports: who a key is.
//!
//! Not here: what they may do (`decide`, `reach`).

use super::{Chain, Person, Refusal};
use crate::invalid::{Fault, Invalid};
use crate::{PersonRef, PublicKey, Timestamp};
use std::collections::BTreeMap;

/// Everything a question is judged under. Chains that the tenant's policy does not import, or pins at another version 0,
/// are as if they were not here; so are two chains of one tenant. The people of an import that is not held are unknown.
#[derive(Debug, Clone)]
pub struct Policies<'a> {
    /// The tenant's own policy.
    pub tenant: &'a Chain,
    /// The imported policies that are held.
    pub imports: Vec<&'a Chain>,
}

/// A person, as the tenant's policy names it, and the chain that says so.
pub(super) struct Found<'a> {
    /// The name as grants write it.
    pub(super) name: PersonRef,
    /// The person there.
    pub(super) person: &'a Person,
    /// The tenant's own chain, or the import's.
    pub(super) home: &'a Chain,
}

impl<'a> Policies<'a> {
    /// Who this key is, expired policies included: who may push a new version, whose name goes into an event. It says
    /// nothing about what they may do. A key of two names is nobody's.
    pub fn person(&self, key: &PublicKey) -> Option<PersonRef> {
        self.find(key).ok().map(|found| found.name)
    }

    /// Whether no key belongs to two names, in the tenant's policy and an import or in two imports.
    ///
    /// # Errors
    /// `Mismatch`, naming the key and both names. Such a key is nobody's until one of the policies changes.
    pub fn check_keys(&self) -> Result<(), Invalid> {
        let mut names: BTreeMap<&PublicKey, PersonRef> = BTreeMap::new();
        for chain in self.chains() {
            for key in chain.keys() {
                let Some(person) = chain.person_by_key(key) else { continue };
                let name = self.name_in(chain, person);
                if let Some(other) = names.insert(key, name.clone()) {
                    let sentence =
                        format!("the key {} belongs to {other} and to {name}: take it from one", key.fingerprint());
                    return Err(Invalid::new(Fault::Mismatch, sentence));
                }
            }
        }
        Ok(())
    }

    /// The tenant's chain, then the imports that count.
    pub(super) fn chains(&self) -> impl Iterator<Item = &'a Chain> {
        let pins = &self.tenant.policy().imports;
        std::iter::once(self.tenant).chain(pins.keys().filter_map(|tenant| self.import(tenant)))
    }

    /// The held chain of an import: the only one of that tenant, with the pinned version 0.
    pub(super) fn import(&self, tenant: &crate::TenantName) -> Option<&'a Chain> {
        let pinned = self.tenant.policy().imports.get(tenant)?;
        let mut held = self.imports.iter().filter(|chain| chain.tenant() == tenant && chain.policy0() == *pinned);
        let first = held.next()?;
        match held.next() {
            None => Some(first),
            Some(_) => None,
        }
    }

    pub(super) fn find(&self, key: &PublicKey) -> Result<Found<'a>, Refusal> {
        let found = self.chains().filter_map(|home| {
            let person = home.person_by_key(key)?;
            Some(Found { name: self.name_in(home, person), person, home })
        });
        let mut found: Vec<Found<'a>> = found.collect();
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(Refusal::UnknownKey),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                let names = found.into_iter().map(|one| one.name).chain([last.name]).collect();
                Err(Refusal::AmbiguousKey { names })
            }
        }
    }

    /// The person of this key, if the clock is right and neither the tenant's policy nor the person's own has expired.
    pub(super) fn find_current(&self, key: &PublicKey, now: Timestamp) -> Result<Found<'a>, Refusal> {
        let found = self.find(key)?;
        for chain in [self.tenant, found.home] {
            chain.check_clock(now)?;
            chain.check_expiry(now)?;
        }
        Ok(found)
    }

    /// The name by which the tenant's policy calls a person of `home`.
    pub(super) fn name_in(&self, home: &Chain, person: &Person) -> PersonRef {
        let own = home.tenant() == self.tenant.tenant();
        PersonRef { tenant: (!own).then(|| home.tenant().clone()), name: person.name.clone() }
    }
}

impl Found<'_> {
    /// Whether one of these names is the person or a team of theirs, in the policy they are of.
    pub(super) fn is_one_of(&self, names: &[PersonRef]) -> bool {
        names.iter().any(|name| is_named(&self.name, self.person, name))
    }
}

/// Whether `name` means `person`, whom the tenant's policy calls `called`.
pub(super) fn is_named(called: &PersonRef, person: &Person, name: &PersonRef) -> bool {
    name.tenant == called.tenant && (name.name == person.name || person.teams.contains(&name.name))
}
