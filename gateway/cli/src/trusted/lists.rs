//! Whose list of served tenants counts: a provider's that this person pinned as one, and the lists in the same hands.
//!
//! A list can claim any name that no pin has. So a pinned customer's does not count, and where two lists that count disagree
//! about a tenant, neither is believed: a choice between them would be the attacker's.

use super::{Find, From, Link, Problem, Trusted};
use crate::{gateway::Route, home::Pins};
use belay_certs::TenantName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the lists say that cannot hold, with the sentence for it.
#[derive(Debug, Default)]
struct Disputes {
    /// Pinned providers that another's list serves: they are its customers, and their lists do not count.
    customers: BTreeMap<TenantName, String>,
    /// Tenants for which two lists name different beginnings.
    contested: BTreeMap<TenantName, String>,
}

impl Trusted {
    /// Takes in what the providers serve. Read again without what cannot hold: a customer's list contests nothing, and what
    /// a contested list serves is not believed. Less is read each time, so that the third reading is the last.
    pub(super) fn follow_lists(&mut self, pins: &Pins, find: &Find<'_>) {
        let (mut out, told) = (Disputes::default(), self.problems.len());
        loop {
            let found = self.read_lists(pins, &out, find);
            if !found.customers.is_empty() {
                out.customers.extend(found.customers);
            } else if !found.contested.is_empty() {
                out.contested.extend(found.contested);
            } else {
                break;
            }
            self.held.retain(|tenant, _| pins.pins.contains_key(tenant));
            self.reached.retain(|tenant, _| pins.pins.contains_key(tenant));
            self.problems.truncate(told);
        }
        let left_out = out.customers.into_iter().chain(out.contested);
        self.problems.extend(left_out.map(|(tenant, sentence)| Problem { tenant, sentence, withheld: false }));
    }

    /// Takes in what the lists serve, and goes on with the lists of those that are in the same hands. Each list is read once,
    /// so that a circle ends. What is disputed anew.
    fn read_lists(&mut self, pins: &Pins, out: &Disputes, find: &Find<'_>) -> Disputes {
        let mut found = Disputes::default();
        // A list, and the pinned provider in whose hands it is.
        let mut lists: VecDeque<(TenantName, TenantName)> = pins
            .pins
            .keys()
            .filter(|tenant| pins.is_provider(tenant) && !out.customers.contains_key(*tenant))
            .map(|tenant| (tenant.clone(), tenant.clone()))
            .collect();
        let (mut read, mut named_by) = (BTreeSet::new(), BTreeMap::new());
        while let Some((list, provider)) = lists.pop_front() {
            if !read.insert(list.clone()) {
                continue;
            }
            for link in self.served(&list) {
                let (tenant, policy0) = (link.tenant.clone(), link.policy0);
                if out.contested.contains_key(&tenant) {
                    continue;
                }
                let known = *self.reached.entry(tenant.clone()).or_insert(policy0);
                let first = named_by.entry(tenant.clone()).or_insert_with(|| list.clone());
                if known != policy0 && !pins.pins.contains_key(&tenant) {
                    let sentence = format!(
                        "the list of {first} says that it begins with {known}, and that of {list} with {policy0}: neither is \
                         believed; ask which is right, and pin that one with `belay trust`"
                    );
                    found.contested.insert(tenant, sentence);
                    continue;
                }
                // The pin stays, and what is said against it is told.
                self.take(link, find);
                if known != policy0 {
                    continue;
                }
                if self.are_in_the_same_hands(&list, &tenant) {
                    lists.push_back((tenant, provider.clone()));
                } else if pins.is_provider(&tenant) && tenant != provider && !out.customers.contains_key(&tenant) {
                    let sentence = format!(
                        "it is pinned as a provider, but {list} serves it under other root keys: it is a customer, and its list \
                         is not read"
                    );
                    found.customers.insert(tenant, sentence);
                }
            }
        }
        found
    }

    /// Whether whoever can sign for `tenant` can sign for `provider` too: then its list is as good as the provider's own. A
    /// customer's list never counts: it could claim the name of another customer's devices.
    pub fn are_in_the_same_hands(&self, provider: &TenantName, tenant: &TenantName) -> bool {
        let (Some(provider), Some(tenant)) = (self.held.get(provider), self.held.get(tenant)) else { return false };
        let (root, its) = (&provider.policy().root, &tenant.policy().root);
        its.threshold >= root.threshold && its.keys.iter().all(|key| root.keys.contains(key))
    }

    fn served(&self, provider: &TenantName) -> Vec<Link> {
        let Some(held) = self.held.get(provider) else { return Vec::new() };
        let route = Route::of(held.policy()).ok();
        let serves = held.policy().serves.iter().map(|serves| Link {
            tenant: serves.tenant.clone(),
            policy0: serves.policy0,
            route: route.clone(),
            from: From::Provider,
        });
        serves.collect()
    }
}
