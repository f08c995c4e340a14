//! The turns of what runs printed: held, let go, deleted. The pieces as they come are in `turn_jobs.rs`.
//!
//! A deletion is one transaction: its entry and the bytes it is about are never apart, so no crash leaves anything to finish.

use super::broken::{Broken, RecordError};
use super::jobs::{RunRow, RunWritten};
use super::sql;
use super::turn::{Answer, Turn};
use super::turn_recordings::Said;
use belay_certs::Timestamp;
use belay_rules::output::{delete, hold, release};
use belay_rules::{Draft, Outcome, OutputHeld, OutputName, Refusal};
use sqlx::Row;

impl Turn<'_> {
    pub(super) async fn hold_output(
        &mut self,
        name: &OutputName,
        said: Said<'_>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let run = self.printed(name).await?;
        let draft = hold(name, &held(&run, None), said.by, said.reason)?;
        self.change_output(draft, now, RunRow { output_hold: Some(said.reason.to_owned()), ..run }, name).await
    }

    pub(super) async fn release_output(
        &mut self,
        name: &OutputName,
        said: Said<'_>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let run = self.printed(name).await?;
        let draft = release(name, &held(&run, None), said.by, said.reason)?;
        self.change_output(draft, now, RunRow { output_hold: None, ..run }, name).await
    }

    pub(super) async fn delete_output(
        &mut self,
        name: &OutputName,
        (before, why): (Timestamp, &str),
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let run = self.printed(name).await?;
        let over = self.job_over(name).await?;
        let draft = delete(name, &held(&run, over), before, why)?;
        // Of a run that nobody said to have ended the device may still come with all of it: it begins anew then, and loses nothing.
        let run = match run.ended {
            Some(_) => RunRow { output_changed: Some(now), output_deleted: Some(now), ..run },
            None => RunRow { output_changed: Some(now), output_kept: 0, ..run },
        };
        let answer = self.change_output(draft, now, run, name).await?;
        // A piece of it may be in this very transaction.
        if self.stage.has_pieces() {
            self.stage.write_rows(&mut self.transaction).await?;
        }
        let query = sqlx::query(sql::OUTPUT_FORGET)
            .bind(name.tenant.as_str())
            .bind(name.job.to_string())
            .bind(name.device.as_str());
        let connection = self.transaction.sql().await?;
        // Cut off in between: a transaction that fails takes the connection with it.
        sqlx::query(sql::OVERWRITE).execute(&mut *connection).await.map_err(Broken::from)?;
        query.execute(&mut *connection).await.map_err(Broken::from)?;
        sqlx::query(sql::OVERWRITE_NOT).execute(connection).await.map_err(Broken::from)?;
        Ok(answer)
    }

    /// The run as it stands in this transaction.
    async fn printed(&mut self, name: &OutputName) -> Result<RunRow, RecordError> {
        let job = self.jobs.get(&mut self.transaction, &name.tenant, name.job).await?;
        let run = job.and_then(|job| job.runs.get(&name.device));
        run.cloned().ok_or_else(|| Refusal::OutputUnknown(name.to_string()).into())
    }

    /// Since when nothing more of a run's job is waited for.
    async fn job_over(&mut self, name: &OutputName) -> Result<Option<Timestamp>, RecordError> {
        let query = sqlx::query(sql::JOB_OVER_AT).bind(name.tenant.as_str()).bind(name.job.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let over = row.map(|row| row.try_get::<Option<i64>, _>(0)).transpose().map_err(Broken::from)?;
        Ok(over.flatten().map(Timestamp::from_micros))
    }

    async fn change_output(
        &mut self,
        draft: Draft,
        now: Timestamp,
        run: RunRow,
        name: &OutputName,
    ) -> Result<Answer, RecordError> {
        let entered = self.note(draft, now)?;
        let run = RunRow { changed: entered.index, ..run };
        if let Some(job) = self.jobs.get(&mut self.transaction, &name.tenant, name.job).await? {
            job.runs.insert(name.device.clone(), run.clone());
        }
        self.stage.run(RunWritten { tenant: name.tenant.clone(), job: name.job, run });
        Ok(Answer::New(entered, Outcome::Recorded))
    }
}

/// As its judges want it. `job_over` is since when its job is over.
fn held(run: &RunRow, job_over: Option<Timestamp>) -> OutputHeld {
    let over = run.ended.as_ref().map(|ended| ended.at).or(job_over);
    OutputHeld {
        bytes: run.output_kept,
        digest: run.ended.as_ref().and_then(|ended| ended.output),
        over: over.map(|over| run.output_changed.map_or(over, |changed| over.max(changed))),
        hold: run.output_hold.clone(),
        deleted: run.output_deleted,
    }
}
