//! What doors read of devices: those that have a record, those that wait, and what each was approved with.
//!
//! A tenant's rows are reached through its [`TenantStore`] only (`read.rs`). Not here: what the writer remembers of devices
//! (`devices.rs`), and what changes them (`turn_devices.rs`).

use super::Store;
use super::broken::Broken;
use super::heads::{hash, signed, unsigned};
use super::read::{TenantStore, rows_max};
use super::sql;
use belay_certs::device::Approval;
use belay_certs::join::SignedJoin;
use belay_certs::policy::DeviceFacts;
use belay_certs::{DeviceAddress, DeviceName, Digest, Id, PersonRef, PublicKey, Signed, TenantName, Timestamp};
use belay_rules::DeviceState;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// The request it came in by.
    pub join: Id,
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: DeviceName,
    /// Where it is in its life.
    pub state: DeviceState,
    /// Its host key, one OpenSSH line; [`DeviceRow::host_key`] reads it.
    pub host_key_line: String,
    /// The digest of its machine id.
    pub machine_id: Digest,
    /// When it asked to join.
    pub asked: Timestamp,
    /// Its newest approval.
    pub approved: Option<ApprovedFacts>,
    /// Its connection, or its last one; none when it never connected.
    pub presence: Option<PresenceFacts>,
}

/// What counts of a device while it is connected: small, because twenty thousand are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it is called.
    pub address: DeviceAddress,
    /// Where it is in its life.
    pub state: DeviceState,
    /// Serial of its newest record, and the digest of the host certificate's line.
    pub record: Option<(u64, Digest)>,
}

/// What the newest approval of a device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedFacts {
    /// The record's serial.
    pub serial: u64,
    /// Its labels.
    pub labels: Vec<String>,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: PersonRef,
    /// Of the host certificate's line.
    pub certificate: Digest,
}

/// A device's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceFacts {
    /// The connection it has; none: it is offline.
    pub connection: Option<Id>,
    /// Since when it is connected, or gone.
    pub since: Timestamp,
    /// Where it called from.
    pub address: String,
    /// The agent's version.
    pub version: String,
    /// The newest version of its tenant's policy that it said it holds, when it came or when it went.
    pub held: Option<u64>,
}

/// A device in a list of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRow {
    /// What its record says.
    pub facts: DeviceFacts,
    /// Its connection, or its last one; none when it never connected.
    pub seen: Option<Seen>,
}

/// A connection, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is there, as far as the tables remember.
    pub is_connected: bool,
    /// Since when it is connected, or gone.
    pub since: Timestamp,
    /// Where it called from.
    pub address: String,
    /// The agent's version.
    pub version: String,
}

/// A machine that waits for approval, with all that an approver checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// The request's id.
    pub join: Id,
    /// The name it proposes.
    pub name: DeviceName,
    /// Where it called from.
    pub address: String,
    /// When it asked.
    pub asked: Timestamp,
    /// The exact request with both signatures.
    pub request: SignedJoin,
    /// The exact token it used, with its signature.
    pub token: Signed,
    /// The index of the entry that says it asked.
    pub entry: u64,
    /// The approved device that has the name it proposes: its record's serial and the digest of its machine id.
    pub holder: Option<(u64, Digest)>,
}

/// Which of the machines that wait are meant, and how many at once.
#[derive(Debug, Clone, Default)]
pub struct PendingWanted {
    /// Names from behind this one; empty: from the first.
    pub after: String,
    /// Only those that came with the token of this id.
    pub token: Option<Id>,
    /// Only those whose entry is behind this one.
    pub beyond: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// The approval of a device that is in force, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Its name.
    pub name: DeviceName,
    /// What the device gets.
    pub approval: Approval,
}

impl DeviceRow {
    /// Its host key.
    ///
    /// # Errors
    /// When the database holds something else.
    pub fn host_key(&self) -> Result<PublicKey, Broken> {
        Ok(PublicKey::parse(&self.host_key_line)?)
    }

    /// What counts while it is connected.
    pub fn standing(&self) -> Standing {
        Standing {
            address: DeviceAddress { device: self.name.clone(), tenant: self.tenant.clone() },
            state: self.state,
            record: self.approved.as_ref().map(|approved| (approved.serial, approved.certificate)),
        }
    }
}

impl Store {
    /// The device that joined as `join`, whichever tenant's: for the door that has only its transport certificate.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn device_by_join(&self, join: Id) -> Result<Option<DeviceRow>, Broken> {
        let row = sqlx::query(sql::DEVICE_BY_JOIN).bind(join.to_string()).fetch_optional(self.readers()).await?;
        let Some(row) = row else { return Ok(None) };
        let tenant = row.try_get::<&str, _>(1)?.parse()?;
        device(&row, &tenant).map(Some)
    }

    /// The devices that are connected, or were at `since` or later, with the address each called from: the latest `devices_max`.
    pub async fn connected_since(&self, since: Timestamp, devices_max: usize) -> Result<Vec<(Id, String)>, Broken> {
        let query =
            sqlx::query(sql::PRESENT_SINCE).bind(since.micros()).bind(i64::try_from(devices_max).unwrap_or(i64::MAX));
        let rows = query.fetch_all(self.readers()).await?;
        rows.iter().map(|row| Ok((row.try_get::<&str, _>(0)?.parse()?, row.try_get(1)?))).collect()
    }
}

impl TenantStore {
    /// The tenant's devices that have a record, by name, from behind the name `after` (empty: from the first). Each name
    /// once: the device that has it, or else the one that had it last and is revoked.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn devices(&self, after: &str, limit: u32) -> Result<Vec<DeviceRow>, Broken> {
        let query = sqlx::query(sql::DEVICES).bind(self.name().as_str()).bind(after).bind(rows_max(limit));
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| device(row, self.name())).collect()
    }

    /// The same devices, with what a list shows of each.
    pub async fn devices_listed(&self, after: &str, limit: u32) -> Result<Vec<ListedRow>, Broken> {
        let query = sqlx::query(sql::DEVICES_LISTED).bind(self.name().as_str()).bind(after).bind(rows_max(limit));
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| listed(row, self.name())).collect()
    }

    /// The device that has this name: the approved one, or else the one that waits for it, or had it last.
    pub async fn device(&self, name: &DeviceName) -> Result<Option<DeviceRow>, Broken> {
        let query = sqlx::query(sql::DEVICE_BY_NAME).bind(self.name().as_str()).bind(name.as_str());
        let row = query.fetch_optional(self.store().readers()).await?;
        row.map(|row| device(&row, self.name())).transpose()
    }

    /// The approved device with this host key.
    pub async fn device_by_key(&self, fingerprint: &str) -> Result<Option<DeviceRow>, Broken> {
        let query = sqlx::query(sql::DEVICE_BY_KEY).bind(self.name().as_str()).bind(fingerprint);
        let row = query.fetch_optional(self.store().readers()).await?;
        row.map(|row| device(&row, self.name())).transpose()
    }

    /// The newest approval of the device that joined as `join`, as the device gets it.
    pub async fn approval(&self, join: Id) -> Result<Option<Approval>, Broken> {
        let query = sqlx::query(sql::APPROVAL).bind(join.to_string()).bind(self.name().as_str());
        query.fetch_optional(self.store().readers()).await?.as_ref().map(approval).transpose()
    }

    /// The approved device that had this name before it got another.
    pub async fn once_called(&self, name: &DeviceName) -> Result<Option<DeviceRow>, Broken> {
        let query = sqlx::query(sql::DEVICE_ONCE_CALLED).bind(self.name().as_str()).bind(name.as_str());
        let row = query.fetch_optional(self.store().readers()).await?;
        row.map(|row| device(&row, self.name())).transpose()
    }

    /// The approvals in force, by name, from behind the name `after` (empty: from the first).
    pub async fn approvals(&self, after: &str, limit: u32) -> Result<Vec<ApprovalRow>, Broken> {
        let query = sqlx::query(sql::APPROVALS).bind(self.name().as_str()).bind(after).bind(rows_max(limit));
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter()
            .map(|row| Ok(ApprovalRow { name: row.try_get::<&str, _>(6)?.parse()?, approval: approval(row)? }))
            .collect()
    }

    /// The machines that wait for approval, by name.
    pub async fn pending(&self, wanted: &PendingWanted) -> Result<Vec<PendingRow>, Broken> {
        let beyond = wanted.beyond.map_or(Ok(-1), signed)?;
        let query = sqlx::query(sql::PENDING)
            .bind(self.name().as_str())
            .bind(wanted.after.as_str())
            .bind(wanted.token.map_or_else(String::new, |token| token.to_string()))
            .bind(beyond)
            .bind(rows_max(wanted.limit));
        query.fetch_all(self.store().readers()).await?.iter().map(pending).collect()
    }

    /// The highest serial of the tenant's device records; 0 when there is none. The next approval uses higher ones.
    pub async fn highest_serial(&self) -> Result<u64, Broken> {
        let query = sqlx::query(sql::SERIAL_HIGHEST).bind(self.name().as_str());
        unsigned(query.fetch_one(self.store().readers()).await?.try_get(0)?)
    }
}

/// A row of `DEVICES_LISTED`.
fn listed(row: &AnyRow, tenant: &TenantName) -> Result<ListedRow, Broken> {
    let address = DeviceAddress { device: row.try_get::<&str, _>(0)?.parse()?, tenant: tenant.clone() };
    let seen = match row.try_get::<Option<i64>, _>(4)? {
        None => None,
        Some(since) => Some(Seen {
            is_connected: row.try_get::<Option<&str>, _>(3)?.is_some(),
            since: Timestamp::from_micros(since),
            address: row.try_get(5)?,
            version: row.try_get(6)?,
        }),
    };
    let labels = serde_json::from_str(row.try_get(2)?)?;
    Ok(ListedRow { facts: DeviceFacts { address, labels, serial: unsigned(row.try_get(1)?)? }, seen })
}

/// A row of `DEVICES` and its like, of this tenant.
fn device(row: &AnyRow, tenant: &TenantName) -> Result<DeviceRow, Broken> {
    Ok(DeviceRow {
        join: row.try_get::<&str, _>(0)?.parse()?,
        tenant: tenant.clone(),
        name: row.try_get::<&str, _>(2)?.parse()?,
        state: row.try_get::<&str, _>(3)?.parse()?,
        host_key_line: row.try_get(4)?,
        machine_id: row.try_get::<&str, _>(5)?.parse()?,
        asked: Timestamp::from_micros(row.try_get(6)?),
        approved: approved(row)?,
        presence: presence(row)?,
    })
}

fn approved(row: &AnyRow) -> Result<Option<ApprovedFacts>, Broken> {
    let Some(serial) = row.try_get::<Option<i64>, _>(7)? else { return Ok(None) };
    Ok(Some(ApprovedFacts {
        serial: unsigned(serial)?,
        labels: serde_json::from_str(row.try_get(8)?)?,
        at: Timestamp::from_micros(row.try_get(9)?),
        by: row.try_get::<&str, _>(10)?.parse()?,
        certificate: Digest::of(row.try_get::<&str, _>(15)?.as_bytes()),
    }))
}

fn presence(row: &AnyRow) -> Result<Option<PresenceFacts>, Broken> {
    let Some(since) = row.try_get::<Option<i64>, _>(12)? else { return Ok(None) };
    let connection: Option<&str> = row.try_get(11)?;
    Ok(Some(PresenceFacts {
        connection: connection.map(str::parse).transpose()?,
        since: Timestamp::from_micros(since),
        address: row.try_get(13)?,
        version: row.try_get(14)?,
        held: row.try_get::<Option<i64>, _>(16)?.map(unsigned).transpose()?,
    }))
}

/// A row of `APPROVAL`.
pub(super) fn approval(row: &AnyRow) -> Result<Approval, Broken> {
    let path: &[u8] = row.try_get(2)?;
    Ok(Approval {
        record: row.try_get(0)?,
        index: unsigned(row.try_get(1)?)?,
        path: path.chunks(32).map(hash).collect::<Result<Vec<_>, _>>()?,
        batch: Signed { bytes: row.try_get(3)?, signatures: vec![row.try_get(4)?] },
        certificate: row.try_get(5)?,
    })
}

/// A row of `PENDING`.
fn pending(row: &AnyRow) -> Result<PendingRow, Broken> {
    Ok(PendingRow {
        join: row.try_get::<&str, _>(0)?.parse()?,
        name: row.try_get::<&str, _>(1)?.parse()?,
        address: row.try_get(2)?,
        asked: Timestamp::from_micros(row.try_get(3)?),
        request: SignedJoin { bytes: row.try_get(4)?, by_join_key: row.try_get(5)?, by_host_key: row.try_get(6)? },
        token: Signed { bytes: row.try_get(7)?, signatures: vec![row.try_get(8)?] },
        entry: unsigned(row.try_get(9)?)?,
        holder: match (row.try_get::<Option<i64>, _>(10)?, row.try_get::<Option<&str>, _>(11)?) {
            (Some(serial), Some(machine)) => Some((unsigned(serial)?, machine.parse()?)),
            (Some(_), None) | (None, Some(_) | None) => None,
        },
    })
}
