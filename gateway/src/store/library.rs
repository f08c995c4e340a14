//! What doors read of runbooks, jobs, runs and what runs wrote.

use super::Store;
use super::broken::Broken;
use super::heads::{signed, unsigned};
use super::jobs::{self, RunRow};
use super::limits::{AUTHORS_READ_MAX, PIECES_READ_MAX, ROWS_READ_MAX};
use super::read::{TenantStore, rows_max};
use super::sql;
use belay_certs::{AccountName, DeviceName, Digest, Id, PersonRef, RunbookName, Signed, TenantName, Timestamp};
use belay_rules::job::Phase;
use belay_rules::limits::JOBS_OPEN_MAX;
use belay_rules::submission::RunState;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// One version of a runbook in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunbookRow {
    /// Its name.
    pub name: RunbookName,
    /// Of its bytes.
    pub version: Digest,
    /// When it was issued.
    pub issued: Timestamp,
    /// `normal` or `high`.
    pub risk: String,
    /// The fingerprint of the key that signed it.
    pub signed_by: String,
    /// When it was brought.
    pub pushed: Timestamp,
    /// The entry that says so.
    pub index: u64,
}

/// A runbook with one author's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRunbook {
    /// Exact bytes and signature.
    pub signed: Signed,
    /// The fingerprint of the key that signed it.
    pub signed_by: String,
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Its id, the order's.
    pub id: Id,
    /// The runbook's name.
    pub runbook: RunbookName,
    /// The runbook's hash.
    pub version: Digest,
    /// Who signed the order.
    pub person: PersonRef,
    /// As whom it runs.
    pub account: AccountName,
    /// How many devices it is for.
    pub devices: u64,
    /// When it was recorded.
    pub submitted: Timestamp,
    /// From when on runs may start.
    pub not_before: Timestamp,
    /// From when on none may.
    pub not_after: Timestamp,
    /// Whether more may begin.
    pub phase: Phase,
    /// Why none may.
    pub reason: Option<String>,
    /// Since when nothing more is waited for.
    pub over: Option<Timestamp>,
}

/// What a job goes by, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDocuments {
    /// The order's exact bytes and signature.
    pub order: Signed,
    /// The list of its devices.
    pub list: Vec<u8>,
    /// The fingerprint of the key whose signature of the runbook goes with it.
    pub author_key: String,
}

impl Store {
    /// Every job of which something is still waited for.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn jobs_open(&self) -> Result<Vec<(TenantName, Id)>, Broken> {
        let query = sqlx::query(sql::JOBS_OPEN).bind(i64::try_from(JOBS_OPEN_MAX).unwrap_or(i64::MAX));
        let rows = query.fetch_all(self.readers()).await?;
        rows.iter().map(|row| Ok((row.try_get::<&str, _>(0)?.parse()?, row.try_get::<&str, _>(1)?.parse()?))).collect()
    }
}

impl TenantStore {
    /// The versions of all runbooks, or of one name, the newest of each name first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn runbooks(&self, name: Option<&RunbookName>, limit: u32) -> Result<Vec<RunbookRow>, Broken> {
        let query = sqlx::query(sql::RUNBOOKS)
            .bind(self.name().as_str())
            .bind(name.map_or("", RunbookName::as_str))
            .bind(rows_max(limit));
        query.fetch_all(self.store().readers()).await?.iter().map(runbook).collect()
    }

    /// One version, once for each author who signed it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn runbook(&self, version: Digest) -> Result<Vec<SignedRunbook>, Broken> {
        let query =
            sqlx::query(sql::RUNBOOK).bind(self.name().as_str()).bind(version.to_string()).bind(AUTHORS_READ_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        let read = |row: &AnyRow| {
            let signed = Signed { bytes: row.try_get(0)?, signatures: vec![row.try_get(1)?] };
            Ok(SignedRunbook { signed, signed_by: row.try_get(2)? })
        };
        rows.iter().map(read).collect()
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<JobRow>, Broken> {
        let query = sqlx::query(sql::JOBS).bind(self.name().as_str()).bind(rows_max(limit));
        query.fetch_all(self.store().readers()).await?.iter().map(job).collect()
    }

    /// One job.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn job(&self, id: Id) -> Result<Option<JobRow>, Broken> {
        let query = sqlx::query(sql::JOB).bind(self.name().as_str()).bind(id.to_string());
        query.fetch_optional(self.store().readers()).await?.as_ref().map(job).transpose()
    }

    /// What a job goes by.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn job_documents(&self, id: Id) -> Result<Option<JobDocuments>, Broken> {
        let query = sqlx::query(sql::JOB_DOCUMENTS).bind(self.name().as_str()).bind(id.to_string());
        let Some(row) = query.fetch_optional(self.store().readers()).await? else { return Ok(None) };
        let order = Signed { bytes: row.try_get(0)?, signatures: vec![row.try_get(1)?] };
        Ok(Some(JobDocuments { order, list: row.try_get(2)?, author_key: row.try_get(3)? }))
    }

    /// How many of a job's runs stand where, of those that were offered.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn job_counts(&self, id: Id) -> Result<BTreeMap<String, (RunState, u64)>, Broken> {
        let query = sqlx::query(sql::JOB_COUNTS).bind(self.name().as_str()).bind(id.to_string());
        let rows = query.fetch_all(self.store().readers()).await?;
        let read = |row: &AnyRow| {
            let word: &str = row.try_get(0)?;
            Ok((word.to_owned(), (word.parse()?, unsigned(row.try_get(1)?)?)))
        };
        rows.iter().map(read).collect()
    }

    /// The runs of a job that were offered and that changed behind the entry `after`, in the order of their changes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn runs(&self, id: Id, after: Option<u64>) -> Result<Vec<RunRow>, Broken> {
        let after = after.map_or(Ok(-1), signed)?;
        let query = sqlx::query(sql::RUNS)
            .bind(self.name().as_str())
            .bind(id.to_string())
            .bind(after)
            .bind(i64::from(ROWS_READ_MAX));
        query.fetch_all(self.store().readers()).await?.iter().map(jobs::run).collect()
    }

    /// One device's run, if it was offered.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn run(&self, id: Id, device: &DeviceName) -> Result<Option<RunRow>, Broken> {
        let query = sqlx::query(sql::RUN).bind(self.name().as_str()).bind(id.to_string()).bind(device.as_str());
        query.fetch_optional(self.store().readers()).await?.as_ref().map(jobs::run).transpose()
    }

    /// A part of what a run wrote, from `at` on; empty when there is no more. Pieces begin where the one before ends.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn output(&self, id: Id, device: &DeviceName, at: u64) -> Result<Vec<u8>, Broken> {
        let query = sqlx::query(sql::PIECES)
            .bind(self.name().as_str())
            .bind(id.to_string())
            .bind(device.as_str())
            .bind(signed(at)?)
            .bind(PIECES_READ_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        let mut bytes = Vec::new();
        for row in &rows {
            bytes.extend_from_slice(row.try_get::<&[u8], _>(1)?);
        }
        Ok(bytes)
    }
}

/// A row of `RUNBOOKS`.
fn runbook(row: &AnyRow) -> Result<RunbookRow, Broken> {
    Ok(RunbookRow {
        name: row.try_get::<&str, _>(0)?.parse()?,
        version: row.try_get::<&str, _>(1)?.parse()?,
        issued: Timestamp::from_micros(row.try_get(2)?),
        risk: row.try_get(3)?,
        signed_by: row.try_get(4)?,
        pushed: Timestamp::from_micros(row.try_get(5)?),
        index: unsigned(row.try_get(6)?)?,
    })
}

/// A row of `JOBS` or `JOB`.
fn job(row: &AnyRow) -> Result<JobRow, Broken> {
    Ok(JobRow {
        id: row.try_get::<&str, _>(0)?.parse()?,
        runbook: row.try_get::<&str, _>(1)?.parse()?,
        version: row.try_get::<&str, _>(2)?.parse()?,
        person: row.try_get::<&str, _>(3)?.parse()?,
        account: row.try_get::<&str, _>(4)?.parse()?,
        devices: unsigned(row.try_get(5)?)?,
        submitted: Timestamp::from_micros(row.try_get(6)?),
        not_before: Timestamp::from_micros(row.try_get(7)?),
        not_after: Timestamp::from_micros(row.try_get(8)?),
        phase: jobs::phase(row.try_get(9)?)?,
        reason: row.try_get(10)?,
        over: row.try_get::<Option<i64>, _>(11)?.map(Timestamp::from_micros),
    })
}
