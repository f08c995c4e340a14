//! Places for those who have not shown yet who they are: a maximum for one address, for its neighbourhood and in all.
//!
//! When there is none left the newcomer gets one all the same, and somebody who waits loses theirs: drawn by lot among
//! those of the fullest network. OpenSSH's `MaxStartups` drops newcomers by lot instead, and whoever sits on every place
//! without a word keeps everybody out. Here sitting is what loses: a good login needs its place for a blink, and among those
//! who come from networks of their own it loses it only when somebody holds as many networks as there are places.

use super::network::Network;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// In all.
    pub(crate) all: usize,
    /// For one IPv4 address or IPv6 /64.
    pub(crate) near: usize,
    /// For one IPv4 /24 or IPv6 /48.
    pub(crate) wide: usize,
}

/// Who waits where.
pub(crate) struct Places {
    room: Room,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// The next place's number.
    next: u64,
    waiting: HashMap<u64, Waiting>,
    /// Everybody again, by address; never an empty one.
    by_near: HashMap<Network, Vec<u64>>,
    /// And by neighbourhood.
    by_wide: HashMap<Network, Vec<u64>>,
}

struct Waiting {
    near: Network,
    wide: Network,
    displaced: CancellationToken,
}

/// One place; dropped when it is not needed any more.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    displaced: CancellationToken,
}

impl Places {
    pub(crate) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, held: Mutex::default() })
    }

    /// A place for a caller from `address`. `lot` is random.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, lot: u64) -> Place {
        let (near, wide) = (Network::near(address), Network::wide(address));
        let displaced = CancellationToken::new();
        let mut held = self.lock();
        let loser = held.loser(self.room, (near, wide), lot).and_then(|number| held.remove(number));
        let number = held.next;
        held.next += 1;
        held.waiting.insert(number, Waiting { near, wide, displaced: displaced.clone() });
        held.by_near.entry(near).or_default().push(number);
        held.by_wide.entry(wide).or_default().push(number);
        drop(held);
        if let Some(loser) = loser {
            loser.displaced.cancel();
        }
        Place { places: Arc::clone(self), number, displaced }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().waiting.len()
    }
}

impl Held {
    /// Who loses their place so that one more from these networks fits; none when there is room.
    fn loser(&self, room: Room, (near, wide): (Network, Network), lot: u64) -> Option<u64> {
        let same = self.by_near.get(&near).map(Vec::as_slice).unwrap_or_default();
        let neighbours = self.by_wide.get(&wide).map(Vec::as_slice).unwrap_or_default();
        if same.len() >= room.near {
            draw(same, lot)
        } else if neighbours.len() >= room.wide {
            draw(neighbours, lot)
        } else if self.waiting.len() >= room.all {
            // Which of several networks that are equally full is as random as the map's order.
            self.by_wide.values().max_by_key(|numbers| numbers.len()).and_then(|numbers| draw(numbers, lot))
        } else {
            None
        }
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        for (numbers, network) in [(&mut self.by_near, waiting.near), (&mut self.by_wide, waiting.wide)] {
            if let Some(of) = numbers.get_mut(&network) {
                of.retain(|other| *other != number);
                if of.is_empty() {
                    numbers.remove(&network);
                }
            }
        }
        Some(waiting)
    }
}

fn draw(numbers: &[u64], lot: u64) -> Option<u64> {
    let count = u64::try_from(numbers.len()).ok().filter(|count| *count > 0)?;
    numbers.get(usize::try_from(lot % count).ok()?).copied()
}

impl Place {
    /// Cancelled when the place went to somebody else.
    pub(crate) fn displaced(&self) -> CancellationToken {
        self.displaced.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ROOM: Room = Room { all: 40, near: 4, wide: 8 };

    fn at(network: u8, host: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, network, host).into()
    }

    fn gone(places: &[Place]) -> usize {
        places.iter().filter(|place| place.displaced.is_cancelled()).count()
    }

    #[test]
    fn who_waits_at_a_full_address_loses_the_place_to_the_next_from_there() {
        let places = Places::new(ROOM);
        let other = places.take(at(1, 2), 0);
        let taken: Vec<Place> = (0..9).map(|lot| places.take(at(1, 1), lot)).collect();
        assert_eq!((gone(&taken), places.count()), (5, 5));
        assert!(!other.displaced.is_cancelled(), "another address does not pay");
    }

    #[test]
    fn a_neighbourhood_has_a_maximum_of_its_own() {
        let places = Places::new(ROOM);
        let far = places.take(at(2, 1), 0);
        let taken: Vec<Place> = (0..100).map(|host| places.take(at(1, host), u64::from(host) * 7)).collect();
        assert_eq!((gone(&taken), places.count()), (92, 9));
        assert!(!far.displaced.is_cancelled());
    }

    #[test]
    fn a_flood_from_a_few_networks_never_costs_a_caller_from_elsewhere_the_place() {
        let places = Places::new(ROOM);
        let flood: Vec<Place> = (0..40u8).map(|at_| places.take(at(at_ % 8, at_), u64::from(at_))).collect();
        let good = places.take(at(200, 1), 3);
        let more: Vec<Place> = (0..2_000u64).map(|lot| places.take(at((lot % 8) as u8, lot as u8), lot)).collect();
        assert!(!good.displaced.is_cancelled());
        assert_eq!(places.count(), 40);
        assert_eq!(gone(&flood) + gone(&more), 40 + 2_000 - 39);
    }

    #[test]
    fn a_place_that_is_given_back_or_lost_is_counted_once() {
        let places = Places::new(ROOM);
        for round in 0..100 {
            let taken: Vec<Place> = (0..50u8).map(|host| places.take(at(host, host), round)).collect();
            assert_eq!(places.count(), 40);
            drop(taken);
            assert_eq!(places.count(), 0);
        }
        assert!(places.lock().by_wide.is_empty() && places.lock().by_near.is_empty());
    }
}
