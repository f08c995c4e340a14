//! One job with all its devices: as a table, as values, as JSON, and every change of it until it is over.
//!
//! Not here: which job, and who may see it (`jobs`).

use super::{
    Listed, listed,
    outputs::{Outputs, Shape},
    phase_word, state, still_there,
};
use crate::{
    limits::{FOLLOW_EVERY, FOLLOW_LOOK_EVERY, OUTPUTS_PER_TURN},
    ssh::commands::{
        Call, Failure, Output,
        show::{self, or_empty},
    },
    store::{Broken, JobRow, RunRow, TenantStore},
};
use belay_certs::{
    DeviceName, Digest, Id, TenantName, Timestamp,
    order::{DeviceLine, DeviceList},
    secrets::Sealed,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tokio::{io::AsyncWriteExt, sync::watch};

/// A whole job, as JSON.
#[derive(Serialize)]
pub(super) struct Whole {
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
    reason: Option<&'a str>,
    over: bool,
    counts: BTreeMap<String, u64>,
    runs: Vec<Shown>,
}

/// One device's run, as JSON.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) device: DeviceName,
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
    /// Bytes of it that are here.
    output_kept: u64,
    /// When it was deleted; what it was stays.
    output_deleted: Option<Timestamp>,
    /// Whether nothing may delete it.
    output_held: bool,
    /// The third word of its line in the order's list; a change does not repeat it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

/// A job with all its devices, as far as it was read.
pub(super) struct View<'a> {
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
    pub(super) async fn open(store: &TenantStore, tenant: &'a TenantName, row: JobRow) -> Result<Self, Failure> {
        let documents = store.job_documents(row.id).await?;
        let documents = documents.ok_or_else(|| Broken::new("a job has no documents"))?;
        let list = documents.list;
        // With secrets it has megabytes: not on a thread that relays.
        let parsed = tokio::task::spawn_blocking(move || DeviceList::parse(&list)).await;
        let parsed = parsed.map_err(|error| Broken::new(format!("reading a job stopped halfway: {error}")))?;
        let lines = parsed?.lines().to_vec();
        let order = String::from_utf8_lossy(&documents.order.bytes).into_owned();
        let signature = documents.order.signatures.into_iter().next().unwrap_or_default();
        let mut view = Self { tenant, row, lines, order, signature, runs: HashMap::new(), seen: None };
        view.read(store).await?;
        Ok(view)
    }

    /// Reads what changed, and says which devices.
    async fn read(&mut self, store: &TenantStore) -> Result<HashSet<DeviceName>, Failure> {
        let changed = store.runs(self.row.id, self.seen).await?;
        self.seen = changed.iter().map(|run| run.changed).max().max(self.seen);
        let names = changed.iter().map(|run| run.device.clone()).collect();
        self.runs.extend(changed.into_iter().map(|run| (run.device.clone(), run)));
        Ok(names)
    }

    pub(super) fn all(&self, now: Timestamp) -> Vec<Shown> {
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
            output_kept: run.filter(|run| run.output_deleted.is_none()).map_or(0, |run| run.output_kept),
            output_deleted: run.and_then(|run| run.output_deleted),
            output_held: run.is_some_and(|run| run.output_hold.is_some()),
            sealed: line.sealed.clone(),
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

    pub(super) fn whole(&self, runs: Vec<Shown>, now: Timestamp) -> Whole {
        Whole {
            listed: listed(self.tenant, self.row.clone(), self.counts(now)),
            reason: self.row.reason.clone(),
            over: self.row.over.is_some(),
            order: self.order.clone(),
            signature: self.signature.clone(),
            runs,
        }
    }

    fn change(&self, runs: Vec<Shown>, now: Timestamp) -> Change<'_> {
        let (phase, over) = self.stands();
        Change { job: self.row.id, phase, reason: self.row.reason.as_deref(), over, counts: self.counts(now), runs }
    }

    pub(super) fn table(&self, runs: Vec<Shown>) -> String {
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
                    match run.output_deleted {
                        Some(_) => "deleted".to_owned(),
                        None => or_empty(run.output_bytes.filter(|bytes| *bytes > 0)),
                    },
                    run.reason.unwrap_or_default(),
                ]
            })
            .collect();
        let heading = ["DEVICE", "STATE", "EXIT", "STARTED", "TOOK", "OUTPUT", "REASON"];
        show::escape(head.trim_end()).into_owned() + "\n" + &show::table(heading, &cells)
    }

    /// The job as it is at this moment, so that a change is seen.
    fn stands(&self) -> (&'static str, bool) {
        (phase_word(&self.row), self.row.over.is_some())
    }

    /// Reads the job again, and which of its runs changed.
    async fn look_again(&mut self, store: &TenantStore) -> Result<HashSet<DeviceName>, Failure> {
        if let Some(row) = store.job(self.row.id).await? {
            self.row = row;
        }
        self.read(store).await
    }

    /// The whole job as one line, then a line for each change until it is over; what runs print between them, or alone.
    ///
    /// # Errors
    /// The caller lost the last grant in the tenant, or nobody reads any more.
    pub(super) async fn follow(
        &mut self,
        call: &Call<'_>,
        store: &TenantStore,
        (device, mut outputs): (Option<&DeviceName>, Option<Outputs<'_>>),
        stdout: &mut Output<'_>,
    ) -> Result<(), Failure> {
        if let Some(device) = device.filter(|device| self.lines.iter().all(|line| line.name != **device)) {
            return Err(Failure::Refused(format!("the job {} is not for {device}", self.row.id)));
        }
        let is_wanted = |name: &DeviceName| device.is_none_or(|device| name == device);
        let shown_too = outputs.as_ref().is_none_or(|outputs| outputs.shape == Shape::Lines);
        let key = (self.tenant.clone(), self.row.id);
        let mut bell = call.gateway.jobs.watch(&key);
        // What changed before the bell was there rings nowhere.
        self.look_again(store).await?;
        let runs = self.all(call.now()).into_iter().filter(|run| is_wanted(&run.device)).collect();
        let mut line = show::json(&self.whole(runs, call.now()))?;
        let has_some = self.runs.values().filter(|run| outputs.is_some() && run.output_kept > 0);
        let mut printed: BTreeSet<DeviceName> = has_some.map(|run| run.device.clone()).collect();
        // What is written is not kept while nothing changes: with secrets it has megabytes, and many may follow.
        self.lines.iter_mut().for_each(|line| line.sealed = None);
        loop {
            let line_now = std::mem::take(&mut line);
            if shown_too {
                stdout.write_all(line_now.as_bytes()).await?;
            }
            if let Some(outputs) = &mut outputs {
                for _ in 0..OUTPUTS_PER_TURN {
                    let Some(name) = printed.pop_first() else { break };
                    self.check_grant(call)?;
                    if is_wanted(&name) && outputs.hand_over(&name, stdout).await? {
                        printed.insert(name);
                    }
                }
            }
            stdout.flush().await?;
            if printed.is_empty() && self.is_done(device, outputs.as_mut())? {
                return Ok(());
            }
            let before = self.stands();
            let changed = loop {
                if printed.is_empty() {
                    happened(&mut bell, outputs.as_ref()).await;
                }
                self.check_grant(call)?;
                bell = bell.or_else(|| call.gateway.jobs.watch(&key));
                printed.extend(outputs.as_ref().map(Outputs::take).unwrap_or_default());
                let changed = self.look_again(store).await?;
                // Of a job that is over nothing new may come: then it is only asked whether that is waited for any longer.
                if !changed.is_empty() || !printed.is_empty() || before != self.stands() || self.row.over.is_some() {
                    break changed;
                }
            };
            if changed.is_empty() && before == self.stands() {
                continue;
            }
            // With the job's own state that of every run may be another.
            let lines = self.lines.iter().filter(|line| before != self.stands() || changed.contains(&line.name));
            let runs = lines.filter(|line| is_wanted(&line.name)).map(|line| self.shown(line, call.now())).collect();
            line = show::json(&self.change(runs, call.now()))?;
        }
    }

    /// Whoever follows for hours may do so no longer than they may look.
    fn check_grant(&self, call: &Call<'_>) -> Result<(), Failure> {
        match call.gateway.book.in_tenant(self.tenant, &call.caller.key, call.now()) {
            Some(_) => Ok(()),
            None => Err(Failure::Refused(format!("you have no grant in {} any more", self.tenant))),
        }
    }

    /// Whether whoever follows has heard all: the job is over, or the one run of which only the output is wanted; and what was
    /// printed was handed over, or is not waited for any more.
    ///
    /// # Errors
    /// Only an output is wanted, and it was deleted or not all of it was handed over.
    fn is_done(&self, device: Option<&DeviceName>, outputs: Option<&mut Outputs<'_>>) -> Result<bool, Failure> {
        let over = self.row.over.is_some();
        let Some(outputs) = outputs else { return Ok(over) };
        let wanted = || self.runs.values().filter(|run| device.is_none_or(|device| run.device == *device));
        let only = wanted().next().filter(|_| outputs.shape == Shape::Raw);
        if !over && only.is_none_or(|run| run.ended.is_none()) {
            return Ok(false);
        }
        outputs.all_printed();
        let missing = wanted().map(|run| outputs.lacks(run)).fold(0, u64::saturating_add);
        only.map_or(Ok(()), |run| still_there(self.row.id, run))?;
        match only {
            Some(run) if missing > 0 && outputs.is_overdue() => {
                Err(Failure::Refused(format!("this is not all: {missing} bytes have not come from {}", run.device)))
            }
            _ => Ok(missing == 0 || outputs.is_overdue()),
        }
    }
}

/// Waits until the job's bell rings or a device prints, and a moment more for what comes with it; without either, until it is time to
/// look.
async fn happened(bell: &mut Option<watch::Receiver<u64>>, outputs: Option<&Outputs<'_>>) {
    let rings = async {
        let Some(open) = bell else { return std::future::pending().await };
        // Of a job that is over nobody rings.
        if open.changed().await.is_err() {
            *bell = None;
        }
    };
    let prints = async {
        match outputs {
            Some(outputs) => outputs.heard().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = rings => {}
        () = prints => {}
        () = tokio::time::sleep(FOLLOW_LOOK_EVERY) => {}
    }
    tokio::time::sleep(FOLLOW_EVERY).await;
}

/// A line for each run (RFC 4180). A value that a spreadsheet would take for a formula begins with a quote.
pub(super) fn csv(runs: &[Shown]) -> String {
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
