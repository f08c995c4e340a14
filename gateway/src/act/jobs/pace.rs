//! Whether the gateway keeps up with the offers that are under way: how late its timers are, looked at only meanwhile.

use crate::{Gateway, limits};
use belay_rules::job::Pace;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{sync::Notify, time::Instant};

/// The pace of all jobs.
#[derive(Default)]
pub(super) struct Paced {
    pace: Mutex<Pace>,
    /// Rung while offers are under way.
    under_way: Notify,
}

impl Paced {
    pub(super) fn now(&self) -> Pace {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers are under way: it is to be looked.
    pub(super) fn look(&self) {
        self.under_way.notify_one();
    }
}

/// Looks as long as offers are under way, until the gateway stops. A task of its own: the one that owns the jobs waits for the
/// disk.
pub(crate) async fn keep_pace(gateway: Arc<Gateway>) {
    let paced = &gateway.jobs.pace;
    let looking = async {
        loop {
            paced.under_way.notified().await;
            let due = Instant::now() + limits::PACE_LOOK_EVERY;
            tokio::time::sleep_until(due).await;
            paced.pace.lock().unwrap_or_else(PoisonError::into_inner).looked(due.elapsed());
        }
    };
    let _: Option<()> = gateway.stop.run_until_cancelled(looking).await;
}
