//! `review`: what waits until somebody has looked at it, and what they say.

use super::{
    Call, Failure, Place,
    show::{self, Form, or_empty},
};
use crate::{
    act::enrol::refused,
    store::{OpinionRow, ReviewRow},
};
use belay_certs::{DeviceAddress, Id, PersonRef, TenantName, Timestamp, policy::ActionKind};
use belay_rules::{
    Ask,
    ask::Reviewing,
    review::{Kind, Opinion, State},
};
use serde::Serialize;

/// Something on the list, as JSON.
#[derive(Serialize)]
struct Row {
    subject: Id,
    kind: Kind,
    tenant: TenantName,
    /// `web1.acme`, of a session.
    device: Option<String>,
    person: PersonRef,
    /// Why it waits, or waited.
    why: Option<String>,
    since: Timestamp,
    state: State,
    over: bool,
    /// Every opinion, the oldest first: the newest counts.
    reviews: Vec<Given>,
}

/// One opinion, as JSON.
#[derive(Serialize)]
struct Given {
    by: PersonRef,
    at: Timestamp,
    verdict: State,
    note: String,
}

pub(super) async fn list(
    call: &Call<'_>,
    tenant: Option<&TenantName>,
    state: State,
    limit: u64,
    form: Form,
) -> Result<String, Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let places = call.granted(tenant).await?;
    let places: Vec<_> = places.into_iter().filter(|place| call.holds(place, ActionKind::Audit)).collect();
    if places.is_empty() {
        return Err(call.lacks(tenant, ActionKind::Audit));
    }
    let mut found = Vec::new();
    for place in places {
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        let rows = store.reviews(state, u32::try_from(limit).unwrap_or(u32::MAX)).await?;
        found.extend(rows.into_iter().map(|row| (place.tenant.clone(), row)));
        found.sort_by_key(|(_, row)| row.since);
        found.truncate(limit);
    }
    let mut rows = Vec::with_capacity(found.len());
    for (tenant, found) in found {
        let opinions = match (found.state, call.gateway.store.tenant(&tenant)) {
            (State::Waiting, _) | (_, None) => Vec::new(),
            (State::Approved | State::Flagged, Some(store)) => {
                store.opinions(found.subject, found.device.as_ref()).await?
            }
        };
        rows.push(row(tenant, found, opinions));
    }
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows.into_iter().map(cells).collect();
            let heading = ["SINCE", "KIND", "SUBJECT", "WHERE", "PERSON", "OVER", "STATE", "BY", "WHY OR NOTE"];
            Ok(show::table(heading, &cells))
        }
    }
}

fn row(tenant: TenantName, row: ReviewRow, opinions: Vec<OpinionRow>) -> Row {
    let ReviewRow { subject, kind, device, person, why, since, state, is_over: over } = row;
    let given = |OpinionRow { by, at, state: verdict, note }| Given { by, at, verdict, note };
    let reviews = opinions.into_iter().map(given).collect();
    let device = device.map(|device| format!("{device}.{tenant}"));
    Row { subject, kind, tenant, device, person, why, since, state, over, reviews }
}

fn cells(row: Row) -> [String; 9] {
    let newest = row.reviews.last();
    [
        row.since.whole_second().to_string(),
        row.kind.to_string(),
        row.subject.to_string(),
        row.device.unwrap_or_else(|| row.tenant.to_string()),
        row.person.to_string(),
        if row.over { "yes" } else { "no" }.to_owned(),
        row.state.to_string(),
        or_empty(newest.map(|given| &given.by)),
        newest.map(|given| given.note.clone()).or(row.why).unwrap_or_default(),
    ]
}

pub(super) async fn give(
    call: &Call<'_>,
    id: Id,
    device: Option<&DeviceAddress>,
    opinion: Opinion,
    note: String,
) -> Result<String, Failure> {
    let Found { place, kind, device } = find(call, id, device).await?;
    let name = or_empty(device.as_ref().map(|device| format!(" on {device}")));
    let (tenant, by) = (place.tenant, place.person);
    let device = device.map(|device| device.device);
    let said = Reviewing { tenant, subject: id, device, opinion, note, by };
    call.gateway.record(Ask::Review(Box::new(said))).await.map_err(refused)?;
    Ok(format!("{kind} {id}{name} is {}\n", opinion.state()))
}

/// What somebody named by its id.
struct Found {
    place: Place,
    kind: Kind,
    device: Option<DeviceAddress>,
}

/// The session or job of that id in a tenant that the caller audits; recorded there before this returns. One that is not there
/// and one that is none of the caller's business are answered alike (P3).
async fn find(call: &Call<'_>, id: Id, on: Option<&DeviceAddress>) -> Result<Found, Failure> {
    let now = call.now();
    let mut audits = false;
    for (tenant, _) in call.gateway.book.tenants_of(&call.caller.key) {
        let Some(person) = call.gateway.book.in_tenant(&tenant, &call.caller.key, now) else { continue };
        let place = Place { tenant, person };
        if !call.holds(&place, ActionKind::Audit) {
            continue;
        }
        audits = true;
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        let address = |device| DeviceAddress { device, tenant: place.tenant.clone() };
        let named = store.sessions_called(id).await?.into_iter().map(|one| address(one.device));
        let mut named: Vec<DeviceAddress> = named.filter(|device| on.is_none_or(|on| on == device)).collect();
        let kind = match named.len() {
            0 if on.is_none() && store.job(id).await?.is_some() => Kind::Job,
            0 => continue,
            _ => Kind::Session,
        };
        call.record(std::slice::from_ref(&place)).await?;
        let device = named.pop();
        if let Some(other) = named.pop() {
            let one = or_empty(device);
            return Err(Failure::Refused(format!(
                "{one} and {other} gave two sessions one id, which a device that keeps the rules does not: say which with --device"
            )));
        }
        return Ok(Found { place, kind, device });
    }
    // Recorded in every tenant of the caller's: it was looked for in all of them.
    call.granted(None).await?;
    if !audits {
        return Err(call.lacks(None, ActionKind::Audit));
    }
    Err(Failure::Refused(format!("there is no session or job {id} that you may review; list what waits with `review`")))
}
