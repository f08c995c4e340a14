//! The policies in force, verified and in memory, for every question a door asks.
//!
//! A filter only: devices decide for themselves (P2). Changed in one place, after the change is durable.

use belay_certs::{
    PersonRef, PublicKey, TenantName, Timestamp,
    policy::{self, ActionKind, Chain, DeviceFacts, Policies, Refusal},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::watch;

/// All chains of one moment; cheap to clone, never changed in place.
#[derive(Default)]
struct Chains {
    by_tenant: BTreeMap<TenantName, Chain>,
    /// Which tenants know a key, through their own people or an import.
    by_key: HashMap<PublicKey, BTreeSet<TenantName>>,
}

/// The policies in force.
pub struct Book {
    chains: RwLock<Arc<Chains>>,
    changed: watch::Sender<u64>,
}

impl Book {
    /// The book of these chains.
    pub fn new(chains: impl IntoIterator<Item = Chain>) -> Self {
        let by_tenant = chains.into_iter().map(|chain| (chain.tenant().clone(), chain)).collect();
        Self { chains: RwLock::new(Arc::new(Chains::index(by_tenant))), changed: watch::Sender::new(0) }
    }

    /// A tenant's newest policy from now on, unless a version as new is here. The change is durable already; who made it
    /// durable first may come here last.
    pub fn adopt(&self, chain: Chain) {
        {
            let mut held = self.chains.write().unwrap_or_else(PoisonError::into_inner);
            if held.by_tenant.get(chain.tenant()).is_some_and(|held| held.version() >= chain.version()) {
                return;
            }
            let mut by_tenant = held.by_tenant.clone();
            by_tenant.insert(chain.tenant().clone(), chain);
            *held = Arc::new(Chains::index(by_tenant));
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// A tenant's policy begins anew: the chain before has ended, whatever its version was. The change is durable already.
    pub fn restart(&self, chain: Chain) {
        {
            let mut held = self.chains.write().unwrap_or_else(PoisonError::into_inner);
            let mut by_tenant = held.by_tenant.clone();
            by_tenant.insert(chain.tenant().clone(), chain);
            *held = Arc::new(Chains::index(by_tenant));
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// Tells whenever a policy changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The newest chain of a tenant.
    pub fn chain(&self, tenant: &TenantName) -> Option<Chain> {
        self.now().by_tenant.get(tenant).cloned()
    }

    /// The newest version of each chain that a device of `tenant` needs: the tenant's own first, then its imports'.
    pub fn newest_for(&self, tenant: &TenantName) -> Vec<(TenantName, u64)> {
        let chains = self.now();
        let Some(policies) = chains.policies(tenant) else { return Vec::new() };
        let needed = std::iter::once(policies.tenant).chain(policies.imports);
        needed.map(|chain| (chain.tenant().clone(), chain.version())).collect()
    }

    /// Every tenant that has a policy.
    pub fn tenants(&self) -> Vec<TenantName> {
        self.now().by_tenant.keys().cloned().collect()
    }

    /// The tenants that know `key`, and as whom.
    pub fn tenants_of(&self, key: &PublicKey) -> Vec<(TenantName, PersonRef)> {
        let chains = self.now();
        let Some(tenants) = chains.by_key.get(key) else { return Vec::new() };
        tenants.iter().filter_map(|tenant| Some((tenant.clone(), chains.policies(tenant)?.person(key)?))).collect()
    }

    /// Who `key` is in `tenant`.
    pub fn person(&self, tenant: &TenantName, key: &PublicKey) -> Option<PersonRef> {
        self.now().policies(tenant)?.person(key)
    }

    /// Who `key` is in `tenant`, if the tenant grants them anything at all.
    pub fn in_tenant(&self, tenant: &TenantName, key: &PublicKey, now: Timestamp) -> Option<PersonRef> {
        policy::in_tenant(&self.now().policies(tenant)?, key, now)
    }

    /// Why `key` is nobody in `tenant`, or in any tenant that knows it, although a grant there names its holder.
    pub fn why_nobody(&self, tenant: Option<&TenantName>, key: &PublicKey, now: Timestamp) -> Option<Refusal> {
        let chains = self.now();
        let mut known = chains.by_key.get(key)?.iter().filter(|known| tenant.is_none_or(|tenant| tenant == *known));
        known.find_map(|known| policy::why_nobody(&chains.policies(known)?, key, now))
    }

    /// Who `key` is in `tenant`, if they may do `action` somewhere in it.
    pub fn may(&self, tenant: &TenantName, key: &PublicKey, action: ActionKind, now: Timestamp) -> Option<PersonRef> {
        policy::may_anywhere(&self.now().policies(tenant)?, key, action, now)
    }

    /// Whether `key` has any grant on `device`.
    ///
    /// # Errors
    /// The refusal, with its rule.
    pub fn any_grant(&self, key: &PublicKey, device: &DeviceFacts, now: Timestamp) -> Result<PersonRef, Refusal> {
        let chains = self.now();
        match chains.policies(&device.address.tenant) {
            Some(policies) => policy::any_grant(&policies, key, device, now),
            None => Err(Refusal::UnknownKey),
        }
    }

    /// Runs `ask` on the policies of one tenant.
    pub fn with<T>(&self, tenant: &TenantName, ask: impl FnOnce(&Policies<'_>) -> T) -> Option<T> {
        self.now().policies(tenant).as_ref().map(ask)
    }

    fn now(&self) -> Arc<Chains> {
        Arc::clone(&self.chains.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Chains {
    fn index(by_tenant: BTreeMap<TenantName, Chain>) -> Self {
        let mut chains = Self { by_tenant, by_key: HashMap::new() };
        let mut by_key: HashMap<PublicKey, BTreeSet<TenantName>> = HashMap::new();
        for tenant in chains.by_tenant.keys() {
            let Some(policies) = chains.policies(tenant) else { continue };
            for chain in std::iter::once(policies.tenant).chain(policies.imports.iter().copied()) {
                for key in chain.policy().people.iter().flat_map(|person| &person.keys) {
                    by_key.entry(key.clone()).or_default().insert(tenant.clone());
                }
            }
        }
        chains.by_key = by_key;
        chains
    }

    fn policies(&self, tenant: &TenantName) -> Option<Policies<'_>> {
        let own = self.by_tenant.get(tenant)?;
        let imports = own.policy().imports.iter().filter_map(|(name, policy0)| self.imported(name, policy0)).collect();
        Some(Policies { tenant: own, imports })
    }

    /// An import counts only with the version 0 that the importing policy pinned.
    fn imported(&self, name: &TenantName, policy0: &belay_certs::Digest) -> Option<&Chain> {
        self.by_tenant.get(name).filter(|chain| chain.policy0() == *policy0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Keys, acme};

    #[test]
    fn a_policy_that_comes_late_never_replaces_a_newer_one() {
        let policies = Keys::new().policies(2);
        let mut chains = vec![Chain::begin(&policies[0]).unwrap()];
        for signed in &policies[1..] {
            let policy::Step::Next(next) = chains[chains.len() - 1].extend(signed).unwrap() else { panic!("the same") };
            chains.push(next);
        }
        let book = Book::new([chains[0].clone()]);
        let mut changes = book.changes();
        book.adopt(chains[2].clone());
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        book.adopt(chains[1].clone());
        assert_eq!(book.newest_for(&acme()), [(acme(), 2)]);
        assert!(!changes.has_changed().unwrap(), "nothing changed, so nobody was woken");
    }
}
