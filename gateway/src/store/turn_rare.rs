//! The turns that come once in years: new host certificates after a change of the device CA, and a policy chain begun anew.

use super::broken::{Broken, RecordError};
use super::heads::signed;
use super::record::Ready;
use super::rows::{device_held, policy_held};
use super::sql;
use super::turn::{Answer, Turn};
use belay_certs::policy::Chain;
use belay_certs::{Digest, Id, PersonRef, Signed, TenantName, Timestamp};
use belay_rules::limits::APPROVALS_PER_ASK_MAX;
use belay_rules::{DeviceState, LogName, Outcome, Recertified, Refusal, Verdict, device, policy};
use sqlx::Row;

impl Turn<'_> {
    /// All or none, as approvals.
    pub(super) async fn recertify(
        &mut self,
        tenant: &TenantName,
        certificates: &[Recertified],
        by: &PersonRef,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        if certificates.len() > APPROVALS_PER_ASK_MAX {
            return Err(Refusal::TooManyApprovals(certificates.len()).into());
        }
        let (mut ready, mut again) = (Vec::with_capacity(certificates.len()), None);
        for certificate in certificates {
            let serial = i64::try_from(certificate.serial).map_err(|_| Refusal::NoSuchRecord(certificate.serial))?;
            let query = sqlx::query(sql::DEVICE_HELD_BY_SERIAL).bind(tenant.as_str()).bind(serial);
            let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
            let held = row.as_ref().map(device_held).transpose()?;
            let same = match &held {
                Some(held) => self.certificate(held.join).await?.as_deref() == Some(&certificate.certificate),
                None => false,
            };
            match device::recertify(tenant, held.as_ref(), certificate, same, by)? {
                Verdict::Again(index) => again = again.or(Some(index)),
                Verdict::Record(draft) => {
                    let join = held.map(|held| held.join).ok_or(Refusal::NoSuchRecord(certificate.serial))?;
                    ready.push((join, certificate, Ready::new(draft, now)?));
                }
            }
        }
        let mut first = None;
        for (join, certificate, ready) in ready {
            let entered = self.enter(ready)?;
            first = first.or(Some(entered));
            self.stage.keep(entered, certificate.certificate.as_bytes());
            let query = sqlx::query(sql::DEVICE_CERTIFY)
                .bind(certificate.certificate.as_str())
                .bind(signed(entered.index)?)
                .bind(join.to_string());
            query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        }
        match (first, again) {
            (Some(entered), _) => Ok(Answer::New(entered, Outcome::Recorded)),
            (None, Some(index)) => self.old(LogName::Tenant(tenant.clone()), index, Outcome::Again).await,
            (None, None) => Err(Refusal::ApprovalsMissing.into()),
        }
    }

    async fn certificate(&mut self, join: Id) -> Result<Option<String>, Broken> {
        let query = sqlx::query(sql::DEVICE_CERTIFICATE).bind(join.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
    }

    /// The old chain's versions leave the table (the log keeps them as objects), its devices count no more, and the new
    /// version 0 is the tenant's only one.
    pub(super) async fn restart_policy(
        &mut self,
        chain: &Chain,
        document: &Signed,
        lost: Digest,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let tenant = chain.tenant();
        let query = sqlx::query(sql::POLICY_HELD).bind(tenant.as_str());
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let held = row.as_ref().map(policy_held).transpose()?;
        let query = sqlx::query(sql::DEVICES_LEFT).bind(tenant.as_str());
        let rows = query.fetch_all(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let devices = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let [restarted, adopted] = policy::restart(held.as_ref(), chain, document, lost, devices)?;
        let first = self.note(restarted, now)?;
        let entered = self.note(adopted, now)?;
        self.stage.keep(entered, &document.bytes);
        for signature in &document.signatures {
            self.stage.keep(entered, signature.as_bytes());
        }
        for row in &rows {
            let join: Id = row.try_get::<&str, _>(0).map_err(Broken::from)?.parse().map_err(Broken::from)?;
            self.set_state(join, DeviceState::Replaced).await?;
        }
        let query = sqlx::query(sql::POLICIES_FORGET).bind(tenant.as_str());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        self.asking.clear();
        self.write_policy(chain, document, entered).await?;
        Ok(Answer::New(first, Outcome::Recorded))
    }
}
