//! How many offers of one job wait for answers at once: as many as the gateway keeps up with beside everything else it does.
//!
//! What tells is how late the gateway's own timers are: so late it also looks what somebody has typed. Early, many devices are
//! asked, also far away ones; late, fewer, so that another tenant's shell stays quick. Devices that never answer hold no job up:
//! while the gateway has time, more are asked.

use crate::limits::{OFFERS_UNANSWERED_FIRST, OFFERS_UNANSWERED_LEAST, OFFERS_UNANSWERED_MAX};
use std::time::Duration;

/// A timer that is later than this says that the gateway is busy: up to two milliseconds are rounding, and a person does not feel
/// three.
pub const LATE: Duration = Duration::from_millis(3);
/// How many more are asked after a look that was in time.
const STEP: usize = 2;
/// Looks after one that was late of which nothing is concluded: what is under way has to be answered first.
const LOOKS_PASSED: u8 = 5;

/// What the jobs of a gateway go by: one pace for all, for they share its time; each may have so many offers unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    at_once: usize,
    /// Whether no look was late yet: until then the number grows by an eighth, then by [`STEP`].
    begins: bool,
    /// Looks of which nothing is concluded.
    passing: u8,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: OFFERS_UNANSWERED_FIRST, begins: true, passing: 0 }
    }
}

impl Pace {
    /// How many offers of one job may be unanswered.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// How many a job lets come free before it offers again: they share a record.
    pub fn together(&self) -> usize {
        self.at_once / 4
    }

    /// A timer was so `late`, while offers were under way, or the store was pressed.
    pub fn looked(&mut self, late: Duration, is_pressed: bool) {
        if self.passing > 0 {
            self.passing -= 1;
            return;
        }
        self.at_once = if late > LATE || is_pressed {
            (self.begins, self.passing) = (false, LOOKS_PASSED);
            self.at_once / 2
        } else if self.begins {
            self.at_once + self.at_once / 8
        } else {
            self.at_once + STEP
        };
        self.at_once = self.at_once.clamp(OFFERS_UNANSWERED_LEAST, OFFERS_UNANSWERED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Duration = Duration::from_millis(4);

    fn looks(pace: &mut Pace, count: usize, late: Duration) -> usize {
        (0..count).for_each(|_| pace.looked(late, false));
        pace.at_once()
    }

    #[test]
    fn a_gateway_that_has_time_asks_many_soon_and_never_more_than_the_most() {
        let mut pace = Pace::default();
        assert_eq!(pace.at_once(), OFFERS_UNANSWERED_FIRST);
        assert!(looks(&mut pace, 8, LATE) >= OFFERS_UNANSWERED_FIRST * 2, "{pace:?}");
        assert_eq!(looks(&mut pace, 100, Duration::ZERO), OFFERS_UNANSWERED_MAX);
        assert_eq!(pace.together(), OFFERS_UNANSWERED_MAX / 4);
    }

    #[test]
    fn a_busy_one_asks_half_as_many_each_time_and_some_are_always_asked() {
        let mut pace = Pace::default();
        looks(&mut pace, 100, Duration::ZERO);
        assert_eq!(looks(&mut pace, 1, BUSY), OFFERS_UNANSWERED_MAX / 2);
        assert_eq!(looks(&mut pace, LOOKS_PASSED.into(), BUSY), OFFERS_UNANSWERED_MAX / 2, "one burst is one");
        pace.looked(Duration::ZERO, true);
        assert_eq!(pace.at_once(), OFFERS_UNANSWERED_MAX / 4, "a store that is pressed is busy too");
        assert_eq!(looks(&mut pace, 100, BUSY), OFFERS_UNANSWERED_LEAST);
        assert!(pace.together() > 0);
    }

    #[test]
    fn after_that_it_grows_slowly_again() {
        let mut pace = Pace::default();
        looks(&mut pace, 100, BUSY);
        let passed = usize::from(pace.passing);
        assert_eq!(looks(&mut pace, passed + 10, Duration::ZERO), OFFERS_UNANSWERED_LEAST + 10 * STEP);
    }
}
