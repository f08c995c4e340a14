//! Recordings, and what runs printed, that were kept for as long as their tenant's policy says are deleted: recorded first, then
//! removed.
//!
//! Time is the wall clock's only as far as it was seen to pass: a clock that jumps ahead deletes nothing (`aging.rs`).
//! A hold wins: the store judges that in the same transaction. The notes stay, so that whoever has a copy can still prove it.

use crate::{
    Gateway, limits,
    store::{Broken, OutputRow, RecordError, RecordingRow, TenantStore},
};
use aging::Aging;
use belay_certs::{TenantName, Timestamp, time::DAY};
use belay_rules::Ask;
use std::{sync::Arc, time::Instant};

mod aging;

/// Deletes what is due, again and again until the gateway stops; and first the rest of what a crash left half deleted.
///
/// Cut off half-way: a deletion that is recorded is finished at the next start.
pub(crate) async fn keep_to_it(gateway: Arc<Gateway>) {
    let deleting = async {
        match gateway.store.sweep_chunks().await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "the rest of recordings whose deletion was cut off is removed"),
            Err(error) => tracing::error!("recordings whose deletion was cut off are not all removed: {error}"),
        }
        let mut changes = gateway.book.changes();
        let (began, mut aging) = (Instant::now(), Aging::default());
        loop {
            // Changes from here on make another look.
            changes.mark_unchanged();
            match aging.look(&gateway.store, gateway.now(), began.elapsed()) {
                Ok(moment) => of_all(&gateway, moment).await,
                Err(error) => tracing::error!("no recording is deleted: {error}"),
            }
            let _ = tokio::time::timeout(limits::RETENTION_EVERY, changes.changed()).await;
        }
    };
    gateway.stop.run_until_cancelled(deleting).await;
}

async fn of_all(gateway: &Gateway, moment: Timestamp) {
    for tenant in gateway.book.tenants() {
        if let Err(error) = of_tenant(gateway, &tenant, moment).await {
            tracing::error!(%tenant, "recordings that are due were not all deleted: {error}");
        }
    }
}

/// What of one tenant is due at a moment; how many recordings and outputs were deleted.
async fn of_tenant(gateway: &Gateway, tenant: &TenantName, moment: Timestamp) -> Result<u64, Broken> {
    let Some(days) = gateway.book.chain(tenant).and_then(|chain| chain.policy().recording.keep_days) else {
        return Ok(0);
    };
    let Some(store) = gateway.store.tenant(tenant) else { return Ok(0) };
    let before = Timestamp::from_micros(moment.micros().saturating_sub(DAY.saturating_mul(i64::from(days))));
    let why = format!("the policy says `keep = \"{days}d\"`");
    // One that fails does not keep the other kind.
    let outputs = outputs_of(gateway, &store, before, &why).await;
    let mut deleted = 0;
    loop {
        let due = store.recordings_due(before).await?;
        let mut now = 0;
        for recording in &due {
            now += u64::from(delete(gateway, recording, &why).await?);
        }
        deleted += now;
        // What was held or came to life meanwhile is asked for again in a while, not at once.
        if now == 0 {
            return outputs.map(|outputs| deleted + outputs);
        }
    }
}

/// What runs printed that is due; how many were deleted.
async fn outputs_of(gateway: &Gateway, store: &TenantStore, before: Timestamp, why: &str) -> Result<u64, Broken> {
    let mut deleted = 0;
    loop {
        let due = store.outputs_due(before).await?;
        let mut now = 0;
        for output in &due {
            now += u64::from(delete_output(gateway, output, before, why).await?);
        }
        deleted += now;
        if now == 0 {
            return Ok(deleted);
        }
    }
}

/// Whether it was deleted, with its bytes; one that was held, or grew, a moment ago is not.
async fn delete_output(gateway: &Gateway, output: &OutputRow, before: Timestamp, why: &str) -> Result<bool, Broken> {
    let ask = Ask::DeleteOutput { name: output.name.clone(), before, why: why.to_owned() };
    match gateway.record(ask).await {
        Ok(_) => Ok(true),
        Err(RecordError::Refused(refusal)) => {
            tracing::info!(run = %output.name, "the output of a run stays: {refusal}");
            Ok(false)
        }
        Err(RecordError::Broken(broken)) => Err(broken),
    }
}

/// Whether it was deleted; one that was held a moment ago is not.
async fn delete(gateway: &Gateway, recording: &RecordingRow, why: &str) -> Result<bool, Broken> {
    let ask = Ask::DeleteRecording { name: recording.name.clone(), why: why.to_owned() };
    match gateway.record(ask).await {
        Ok(_) => {}
        Err(RecordError::Refused(refusal)) => {
            tracing::info!(session = %recording.name.session, "a recording stays: {refusal}");
            return Ok(false);
        }
        Err(RecordError::Broken(broken)) => return Err(broken),
    }
    gateway.store.remove_chunks(&recording.name).await?;
    Ok(true)
}
