//! `devices`: every device that the caller has any grant on, and what waits, for people with `enrol`.

use super::{
    Call, Failure, Place, expiry, pending,
    show::{self, Form, or_empty},
};
use crate::{
    act::devices,
    relay::presence::Step,
    store::{ListedRow, Seen},
};
use belay_certs::{
    TenantName, Timestamp,
    policy::{self, ActionKind, DeviceFacts},
};
use serde::Serialize;

/// One device, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// `web1.acme`.
    name: String,
    /// `online`, `out of step`, `offline` or `pending`.
    state: &'static str,
    labels: Vec<String>,
    /// Since when it is connected or gone, or when it asked; none when it was never connected.
    since: Option<Timestamp>,
    /// Where it calls from.
    addresses: Vec<String>,
    /// The agent's version; empty when it never said one.
    version: String,
    /// When the first of the policies expires that it decides by: its tenant's and those it imports.
    policy_expires: Option<Timestamp>,
}

pub(super) async fn run(
    call: &Call<'_>,
    text: Option<&str>,
    tenant: Option<&TenantName>,
    form: Form,
) -> Result<String, Failure> {
    let mut rows = Vec::new();
    let places = call.granted(tenant).await?;
    for place in &places {
        let mut found: Vec<Row> = visible(call, place).await?.into_iter().map(|device| row(call, device)).collect();
        if call.holds(place, ActionKind::Enrol) {
            found.extend(waiting(call, place).await?);
        }
        let expires = expiry::first(call.gateway, &place.tenant);
        found.iter_mut().for_each(|row| row.policy_expires = expires);
        rows.append(&mut found);
    }
    // An empty list would say that there are no devices.
    if let (true, Some(refusal)) = (rows.is_empty(), places.iter().find_map(|place| call.expired(&place.tenant))) {
        return Err(refusal);
    }
    if let Some(text) = text {
        rows.retain(|row| row.name.contains(text) || row.labels.iter().any(|label| label.contains(text)));
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows.into_iter().map(cells).collect();
            Ok(show::table(["NAME", "STATE", "SINCE", "ADDRESS", "VERSION", "LABELS"], &cells))
        }
    }
}

/// The devices of a tenant that some grant of the caller reaches. One query a page, nothing awaited a row.
pub(super) async fn visible(call: &Call<'_>, place: &Place) -> Result<Vec<ListedRow>, Failure> {
    let mut rows = devices::listed(call.gateway, &place.tenant).await?;
    let now = call.now();
    let found = call.gateway.book.with(&place.tenant, |policies| {
        rows.retain(|row| policy::any_grant(policies, &call.caller.key, &row.facts, now).is_ok());
        rows
    });
    Ok(found.unwrap_or_default())
}

/// Whether a device is online says its connection, not what the tables remember of it.
fn row(call: &Call<'_>, device: ListedRow) -> Row {
    let ListedRow { facts: DeviceFacts { address, labels, serial: _ }, seen } = device;
    let step = call.gateway.presence.find(&address).map(|online| online.step);
    let name = address.to_string();
    match (seen, step) {
        (Some(Seen { since, address, version, .. }), Some(step)) => {
            let since = Some(since.whole_second());
            let state = match step {
                Step::In => "online",
                Step::Out => "out of step",
            };
            Row { name, state, labels, since, addresses: vec![address], version, policy_expires: None }
        }
        (Some(Seen { is_connected, since, version, .. }), None) => {
            // A connection that ended a moment ago is not written down yet; then nobody knows since when.
            let since = (!is_connected).then(|| since.whole_second());
            Row { name, state: "offline", labels, since, addresses: Vec::new(), version, policy_expires: None }
        }
        (None, _) => {
            let (addresses, version) = (Vec::new(), String::new());
            Row { name, state: "offline", labels, since: None, addresses, version, policy_expires: None }
        }
    }
}

/// Machines that wait for approval.
async fn waiting(call: &Call<'_>, place: &Place) -> Result<Vec<Row>, Failure> {
    let Some(store) = call.gateway.store.tenant(&place.tenant) else { return Ok(Vec::new()) };
    let rows = pending::all(&store).await?.into_iter().map(|device| Row {
        name: format!("{}.{}", device.name, place.tenant),
        state: "pending",
        labels: Vec::new(),
        since: Some(device.asked.whole_second()),
        addresses: vec![device.address],
        version: String::new(),
        policy_expires: None,
    });
    Ok(rows.collect())
}

fn cells(row: Row) -> [String; 6] {
    let Row { name, state, labels, since, addresses, version, policy_expires: _ } = row;
    [name, state.to_owned(), or_empty(since), addresses.join(","), version, labels.join(",")]
}
