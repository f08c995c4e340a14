//! Jobs and devices that can start nothing: whoever waits for such a run is told at once why, and what to do.
//!
//! What a device out of step says is not recorded, and an agent that is too old for an order never answers. It is the
//! gateway's word only (`run.declined`). Not here: how a device falls out of step (`quic/statements.rs`).

use super::desk::Desk;
use crate::{limits::OFFERS_PER_TURN_MAX, store::RecordError};
use belay_certs::{DeviceAddress, order::Outcome};
use belay_rules::Ask;

/// Why a device can start nothing of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declined {
    /// What it says does not continue what it said before.
    OutOfStep,
    /// The order has secrets or names readers, and its agent does not know such orders.
    TooOld,
}

impl Desk {
    /// Records the end of runs that were to be offered to devices that can start nothing: at most so many a turn, together, so
    /// that they share a commit.
    pub(super) async fn decline(&mut self) {
        let mut asks = Vec::new();
        for (number, under_way) in self.jobs.iter().filter(|(_, under_way)| !under_way.declined.is_empty()) {
            let digest = under_way.prepared.digest();
            for (place, why) in under_way.declined.iter().take(OFFERS_PER_TURN_MAX - asks.len()) {
                let Some(line) = under_way.prepared.line(*place) else { continue };
                let address = under_way.address(&line.name);
                let sentence = why.sentence(&address);
                let DeviceAddress { device, tenant } = address;
                let ask = Ask::DeclineRun { tenant, device, order: under_way.key.1, digest, sentence };
                asks.push((*number, *place, ask));
            }
        }
        self.retry |= asks.len() >= OFFERS_PER_TURN_MAX;
        let recorded = asks.into_iter().map(|(number, place, ask)| {
            let gateway = &self.gateway;
            async move { (number, place, gateway.record(ask).await) }
        });
        for (number, place, recorded) in futures_util::future::join_all(recorded.collect::<Vec<_>>()).await {
            let Some(under_way) = self.jobs.get_mut(&number) else { continue };
            match recorded {
                Ok(_) => {
                    under_way.declined.remove(&place);
                    if let Err(withheld) = under_way.job.ended(place, Outcome::Refused) {
                        tracing::debug!(job = %under_way.key.1, "a run that was declined had ended before: {withheld}");
                    }
                    self.gateway.jobs.ring(&under_way.key);
                }
                Err(RecordError::Refused(refusal)) => {
                    under_way.declined.remove(&place);
                    tracing::info!(job = %under_way.key.1, "a run was not declined: {refusal}");
                }
                Err(RecordError::Broken(_)) => self.retry = true,
            }
        }
    }
}

impl Declined {
    /// Why nothing starts on this device, and what to do.
    fn sentence(self, device: &DeviceAddress) -> String {
        let tenant = &device.tenant;
        match self {
            Self::OutOfStep => format!(
                "{device} contradicts what it said before, so nothing starts there: its disk was put back to an older copy, or two \
                 machines have its key; on the one that is meant run `belay-agent forget --tenant {tenant}` and join it again with \
                 a new token, then `belay approve {device} --replace`"
            ),
            Self::TooOld => format!(
                "the agent of {device} is too old for secrets and for output that only some may read, so it was not offered the order: update the agent, then order it again"
            ),
        }
    }
}
