//! One job under way, and the messages to its devices.

use super::{JobKey, declined::Declined, offered::Prepared};
use crate::relay::presence::{Presence, Step};
use belay_certs::{DeviceAddress, DeviceName, PersonRef};
use belay_protocol::{MINOR_OF_PRIVATE_RUNS, RunCancelled, ToAgent, limits::clip_sentence};
use belay_rules::job::Job;
use std::collections::{BTreeMap, BTreeSet};

/// One job under way.
pub(super) struct UnderWay {
    pub(super) key: JobKey,
    /// Who ordered it.
    pub(super) person: PersonRef,
    pub(super) job: Job,
    pub(super) prepared: Prepared,
    /// Places whose offer is to be recorded again, for the store failed.
    pub(super) unrecorded: BTreeSet<usize>,
    /// Places whose offer is recorded and found no room in the queue of their device.
    pub(super) unsent: BTreeSet<usize>,
    /// Places whose offer is recorded and whose device cannot start it, and why: that is to be recorded too.
    pub(super) declined: BTreeMap<usize, Declined>,
    /// What its devices are told when it was called off.
    pub(super) called_off: String,
}

/// Whether a message is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Yes, or its device is away and hears it when it comes back.
    Done,
    /// The device takes nothing just now.
    Later,
}

impl UnderWay {
    pub(super) fn new(key: JobKey, person: PersonRef, job: Job, prepared: Prepared) -> Self {
        let (unrecorded, unsent, declined) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Self {
            key,
            person,
            job,
            prepared,
            unrecorded,
            unsent,
            declined,
            called_off: "the job was cancelled".to_owned(),
        }
    }

    pub(super) fn address(&self, device: &DeviceName) -> DeviceAddress {
        DeviceAddress { device: device.clone(), tenant: self.key.0.clone() }
    }

    /// Sends the offer of a place, now or with the next turn. A device that is out of step gets none: whatever it answered would
    /// not be recorded; nor does one whose agent does not know such offers: it would never answer.
    pub(super) fn send_offer(&mut self, presence: &Presence, place: usize) {
        if let Some(declined) = self.unable(presence, place) {
            self.unsent.remove(&place);
            self.declined.insert(place, declined);
            return;
        }
        let Some(offer) = self.prepared.offer(place) else { return };
        match self.send(presence, place, offer) {
            Sent::Done => self.unsent.remove(&place),
            Sent::Later => self.unsent.insert(place),
        };
    }

    /// Why the device at a place cannot start what it would be offered; none while it is away.
    fn unable(&self, presence: &Presence, place: usize) -> Option<Declined> {
        let online = presence.find(&self.address(&self.prepared.line(place)?.name))?;
        match online.step {
            Step::Out => Some(Declined::OutOfStep),
            Step::In if self.prepared.is_private() && online.minor < MINOR_OF_PRIVATE_RUNS => Some(Declined::TooOld),
            Step::In => None,
        }
    }

    /// Tells the device at a place that its run is called off. One whose queue is full hears it when it comes back, and
    /// with the answer to its intent.
    pub(super) fn send_cancel(&self, presence: &Presence, place: usize) {
        self.send_ended(presence, place, &self.called_off);
    }

    /// Tells the device at a place to end its run, for this reason.
    pub(super) fn send_ended(&self, presence: &Presence, place: usize, why: &str) {
        let order = self.key.1.0;
        let cancelled = RunCancelled { order, sentence: clip_sentence(why) };
        self.send(presence, place, ToAgent::RunCancelled(cancelled));
    }

    fn send(&self, presence: &Presence, place: usize, message: ToAgent) -> Sent {
        let Some(line) = self.prepared.line(place) else { return Sent::Done };
        let Some(online) = presence.find(&self.address(&line.name)) else { return Sent::Done };
        match online.to_agent.try_send(Box::new(message)) {
            Ok(()) | Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => Sent::Done,
            Err(tokio::sync::mpsc::error::TrySendError::Full(_)) => Sent::Later,
        }
    }
}
