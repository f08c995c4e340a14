//! Callers without any grant: one text, one delay, counted and recorded together in the system log only (P3).

use crate::{Gateway, limits};
use belay_certs::Timestamp;
use belay_rules::{Ask, Draft, LogName, What};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// The one text for whoever has no grant in the tenant, whether anything of that name exists or not.
pub(crate) const TEXT: &str = "no such device or tenant, or nothing there is granted to you";

/// Strangers since the last record.
#[derive(Default)]
pub(crate) struct Strangers {
    merged: Mutex<Option<Merged>>,
}

#[derive(Clone)]
struct Merged {
    count: u64,
    since: Timestamp,
    until: Timestamp,
    sample: Vec<String>,
}

/// Waits until [`limits::STRANGER_DELAY`] after `asked` and gives the one text: the only place both come from.
pub(crate) async fn turn_away(gateway: &Gateway, asked: Instant, who: String) -> &'static str {
    gateway.strangers.count(gateway.now(), &who);
    tokio::time::sleep(limits::STRANGER_DELAY.saturating_sub(asked.elapsed())).await;
    TEXT
}

impl Strangers {
    /// Counts one, and keeps it as an example when there is room.
    pub(crate) fn count(&self, now: Timestamp, who: &str) {
        let one = who.chars().take(limits::STRANGER_CHARACTERS_MAX).collect();
        self.merge(Merged { count: 1, since: now, until: now, sample: vec![one] });
    }

    fn merge(&self, more: Merged) {
        let mut held = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(merged) = held.as_mut() else {
            *held = Some(more);
            return;
        };
        merged.count += more.count;
        merged.since = merged.since.min(more.since);
        merged.until = merged.until.max(more.until);
        let room = limits::STRANGERS_SAMPLE_MAX.saturating_sub(merged.sample.len());
        merged.sample.extend(more.sample.into_iter().take(room));
    }

    fn take(&self) -> Option<Merged> {
        self.merged.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Records what was counted, every [`limits::STRANGERS_EVERY`] and once more at the stop.
pub(crate) async fn record_all(gateway: Arc<Gateway>) {
    loop {
        let stopping = tokio::select! {
            () = gateway.stop.cancelled() => true,
            () = tokio::time::sleep(limits::STRANGERS_EVERY) => false,
        };
        if let Some(merged) = gateway.strangers.take() {
            let Merged { count, since, until, sample } = merged.clone();
            let what = What::StrangersRefused { count, since, until, sample };
            if let Err(error) = gateway.record(Ask::Note(Draft::new(LogName::System, what))).await {
                tracing::error!("{} refused strangers were not recorded and are kept for later: {error}", merged.count);
                gateway.strangers.merge(merged);
            }
        }
        if stopping {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    #[test]
    fn strangers_are_counted_together_with_a_few_short_examples() {
        let strangers = Strangers::default();
        for second in 1..=1_000 {
            strangers.count(at(second), &"x".repeat(100_000));
        }
        let merged = strangers.take().unwrap();
        assert_eq!((merged.count, merged.since, merged.until), (1_000, at(1), at(1_000)));
        assert_eq!(merged.sample.len(), limits::STRANGERS_SAMPLE_MAX);
        assert!(merged.sample.iter().all(|one| one.len() <= limits::STRANGER_CHARACTERS_MAX));
        assert!(strangers.take().is_none());
    }

    #[test]
    fn what_could_not_be_recorded_is_not_lost() {
        let strangers = Strangers::default();
        strangers.count(at(1), "a");
        let unrecorded = strangers.take().unwrap();
        strangers.count(at(9), "b");
        strangers.merge(unrecorded);
        let merged = strangers.take().unwrap();
        assert_eq!((merged.count, merged.since, merged.until), (2, at(1), at(9)));
    }
}
