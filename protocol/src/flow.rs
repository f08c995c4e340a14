//! How much a stock SSH client may send ahead on one channel: pure sums for the two SSH servers of Belay.
//!
//! An SSH server gives a client credit (RFC 4254 section 5.2). The library in use gives it when bytes *arrive*, up to a
//! target that its owner may change at that moment and for all channels at once; it never asks whether anybody took them.
//! So the target is the valve: [`WINDOW_BYTES`] while the channel's bytes are taken, [`PARKED_BYTES`] while too many
//! wait. A parked client goes on with two bytes a round trip, and each of those is the next moment to open the valve. The
//! loop that serves all channels of a connection never waits for one of them.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Credit of a channel whose bytes are taken, in bytes: OpenSSH's own.
pub const WINDOW_BYTES: u32 = 2 << 20;
/// Credit of a channel whose bytes wait, in bytes: the least for which a half is not nothing.
pub const PARKED_BYTES: u32 = 2;
/// Bytes that may wait before a channel is parked.
pub const WAITING_BYTES_HIGH: usize = 1 << 20;
/// Bytes that can ever wait on one channel: what was given before it was parked, and room for the drip. A client that
/// sends more broke its credit.
pub const WAITING_BYTES_MAX: usize = 32 << 20;

/// Bytes that may wait on all channels of a pool before each of them is parked.
pub const POOL_BYTES_HIGH: usize = 64 << 20;
/// Bytes that can ever wait in a pool; the channel that brings more is ended. Two hundred channels that had their credit and
/// use it all at once stay under it.
pub const POOL_BYTES_MAX: usize = 512 << 20;

const _: () = assert!(POOL_BYTES_MAX > POOL_BYTES_HIGH + 200 * WINDOW_BYTES as usize, "no fair client is ended");
const _: () = assert!(WAITING_BYTES_MAX > WAITING_BYTES_HIGH + 2 * WINDOW_BYTES as usize, "no fair client is ended");

/// Bytes of one channel that arrived and were not taken; shared by the connection and whoever takes them.
///
/// A taker may be faster than the count of what it takes: for a moment the sum is below nothing.
#[derive(Debug, Default)]
pub struct Waiting {
    count: Count,
    /// What it shares with other channels.
    pool: Option<Arc<Pool>>,
}

/// Bytes that wait on all channels of one person.
#[derive(Debug, Default)]
pub struct Pool(Count);

#[derive(Debug, Default)]
struct Count(AtomicI64);

impl Count {
    fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

impl Waiting {
    /// A channel whose bytes count in `pool` too.
    pub fn within(pool: Arc<Pool>) -> Self {
        Self { count: Count::default(), pool: Some(pool) }
    }

    /// `count` bytes came.
    pub fn arrived(&self, count: usize) {
        self.add(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `count` bytes were taken.
    pub fn taken(&self, count: usize) {
        self.add(i64::try_from(count).map_or(i64::MIN, i64::wrapping_neg));
    }

    fn add(&self, count: i64) {
        self.count.add(count);
        self.pool.iter().for_each(|pool| pool.0.add(count));
    }

    /// How many wait.
    pub fn bytes(&self) -> usize {
        self.count.bytes()
    }

    /// What the channel may have next, in bytes.
    pub fn credit(&self) -> u32 {
        let pooled = self.pool.as_ref().map_or(0, |pool| pool.0.bytes());
        if self.bytes() >= WAITING_BYTES_HIGH || pooled >= POOL_BYTES_HIGH { PARKED_BYTES } else { WINDOW_BYTES }
    }

    /// Whether more wait than any client with its credit can have sent.
    pub fn is_overrun(&self) -> bool {
        self.bytes() > WAITING_BYTES_MAX || self.pool.as_ref().is_some_and(|pool| pool.0.bytes() > POOL_BYTES_MAX)
    }
}

impl Drop for Waiting {
    /// What was never taken went with the channel.
    fn drop(&mut self) {
        let left = self.count.0.load(Ordering::Relaxed);
        self.pool.iter().for_each(|pool| pool.0.add(left.wrapping_neg()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that always has more to send, and the library's rule: give up to the target when less than half is left.
    struct Client {
        credit: u32,
        target: u32,
    }

    impl Client {
        /// Sends one packet and gets what the library gives for it.
        fn send(&mut self, waiting: &Waiting) {
            let packet = self.credit.min(32 << 10);
            self.credit -= packet;
            if self.credit < self.target / 2 {
                self.credit = self.target;
                self.target = waiting.credit();
            }
            waiting.arrived(packet as usize);
        }
    }

    #[test]
    fn a_client_whose_bytes_nobody_takes_is_slowed_to_a_drip_and_not_stopped() {
        let (waiting, mut client) = (Waiting::default(), Client { credit: WINDOW_BYTES, target: WINDOW_BYTES });
        for _ in 0..100_000 {
            client.send(&waiting);
            assert!(client.credit > 0, "a client without credit could never be woken");
        }
        assert!(waiting.bytes() < WAITING_BYTES_HIGH + 2 * WINDOW_BYTES as usize + 200_000, "{}", waiting.bytes());
        assert!(!waiting.is_overrun());
    }

    #[test]
    fn a_parked_client_runs_again_as_soon_as_its_bytes_were_taken() {
        let (waiting, mut client) = (Waiting::default(), Client { credit: WINDOW_BYTES, target: WINDOW_BYTES });
        for _ in 0..1_000 {
            client.send(&waiting);
        }
        waiting.taken(waiting.bytes());
        let before = waiting.bytes();
        for _ in 0..2 {
            client.send(&waiting);
        }
        assert!(client.credit > 1 << 20, "the second drip at the latest opens the valve: {}", client.credit);
        assert_eq!(waiting.bytes() - before, 4, "the drips themselves");
    }

    #[test]
    fn bytes_that_are_taken_before_they_are_counted_leave_no_trace() {
        let waiting = Waiting::default();
        waiting.taken(5);
        assert_eq!(waiting.bytes(), 0);
        waiting.arrived(5);
        assert_eq!(waiting.bytes(), 0);
    }

    #[test]
    fn channels_of_one_pool_are_parked_together_and_freed_when_one_of_them_goes() {
        let pool = Arc::new(Pool::default());
        let channels: Vec<Waiting> = (0..100).map(|_| Waiting::within(Arc::clone(&pool))).collect();
        channels.iter().for_each(|channel| channel.arrived(WAITING_BYTES_HIGH - 1));
        let fresh = Waiting::within(Arc::clone(&pool));
        assert_eq!(fresh.credit(), PARKED_BYTES, "the others hold all that one person may");
        assert!(!fresh.is_overrun());
        assert_eq!(Waiting::default().credit(), WINDOW_BYTES, "somebody else is not parked");
        channels.iter().for_each(|channel| channel.arrived(5 << 20));
        assert!(fresh.is_overrun() && !channels.is_empty());
        drop(channels);
        assert_eq!((pool.0.bytes(), fresh.credit()), (0, WINDOW_BYTES));
        assert!(!fresh.is_overrun());
    }

    #[test]
    fn a_client_that_is_served_never_waits() {
        let (waiting, mut client) = (Waiting::default(), Client { credit: WINDOW_BYTES, target: WINDOW_BYTES });
        for _ in 0..10_000 {
            client.send(&waiting);
            waiting.taken(32 << 10);
            assert!(client.credit >= WINDOW_BYTES / 2);
        }
    }
}
