//! The turns that change what a device is: joining, approval, revocation.

use super::broken::{Broken, RecordError};
use super::heads::{signed, unsigned};
use super::record::Ready;
use super::rows::{device_held, token_held};
use super::sql;
use super::stage::Entered;
use super::turn::{Answer, Turn};
use belay_certs::device::{Approval, DeviceRecord};
use belay_certs::join::{JoinRequest, SignedJoin};
use belay_certs::{DeviceName, Id, PersonRef, TenantName, Timestamp};
use belay_rules::device::{Approved, SerialHolder, Standing};
use belay_rules::join::{Facts, Redeemed};
use belay_rules::limits::APPROVALS_PER_ASK_MAX;
use belay_rules::presence::RecordNamed;
use belay_rules::{DeviceHeld, DeviceState, LogName, Outcome, Refusal, Verdict, device, join};
use sqlx::Row;
use std::collections::HashSet;

/// An approval that was judged, and waits for the rest of its ask.
struct Admitted<'a> {
    join: Id,
    record: &'a DeviceRecord,
    approval: &'a Approval,
    ready: Ready,
    /// The device that loses its name by it.
    replaced: Option<(Id, Ready)>,
}

impl Turn<'_> {
    pub(super) async fn redeem(
        &mut self,
        id: Id,
        request: &JoinRequest,
        document: &SignedJoin,
        address: &str,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let tenant = &request.tenant;
        let query = sqlx::query(sql::TOKEN_BY_DIGEST).bind(tenant.as_str()).bind(request.token.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let held = row.as_ref().map(token_held).transpose()?;
        let mut devices = self.devices_held(sql::DEVICES_HELD_BY_NAME, tenant, request.name.as_str()).await?;
        let fingerprint = request.host_key.fingerprint();
        let same_key = self.devices_held(sql::DEVICES_HELD_BY_KEY, tenant, &fingerprint).await?;
        devices.extend(same_key.into_iter().filter(|device| device.name != request.name));
        let facts = Facts { token: held.as_ref(), devices: &devices };
        let (draft, token, replaces) = match join::redeem(&facts, id, request, document, address, now)? {
            Redeemed::Before { join, index } => {
                return self.old(LogName::Tenant(tenant.clone()), index, Outcome::JoinedBefore(join)).await;
            }
            Redeemed::Pending { draft, token, replaces } => (draft, token, replaces),
        };
        let entered = self.note(*draft, now)?;
        self.stage.keep(entered, &document.bytes);
        self.stage.keep(entered, document.by_join_key.as_bytes());
        self.stage.keep(entered, document.by_host_key.as_bytes());
        for replaced in replaces {
            self.set_state(replaced, DeviceState::Replaced).await?;
        }
        let query = sqlx::query(sql::TOKEN_USE).bind(tenant.as_str()).bind(token.to_string());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        self.add_device(id, token, request, document, address, entered, now).await?;
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn devices_held(
        &mut self,
        text: &'static str,
        tenant: &TenantName,
        key: &str,
    ) -> Result<Vec<DeviceHeld>, Broken> {
        let rows = sqlx::query(text).bind(tenant.as_str()).bind(key).fetch_all(self.transaction.sql().await?).await?;
        rows.iter().map(device_held).collect()
    }

    #[expect(clippy::too_many_arguments, reason = "one row, written in one place")]
    async fn add_device(
        &mut self,
        join: Id,
        token: Id,
        request: &JoinRequest,
        document: &SignedJoin,
        address: &str,
        entered: Entered,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let query = sqlx::query(sql::DEVICE_ADD)
            .bind(join.to_string())
            .bind(request.tenant.as_str())
            .bind(request.name.as_str())
            .bind(DeviceState::Pending.as_str())
            .bind(request.host_key.line())
            .bind(request.host_key.fingerprint())
            .bind(request.machine_id.to_string())
            .bind(token.to_string())
            .bind(now.micros())
            .bind(address)
            .bind(document.bytes.as_slice())
            .bind(document.by_join_key.as_str())
            .bind(document.by_host_key.as_str())
            .bind(signed(entered.index)?);
        query.execute(self.transaction.sql().await?).await?;
        Ok(())
    }

    pub(super) async fn set_state(&mut self, join: Id, state: DeviceState) -> Result<(), Broken> {
        let query = sqlx::query(sql::DEVICE_STATE).bind(state.as_str()).bind(join.to_string());
        query.execute(self.transaction.sql().await?).await?;
        if let Some(known) = self.devices.remembered(join) {
            known.caller.state = state;
        }
        Ok(())
    }

    /// All or none: the first refusal refuses the whole ask, before anything is written.
    pub(super) async fn approve(
        &mut self,
        tenant: &TenantName,
        approvals: &[(DeviceRecord, Approval)],
        by: &PersonRef,
        over: &[u64],
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        if approvals.len() > APPROVALS_PER_ASK_MAX {
            return Err(Refusal::TooManyApprovals(approvals.len()).into());
        }
        let mut ready: Vec<Admitted<'_>> = Vec::with_capacity(approvals.len());
        let mut again = None;
        let (mut serials, mut names) = (HashSet::new(), HashSet::new());
        for (record, approval) in approvals {
            if !names.insert(&record.address.device) {
                return Err(Refusal::ApprovedTwice(record.address.device.clone()).into());
            }
            if !serials.insert(record.serial) {
                let holder = record.address.device.clone();
                return Err(Refusal::SerialTaken { serial: record.serial, holder }.into());
            }
            match self.judge_approval(tenant, record, approval, by, over).await? {
                Verdict::Again(index) => again = again.or(Some(index)),
                Verdict::Record(Approved { join, .. }) if ready.iter().any(|other| other.join == join) => {
                    return Err(Refusal::ApprovedTwice(record.address.device.clone()).into());
                }
                Verdict::Record(Approved { join, draft, replaced, formerly: _ }) => {
                    let replaced = match replaced {
                        Some((old, draft)) => Some((old, Ready::new(draft, now)?)),
                        None => None,
                    };
                    ready.push(Admitted { join, record, approval, ready: Ready::new(draft, now)?, replaced });
                }
            }
        }
        let mut first = None;
        for Admitted { join, record, approval, ready, replaced } in ready {
            // The old one first: a name is one approved device's at any moment.
            if let Some((old, ready)) = replaced {
                self.enter(ready)?;
                self.set_state(old, DeviceState::Replaced).await?;
            }
            let entered = self.enter(ready)?;
            first = first.or(Some(entered));
            self.write_approval(join, record, approval, by, entered, now).await?;
        }
        match (first, again) {
            (Some(entered), _) => Ok(Answer::New(entered, Outcome::Recorded)),
            (None, Some(index)) => self.old(LogName::Tenant(tenant.clone()), index, Outcome::Again).await,
            (None, None) => Err(Refusal::ApprovalsMissing.into()),
        }
    }

    async fn judge_approval(
        &mut self,
        tenant: &TenantName,
        record: &DeviceRecord,
        approval: &Approval,
        by: &PersonRef,
        over: &[u64],
    ) -> Result<Verdict<Approved>, RecordError> {
        let name = &record.address.device;
        let mut devices = self.devices_held(sql::DEVICES_HELD_BY_NAME, tenant, name.as_str()).await?;
        let same_key = self.devices_held(sql::DEVICES_HELD_BY_KEY, tenant, &record.host_key.fingerprint()).await?;
        devices.extend(same_key.into_iter().filter(|device| device.name != *name));
        let query = sqlx::query(sql::RECORD_HOLDER).bind(tenant.as_str()).bind(signed(record.serial)?);
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let holder = match &row {
            None => None,
            Some(row) => {
                let join: &str = row.try_get(0).map_err(Broken::from)?;
                let name: &str = row.try_get(1).map_err(Broken::from)?;
                let name: DeviceName = name.parse().map_err(Broken::from)?;
                Some(SerialHolder { join: join.parse().map_err(Broken::from)?, name })
            }
        };
        let standing = Standing { devices: &devices, holder: holder.as_ref(), over };
        Ok(device::approve(tenant, &standing, record, approval, by)?)
    }

    async fn write_approval(
        &mut self,
        join: Id,
        record: &DeviceRecord,
        approval: &Approval,
        by: &PersonRef,
        entered: Entered,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let batch_signature = approval.batch.signatures.first().map(String::as_str).unwrap_or_default();
        self.stage.keep(entered, &approval.batch.bytes);
        self.stage.keep(entered, batch_signature.as_bytes());
        self.stage.keep(entered, approval.certificate.as_bytes());
        let query = sqlx::query(sql::DEVICE_APPROVE)
            .bind(DeviceState::Approved.as_str())
            .bind(signed(entered.index)?)
            .bind(signed(record.serial)?)
            .bind(serde_json::to_string(&record.labels)?)
            .bind(now.micros())
            .bind(by.to_string())
            .bind(approval.record.as_slice())
            .bind(signed(approval.index)?)
            .bind(approval.path.concat())
            .bind(approval.batch.bytes.as_slice())
            .bind(batch_signature)
            .bind(approval.certificate.as_str())
            .bind(record.address.device.as_str())
            .bind(join.to_string());
        query.execute(self.transaction.sql().await?).await?;
        let query = sqlx::query(sql::RECORD_ADD)
            .bind(record.address.tenant.as_str())
            .bind(signed(record.serial)?)
            .bind(join.to_string())
            .bind(record.address.device.as_str())
            .bind(signed(entered.index)?);
        query.execute(self.transaction.sql().await?).await?;
        self.follow_freezes(&record.address, &record.host_key.fingerprint());
        if let Some(known) = self.devices.remembered(join) {
            let name = record.address.device.clone();
            known.caller.state = DeviceState::Approved;
            known.caller.name = name.clone();
            known.caller.records.insert(0, RecordNamed { serial: record.serial, name });
        }
        Ok(())
    }

    /// Brings the devices' states in line with the serials that the newest policy revokes. A device whose serial is no
    /// longer revoked comes back, unless its name went to another machine.
    pub(super) async fn follow_revocations(&mut self, tenant: &TenantName, revoked: &[u64]) -> Result<(), Broken> {
        let revoked: HashSet<u64> = revoked.iter().copied().collect();
        let query = sqlx::query(sql::DEVICES_WITH_RECORD).bind(tenant.as_str());
        for row in query.fetch_all(self.transaction.sql().await?).await? {
            let join: Id = row.try_get::<&str, _>(0)?.parse()?;
            let serial = unsigned(row.try_get(1)?)?;
            let held: DeviceState = row.try_get::<&str, _>(2)?.parse()?;
            match (revoked.contains(&serial), held) {
                (true, DeviceState::Approved) => self.set_state(join, DeviceState::Revoked).await?,
                (false, DeviceState::Revoked) if self.name_is_free(tenant, row.try_get(3)?).await? => {
                    self.set_state(join, DeviceState::Approved).await?;
                }
                (true | false, _) => {}
            }
        }
        Ok(())
    }

    async fn name_is_free(&mut self, tenant: &TenantName, name: &str) -> Result<bool, Broken> {
        let query = sqlx::query(sql::NAME_IN_USE).bind(tenant.as_str()).bind(name);
        Ok(query.fetch_one(self.transaction.sql().await?).await?.try_get::<i64, _>(0)? == 0)
    }
}
