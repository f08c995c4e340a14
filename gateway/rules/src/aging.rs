//! By which moment recordings grow old. A wall clock that jumps ahead must not end their time early.
//!
//! Not here: the clocks, and where the moment is kept.

use belay_certs::Timestamp;
use std::time::Duration;

/// How many times as fast as time passes the moment may come after the wall clock: what a gateway missed while it was switched
/// off is made up for in as long again, and a clock that is wrong for an hour ends the time of nothing more than that early.
const FASTER: u32 = 2;

/// The moment by which recordings are as old as they count: the wall clock's, but no further ahead of `before` than twice what
/// has `passed` since then. A wall clock that was set back is followed at once: nothing is deleted early.
pub fn moment(before: Timestamp, passed: Duration, wall: Timestamp) -> Timestamp {
    let most = i64::try_from(passed.saturating_mul(FASTER).as_micros()).unwrap_or(i64::MAX);
    wall.min(Timestamp::from_micros(before.micros().saturating_add(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_seconds(hours * HOUR)
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * HOUR.unsigned_abs())
    }

    #[test]
    fn a_clock_that_goes_right_is_followed_and_one_that_jumps_only_as_far_as_time_passes() {
        assert_eq!(moment(at(100), hours(1), at(101)), at(101));
        // A jump of a year: two hours in each.
        assert_eq!(moment(at(100), hours(1), at(8_860)), at(102));
        assert_eq!(moment(at(102), hours(3), at(8_863)), at(108));
        // Nothing has passed: nothing grew older.
        assert_eq!(moment(at(100), Duration::ZERO, at(8_860)), at(100));
        // Set right again.
        assert_eq!(moment(at(108), hours(1), at(105)), at(105));
    }

    #[test]
    fn a_clock_set_back_is_followed_at_once_and_what_was_missed_is_made_up_for() {
        assert_eq!(moment(at(100), hours(1), at(90)), at(90));
        // Switched off for ten hours: ten more, and it is where the clock is.
        let mut now = at(100);
        for (hour, expected) in [(111, 102), (115, 110), (119, 118), (120, 120), (121, 121)] {
            let passed = match hour {
                111 => 1,
                115 | 119 => 4,
                _ => 1,
            };
            now = moment(now, hours(passed), at(hour));
            assert_eq!(now, at(expected), "{hour}");
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        assert_eq!(moment(first, Duration::MAX, last), last);
        assert_eq!(moment(last, Duration::MAX, last), last);
    }
}
