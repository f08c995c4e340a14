//! Who did what on which machine: the sessions that devices said they started.

use super::broken::Broken;
use super::heads::unsigned;
use super::read::{TenantStore, rows_max};
use super::recordings::{Kept, kept};
use super::rows::kind_word;
use super::sql;
use belay_certs::statement::SessionKind;
use belay_certs::{DeviceName, Digest, Id, PersonRef, Timestamp};
use belay_rules::{RecordingState, SessionHeard, SessionState};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Which sessions are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only of this device.
    pub device: Option<DeviceName>,
    /// Only of this person.
    pub person: Option<PersonRef>,
    /// Only of this kind.
    pub kind: Option<SessionKind>,
    /// Started at or after this moment.
    pub since: Timestamp,
    /// Started before this moment.
    pub until: Timestamp,
    /// At most so many, the newest.
    pub limit: u32,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id, the device's own.
    pub session: Id,
    /// The device.
    pub device: DeviceName,
    /// The outer connection it came through.
    pub access: Id,
    /// Who.
    pub person: PersonRef,
    /// The account it ran as.
    pub account: String,
    /// `shell`, `exec`, `sftp` or `forward`.
    pub kind: String,
    /// The command line's start.
    pub command: Option<String>,
    /// Where a forward went.
    pub target: Option<String>,
    /// The ticket the person named.
    pub ticket: Option<String>,
    /// When the gateway recorded its start.
    pub started: Timestamp,
    /// The entry that holds the device's statement.
    pub index: u64,
    /// Its end; none while it goes on.
    pub ended: Option<SessionEndFacts>,
    /// What is held of its recording.
    pub recording: Option<Kept>,
    /// When the connection it came through ended; none while that is there.
    pub way_ended: Option<Timestamp>,
}

impl SessionRow {
    /// Where it stands, when nothing is waited for of a session to which the way was gone before `before`.
    pub fn state(&self, before: Timestamp) -> SessionState {
        let heard = SessionHeard {
            is_over: self.ended.is_some(),
            way_ended: self.way_ended,
            recording: self.recording.as_ref().map(|kept| kept.is_cut),
        };
        heard.state(before)
    }

    /// Where its recording stands; none without one.
    pub fn recording_state(&self) -> Option<RecordingState> {
        let end = self.ended.as_ref().map(|ended| ended.recording);
        self.recording.as_ref().map(|kept| kept.state(end))
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEndFacts {
    /// When the gateway recorded it.
    pub at: Timestamp,
    /// Its exit status.
    pub exit: Option<u32>,
    /// The signal that killed it.
    pub signal: Option<String>,
    /// Why, when it did not end by itself.
    pub reason: Option<String>,
    /// Bytes from the person.
    pub bytes_in: u64,
    /// Bytes to the person.
    pub bytes_out: u64,
    /// Of its recording.
    pub recording: Option<Digest>,
    /// What a file session did, as one line.
    pub files: Option<String>,
}

impl TenantStore {
    /// The tenant's sessions that fit `filter`, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, Broken> {
        let query = sqlx::query(sql::SESSIONS)
            .bind(self.name().as_str())
            .bind(filter.device.as_ref().map_or("", DeviceName::as_str))
            .bind(filter.person.as_ref().map(ToString::to_string).unwrap_or_default())
            .bind(filter.since.micros())
            .bind(filter.until.micros())
            .bind(filter.kind.map_or("", kind_word))
            .bind(rows_max(filter.limit));
        query.fetch_all(self.store().readers()).await?.iter().map(session).collect()
    }
}

/// A row of `session_shown!`.
pub(super) fn session(row: &AnyRow) -> Result<SessionRow, Broken> {
    Ok(SessionRow {
        session: row.try_get::<&str, _>(0)?.parse()?,
        device: row.try_get::<&str, _>(1)?.parse()?,
        access: row.try_get::<&str, _>(2)?.parse()?,
        person: row.try_get::<&str, _>(3)?.parse()?,
        account: row.try_get(4)?,
        kind: row.try_get(5)?,
        command: row.try_get(6)?,
        target: row.try_get(7)?,
        ticket: row.try_get(8)?,
        started: Timestamp::from_micros(row.try_get(9)?),
        index: unsigned(row.try_get(10)?)?,
        ended: ended(row)?,
        recording: row.try_get::<Option<i64>, _>(19)?.map(|_| kept(row, 19)).transpose()?,
        way_ended: row.try_get::<Option<i64>, _>(29)?.map(Timestamp::from_micros),
    })
}

fn ended(row: &AnyRow) -> Result<Option<SessionEndFacts>, Broken> {
    let Some(at) = row.try_get::<Option<i64>, _>(11)? else { return Ok(None) };
    let exit: Option<i64> = row.try_get(12)?;
    let recording: Option<&str> = row.try_get(17)?;
    Ok(Some(SessionEndFacts {
        at: Timestamp::from_micros(at),
        exit: exit.and_then(|exit| u32::try_from(exit).ok()),
        signal: row.try_get(13)?,
        reason: row.try_get(14)?,
        bytes_in: unsigned(row.try_get(15)?)?,
        bytes_out: unsigned(row.try_get(16)?)?,
        recording: recording.map(str::parse).transpose()?,
        files: row.try_get(18)?,
    }))
}
