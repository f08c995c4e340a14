//! Jobs and devices that are out of step: what such a device says is not recorded, so it can start nothing, and whoever waits for
//! its run is told at once why, and what to do.
//!
//! It is the gateway's word only (`run.declined`), as its refusal to record was. Not here: how a device falls out of step
//! (`quic/statements.rs`).

use super::desk::Desk;
use crate::{limits::OFFERS_PER_TURN_MAX, store::RecordError};
use belay_certs::{DeviceAddress, order::Outcome};
use belay_rules::Ask;

impl Desk {
    /// Records the end of runs that were offered to devices out of step: at most so many a turn, together, so that they share a
    /// commit.
    pub(super) async fn decline(&mut self) {
        let mut asks = Vec::new();
        for (number, under_way) in self.jobs.iter().filter(|(_, under_way)| !under_way.declined.is_empty()) {
            let digest = under_way.prepared.digest();
            for place in under_way.declined.iter().take(OFFERS_PER_TURN_MAX - asks.len()) {
                let Some(line) = under_way.prepared.line(*place) else { continue };
                let address = under_way.address(&line.name);
                let sentence = sentence(&address);
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

/// Why nothing starts on a device that is out of step, and what to do.
pub(crate) fn sentence(device: &DeviceAddress) -> String {
    let tenant = &device.tenant;
    format!(
        "{device} contradicts what it said before, so nothing starts there: its disk was put back to an older copy, or two machines \
         have its key; on the one that is meant run `belay-agent forget --tenant {tenant}` and join it again with a new token, then \
         `belay approve {device} --replace`"
    )
}
