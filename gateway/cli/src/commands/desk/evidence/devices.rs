//! Devices in a pack: of each serial under which one speaks its record with all that vouches for it, in `devices/SERIAL/`.
//!
//! That the log has it too is checked when the log was read (`records`).

use super::{
    super::records::{Records, Vouched},
    parts::PROOF_BYTES_MAX,
};
use crate::{
    commands::desk::pack::{Reader, Writer},
    failure::{Outcome, refused},
    limits::EVIDENCE_RECORDS_MAX,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    PublicKey, Signed, TenantName,
    device::Approval,
    envelope,
    limits::{DOCUMENT_BYTES_MAX, PROOF_HASHES_MAX, SIGNATURE_BYTES_MAX},
    tlog::Hash,
};
use std::io::{Read, Write};

/// Writes them.
///
/// # Errors
/// There are too many, or the pack cannot be written.
pub fn write(pack: &mut Writer<impl Write>, records: &Records) -> Outcome {
    if records.iter().count() > EVIDENCE_RECORDS_MAX {
        return Err(refused(format!(
            "a pack holds at most {EVIDENCE_RECORDS_MAX} device records: name one with --device"
        )));
    }
    for logged in records.iter() {
        let (folder, approval) = (format!("devices/{}", logged.record().serial), &logged.vouched.approval);
        pack.add(&format!("{folder}/record"), &approval.record)?;
        pack.add(&format!("{folder}/batch"), &approval.batch.bytes)?;
        pack.add(&format!("{folder}/batch.sig"), envelope::armor(&approval.batch).as_bytes())?;
        pack.add(&format!("{folder}/path"), path_text(approval.index, &approval.path).as_bytes())?;
        pack.add(&format!("{folder}/certificate"), format!("{}\n", approval.certificate).as_bytes())?;
    }
    Ok(())
}

/// Reads them: a device CA of some version of the policy vouches for each host key, and somebody signed each record.
///
/// # Errors
/// With the file that is wrong.
pub fn read(pack: &mut Reader<impl Read>, tenant: &TenantName, cas: &[PublicKey]) -> Outcome<Vec<Vouched>> {
    let mut found: Vec<Vouched> = Vec::new();
    while let Some(path) = pack.peek().map(str::to_owned).filter(|path| path.starts_with("devices/")) {
        let serial = path.split('/').nth(1).and_then(|name| name.parse::<u64>().ok());
        let serial = serial.filter(|serial| found.last().is_none_or(|last| last.record.serial < *serial));
        let serial = serial.filter(|_| found.len() < EVIDENCE_RECORDS_MAX);
        let serial = serial.ok_or_else(|| refused(format!("{path} does not stand in its place")))?;
        let vouched = read_one(pack, &format!("devices/{serial}"), tenant, cas)?;
        if vouched.record.serial != serial {
            return Err(refused(format!("devices/{serial}/record is of serial {}", vouched.record.serial)));
        }
        found.push(vouched);
    }
    Ok(found)
}

fn read_one(pack: &mut Reader<impl Read>, folder: &str, tenant: &TenantName, cas: &[PublicKey]) -> Outcome<Vouched> {
    let record = pack.take(&format!("{folder}/record"), DOCUMENT_BYTES_MAX)?;
    let batch = pack.take(&format!("{folder}/batch"), DOCUMENT_BYTES_MAX)?;
    let armored = pack.text(&format!("{folder}/batch.sig"), 2 * SIGNATURE_BYTES_MAX)?;
    let signatures = envelope::signatures(&armored).map_err(|invalid| invalid.of(format!("{folder}/batch.sig")))?;
    let path = pack.text(&format!("{folder}/path"), PROOF_BYTES_MAX)?;
    let (index, path) = read_path(&path).ok_or_else(|| refused(format!("{folder}/path is not as Belay writes it")))?;
    let certificate = pack.text(&format!("{folder}/certificate"), DOCUMENT_BYTES_MAX)?;
    let certificate = certificate.strip_suffix('\n').map(str::to_owned);
    let certificate = certificate.ok_or_else(|| refused(format!("{folder}/certificate is not as Belay writes it")))?;
    let approval = Approval { record, index, path, batch: Signed { bytes: batch, signatures }, certificate };
    Vouched::check(approval, tenant, cas, |piece| format!("{folder}/{piece}"))
}

fn path_text(index: u64, path: &[Hash]) -> String {
    let hashes: String = path.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect();
    format!("index {index}\n{hashes}")
}

fn read_path(text: &str) -> Option<(u64, Vec<Hash>)> {
    let mut lines = text.lines();
    let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
    let hashes = lines.map(hash).collect::<Option<Vec<Hash>>>()?;
    (hashes.len() <= PROOF_HASHES_MAX && path_text(index, &hashes) == text).then_some((index, hashes))
}
