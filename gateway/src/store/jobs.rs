//! The jobs that the writer remembers: what bears on whether a run may start, so that no intent needs a SELECT.
//!
//! Read from the tables when first asked for; changed together with what the transaction writes; thrown away whole when a
//! transaction fails.

use super::broken::Broken;
use super::heads::{signed, unsigned};
use super::limits::{JOBS_HELD_MAX, RUNS_HELD_MAX};
use super::sql;
use super::transaction::{Binding, Bound, Transaction};
use belay_certs::statement::RunEnd;
use belay_certs::{DeviceName, Digest, Id, TenantName, Timestamp};
use belay_rules::job::Phase;
use belay_rules::submission::{JobHeld, RunState};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Whose job, and which.
pub(super) type JobKey = (TenantName, Id);

/// One device's run, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The device.
    pub device: DeviceName,
    /// Its place in the order's list, from 0.
    pub place: u64,
    /// The serial of the record that was meant.
    pub serial: u64,
    /// Where it stands.
    pub state: RunState,
    /// When it was offered first.
    pub offered: Timestamp,
    /// When its start was recorded.
    pub started: Option<Timestamp>,
    /// How it ended, as the device says.
    pub ended: Option<RunEnded>,
    /// Bytes of its output that are here.
    pub output_kept: u64,
    /// When its output last changed here: something of it came, its end was said, or it was deleted. None while there is none.
    pub output_changed: Option<Timestamp>,
    /// Why nothing may delete its output, if so.
    pub output_hold: Option<String>,
    /// When its output was deleted, if it was.
    pub output_deleted: Option<Timestamp>,
    /// The entry that changed it last.
    pub changed: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnded {
    /// When that was recorded.
    pub at: Timestamp,
    /// The exit status, if it exited.
    pub exit: Option<u32>,
    /// The signal that killed it.
    pub signal: Option<String>,
    /// Why, when it did not end by itself.
    pub reason: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Of its output.
    pub output: Option<Digest>,
    /// The length of its output, in bytes.
    pub output_bytes: u64,
    /// Bytes that it wrote and that were not kept.
    pub output_dropped: u64,
}

impl RunEnded {
    /// What the device's statement says.
    pub(super) fn of(end: &RunEnd, at: Timestamp) -> Self {
        Self {
            at,
            exit: end.exit,
            signal: end.signal.clone(),
            reason: end.reason.clone(),
            duration_ms: end.duration_ms,
            output: end.output,
            output_bytes: end.output_bytes,
            output_dropped: end.output_dropped,
        }
    }

    /// That of a run that its device refused.
    pub(super) fn refused(reason: &str, at: Timestamp) -> Self {
        Self {
            at,
            exit: None,
            signal: None,
            reason: Some(reason.to_owned()),
            duration_ms: 0,
            output: None,
            output_bytes: 0,
            output_dropped: 0,
        }
    }
}

/// A job as the writer remembers it.
#[derive(Debug, Clone)]
pub(super) struct KnownJob {
    pub(super) held: JobHeld,
    pub(super) runs: HashMap<DeviceName, RunRow>,
}

/// The remembered jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs(HashMap<JobKey, KnownJob>);

impl Jobs {
    /// The job, if there is one.
    pub(super) async fn get(
        &mut self,
        transaction: &mut Transaction<'_>,
        tenant: &TenantName,
        id: Id,
    ) -> Result<Option<&mut KnownJob>, Broken> {
        match self.0.entry((tenant.clone(), id)) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(place) => match read(transaction.sql().await?, tenant, id).await? {
                Some(known) => Ok(Some(place.insert(known))),
                None => Ok(None),
            },
        }
    }

    /// A job that begins.
    pub(super) fn begin(&mut self, tenant: &TenantName, id: Id, held: JobHeld) {
        self.0.insert((tenant.clone(), id), KnownJob { held, runs: HashMap::new() });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets all when there are too many: what is under way is soon read again. Only between transactions: inside one, the
    /// tables lag behind.
    pub(super) fn trim(&mut self) {
        let runs: usize = self.0.values().map(|job| job.runs.len()).sum();
        if self.0.len() > JOBS_HELD_MAX || runs > RUNS_HELD_MAX {
            self.0.clear();
        }
    }
}

async fn read(connection: &mut AnyConnection, tenant: &TenantName, id: Id) -> Result<Option<KnownJob>, Broken> {
    let query = sqlx::query(sql::JOB_HELD).bind(tenant.as_str()).bind(id.to_string());
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let held = JobHeld {
        order: row.try_get::<&str, _>(0)?.parse()?,
        phase: phase(row.try_get(1)?)?,
        not_before: Timestamp::from_micros(row.try_get(2)?),
        not_after: Timestamp::from_micros(row.try_get(3)?),
        over: row.try_get::<Option<i64>, _>(4)?.is_some(),
        index: unsigned(row.try_get(5)?)?,
    };
    let query = sqlx::query(sql::RUNS).bind(tenant.as_str()).bind(id.to_string()).bind(-1_i64).bind(i64::MAX);
    let rows = query.fetch_all(connection).await?;
    let runs = rows.iter().map(|row| run(row).map(|run| (run.device.clone(), run))).collect::<Result<_, _>>()?;
    Ok(Some(KnownJob { held, runs }))
}

/// A phase as the table has it.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Stopped => "stopped",
        Phase::Cancelled => "cancelled",
    }
}

pub(super) fn phase(word: &str) -> Result<Phase, Broken> {
    match word {
        "open" => Ok(Phase::Open),
        "stopped" => Ok(Phase::Stopped),
        "cancelled" => Ok(Phase::Cancelled),
        other => Err(Broken::new(format!("{other:?} is not a job's phase"))),
    }
}

/// A row of `RUNS`.
pub(super) fn run(row: &AnyRow) -> Result<RunRow, Broken> {
    Ok(RunRow {
        device: row.try_get::<&str, _>(0)?.parse()?,
        place: unsigned(row.try_get(1)?)?,
        serial: unsigned(row.try_get(2)?)?,
        state: row.try_get::<&str, _>(3)?.parse()?,
        offered: Timestamp::from_micros(row.try_get(4)?),
        started: row.try_get::<Option<i64>, _>(5)?.map(Timestamp::from_micros),
        ended: ended(row)?,
        output_kept: unsigned(row.try_get(14)?)?,
        changed: unsigned(row.try_get(15)?)?,
        output_changed: row.try_get::<Option<i64>, _>(16)?.map(Timestamp::from_micros),
        output_hold: row.try_get(17)?,
        output_deleted: row.try_get::<Option<i64>, _>(18)?.map(Timestamp::from_micros),
    })
}

fn ended(row: &AnyRow) -> Result<Option<RunEnded>, Broken> {
    let Some(at) = row.try_get::<Option<i64>, _>(6)? else { return Ok(None) };
    let number =
        |column: usize| -> Result<u64, Broken> { unsigned(row.try_get::<Option<i64>, _>(column)?.unwrap_or(0)) };
    Ok(Some(RunEnded {
        at: Timestamp::from_micros(at),
        exit: row.try_get::<Option<i64>, _>(7)?.and_then(|exit| u32::try_from(exit).ok()),
        signal: row.try_get(8)?,
        reason: row.try_get(9)?,
        duration_ms: number(10)?,
        output: row.try_get::<Option<&str>, _>(11)?.map(str::parse).transpose()?,
        output_bytes: number(12)?,
        output_dropped: number(13)?,
    }))
}

/// A run's row on its way into the table.
#[derive(Debug)]
pub(super) struct RunWritten {
    pub(super) tenant: TenantName,
    pub(super) job: Id,
    pub(super) run: RunRow,
}

impl Bound for RunWritten {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        let RunRow { device, place, serial, state, offered, started, ended, output_kept, .. } = &self.run;
        let RunRow { output_changed, output_hold, output_deleted, changed, .. } = &self.run;
        let number = |of: fn(&RunEnded) -> u64| ended.as_ref().map(|ended| saturated(of(ended)));
        query
            .bind(self.tenant.as_str())
            .bind(self.job.to_string())
            .bind(device.as_str())
            .bind(saturated(*place))
            .bind(saturated(*serial))
            .bind(state.to_string())
            .bind(offered.micros())
            .bind(started.map(Timestamp::micros))
            .bind(ended.as_ref().map(|ended| ended.at.micros()))
            .bind(ended.as_ref().and_then(|ended| ended.exit.map(i64::from)))
            .bind(ended.as_ref().and_then(|ended| ended.signal.as_deref()))
            .bind(ended.as_ref().and_then(|ended| ended.reason.as_deref()))
            .bind(number(|ended| ended.duration_ms))
            .bind(ended.as_ref().and_then(|ended| ended.output).map(|digest| digest.to_string()))
            .bind(number(|ended| ended.output_bytes))
            .bind(number(|ended| ended.output_dropped))
            .bind(saturated(*output_kept))
            .bind(saturated(*changed))
            .bind(output_changed.map(Timestamp::micros))
            .bind(output_hold.as_deref())
            .bind(output_deleted.map(Timestamp::micros))
    }
}

fn saturated(count: u64) -> i64 {
    signed(count).unwrap_or(i64::MAX)
}

/// A piece of a run's output on its way into the table.
#[derive(Debug)]
pub(super) struct PieceWritten {
    pub(super) tenant: TenantName,
    pub(super) job: Id,
    pub(super) device: DeviceName,
    pub(super) at: i64,
    pub(super) bytes: Vec<u8>,
}

impl Bound for PieceWritten {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.tenant.as_str())
            .bind(self.job.to_string())
            .bind(self.device.as_str())
            .bind(self.at)
            .bind(self.bytes.as_slice())
    }
}
