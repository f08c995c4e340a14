//! The device record this machine goes by, with its approval, in `record.json`: what it is called, its labels, its certificate.
//!
//! It was verified when it was taken, under the policy of that day; the approver may have left since, so loading checks only
//! that it is this machine's. Revocation is the policy's and is asked at every decision.

use super::files::{self, Broken};
use crate::limits::STATE_FILE_BYTES_MAX;
use belay_certs::{
    PersonRef, PublicKey, Signed,
    device::{Approval, DeviceRecord},
    digest::{hex, unhex},
    policy::DeviceFacts,
};
use serde::{Deserialize, Serialize};
use ssh_key::Certificate;
use std::path::Path;

/// The record held, ready to be used.
#[derive(Debug, Clone)]
pub(crate) struct HeldRecord {
    /// The record's text, byte for byte.
    pub(crate) text: Vec<u8>,
    /// What it says.
    pub(crate) record: DeviceRecord,
    /// The certificate of the host key, as the line that was offered.
    pub(crate) line: String,
    /// The same, read.
    pub(crate) certificate: Certificate,
}

/// The file: an [`Approval`] with bytes as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Who approved it, for a person who looks.
    approved_by: PersonRef,
    record: String,
    index: u64,
    path: Vec<String>,
    batch: String,
    batch_signatures: Vec<String>,
    certificate: String,
}

impl HeldRecord {
    /// The record in the file at `path`, or none.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a record for `host_key`.
    pub(crate) fn load(path: &Path, host_key: &PublicKey) -> Result<Option<Self>, Broken> {
        let Some(bytes) = files::read(path, STATE_FILE_BYTES_MAX)? else { return Ok(None) };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| Broken::damaged(path, error))?;
        let record = DeviceRecord::parse(kept.record.as_bytes()).map_err(|refused| Broken::damaged(path, refused))?;
        let certificate =
            Certificate::from_openssh(kept.certificate.trim()).map_err(|error| Broken::damaged(path, error))?;
        if record.host_key != *host_key || certificate.public_key() != host_key.as_ssh().key_data() {
            return Err(Broken::damaged(path, "it is for another host key"));
        }
        let line = kept.certificate.trim().to_owned();
        Ok(Some(Self { text: kept.record.into_bytes(), record, line, certificate }))
    }

    /// Keeps a verified approval.
    ///
    /// Crash before: the device goes by the record it had, and the gateway offers this one again. Crash after: by this one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn keep(path: &Path, approval: &Approval, approved_by: &PersonRef) -> Result<(), Broken> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kept = Kept {
            approved_by: approved_by.clone(),
            record: text(&approval.record),
            index: approval.index,
            path: approval.path.iter().map(|hash| hex(hash)).collect(),
            batch: text(&approval.batch.bytes),
            batch_signatures: approval.batch.signatures.clone(),
            certificate: approval.certificate.clone(),
        };
        let json = serde_json::to_vec_pretty(&kept).map_err(|error| Broken::damaged(path, error))?;
        files::write(path, &json)
    }

    /// Puts a verified certificate in the place of the one in the file at `path`; the record and its proof stay.
    ///
    /// Crash before: the old certificate is shown, and the gateway offers the new one again. Crash after: the new one.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn keep_certificate(path: &Path, line: &str) -> Result<(), Broken> {
        let bytes = files::read(path, STATE_FILE_BYTES_MAX)?.unwrap_or_default();
        let mut kept: Kept = serde_json::from_slice(&bytes).map_err(|error| Broken::damaged(path, error))?;
        line.clone_into(&mut kept.certificate);
        let json = serde_json::to_vec_pretty(&kept).map_err(|error| Broken::damaged(path, error))?;
        files::write(path, &json)
    }

    /// What decisions are made on.
    pub(crate) fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            address: self.record.address.clone(),
            labels: self.record.labels.clone(),
            serial: self.record.serial,
        }
    }
}

/// The approval in the file at `path`, as it was taken: for whoever wants to verify it again.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn approval(path: &Path) -> Result<Option<Approval>, Broken> {
    let Some(bytes) = files::read(path, STATE_FILE_BYTES_MAX)? else { return Ok(None) };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| Broken::damaged(path, error))?;
    let hashes = kept.path.iter().map(|text| unhex(text)).collect::<Option<Vec<_>>>();
    Ok(Some(Approval {
        record: kept.record.into_bytes(),
        index: kept.index,
        path: hashes.ok_or_else(|| Broken::damaged(path, "a hash of the proof is not hex"))?,
        batch: Signed { bytes: kept.batch.into_bytes(), signatures: kept.batch_signatures },
        certificate: kept.certificate,
    }))
}
