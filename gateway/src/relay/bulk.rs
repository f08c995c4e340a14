//! Whether a session carries much to its device just now.
//!
//! Datagrams are handed to the kernel in batches only then: a batch needs a buffer ten times as large, and each connection
//! would keep its own for ever, for nothing more than its handshake.

use crate::limits::{BULK_LASTS, BULK_PACKET_BYTES};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The last moment at which a large packet went to a device.
#[derive(Debug)]
pub(crate) struct Bulk {
    began: Instant,
    /// Milliseconds since `began` until which it counts.
    until: AtomicU64,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0) }
    }
}

impl Bulk {
    /// So many bytes came at once for a device.
    pub(crate) fn came(&self, bytes: usize) {
        if bytes >= BULK_PACKET_BYTES {
            self.until.store(millis(self.began.elapsed() + BULK_LASTS), Ordering::Relaxed);
        }
    }

    /// Whether that is not over.
    pub(crate) fn is_under_way(&self) -> bool {
        millis(self.began.elapsed()) < self.until.load(Ordering::Relaxed)
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
        assert!(!bulk.is_under_way());
        bulk.came(BULK_PACKET_BYTES - 1);
        assert!(!bulk.is_under_way());
        bulk.came(BULK_PACKET_BYTES);
        assert!(bulk.is_under_way());
        bulk.began = bulk.began.checked_sub(BULK_LASTS).unwrap();
        assert!(!bulk.is_under_way());
    }
}
