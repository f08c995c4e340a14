//! `records TENANT`: device records in force, each with its proof and its host certificate, for whoever makes new ones,
//! gives orders to devices or proves what they recorded.
//!
//! What is signed is there whole: a person's `belay` checks it before it signs anything that goes by it.

use super::{Call, Failure, pending::text, show};
use crate::store::{ApprovalRow, Broken, TenantStore};
use belay_certs::{
    DeviceAddress, Digest, TenantName,
    device::DeviceRecord,
    policy::{ActionKind, DeviceFacts},
};
use serde::Serialize;

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
    // Whoever checks what devices signed needs the keys of all of them, under which nothing is done.
    let all = enrols || call.holds(&place, ActionKind::Audit);
    if !all && !call.holds(&place, ActionKind::Run) {
        return Err(call.lacks(Some(tenant), ActionKind::Enrol));
    }
    let Some(store) = call.gateway.store.tenant(tenant) else { return Ok(show::json(&[(); 0])?) };
    let serial_next = store.highest_serial().await?.saturating_add(1);
    let seen = |row: &ApprovalRow| all || is_reached(call, tenant, row);
    let found = match device {
        Some(address) => match store.device(&address.device).await? {
            Some(row) => {
                let approval = store.approval(row.join).await?;
                let row = approval.map(|approval| ApprovalRow { name: row.name, approval });
                row.into_iter().filter(seen).collect()
            }
            None => Vec::new(),
        },
        None => {
            let after = after.map_or_else(String::new, |after| after.device.to_string());
            page(&store, after, u32::try_from(limit).unwrap_or(u32::MAX), seen).await?
        }
    };
    let tenant = tenant.clone();
    // Hundreds of documents: not on a thread that relays.
    let answer = tokio::task::spawn_blocking(move || {
        let rows = found.into_iter().map(|one| row(&tenant, one, serial_next)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, Broken>(show::json(&rows)?)
    });
    Ok(answer.await.map_err(|error| Failure::Refused(crate::broken(&error).sentence))??)
}

/// The first `limit` of those that are seen, from behind the name `after`: fewer only when there are no more.
async fn page(
    store: &TenantStore,
    mut after: String,
    limit: u32,
    seen: impl Fn(&ApprovalRow) -> bool,
) -> Result<Vec<ApprovalRow>, Broken> {
    let wanted = limit as usize;
    let mut found = Vec::new();
    loop {
        let rows = store.approvals(&after, limit).await?;
        let last = rows.len() < wanted;
        if let Some(row) = rows.last() {
            after = row.name.to_string();
        }
        found.extend(rows.into_iter().filter(&seen));
        found.truncate(wanted);
        if last || found.len() == wanted {
            return Ok(found);
        }
    }
}

/// Whoever gives orders needs to prove the devices that a grant of theirs reaches, and no others.
fn is_reached(call: &Call<'_>, tenant: &TenantName, row: &ApprovalRow) -> bool {
    let Ok(record) = DeviceRecord::parse(&row.approval.record) else { return false };
    let DeviceRecord { address, labels, serial, .. } = record;
    let facts = DeviceFacts { address, labels, serial };
    facts.address.tenant == *tenant && call.gateway.book.any_grant(&call.caller.key, &facts, call.now()).is_ok()
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
