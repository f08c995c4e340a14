//! The clock of retention: the wall clock, as far as time has really passed (`belay_rules::aging`).

use crate::{
    limits::AGING_BEHIND,
    store::{Broken, Store},
};
use belay_certs::Timestamp;
use belay_rules::aging;
use std::time::Duration;

/// How old recordings are.
#[derive(Debug, Default)]
pub(super) struct Aging {
    /// The moment of the last look, and how much time had passed then; none before the first.
    last: Option<(Timestamp, Duration)>,
    /// Whether it was said that the wall clock is far ahead.
    is_behind: bool,
}

impl Aging {
    /// The moment by which recordings are as old as they count, kept for the next start. `passed` only ever grows.
    ///
    /// Cut off before it is kept: the next start is as far behind as the time since the last look.
    ///
    /// # Errors
    /// What was kept cannot be read: then nobody knows, and nothing may be deleted.
    pub(super) fn look(&mut self, store: &Store, wall: Timestamp, passed: Duration) -> Result<Timestamp, Broken> {
        let (before, seen) = match self.last {
            Some(last) => last,
            None => (store.aged_until()?.unwrap_or(wall), passed),
        };
        let moment = aging::moment(before, passed.saturating_sub(seen), wall);
        self.last = Some((moment, passed));
        if let Err(error) = store.keep_aged_until(moment) {
            tracing::error!("the clock of retention is not kept, so the next start is behind: {error}");
        }
        self.say(moment, wall);
        Ok(moment)
    }

    /// One line when the wall clock is far ahead, and one when it is not any more.
    fn say(&mut self, moment: Timestamp, wall: Timestamp) {
        let behind = u128::try_from(wall.micros().saturating_sub(moment.micros())).unwrap_or_default();
        let is_behind = behind > AGING_BEHIND.as_micros();
        if is_behind && !self.is_behind {
            tracing::warn!(
                "the clock says {}, and as far as time was seen to pass it is {}: recordings grow old by that, twice as fast as \
                 time passes, until the two agree. If the clock is wrong, set it; if it is right and this may not wait, stop the \
                 gateway, remove the file `retention-clock` from its directory and start it again",
                wall.whole_second(),
                moment.whole_second()
            );
        } else if self.is_behind && !is_behind {
            tracing::info!("recordings grow old by the clock again");
        }
        self.is_behind = is_behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LogKeys;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000).plus(i64::try_from(hours).unwrap() * 3_600_000_000)
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3_600)
    }

    async fn open(directory: &tempfile::TempDir) -> Store {
        let keys = LogKeys::new(directory.path().join("keys"), "gw.example");
        Store::open(directory.path(), keys, at(0)).await.unwrap()
    }

    #[tokio::test]
    async fn a_jump_is_not_believed_over_any_number_of_starts_until_somebody_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory).await;
        let mut aging = Aging::default();
        assert_eq!(aging.look(&store, at(0), hours(5)).unwrap(), at(0), "the first one is believed");
        assert_eq!(aging.look(&store, at(1), hours(6)).unwrap(), at(1));
        assert_eq!(aging.look(&store, at(9_000), hours(7)).unwrap(), at(3));
        assert!(aging.is_behind);
        for _ in 0..3 {
            let mut aging = Aging::default();
            assert_eq!(aging.look(&store, at(9_000), hours(0)).unwrap(), at(3), "a start is no time");
        }
        // Set right, it is followed, also when it is wrong again in between.
        let mut aging = Aging::default();
        assert_eq!(aging.look(&store, at(9_000), hours(0)).unwrap(), at(3));
        assert_eq!(aging.look(&store, at(4), hours(1)).unwrap(), at(4));
        assert!(!aging.is_behind);
        assert_eq!(aging.look(&store, at(9_000), hours(1)).unwrap(), at(4));
        std::fs::remove_file(directory.path().join("retention-clock")).unwrap();
        assert_eq!(Aging::default().look(&store, at(9_000), hours(0)).unwrap(), at(9_000), "the operator said so");
        store.close().await;
    }

    #[tokio::test]
    async fn a_kept_moment_that_cannot_be_read_lets_nothing_grow_old() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory).await;
        std::fs::write(directory.path().join("retention-clock"), "soon\n").unwrap();
        assert!(Aging::default().look(&store, at(1), hours(0)).is_err());
        // One that cannot be written holds nothing up.
        std::fs::remove_file(directory.path().join("retention-clock")).unwrap();
        std::fs::create_dir(directory.path().join("retention-clock.new")).unwrap();
        assert_eq!(Aging::default().look(&store, at(1), hours(0)).unwrap(), at(1));
        store.close().await;
    }
}
