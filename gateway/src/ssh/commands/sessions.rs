//! `sessions`: who had which session on which device. With `audit` everybody's, without it only one's own.

use super::{
    Call, Failure, Place,
    command::Sought,
    show::{self, Form, or_empty},
};
use crate::act::silence;
use crate::store::{SessionFilter, SessionRow};
use belay_certs::{Id, PersonRef, TenantName, Timestamp, policy::ActionKind};
use belay_rules::{RecordingState, SessionState};
use serde::Serialize;

/// One session, as JSON.
#[derive(Serialize)]
struct Row {
    id: Id,
    /// `web1.acme`.
    device: String,
    person: PersonRef,
    account: String,
    kind: String,
    /// The command line's start; of a forward, where it went.
    command: Option<String>,
    started: Timestamp,
    /// `live`, `ended` or `unterminated`.
    state: &'static str,
    /// None while nobody said that it ended.
    ended: Option<Timestamp>,
    exit: Option<u32>,
    /// What a file session did, in numbers; its paths are in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<String>,
    /// None where nothing was recorded.
    recording: Option<Recorded>,
}

/// What there is of a session's recording, as JSON.
#[derive(Serialize)]
struct Recorded {
    state: &'static str,
    chunks: u64,
    bytes: u64,
    /// Whether the gateway can read it.
    readable: bool,
    held: bool,
}

pub(super) async fn run(call: &Call<'_>, sought: &Sought, form: Form) -> Result<String, Failure> {
    // One more than is shown tells whether there are more.
    let limit = u32::try_from(sought.limit.saturating_add(1)).unwrap_or(u32::MAX);
    let tenant = sought.tenant.as_ref().or(sought.device.as_ref().map(|device| &device.tenant));
    let mut rows = Vec::new();
    for place in call.granted(tenant).await? {
        rows.extend(of_tenant(call, &place, sought, limit).await?);
        // Never more than one tenant's worth beyond the limit, however many tenants there are.
        rows.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.id.cmp(&b.id)));
        rows.truncate(limit as usize);
    }
    let shown = usize::try_from(sought.limit).unwrap_or(usize::MAX);
    let more = rows.len() > shown;
    rows.truncate(shown);
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => Ok(table(rows, more)),
    }
}

fn table(rows: Vec<Row>, more: bool) -> String {
    let last = rows.last().map(|row| row.started);
    let cells: Vec<_> = rows.into_iter().map(cells).collect();
    let columns =
        ["SESSION", "STARTED", "ENDED", "DEVICE", "PERSON", "ACCOUNT", "KIND", "EXIT", "RECORDING", "COMMAND"];
    let mut text = show::table(columns, &cells);
    if let Some(last) = last.filter(|_| more) {
        text.push_str(&format!("there are older ones: go on with --until {last}, or name more with --limit N\n"));
    }
    text
}

async fn of_tenant(call: &Call<'_>, place: &Place, sought: &Sought, limit: u32) -> Result<Vec<Row>, Failure> {
    let Some(store) = call.gateway.store.tenant(&place.tenant) else { return Ok(Vec::new()) };
    let own = (!call.holds(place, ActionKind::Audit)).then(|| place.person.clone());
    if let (Some(own), Some(person)) = (&own, &sought.person)
        && own != person
    {
        return Ok(Vec::new());
    }
    let filter = SessionFilter {
        device: sought.device.as_ref().map(|device| device.device.clone()),
        person: own.or_else(|| sought.person.clone()),
        kind: sought.kind,
        since: sought.since.map_or(Timestamp::from_micros(0), |since| since.before(call.now())),
        until: sought.until.map_or(Timestamp::from_micros(i64::MAX), |until| until.before(call.now())),
        limit,
    };
    let before = silence::before(call.gateway);
    Ok(store.sessions(&filter).await?.into_iter().map(|session| row(&place.tenant, session, before)).collect())
}

fn row(tenant: &TenantName, session: SessionRow, before: Timestamp) -> Row {
    let stands = session.state(before).as_str();
    let state = session.recording_state().map_or("", RecordingState::as_str);
    let recording = session.recording.as_ref().map(|kept| Recorded {
        state,
        chunks: kept.chunks,
        bytes: kept.bytes,
        readable: kept.is_readable,
        held: kept.hold.is_some(),
    });
    Row {
        recording,
        state: stands,
        id: session.session,
        device: format!("{}.{tenant}", session.device),
        person: session.person,
        account: session.account,
        kind: session.kind,
        command: session.command.or(session.target),
        started: session.started,
        exit: session.ended.as_ref().and_then(|ended| ended.exit),
        ended: session.ended.as_ref().map(|ended| ended.at),
        files: session.ended.and_then(|ended| ended.files),
    }
}

fn cells(row: Row) -> [String; 10] {
    let Row { id, device, person, account, kind, command, started, state, ended, exit, files, recording } = row;
    let unterminated = SessionState::Unterminated.as_str();
    let ended = match ended {
        None if state == unterminated => state.to_owned(),
        ended => or_empty(ended.map(Timestamp::whole_second)),
    };
    let (id, started, person) = (id.to_string(), started.whole_second().to_string(), person.to_string());
    let (exit, recording) = (or_empty(exit), or_empty(recording.map(|recording| recording.state)));
    [id, started, ended, device, person, account, kind, exit, recording, command.or(files).unwrap_or_default()]
}
