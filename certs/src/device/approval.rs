//! One device's part of a signed batch: made on the approver's machine, checked by the device itself.
//!
//! Not here: the documents (`device`), asking the person (the `belay` command).

use super::{Batch, DeviceRecord, check_records};
use crate::{
    DeviceAddress, Digest, PersonRef, PublicKey, Timestamp, host_certificate,
    invalid::{Fault, Invalid, malformed},
    limits::PROOF_HASHES_MAX,
    policy::{Action, DeviceFacts, Policies, Question, decide},
    sshsig::{Namespace, Signed},
    tlog::{Edge, Hash, Tiles, inclusion_path, leaf_hash, verify_inclusion},
    token::seen,
};

/// What makes one machine a device: its record, the proof that a person approved it, and its host certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The device record's bytes.
    pub record: Vec<u8>,
    /// Which record of the batch it is, from 0.
    pub index: u64,
    /// The RFC 6962 path from the record to the batch's root.
    pub path: Vec<Hash>,
    /// The batch and its one signature.
    pub batch: Signed,
    /// The OpenSSH host certificate, one line.
    pub certificate: String,
}

/// Takes a signed batch apart into what each device gets, in the order of `records`.
///
/// # Errors
/// When the batch is not over exactly these records, its signature does not verify, or certificates are missing.
pub fn approvals(records: &[DeviceRecord], batch: Signed, certificates: &[String]) -> Result<Vec<Approval>, Invalid> {
    batch.only_signer(Namespace::Device)?;
    let signed = Batch::parse(&batch.bytes)?;
    if certificates.len() != records.len() {
        let sentence = format!("there are {} certificates for {} records", certificates.len(), records.len());
        return Err(Invalid::new(Fault::Mismatch, sentence));
    }
    let tenant = check_records(records)?;
    let (tree, tiles) = grow(records);
    if *tenant != signed.tenant || tree.size() != signed.count || Digest(tree.root()) != signed.root {
        return Err(Invalid::new(Fault::Mismatch, "the approval batch was not signed over these records"));
    }
    let made = (0..).zip(records).zip(certificates).map(|((index, record), certificate)| {
        Ok(Approval {
            record: record.to_text().into_bytes(),
            index,
            path: inclusion_path(index, tree.size(), &(&tree, &tiles))?,
            batch: batch.clone(),
            certificate: certificate.trim().to_owned(),
        })
    });
    made.collect()
}

/// The tree over the records: its right edge and the tiles that are full.
fn grow(records: &[DeviceRecord]) -> (Edge, Tiles) {
    let (mut edge, mut tiles) = (Edge::empty(), Tiles::new());
    for record in records {
        for tile in edge.append(record.leaf()) {
            tiles.insert(tile.level, tile.index, &tile.hashes);
        }
    }
    (edge, tiles)
}

/// Checks an approval as the device does that it is for: `host_key` is its own, `held` its newest record's bytes.
///
/// The approver must have `enrol` on this very device, name and labels, in the newest policy. An approval with the
/// bytes that are held already is fine; any other must have a higher serial, and an approver who has `enrol` on the
/// device as the held record says it is, too: else `enrol` on one label would be `enrol` on every device.
///
/// # Errors
/// When any part is not so; the sentence says which.
pub fn check_approval(
    policies: &Policies<'_>,
    approval: &Approval,
    host_key: &PublicKey,
    held: Option<&[u8]>,
    now: Timestamp,
) -> Result<(DeviceRecord, PersonRef), Invalid> {
    let address = DeviceRecord::parse(&approval.record)?.address;
    let batch = CheckedBatch::of(policies, &approval.batch, now)
        .map_err(|invalid| invalid.of(format!("the approval of {address}")))?;
    batch.check(approval, host_key, held, now)
}

/// A batch document whose signature, tenant and policy version hold: checked once for all of its records.
#[derive(Debug)]
pub struct CheckedBatch<'a> {
    policies: &'a Policies<'a>,
    /// What was signed.
    batch: Batch,
    /// Who signed it; whether they may approve is asked for each record.
    signer: PublicKey,
}

impl<'a> CheckedBatch<'a> {
    /// Checks what all records of a batch share.
    ///
    /// # Errors
    /// When it is not this tenant's, names a policy version that is not held, is from the future, or is not signed by
    /// exactly one key.
    pub fn of(policies: &'a Policies<'a>, signed: &Signed, now: Timestamp) -> Result<Self, Invalid> {
        let batch = Batch::parse(&signed.bytes)?;
        let tenant = policies.tenant.tenant();
        if batch.tenant != *tenant {
            return Err(Invalid::new(
                Fault::ForeignTenant,
                format!("the batch is for {}, not for {tenant}", batch.tenant),
            ));
        }
        seen::check_version(policies.tenant, batch.policy_version, &batch.policy)?;
        seen::check_issued(batch.issued, now)?;
        Ok(Self { policies, batch, signer: signed.only_signer(Namespace::Device)? })
    }

    /// Checks one approval of this batch, as [`check_approval`] does; whose batch `approval` carries is not looked at.
    ///
    /// # Errors
    /// As for [`check_approval`].
    pub fn check(
        &self,
        approval: &Approval,
        host_key: &PublicKey,
        held: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(DeviceRecord, PersonRef), Invalid> {
        let record = DeviceRecord::parse(&approval.record)?;
        let checked = self
            .check_place(approval)
            .and_then(|()| check_record(self.policies, &record, host_key, now))
            .and_then(|()| check_serial(approval, &record, held))
            .and_then(|voided| match voided {
                Some(old) => check_taker(self.policies, &self.signer, (&old.address, &old.labels), record.serial, now),
                None => Ok(()),
            })
            .and_then(|()| {
                check_enrol(self.policies, &self.signer, (&record.address, &record.labels), record.serial, now)
            });
        let person = checked.map_err(|invalid| invalid.of(format!("the approval of {}", record.address)))?;
        let ca = &self.policies.tenant.policy().devices.ca;
        host_certificate::check(&approval.certificate, &record.address, host_key, record.serial, ca)?;
        Ok((record, person))
    }

    /// The record is in the batch.
    fn check_place(&self, approval: &Approval) -> Result<(), Invalid> {
        if approval.path.len() > PROOF_HASHES_MAX {
            return Err(malformed(format!("the path has more than {PROOF_HASHES_MAX} hashes")));
        }
        let leaf = leaf_hash(&approval.record);
        verify_inclusion(&leaf, approval.index, self.batch.count, &approval.path, &self.batch.root.0)
            .map_err(|invalid| invalid.of("the record is not in the signed batch"))
    }

    /// Who signed it: one key.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }
}

/// Whether `signer` may take its name and labels from the device that is called `held.0` and has the labels `held.1`, by a
/// record with `serial`. The old record's own serial may be revoked by then: that is no reason to keep it.
///
/// # Errors
/// When the policy does not let `signer` enrol such a device.
pub fn check_taker(
    policies: &Policies<'_>,
    signer: &PublicKey,
    held: (&DeviceAddress, &[String]),
    serial: u64,
    now: Timestamp,
) -> Result<(), Invalid> {
    let checked = check_enrol(policies, signer, held, serial, now);
    checked.map(drop).map_err(|invalid| invalid.of(format!("the change of {}, as that device stands now", held.0)))
}

/// `signer` has `enrol` on a device of this name with these labels.
fn check_enrol(
    policies: &Policies<'_>,
    signer: &PublicKey,
    (address, labels): (&DeviceAddress, &[String]),
    serial: u64,
    now: Timestamp,
) -> Result<PersonRef, Invalid> {
    let question = Question {
        key: signer.clone(),
        device: DeviceFacts { address: address.clone(), labels: labels.to_vec(), serial },
        account: None,
        action: Action::Enrol,
        ticket: None,
    };
    let grant = decide(policies, &question, now).map_err(|refusal| seen::refused(&refusal))?;
    Ok(grant.person().clone())
}

/// The record is this tenant's, of now, and for the key this machine holds.
fn check_record(
    policies: &Policies<'_>,
    record: &DeviceRecord,
    host_key: &PublicKey,
    now: Timestamp,
) -> Result<(), Invalid> {
    let tenant = policies.tenant.tenant();
    if record.address.tenant != *tenant {
        return Err(Invalid::new(Fault::ForeignTenant, format!("the record is not for a device of {tenant}")));
    }
    if record.host_key != *host_key {
        let sentence =
            format!("the record is for the host key {}, not for this machine's", record.host_key.fingerprint());
        return Err(Invalid::new(Fault::Mismatch, sentence));
    }
    seen::check_issued(record.issued, now)
}

/// Only forward: the held record again, or one with a higher serial. Returns the held record that this one voids.
fn check_serial(
    approval: &Approval,
    record: &DeviceRecord,
    held: Option<&[u8]>,
) -> Result<Option<DeviceRecord>, Invalid> {
    let Some(held_bytes) = held.filter(|bytes| *bytes != approval.record) else { return Ok(None) };
    let held = DeviceRecord::parse(held_bytes).map_err(|invalid| invalid.of("the record held here"))?;
    if record.serial > held.serial {
        return Ok(Some(held));
    }
    let fault = if record.serial == held.serial { Fault::Fork } else { Fault::Older };
    let sentence =
        format!("serial {} does not follow serial {} held here: approve with a higher one", record.serial, held.serial);
    Err(Invalid::new(fault, sentence))
}
