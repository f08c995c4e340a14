//! The turn that begins a tenant's log anew, because this gateway lost entries of it: a restored database knows less than
//! devices and auditors have verified, and nothing can be added to what they know without contradicting it.
//!
//! The log's life so far stays as it is, under a name of its own, for whoever wants to verify it. The new life has a name and a
//! key of its own; devices believe it when a policy names it, and not before (P2).

use super::broken::{Broken, RecordError};
use super::sql;
use super::turn::{Answer, Turn};
use belay_certs::device::{Approval, DeviceRecord};
use belay_certs::policy::LogIdentity;
use belay_certs::statement::CheckpointSeen;
use belay_certs::{Digest, Id, PersonRef, TenantName, Timestamp, tlog};
use belay_rules::{LogName, Outcome, Refusal, device, tenant};
use sqlx::Row;

/// Everything of a tenant that points to entries of the log.
const RETIRE: [&str; 9] = [
    sql::DEVICES_RETIRE,
    sql::RECORDS_RETIRE,
    sql::POLICIES_RETIRE,
    sql::TOKENS_RETIRE,
    sql::SAID_RETIRE,
    sql::RUNBOOKS_RETIRE,
    sql::JOBS_RETIRE,
    sql::RUNS_RETIRE,
    sql::OPINIONS_RETIRE,
];

impl Turn<'_> {
    /// Begins the next life of the tenant's log. It has the transaction for itself: nothing else of it may be staged.
    ///
    /// Crash before the commit: the old life goes on, and a key lies unused beside its own. Crash after: the new life goes on;
    /// its key comes into its place when the store is opened.
    pub(super) async fn restart_log(&mut self, tenant: &TenantName, now: Timestamp) -> Result<Answer, RecordError> {
        let log = LogName::Tenant(tenant.clone());
        let head = self.shared.heads.get(&log).ok_or_else(|| Refusal::TenantUnknown(tenant.clone()))?;
        let seen = CheckpointSeen {
            origin: head.identity.origin.clone(),
            size: head.edge.size(),
            root: Digest(head.edge.root()),
        };
        let retired = format!("{log}/{}", tlog::life(&seen.origin));
        let query = sqlx::query(sql::LOG_RETIRE).bind(retired).bind(log.as_str());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let LogIdentity { origin, vkey } = self.begin_next(&log, &head.identity).await?;
        let [own, system] = tenant::restarted(tenant, origin, vkey, seen);
        let entered = self.note(own, now)?;
        self.note(system, now)?;
        self.carry_devices(tenant, now).await?;
        for text in RETIRE {
            let query = sqlx::query(text).bind(tenant.as_str());
            query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        }
        self.devices.clear();
        self.jobs.clear();
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    async fn begin_next(&mut self, log: &LogName, current: &LogIdentity) -> Result<LogIdentity, Broken> {
        let row = sqlx::query(sql::LOG_NEXT_ID).fetch_one(self.transaction.sql().await?).await?;
        let id: i64 = row.try_get(0)?;
        let (keys, name, current) = (self.keys.clone(), log.clone(), current.clone());
        let made = tokio::task::spawn_blocking(move || keys.make_next(&name, &current)).await;
        let signer = made.map_err(|error| Broken::new(format!("making a log key stopped halfway: {error}")))??;
        Ok(self.stage.begin_log(log.clone(), id, signer))
    }

    /// Every approved device with its proof, so that the new life verifies by itself.
    async fn carry_devices(&mut self, tenant: &TenantName, now: Timestamp) -> Result<(), RecordError> {
        let query = sqlx::query(sql::DEVICES_CARRIED).bind(tenant.as_str());
        let rows = query.fetch_all(self.transaction.sql().await?).await.map_err(Broken::from)?;
        for row in &rows {
            let (join, approval, by) = carried(row)?;
            let record = DeviceRecord::parse(&approval.record).map_err(Broken::from)?;
            let entered = self.note(device::carried(join, &record, &approval, &by)?, now)?;
            self.stage.keep(entered, &approval.batch.bytes);
            approval.batch.signatures.iter().for_each(|signature| self.stage.keep(entered, signature.as_bytes()));
            self.stage.keep(entered, approval.certificate.as_bytes());
        }
        Ok(())
    }
}

/// A row of `DEVICES_CARRIED`.
fn carried(row: &sqlx::any::AnyRow) -> Result<(Id, Approval, PersonRef), Broken> {
    let approval = super::read_devices::approval(row)?;
    Ok((row.try_get::<&str, _>(6)?.parse()?, approval, row.try_get::<&str, _>(7)?.parse()?))
}
