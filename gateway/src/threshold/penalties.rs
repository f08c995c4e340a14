//! What an address gets for connections that came to nothing, in the manner of OpenSSH's `PerSourcePenalties`.
//!
//! Seconds add up. Above a minimum the address is not let in until they are over; a maximum bounds them. There are no
//! passwords to guess here, so a penalty saves work and log lines and guards nothing: it must never keep an office out.
//! Whoever logs in makes their address a known one for a working day: what is owed there is forgotten and nothing more is
//! counted, for one visitor in the office's network would otherwise lock fifty technicians out.

use super::network::Network;
use crate::limits;
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How a connection ended for which nobody logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It proved or offered nothing: a port scan, a health check, a person who thought better of it.
    NothingTried,
    /// Every key it offered, or a password, was refused.
    Refused,
    /// The login's deadline passed.
    TooSlow,
    /// It broke the protocol.
    Misbehaved,
    /// Our own code failed on it.
    Crashed,
    /// Somebody else got its place: no fault of its own that we know.
    Displaced,
}

impl Outcome {
    /// OpenSSH's own figures. Refused keys are usually a person at the wrong gateway; crashes are an attack in the making.
    fn penalty(self) -> Duration {
        Duration::from_secs(match self {
            Self::Displaced => 0,
            Self::NothingTried => 1,
            Self::Refused => 5,
            Self::TooSlow | Self::Misbehaved => 10,
            Self::Crashed => 90,
        })
    }
}

/// What every address owes, and who is known.
pub(crate) struct Penalties {
    exempt: Vec<Network>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    owed: Ledger,
    known: Ledger,
}

/// When it is over for each network; the one that is over first makes room.
#[derive(Default)]
struct Ledger {
    until: HashMap<Network, Owed>,
    by_end: BTreeSet<(Instant, Network)>,
}

#[derive(Clone, Copy)]
struct Owed {
    until: Instant,
    /// Whether the minimum was passed: then it holds to its end.
    active: bool,
}

impl Penalties {
    /// Nobody owes anything; whoever is in `exempt` never will.
    pub(crate) fn new(exempt: Vec<Network>) -> Self {
        Self { exempt, held: Mutex::default() }
    }

    /// Whether an address is not let in just now.
    pub(crate) fn bars(&self, address: IpAddr, now: Instant) -> bool {
        self.lock().owed.get(&Network::near(address), now).is_some_and(|owed| owed.active)
    }

    /// A connection came to nothing.
    pub(crate) fn add(&self, address: IpAddr, outcome: Outcome, now: Instant) {
        let (near, more) = (Network::near(address), outcome.penalty());
        let mut held = self.lock();
        let known = held.known.get(&near, now).is_some();
        if more.is_zero() || known || self.exempt.iter().any(|network| network.contains(address)) {
            return;
        }
        let before = held.owed.get(&near, now);
        let until = before.map_or(now, |owed| owed.until) + more;
        let until = until.min(now + limits::PENALTY_MAX);
        let active = before.is_some_and(|owed| owed.active) || until > now + limits::PENALTY_MIN;
        held.owed.set(near, Owed { until, active }, now);
    }

    /// Somebody logged in from there.
    pub(crate) fn forgive(&self, address: IpAddr, now: Instant) {
        let near = Network::near(address);
        let mut held = self.lock();
        held.owed.remove(&near);
        held.known.set(near, Owed { until: now + limits::KNOWN_FOR, active: true }, now);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn get(&self, network: &Network, now: Instant) -> Option<Owed> {
        self.until.get(network).copied().filter(|owed| owed.until > now)
    }

    fn set(&mut self, network: Network, owed: Owed, now: Instant) {
        self.remove(&network);
        while let Some((end, first)) = self.by_end.first().copied()
            && (end <= now || self.until.len() >= limits::ADDRESSES_REMEMBERED_MAX)
        {
            self.remove(&first);
        }
        self.until.insert(network, owed);
        self.by_end.insert((owed.until, network));
    }

    fn remove(&mut self, network: &Network) {
        if let Some(owed) = self.until.remove(network) {
            self.by_end.remove(&(owed.until, *network));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const STRANGER: &str = "203.0.113.9";

    #[test]
    fn a_few_mistakes_cost_nothing_and_going_on_does() {
        let (penalties, now) = (Penalties::new(Vec::new()), Instant::now());
        for _ in 0..3 {
            penalties.add(ip(STRANGER), Outcome::Refused, now);
            assert!(!penalties.bars(ip(STRANGER), now));
        }
        penalties.add(ip(STRANGER), Outcome::Refused, now);
        assert!(penalties.bars(ip(STRANGER), now));
        assert!(!penalties.bars(ip("203.0.113.10"), now), "the neighbour pays nothing");
        let nearly_over = now + Duration::from_secs(19);
        assert!(penalties.bars(ip(STRANGER), nearly_over), "an active penalty holds to its end");
        assert!(!penalties.bars(ip(STRANGER), now + Duration::from_secs(21)));
    }

    #[test]
    fn a_penalty_has_a_maximum() {
        let (penalties, now) = (Penalties::new(Vec::new()), Instant::now());
        for _ in 0..10_000 {
            penalties.add(ip(STRANGER), Outcome::Misbehaved, now);
        }
        assert!(penalties.bars(ip(STRANGER), now + limits::PENALTY_MAX - Duration::from_secs(1)));
        assert!(!penalties.bars(ip(STRANGER), now + limits::PENALTY_MAX));
    }

    #[test]
    fn a_health_check_every_ten_seconds_is_never_barred() {
        let (penalties, start) = (Penalties::new(Vec::new()), Instant::now());
        for round in 0..10_000 {
            let now = start + Duration::from_secs(10 * round);
            assert!(!penalties.bars(ip(STRANGER), now));
            penalties.add(ip(STRANGER), Outcome::NothingTried, now);
        }
    }

    #[test]
    fn a_login_frees_the_office_and_a_visitor_there_cannot_lock_it_again() {
        let (penalties, now) = (Penalties::new(Vec::new()), Instant::now());
        (0..100).for_each(|_| penalties.add(ip(STRANGER), Outcome::Refused, now));
        assert!(penalties.bars(ip(STRANGER), now));
        penalties.forgive(ip(STRANGER), now);
        (0..100).for_each(|_| penalties.add(ip(STRANGER), Outcome::Misbehaved, now));
        assert!(!penalties.bars(ip(STRANGER), now));
        let tomorrow = now + limits::KNOWN_FOR;
        (0..100).for_each(|_| penalties.add(ip(STRANGER), Outcome::Misbehaved, tomorrow));
        assert!(penalties.bars(ip(STRANGER), tomorrow), "known for a day, not for ever");
    }

    #[test]
    fn an_exempt_network_owes_nothing_and_who_was_displaced_neither() {
        let (penalties, now) = (Penalties::new(vec!["203.0.113.0/24".parse().unwrap()]), Instant::now());
        (0..100).for_each(|_| penalties.add(ip(STRANGER), Outcome::Crashed, now));
        (0..100).for_each(|_| penalties.add(ip("192.0.2.1"), Outcome::Displaced, now));
        assert!(!penalties.bars(ip(STRANGER), now) && !penalties.bars(ip("192.0.2.1"), now));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_over_first() {
        let (penalties, now) = (Penalties::new(Vec::new()), Instant::now());
        let network = |number: usize| IpAddr::from(Ipv6Addr::from_bits((number as u128) << 64));
        (0..10).for_each(|_| penalties.add(network(0), Outcome::Crashed, now));
        for number in 1..limits::ADDRESSES_REMEMBERED_MAX + 500 {
            penalties.add(network(number), Outcome::Misbehaved, now);
            penalties.forgive(IpAddr::from(Ipv6Addr::from_bits((number as u128) << 64 | 1 << 120)), now);
        }
        let held = penalties.lock();
        for ledger in [&held.owed, &held.known] {
            assert_eq!(ledger.until.len(), limits::ADDRESSES_REMEMBERED_MAX);
            assert_eq!(ledger.by_end.len(), ledger.until.len());
        }
        drop(held);
        assert!(penalties.bars(network(0), now), "the longest penalty was not pushed out by short ones");
    }
}
