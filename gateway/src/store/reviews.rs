//! The work list of auditors: what came onto it, and what they said. One row for what waits or was looked at, one for each opinion.
//!
//! Why something waits is said by the rules (`belay_rules::review`); here is what they must know.

use super::broken::{Broken, RecordError};
use super::heads::signed;
use super::limits::REVIEW_POLICIES_HELD_MAX;
use super::read::{TenantStore, rows_max};
use super::sql;
use super::turn::{Answer, Turn};
use belay_certs::policy::{Policy, Risk};
use belay_certs::statement::{Body, Intent};
use belay_certs::{DeviceName, Digest, Id, PersonRef, TenantName, Timestamp};
use belay_rules::ask::Reviewing;
use belay_rules::review::{self, Kind, Reviewed, State};
use belay_rules::submission::Submission;
use belay_rules::{Outcome, Refusal};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The lines of grants.
type Lines = Arc<BTreeSet<u64>>;

/// What the writer remembers so that the start of a session reads no policy.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The lines of each policy version that ask for a review, and of which document.
    lines: HashMap<(TenantName, u64), (Digest, Lines)>,
    /// Jobs that are on the list.
    jobs: HashSet<(TenantName, Id)>,
}

impl Asking {
    /// Forgets everything: after a transaction that failed, and when the policies of a tenant begin anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets everything when that is too much.
    pub(super) fn trim(&mut self) {
        if self.lines.len() + self.jobs.len() > REVIEW_POLICIES_HELD_MAX {
            self.clear();
        }
    }
}

/// Something on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewRow {
    /// The session or job.
    pub subject: Id,
    /// Which of the two it is.
    pub kind: Kind,
    /// A session's device.
    pub device: Option<DeviceName>,
    /// Who did it.
    pub person: PersonRef,
    /// Why it waits or waited; none: somebody had a look at it all the same.
    pub why: Option<String>,
    /// When it came onto the list.
    pub since: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Whether nothing more comes of it.
    pub is_over: bool,
}

/// What one person said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpinionRow {
    /// Who.
    pub by: PersonRef,
    /// When.
    pub at: Timestamp,
    /// What.
    pub state: State,
    /// In their words.
    pub note: String,
}

impl Turn<'_> {
    /// Puts on the list what a recorded statement says is about to begin, if it must wait for a review.
    pub(super) async fn review_start(
        &mut self,
        tenant: &TenantName,
        device: &DeviceName,
        body: &Body,
        now: Timestamp,
    ) -> Result<(), Broken> {
        match body {
            Body::SessionOpened(intent) => {
                let asking = self.lines(tenant, intent).await?;
                let Some(why) = review::of_session(intent.grant_line, asking.as_deref()) else { return Ok(()) };
                self.await_review((tenant, intent.session, device.as_str()), &intent.person, &why, now).await
            }
            Body::RunStarted(intent) if intent.review => {
                if self.asking.jobs.contains(&(tenant.clone(), intent.order)) {
                    return Ok(());
                }
                let why = review::by_grant(intent.grant_line.unwrap_or(0));
                self.asking.jobs.insert((tenant.clone(), intent.order));
                self.await_review((tenant, intent.order, ""), &intent.person, &why, now).await
            }
            Body::RunStarted(_)
            | Body::SessionRefused { .. }
            | Body::SessionEnded { .. }
            | Body::RunRefused { .. }
            | Body::RunEnded(_) => Ok(()),
        }
    }

    /// The lines that ask for a review in the policy that an intent was decided under; none when it is not here.
    async fn lines(&mut self, tenant: &TenantName, intent: &Intent) -> Result<Option<Lines>, Broken> {
        let Some(used) = intent.policies.iter().find(|used| used.tenant == *tenant) else { return Ok(None) };
        let key = (tenant.clone(), used.version);
        if let Some((digest, lines)) = self.asking.lines.get(&key) {
            return Ok((*digest == used.digest).then(|| Arc::clone(lines)));
        }
        let Ok(version) = i64::try_from(used.version) else { return Ok(None) };
        let query = sqlx::query(sql::POLICY_BYTES).bind(tenant.as_str()).bind(version);
        let Some(row) = query.fetch_optional(self.transaction.sql().await?).await? else { return Ok(None) };
        let bytes: Vec<u8> = row.try_get(0)?;
        // A large policy takes a moment: not on a thread that relays.
        let reading = tokio::task::spawn_blocking(move || {
            Policy::parse(&bytes).map(|policy| (Digest::of(&bytes), Arc::new(review::lines(&policy))))
        });
        let read =
            reading.await.map_err(|error| Broken::new(format!("reading a policy stopped halfway: {error}")))??;
        let lines = (read.0 == used.digest).then(|| Arc::clone(&read.1));
        self.asking.lines.insert(key, read);
        Ok(lines)
    }

    /// Puts a job on the list whose runbook is of high risk.
    pub(super) async fn review_job(&mut self, submission: &Submission, now: Timestamp) -> Result<(), Broken> {
        let order = &submission.order;
        let query = sqlx::query(sql::RUNBOOK_RISK).bind(order.tenant.as_str()).bind(order.version.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await?;
        let risk = row.map(|row| Ok::<Risk, Broken>(row.try_get::<&str, _>(0)?.parse()?)).transpose()?;
        let Some(why) = review::of_job(&order.runbook, risk.unwrap_or_default()) else { return Ok(()) };
        self.asking.jobs.insert((order.tenant.clone(), order.id));
        self.await_review((&order.tenant, order.id, ""), &submission.person, &why, now).await
    }

    async fn await_review(
        &mut self,
        (tenant, subject, device): (&TenantName, Id, &str),
        person: &PersonRef,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let kind = if device.is_empty() { Kind::Job } else { Kind::Session };
        let query = sqlx::query(sql::REVIEW_AWAIT)
            .bind(tenant.as_str())
            .bind(subject.to_string())
            .bind(device)
            .bind(kind.as_str())
            .bind(person.to_string())
            .bind(why)
            .bind(now.micros())
            .bind(State::Waiting.as_str());
        query.execute(self.transaction.sql().await?).await?;
        Ok(())
    }

    /// What somebody says of a session or a job.
    pub(super) async fn give_review(&mut self, said: &Reviewing, now: Timestamp) -> Result<Answer, RecordError> {
        let Reviewing { tenant, subject, device, opinion, note, by } = said;
        let reviewed = match device {
            Some(device) => self.session_reviewed(tenant, *subject, device).await?,
            None => self.job_reviewed(tenant, *subject).await?,
        };
        let reviewed = reviewed.ok_or(Refusal::ReviewOfNothing(*subject))?;
        let entered = self.note(review::give(&reviewed, *opinion, note, by)?, now)?;
        let (tenant, subject, state) = (tenant.as_str(), subject.to_string(), opinion.state());
        let device = device.as_ref().map_or("", DeviceName::as_str);
        let person = reviewed.people.first().map(ToString::to_string).unwrap_or_default();
        let row = sqlx::query(sql::REVIEW_GIVE)
            .bind(tenant)
            .bind(subject.as_str())
            .bind(device)
            .bind(reviewed.kind.as_str())
            .bind(person)
            .bind(now.micros())
            .bind(state.as_str());
        row.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let opinion = sqlx::query(sql::OPINION_ADD)
            .bind(tenant)
            .bind(subject.as_str())
            .bind(device)
            .bind(signed(entered.index)?)
            .bind(now.micros())
            .bind(by.to_string())
            .bind(state.as_str())
            .bind(note.as_str());
        opinion.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    async fn session_reviewed(
        &mut self,
        tenant: &TenantName,
        id: Id,
        device: &DeviceName,
    ) -> Result<Option<Reviewed>, Broken> {
        // Its end may be of this transaction.
        self.stage.write_rows(&mut self.transaction).await?;
        let query = sqlx::query(sql::SESSION_REVIEWED).bind(tenant.as_str()).bind(id.to_string()).bind(device.as_str());
        let Some(row) = query.fetch_optional(self.transaction.sql().await?).await? else { return Ok(None) };
        Ok(Some(Reviewed {
            tenant: tenant.clone(),
            kind: Kind::Session,
            id,
            device: Some(device.clone()),
            people: vec![row.try_get::<&str, _>(0)?.parse()?],
            is_over: row.try_get::<Option<i64>, _>(1)?.is_some(),
        }))
    }

    async fn job_reviewed(&mut self, tenant: &TenantName, id: Id) -> Result<Option<Reviewed>, Broken> {
        let query = sqlx::query(sql::JOB_REVIEWED).bind(tenant.as_str()).bind(id.to_string());
        let Some(row) = query.fetch_optional(self.transaction.sql().await?).await? else { return Ok(None) };
        let brought_by = row.try_get::<Option<&str>, _>(1)?.map(str::parse).transpose()?;
        let people = std::iter::once(row.try_get::<&str, _>(0)?.parse()?).chain(brought_by).collect();
        let is_over = row.try_get::<Option<i64>, _>(2)?.is_some();
        Ok(Some(Reviewed { tenant: tenant.clone(), kind: Kind::Job, id, device: None, people, is_over }))
    }
}

impl TenantStore {
    /// What is on the list in this state, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reviews(&self, state: State, limit: u32) -> Result<Vec<ReviewRow>, Broken> {
        let query = sqlx::query(sql::REVIEWS).bind(self.name().as_str()).bind(state.as_str()).bind(rows_max(limit));
        query.fetch_all(self.store().readers()).await?.iter().map(review).collect()
    }

    /// What was said of a session (with its device) or a job, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn opinions(&self, subject: Id, device: Option<&DeviceName>) -> Result<Vec<OpinionRow>, Broken> {
        let query = sqlx::query(sql::OPINIONS)
            .bind(self.name().as_str())
            .bind(subject.to_string())
            .bind(device.map_or("", DeviceName::as_str))
            .bind(rows_max(u32::MAX));
        query.fetch_all(self.store().readers()).await?.iter().map(opinion).collect()
    }
}

/// A row of `REVIEWS`.
fn review(row: &AnyRow) -> Result<ReviewRow, Broken> {
    let device: &str = row.try_get(2)?;
    let why: &str = row.try_get(4)?;
    Ok(ReviewRow {
        subject: row.try_get::<&str, _>(0)?.parse()?,
        kind: row.try_get::<&str, _>(1)?.parse()?,
        device: (!device.is_empty()).then(|| device.parse()).transpose()?,
        person: row.try_get::<&str, _>(3)?.parse()?,
        why: (!why.is_empty()).then(|| why.to_owned()),
        since: Timestamp::from_micros(row.try_get(5)?),
        state: row.try_get::<&str, _>(6)?.parse()?,
        is_over: row.try_get::<Option<i64>, _>(7)?.is_some(),
    })
}

/// A row of `OPINIONS`.
fn opinion(row: &AnyRow) -> Result<OpinionRow, Broken> {
    Ok(OpinionRow {
        by: row.try_get::<&str, _>(0)?.parse()?,
        at: Timestamp::from_micros(row.try_get(1)?),
        state: row.try_get::<&str, _>(2)?.parse()?,
        note: row.try_get(3)?,
    })
}
