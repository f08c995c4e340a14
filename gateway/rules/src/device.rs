//! Devices as the store has them, and the judge of their approval.

use crate::ask::{Recertified, Verdict};
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
    /// The device that loses its name by it, with the event that says so.
    pub replaced: Option<(Id, Draft)>,
    /// The name it loses by it.
    pub formerly: Option<DeviceName>,
}

/// The device that a serial was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialHolder {
    /// The request the device came in by.
    pub join: Id,
    /// Its name.
    pub name: DeviceName,
}

/// What the store has that bears on an approval.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// The tenant's devices with the record's name or its host key.
    pub devices: &'a [DeviceHeld],
    /// The device that the record's serial was given to.
    pub holder: Option<&'a SerialHolder>,
    /// Serials of records in force that the approver may void.
    pub over: &'a [u64],
}

/// May this record become the device's? The first one answers a request, under the name that the machine signed. A later
/// one, with a higher serial, may give another name and other labels. A name that another device has is only given away
/// by a record that says so.
///
/// # Errors
/// When no such machine waits, the serial is another device's or not higher than the one held, or the name is.
pub fn approve(
    tenant: &TenantName,
    standing: &Standing<'_>,
    record: &DeviceRecord,
    approval: &Approval,
    by: &PersonRef,
) -> Result<Verdict<Approved>, Refusal> {
    let name = &record.address.device;
    if record.address.tenant != *tenant {
        return Err(Refusal::ApprovalForeign(record.address.to_string()));
    }
    let device = machine(standing, record).ok_or_else(|| Refusal::NotPending(name.clone()))?;
    // Stores count in 63 bits; a larger number must be a no to its sender and not a fault of everybody's transaction.
    if i64::try_from(record.serial).is_err() {
        return Err(Refusal::SerialTooHigh { name: name.clone(), serial: record.serial });
    }
    if let Some(holder) = standing.holder.filter(|holder| holder.join != device.join) {
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
        check_over(standing, name, before.serial)?;
    }
    let replaced = replaced(tenant, standing, device, record, by)?;
    let formerly = (device.name != *name).then(|| device.name.clone());
    let what = approved(device.join, record, formerly.clone(), approval)?;
    let draft = Draft::new(tenant.clone().into(), what).on(name.clone()).by(by.clone());
    Ok(Verdict::Record(Approved { join: device.join, draft, replaced, formerly }))
}

/// The entry by which an approved device stands in a later life of its tenant's log.
///
/// # Errors
/// When its record or its proof is not what was recorded when it was approved.
pub fn carried(join: Id, record: &DeviceRecord, approval: &Approval, by: &PersonRef) -> Result<Draft, Refusal> {
    let What::DeviceApproved { join, record: text, serial, batch, batch_signature, place, path, certificate, .. } =
        approved(join, record, None, approval)?
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

/// The machine that the record is for: the one with its host key that waits under its name, or that is approved.
fn machine<'a>(standing: &Standing<'a>, record: &DeviceRecord) -> Option<&'a DeviceHeld> {
    let fingerprint = record.host_key.fingerprint();
    standing.devices.iter().filter(|device| device.fingerprint == fingerprint).find(|device| match device.state {
        DeviceState::Pending => device.name == record.address.device,
        DeviceState::Approved => true,
        DeviceState::Revoked | DeviceState::Replaced => false,
    })
}

/// The policy was asked whether the approver may void this very record.
fn check_over(standing: &Standing<'_>, name: &DeviceName, serial: u64) -> Result<(), Refusal> {
    if standing.over.contains(&serial) {
        return Ok(());
    }
    Err(Refusal::RecordMeanwhile { name: name.clone(), serial })
}

/// The device whose name the record takes, if it says whose.
fn replaced(
    tenant: &TenantName,
    standing: &Standing<'_>,
    device: &DeviceHeld,
    record: &DeviceRecord,
    by: &PersonRef,
) -> Result<Option<(Id, Draft)>, Refusal> {
    let name = &record.address.device;
    let rival = standing
        .devices
        .iter()
        .find(|rival| rival.state == DeviceState::Approved && rival.name == *name && rival.join != device.join);
    let Some(rival) = rival else { return Ok(None) };
    let serial = rival.record.as_ref().map_or(0, |held| held.serial);
    if record.replaces != Some(serial) {
        return Err(Refusal::NameHeld { name: name.clone(), serial });
    }
    check_over(standing, name, serial)?;
    let what = What::DeviceReplaced { join: rival.join, serial, by: device.join };
    Ok(Some((rival.join, Draft::new(tenant.clone().into(), what).on(name.clone()).by(by.clone()))))
}

/// May an approved device, the one with this record, get this certificate? `same` says whether it has it.
///
/// # Errors
/// When no approved device has the record.
pub fn recertify(
    tenant: &TenantName,
    held: Option<&DeviceHeld>,
    certificate: &Recertified,
    same: bool,
    by: &PersonRef,
) -> Result<Verdict<Draft>, Refusal> {
    let serial = certificate.serial;
    let device = held.filter(|device| {
        device.state == DeviceState::Approved && device.record.as_ref().is_some_and(|record| record.serial == serial)
    });
    let device = device.ok_or(Refusal::NoSuchRecord(serial))?;
    if same {
        return Ok(Verdict::Again(device.index));
    }
    let digest = Digest::of(certificate.certificate.as_bytes());
    let what = What::DeviceRecertified { join: device.join, serial, certificate: digest, ca: certificate.ca.clone() };
    Ok(Verdict::Record(Draft::new(tenant.clone().into(), what).on(device.name.clone()).by(by.clone())))
}

fn approved(
    join: Id,
    record: &DeviceRecord,
    formerly: Option<DeviceName>,
    approval: &Approval,
) -> Result<What, Refusal> {
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
        formerly,
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
        let standing = Standing { devices: &[pending], holder: None, over: &[] };
        let verdict = approve(&tenant(), &standing, record, approval, &ann()).unwrap();
        let Verdict::Record(Approved { join, draft, replaced: None, formerly: None }) = verdict else {
            panic!("approved before")
        };
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
            approve(&tenant(), &Standing { devices: &[approved], holder: None, over: &[4] }, record, approval, &ann())
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
        let judge = |tenant: &TenantName, devices: &[DeviceHeld], holder: Option<&SerialHolder>| {
            approve(tenant, &Standing { devices, holder, over: &[] }, record, approval, &ann()).unwrap_err()
        };
        let refusal = judge(&tenant(), &[other_key, gone], None);
        assert_eq!(refusal, Refusal::NotPending("web1".parse().unwrap()));
        let beta = "beta".parse().unwrap();
        let refusal = judge(&beta, std::slice::from_ref(&pending), None);
        assert_eq!(refusal, Refusal::ApprovalForeign("web1.acme".to_owned()));
        let holder = SerialHolder { join: Id([8; 16]), name: "db1".parse().unwrap() };
        let refusal = judge(&tenant(), &[pending], Some(&holder));
        assert_eq!(refusal, Refusal::SerialTaken { serial: 5, holder: "db1".parse().unwrap() });
    }

    #[test]
    fn an_approved_device_gets_another_name_with_a_higher_serial_and_a_pending_one_does_not() {
        let host_key = key("a");
        let approvals = Acme::new().approve(vec![record("web2", &host_key, 6)]);
        let (renamed, approval) = &approvals[0];
        let before = Some(RecordHeld { serial: 5, digest: Digest::of(b"web1") });
        let device = DeviceHeld { name: "web1".parse().unwrap(), ..held(renamed, DeviceState::Approved, before) };
        let judge_over = |devices: &[DeviceHeld], over: &[u64]| {
            approve(&tenant(), &Standing { devices, holder: None, over }, renamed, approval, &ann())
        };
        let judge = |devices: &[DeviceHeld]| judge_over(devices, &[5, 3]);
        let unasked = Refusal::RecordMeanwhile { name: "web2".parse().unwrap(), serial: 5 };
        assert_eq!(judge_over(std::slice::from_ref(&device), &[4, 6]), Err(unasked));
        let Ok(Verdict::Record(Approved { draft, formerly, .. })) = judge(std::slice::from_ref(&device)) else {
            panic!("not renamed")
        };
        assert_eq!((draft.device.unwrap().as_str(), formerly.unwrap().as_str()), ("web2", "web1"));
        let waiting = DeviceHeld { state: DeviceState::Pending, record: None, ..device.clone() };
        assert_eq!(judge(&[waiting]), Err(Refusal::NotPending("web2".parse().unwrap())));
        // Somebody else has the name by now.
        let rival = DeviceHeld {
            join: Id([8; 16]),
            fingerprint: "SHA256:other".to_owned(),
            ..held(renamed, DeviceState::Approved, Some(RecordHeld { serial: 3, digest: Digest::of(b"x") }))
        };
        let taken = Refusal::NameHeld { name: "web2".parse().unwrap(), serial: 3 };
        assert_eq!(judge(&[device, rival]), Err(taken));
    }

    #[test]
    fn a_name_is_only_given_away_by_a_record_that_says_whose_it_was() {
        let host_key = key("new");
        let over = |replaces, over: &[u64]| {
            let record = DeviceRecord { replaces, ..record("web1", &host_key, 9) };
            let approvals = Acme::new().approve(vec![record]);
            let (record, approval) = &approvals[0];
            let new = held(record, DeviceState::Pending, None);
            let old = DeviceHeld {
                join: Id([8; 16]),
                fingerprint: "SHA256:old".to_owned(),
                ..held(record, DeviceState::Approved, Some(RecordHeld { serial: 3, digest: Digest::of(b"x") }))
            };
            approve(&tenant(), &Standing { devices: &[old, new], holder: None, over }, record, approval, &ann())
        };
        let with = |replaces| over(replaces, &[3]);
        let unasked = Refusal::RecordMeanwhile { name: "web1".parse().unwrap(), serial: 3 };
        assert_eq!(over(Some(3), &[]), Err(unasked));
        for wrong in [None, Some(2), Some(4)] {
            let held = Refusal::NameHeld { name: "web1".parse().unwrap(), serial: 3 };
            assert_eq!(with(wrong), Err(held), "{wrong:?}");
        }
        let Ok(Verdict::Record(Approved { join, replaced: Some((old, draft)), .. })) = with(Some(3)) else {
            panic!("not replaced")
        };
        assert_eq!((join, old), (Id([7; 16]), Id([8; 16])));
        assert_eq!(draft.what, What::DeviceReplaced { join: old, serial: 3, by: join });
    }

    #[test]
    fn a_certificate_is_taken_for_the_record_in_force_only() {
        let approvals = Acme::new().approve(vec![record("web1", &key("a"), 5)]);
        let device =
            held(&approvals[0].0, DeviceState::Approved, Some(RecordHeld { serial: 5, digest: Digest::of(b"x") }));
        let new = Recertified { serial: 5, certificate: "cert".into(), ca: "SHA256:ca".into() };
        let judge = |device: &DeviceHeld, same| recertify(&tenant(), Some(device), &new, same, &ann());
        assert!(matches!(judge(&device, false), Ok(Verdict::Record(_))));
        assert_eq!(judge(&device, true), Ok(Verdict::Again(6)));
        let revoked = DeviceHeld { state: DeviceState::Revoked, ..device.clone() };
        let newer = DeviceHeld { record: Some(RecordHeld { serial: 6, digest: Digest::of(b"y") }), ..device };
        for other in [revoked, newer] {
            assert_eq!(judge(&other, false), Err(Refusal::NoSuchRecord(5)));
        }
    }
}
