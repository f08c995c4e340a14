//! Sessions whose end nobody tells: the way to them is gone, and their machine has been silent of them for long.
//!
//! What is recorded of one becomes a prefix in the log, once. A machine that comes back later goes on where it was: what it
//! sends and says then counts more. Not here: sessions without a recording, of which nothing is changed (`SessionRow::state`).

use crate::{
    Gateway, limits,
    store::{Broken, RecordError, RecordingRow},
};
use belay_certs::{TenantName, Timestamp};
use belay_rules::Ask;
use std::sync::Arc;

/// Gives up what is waited for no more, again and again until the gateway stops.
///
/// Cut off half-way: the rest is found at the next look.
pub(crate) async fn give_up_all(gateway: Arc<Gateway>) {
    let every = limits::SILENCE_LOOK_EVERY.min(gateway.silence);
    let looking = async {
        loop {
            for tenant in gateway.book.tenants() {
                if let Err(error) = of_tenant(&gateway, &tenant).await {
                    tracing::error!(%tenant, "sessions without an end were not given up: {error}");
                }
            }
            tokio::time::sleep(every).await;
        }
    };
    gateway.stop.run_until_cancelled(looking).await;
}

/// Of a session to which the way was gone before this moment, and of which nothing was heard since, nothing is waited for.
pub(crate) fn before(gateway: &Gateway) -> Timestamp {
    let micros = i64::try_from(gateway.silence.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(gateway.now().micros().saturating_sub(micros))
}

async fn of_tenant(gateway: &Gateway, tenant: &TenantName) -> Result<(), Broken> {
    let Some(store) = gateway.store.tenant(tenant) else { return Ok(()) };
    let before = before(gateway);
    loop {
        let mut given_up = 0;
        for recording in &store.recordings_unheard(before).await? {
            given_up += u64::from(give_up(gateway, recording, before).await?);
        }
        // Of which more came meanwhile is asked for again in a while, not at once.
        if given_up == 0 {
            return Ok(());
        }
    }
}

/// Whether it was given up; one of which something came a moment ago is not.
async fn give_up(gateway: &Gateway, recording: &RecordingRow, before: Timestamp) -> Result<bool, Broken> {
    let session = recording.name.session;
    match gateway.record(Ask::GiveUpRecording { name: recording.name.clone(), before }).await {
        Ok(_) => {
            tracing::warn!(%session, "nobody says how a session ended: what is here of its recording is a prefix");
            Ok(true)
        }
        Err(RecordError::Refused(refusal)) => {
            tracing::info!(%session, "a recording is not given up: {refusal}");
            Ok(false)
        }
        Err(RecordError::Broken(broken)) => Err(broken),
    }
}
