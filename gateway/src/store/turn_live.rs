//! The turns of what is live: the gateway's start, devices that come and go, and what devices say.

use super::broken::{Broken, RecordError};
use super::heads::{signed, unsigned};
use super::jobs::KnownJob;
use super::limits::SAID_HELD_MAX;
use super::record::Ready;
use super::rows::{PresenceRow, SaidRow};
use super::sql;
use super::stage::Entered;
use super::turn::{Answer, Turn};
use belay_certs::statement::{Body, SignedStatement, Statement};
use belay_certs::tlog::life;
use belay_certs::{Digest, Id, Timestamp};
use belay_rules::presence::{Caller, Line};
use belay_rules::statement::{Begins, Case, Judgement, Seen, StatementHead};
use belay_rules::submission::Offered;
use belay_rules::{Draft, LogName, Outcome, Outer, Refusal, What, presence, statement};
use sqlx::Row;

/// Why an access that was open when the gateway went away has ended.
const GATEWAY_RESTARTED: &str = "the gateway went away";

impl Turn<'_> {
    /// Nothing outlives the gateway's process but the agents' own shells: whoever was connected is not.
    pub(super) async fn start_up(&mut self, version: &str, now: Timestamp) -> Result<Answer, RecordError> {
        self.stage.write_rows(&mut self.transaction).await?;
        let rows =
            sqlx::query(sql::PRESENT_BY_TENANT).fetch_all(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let mut all = 0;
        let mut drafts = self.accesses_lost().await?;
        for row in &rows {
            let tenant: &str = row.try_get(0).map_err(Broken::from)?;
            let devices_lost = unsigned(row.try_get(1).map_err(Broken::from)?)?;
            all += devices_lost;
            let log = LogName::Tenant(tenant.parse().map_err(Broken::from)?);
            drafts.push(Draft::new(log, What::GatewayStarted { version: version.to_owned(), devices_lost }));
        }
        let started = What::GatewayStarted { version: version.to_owned(), devices_lost: all };
        let entered = self.note(Draft::new(LogName::System, started), now)?;
        for draft in drafts {
            self.note(draft, now)?;
        }
        let query = sqlx::query(sql::NOBODY_PRESENT).bind(now.micros());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        self.devices.clear();
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    async fn accesses_lost(&mut self) -> Result<Vec<Draft>, Broken> {
        let rows = sqlx::query(sql::ACCESSES_OPEN).fetch_all(self.transaction.sql().await?).await?;
        let drafts = rows.iter().map(|row| {
            let what = What::AccessEnded {
                access: row.try_get::<&str, _>(0)?.parse()?,
                bytes_up: 0,
                bytes_down: 0,
                reason: GATEWAY_RESTARTED.to_owned(),
            };
            let log = LogName::Tenant(row.try_get::<&str, _>(1)?.parse()?);
            let device = row.try_get::<&str, _>(2)?.parse()?;
            Ok(Draft::new(log, what).on(device).by(row.try_get::<&str, _>(3)?.parse()?))
        });
        drafts.collect()
    }

    pub(super) async fn connect(
        &mut self,
        join: Id,
        line: Line,
        held: Option<u64>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let held = held.map(signed).transpose()?;
        let known = self.devices.get(&mut self.transaction, join).await?;
        let drafts = presence::connect(&known.caller, &line)?;
        let ready = drafts.into_iter().map(|draft| Ready::new(draft, now)).collect::<Result<Vec<_>, _>>()?;
        known.caller.line = Some(line.clone());
        let tenant = known.caller.tenant.clone();
        let mut newest = None;
        for ready in ready {
            newest = Some(self.enter(ready)?);
        }
        let entered = newest.ok_or_else(|| Broken::new("a connection without an event"))?;
        let Line { connection, address, version } = line;
        let connection = Some(connection);
        self.stage.presence(PresenceRow { join, tenant, connection, since: now, address, version, held });
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn disconnect(
        &mut self,
        join: Id,
        connection: Id,
        reason: &str,
        held: Option<u64>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let held = held.map(signed).transpose()?;
        let known = self.devices.get(&mut self.transaction, join).await?;
        let ready = Ready::new(presence::disconnect(&known.caller, connection, reason)?, now)?;
        let (line, tenant) = (known.caller.line.take(), known.caller.tenant.clone());
        let entered = self.enter(ready)?;
        if let Some(Line { address, version, .. }) = line {
            self.stage.presence(PresenceRow { join, tenant, connection: None, since: now, address, version, held });
        }
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn statement(
        &mut self,
        join: Id,
        text: &SignedStatement,
        said: &Statement,
        outer: Option<&Outer>,
        seen: Seen,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let known = self.devices.get(&mut self.transaction, join).await?.clone();
        let earlier = self.earlier(join, said.head.seq, &known.said).await?;
        let (caller, head, earlier) = (&known.caller, &known.said, earlier.as_ref());
        let begins = self.begins(caller, head).await?;
        let log = LogName::Tenant(known.caller.tenant.clone());
        let offered = match statement::order(said) {
            Some(order) => self.jobs.get(&mut self.transaction, &known.caller.tenant, order).await?,
            None => None,
        };
        let run = |job: &KnownJob| job.runs.get(&said.head.device.device).map(|run| run.state);
        let offered = offered.as_deref().map(|job| Offered { job: &job.held, run: run(job) });
        let offered = offered.as_ref();
        let case = Case { caller, head, earlier, signed: text, statement: said, begins, seen, outer, offered, now };
        let (judgement, ready) = match statement::judge(&case)? {
            Judgement::Again(index) => return self.old(log, index, Outcome::Again).await,
            judgement => written(&case, judgement, now)?,
        };
        let entered = self.enter(ready)?;
        if let (Body::SessionEnded { session, recording, .. }, Outcome::Recorded) = (&said.body, &judgement) {
            self.stage.ended_by(join);
            if recording.is_none() {
                self.cut_off(&known.caller.tenant, join, *session, now).await?;
            }
        }
        match judgement {
            Outcome::Rejected(_) => {
                self.stage.keep(entered, text.text.as_bytes());
                self.stage.keep(entered, text.signature.as_bytes());
            }
            Outcome::Recorded => {
                self.advance(join, text, said, entered).await?;
                let (tenant, device) = (&known.caller.tenant, &said.head.device.device);
                self.follow_run(tenant, device, (&said.body, entered.index), now).await?;
            }
            Outcome::Withheld(_) => self.advance(join, text, said, entered).await?,
            Outcome::Again | Outcome::JoinedBefore(_) => {}
        }
        Ok(Answer::New(entered, judgement))
    }

    /// Where the device's chain may begin in this life of the log: anywhere, when it was carried over and says its first.
    async fn begins(&mut self, caller: &Caller, head: &StatementHead) -> Result<Begins, Broken> {
        let life = self.shared.heads.get(&caller.tenant.clone().into()).map_or(1, |head| life(&head.identity.origin));
        if life == 1 || head.seq > 0 {
            return Ok(Begins::AtOne);
        }
        let query = sqlx::query(sql::CARRIED).bind(caller.join.to_string());
        let carried = query.fetch_optional(self.transaction.sql().await?).await?;
        Ok(carried.map_or(Begins::AtOne, |_| Begins::Anywhere))
    }

    /// The recorded statement with the number `seq`, where that is not the newest.
    async fn earlier(&mut self, join: Id, seq: u64, head: &StatementHead) -> Result<Option<StatementHead>, Broken> {
        if seq == 0 || seq >= head.seq {
            return Ok(None);
        }
        let number = signed(seq)?;
        if let Some(row) = self.stage.said_earlier(join, number) {
            return Ok(Some(StatementHead { seq, digest: row.digest, index: unsigned(row.entry)? }));
        }
        let query = sqlx::query(sql::SAID_EARLIER).bind(join.to_string()).bind(number);
        let row = query.fetch_optional(self.transaction.sql().await?).await?;
        let Some(row) = row else { return Ok(None) };
        let (digest, entry): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Some(StatementHead { seq, digest: digest.parse()?, index: unsigned(entry)? }))
    }

    /// The statement is the device's newest from now on.
    async fn advance(
        &mut self,
        join: Id,
        signed_statement: &SignedStatement,
        said: &Statement,
        entered: Entered,
    ) -> Result<(), Broken> {
        let digest = Digest::of(signed_statement.text.as_bytes());
        let head = StatementHead { seq: said.head.seq, digest, index: entered.index };
        self.stage.said(SaidRow::of(join, &head)?);
        if let Some(known) = self.devices.remembered(join) {
            known.said = head;
        }
        if head.seq.is_multiple_of(SAID_HELD_MAX) {
            let query = sqlx::query(sql::SAID_FORGET).bind(join.to_string()).bind(signed(head.seq - SAID_HELD_MAX)?);
            query.execute(self.transaction.sql().await?).await?;
        }
        Ok(())
    }
}

/// The outcome of a judgement with its entry. A statement around which no entry fits is rejected instead.
fn written(case: &Case<'_>, judgement: Judgement, now: Timestamp) -> Result<(Outcome, Ready), RecordError> {
    let (draft, outcome) = parts(judgement)?;
    match Ready::new(draft, now) {
        Err(RecordError::Refused(Refusal::EntryInvalid(_))) => {
            let (draft, outcome) = parts(statement::too_large(case))?;
            Ok((outcome, Ready::new(draft, now)?))
        }
        ready => Ok((outcome, ready?)),
    }
}

fn parts(judgement: Judgement) -> Result<(Draft, Outcome), Broken> {
    match judgement {
        Judgement::Record(draft) => Ok((draft, Outcome::Recorded)),
        Judgement::Withhold(draft, refusal) => Ok((draft, Outcome::Withheld(refusal))),
        Judgement::Reject(draft, refusal) => Ok((draft, Outcome::Rejected(refusal))),
        Judgement::Again(_) => Err(Broken::new("a repeated statement has no event of its own")),
    }
}
