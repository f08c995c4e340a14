//! Whether the gateway keeps up with the offers that are under way: how late its timers are and how much waits for its store, looked
//! at only meanwhile.

use crate::{Gateway, limits};
use belay_rules::job::Pace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{sync::watch, time::Instant};

/// The pace of all jobs.
pub(super) struct Paced {
    pace: Mutex<Pace>,
    /// Whether an offer is unanswered.
    under_way: watch::Sender<bool>,
}

impl Default for Paced {
    fn default() -> Self {
        Self { pace: Mutex::default(), under_way: watch::Sender::new(false) }
    }
}

impl Paced {
    pub(super) fn now(&self) -> Pace {
        *self.lock()
    }

    /// Offers are under way, or no more: then the next ones begin with a pace of their own.
    pub(super) fn under_way(&self, is_one: bool) {
        let changes = |was: &mut bool| std::mem::replace(was, is_one) != is_one;
        if self.under_way.send_if_modified(changes) && !is_one {
            *self.lock() = Pace::default();
        }
    }

    /// Looks as long as an offer is under way, for ever. `is_pressed` says whether the store has more to do than it keeps up with.
    async fn keep(&self, is_pressed: impl Fn() -> bool) {
        let mut under_way = self.under_way.subscribe();
        while under_way.wait_for(|is_one| *is_one).await.is_ok() {
            let due = Instant::now() + limits::PACE_LOOK_EVERY;
            tokio::time::sleep_until(due).await;
            let mut pace = self.lock();
            if *under_way.borrow() {
                pace.looked(due.elapsed(), is_pressed());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the pace until the gateway stops. A task of its own: the one that owns the jobs waits for the disk.
pub(crate) async fn keep_pace(gateway: Arc<Gateway>) {
    let keeping = gateway.jobs.pace.keep(|| gateway.store.is_pressed());
    let _: Option<()> = gateway.stop.run_until_cancelled(keeping).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_rules::limits::{OFFERS_UNANSWERED_LEAST, OFFERS_UNANSWERED_MAX};
    use std::{sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_while_an_offer_is_unanswered_whatever_else_happens_and_begins_anew_after_that() {
        let (paced, pressed) = (Paced::default(), AtomicBool::new(false));
        let first = paced.now().at_once();
        let after = async |time: Duration| {
            let keeping = paced.keep(|| pressed.load(Ordering::Relaxed));
            let _ = tokio::time::timeout(time, keeping).await;
            paced.now().at_once()
        };
        assert_eq!(after(Duration::from_secs(60)).await, first, "nothing is under way");
        paced.under_way(true);
        // Nobody answers: more are asked all the same.
        assert_eq!(after(Duration::from_secs(60)).await, OFFERS_UNANSWERED_MAX);
        pressed.store(true, Ordering::Relaxed);
        assert_eq!(after(Duration::from_secs(60)).await, OFFERS_UNANSWERED_LEAST);
        paced.under_way(true);
        assert_eq!(paced.now().at_once(), OFFERS_UNANSWERED_LEAST, "the same ones");
        paced.under_way(false);
        assert_eq!(after(Duration::from_secs(60)).await, first, "the next ones find a pace of their own");
    }
}
