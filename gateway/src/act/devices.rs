//! Devices as the acts need them: looked up in their tenant, with what their record grants.

use crate::{
    Gateway,
    store::{Broken, DeviceRow, ListedRow, limits::ROWS_READ_MAX},
};
use belay_certs::{DeviceAddress, DeviceName, TenantName, policy::DeviceFacts};
use futures_util::future::{BoxFuture, FutureExt};

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

/// Every device of a tenant that has a record, by name.
pub(crate) async fn all(gateway: &Gateway, tenant: &TenantName) -> Result<Vec<DeviceRow>, Broken> {
    let Some(tenant) = gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let page = |after: String| {
        let tenant = &tenant;
        async move { tenant.devices(&after, ROWS_READ_MAX).await }.boxed()
    };
    every(page, |row| &row.name).await
}

/// The same devices, with what a list shows of each: ten thousand are read in a moment.
pub(crate) async fn listed(gateway: &Gateway, tenant: &TenantName) -> Result<Vec<ListedRow>, Broken> {
    let Some(tenant) = gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let page = |after: String| {
        let tenant = &tenant;
        async move { tenant.devices_listed(&after, ROWS_READ_MAX).await }.boxed()
    };
    every(page, |row| &row.facts.address.device).await
}

/// Every row, page by page, each from behind the last name of the one before.
async fn every<'a, R>(
    page: impl Fn(String) -> BoxFuture<'a, Result<Vec<R>, Broken>>,
    name: fn(&R) -> &DeviceName,
) -> Result<Vec<R>, Broken> {
    let mut rows: Vec<R> = Vec::new();
    loop {
        let next = page(rows.last().map(name).map(ToString::to_string).unwrap_or_default()).await?;
        let last = next.len() < ROWS_READ_MAX as usize;
        rows.extend(next);
        if last {
            return Ok(rows);
        }
    }
}
