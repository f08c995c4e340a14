//! Devices as the acts need them: looked up in their tenant, with what their record grants.

use crate::{
    Gateway,
    store::{Broken, DeviceRow, ListedRow, limits::ROWS_READ_MAX},
};
use belay_certs::{DeviceAddress, TenantName, policy::DeviceFacts};

/// Its full name.
pub(crate) fn address(row: &DeviceRow) -> DeviceAddress {
    DeviceAddress { device: row.name.clone(), tenant: row.tenant.clone() }
}

/// What its newest record says; none while it waits for approval.
pub(crate) fn facts(row: &DeviceRow) -> Option<DeviceFacts> {
    let approved = row.approved.as_ref()?;
    Some(DeviceFacts { address: address(row), labels: approved.labels.clone(), serial: approved.serial })
}

/// The device of that name, approved or waiting.
pub(crate) async fn find(gateway: &Gateway, address: &DeviceAddress) -> Result<Option<DeviceRow>, Broken> {
    match gateway.store.tenant(&address.tenant) {
        Some(tenant) => tenant.device(&address.device).await,
        None => Ok(None),
    }
}

/// The same, with what a list shows of each: ten thousand are read in a moment.
pub(crate) async fn listed(gateway: &Gateway, tenant: &TenantName) -> Result<Vec<ListedRow>, Broken> {
    let Some(tenant) = gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let mut rows: Vec<ListedRow> = Vec::new();
    loop {
        let after = rows.last().map_or(String::new(), |row| row.facts.address.device.to_string());
        let page = tenant.devices_listed(&after, ROWS_READ_MAX).await?;
        let last = page.len() < ROWS_READ_MAX as usize;
        rows.extend(page);
        if last {
            return Ok(rows);
        }
    }
}

/// Every device of a tenant that has a record, by name.
pub(crate) async fn all(gateway: &Gateway, tenant: &TenantName) -> Result<Vec<DeviceRow>, Broken> {
    let Some(tenant) = gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let mut rows: Vec<DeviceRow> = Vec::new();
    loop {
        let after = rows.last().map_or(String::new(), |row| row.name.to_string());
        let page = tenant.devices(&after, ROWS_READ_MAX).await?;
        let last = page.len() < ROWS_READ_MAX as usize;
        rows.extend(page);
        if last {
            return Ok(rows);
        }
    }
}
