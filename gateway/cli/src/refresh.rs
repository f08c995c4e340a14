//! One look at the gateways: what each has of the tenants that are trusted here, asked once and followed from the cache.
//!
//! A tenant that a policy names for the first time may be behind a gateway that was asked already: its answer is kept, and
//! only a gateway that was not asked yet is asked. Who is trusted is `trusted.rs`.

use crate::{
    chain::{self, Held, Taken},
    failure::{Failure, Outcome, refused},
    fetch::{self, Shown},
    gateway::{Gateway, Route, at_once},
    home::Home,
    trusted::{Found, Link},
};
use belay_certs::{Digest, TenantName};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Which tenants are looked for at the gateways.
pub enum Meant<'a> {
    /// Everything that is trusted.
    All,
    /// The pinned ones, these, and what they import; the others are as the cache has them.
    Only(&'a BTreeSet<TenantName>),
}

/// What one gateway said.
#[derive(Default)]
struct Asked {
    /// The tenants it was asked for; with [`Meant::All`] it was asked for all.
    names: BTreeSet<TenantName>,
    shown: BTreeMap<TenantName, Shown>,
    /// Why it did not answer.
    failure: Option<Failure>,
}

/// A look at the gateways under way.
pub struct Refresh<'h> {
    home: &'h Home,
    meant: Meant<'h>,
    asked: BTreeMap<Route, Asked>,
    /// Chains that were read from the cache, or followed further: nothing is verified twice.
    held: RefCell<BTreeMap<(TenantName, Digest), Option<Held>>>,
    /// What was new, for the cache.
    news: RefCell<Vec<Taken>>,
    /// What is to be asked before the next walk.
    wanted: RefCell<BTreeMap<Route, BTreeSet<TenantName>>>,
}

impl<'h> Refresh<'h> {
    /// Nothing is asked yet.
    pub fn new(home: &'h Home, meant: Meant<'h>) -> Self {
        let (held, news, wanted) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { home, meant, asked: BTreeMap::new(), held, news, wanted }
    }

    /// The newest that is known of a tenant; what must be asked for is remembered.
    pub fn find(&self, link: &Link) -> Outcome<Found> {
        let held = self.cached(link)?;
        if !self.means(link) {
            return Ok(held.into());
        }
        let Some(route) = route(link, held.as_ref())? else {
            return Err(refused(
                "its policy is not here: run `belay trust HASH` with --from, --invite or --gateway again",
            ));
        };
        let Some(asked) = self.asked.get(&route).filter(|asked| self.was_asked(asked, &link.tenant)) else {
            self.wanted.borrow_mut().entry(route).or_default().insert(link.tenant.clone());
            return Ok(held.into());
        };
        if let Some(failure) = &asked.failure {
            return Ok(Found::Stale(held, failure.clone()));
        }
        let Some(shown) = asked.shown.get(&link.tenant) else { return Ok(Found::Withheld(held)) };
        let held = match self.follow(link, held.clone(), shown) {
            Ok(followed) => followed,
            Err(failure) => return Ok(Found::Stale(held, failure)),
        };
        // A policy may say that the tenant has moved to another gateway: its news are there.
        let moved = Route::of(held.policy())?;
        if moved != route && !self.asked.contains_key(&moved) {
            self.wanted.borrow_mut().entry(moved).or_default().insert(link.tenant.clone());
        }
        Ok(Found::Held(held))
    }

    /// Asks every gateway that the last walk wanted, all at once; false when there was none.
    pub fn ask(&mut self) -> bool {
        let wanted = std::mem::take(&mut *self.wanted.borrow_mut());
        if wanted.is_empty() {
            return false;
        }
        let questions: Vec<_> =
            wanted.into_iter().map(|(route, names)| (self.versions(&route), route, names)).collect();
        let all = matches!(self.meant, Meant::All);
        let answers = at_once(&questions, |(versions, route, names)| {
            let gateway = Gateway::new(self.home, route.clone());
            fetch::news(&gateway, versions, (!all).then_some(names))
        });
        for ((_, route, names), answer) in questions.into_iter().zip(answers) {
            let asked = self.asked.entry(route).or_default();
            asked.names.extend(names);
            match answer {
                Ok(shown) => asked.shown.extend(shown),
                // It answered: there is nothing for this person.
                Err(Failure::Gateway(_)) => {}
                Err(failure) => asked.failure = Some(failure),
            }
        }
        true
    }

    /// Puts what was new into the cache, of the chains that are believed.
    ///
    /// # Errors
    /// It cannot be written. What was written is whole.
    pub fn keep(&self, is_believed: impl Fn(&Held) -> bool) -> Outcome {
        let news = std::mem::take(&mut *self.news.borrow_mut());
        let files: Vec<_> =
            news.iter().filter(|taken| is_believed(&taken.held)).flat_map(|taken| taken.files(self.home)).collect();
        chain::write_all(&files)
    }

    fn means(&self, link: &Link) -> bool {
        match self.meant {
            Meant::All => true,
            Meant::Only(tenants) => link.is_meant(tenants),
        }
    }

    fn was_asked(&self, asked: &Asked, tenant: &TenantName) -> bool {
        match self.meant {
            Meant::All => true,
            Meant::Only(_) => asked.names.contains(tenant) || asked.shown.contains_key(tenant),
        }
    }

    fn cached(&self, link: &Link) -> Outcome<Option<Held>> {
        let place = (link.tenant.clone(), link.policy0);
        if let Some(held) = self.held.borrow().get(&place) {
            return Ok(held.clone());
        }
        let held = chain::cached(self.home, &link.tenant, &link.policy0)?;
        self.held.borrow_mut().insert(place, held.clone());
        Ok(held)
    }

    fn follow(&self, link: &Link, held: Option<Held>, shown: &Shown) -> Outcome<Held> {
        let taken = chain::take(self.home, &link.tenant, &link.policy0, held, shown)?;
        let held = taken.held.clone();
        if taken.is_news() {
            self.news.borrow_mut().push(taken);
        }
        self.held.borrow_mut().insert((link.tenant.clone(), link.policy0), Some(held.clone()));
        Ok(held)
    }

    /// What is held of the tenants behind a gateway: no gateway is told of another's tenants.
    fn versions(&self, route: &Route) -> BTreeMap<TenantName, u64> {
        let held = self.held.borrow();
        let here = held.iter().filter_map(|((tenant, _), held)| {
            let held = held.as_ref().filter(|held| Route::of(held.policy()).is_ok_and(|its| its == *route))?;
            Some((tenant.clone(), held.chain.version()))
        });
        here.collect()
    }
}

/// Where to ask: the gateway of what is held, or else of the policy that names the tenant.
fn route(link: &Link, held: Option<&Held>) -> Outcome<Option<Route>> {
    match held {
        Some(held) => Route::of(held.policy()).map(Some),
        None => Ok(link.route.clone()),
    }
}
