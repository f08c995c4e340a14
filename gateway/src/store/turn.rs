//! One ask's turn in a transaction: read what bears on it, let the rules judge, stage what they say.
//!
//! Here: notes, tenants, policies and tokens. Devices are in `turn_devices.rs`, what they say in `turn_live.rs`,
//! what happens once in years in `turn_rare.rs`.

use super::broken::{Broken, RecordError};
use super::devices::Devices;
use super::heads::{Shared, signed};
use super::jobs::Jobs;
use super::keys::LogKeys;
use super::record::{Ready, Work};
use super::reviews::Asking;
use super::rows::{policy_held, token_held};
use super::sql;
use super::stage::{Entered, Stage};
use super::transaction::Transaction;
use super::turn_recordings::Said;
use belay_certs::policy::Chain;
use belay_certs::token::Token;
use belay_certs::{Digest, PersonRef, Signed, TenantName, Timestamp};
use belay_rules::policy::PolicyHeld;
use belay_rules::presence::Line;
use belay_rules::statement::Seen;
use belay_rules::{Ask, Bearer, Draft, Freezes, LogName, Outcome, Verdict, policy, tenant, token};
use sqlx::Row;
use std::sync::Arc;

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Answer {
    /// With a new entry.
    New(Entered, Outcome),
    /// With an entry that was there before.
    Old {
        /// Its log.
        log: LogName,
        /// Its index.
        index: u64,
        /// Its bytes.
        entry: Vec<u8>,
        /// How.
        outcome: Outcome,
    },
    /// So many bytes of a run's output, or chunks of a recording, are there.
    Kept(u64),
}

/// A transaction under way.
pub(super) struct Turn<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) devices: &'a mut Devices,
    pub(super) jobs: &'a mut Jobs,
    /// What asks for a review, as far as it is remembered.
    pub(super) asking: &'a mut Asking,
    /// The freezes in force; published when the transaction is durable.
    pub(super) freezes: Arc<Freezes>,
    pub(super) shared: &'a Shared,
    pub(super) keys: &'a LogKeys,
    /// Logs for which a key was made; see [`super::writer`].
    pub(super) begun: &'a mut Vec<LogName>,
    pub(super) stage: Stage,
}

impl Turn<'_> {
    /// Judges one ask and stages what follows from it.
    ///
    /// # Errors
    /// A refusal leaves the transaction as it was; anything broken ends it.
    pub(super) async fn take(&mut self, work: Work) -> Result<Answer, RecordError> {
        match work {
            Work::Enter(ready) => Ok(Answer::New(self.enter(*ready)?, Outcome::Recorded)),
            Work::Judge { ask, seen, now, .. } => self.judge(*ask, seen, now).await,
            Work::Keep(piece) => Ok(Answer::Kept(self.keep(*piece).await?)),
            Work::Chunk(chunk) => Ok(Answer::Kept(self.chunk(*chunk).await?)),
        }
    }

    async fn judge(&mut self, ask: Ask, seen: Seen, now: Timestamp) -> Result<Answer, RecordError> {
        match ask {
            Ask::Note(draft) => Ok(Answer::New(self.note(draft, now)?, Outcome::Recorded)),
            Ask::StartUp { version } => self.start_up(&version, now).await,
            Ask::AddTenant { tenant } => self.add_tenant(&tenant, now).await,
            Ask::RestartLog { tenant } => self.restart_log(&tenant, now).await,
            Ask::AdoptPolicy { tenant, chain, signed, bearer } => {
                self.adopt(&tenant, &chain, &signed, &bearer, now).await
            }
            Ask::IssueToken { signed, token, by } => self.issue(&signed, &token, &by, now).await,
            Ask::Redeem { join, request, signed, address } => self.redeem(join, &request, &signed, &address, now).await,
            Ask::Approve { tenant, approvals, by, over } => self.approve(&tenant, &approvals, &by, &over, now).await,
            Ask::Recertify { tenant, certificates, by } => self.recertify(&tenant, &certificates, &by, now).await,
            Ask::RestartPolicy { chain, signed, lost } => self.restart_policy(&chain, &signed, lost, now).await,
            Ask::PushRunbook { tenant, pushed } => self.push_runbook(&tenant, &pushed, now).await,
            Ask::SubmitJob(submission) => self.submit_job(&submission, now).await,
            Ask::OfferRuns { tenant, job, devices } => self.offer_runs(&tenant, job, devices, now).await,
            Ask::DeclineRun { tenant, device, order, digest, sentence } => {
                self.decline_run(&tenant, &device, (order, digest), &sentence, now).await
            }
            Ask::CancelJob { tenant, job, by } => self.cancel_job(&tenant, job, &by, now).await,
            Ask::StopJob { tenant, job, missed } => self.stop_job(&tenant, job, missed, now).await,
            Ask::EndJob { tenant, job, runs, unanswered } => self.end_job(&tenant, job, runs, unanswered, now).await,
            Ask::DeleteRecording { name, why } => self.delete_recording(&name, &why, now).await,
            Ask::GiveUpRecording { name, before } => self.give_up_recording(&name, before, now).await,
            Ask::HoldRecording { name, by, reason } => {
                self.hold_recording(&name, Said { by: &by, reason: &reason }, now).await
            }
            Ask::ReleaseRecording { name, by, reason } => {
                self.release_recording(&name, Said { by: &by, reason: &reason }, now).await
            }
            Ask::DeleteOutput { name, before, why } => self.delete_output(&name, (before, &why), now).await,
            Ask::HoldOutput { name, by, reason } => {
                self.hold_output(&name, Said { by: &by, reason: &reason }, now).await
            }
            Ask::ReleaseOutput { name, by, reason } => {
                self.release_output(&name, Said { by: &by, reason: &reason }, now).await
            }
            Ask::Freeze { frozen, reason, by } => self.freeze(frozen, (&by, reason.as_deref()), now).await,
            Ask::Thaw { frozen, by } => self.thaw(frozen, &by, now).await,
            Ask::Review(said) => self.give_review(&said, now).await,
            Ask::Connect { join, connection, address, version, held } => {
                self.connect(join, Line { connection, address, version }, held, now).await
            }
            Ask::Disconnect { join, connection, reason, held } => {
                self.disconnect(join, connection, &reason, held, now).await
            }
            Ask::Statement { join, signed, statement, outer } => {
                self.statement(join, &signed, &statement, outer.as_ref(), seen, now).await
            }
        }
    }

    pub(super) fn enter(&mut self, ready: Ready) -> Result<Entered, RecordError> {
        self.stage.enter(self.shared, ready)
    }

    pub(super) fn note(&mut self, draft: Draft, now: Timestamp) -> Result<Entered, RecordError> {
        self.enter(Ready::new(draft, now)?)
    }

    /// The answer with an entry that is there: written before, or earlier in this transaction.
    pub(super) async fn old(&mut self, log: LogName, index: u64, outcome: Outcome) -> Result<Answer, RecordError> {
        let seq = signed(index)?;
        let staged = self.stage.entries.iter().find(|entry| entry.seq == seq && entry.log == log);
        let entry = match staged {
            Some(entry) => entry.bytes.clone(),
            None => {
                let id = self.stage.log(self.shared, &log).map_or(0, |log| log.id);
                let row = sqlx::query(sql::ENTRY).bind(id).bind(seq).fetch_optional(self.transaction.sql().await?);
                let row = row.await.map_err(Broken::from)?;
                let row = row.ok_or_else(|| Broken::new(format!("log {log} has no entry {index}")))?;
                row.try_get(0).map_err(Broken::from)?
            }
        };
        Ok(Answer::Old { log, index, entry, outcome })
    }

    /// Begins a log; the caller enters its first event. The log's key is made before anything is written.
    pub(super) async fn begin_log(&mut self, log: &LogName) -> Result<belay_certs::policy::LogIdentity, Broken> {
        let row = sqlx::query(sql::LOG_NEXT_ID).fetch_one(self.transaction.sql().await?).await?;
        let begun = i64::try_from(self.stage.logs_begun()).unwrap_or(i64::MAX);
        let id = row.try_get::<i64, _>(0)?.saturating_add(begun);
        self.begun.push(log.clone());
        let (keys, name) = (self.keys.clone(), log.clone());
        let made = tokio::task::spawn_blocking(move || keys.make(&name)).await;
        let signer = made.map_err(|error| Broken::new(format!("making a log key stopped halfway: {error}")))??;
        Ok(self.stage.begin_log(log.clone(), id, signer))
    }

    async fn add_tenant(&mut self, name: &TenantName, now: Timestamp) -> Result<Answer, RecordError> {
        let log = LogName::Tenant(name.clone());
        let place = match self.stage.log(self.shared, &log) {
            Some(_) => tenant::Place::Taken,
            None => tenant::Place::Free { tenants: self.shared.heads.tenants() + self.stage.logs_begun() },
        };
        tenant::add(name, place)?;
        let identity = self.begin_log(&log).await?;
        let [own, system] = tenant::added(name, identity.origin, identity.vkey);
        let entered = self.note(own, now)?;
        self.note(system, now)?;
        let query = sqlx::query(sql::TENANT_ADD).bind(name.as_str()).bind(now.micros());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    /// The policy in force.
    async fn policy(&mut self, tenant: &TenantName) -> Result<Option<PolicyHeld>, Broken> {
        let query = sqlx::query(sql::POLICY_HELD).bind(tenant.as_str());
        query.fetch_optional(self.transaction.sql().await?).await?.as_ref().map(policy_held).transpose()
    }

    async fn adopt(
        &mut self,
        tenant: &TenantName,
        chain: &Chain,
        document: &Signed,
        bearer: &Bearer,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let held = self.policy(tenant).await?;
        let draft = match policy::adopt(tenant, held.as_ref(), chain, document, bearer)? {
            Verdict::Again(index) => return self.old(tenant.clone().into(), index, Outcome::Again).await,
            Verdict::Record(draft) => draft,
        };
        let entered = self.note(draft, now)?;
        self.stage.keep(entered, &document.bytes);
        for signature in &document.signatures {
            self.stage.keep(entered, signature.as_bytes());
        }
        self.write_policy(chain, document, entered).await?;
        self.follow_revocations(tenant, &chain.policy().devices.revoked).await?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn write_policy(
        &mut self,
        chain: &Chain,
        document: &Signed,
        entered: Entered,
    ) -> Result<(), Broken> {
        if chain.version() == 0 {
            let query =
                sqlx::query(sql::TENANT_POLICY0).bind(chain.policy0().to_string()).bind(chain.tenant().as_str());
            query.execute(self.transaction.sql().await?).await?;
        }
        let query = sqlx::query(sql::POLICY_ADD)
            .bind(chain.tenant().as_str())
            .bind(signed(chain.version())?)
            .bind(chain.digest().to_string())
            .bind(signed(entered.index)?)
            .bind(document.bytes.as_slice())
            .bind(serde_json::to_string(&document.signatures)?);
        query.execute(self.transaction.sql().await?).await?;
        Ok(())
    }

    async fn issue(
        &mut self,
        document: &Signed,
        wanted: &Token,
        by: &PersonRef,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let tenant = &wanted.tenant;
        let query = sqlx::query(sql::TOKEN_BY_ID).bind(tenant.as_str()).bind(wanted.id.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let held = row.as_ref().map(token_held).transpose()?;
        let policy = self.policy(tenant).await?;
        let draft = match token::issue(held.as_ref(), policy.as_ref(), document, wanted, by, now)? {
            Verdict::Again(index) => return self.old(tenant.clone().into(), index, Outcome::Again).await,
            Verdict::Record(draft) => draft,
        };
        let entered = self.note(draft, now)?;
        let signature = document.signatures.first().map(String::as_str).unwrap_or_default();
        self.stage.keep(entered, &document.bytes);
        self.stage.keep(entered, signature.as_bytes());
        let query = sqlx::query(sql::TOKEN_ADD)
            .bind(tenant.as_str())
            .bind(wanted.id.to_string())
            .bind(Digest::of(&document.bytes).to_string())
            .bind(signed(wanted.uses)?)
            .bind(wanted.expires.micros())
            .bind(signed(entered.index)?)
            .bind(document.bytes.as_slice())
            .bind(signature);
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }
}
