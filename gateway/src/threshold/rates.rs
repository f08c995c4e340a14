//! How often somebody may do something: one `governor` limit for each key, and never more keys than a maximum.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Keys that owe nothing are forgotten no more often than this, for every look walks over all of them.
const PRUNE_EVERY: Duration = Duration::from_millis(100);

/// A steady rate after a burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// How many in a row.
    pub(crate) burst: u32,
    /// After that one each time this has passed.
    pub(crate) every: Duration,
}

/// One rate for each key.
pub(crate) struct Rates<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    keys_max: usize,
    pruned: Mutex<Option<Instant>>,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    pub(crate) fn new(rate: Rate, keys_max: usize) -> Self {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let steady = Quota::with_period(rate.every).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
        let limiter = RateLimiter::keyed(steady.allow_burst(burst));
        Self { limiter, keys_max, pruned: Mutex::default() }
    }

    /// Takes one, if there is one left. While as many others as are remembered are at it, nobody new is let in.
    pub(crate) fn take(&self, key: &K) -> bool {
        self.has_room() && self.limiter.check_key(key).is_ok()
    }

    /// Takes one as soon as there is one. Whoever gives up waiting has taken none.
    pub(crate) async fn wait(&self, key: &K) {
        while !self.has_room() {
            tokio::time::sleep(PRUNE_EVERY).await;
        }
        self.limiter.until_key_ready(key).await;
    }

    /// Forgets who owes nothing when the map is full; false when all in it still do.
    fn has_room(&self) -> bool {
        if self.limiter.len() < self.keys_max {
            return true;
        }
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
            *pruned = Some(Instant::now());
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.len() < self.keys_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(burst: u32) -> Rate {
        Rate { burst, every: Duration::from_secs(3_600) }
    }

    #[test]
    fn everybody_has_a_burst_of_their_own() {
        let rates = Rates::new(slow(3), 100);
        assert_eq!((0..10).filter(|_| rates.take(&"loud")).count(), 3);
        assert_eq!((0..10).filter(|_| rates.take(&"quiet")).count(), 3);
    }

    #[test]
    fn no_more_keys_are_remembered_than_the_maximum_whatever_comes() {
        let rates = Rates::new(slow(2), 50);
        let let_in = (0..10_000).filter(|key| rates.take(key)).count();
        assert_eq!((let_in, rates.limiter.len()), (50, 50), "all of them still owe");
    }

    #[test]
    fn keys_that_owe_nothing_make_room() {
        let rates = Rates::new(Rate { burst: 2, every: Duration::from_nanos(1) }, 50);
        assert!((0..50).all(|key| rates.take(&key)));
        assert!(rates.take(&50), "the others have paid");
        assert!(rates.limiter.len() <= 50);
    }

    #[tokio::test]
    async fn whoever_waits_gets_a_turn() {
        let rates = Rates::new(Rate { burst: 1, every: Duration::from_millis(1) }, 10);
        for _ in 0..5 {
            rates.wait(&"a").await;
        }
    }
}
