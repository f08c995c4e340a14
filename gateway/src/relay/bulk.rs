//! How many datagrams are handed to the kernel at once just now.
//!
//! Many only while a session carries much to its device, a few while runs are offered, one otherwise: a batch needs a buffer as
//! large as it may become, and each connection keeps its own for ever, for nothing more than its handshake.

use crate::limits::{BULK_LASTS, BULK_PACKET_BYTES, DATAGRAMS_OF_OFFER_MAX};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The last moments at which there was much to send.
#[derive(Debug)]
pub(crate) struct Bulk {
    began: Instant,
    /// Milliseconds since `began` until which a session carries much.
    session: AtomicU64,
    /// The same for runs that are offered.
    offers: AtomicU64,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { began: Instant::now(), session: AtomicU64::new(0), offers: AtomicU64::new(0) }
    }
}

impl Bulk {
    /// So many bytes came at once for a device.
    pub(crate) fn came(&self, bytes: usize) {
        if bytes >= BULK_PACKET_BYTES {
            self.lasts(&self.session);
        }
    }

    /// Runs are offered: offers and receipts are two or three datagrams each.
    pub(crate) fn offered(&self) {
        self.lasts(&self.offers);
    }

    /// Datagrams in a batch, of the `most` that the socket takes.
    pub(crate) fn datagrams_max(&self, most: usize) -> usize {
        let now = millis(self.began.elapsed());
        if now < self.session.load(Ordering::Relaxed) {
            most
        } else if now < self.offers.load(Ordering::Relaxed) {
            DATAGRAMS_OF_OFFER_MAX.min(most)
        } else {
            1
        }
    }

    fn lasts(&self, until: &AtomicU64) {
        until.store(millis(self.began.elapsed() + BULK_LASTS), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_packets_count_and_not_for_long() {
        let mut bulk = Bulk::default();
        assert_eq!(bulk.datagrams_max(64), 1);
        bulk.came(BULK_PACKET_BYTES - 1);
        assert_eq!(bulk.datagrams_max(64), 1);
        bulk.came(BULK_PACKET_BYTES);
        assert_eq!(bulk.datagrams_max(64), 64);
        bulk.offered();
        assert_eq!(bulk.datagrams_max(64), 64, "the larger counts");
        bulk.began = bulk.began.checked_sub(BULK_LASTS).unwrap();
        assert_eq!(bulk.datagrams_max(64), 1);
    }

    #[test]
    fn what_runs_are_offered_with_goes_together_where_the_socket_can() {
        let mut bulk = Bulk::default();
        bulk.offered();
        assert_eq!(bulk.datagrams_max(64), DATAGRAMS_OF_OFFER_MAX);
        assert_eq!(bulk.datagrams_max(1), 1);
        bulk.began = bulk.began.checked_sub(BULK_LASTS).unwrap();
        assert_eq!(bulk.datagrams_max(64), 1);
    }
}
