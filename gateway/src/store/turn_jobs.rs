//! The turns of runbooks, jobs and the output of runs.

use super::broken::{Broken, RecordError};
use super::heads::{signed, unsigned};
use super::jobs::{KnownJob, PieceWritten, RunEnded, RunRow, RunWritten, phase_word};
use super::sql;
use super::turn::{Answer, Turn};
use belay_certs::limits::OUTPUT_BYTES_MAX;
use belay_certs::order::{DeviceLine, Outcome as How};
use belay_certs::statement::Body;
use belay_certs::{DeviceName, Digest, Id, PersonRef, TenantName, Timestamp};
use belay_rules::job::{Missed, Phase};
use belay_rules::library::{self, Pushed};
use belay_rules::submission::{self, JobHeld, RunState, Submission};
use belay_rules::{Draft, Freezes, LogName, Outcome, Refusal, Verdict, What};
use sqlx::Row;
use std::collections::BTreeMap;

/// A piece of a run's output, as it came from its device.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Whose device.
    pub tenant: TenantName,
    /// The device.
    pub device: DeviceName,
    /// Its run's order.
    pub job: Id,
    /// Where in the output it begins.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// When it came.
    pub at: Timestamp,
}

fn check_frozen<const PEOPLE: usize>(
    freezes: &Freezes,
    tenant: &TenantName,
    device: Option<&DeviceName>,
    people: [&PersonRef; PEOPLE],
) -> Result<(), Refusal> {
    freezes.find(tenant, device, people).map_or(Ok(()), |freeze| Err(Refusal::Frozen(Box::new(freeze.clone()))))
}

impl Turn<'_> {
    pub(super) async fn push_runbook(
        &mut self,
        tenant: &TenantName,
        pushed: &Pushed,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let Pushed { runbook, signed: document, signed_by, .. } = pushed;
        let version = runbook.version.to_string();
        let query = sqlx::query(sql::RUNBOOK_ENTRY).bind(tenant.as_str()).bind(&version).bind(signed_by.as_str());
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let held = row.map(|row| unsigned(row.try_get(0)?)).transpose()?;
        let draft = match library::push(tenant, held, pushed)? {
            Verdict::Again(index) => return self.old(tenant.clone().into(), index, Outcome::Again).await,
            Verdict::Record(draft) => draft,
        };
        let entered = self.note(draft, now)?;
        let signature = document.signatures.first().map(String::as_str).unwrap_or_default();
        self.stage.keep(entered, &document.bytes);
        self.stage.keep(entered, signature.as_bytes());
        let query = sqlx::query(sql::RUNBOOK_ADD)
            .bind(tenant.as_str())
            .bind(&version)
            .bind(signed_by.as_str())
            .bind(runbook.name.as_str())
            .bind(runbook.issued.micros())
            .bind(runbook.risk.as_str())
            .bind(now.micros())
            .bind(signed(entered.index)?)
            .bind(signature)
            .bind(document.bytes.as_slice());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn submit_job(&mut self, submission: &Submission, now: Timestamp) -> Result<Answer, RecordError> {
        let (order, document) = (&submission.order, &submission.signed);
        let tenant = &order.tenant;
        let known = self.jobs.get(&mut self.transaction, tenant, order.id).await?;
        if known.is_none() {
            check_frozen(&self.freezes, tenant, None, [&submission.person, &submission.bearer])?;
        }
        let draft = match submission::submit(known.as_deref().map(|known| &known.held), submission, now)? {
            Verdict::Again(index) => return self.old(tenant.clone().into(), index, Outcome::Again).await,
            Verdict::Record(draft) => draft,
        };
        let entered = self.note(draft, now)?;
        let signature = document.signatures.first().map(String::as_str).unwrap_or_default();
        self.stage.keep(entered, &document.bytes);
        self.stage.keep(entered, signature.as_bytes());
        self.stage.keep(entered, &submission.list);
        let held = JobHeld {
            order: Digest::of(&document.bytes),
            phase: Phase::Open,
            not_before: order.not_before,
            not_after: order.not_after,
            over: false,
            index: entered.index,
        };
        let query = sqlx::query(sql::JOB_ADD)
            .bind(tenant.as_str())
            .bind(order.id.to_string())
            .bind(order.runbook.as_str())
            .bind(order.version.to_string())
            .bind(submission.author_key.as_str())
            .bind(submission.person.to_string())
            .bind(order.account.as_str())
            .bind(signed(order.devices)?)
            .bind(now.micros())
            .bind(order.not_before.micros())
            .bind(order.not_after.micros())
            .bind(phase_word(held.phase))
            .bind(signed(entered.index)?)
            .bind(held.order.to_string())
            .bind(document.bytes.as_slice())
            .bind(signature)
            .bind(submission.list.as_slice())
            .bind((submission.bearer != submission.person).then(|| submission.bearer.to_string()));
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        self.jobs.begin(tenant, order.id, held);
        self.review_job(submission, now).await?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    /// The job, which must be there.
    async fn job(&mut self, tenant: &TenantName, id: Id) -> Result<&mut KnownJob, RecordError> {
        let known = self.jobs.get(&mut self.transaction, tenant, id).await?;
        known.ok_or_else(|| Refusal::JobUnknown(id).into())
    }

    pub(super) async fn offer_runs(
        &mut self,
        tenant: &TenantName,
        id: Id,
        devices: Vec<(u64, DeviceLine)>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let names = devices.iter().map(|(_, line)| line.name.clone()).collect();
        for (_, line) in &devices {
            check_frozen(&self.freezes, tenant, Some(&line.name), [])?;
        }
        let job = self.job(tenant, id).await?;
        let draft = submission::offer(tenant, id, &job.held, names, now)?;
        let entered = self.note(draft, now)?;
        let job = self.job(tenant, id).await?;
        let mut written = Vec::with_capacity(devices.len());
        for (place, DeviceLine { name, serial, .. }) in devices {
            // Who has answered before keeps the answer.
            let run = job.runs.entry(name.clone()).or_insert(RunRow {
                device: name,
                place,
                serial,
                state: RunState::Offered,
                offered: now,
                started: None,
                ended: None,
                output_kept: 0,
                output_changed: None,
                output_hold: None,
                output_deleted: None,
                changed: entered.index,
            });
            written.push(run.clone());
        }
        for run in written {
            self.stage.run(RunWritten { tenant: tenant.clone(), job: id, run });
        }
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    /// A device takes no order that it was offered: its run has ended before it began.
    pub(super) async fn decline_run(
        &mut self,
        tenant: &TenantName,
        device: &DeviceName,
        (order, digest): (Id, Digest),
        sentence: &str,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let declined = What::RunDeclined { order, digest, sentence: sentence.to_owned() };
        let entered = self.note(Draft::new(tenant.clone().into(), declined).on(device.clone()), now)?;
        if let Some(job) = self.jobs.get(&mut self.transaction, tenant, order).await?
            && let Some(run) = job.runs.get_mut(device)
            && run.state == RunState::Offered
        {
            run.state = RunState::Ended(How::Refused);
            (run.ended, run.changed) = (Some(RunEnded::refused(sentence, now)), entered.index);
            let run = run.clone();
            self.stage.run(RunWritten { tenant: tenant.clone(), job: order, run });
        }
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn cancel_job(
        &mut self,
        tenant: &TenantName,
        id: Id,
        by: &PersonRef,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let draft = submission::cancel(tenant, id, &self.job(tenant, id).await?.held, by)?;
        let entered = self.note(draft, now)?;
        self.set_phase(tenant, id, Phase::Cancelled, &format!("{by} cancelled it")).await?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn stop_job(
        &mut self,
        tenant: &TenantName,
        id: Id,
        missed: Missed,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let draft = submission::stop(tenant, id, &self.job(tenant, id).await?.held, missed)?;
        let entered = self.note(draft, now)?;
        let Missed { runs, places, tolerated } = missed;
        let reason = format!("{runs} of {places} runs did not succeed, more than the {tolerated} of `stop_above`");
        self.set_phase(tenant, id, Phase::Stopped, &reason).await?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    async fn set_phase(&mut self, tenant: &TenantName, id: Id, phase: Phase, reason: &str) -> Result<(), RecordError> {
        self.job(tenant, id).await?.held.phase = phase;
        let query =
            sqlx::query(sql::JOB_PHASE).bind(phase_word(phase)).bind(reason).bind(tenant.as_str()).bind(id.to_string());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Ok(())
    }

    pub(super) async fn end_job(
        &mut self,
        tenant: &TenantName,
        id: Id,
        runs: BTreeMap<How, u64>,
        unanswered: u64,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let draft = submission::end(tenant, id, &self.job(tenant, id).await?.held, runs, unanswered)?;
        let entered = self.note(draft, now)?;
        self.job(tenant, id).await?.held.over = true;
        let query = sqlx::query(sql::JOB_OVER).bind(now.micros()).bind(tenant.as_str()).bind(id.to_string());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    /// What a recorded statement makes of its run's row; a run that was never offered here has none.
    pub(super) async fn follow_run(
        &mut self,
        tenant: &TenantName,
        device: &DeviceName,
        said: (&Body, u64),
        now: Timestamp,
    ) -> Result<(), Broken> {
        let (body, index) = said;
        let (id, state, ended) = match body {
            Body::RunStarted(intent) => (intent.order, RunState::Started, None),
            Body::RunRefused { intent, reason } => {
                (intent.order, RunState::Ended(How::Refused), Some(RunEnded::refused(reason, now)))
            }
            Body::RunEnded(end) => (end.order, RunState::Ended(end.outcome), Some(RunEnded::of(end, now))),
            Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => return Ok(()),
        };
        let Some(job) = self.jobs.get(&mut self.transaction, tenant, id).await? else { return Ok(()) };
        let Some(run) = job.runs.get_mut(device) else { return Ok(()) };
        // A device says once how its run ended.
        if run.ended.is_some() {
            return Ok(());
        }
        run.state = state;
        run.started = run.started.or((state == RunState::Started).then_some(now));
        if run.output_kept > 0 || ended.as_ref().is_some_and(|ended| ended.output_bytes > 0) {
            run.output_changed = Some(now);
        }
        (run.ended, run.changed) = (ended, index);
        let run = run.clone();
        self.stage.run(RunWritten { tenant: tenant.clone(), job: id, run });
        Ok(())
    }

    /// Keeps a piece of output that continues what is there, and says how much is there then. Nothing else is kept.
    pub(super) async fn keep(&mut self, piece: Piece) -> Result<u64, RecordError> {
        let Piece { tenant, device, job: id, offset, mut bytes, at: came } = piece;
        let log = LogName::Tenant(tenant.clone());
        if self.shared.heads.get(&log).is_none() {
            return Err(Refusal::TenantUnknown(tenant).into());
        }
        let job = self.job(&tenant, id).await?;
        let Some(run) = job.runs.get_mut(&device) else { return Err(Refusal::RunUnknown(id).into()) };
        if run.output_deleted.is_some() {
            // Nothing of it is kept any more: its device hears that all of it was, and forgets it too.
            let sent = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            return Ok(sent.max(run.ended.as_ref().map_or(0, |ended| ended.output_bytes)));
        }
        let kept = run.output_kept;
        // What came before, sent again, is left out.
        let known = usize::try_from(kept.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        bytes.drain(..known);
        if offset > kept || bytes.is_empty() {
            return Ok(kept);
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if kept.saturating_add(length) > OUTPUT_BYTES_MAX {
            return Err(Refusal::OutputTooLong(id).into());
        }
        run.output_kept = kept.saturating_add(length);
        // A search waits for all of it, and nobody for the pieces between: each would be a write of an index.
        let is_whole = run.ended.as_ref().is_some_and(|ended| ended.output_bytes == run.output_kept);
        if kept == 0 || is_whole {
            run.output_changed = Some(came);
        }
        let (run, at) = (run.clone(), signed(kept)?);
        let kept = run.output_kept;
        self.stage.run(RunWritten { tenant: tenant.clone(), job: id, run });
        self.stage.piece(PieceWritten { tenant, job: id, device, at, bytes });
        Ok(kept)
    }
}
