//! Jobs and freezes: what is frozen is offered nothing, and what runs there is ended. It waits, like a device that is away,
//! until it is thawed or the window of its order is over.

use super::{desk::Desk, under_way::UnderWay};
use crate::relay::presence::Presence;
use belay_rules::{Freeze, Freezes, job::Run};
use std::sync::Arc;

impl Desk {
    /// Goes by the freezes that are in force now: runs that are frozen from here on are ended, those that were thawed go on.
    pub(super) fn follow_freezes(&mut self) {
        let before = std::mem::replace(&mut self.freezes, self.gateway.store.freezes());
        if Arc::ptr_eq(&before, &self.freezes) {
            return;
        }
        let now = self.gateway.now();
        for under_way in self.jobs.values_mut() {
            if before.are_alike(&self.freezes, &under_way.key.0) {
                continue;
            }
            for place in 0..under_way.prepared.lines().len() {
                let was = under_way.frozen(&before, place).is_some();
                if was != under_way.frozen(&self.freezes, place).is_some() {
                    self.gateway.look(&self.freezes, under_way, place, now);
                }
            }
            self.gateway.jobs.ring(&under_way.key);
        }
    }
}

impl UnderWay {
    /// What keeps the run at a place from starting or going on.
    pub(super) fn frozen<'a>(&self, freezes: &'a Freezes, place: usize) -> Option<&'a Freeze> {
        let device = &self.prepared.line(place)?.name;
        freezes.find(&self.key.0, Some(device), [&self.person])
    }

    /// Treats a place that is frozen as one whose device is away, and ends what its device has begun or may be about to begin.
    /// Whether it is frozen.
    pub(super) fn hold_if_frozen(&mut self, freezes: &Freezes, presence: &Presence, place: usize) -> bool {
        let Some(freeze) = self.frozen(freezes, place) else { return false };
        self.job.offline(place);
        self.unsent.remove(&place);
        match self.job.runs().get(place) {
            Some(Run::Offered { .. } | Run::Started { .. }) => self.send_ended(presence, place, &freeze.to_string()),
            Some(Run::Waiting | Run::Ended(_)) | None => {}
        }
        true
    }
}
