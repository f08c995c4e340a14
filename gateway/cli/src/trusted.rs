//! Everything this laptop believes: the pinned tenants, those they serve, and those whose people they import.
//!
//! One hash is pinned by hand; the rest is walked from verified policies. What does not chain is left out and said. Whose list
//! of served tenants counts is `trusted/lists.rs`.

mod lists;

use crate::{
    chain::{self, Held},
    failure::{Failure, Outcome, refused},
    gateway::{Gateway, Route},
    home::Home,
    refresh::{Meant, Refresh},
    screen::note,
};
use belay_certs::{
    Digest, TenantName,
    policy::{Chain, Policies},
};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds of asking: a list, the tenants on it and their imports are three, and a tenant may have moved.
const ROUNDS_MAX: usize = 8;
/// Tenants named in one line.
const NAMED_MAX: usize = 20;
/// Why a tenant is left out that the gateway does not show.
const WITHHELD: &str = "the gateway shows you nothing of it: nothing there is granted to you";

/// Verified chains by tenant.
#[derive(Debug, Default)]
pub struct Trusted {
    held: BTreeMap<TenantName, Held>,
    /// Those whose devices this person can mean: pinned or served. The others are only known for their people.
    /// With where the chain of each begins: nothing else that names a beginning takes its place, here or not.
    reached: BTreeMap<TenantName, Digest>,
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
#[derive(Debug)]
pub struct Link {
    /// Its name.
    pub tenant: TenantName,
    /// Where its chain begins.
    pub policy0: Digest,
    /// The gateway of the policy that names it: where to ask while its own policy is not known.
    pub route: Option<Route>,
    from: From,
}

/// Who says so.
#[derive(Debug, PartialEq, Eq)]
enum From {
    /// The person, by hand.
    Pin,
    /// A provider's policy that serves it.
    Provider,
    /// A tenant's policy that imports its people.
    Importer(TenantName),
}

impl Link {
    /// Whether a command about these tenants needs this one fresh.
    pub fn is_meant(&self, tenants: &BTreeSet<TenantName>) -> bool {
        match &self.from {
            From::Pin => true,
            From::Provider => tenants.contains(&self.tenant),
            From::Importer(importer) => tenants.contains(importer),
        }
    }
}

/// What a look for one tenant found.
#[derive(Debug)]
pub enum Found {
    /// Its chain.
    Held(Held),
    /// Nothing is here, and nothing was asked.
    Nothing,
    /// The gateway shows this person nothing of it; what was held before.
    Withheld(Option<Held>),
    /// There is no news, and why; what was held before.
    Stale(Option<Held>, Failure),
}

impl std::convert::From<Option<Held>> for Found {
    fn from(held: Option<Held>) -> Self {
        held.map_or(Self::Nothing, Self::Held)
    }
}

/// Finds a tenant's chain.
type Find<'a> = dyn Fn(&Link) -> Outcome<Found> + 'a;

impl Trusted {
    /// What the cache holds; nothing is asked.
    ///
    /// # Errors
    /// Nothing is pinned, or a pinned tenant's cache does not verify.
    pub fn load(home: &Home) -> Outcome<Self> {
        Self::walk(home, &|link| chain::cached(home, &link.tenant, &link.policy0).map(Found::from))
    }

    /// What the gateways have now of every tenant, falling back on the cache; problems are told on standard error.
    ///
    /// # Errors
    /// Nothing is pinned, or neither the gateway nor the cache has a pinned tenant's policy.
    pub fn refresh(home: &Home) -> Outcome<Self> {
        Self::renew(home, Refresh::new(home, Meant::All))
    }

    /// What the gateways have now of these tenants, of the pinned ones and of those they import; the others from the cache.
    ///
    /// A provider's laptop knows a thousand tenants, and most commands mean one.
    ///
    /// # Errors
    /// As [`Trusted::refresh`].
    pub fn refresh_only(home: &Home, tenants: &BTreeSet<TenantName>) -> Outcome<Self> {
        Self::renew(home, Refresh::new(home, Meant::Only(tenants)))
    }

    /// Whether it is this chain that is believed of its tenant. The cache has room for one.
    fn believes(&self, held: &Held) -> bool {
        self.held.get(held.chain.tenant()).is_some_and(|mine| mine.chain.policy0() == held.chain.policy0())
    }

    /// Walks, asks what the walk met, and walks again, until nobody new is to be asked.
    fn renew(home: &Home, mut refresh: Refresh<'_>) -> Outcome<Self> {
        for _ in 0..ROUNDS_MAX {
            let trusted = Self::walk(home, &|link| refresh.find(link));
            if !refresh.ask() {
                refresh.keep(|held| trusted.as_ref().map_or(true, |trusted| trusted.believes(held)))?;
                let trusted = trusted?;
                trusted.tell();
                return Ok(trusted);
            }
        }
        Err(refused("the policies name ever more gateways: nothing of them is taken"))
    }

    fn walk(home: &Home, find: &Find<'_>) -> Outcome<Self> {
        let pins = home.pins()?;
        if pins.pins.is_empty() {
            return Err(refused(
                "nothing is pinned here: run `belay trust HASH` with the hash your provider or customer gave you",
            ));
        }
        let mut trusted = Self::default();
        for (tenant, policy0) in &pins.pins {
            trusted.reached.insert(tenant.clone(), *policy0);
            trusted.take(Link { tenant: tenant.clone(), policy0: *policy0, route: None, from: From::Pin }, find);
            trusted.tenant(tenant)?;
        }
        trusted.follow_lists(&pins, find);
        for link in trusted.imported() {
            trusted.take(link, find);
        }
        Ok(trusted)
    }

    /// Takes one tenant in, or notes why not. Where two policies name different beginnings of one tenant, the first stays.
    fn take(&mut self, link: Link, find: &Find<'_>) {
        let Link { tenant, policy0, .. } = &link;
        let held = self.held.get(tenant).map(|held| held.chain.policy0());
        if let Some(known) = self.reached.get(tenant).copied().or(held).filter(|known| known != policy0) {
            let sentence = format!("trusted from {known}, but another policy here names {policy0}; the first stays");
            self.problems.push(Problem { tenant: tenant.clone(), sentence, withheld: false });
            return;
        }
        if held.is_some() {
            return;
        }
        let held = match find(&link) {
            Ok(Found::Held(held)) => Some(held),
            Ok(Found::Nothing) => None,
            Ok(Found::Withheld(held)) => {
                let (tenant, withheld) = (tenant.clone(), link.from != From::Pin);
                self.problems.push(Problem { tenant, sentence: WITHHELD.to_owned(), withheld });
                held
            }
            Ok(Found::Stale(held, failure)) => {
                self.problem(tenant, &failure);
                held
            }
            Err(failure) => {
                self.problem(tenant, &failure);
                None
            }
        };
        if let Some(held) = held {
            self.held.insert(link.tenant, held);
        }
    }

    fn problem(&mut self, tenant: &TenantName, failure: &Failure) {
        let (tenant, sentence) = (tenant.clone(), failure.sentence().to_owned());
        self.problems.push(Problem { tenant, sentence, withheld: false });
    }

    /// Says what went wrong: one line a tenant, and one for all that the gateways do not show to this person.
    fn tell(&self) {
        let (withheld, problems): (Vec<&Problem>, Vec<&Problem>) =
            self.problems.iter().partition(|problem| problem.withheld);
        for Problem { tenant, sentence, .. } in problems {
            note(&format!("belay: {tenant}: {sentence}"));
        }
        if withheld.is_empty() {
            return;
        }
        let named: Vec<&str> = withheld.iter().take(NAMED_MAX).map(|problem| problem.tenant.as_str()).collect();
        let more = withheld.len().saturating_sub(NAMED_MAX);
        let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
        note(&format!("belay: nothing is granted to you in {}{rest}", named.join(", ")));
    }

    fn imported(&self) -> Vec<Link> {
        let links = self.held.values().flat_map(|held| {
            let route = Route::of(held.policy()).ok();
            held.policy().imports.iter().map(move |(tenant, policy0)| Link {
                tenant: tenant.clone(),
                policy0: *policy0,
                route: route.clone(),
                from: From::Importer(held.chain.tenant().clone()),
            })
        });
        links.collect()
    }

    /// The tenants whose devices this person can mean, in order.
    pub fn reached(&self) -> impl Iterator<Item = &Held> {
        self.reached.keys().filter_map(|tenant| self.held.get(tenant))
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
        let is_reached = self.reached.contains_key(tenant);
        let problem = || match self.problems.iter().find(|problem| problem.tenant == *tenant) {
            Some(problem) => refused(format!("{tenant}: {}", problem.sentence)),
            None if !is_reached => refused(format!(
                "{tenant} is not trusted here: pin it with `belay trust HASH`, or have your provider's policy serve it (and \
                 the provider pinned with --provider)"
            )),
            None => refused(format!(
                "the policy of {tenant} is not here yet: run `belay config`, or `belay trust HASH` with --from, --invite or --gateway"
            )),
        };
        self.held.get(tenant).filter(|_| is_reached).ok_or_else(problem)
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

#[cfg(test)]
#[path = "trusted/tests.rs"]
mod tests;
