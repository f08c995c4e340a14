//! Device records, and the approval by which one person makes any number of pending machines devices of a tenant.
//!
//! Records are hashed into one RFC 6962 tree; the person signs its root once; each device gets its record and a path.
//! Not here: the request that is approved (`join`), the host certificate beside the record (`host_certificate`).

mod approval;

pub use approval::{Approval, CheckedBatch, approvals, check_approval, check_taker};

use crate::{
    DeviceAddress, Digest, PublicKey, TenantName, Timestamp,
    invalid::{Invalid, malformed},
    limits::{BATCH_RECORDS_MAX, DOCUMENT_BYTES_MAX},
    sshsig::document::{self, Document},
    tlog::{Edge, Hash, leaf_hash},
    token::check_labels,
};
use serde::Deserialize;

/// What the tenant says a device is; a record with a higher serial voids the lower ones of the same device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    /// The device's name and tenant.
    #[serde(rename = "device")]
    pub address: DeviceAddress,
    /// Its SSH host key.
    pub host_key: PublicKey,
    /// Its labels, which decide grants.
    pub labels: Vec<String>,
    /// From 1, unique inside the tenant; the host certificate has the same; a policy revokes by it.
    pub serial: u64,
    /// The serial of the device that had the name and loses it by this: nobody takes a name that is held without saying so.
    #[serde(default)]
    pub replaces: Option<u64>,
    /// When it was approved.
    #[serde(deserialize_with = "document::moment")]
    pub issued: Timestamp,
}

impl DeviceRecord {
    /// The record's text: the leaf of the batch's tree.
    pub fn to_text(&self) -> String {
        let head = Document::default()
            .quoted("device", &self.address)
            .quoted("host_key", &self.host_key)
            .list("labels", &self.labels)
            .bare("serial", self.serial);
        let head = match self.replaces {
            Some(serial) => head.bare("replaces", serial),
            None => head,
        };
        head.bare("issued", self.issued).finish()
    }

    /// Reads a record's bytes.
    ///
    /// # Errors
    /// With the line or field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let parsed = document::read::<Self>(bytes, DOCUMENT_BYTES_MAX).and_then(|record| {
            check_labels(&record.labels)?;
            // 0 is what `ssh-keygen -s` writes when nobody thought of a serial, and could not be revoked alone.
            if record.serial == 0 {
                return Err(malformed("serial must be at least 1"));
            }
            if record.replaces.is_some_and(|old| old >= record.serial) {
                return Err(malformed("serial must be higher than the one that the record replaces"));
            }
            Ok(record)
        });
        parsed.map_err(|invalid| invalid.of("the device record"))
    }

    fn leaf(&self) -> Hash {
        leaf_hash(self.to_text().as_bytes())
    }
}

/// The signed document of an approval (`device.v1@belay`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The tenant of every record in it.
    pub tenant: TenantName,
    /// Records in it, 1 to 10,000.
    pub count: u64,
    /// The RFC 6962 root over the record texts in order.
    pub root: Digest,
    /// The newest policy version the approver knew.
    pub policy_version: u64,
    /// The digest of that version's bytes.
    pub policy: Digest,
    /// When it was made.
    #[serde(deserialize_with = "document::moment")]
    pub issued: Timestamp,
}

impl Batch {
    /// The batch over `records`, in this order, under the policy version the approver knows.
    ///
    /// # Errors
    /// When there are none or too many, they are of several tenants, one does not read back, or two share a name, a
    /// serial or a host key.
    pub fn over(
        records: &[DeviceRecord],
        policy_version: u64,
        policy: Digest,
        issued: Timestamp,
    ) -> Result<Self, Invalid> {
        let tenant = check_records(records)?.clone();
        let mut tree = Edge::empty();
        for record in records {
            tree.append(record.leaf());
        }
        Ok(Self { tenant, count: tree.size(), root: Digest(tree.root()), policy_version, policy, issued })
    }

    /// The document's text, to be signed as it is.
    pub fn to_text(&self) -> String {
        Document::default()
            .quoted("tenant", &self.tenant)
            .bare("count", self.count)
            .quoted("root", self.root)
            .bare("policy_version", self.policy_version)
            .quoted("policy", self.policy)
            .bare("issued", self.issued)
            .finish()
    }

    /// Reads the document's bytes. Says nothing about who signed it: see [`check_approval`].
    ///
    /// # Errors
    /// With the line or field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let parsed = document::read::<Self>(bytes, DOCUMENT_BYTES_MAX).and_then(|batch| {
            if !(1..=BATCH_RECORDS_MAX as u64).contains(&batch.count) {
                return Err(malformed(format!("count is {}, but must be 1 to {BATCH_RECORDS_MAX}", batch.count)));
            }
            Ok(batch)
        });
        parsed.map_err(|invalid| invalid.of("the approval batch"))
    }
}

/// The one tenant of records that can stand in one batch.
fn check_records(records: &[DeviceRecord]) -> Result<&TenantName, Invalid> {
    let first = records.first().ok_or_else(|| malformed("there is no device to approve"))?;
    let tenant = &first.address.tenant;
    if let Some(foreign) = records.iter().find(|record| record.address.tenant != *tenant) {
        return Err(malformed(format!(
            "{} and {} are of different tenants: approve them apart",
            first.address, foreign.address
        )));
    }
    let column = |of: fn(&DeviceRecord) -> String| records.iter().map(of).collect::<Vec<_>>();
    document::check_list("the list of devices", &column(|record| record.address.to_string()), BATCH_RECORDS_MAX)?;
    document::check_list("the list of serials", &column(|record| record.serial.to_string()), BATCH_RECORDS_MAX)?;
    document::check_list("the list of host keys", &column(|record| record.host_key.fingerprint()), BATCH_RECORDS_MAX)?;
    for record in records {
        DeviceRecord::parse(record.to_text().as_bytes()).map_err(|invalid| invalid.of(&record.address))?;
    }
    Ok(tenant)
}

#[cfg(test)]
mod tests;
