//! `search`: the lines that sessions showed or were told and that runs printed, in recordings that the gateway can read. For
//! auditors only.

use super::{
    Call, Failure, Place,
    command::Sought,
    recording::note_looks,
    sealed::{self, Sealed},
    show::{self, Form},
};
use crate::{
    act::index::catch_up,
    limits::{self, INDEXED_RUN},
    store::{Found, IndexError, TenantStore, Wanted},
};
use belay_certs::{
    Id, PersonRef, TenantName, Timestamp,
    policy::ActionKind,
    recording::{cast::Kind, offset_words},
    screen::pages::Phrase,
};
use belay_rules::{
    What,
    event::{Look, OutputRead, RecordingRead},
};
use serde::Serialize;
use std::collections::BTreeSet;

/// One line that was found, as JSON.
#[derive(Serialize)]
struct Row {
    tenant: TenantName,
    /// Of a run: its job.
    session: Id,
    /// `web1.acme`.
    device: String,
    person: PersonRef,
    kind: String,
    started: Timestamp,
    at_ms: u64,
    line: String,
}

impl Row {
    fn is_run(&self) -> bool {
        self.kind == INDEXED_RUN
    }
}

/// The whole answer, as JSON.
#[derive(Serialize)]
struct Answer {
    found: Vec<Row>,
    /// Recordings, of sessions and runs, that fit and that only the auditors can read.
    unreadable: u64,
    /// How many of them are what runs printed.
    unreadable_runs: u64,
    /// Recordings that are not in the index yet, or more.
    waiting: u64,
    /// Why they wait for the gateway's operator: one sentence. Null when they wait for their turn.
    no_room: Option<String>,
    /// What only the auditors can read and changed since a moment, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

pub(super) async fn run(call: &Call<'_>, text: &str, sought: &Sought<Kind>, form: Form) -> Result<String, Failure> {
    let tenant = sought.tenant.as_ref().or(sought.device.as_ref().map(|device| &device.tenant));
    let places = call.granted(tenant).await?;
    let auditing: Vec<Place> = places.into_iter().filter(|place| call.holds(place, ActionKind::Audit)).collect();
    if auditing.is_empty() {
        return Err(call.lacks(tenant, ActionKind::Audit));
    }
    let since = sought.since.map_or(Timestamp::from_micros(0), |since| since.before(call.now()));
    let limit = u32::try_from(sought.limit).unwrap_or(u32::MAX);
    let words = Phrase::new(text).map_err(|invalid| Failure::Refused(invalid.sentence))?;
    let nothing = "there is no word to look for: give one with a letter or a digit";
    let wanted = Wanted {
        words: words.ok_or_else(|| Failure::Refused(nothing.to_owned()))?,
        person: sought.person.clone(),
        device: sought.device.as_ref().map(|device| device.device.clone()),
        since,
        kind: sought.kind,
        limit,
    };
    let mut answer =
        Answer { found: Vec::new(), unreadable: 0, unreadable_runs: 0, waiting: 0, no_room: None, sealed: None };
    let mut looks = Vec::new();
    for place in auditing {
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        let behind = catch_up(call.gateway, &place.tenant, limits::INDEX_WAIT).await?;
        answer.waiting += behind.recordings;
        answer.no_room = answer.no_room.or(behind.no_room);
        answer.unreadable += store.unreadable(&wanted).await?;
        let (found, sealed) = found(call, &store, &wanted).await?;
        answer.unreadable += sealed;
        answer.unreadable_runs += sealed;
        answer.found.extend(found.into_iter().map(|found| row(&place.tenant, found)));
        // Never more than one tenant's worth beyond the limit.
        let order = |row: &Row| (row.session, row.device.clone(), row.at_ms);
        answer.found.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| order(a).cmp(&order(b))));
        answer.found.truncate(limit as usize);
        looks.push(place);
    }
    if let Some(since) = sought.sealed {
        answer.sealed = Some(sealed::of(call, &looks, since.before(call.now())).await?);
    }
    for place in &looks {
        let shown = answer.found.iter().filter(|row| row.tenant == place.tenant);
        let recordings: BTreeSet<_> = shown.map(|row| (row.device.clone(), row.session, row.is_run())).collect();
        let looks = recordings.into_iter().filter_map(|(device, id, is_run)| {
            let (device, _) = device.split_once('.')?;
            let look = match is_run {
                true => What::OutputRead(OutputRead { job: id, kind: Look::Search }),
                false => What::RecordingRead(RecordingRead { session: id, kind: Look::Search }),
            };
            Some((device.parse().ok()?, look))
        });
        note_looks(call, place, looks).await?;
    }
    match form {
        Form::Json => Ok(show::json(&answer)?),
        Form::Table => Ok(table(answer)),
    }
}

/// What the index of one tenant says, and how many recordings in it only auditors can read. One that is found damaged here is made anew behind this.
async fn found(call: &Call<'_>, store: &TenantStore, wanted: &Wanted) -> Result<(Vec<Found>, u64), Failure> {
    for _ in 0..2 {
        let searched = match call.gateway.store.index(store.name()).await {
            Ok(mut index) => {
                let searched = match index.sealed(wanted).await {
                    Ok(sealed) => index.search(wanted).await.map(|found| (found, sealed)),
                    Err(error) => Err(error),
                };
                index.close().await;
                searched
            }
            Err(error) => Err(error),
        };
        match searched {
            Ok(found) => return Ok(found),
            Err(IndexError::Broken(why)) => return Err(why.into()),
            Err(IndexError::Damaged(why)) => {
                tracing::warn!(tenant = %store.name(), "the index is made anew: {why}");
                call.gateway.indexes.make_anew(call.gateway, store.name()).await?;
                catch_up(call.gateway, store.name(), limits::INDEX_WAIT).await?;
            }
        }
    }
    Err(Failure::Refused("the index of this tenant is being made anew; search again in a while".to_owned()))
}

fn row(tenant: &TenantName, found: Found) -> Row {
    Row {
        tenant: tenant.clone(),
        session: found.session,
        device: format!("{}.{tenant}", found.device),
        person: found.person,
        kind: found.kind,
        started: found.started,
        at_ms: found.at_ms,
        line: found.line,
    }
}

fn table(answer: Answer) -> String {
    let cells: Vec<_> = answer.found.into_iter().map(cells).collect();
    let mut text = show::table(["SESSION", "STARTED", "AT", "DEVICE", "PERSON", "LINE"], &cells);
    let sessions = answer.unreadable.saturating_sub(answer.unreadable_runs);
    if sessions > 0 {
        text.push_str(&format!(
            "{sessions} recordings are encrypted to the auditors: `belay search` looks into them on your own machine\n"
        ));
    }
    if answer.unreadable_runs > 0 {
        let runs = answer.unreadable_runs;
        text.push_str(&format!(
            "what {runs} runs printed is encrypted to the auditors: `belay search` looks into it on your own machine\n"
        ));
    }
    match answer.no_room {
        Some(why) => text.push_str(&format!("{why}; recordings that are not searched: {}\n", answer.waiting)),
        None if answer.waiting > 0 => {
            text.push_str("the newest recordings are not searched yet; search again in a while\n");
        }
        None => {}
    }
    text
}

fn cells(row: Row) -> [String; 6] {
    let started = row.started.whole_second().to_string();
    let session = match row.device.split_once('.') {
        Some((device, _)) if row.is_run() => format!("{}/{device}", row.session),
        _ => row.session.to_string(),
    };
    [session, started, offset_words(row.at_ms), row.device, row.person.to_string(), row.line]
}
