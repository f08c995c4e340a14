//! Everything this laptop believes: the pinned tenants, those they serve, and those whose people they import.
//!
//! One hash is pinned by hand; the rest is walked from verified policies. What does not chain is left out and said.

use crate::{
    chain::{self, Held},
    failure::{Failure, Outcome, refused},
    gateway::{Gateway, Route},
    home::Home,
    screen::note,
};
use belay_certs::{
    Digest, TenantName,
    policy::{Chain, Policies},
};
use std::collections::{BTreeMap, BTreeSet};

/// Verified chains by tenant.
#[derive(Debug, Default)]
pub struct Trusted {
    held: BTreeMap<TenantName, Held>,
    /// Those whose devices this person can mean: pinned or served. The others are only known for their people.
    reached: BTreeSet<TenantName>,
    /// What was refused or could not be fetched.
    problems: Vec<Problem>,
}

/// Why one tenant is left out, or left as it was.
#[derive(Debug)]
struct Problem {
    tenant: TenantName,
    sentence: String,
    /// A served or imported tenant that the gateway does not show to this person: no fault, they have no grant there.
    withheld: bool,
}

/// How one tenant came to be believed.
struct Link {
    tenant: TenantName,
    policy0: Digest,
    from: From,
}

/// Who says so.
enum From {
    /// The person, by hand.
    Pin,
    /// A provider's policy that serves it; the route to ask where its own policy is not known yet.
    Provider(Option<Route>),
    /// A tenant's policy that imports its people; the same route.
    Importer(TenantName, Option<Route>),
}

/// Finds a tenant's chain; nothing where it is neither here nor wanted.
type Find<'a> = dyn Fn(&Link) -> Outcome<Option<Held>> + 'a;

impl Trusted {
    /// What the cache holds; nothing is asked.
    ///
    /// # Errors
    /// Nothing is pinned, or a pinned tenant's cache does not verify.
    pub fn load(home: &Home) -> Outcome<Self> {
        Self::walk(home, &|link| chain::cached(home, &link.tenant, &link.policy0))
    }

    /// What the gateways have now of every tenant, falling back on the cache; problems are told on standard error.
    ///
    /// # Errors
    /// Nothing is pinned, or neither the gateway nor the cache has a pinned tenant's policy.
    pub fn refresh(home: &Home) -> Outcome<Self> {
        let trusted = Self::walk(home, &|link| fetch(home, link).map(Some))?;
        trusted.tell();
        Ok(trusted)
    }

    /// What the gateways have now of these tenants, of the pinned ones and of those they import; the others from the cache.
    ///
    /// A provider's laptop knows a thousand tenants, and most commands mean one.
    ///
    /// # Errors
    /// As [`Trusted::refresh`].
    pub fn refresh_only(home: &Home, tenants: &BTreeSet<TenantName>) -> Outcome<Self> {
        let trusted = Self::walk(home, &|link| {
            let meant = match &link.from {
                From::Pin => true,
                From::Provider(_) => tenants.contains(&link.tenant),
                From::Importer(importer, _) => tenants.contains(importer),
            };
            if meant { fetch(home, link).map(Some) } else { chain::cached(home, &link.tenant, &link.policy0) }
        })?;
        trusted.tell();
        Ok(trusted)
    }

    fn walk(home: &Home, find: &Find<'_>) -> Outcome<Self> {
        let pins = home.pins()?.pins;
        if pins.is_empty() {
            return Err(refused(
                "nothing is pinned here: run `belay trust HASH` with the hash your provider or customer gave you",
            ));
        }
        let mut trusted = Self::default();
        for (tenant, policy0) in pins {
            trusted.take(Link { tenant: tenant.clone(), policy0, from: From::Pin }, home, find);
            trusted.reached.insert(tenant.clone());
            trusted.tenant(&tenant)?;
        }
        for link in trusted.served() {
            trusted.reached.insert(link.tenant.clone());
            trusted.take(link, home, find);
        }
        for link in trusted.imported() {
            trusted.take(link, home, find);
        }
        Ok(trusted)
    }

    /// Takes one tenant in, or notes why not. Where two policies name different beginnings of one tenant, the first stays.
    fn take(&mut self, link: Link, home: &Home, find: &Find<'_>) {
        let Link { tenant, policy0, .. } = &link;
        if let Some(held) = self.held.get(tenant) {
            if held.chain.policy0() != *policy0 {
                let sentence = format!(
                    "trusted from {}, but another policy here names {policy0}; the first stays",
                    held.chain.policy0()
                );
                self.problems.push(Problem { tenant: tenant.clone(), sentence, withheld: false });
            }
            return;
        }
        match find(&link) {
            Ok(Some(held)) => {
                self.held.insert(link.tenant, held);
            }
            Ok(None) => {}
            Err(failure) => {
                let cached = chain::cached(home, tenant, policy0).ok().flatten();
                let withheld =
                    matches!((&failure, &link.from), (Failure::Gateway(_), From::Provider(_) | From::Importer(..)));
                self.problems.push(Problem {
                    tenant: tenant.clone(),
                    sentence: failure.sentence().to_owned(),
                    withheld,
                });
                if let Some(held) = cached {
                    self.held.insert(link.tenant, held);
                }
            }
        }
    }

    fn tell(&self) {
        for Problem { tenant, sentence, .. } in &self.problems {
            note(&format!("belay: {tenant}: {sentence}"));
        }
    }

    fn served(&self) -> Vec<Link> {
        let links = self.held.values().flat_map(|held| {
            let route = Route::of(held.policy()).ok();
            held.policy().serves.iter().map(move |serves| Link {
                tenant: serves.tenant.clone(),
                policy0: serves.policy0,
                from: From::Provider(route.clone()),
            })
        });
        links.collect()
    }

    fn imported(&self) -> Vec<Link> {
        let links = self.held.values().flat_map(|held| {
            let route = Route::of(held.policy()).ok();
            held.policy().imports.iter().map(move |(tenant, policy0)| Link {
                tenant: tenant.clone(),
                policy0: *policy0,
                from: From::Importer(held.chain.tenant().clone(), route.clone()),
            })
        });
        links.collect()
    }

    /// The tenants whose devices this person can mean, in order.
    pub fn reached(&self) -> impl Iterator<Item = &Held> {
        self.reached.iter().filter_map(|tenant| self.held.get(tenant))
    }

    /// Whether everything that this person can be shown is here, verified and fresh.
    pub fn is_whole(&self) -> bool {
        self.problems.iter().all(|problem| problem.withheld)
    }

    /// One tenant that is pinned or served.
    ///
    /// # Errors
    /// It is neither, or its policy is not here.
    pub fn tenant(&self, tenant: &TenantName) -> Outcome<&Held> {
        if !self.reached.contains(tenant) {
            return Err(refused(format!(
                "{tenant} is not trusted here: pin it with `belay trust HASH`, or have your provider's policy serve it"
            )));
        }
        let problem = || match self.problems.iter().find(|problem| problem.tenant == *tenant) {
            Some(problem) => refused(format!("{tenant}: {}", problem.sentence)),
            None => refused(format!(
                "the policy of {tenant} is not here yet: run `belay config`, or `belay trust HASH` with --from, --invite or --gateway"
            )),
        };
        self.held.get(tenant).ok_or_else(problem)
    }

    /// What a decision about a tenant's device is made from: its policy, and of its imports those that are held.
    ///
    /// # Errors
    /// The tenant is not trusted here.
    pub fn policies(&self, tenant: &TenantName) -> Outcome<Policies<'_>> {
        let chain = &self.tenant(tenant)?.chain;
        let imports: Vec<&Chain> = chain
            .policy()
            .imports
            .iter()
            .filter_map(|(name, policy0)| {
                self.held.get(name).map(|held| &held.chain).filter(|chain| chain.policy0() == *policy0)
            })
            .collect();
        Ok(Policies { tenant: chain, imports })
    }

    /// One gateway of each route that the trusted policies name.
    ///
    /// # Errors
    /// A policy's gateway address is not one.
    pub fn gateways<'h>(&self, home: &'h Home) -> Outcome<Vec<Gateway<'h>>> {
        let routes = self.reached().map(|held| Route::of(held.policy())).collect::<Outcome<BTreeSet<_>>>()?;
        Ok(routes.into_iter().map(|route| Gateway::new(home, route)).collect())
    }
}

fn fetch(home: &Home, link: &Link) -> Outcome<Held> {
    let cached = chain::cached(home, &link.tenant, &link.policy0)?;
    let route = match (&cached, &link.from) {
        (Some(held), _) => Route::of(held.policy())?,
        (None, From::Provider(Some(route)) | From::Importer(_, Some(route))) => route.clone(),
        (None, From::Pin | From::Provider(None) | From::Importer(_, None)) => {
            return Err(refused(
                "its policy is not here: run `belay trust HASH` with --from, --invite or --gateway again",
            ));
        }
    };
    chain::refresh(home, &Gateway::new(home, route), &link.tenant, &link.policy0)
}

#[cfg(test)]
#[path = "trusted/tests.rs"]
mod tests;
