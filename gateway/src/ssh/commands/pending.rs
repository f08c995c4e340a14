//! `pending`: the machines that wait for approval, with everything an approver checks on their own machine.

use super::{
    Call, Failure, Place,
    command::PendingWords,
    show::{self, Form},
};
use crate::{
    limits::PENDING_PAGE,
    store::{Broken, PendingRow, PendingWanted, TenantStore},
};
use belay_certs::{
    Digest, Id, PublicKey, Signed, TenantName, Timestamp, join::JoinRequest, policy::ActionKind, token::Token,
};
use serde::Serialize;
use std::time::{Duration, Instant};

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
    /// The log entry that says it asked.
    entry: u64,
    /// The approved device that has the name it proposes.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
    /// As the token proposes.
    labels: Vec<String>,
}

/// A device whose name another machine proposes.
#[derive(Serialize)]
struct Holder {
    /// Its record's.
    serial: u64,
    /// The same for the new one: the machine was installed anew.
    machine_id: Digest,
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

pub(super) async fn run(call: &Call<'_>, wanted: &PendingWords, form: Form) -> Result<String, Failure> {
    let mut places = call.granted(wanted.tenant.as_ref()).await?;
    places.retain(|place| call.holds(place, ActionKind::Enrol));
    if places.is_empty() {
        return Err(call.lacks(wanted.tenant.as_ref(), ActionKind::Enrol));
    }
    places.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    let deadline = Instant::now() + Duration::from_secs(wanted.wait_seconds);
    let mut joined = call.gateway.joined.subscribe();
    let mut rows = find(call, &places, wanted).await?;
    while rows.is_empty() && Instant::now() < deadline {
        tokio::select! {
            _ = joined.changed() => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
            () = call.gateway.stop.cancelled() => break,
        }
        places.retain(|place| call.holds(place, ActionKind::Enrol));
        rows = find(call, &places, wanted).await?;
    }
    // Hundreds of documents are read and written: not on a thread that relays.
    let answer = tokio::task::spawn_blocking(move || answer(rows, form));
    Ok(answer.await.map_err(|error| Failure::Refused(crate::broken(&error).sentence))??)
}

/// What waits in each tenant, with the serials that are free there.
type Found = Vec<(TenantName, u64, Vec<PendingRow>)>;

async fn find(call: &Call<'_>, places: &[Place], wanted: &PendingWords) -> Result<Found, Failure> {
    let mut left = wanted.limit.unwrap_or(u64::MAX);
    let mut found = Vec::new();
    for Place { tenant, .. } in places {
        let after = match &wanted.after {
            Some(after) if after.tenant > *tenant => continue,
            Some(after) if after.tenant == *tenant => after.device.to_string(),
            Some(_) | None => String::new(),
        };
        let Some(store) = call.gateway.store.tenant(tenant) else { continue };
        let wanted = PendingWanted { after, token: wanted.token, beyond: wanted.beyond, limit: 0 };
        let rows = some(&store, wanted, left).await?;
        left = left.saturating_sub(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        if !rows.is_empty() {
            found.push((tenant.clone(), store.highest_serial().await?.saturating_add(1), rows));
        }
    }
    Ok(found)
}

fn answer(found: Found, form: Form) -> Result<String, Broken> {
    let mut rows = Vec::new();
    for (tenant, free, waiting) in found {
        for (serial, device) in (free..).zip(waiting) {
            rows.push(row(&tenant, serial, device)?);
        }
    }
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows.into_iter().map(cells).collect();
            Ok(show::table(["NAME", "FINGERPRINT", "ADDRESS", "SINCE", "LABELS"], &cells))
        }
    }
}

/// Every machine that waits in a tenant, by name.
pub(super) async fn all(store: &TenantStore) -> Result<Vec<PendingRow>, Broken> {
    some(store, PendingWanted::default(), u64::MAX).await
}

/// Machines that wait in a tenant, by name, at most `left`; read page by page.
async fn some(store: &TenantStore, mut wanted: PendingWanted, mut left: u64) -> Result<Vec<PendingRow>, Broken> {
    let mut rows: Vec<PendingRow> = Vec::new();
    loop {
        wanted.limit = u32::try_from(left).unwrap_or(u32::MAX).min(PENDING_PAGE);
        let page = store.pending(&wanted).await?;
        let read = u32::try_from(page.len()).unwrap_or(u32::MAX);
        left = left.saturating_sub(read.into());
        let last = read < PENDING_PAGE || left == 0;
        rows.extend(page);
        match rows.last() {
            Some(row) if !last => wanted.after = row.name.to_string(),
            Some(_) | None => return Ok(rows),
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
        entry: device.entry,
        holder: device.holder.map(|(serial, machine_id)| Holder { serial, machine_id }),
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
