//! Rows on their way into tables, and how each is bound; and the rows that judges read.

use super::broken::Broken;
use super::heads::{signed, unsigned};
use super::transaction::{Binding, Bound};
use belay_certs::policy::LogIdentity;
use belay_certs::tlog::tile::encode_hashes;
use belay_certs::tlog::{CompletedTile, Hash, root_of};
use belay_certs::{DeviceName, Digest, Id, TenantName, Timestamp};
use belay_rules::device::RecordHeld;
use belay_rules::event::Session;
use belay_rules::policy::PolicyHeld;
use belay_rules::statement::StatementHead;
use belay_rules::token::TokenHeld;
use belay_rules::{DeviceHeld, LogName};
use sqlx::Row;
use sqlx::any::AnyRow;

/// One log entry.
#[derive(Debug)]
pub(super) struct EntryRow {
    /// The log's number.
    pub(super) id: i64,
    pub(super) seq: i64,
    pub(super) leaf: Hash,
    pub(super) at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) device: Option<DeviceName>,
    pub(super) person: Option<String>,
    pub(super) bytes: Vec<u8>,
    /// The log's signed head, for the last entry of the transaction in its log.
    pub(super) head: Option<Vec<u8>>,
    /// The log's name, for the answer.
    pub(super) log: LogName,
}

impl Bound for EntryRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.id)
            .bind(self.seq)
            .bind(self.leaf.as_slice())
            .bind(self.at.micros())
            .bind(self.kind)
            .bind(self.device.as_ref().map(DeviceName::as_str))
            .bind(self.person.as_deref())
            .bind(self.bytes.as_slice())
            .bind(self.head.as_deref())
    }
}

/// One full tile.
#[derive(Debug)]
pub(super) struct TileRow {
    id: i64,
    level: i64,
    index: i64,
    root: Hash,
    hashes: Vec<u8>,
}

impl TileRow {
    pub(super) fn of(id: i64, tile: &CompletedTile) -> Result<Self, Broken> {
        Ok(Self {
            id,
            level: i64::from(tile.level),
            index: signed(tile.index)?,
            root: root_of(&tile.hashes),
            hashes: encode_hashes(&tile.hashes),
        })
    }
}

impl Bound for TileRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query.bind(self.id).bind(self.level).bind(self.index).bind(self.root.as_slice()).bind(self.hashes.as_slice())
    }
}

/// One object beside a log.
#[derive(Debug)]
pub(super) struct ObjectRow {
    pub(super) id: i64,
    pub(super) digest: String,
    pub(super) seq: i64,
    pub(super) bytes: Vec<u8>,
}

impl Bound for ObjectRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query.bind(self.id).bind(self.digest.as_str()).bind(self.seq).bind(self.bytes.as_slice())
    }
}

/// A device's connection, or where it was last.
#[derive(Debug, Clone)]
pub(super) struct PresenceRow {
    pub(super) join: Id,
    pub(super) tenant: TenantName,
    pub(super) connection: Option<Id>,
    pub(super) since: Timestamp,
    pub(super) address: String,
    pub(super) version: String,
    /// The newest version of its tenant's policy that it said it holds.
    pub(super) held: Option<i64>,
}

impl Bound for PresenceRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.join.to_string())
            .bind(self.tenant.as_str())
            .bind(self.connection.map(|connection| connection.to_string()))
            .bind(self.since.micros())
            .bind(self.address.as_str())
            .bind(self.version.as_str())
            .bind(self.held)
    }
}

/// A device's newest statement.
#[derive(Debug)]
pub(super) struct SaidRow {
    pub(super) join: Id,
    pub(super) seq: i64,
    pub(super) digest: Digest,
    pub(super) entry: i64,
}

impl SaidRow {
    pub(super) fn of(join: Id, head: &StatementHead) -> Result<Self, Broken> {
        Ok(Self { join, seq: signed(head.seq)?, digest: head.digest, entry: signed(head.index)? })
    }
}

impl Bound for SaidRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query.bind(self.join.to_string()).bind(self.seq).bind(self.digest.to_string()).bind(self.entry)
    }
}

/// A person's way to a device.
#[derive(Debug)]
pub(super) struct AccessRow {
    pub(super) id: Id,
    pub(super) tenant: TenantName,
    pub(super) device: String,
    pub(super) person: String,
    pub(super) key: String,
    pub(super) address: String,
    pub(super) opened: Timestamp,
}

impl Bound for AccessRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.id.to_string())
            .bind(self.tenant.as_str())
            .bind(self.device.as_str())
            .bind(self.person.as_str())
            .bind(self.key.as_str())
            .bind(self.address.as_str())
            .bind(self.opened.micros())
    }
}

/// Its end.
#[derive(Debug)]
pub(super) struct AccessEnd {
    pub(super) id: Id,
    pub(super) at: Timestamp,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) reason: String,
}

impl Bound for AccessEnd {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.at.micros())
            .bind(saturated(self.bytes_up))
            .bind(saturated(self.bytes_down))
            .bind(self.reason.as_str())
            .bind(self.id.to_string())
    }
}

/// A session that a device said it starts.
#[derive(Debug)]
pub(super) struct SessionRow {
    pub(super) tenant: TenantName,
    pub(super) device: String,
    pub(super) person: String,
    pub(super) session: Session,
    pub(super) started: Timestamp,
    pub(super) entry: i64,
}

impl Bound for SessionRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        let session = &self.session;
        query
            .bind(self.tenant.as_str())
            .bind(self.device.as_str())
            .bind(session.session.to_string())
            .bind(session.access.to_string())
            .bind(self.person.as_str())
            .bind(session.account.as_str())
            .bind(kind_word(session.kind))
            .bind(session.command.as_deref())
            .bind(session.target.as_deref())
            .bind(session.ticket.as_deref())
            .bind(self.started.micros())
            .bind(self.entry)
    }
}

/// A kind of session as the table has it.
pub(super) fn kind_word(kind: belay_certs::statement::SessionKind) -> &'static str {
    use belay_certs::statement::SessionKind;
    match kind {
        SessionKind::Shell => "shell",
        SessionKind::Exec => "exec",
        SessionKind::Sftp => "sftp",
        SessionKind::Forward => "forward",
    }
}

/// The end of a session.
#[derive(Debug)]
pub(super) struct SessionEnd {
    pub(super) tenant: TenantName,
    /// The device that says so: it may have had another name when the session began.
    pub(super) join: Id,
    pub(super) session: Id,
    pub(super) at: Timestamp,
    pub(super) exit: Option<u32>,
    pub(super) signal: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) recording: Option<Digest>,
    /// What a file session did, as one line.
    pub(super) files: Option<String>,
}

impl Bound for SessionEnd {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.at.micros())
            .bind(self.exit.map(i64::from))
            .bind(self.signal.as_deref())
            .bind(self.reason.as_deref())
            .bind(saturated(self.bytes_in))
            .bind(saturated(self.bytes_out))
            .bind(self.recording.map(|digest| digest.to_string()))
            .bind(self.files.as_deref())
            .bind(self.tenant.as_str())
            .bind(self.session.to_string())
            .bind(self.join.to_string())
    }
}

/// The row of a log that begins.
#[derive(Debug)]
pub(super) struct LogRow {
    pub(super) id: i64,
    pub(super) name: LogName,
    pub(super) identity: LogIdentity,
}

impl Bound for LogRow {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.id)
            .bind(self.name.as_str())
            .bind(self.identity.origin.as_str())
            .bind(self.identity.vkey.as_str())
    }
}

/// A count that a device or a door claims, as large as the database can have it.
fn saturated(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A row of `POLICY_HELD`.
pub(super) fn policy_held(row: &AnyRow) -> Result<PolicyHeld, Broken> {
    Ok(PolicyHeld {
        policy0: row.try_get::<&str, _>(0)?.parse()?,
        version: unsigned(row.try_get(1)?)?,
        digest: row.try_get::<&str, _>(2)?.parse()?,
        index: unsigned(row.try_get(3)?)?,
    })
}

/// A row of `TOKEN_BY_ID` or `TOKEN_BY_DIGEST`.
pub(super) fn token_held(row: &AnyRow) -> Result<TokenHeld, Broken> {
    Ok(TokenHeld {
        id: row.try_get::<&str, _>(0)?.parse()?,
        digest: row.try_get::<&str, _>(1)?.parse()?,
        uses_max: unsigned(row.try_get(2)?)?,
        uses: unsigned(row.try_get(3)?)?,
        expires: Timestamp::from_micros(row.try_get(4)?),
        index: unsigned(row.try_get(5)?)?,
    })
}

/// A row of `DEVICES_HELD_…`.
pub(super) fn device_held(row: &AnyRow) -> Result<DeviceHeld, Broken> {
    let serial: Option<i64> = row.try_get(6)?;
    let record: Option<Vec<u8>> = row.try_get(7)?;
    let record = match (serial, record) {
        (Some(serial), Some(text)) => Some(RecordHeld { serial: unsigned(serial)?, digest: Digest::of(&text) }),
        (Some(_), None) | (None, Some(_) | None) => None,
    };
    Ok(DeviceHeld {
        join: row.try_get::<&str, _>(0)?.parse()?,
        name: row.try_get::<&str, _>(1)?.parse()?,
        fingerprint: row.try_get(2)?,
        machine_id: row.try_get::<&str, _>(3)?.parse()?,
        state: row.try_get::<&str, _>(4)?.parse()?,
        asked: Timestamp::from_micros(row.try_get(5)?),
        record,
        index: unsigned(row.try_get(8)?)?,
    })
}
