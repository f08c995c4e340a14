//! Device records by serial, as the log has them: what a device signed is checked with the host key that it had when it signed.
//!
//! The record in force says nothing about a device that joined again since. Of each serial the entry that approved it is proved
//! to be in the log, before anything that was said under it; a device CA of some version of the policy certified its host key.
//! Not here: the record in force (`device`), and how all this stands in a pack (`evidence`).

use super::proofs::{Proofs, Proven};
use crate::{
    failure::{Outcome, While, refused},
    screen::note,
};
use belay_certs::{
    Digest, Invalid, Namespace, PublicKey, Signed, TenantName, Timestamp,
    device::{Approval, Batch, DeviceRecord, check_approval},
    host_certificate,
    limits::PROOF_HASHES_MAX,
    policy::Policies,
    statement::{self, Statement},
    tlog::{leaf_hash, verify_inclusion},
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The entries that approve a device: the second kind at the beginning of a log that was begun anew.
const KINDS: [&str; 2] = ["device.approved", "device.carried"];

/// A device record whose host key a device CA vouches for, and that somebody approved.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// What it says.
    pub record: DeviceRecord,
    /// All that was signed.
    pub approval: Approval,
    /// Who signed the batch with it.
    pub approver: PublicKey,
}

impl Vouched {
    /// Checks an approval; `named` says how each of its pieces is called (`record`, `batch`, `batch.sig`, `path`, `certificate`).
    ///
    /// # Errors
    /// With the piece that is wrong.
    pub fn check(
        approval: Approval,
        tenant: &TenantName,
        cas: &[PublicKey],
        named: impl Fn(&str) -> String,
    ) -> Outcome<Self> {
        let of = |piece: &'static str, invalid: Invalid| invalid.of(named(piece));
        let record = DeviceRecord::parse(&approval.record).map_err(|invalid| of("record", invalid))?;
        let batch = Batch::parse(&approval.batch.bytes).map_err(|invalid| of("batch", invalid))?;
        if record.address.tenant != *tenant || batch.tenant != *tenant {
            return Err(refused(format!("{}: it is of {}, not of {tenant}", named("record"), record.address)));
        }
        let approver = approval.batch.only_signer(Namespace::Device).map_err(|invalid| of("batch.sig", invalid))?;
        if approval.path.len() > PROOF_HASHES_MAX {
            return Err(refused(format!("{}: it has more hashes than any batch needs", named("path"))));
        }
        verify_inclusion(&leaf_hash(&approval.record), approval.index, batch.count, &approval.path, &batch.root.0)
            .map_err(|invalid| of("path", invalid))?;
        host_certificate::check(&approval.certificate, &record.address, &record.host_key, record.serial, cas)
            .map_err(|invalid| of("certificate", invalid))?;
        Ok(Self { record, approval, approver })
    }
}

/// The members of an entry that approves a device.
#[derive(Debug, Deserialize)]
struct Approved {
    record: String,
    serial: u64,
    batch: Digest,
    batch_signature: Digest,
    place: u64,
    path: Vec<Digest>,
    certificate: Digest,
}

impl Approved {
    fn of(proven: &Proven) -> Outcome<Option<Self>> {
        if !KINDS.contains(&proven.entry.kind.as_str()) {
            return Ok(None);
        }
        let detail = serde_json::Value::Object(proven.entry.detail.clone());
        serde_json::from_value(detail).map(Some).during(|| format!("entry {}", proven.index))
    }

    /// The approval, of which the entry names some by digest.
    fn approval(&self, index: u64, objects: &BTreeMap<Digest, Vec<u8>>) -> Outcome<Approval> {
        let object = |what: &str, digest: &Digest| {
            let bytes = objects.get(digest);
            bytes.cloned().ok_or_else(|| refused(format!("the gateway does not show {what} that entry {index} names")))
        };
        let text = |what: &str, digest: &Digest| {
            String::from_utf8(object(what, digest)?).during(|| format!("{what} that entry {index} names"))
        };
        Ok(Approval {
            record: self.record.clone().into_bytes(),
            index: self.place,
            path: self.path.iter().map(|digest| digest.0).collect(),
            batch: Signed {
                bytes: object("the batch", &self.batch)?,
                signatures: vec![text("the batch's signature", &self.batch_signature)?],
            },
            certificate: text("the host certificate", &self.certificate)?,
        })
    }

    /// Whether the entry recorded this very approval.
    fn is_of(&self, Vouched { record, approval, .. }: &Vouched) -> bool {
        let signature = approval.batch.signatures.first().map(String::as_str).unwrap_or_default();
        // A signature may have been sent with its line end, which a `.sig` file does not keep.
        let signatures = [Digest::of(signature.as_bytes()), Digest::of(format!("{signature}\n").as_bytes())];
        self.serial == record.serial
            && self.record.as_bytes() == approval.record
            && self.batch == Digest::of(&approval.batch.bytes)
            && signatures.contains(&self.batch_signature)
            && self.certificate == Digest::of(approval.certificate.as_bytes())
            && self.place == approval.index
            && self.path.iter().map(|digest| digest.0).eq(approval.path.iter().copied())
    }
}

/// A record that the log has.
#[derive(Debug, Clone)]
pub struct Logged {
    /// What it says, and who vouches for it.
    pub vouched: Vouched,
    /// The place of the entry that approved it.
    pub index: u64,
}

impl Logged {
    /// What it says.
    pub fn record(&self) -> &DeviceRecord {
        &self.vouched.record
    }
}

/// The records under which devices speak.
#[derive(Debug, Clone, Default)]
pub struct Records(BTreeMap<u64, Logged>);

impl Records {
    /// Those of `serials`, from the proved entries that approved them and what these name. One that no entry approves is left
    /// out: whatever is said under it is refused.
    ///
    /// # Errors
    /// One is not shown whole, or nobody vouches for it.
    pub fn of(proofs: &Proofs, tenant: &TenantName, serials: &BTreeSet<u64>, cas: &[PublicKey]) -> Outcome<Self> {
        let mut records = Self::default();
        for proven in &proofs.entries {
            let Some(approved) = Approved::of(proven)?.filter(|approved| serials.contains(&approved.serial)) else {
                continue;
            };
            let (index, serial) = (proven.index, approved.serial);
            let approval = approved.approval(index, &proofs.objects)?;
            let named = |piece: &str| format!("entry {index}, the {piece} of serial {serial}");
            records.add(Vouched::check(approval, tenant, cas, named)?, index)?;
        }
        Ok(records)
    }

    /// Those that a pack holds, each found again in the entry that approved it.
    ///
    /// # Errors
    /// No entry approved one of them as it is here.
    pub fn found(vouched: Vec<Vouched>, entries: &[Proven]) -> Outcome<Self> {
        let mut approvals = Vec::new();
        for proven in entries {
            approvals.extend(Approved::of(proven)?.map(|approved| (proven.index, approved)));
        }
        let mut records = Self::default();
        for one in vouched {
            let entry = approvals.iter().find(|(_, approved)| approved.is_of(&one));
            let serial = one.record.serial;
            let (index, _) =
                entry.ok_or_else(|| refused(format!("devices/{serial}/record: no entry approved it as it is here")))?;
            records.add(one, *index)?;
        }
        Ok(records)
    }

    fn add(&mut self, vouched: Vouched, index: u64) -> Outcome {
        let serial = vouched.record.serial;
        match self.0.insert(serial, Logged { vouched, index }) {
            None => Ok(()),
            Some(first) => {
                let sentence =
                    format!("entry {index} approves serial {serial}, which entry {} gave away before", first.index);
                Err(refused(sentence))
            }
        }
    }

    /// In the order of their serials.
    pub fn iter(&self) -> impl Iterator<Item = &Logged> {
        self.0.values()
    }

    /// The record of this serial.
    pub fn get(&self, serial: u64) -> Option<&Logged> {
        self.0.get(&serial)
    }

    /// What a device says in an entry, and the record under which it does: signed by the host key of that record, which stands
    /// in the log before.
    ///
    /// # Errors
    /// With the number of the entry that is not so.
    pub fn heard(&self, proven: &Proven) -> Outcome<(&Logged, Statement)> {
        let index = proven.index;
        let of = |invalid: Invalid| invalid.of(format!("entry {index}"));
        let signed = proven.entry.statement.as_ref();
        let signed = signed.ok_or_else(|| refused(format!("entry {index} holds no statement")))?;
        let head = Statement::parse(signed.text.as_bytes()).map_err(of)?.head;
        let logged = self.get(head.serial).filter(|logged| logged.record().address == head.device);
        let logged = logged.ok_or_else(|| {
            refused(format!(
                "entry {index} is of {} with serial {}, and no entry of this log proves that record",
                head.device, head.serial
            ))
        })?;
        if logged.index >= index {
            return Err(refused(format!(
                "entry {index} stands before entry {}, which approved its device",
                logged.index
            )));
        }
        let statement = statement::verify(signed, &logged.record().host_key).map_err(of)?;
        proven.entry.check_envelope(None).map_err(of)?;
        Ok((logged, statement))
    }

    /// Says of which records the approver could not approve them today: whoever signed may have left since.
    pub fn tell_unapproved(&self, policies: &Policies<'_>, now: Timestamp) {
        for Logged { vouched: Vouched { record, approval, .. }, index } in self.iter() {
            if let Err(invalid) = check_approval(policies, approval, &record.host_key, None, now) {
                note(&format!(
                    "belay: {}: for the host key of {} with serial {} vouch its certificate and entry {index}, where it was \
                     approved",
                    invalid.sentence, record.address, record.serial
                ));
            }
        }
    }
}

/// Of the record under which a device says this.
pub fn serial(proven: &Proven) -> Option<u64> {
    let signed = proven.entry.statement.as_ref()?;
    Statement::parse(signed.text.as_bytes()).ok().map(|statement| statement.head.serial)
}
