//! `records TENANT`: device records in force, each with its proof and its host certificate, for whoever makes new ones.
//!
//! What is signed is there whole: a person's `belay` checks it before it signs anything that goes by it.

use super::{Call, Failure, devices, pending::text, show};
use crate::store::{ApprovalRow, Broken};
use belay_certs::{DeviceAddress, DeviceName, Digest, TenantName, policy::ActionKind};
use serde::Serialize;
use std::collections::HashSet;

/// One device, as JSON.
#[derive(Serialize)]
struct Row {
    /// `web1.acme`.
    name: String,
    /// The exact device record.
    record: String,
    /// Its place in the batch.
    index: u64,
    /// The path from there to the batch's root.
    path: Vec<Digest>,
    /// The exact batch document.
    batch: String,
    /// Its signature.
    signature: String,
    /// The host certificate.
    certificate: String,
    /// A serial that no device of the tenant has, the same in every row.
    serial_next: u64,
}

pub(super) async fn run(
    call: &Call<'_>,
    tenant: &TenantName,
    device: Option<&DeviceAddress>,
    after: Option<&DeviceAddress>,
    limit: u64,
) -> Result<String, Failure> {
    let place = call.granted(Some(tenant)).await?.pop();
    let Some(place) = place else { return Err(call.turn_away(Some(tenant)).await) };
    let enrols = call.holds(&place, ActionKind::Enrol);
    if !enrols && !call.holds(&place, ActionKind::Run) {
        return Err(call.lacks(Some(tenant), ActionKind::Enrol));
    }
    let Some(store) = call.gateway.store.tenant(tenant) else { return Ok(show::json(&[(); 0])?) };
    let serial_next = store.highest_serial().await?.saturating_add(1);
    let found = match device {
        Some(address) => match store.device(&address.device).await? {
            Some(row) => {
                let approval = store.approval(row.join).await?;
                approval.map(|approval| ApprovalRow { name: row.name, approval }).into_iter().collect()
            }
            None => Vec::new(),
        },
        None => {
            let after = after.map_or_else(String::new, |after| after.device.to_string());
            store.approvals(&after, u32::try_from(limit).unwrap_or(u32::MAX)).await?
        }
    };
    let mut found = found;
    if !enrols {
        // Whoever gives orders needs to prove the devices they may give them to, and no others.
        let seen = devices::visible(call, &place).await?;
        let seen: HashSet<&DeviceName> = seen.iter().map(|device| &device.facts.address.device).collect();
        found.retain(|row| seen.contains(&row.name));
    }
    let tenant = tenant.clone();
    // Hundreds of documents: not on a thread that relays.
    let answer = tokio::task::spawn_blocking(move || {
        let rows = found.into_iter().map(|one| row(&tenant, one, serial_next)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, Broken>(show::json(&rows)?)
    });
    Ok(answer.await.map_err(|error| Failure::Refused(crate::broken(&error).sentence))??)
}

fn row(tenant: &TenantName, one: ApprovalRow, serial_next: u64) -> Result<Row, Broken> {
    let ApprovalRow { name, approval } = one;
    Ok(Row {
        name: format!("{name}.{tenant}"),
        record: text(approval.record)?,
        index: approval.index,
        path: approval.path.into_iter().map(Digest).collect(),
        batch: text(approval.batch.bytes)?,
        signature: approval.batch.signatures.into_iter().next().unwrap_or_default(),
        certificate: approval.certificate,
        serial_next,
    })
}
