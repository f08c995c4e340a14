//! How much one device may make the gateway write about what went wrong: after a few, one in a while, and never a full disk.
//!
//! Not here: strangers, who are counted together (`act/strangers`).

use crate::limits;
use belay_certs::Id;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the devices may still do.
pub(crate) struct Noise {
    /// Events about what a device did wrong, or turned down.
    pub(crate) complaints: Quota,
    /// Events about a device that was turned away.
    pub(crate) turned_away: Quota,
    /// Lines in the log file that a device can cause at will.
    pub(crate) lines: Quota,
    /// Connections, each with two events.
    pub(crate) visits: Quota,
    /// Transport certificates.
    pub(crate) certificates: Quota,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            complaints: Quota::new(limits::COMPLAINTS_BURST, limits::COMPLAINTS_EVERY),
            turned_away: Quota::new(1, limits::TURNED_AWAY_EVERY),
            lines: Quota::new(limits::LINES_BURST, limits::LINES_EVERY),
            visits: Quota::new(limits::VISITS_BURST, limits::VISITS_EVERY),
            certificates: Quota::new(limits::CERTIFICATES_BURST, limits::CERTIFICATES_EVERY),
        }
    }
}

/// `burst` in a row and then one `every` so often, for each device.
pub(crate) struct Quota {
    burst: u32,
    every: Duration,
    /// When all that a device took will be paid back; whoever is not here owes nothing.
    paid: Mutex<HashMap<Id, Instant>>,
}

impl Quota {
    fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, paid: Mutex::default() }
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&self, join: Id, now: Instant) -> bool {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if paid.len() >= limits::DEVICES_MAX {
            paid.retain(|_, at| *at > now);
        }
        let at = paid.get(&join).copied().unwrap_or(now).max(now);
        if self.is_too_late(at, now) {
            return false;
        }
        paid.insert(join, at + self.every);
        true
    }

    /// Whether none is left.
    pub(crate) fn is_spent(&self, join: Id, now: Instant) -> bool {
        let paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.get(&join).is_some_and(|at| self.is_too_late(*at, now))
    }

    fn is_too_late(&self, paid: Instant, now: Instant) -> bool {
        paid.saturating_duration_since(now) > self.every * (self.burst - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_a_few_in_a_row_and_then_one_in_a_while_and_no_other_pays_for_it() {
        let (quota, every) = (Quota::new(3, Duration::from_secs(60)), Duration::from_secs(60));
        let (loud, other, now) = (Id([1; 16]), Id([2; 16]), Instant::now());
        let taken = |join, now| (0..9).filter(|_| quota.take(join, now)).count();
        assert_eq!(taken(loud, now), 3);
        assert!(quota.is_spent(loud, now) && !quota.is_spent(other, now));
        assert_eq!(taken(other, now), 3);
        assert!(!quota.is_spent(loud, now + every));
        assert_eq!(taken(loud, now + every), 1);
        assert_eq!(taken(loud, now + every * 60), 3, "rest is not saved up beyond the burst");
    }
}
