//! How long to wait before trying again: growing, with full jitter, so that 20,000 agents do not come back together.

use std::time::Duration;

/// The waits of one caller. Full jitter: each wait is anything between nothing and a bound that doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// The first bound.
    first: Duration,
    /// The last bound.
    max: Duration,
    /// Waits since the last success.
    waits: u32,
}

impl Backoff {
    /// Waits bounded by `first`, then twice that, up to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, waits: 0 }
    }

    /// The next wait; `random` is uniform over all `u64`.
    pub fn next(&mut self, random: u64) -> Duration {
        let bound = self.first.saturating_mul(1_u32.checked_shl(self.waits).unwrap_or(u32::MAX)).min(self.max);
        self.waits = self.waits.saturating_add(1).min(31);
        share(bound, random)
    }

    /// It worked: the next wait is short again.
    pub fn reset(&mut self) {
        self.waits = 0;
    }
}

/// A random part of `whole`: the same share of it as `random` is of all `u64`.
pub fn share(whole: Duration, random: u64) -> Duration {
    let nanos = whole.as_nanos().saturating_mul(u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_up_to_the_maximum_and_start_again_after_success() {
        let mut backoff = Backoff::new(FIRST, MAX);
        let waits: Vec<_> = (0..40).map(|_| backoff.next(u64::MAX)).collect();
        assert!(waits[0] <= FIRST && waits[0] > FIRST * 99 / 100);
        assert!(waits[1] > FIRST * 19 / 10 && waits[1] <= FIRST * 2);
        assert!(waits.iter().all(|wait| *wait <= MAX));
        assert!(waits[39] > MAX * 99 / 100);
        backoff.reset();
        assert!(backoff.next(u64::MAX) <= FIRST);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(Backoff::new(FIRST, MAX).next(0), Duration::ZERO);
        let half = Backoff::new(FIRST, MAX).next(u64::MAX / 2);
        assert!(half > FIRST * 49 / 100 && half < FIRST * 51 / 100);
    }
}
