//! `jobs` and `job JOB`: orders under way and over, run by run, followed as they change.
//!
//! Not here: what runs wrote (`output`).

mod outputs;
mod view;

use super::{
    Call, Failure, Output, Place,
    output::{output, still_there},
    show::{self, Form},
};
use crate::store::{JobRow, TenantStore};
use belay_certs::{AccountName, DeviceName, Digest, Id, PersonRef, RunbookName, TenantName, Timestamp, order::Outcome};
use belay_rules::{job::Phase, submission::RunState};
use outputs::{Outputs, Shape};
use serde::Serialize;
use std::collections::BTreeMap;
use view::{Shown, View, csv};

/// How a job is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As a table or JSON.
    pub(super) form: Form,
    /// As comma-separated values.
    pub(super) csv: bool,
    /// And every change until it is over.
    pub(super) follow: bool,
    /// What one run wrote; with `follow` what all write, as it comes.
    pub(super) output: bool,
}

/// A job in a list, as JSON.
#[derive(Serialize)]
struct Listed {
    job: Id,
    tenant: TenantName,
    runbook: RunbookName,
    version: Digest,
    person: PersonRef,
    account: AccountName,
    devices: u64,
    submitted: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    phase: &'static str,
    counts: BTreeMap<String, u64>,
}

pub(super) async fn list(
    call: &Call<'_>,
    tenant: Option<&TenantName>,
    limit: u64,
    form: Form,
) -> Result<String, Failure> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let mut newest = Vec::new();
    for place in call.granted(tenant).await? {
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        newest.extend(store.jobs(limit).await?.into_iter().map(|row| (place.tenant.clone(), row)));
        newest.sort_by(|(_, a), (_, b)| b.submitted.cmp(&a.submitted).then_with(|| a.id.cmp(&b.id)));
        newest.truncate(limit as usize);
    }
    let mut rows = Vec::with_capacity(newest.len());
    for (tenant, row) in newest {
        let Some(store) = call.gateway.store.tenant(&tenant) else { continue };
        let counts = counts(&store, &row, call.now()).await?;
        rows.push(listed(&tenant, row, counts));
    }
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows.into_iter().map(cells).collect();
            Ok(show::table(["JOB", "TENANT", "RUNBOOK", "PERSON", "SUBMITTED", "UNTIL", "PHASE", "RUNS"], &cells))
        }
    }
}

fn cells(row: Listed) -> [String; 8] {
    let counts: Vec<String> = row.counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    [
        row.job.to_string(),
        row.tenant.to_string(),
        row.runbook.to_string(),
        row.person.to_string(),
        row.submitted.whole_second().to_string(),
        row.not_after.whole_second().to_string(),
        row.phase.to_owned(),
        counts.join(", "),
    ]
}

/// The job of that id in any tenant in which the caller has a grant; recorded in that tenant before this returns. One that
/// is not there and one of a tenant that is none of the caller's business are answered alike (P3).
pub(super) async fn find(call: &Call<'_>, id: Id) -> Result<(Place, JobRow), Failure> {
    let now = call.now();
    for (tenant, _) in call.gateway.book.tenants_of(&call.caller.key) {
        let Some(person) = call.gateway.book.in_tenant(&tenant, &call.caller.key, now) else { continue };
        let Some(store) = call.gateway.store.tenant(&tenant) else { continue };
        if let Some(row) = store.job(id).await? {
            let place = Place { tenant, person };
            call.record(std::slice::from_ref(&place)).await?;
            return Ok((place, row));
        }
    }
    // Recorded in every tenant of the caller's: it was looked for in all of them.
    call.granted(None).await?;
    Err(Failure::Refused(format!("there is no job {id} that you may see; list them with `jobs`")))
}

pub(super) async fn one(
    call: &Call<'_>,
    id: Id,
    device: Option<&DeviceName>,
    wanted: Wanted,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    let (place, row) = find(call, id).await?;
    let Some(store) = call.gateway.store.tenant(&place.tenant) else {
        return Err(Failure::Refused(format!("there is no job {id} that you may see; list them with `jobs`")));
    };
    if wanted.output && !wanted.follow {
        return output(&store, id, device, stdout).await;
    }
    let outputs = wanted.output.then(|| {
        let shape = if wanted.form == Form::Json { Shape::Lines } else { Shape::Raw };
        Outputs::of(call.gateway, &store, (&place.tenant, id), shape)
    });
    let mut view = View::open(&store, &place.tenant, row).await?;
    if wanted.follow {
        view.follow(call, &store, (device, outputs), stdout).await?;
        return Ok(String::new());
    }
    let runs = view.all(call.now()).into_iter().filter(|run| device.is_none_or(|device| run.device == *device));
    let runs: Vec<Shown> = runs.collect();
    if wanted.csv {
        return Ok(csv(&runs));
    }
    match wanted.form {
        Form::Json => Ok(show::json(&view.whole(runs, call.now()))?),
        Form::Table => Ok(view.table(runs)),
    }
}

fn listed(tenant: &TenantName, row: JobRow, counts: BTreeMap<String, u64>) -> Listed {
    let phase = phase_word(&row);
    Listed {
        job: row.id,
        tenant: tenant.clone(),
        runbook: row.runbook,
        version: row.version,
        person: row.person,
        account: row.account,
        devices: row.devices,
        submitted: row.submitted,
        not_before: row.not_before,
        not_after: row.not_after,
        phase,
        counts,
    }
}

fn phase_word(row: &JobRow) -> &'static str {
    match row.phase {
        Phase::Stopped => "stopped",
        Phase::Cancelled => "cancelled",
        Phase::Open if row.over.is_some() => "over",
        Phase::Open => "open",
    }
}

/// Where a run stands: what its device said, or what follows from the job for one that never began.
fn state(row: &JobRow, said: Option<RunState>, now: Timestamp) -> String {
    let called_off = match row.phase {
        Phase::Stopped | Phase::Cancelled => Some(Outcome::NotStarted),
        Phase::Open if now >= row.not_after => Some(Outcome::Expired),
        Phase::Open => None,
    };
    match (said, called_off) {
        (Some(RunState::Offered) | None, Some(outcome)) => outcome.to_string(),
        (Some(state), _) => state.to_string(),
        (None, None) => "waiting".to_owned(),
    }
}

async fn counts(store: &TenantStore, row: &JobRow, now: Timestamp) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut offered: u64 = 0;
    for (said, count) in store.job_counts(row.id).await?.into_values() {
        *counts.entry(state(row, Some(said), now)).or_default() += count;
        offered += count;
    }
    let rest = row.devices.saturating_sub(offered);
    if rest > 0 {
        *counts.entry(state(row, None, now)).or_default() += rest;
    }
    Ok(counts)
}
