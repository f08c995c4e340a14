//! The recordings that only auditors can read, as their gateways list them: of whom, where, since when, and how many chunks.
//!
//! A gateway's word, kept so that it is asked only for what is new; what a device signed takes its place once it was read. How
//! far each list goes is written together with it: cut off before that, the list is asked for again.

use super::{Index, unread, unwritten};
use crate::failure::{Outcome, refused};
use belay_certs::{DeviceAddress, Id, PersonRef, TenantName, Timestamp, statement::SessionKind};
use rusqlite::{OptionalExtension, Row, Statement, params};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Which recordings are meant: `?1` to `?4` are the parts of a filter, and its tenants stand in a table.
macro_rules! meant {
    () => {
        "FROM recording WHERE tenant IN (SELECT tenant FROM meant) AND (?1 = '' OR person = ?1) AND (?2 = '' OR device = ?2) \
         AND started_us >= ?3 AND (?4 = '' OR kind = ?4)"
    };
}
pub(super) use meant;

/// What was read of a recording counts more than what a gateway says of it.
const INSERT: &str = "
    INSERT INTO recording (tenant, device, id, person, kind, started_us, chunks, list, is_run)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?5 = 'run')
    ON CONFLICT (tenant, device, id, is_run) DO UPDATE SET chunks = excluded.chunks, list = excluded.list,
    started_us = excluded.started_us, person = CASE WHEN text IS NULL THEN excluded.person ELSE person END,
    kind = CASE WHEN text IS NULL THEN excluded.kind ELSE kind END";

/// A list of recordings, as a gateway gives it to `search --sealed`.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    /// Of which tenants it is.
    pub tenants: BTreeSet<TenantName>,
    /// All that changed before this moment is in it, or was before the moment that was asked for.
    pub until: Timestamp,
    /// Whether there are more from there on.
    pub more: bool,
    recordings: Vec<Listing>,
}

/// One recording in a list.
#[derive(Debug, Clone, Deserialize)]
struct Listing {
    session: Id,
    device: DeviceAddress,
    person: PersonRef,
    /// `shell`, `exec`, `sftp`: of a session; `run`.
    kind: String,
    started: Timestamp,
    chunks: u64,
    deleted: bool,
}

/// Which recordings are meant by a search.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// Only of these tenants.
    pub tenants: &'a BTreeSet<TenantName>,
    /// Only of this person.
    pub person: Option<&'a str>,
    /// Only on this device.
    pub device: Option<&'a DeviceAddress>,
    /// Only of what began then or later.
    pub since: Timestamp,
    /// Only of this kind.
    pub kind: Option<&'a str>,
}

impl Filter<'_> {
    pub(super) fn person(&self) -> &str {
        self.person.unwrap_or_default()
    }

    pub(super) fn device(&self) -> String {
        self.device.map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn kind(&self) -> &str {
        self.kind.unwrap_or_default()
    }
}

/// A recording that is known, and whose text is not here or older than it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number in the index.
    pub(super) n: i64,
    /// The session.
    pub session: Id,
    /// The device.
    pub device: DeviceAddress,
    /// How many chunks there are of it; of a run, how many bytes of output.
    pub chunks: u64,
    /// `shell`, `exec`, `sftp`, or `run`: then the session is a job.
    pub kind: String,
}

/// A recording in which a line was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The session.
    pub session: Id,
    /// The device.
    pub device: DeviceAddress,
    /// Who.
    pub person: String,
    /// `shell`, `exec`, `sftp`, `run`.
    pub kind: String,
    /// When it began.
    pub started: Timestamp,
}

impl Index {
    /// Since when a gateway is to be asked for what changed in a tenant, or in any that it was asked about; none: for all.
    ///
    /// # Errors
    /// It cannot be read; so for every function here.
    pub fn until(&self, gateway: &str, tenant: Option<&TenantName>) -> Outcome<Option<Timestamp>> {
        let query = "SELECT MIN(us) FROM until WHERE gateway = ?1 AND (?2 = '' OR tenant = ?2)";
        let row = params![gateway, tenant.map_or("", TenantName::as_str)];
        let until: Option<i64> = self.said(self.connection.query_row(query, row, |row| row.get(0)), unread)?;
        Ok(until.map(Timestamp::from_micros))
    }

    /// A number for a new listing, higher than those of all before: also where the clock was set back.
    pub fn new_list(&self, now: Timestamp) -> Outcome<i64> {
        let query = "SELECT COALESCE(MAX(list), 0) FROM recording";
        let last: i64 = self.said(self.connection.query_row(query, [], |row| row.get(0)), unread)?;
        Ok(now.micros().max(last.saturating_add(1)))
    }

    /// Takes a list in, with the number of the listing that it is a part of, and how far it goes. What was deleted is forgotten.
    ///
    /// # Errors
    /// More than `known_max` recordings would be known.
    pub fn learn(&mut self, gateway: &str, listed: &Listed, list: i64, known_max: u64) -> Outcome {
        let change = self.change()?;
        let mut insert = self.said(change.prepare(INSERT), unwritten)?;
        for one in listed.recordings.iter().filter(|one| listed.tenants.contains(&one.device.tenant)) {
            match one.deleted {
                true => self.forget_recording(one)?,
                false => self.said(write(&mut insert, one, list), unwritten)?,
            }
        }
        drop(insert);
        let known: i64 = self.said(change.query_row("SELECT COUNT(*) FROM recording", [], |row| row.get(0)), unread)?;
        if known.cast_unsigned() > known_max {
            return Err(refused(format!(
                "more than {known_max} recordings are encrypted to auditors: name a tenant with --tenant, and remove search.db \
                 of your home, or use `belay recording`"
            )));
        }
        for tenant in &listed.tenants {
            let until = "INSERT INTO until (gateway, tenant, us) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET us = excluded.us";
            let row = params![gateway, tenant.as_str(), listed.until.micros()];
            self.said(change.execute(until, row), unwritten)?;
        }
        self.said(change.commit(), unwritten)
    }

    /// A list that was asked for without naming a tenant has ended: of the gateway's other tenants nothing is followed any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn follow_only(&mut self, gateway: &str, tenants: &BTreeSet<TenantName>) -> Outcome {
        self.mean_tenants(tenants)?;
        let others = "DELETE FROM until WHERE gateway = ?1 AND tenant NOT IN (SELECT tenant FROM meant)";
        self.said(self.connection.execute(others, [gateway]), unwritten).map(drop)
    }

    /// Forgets what a listing of all recordings of these tenants did not name. How many that were.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn settle(&mut self, tenants: &BTreeSet<TenantName>, list: i64) -> Outcome<usize> {
        self.mean_tenants(tenants)?;
        let change = self.change()?;
        let gone = || {
            let query = "SELECT n FROM recording WHERE tenant IN (SELECT tenant FROM meant) AND list < ?1";
            let mut query = change.prepare(query)?;
            let rows = query.query_map([list], |row| row.get::<_, i64>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let gone = self.said(gone(), unread)?;
        for n in &gone {
            self.remove_text(*n)?;
            self.said(change.execute("DELETE FROM recording WHERE n = ?1", [n]), unwritten)?;
        }
        self.said(change.commit(), unwritten)?;
        Ok(gone.len())
    }

    /// How many are known of those that are meant.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn count(&self, filter: &Filter<'_>) -> Outcome<u64> {
        self.mean(filter)?;
        let asked = params![filter.person(), filter.device(), filter.since.micros(), filter.kind()];
        let count = self.connection.query_row(concat!("SELECT COUNT(*) ", meant!()), asked, |row| row.get::<_, i64>(0));
        Ok(self.said(count, unread)?.cast_unsigned())
    }

    /// Those that are meant and whose text is to be fetched, the oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn missing(&self, filter: &Filter<'_>) -> Outcome<Vec<Known>> {
        self.mean(filter)?;
        let query = concat!(
            "SELECT n, id, device, chunks, kind ",
            meant!(),
            " AND text_chunks IS NOT chunks ORDER BY started_us, n"
        );
        let asked = params![filter.person(), filter.device(), filter.since.micros(), filter.kind()];
        let rows = || {
            let mut query = self.connection.prepare(query)?;
            let rows = query.query_map(asked, |row| {
                let (id, device): (String, String) = (row.get(1)?, row.get(2)?);
                Ok((row.get::<_, i64>(0)?, id, device, row.get::<_, i64>(3)?, row.get::<_, String>(4)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = self.said(rows(), unread)?;
        let known = |(n, id, device, chunks, kind): (i64, String, String, i64, String)| {
            Ok(Known { n, session: id.parse()?, device: device.parse()?, chunks: chunks.cast_unsigned(), kind })
        };
        rows.into_iter().map(known).collect()
    }

    /// The recording of a text.
    pub(super) fn recording(&self, text: i64) -> Outcome<Recording> {
        let query = "SELECT id, device, person, kind, started_us FROM recording WHERE text = ?1";
        let read = |row: &Row<'_>| {
            let (id, device): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((id, device, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?))
        };
        let row = self.connection.prepare(query).and_then(|mut query| query.query_row([text], read));
        let (id, device, person, kind, started) = self.said(row, unread)?;
        let (session, device) = (id.parse()?, device.parse()?);
        Ok(Recording { session, device, person, kind, started: Timestamp::from_micros(started) })
    }

    /// Says which tenants are meant.
    pub(super) fn mean(&self, filter: &Filter<'_>) -> Outcome {
        self.mean_tenants(filter.tenants)
    }

    fn mean_tenants(&self, tenants: &BTreeSet<TenantName>) -> Outcome {
        let mean = || {
            self.connection.execute("DELETE FROM meant", [])?;
            let mut insert = self.connection.prepare("INSERT INTO meant (tenant) VALUES (?1)")?;
            tenants.iter().try_for_each(|tenant| insert.execute([tenant.as_str()]).map(drop))
        };
        self.said(mean(), unread)
    }

    fn forget_recording(&self, one: &Listing) -> Outcome {
        let query = "SELECT n FROM recording WHERE tenant = ?1 AND device = ?2 AND id = ?3 AND is_run = (?4 = 'run')";
        let (device, id) = (one.device.to_string(), one.session.to_string());
        let key = params![one.device.tenant.as_str(), device, id, one.kind];
        let n: Option<i64> = self.said(self.connection.query_row(query, key, |row| row.get(0)).optional(), unread)?;
        let Some(n) = n else { return Ok(()) };
        self.remove_text(n)?;
        self.said(self.connection.execute("DELETE FROM recording WHERE n = ?1", [n]), unwritten).map(drop)
    }
}

fn write(insert: &mut Statement<'_>, one: &Listing, list: i64) -> rusqlite::Result<()> {
    let Listing { session, device, person, kind, started, chunks, deleted: _ } = one;
    let (tenant, device, id, person) =
        (device.tenant.as_str(), device.to_string(), session.to_string(), person.to_string());
    insert.execute(params![tenant, device, id, person, kind, started.micros(), chunks.cast_signed(), list]).map(drop)
}

/// As gateways write it.
pub fn kind_word(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Shell => "shell",
        SessionKind::Exec => "exec",
        SessionKind::Sftp => "sftp",
        SessionKind::Forward => "forward",
    }
}
