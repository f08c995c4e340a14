//! `jobs` and `job JOB`: orders under way and over, run by run, followed as they change, and what runs wrote.

use super::{
    Call, Failure, Output, Place,
    show::{self, Form, or_empty},
};
use crate::{
    limits::{FOLLOW_EVERY, FOLLOW_LOOK_EVERY},
    store::{JobRow, RunRow, TenantStore},
};
use belay_certs::{
    AccountName, DeviceName, Digest, Id, PersonRef, RunbookName, TenantName, Timestamp,
    order::{DeviceLine, DeviceList, Outcome},
};
use belay_rules::{job::Phase, submission::RunState};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use tokio::io::AsyncWriteExt;

/// How a job is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As a table or JSON.
    pub(super) form: Form,
    /// As comma-separated values.
    pub(super) csv: bool,
    /// And every change until it is over.
    pub(super) follow: bool,
    /// What one run wrote.
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

/// A whole job, as JSON.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    listed: Listed,
    /// Why no run begins any more, where it was called off.
    reason: Option<String>,
    over: bool,
    order: String,
    signature: String,
    runs: Vec<Shown>,
}

/// A change of a job, as JSON.
#[derive(Serialize)]
struct Change<'a> {
    job: Id,
    phase: &'static str,
    reason: &'a Option<String>,
    over: bool,
    counts: BTreeMap<String, u64>,
    runs: Vec<Shown>,
}

/// One device's run, as JSON.
#[derive(Serialize)]
struct Shown {
    device: DeviceName,
    serial: u64,
    state: String,
    exit: Option<u32>,
    signal: Option<String>,
    reason: Option<String>,
    offered: Option<Timestamp>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    duration_ms: Option<u64>,
    output: Option<Digest>,
    output_bytes: Option<u64>,
    output_dropped: Option<u64>,
    output_kept: u64,
}

pub(super) async fn list(
    call: &Call<'_>,
    tenant: Option<&TenantName>,
    limit: u64,
    form: Form,
) -> Result<String, Failure> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let mut rows = Vec::new();
    for place in call.granted(tenant).await? {
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        for row in store.jobs(limit).await? {
            let counts = counts(&store, &row, call.now()).await?;
            rows.push(listed(&place.tenant, row, counts));
        }
        rows.sort_by(|a, b| b.submitted.cmp(&a.submitted).then_with(|| a.job.cmp(&b.job)));
        rows.truncate(limit as usize);
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
    if wanted.output {
        return output(&store, id, device, stdout).await;
    }
    let mut view = View::open(&store, &place.tenant, row).await?;
    if wanted.follow {
        return view.follow(call, &store, device, stdout).await;
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

/// What one run wrote, as far as it is here: the file's own bytes.
async fn output(
    store: &TenantStore,
    id: Id,
    device: Option<&DeviceName>,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    let Some(device) = device else {
        return Err(Failure::Usage("say whose: write `job JOB --device DEVICE --output`".to_owned()));
    };
    if store.run(id, device).await?.is_none() {
        return Err(Failure::Refused(format!("{device} was not offered job {id}, so there is no output")));
    }
    let mut at = 0_u64;
    loop {
        let bytes = store.output(id, device, at).await?;
        if bytes.is_empty() {
            return Ok(String::new());
        }
        stdout.write_all(&bytes).await?;
        at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
}

/// A job with all its devices, as far as it was read.
struct View<'a> {
    tenant: &'a TenantName,
    row: JobRow,
    lines: Vec<DeviceLine>,
    order: String,
    signature: String,
    runs: HashMap<DeviceName, RunRow>,
    /// The entry behind which nothing was read yet.
    seen: Option<u64>,
}

impl<'a> View<'a> {
    async fn open(store: &TenantStore, tenant: &'a TenantName, row: JobRow) -> Result<Self, Failure> {
        let documents = store.job_documents(row.id).await?;
        let documents = documents.ok_or_else(|| crate::store::Broken::new("a job has no documents"))?;
        let lines = DeviceList::parse(&documents.list)?.lines().to_vec();
        let order = String::from_utf8_lossy(&documents.order.bytes).into_owned();
        let signature = documents.order.signatures.into_iter().next().unwrap_or_default();
        let mut view = Self { tenant, row, lines, order, signature, runs: HashMap::new(), seen: None };
        view.read(store).await?;
        Ok(view)
    }

    /// Reads what changed, and says which devices.
    async fn read(&mut self, store: &TenantStore) -> Result<Vec<DeviceName>, Failure> {
        let changed = store.runs(self.row.id, self.seen).await?;
        self.seen = changed.iter().map(|run| run.changed).max().max(self.seen);
        let names = changed.iter().map(|run| run.device.clone()).collect();
        self.runs.extend(changed.into_iter().map(|run| (run.device.clone(), run)));
        Ok(names)
    }

    fn all(&self, now: Timestamp) -> Vec<Shown> {
        self.lines.iter().map(|line| self.shown(line, now)).collect()
    }

    fn shown(&self, line: &DeviceLine, now: Timestamp) -> Shown {
        let run = self.runs.get(&line.name);
        let ended = run.and_then(|run| run.ended.as_ref());
        Shown {
            device: line.name.clone(),
            serial: line.serial,
            state: state(&self.row, run.map(|run| run.state), now),
            exit: ended.and_then(|ended| ended.exit),
            signal: ended.and_then(|ended| ended.signal.clone()),
            reason: ended.and_then(|ended| ended.reason.clone()),
            offered: run.map(|run| run.offered),
            started: run.and_then(|run| run.started),
            ended: ended.map(|ended| ended.at),
            duration_ms: ended.map(|ended| ended.duration_ms),
            output: ended.and_then(|ended| ended.output),
            output_bytes: ended.map(|ended| ended.output_bytes),
            output_dropped: ended.map(|ended| ended.output_dropped),
            output_kept: run.map_or(0, |run| run.output_kept),
        }
    }

    fn counts(&self, now: Timestamp) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in &self.lines {
            let state = state(&self.row, self.runs.get(&line.name).map(|run| run.state), now);
            *counts.entry(state).or_default() += 1;
        }
        counts
    }

    fn whole(&self, runs: Vec<Shown>, now: Timestamp) -> Whole {
        Whole {
            listed: listed(self.tenant, self.row.clone(), self.counts(now)),
            reason: self.row.reason.clone(),
            over: self.row.over.is_some(),
            order: self.order.clone(),
            signature: self.signature.clone(),
            runs,
        }
    }

    fn table(&self, runs: Vec<Shown>) -> String {
        let JobRow { id, runbook, person, account, not_after, reason, .. } = &self.row;
        let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let phase = phase_word(&self.row);
        let head = format!(
            "job {id}: {runbook} as {account} on {} of {}, ordered by {person}, until {not_after}: {phase}{why}\n",
            self.lines.len(),
            self.tenant
        );
        let cells: Vec<_> = runs
            .into_iter()
            .map(|run| {
                let duration = run.duration_ms.filter(|_| run.started.is_some());
                [
                    run.device.to_string(),
                    run.state,
                    or_empty(run.exit),
                    or_empty(run.started.map(Timestamp::whole_second)),
                    or_empty(duration.map(|millis| format!("{millis} ms"))),
                    or_empty(run.output_bytes.filter(|bytes| *bytes > 0)),
                    run.reason.unwrap_or_default(),
                ]
            })
            .collect();
        let heading = ["DEVICE", "STATE", "EXIT", "STARTED", "TOOK", "OUTPUT", "REASON"];
        show::escape(head.trim_end()).into_owned() + "\n" + &show::table(heading, &cells)
    }

    /// The whole job as one line, then a line for each change until it is over.
    async fn follow(
        &mut self,
        call: &Call<'_>,
        store: &TenantStore,
        device: Option<&DeviceName>,
        stdout: &mut Output<'_>,
    ) -> Result<String, Failure> {
        let id = self.row.id;
        let wanted = |run: &Shown| device.is_none_or(|device| run.device == *device);
        let mut bell = call.gateway.jobs.watch(&(self.tenant.clone(), id));
        let now = call.now();
        let runs = self.all(now).into_iter().filter(wanted).collect();
        let mut line = show::json(&self.whole(runs, now))?;
        let mut shown = (phase_word(&self.row), self.row.over.is_some());
        loop {
            stdout.write_all(line.as_bytes()).await?;
            stdout.flush().await?;
            loop {
                if self.row.over.is_some() {
                    return Ok(String::new());
                }
                match &mut bell {
                    Some(rung) => {
                        let _ = tokio::time::timeout(FOLLOW_LOOK_EVERY, rung.changed()).await;
                        tokio::time::sleep(FOLLOW_EVERY).await;
                    }
                    None => {
                        tokio::time::sleep(FOLLOW_LOOK_EVERY).await;
                        bell = call.gateway.jobs.watch(&(self.tenant.clone(), id));
                    }
                }
                if let Some(row) = store.job(id).await? {
                    self.row = row;
                }
                let changed = self.read(store).await?;
                let now = call.now();
                let stands = (phase_word(&self.row), self.row.over.is_some());
                if changed.is_empty() && stands == shown {
                    continue;
                }
                let everything = stands != shown;
                let changed: std::collections::HashSet<DeviceName> = changed.into_iter().collect();
                let lines = self.lines.iter().filter(|line| everything || changed.contains(&line.name));
                let runs = lines.map(|line| self.shown(line, now)).filter(wanted).collect();
                let (phase, over) = stands;
                let counts = self.counts(now);
                line = show::json(&Change { job: id, phase, reason: &self.row.reason, over, counts, runs })?;
                shown = stands;
                break;
            }
        }
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

/// A line for each run (RFC 4180). A value that a spreadsheet would take for a formula begins with a quote.
fn csv(runs: &[Shown]) -> String {
    let mut out = "device,serial,state,exit,signal,reason,started,ended,duration_ms,output,output_bytes\r\n".to_owned();
    for run in runs {
        let cells = [
            run.device.to_string(),
            run.serial.to_string(),
            run.state.clone(),
            or_empty(run.exit),
            run.signal.clone().unwrap_or_default(),
            run.reason.clone().unwrap_or_default(),
            or_empty(run.started),
            or_empty(run.ended),
            or_empty(run.duration_ms),
            or_empty(run.output),
            or_empty(run.output_bytes),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

fn csv_cell(cell: &str) -> String {
    let safe = show::escape(cell);
    let formula = if safe.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if formula.is_empty() && !safe.contains([',', '"']) {
        return safe.into_owned();
    }
    format!("\"{formula}{}\"", safe.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_never_a_formula() {
        assert_eq!(csv_cell("web1"), "web1");
        assert_eq!(csv_cell("a,b"), "\"a,b\"");
        assert_eq!(csv_cell("say \"no\""), "\"say \"\"no\"\"\"");
        assert_eq!(csv_cell("=cmd()"), "\"'=cmd()\"");
        assert_eq!(csv_cell("a\nb\u{1b}"), "a\\u{a}b\\u{1b}");
    }
}
