//! What an approval would take away: the names and labels that devices have now. Whoever may enrol one kind of device must
//! not make another kind of device theirs by a record that says it is of the first.
//!
//! Not here: what the new records say (`certs`), nor that nothing changes until they are recorded (`rules::device`).

use super::{Checked, no_policy};
use crate::{Gateway, act::devices, store::Broken};
use belay_certs::{Invalid, TenantName, device::check_taker, policy::DeviceFacts};
use belay_rules::DeviceState;

/// The serials of the records in force that `one` would void, all of which its signer may; or why they may not.
pub(super) async fn judge(
    gateway: &Gateway,
    tenant: &TenantName,
    one: &Checked,
) -> Result<Result<Vec<u64>, Invalid>, Broken> {
    let held = voided(gateway, tenant, one).await?;
    if held.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let now = gateway.now();
    let judged = gateway.book.with(tenant, |policies| {
        let serials = held.iter().map(|DeviceFacts { address, labels, serial }| {
            check_taker(policies, &one.signer, (address, labels), one.record.serial, now).map(|()| *serial)
        });
        serials.collect()
    });
    Ok(judged.unwrap_or_else(|| Err(no_policy(tenant))))
}

/// The approved device with the record's host key, unless its record is as new, and the one whose place the record takes.
async fn voided(gateway: &Gateway, tenant: &TenantName, one: &Checked) -> Result<Vec<DeviceFacts>, Broken> {
    let Some(rows) = gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let own = rows.device_by_key(&one.record.host_key.fingerprint()).await?;
    let rival = match one.record.replaces {
        Some(_) => rows.device(&one.record.address.device).await?.filter(|row| row.state == DeviceState::Approved),
        None => None,
    };
    let held = own.iter().chain(&rival).filter_map(devices::facts);
    Ok(held.filter(|facts| facts.serial < one.record.serial).collect())
}
