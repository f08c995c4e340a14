//! The threshold of both doors: how many may stand there before they have shown who they are, how often they may come, and
//! who is not let in for a while.
//!
//! Not here: what somebody may do who is in (`act/`), and the bytes of a login (`ssh/guard`).

pub(crate) mod network;
pub(crate) mod penalties;
pub(crate) mod places;
pub(crate) mod rates;

use crate::{config::Limits, limits};
use network::Network;
use penalties::{Outcome, Penalties};
use places::{Place, Places, Room};
use rates::{Rate, Rates};
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// The thresholds of both doors.
pub(crate) struct Threshold {
    places: Arc<Places>,
    /// Machines that have not said who they are.
    machines: Arc<Places>,
    joins: Rates<Network>,
    penalties: Penalties,
    near: Rates<Network>,
    wide: Rates<Network>,
    /// Draws lots that nobody outside can foresee.
    lots: RandomState,
    knocks: AtomicU64,
}

/// Why somebody is not even heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The address owes time for what came from it before.
    Barred,
    /// Too many connections from there in too short a time.
    TooOften,
}

impl TurnedAway {
    /// What the caller's client may show.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Barred => {
                "too many connections from your address came to nothing; wait ten minutes, or ask the gateway's operator"
            }
            Self::TooOften => "too many connections from your address at once; try again in a few seconds",
        }
    }
}

impl Threshold {
    pub(crate) fn new(config: &Limits) -> Self {
        let rate = |factor: u32| Rate {
            burst: limits::SSH_CONNECTIONS_BURST * factor,
            every: limits::SSH_CONNECTION_EVERY / factor,
        };
        Self {
            places: Places::new(Room {
                all: config.places,
                near: config.places_per_address,
                wide: config.places_per_network,
            }),
            machines: Places::new(Room {
                all: limits::MACHINE_PLACES,
                near: limits::MACHINE_PLACES_PER_NETWORK,
                wide: limits::MACHINE_PLACES_PER_NETWORK,
            }),
            joins: Rates::new(
                Rate { burst: limits::JOINS_BURST, every: limits::JOIN_EVERY },
                limits::ADDRESSES_REMEMBERED_MAX,
            ),
            penalties: Penalties::new(config.penalty_exempt.clone()),
            near: Rates::new(rate(1), limits::ADDRESSES_REMEMBERED_MAX),
            wide: Rates::new(rate(limits::WIDE_FACTOR), limits::ADDRESSES_REMEMBERED_MAX),
            lots: RandomState::new(),
            knocks: AtomicU64::new(0),
        }
    }

    /// Somebody connects: a place, or why not.
    pub(crate) fn knock(&self, address: IpAddr, now: Instant) -> Result<Place, TurnedAway> {
        if self.penalties.bars(address, now) {
            return Err(TurnedAway::Barred);
        }
        if !self.near.take(&Network::near(address)) || !self.wide.take(&Network::wide(address)) {
            return Err(TurnedAway::TooOften);
        }
        Ok(self.places.take(address, self.lot()))
    }

    /// A machine begins a handshake.
    pub(crate) fn admit(&self, address: IpAddr) -> Place {
        self.machines.take(address, self.lot())
    }

    /// Returns when one more machine from there may ask to join. Cut off half-way, nothing was taken.
    pub(crate) async fn join(&self, address: IpAddr) {
        self.joins.wait(&Network::near(address)).await;
    }

    fn lot(&self) -> u64 {
        self.lots.hash_one(self.knocks.fetch_add(1, Ordering::Relaxed))
    }

    /// Somebody logged in.
    pub(crate) fn welcome(&self, address: IpAddr, now: Instant) {
        self.penalties.forgive(address, now);
    }

    /// A connection ended without a login.
    pub(crate) fn farewell(&self, address: IpAddr, outcome: Outcome, now: Instant) {
        self.penalties.add(address, outcome, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_calls_without_end_is_told_to_wait_and_its_neighbours_are_not() {
        let threshold = Threshold::new(&Limits::default());
        let now = Instant::now();
        let calls = |address: &str, count: u32| {
            let address: IpAddr = address.parse().unwrap();
            (0..count).filter(|_| threshold.knock(address, now).is_ok()).count()
        };
        let most = limits::SSH_CONNECTIONS_BURST as usize;
        let let_in = calls("192.0.2.1", limits::SSH_CONNECTIONS_BURST * 3);
        assert!((most..most + 50).contains(&let_in), "{let_in}");
        assert_eq!(calls("192.0.2.2", 50), 50);
        // A whole rented network in turn.
        let from_network: usize = (0..=255).map(|host| calls(&format!("198.51.100.{host}"), 10)).sum();
        assert!(from_network < most * limits::WIDE_FACTOR as usize + 500, "{from_network}");
    }

    #[test]
    fn fifty_technicians_behind_one_address_all_get_in_on_monday_morning() {
        let threshold = Threshold::new(&Limits::default());
        let (office, now) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let places: Vec<Place> = (0..50).map(|_| threshold.knock(office, now).unwrap()).collect();
        assert!(places.iter().all(|place| !place.displaced().is_cancelled()));
    }
}
