//! A device's record as the gateway has it, and what of it can be believed.
//!
//! That this host key has this name and this serial, the host certificate says: a device CA of the policy signed it. That a
//! person wanted it so, and the labels, are believed only as far as the approval still verifies: whoever signed it may have
//! left since, and a device CA may be stolen.

use super::{super::now, newest::Newest};
use crate::{
    failure::{Failure, Outcome, While, refused},
    gateway::{Gateway, Route},
    home::Home,
    limits::{PENDING_MAX, ROWS_AT_ONCE},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, Digest, PublicKey, Signed, TenantName, Timestamp,
    device::{Approval, DeviceRecord, check_approval},
    host_certificate,
    policy::Policies,
};
use serde::Deserialize;

/// One row of `records`.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    record: String,
    index: u64,
    path: Vec<Digest>,
    batch: String,
    signature: String,
    certificate: String,
    serial_next: u64,
}

/// Hands on every row that the gateway has of a tenant, by name.
///
/// # Errors
/// The gateway does not answer, or its list has no end.
pub(super) fn each(gateway: &Gateway<'_>, tenant: &TenantName, mut take: impl FnMut(Row)) -> Outcome {
    let limit = ROWS_AT_ONCE.to_string();
    let (mut last, mut total): (Option<String>, usize) = (None, 0);
    loop {
        let mut words = vec!["records", tenant.as_str(), "--json", "--limit", &limit];
        words.extend(last.iter().flat_map(|last| ["--after", last.as_str()]));
        let rows: Vec<Row> = gateway.ask(&words)?;
        let (count, end) = (rows.len(), rows.last().map(|row| row.name.clone()));
        total = total.saturating_add(count);
        rows.into_iter().for_each(&mut take);
        if count < ROWS_AT_ONCE {
            return Ok(());
        }
        if end <= last || total > PENDING_MAX {
            return Err(Failure::Gateway("the gateway's list of devices has no end: it is not believed".to_owned()));
        }
        last = end;
    }
}

/// A record whose name, host key and serial a device CA vouches for.
#[derive(Debug)]
pub(crate) struct HeldRecord {
    /// Its labels are the gateway's word: see [`HeldRecord::labels`].
    pub(super) record: DeviceRecord,
    /// The device CA that signed the certificate.
    pub(super) ca: PublicKey,
    /// The next serial the gateway knows of.
    pub(super) serial_next: u64,
    approval: Approval,
}

impl HeldRecord {
    /// The record of this device.
    ///
    /// # Errors
    /// There is none, it cannot be had, or no device CA vouches for it.
    pub(crate) fn of(home: &Home, trusted: &Trusted, device: &DeviceAddress) -> Outcome<Self> {
        let held = trusted.tenant(&device.tenant)?;
        let gateway = Gateway::new(home, Route::of(held.policy())?);
        let words = ["records", device.tenant.as_str(), "--device", &device.to_string(), "--json"];
        let rows: Vec<Row> = gateway.ask(&words)?;
        let row = rows.into_iter().find(|row| row.name == device.to_string());
        let row =
            row.ok_or_else(|| refused(format!("{device} has no record: see `belay devices` and `belay pending`")))?;
        let row = Self::check(row, &held.policy().devices.ca)?;
        let mut newest = Newest::open(home, &device.tenant)?;
        newest.check(&row.record)?;
        // What nobody approved does not count: a stolen device CA must not make the true record look old.
        if row.check_approved(&trusted.policies(&device.tenant)?, now()).is_ok() {
            newest.keep([&row.record])?;
        }
        Ok(row)
    }

    /// Checks a row.
    ///
    /// # Errors
    /// No key of `ca` vouches for it.
    pub(super) fn check(row: Row, ca: &[PublicKey]) -> Outcome<Self> {
        let record = DeviceRecord::parse(row.record.as_bytes())?;
        if record.address.to_string() != row.name {
            return Err(refused(format!(
                "the gateway calls it {:?}, but its record says {}",
                row.name, record.address
            )));
        }
        let certificate =
            host_certificate::check(&row.certificate, &record.address, &record.host_key, record.serial, ca)
                .during(|| format!("what the gateway says about {} is not believed", record.address))?;
        let signer = ca.iter().find(|key| key.as_ssh().key_data() == certificate.signature_key());
        let ca = signer.cloned().ok_or_else(|| refused("the certificate's device CA is not in the policy"))?;
        let approval = Approval {
            record: row.record.into_bytes(),
            index: row.index,
            path: row.path.into_iter().map(|digest| digest.0).collect(),
            batch: Signed { bytes: row.batch.into_bytes(), signatures: vec![row.signature] },
            certificate: row.certificate,
        };
        Ok(Self { record, ca, serial_next: row.serial_next, approval })
    }

    /// A person who may enrol it approved this very record: name, labels and host key, under a serial that is not revoked.
    /// The certificate alone says only that somebody had a device CA.
    ///
    /// # Errors
    /// Nobody vouches for it any more: it must be approved anew, by somebody who compares the host key.
    pub(crate) fn check_approved(&self, policies: &Policies<'_>, now: Timestamp) -> Outcome {
        let checked = check_approval(policies, &self.approval, &self.record.host_key, None, now);
        checked.map(drop).map_err(|invalid| {
            let (device, key) = (&self.record.address, self.record.host_key.fingerprint());
            refused(format!(
                "{}: if {key} is the machine's host key, approve it anew with `belay device relabel {device} --label …`",
                invalid.sentence
            ))
        })
    }

    /// Its labels, if a person who may enrol it signed them.
    ///
    /// # Errors
    /// Nobody vouches for them any more: they must be given anew.
    pub(super) fn labels(&self, policies: &Policies<'_>, now: Timestamp) -> Outcome<Vec<String>> {
        let checked = check_approval(policies, &self.approval, &self.record.host_key, None, now);
        checked.map(|(record, _)| record.labels).map_err(|invalid| {
            refused(format!(
                "{}: its labels cannot be carried over: give them with `belay device relabel {} --label …` first",
                invalid.sentence, self.record.address
            ))
        })
    }
}
