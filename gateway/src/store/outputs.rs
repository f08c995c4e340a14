//! What runs printed, as those who go through it read it: what is new, for the index; and what is due.
//!
//! The bytes of one are read by [`TenantStore::output`]. Not here: pieces on their way in (`turn_jobs.rs`), holds and deletions
//! (`turn_outputs.rs`).

use super::broken::Broken;
use super::heads::unsigned;
use super::limits::{OUTPUTS_READ_MAX, RECORDINGS_DUE_MAX};
use super::read::TenantStore;
use super::sql;
use belay_certs::{DeviceName, Digest, Id, PersonRef, TenantName, Timestamp};
use belay_rules::OutputName;
use sqlx::Row;
use sqlx::any::AnyRow;

/// One run's output, with whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// Which.
    pub name: OutputName,
    /// Who ordered the run.
    pub person: PersonRef,
    /// When the run started, or was offered when nothing says that it did.
    pub started: Timestamp,
    /// When something of it last changed here.
    pub changed: Timestamp,
    /// Bytes of it that came.
    pub kept: u64,
    /// Its length and digest as the run's end names them; none while nobody said that the run ended.
    pub ended: Option<(u64, Option<Digest>)>,
    /// When it was deleted, if it was.
    pub deleted: Option<Timestamp>,
}

impl OutputRow {
    /// The digest of it, when all of it is here.
    pub fn whole(&self) -> Option<Digest> {
        match (self.ended, self.deleted) {
            (Some((bytes, digest)), None) if bytes == self.kept && bytes > 0 => digest,
            _ => None,
        }
    }
}

/// From where outputs are gone through, in the order in which they changed.
#[derive(Debug, Clone)]
pub struct OutputsFrom {
    changed: Timestamp,
    /// The last one that was read of those that changed then.
    behind: Option<(Id, DeviceName)>,
}

impl OutputsFrom {
    /// All that changed from this moment on.
    pub fn since(changed: Timestamp) -> Self {
        Self { changed, behind: None }
    }

    /// Those behind this one.
    pub fn behind(row: &OutputRow) -> Self {
        Self { changed: row.changed, behind: Some((row.name.job, row.name.device.clone())) }
    }
}

impl TenantStore {
    /// The next outputs of which something changed: of it came, the run ended, or it was deleted. At most
    /// [`OUTPUTS_READ_MAX`]; none when there are no more.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn outputs_changed(&self, from: &OutputsFrom) -> Result<Vec<OutputRow>, Broken> {
        let (job, device) = match &from.behind {
            Some((job, device)) => (job.to_string(), device.as_str()),
            None => (String::new(), ""),
        };
        let query = sqlx::query(sql::OUTPUTS_CHANGED)
            .bind(self.name().as_str())
            .bind(from.changed.micros())
            .bind(job)
            .bind(device)
            .bind(OUTPUTS_READ_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| output(row, self.name())).collect()
    }

    /// Outputs of runs that were over before `before`, or whose job was when nobody said that the run was, with nothing newer in
    /// them, that nobody holds.
    pub async fn outputs_due(&self, before: Timestamp) -> Result<Vec<OutputRow>, Broken> {
        let query =
            sqlx::query(sql::OUTPUTS_DUE).bind(self.name().as_str()).bind(before.micros()).bind(RECORDINGS_DUE_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| output(row, self.name())).collect()
    }
}

/// A row of `output_shown!`.
fn output(row: &AnyRow, tenant: &TenantName) -> Result<OutputRow, Broken> {
    let digest: Option<&str> = row.try_get(8)?;
    let ended = match row.try_get::<Option<i64>, _>(6)? {
        Some(_) => {
            Some((unsigned(row.try_get::<Option<i64>, _>(7)?.unwrap_or(0))?, digest.map(str::parse).transpose()?))
        }
        None => None,
    };
    let (job, device) = (row.try_get::<&str, _>(0)?.parse()?, row.try_get::<&str, _>(1)?.parse()?);
    Ok(OutputRow {
        name: OutputName { tenant: tenant.clone(), job, device },
        person: row.try_get::<&str, _>(2)?.parse()?,
        started: Timestamp::from_micros(row.try_get(3)?),
        changed: Timestamp::from_micros(row.try_get(4)?),
        kept: unsigned(row.try_get(5)?)?,
        ended,
        deleted: row.try_get::<Option<i64>, _>(9)?.map(Timestamp::from_micros),
    })
}
