//! Devices as the store has them, and the judge of their approval.

use crate::ask::Verdict;
use crate::draft::Draft;
use crate::event::What;
use crate::refusal::Refusal;
use belay_certs::device::{Approval, DeviceRecord};
use belay_certs::{DeviceName, Digest, Id, Invalid, PersonRef, TenantName, Timestamp};
use std::{fmt, str::FromStr};

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceState {
    /// It asked to join and nobody has approved it.
    Pending,
    /// It has a device record.
    Approved,
    /// The policy revokes its record's serial.
    Revoked,
    /// Another machine got its name.
    Replaced,
}

impl DeviceState {
    /// The word for it, in tables and sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeviceState {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Pending, Self::Approved, Self::Revoked, Self::Replaced]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Invalid::new(belay_certs::Fault::Malformed, format!("{text:?} is no state of a device")))
    }
}

/// A device as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceHeld {
    /// The id of the request it came in by; its transport certificate says it.
    pub join: Id,
    /// Its name, proposed or approved.
    pub name: DeviceName,
    /// Its host key's fingerprint.
    pub fingerprint: String,
    /// The digest of its machine id.
    pub machine_id: Digest,
    /// Where it is in its life.
    pub state: DeviceState,
    /// When it asked to join.
    pub asked: Timestamp,
    /// Its record: serial and digest of the text. None before approval.
    pub record: Option<RecordHeld>,
    /// The newest entry about its life: that it asked, or that it was approved.
    pub index: u64,
}

/// The device record that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeld {
    /// Its serial.
    pub serial: u64,
    /// Of its exact text.
    pub digest: Digest,
}

/// An approval that is recorded: which machine it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Approved {
    /// The request it answers.
    pub join: Id,
    /// The event.
    pub draft: Draft,
}

/// The device that a serial was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialHolder {
    /// The request the device came in by.
    pub join: Id,
    /// Its name.
    pub name: DeviceName,
}

/// May this record become the device's? `held` are the tenant's devices with its name, `holder` has its serial.
///
/// # Errors
/// When no such machine waits, the serial is another device's, or it is not higher than the one held.
pub fn approve(
    tenant: &TenantName,
    held: &[DeviceHeld],
    holder: Option<&SerialHolder>,
    record: &DeviceRecord,
    approval: &Approval,
    by: &PersonRef,
) -> Result<Verdict<Approved>, Refusal> {
    let name = &record.address.device;
    if record.address.tenant != *tenant {
        return Err(Refusal::ApprovalForeign(record.address.to_string()));
    }
    let fingerprint = record.host_key.fingerprint();
    let mine = |device: &&DeviceHeld| device.name == *name && device.fingerprint == fingerprint;
    let device = held
        .iter()
        .filter(mine)
        .find(|device| matches!(device.state, DeviceState::Pending | DeviceState::Approved))
        .ok_or_else(|| Refusal::NotPending(name.clone()))?;
    // Stores count in 63 bits; a larger number must be a no to its sender and not a fault of everybody's transaction.
    if i64::try_from(record.serial).is_err() {
        return Err(Refusal::SerialTooHigh { name: name.clone(), serial: record.serial });
    }
    if let Some(holder) = holder.filter(|holder| holder.join != device.join) {
        return Err(Refusal::SerialTaken { serial: record.serial, holder: holder.name.clone() });
    }
    if let Some(before) = &device.record {
        if before.serial == record.serial && before.digest == Digest::of(&approval.record) {
            return Ok(Verdict::Again(device.index));
        }
        if before.serial >= record.serial {
            let (serial, held) = (record.serial, before.serial);
            return Err(Refusal::SerialNotHigher { name: name.clone(), serial, held });
        }
    }
    let what = approved(device.join, record, approval)?;
    let draft = Draft::new(tenant.clone().into(), what).on(name.clone()).by(by.clone());
    Ok(Verdict::Record(Approved { join: device.join, draft }))
}

/// The entry by which an approved device stands in a later life of its tenant's log.
///
/// # Errors
/// When its record or its proof is not what was recorded when it was approved.
pub fn carried(join: Id, record: &DeviceRecord, approval: &Approval, by: &PersonRef) -> Result<Draft, Refusal> {
    let What::DeviceApproved { join, record: text, serial, batch, batch_signature, place, path, certificate, .. } =
        approved(join, record, approval)?
    else {
        return Err(Refusal::EntryInvalid("an approval became another event".to_owned()));
    };
    let approved_by = by.to_string();
    let what = What::DeviceCarried {
        join,
        record: text,
        serial,
        approved_by,
        batch,
        batch_signature,
        place,
        path,
        certificate,
    };
    Ok(Draft::new(record.address.tenant.clone().into(), what).on(record.address.device.clone()))
}

fn approved(join: Id, record: &DeviceRecord, approval: &Approval) -> Result<What, Refusal> {
    let broken = |sentence: &str| Refusal::EntryInvalid(sentence.to_owned());
    let text = String::from_utf8(approval.record.clone()).map_err(|_| broken("the device record is not UTF-8"))?;
    let [batch_signature] = approval.batch.signatures.as_slice() else {
        return Err(broken("a batch carries exactly one signature"));
    };
    Ok(What::DeviceApproved {
        join,
        record: text,
        serial: record.serial,
        host_key: record.host_key.clone(),
        labels: record.labels.clone(),
        batch: Digest::of(&approval.batch.bytes),
        batch_signature: Digest::of(batch_signature.as_bytes()),
        place: approval.index,
        path: approval.path.iter().map(|hash| Digest(*hash)).collect(),
        certificate: Digest::of(approval.certificate.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Acme, ann, key, now, record, tenant};

    fn held(record: &DeviceRecord, state: DeviceState, before: Option<RecordHeld>) -> DeviceHeld {
        DeviceHeld {
            join: Id([7; 16]),
            name: record.address.device.clone(),
            fingerprint: record.host_key.fingerprint(),
            machine_id: Digest::of(b"machine"),
            state,
            asked: now(),
            record: before,
            index: 6,
        }
    }

    #[test]
    fn a_pending_device_is_approved() {
        let approvals = Acme::new().approve(vec![record("web1", &key("a"), 1), record("web2", &key("b"), 2)]);
        let (record, approval) = &approvals[1];
        let pending = held(record, DeviceState::Pending, None);
        let verdict = approve(&tenant(), &[pending], None, record, approval, &ann()).unwrap();
        let Verdict::Record(Approved { join, draft }) = verdict else { panic!("approved before") };
        let What::DeviceApproved { record: text, place, path, .. } = &draft.what else { panic!("{draft:?}") };
        assert_eq!((join, text.as_bytes(), *place, path.len()), (Id([7; 16]), approval.record.as_slice(), 1, 1));
        assert_eq!((draft.device.unwrap().as_str(), draft.person), ("web2", Some(ann())));
    }

    #[test]
    fn only_a_higher_serial_voids_a_record_and_the_same_record_is_the_same() {
        let host_key = key("a");
        let approvals = Acme::new().approve(vec![record("web1", &host_key, 5)]);
        let (record, approval) = &approvals[0];
        let judge = |serial, digest| {
            let approved = held(record, DeviceState::Approved, Some(RecordHeld { serial, digest }));
            approve(&tenant(), &[approved], None, record, approval, &ann())
        };
        let (mine, other) = (Digest::of(&approval.record), Digest::of(b"other"));
        assert!(matches!(judge(4, other), Ok(Verdict::Record(_))));
        assert_eq!(judge(5, mine), Ok(Verdict::Again(6)));
        for held in [5, 6] {
            let name = "web1".parse().unwrap();
            assert_eq!(judge(held, other), Err(Refusal::SerialNotHigher { name, serial: 5, held }));
        }
    }

    #[test]
    fn other_keys_other_tenants_and_taken_serials_are_refused() {
        let approvals = Acme::new().approve(vec![record("web1", &key("a"), 5)]);
        let (record, approval) = &approvals[0];
        let pending = held(record, DeviceState::Pending, None);
        let other_key = DeviceHeld { fingerprint: "SHA256:other".to_owned(), ..pending.clone() };
        let gone = DeviceHeld { state: DeviceState::Replaced, ..pending.clone() };
        let refusal = approve(&tenant(), &[other_key, gone], None, record, approval, &ann()).unwrap_err();
        assert_eq!(refusal, Refusal::NotPending("web1".parse().unwrap()));
        let beta = "beta".parse().unwrap();
        let refusal = approve(&beta, std::slice::from_ref(&pending), None, record, approval, &ann()).unwrap_err();
        assert_eq!(refusal, Refusal::ApprovalForeign("web1.acme".to_owned()));
        let holder = SerialHolder { join: Id([8; 16]), name: "db1".parse().unwrap() };
        let refusal = approve(&tenant(), &[pending], Some(&holder), record, approval, &ann()).unwrap_err();
        assert_eq!(refusal, Refusal::SerialTaken { serial: 5, holder: "db1".parse().unwrap() });
    }
}
