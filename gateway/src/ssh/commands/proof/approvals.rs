//! The entries that approved the devices that speak in other entries, by the serial of the record that they speak under, and the
//! documents that these name: whoever takes a proof away checks with them who signed, also long after a device has another key.

use super::super::{Call, Failure};
use crate::store::{ApprovedAt, Broken, limits::ENTRIES_READ_MAX};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{Digest, TenantName, entry::Entry, receipt::Receipt, statement::Statement};
use belay_rules::{LogName, What};
use std::collections::BTreeSet;

/// Of the record under which a device speaks in this entry, if one does.
pub(super) fn serial(entry: &Entry) -> Option<u64> {
    let signed = entry.statement.as_ref()?;
    Statement::parse(signed.text.as_bytes()).ok().map(|statement| statement.head.serial)
}

/// Where the log says that the records of these serials were approved, or carried over from an earlier life of it. What an
/// earlier life alone knows is left out: this log cannot prove it.
pub(super) async fn entries(
    call: &Call<'_>,
    log: &LogName,
    tenant: &TenantName,
    serials: BTreeSet<u64>,
) -> Result<Vec<u64>, Failure> {
    let Some(store) = call.gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let (mut found, mut earlier) = (Vec::new(), BTreeSet::new());
    for serial in serials {
        match store.record_entry(serial).await? {
            Some(ApprovedAt::Entry(index)) => found.push(index),
            Some(ApprovedAt::EarlierLife) => _ = earlier.insert(serial),
            None => {}
        }
    }
    if !earlier.is_empty() {
        found.extend(carried(call, log, &earlier).await?);
    }
    Ok(found)
}

/// A life of a log begins with the devices that it carries over: nothing behind the first other entry is looked at.
async fn carried(call: &Call<'_>, log: &LogName, serials: &BTreeSet<u64>) -> Result<Vec<u64>, Failure> {
    let mut found = Vec::new();
    // The entry before them says that the log begins.
    let mut from = 1;
    loop {
        let page = call.gateway.store.entries(log, from, ENTRIES_READ_MAX).await?;
        if page.is_empty() {
            return Ok(found);
        }
        for bytes in page {
            let entry = Entry::parse(&bytes).map_err(Broken::from)?;
            let What::DeviceCarried { serial, .. } = What::of(&entry).map_err(Broken::from)? else { return Ok(found) };
            if serials.contains(&serial) {
                found.push(from);
            }
            from += 1;
        }
    }
}

/// What the approvals among these entries name by digest: the signed batch, its signature, and the host certificate; in base64.
pub(super) async fn objects(call: &Call<'_>, log: &LogName, receipts: &[Receipt]) -> Result<Vec<String>, Failure> {
    let mut wanted = BTreeSet::new();
    for receipt in receipts {
        wanted.extend(named(&Entry::parse(&receipt.entry).map_err(Broken::from)?)?);
    }
    let mut objects = Vec::with_capacity(wanted.len());
    for digest in wanted {
        let bytes = call.gateway.store.object(log, &digest).await?;
        let bytes = bytes.ok_or_else(|| Broken::new(format!("the object {digest} of the log {log} is missing")))?;
        objects.push(STANDARD.encode(bytes));
    }
    Ok(objects)
}

fn named(entry: &Entry) -> Result<Vec<Digest>, Broken> {
    if !matches!(entry.kind.as_str(), "device.approved" | "device.carried") {
        return Ok(Vec::new());
    }
    if let What::DeviceApproved { batch, batch_signature, certificate, .. }
    | What::DeviceCarried { batch, batch_signature, certificate, .. } = What::of(entry)?
    {
        return Ok(vec![batch, batch_signature, certificate]);
    }
    Ok(Vec::new())
}
