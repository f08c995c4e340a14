//! `pending`: the machines that wait for approval, with everything an approver checks on their own machine.

use super::{
    Call, Failure, Place,
    show::{self, Form},
};
use crate::store::{Broken, PendingRow, TenantStore, limits::ROWS_READ_MAX};
use belay_certs::{
    Digest, Id, PublicKey, Signed, TenantName, Timestamp, join::JoinRequest, policy::ActionKind, token::Token,
};
use serde::Serialize;

/// One machine, as JSON. What is signed is there whole; the rest only repeats it for people.
#[derive(Serialize)]
struct Row {
    /// `web1.acme`, as the machine proposes.
    name: String,
    /// The request's id.
    join: Id,
    host_key: PublicKey,
    fingerprint: String,
    machine_id: Digest,
    /// Where it called from.
    address: String,
    /// When it asked.
    since: Timestamp,
    token: Document,
    request: Request,
    /// A serial that no device of the tenant has, a different one for each row.
    serial_next: u64,
    /// As the token proposes.
    labels: Vec<String>,
}

/// The exact token document and its signature.
#[derive(Serialize)]
struct Document {
    text: String,
    signature: String,
}

/// The exact join request and its signatures.
#[derive(Serialize)]
struct Request {
    text: String,
    by_join_key: String,
    by_host_key: String,
}

pub(super) async fn run(call: &Call<'_>, tenant: Option<&TenantName>, form: Form) -> Result<String, Failure> {
    let mut places = call.granted(tenant).await?;
    places.retain(|place| call.holds(place, ActionKind::Enrol));
    if places.is_empty() {
        return Err(call.lacks(tenant, ActionKind::Enrol));
    }
    let mut rows = Vec::new();
    for place in places {
        rows.extend(waiting(call, &place).await?);
    }
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows.into_iter().map(cells).collect();
            Ok(show::table(["NAME", "FINGERPRINT", "ADDRESS", "SINCE", "LABELS"], &cells))
        }
    }
}

async fn waiting(call: &Call<'_>, place: &Place) -> Result<Vec<Row>, Failure> {
    let Some(store) = call.gateway.store.tenant(&place.tenant) else { return Ok(Vec::new()) };
    let free = store.highest_serial().await?.saturating_add(1);
    let rows = all(&store).await?;
    Ok((free..).zip(rows).map(|(serial, device)| row(&place.tenant, serial, device)).collect::<Result<_, Broken>>()?)
}

/// Every machine that waits in a tenant, by name.
pub(super) async fn all(store: &TenantStore) -> Result<Vec<PendingRow>, Broken> {
    let mut rows: Vec<PendingRow> = Vec::new();
    loop {
        let after = rows.last().map_or(String::new(), |row| row.name.to_string());
        let page = store.pending(&after, ROWS_READ_MAX).await?;
        let last = page.len() < ROWS_READ_MAX as usize;
        rows.extend(page);
        if last {
            return Ok(rows);
        }
    }
}

fn row(tenant: &TenantName, serial_next: u64, device: PendingRow) -> Result<Row, Broken> {
    let request = JoinRequest::parse(&device.request.bytes)?;
    let Signed { bytes, signatures } = device.token;
    let token = Token::parse(&bytes)?;
    Ok(Row {
        name: format!("{}.{tenant}", device.name),
        join: device.join,
        fingerprint: request.host_key.fingerprint(),
        host_key: request.host_key,
        machine_id: request.machine_id,
        address: device.address,
        since: device.asked.whole_second(),
        token: Document { text: text(bytes)?, signature: signatures.into_iter().next().unwrap_or_default() },
        request: Request {
            text: text(device.request.bytes)?,
            by_join_key: device.request.by_join_key,
            by_host_key: device.request.by_host_key,
        },
        serial_next,
        labels: token.labels,
    })
}

/// A document's bytes as JSON carries them. Documents that were let in are UTF-8.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, Broken> {
    String::from_utf8(bytes).map_err(|_| Broken::new("a document in the database is not UTF-8"))
}

fn cells(row: Row) -> [String; 5] {
    [row.name, row.fingerprint, row.address, row.since.to_string(), row.labels.join(",")]
}
