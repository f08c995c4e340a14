//! What a pack of evidence of a session holds, in its one order, written from a case and judged without any gateway.
//!
//! Both directions stand here side by side, so that each file that is written is also read. Not here: the container (`pack`), what
//! it has in common with that of a job (`parts`), and that (`job`).

use super::{
    case::{Case, Said},
    deleted::{Deleted, Noted},
    pack::{MANIFEST, Reader, Writer},
    records::Records,
    taken::{self, Checker, Extent, Taken, Whose},
};
use crate::failure::{Outcome, While, refused};
use belay_certs::{
    DeviceAddress, Digest, Id, PublicKey, TenantName,
    limits::{RECORDING_BLOB_BYTES_MAX, RECORDING_NOTE_BYTES_MAX, SIGNATURE_BYTES_MAX},
    policy::Policy,
    recording::blob,
    tlog::Checkpoint,
};
pub use parts::Policies;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{Read, Write};

mod devices;
pub mod job;
mod parts;

/// How a reader checks it without us.
const README: &str = include_str!("evidence.md");
/// The SHA-256 of what packs of earlier versions say there: they stay good, and nobody else's words are.
const README_EARLIER: &[&str] = &[];
/// `README.md`, in bytes, of whatever is packed.
const README_BYTES_MAX: usize = 16 << 10;
/// The format of a pack.
const FORMAT: u32 = 1;
/// `evidence.json`, in bytes.
const SUBJECT_BYTES_MAX: usize = 1 << 10;

/// What a pack is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    format: u32,
    session: Id,
    tenant: TenantName,
    device: DeviceAddress,
    /// Of the log's key.
    origin: String,
    /// Whether there is a recording, or was one that was deleted.
    recording: bool,
}

/// What a pack proves.
#[derive(Debug)]
pub struct Judged {
    /// Where the tenant's chain begins: to be compared with what is pinned.
    pub policy0: Digest,
    /// The tenant.
    pub tenant: TenantName,
    /// What happened.
    pub proved: Proved,
    /// How many entries are proved.
    pub entries: usize,
    /// The log's head.
    pub head: Checkpoint,
}

/// What happened.
#[derive(Debug)]
pub enum Proved {
    /// One session.
    Session {
        /// Whose session.
        whose: Box<Whose>,
        /// What the device said.
        said: Box<Said>,
        /// How far the recording goes, or its notes where it was deleted.
        extent: Extent,
        /// What became of it, if it was deleted.
        removed: Option<Box<Removed>>,
    },
    /// One job.
    Job(Box<job::Proved>),
}

/// A recording that was deleted.
#[derive(Debug)]
pub struct Removed {
    /// What the log says.
    pub deleted: Deleted,
    /// What its notes prove.
    pub noted: Noted,
    /// The newest version of the tenant's policy with the rule that is given as the reason, if there is one.
    pub rule: Option<u64>,
}

/// Writes the pack of a case.
///
/// # Errors
/// The recording does not verify, or the pack cannot be written.
pub fn write(case: &Case<'_>, policies: &Policies, out: impl Write) -> Outcome<Extent> {
    let newest = parts::newest(policies, &case.about.tenant)?;
    let log = newest.gateway.logs.last().ok_or_else(|| refused("the policy names no log"))?;
    let whose = &case.whose;
    let subject = Subject {
        format: FORMAT,
        session: whose.session,
        tenant: case.about.tenant.clone(),
        device: whose.device.clone(),
        origin: log.origin.clone(),
        recording: case.about.is_recorded(),
    };
    let mut pack = Writer::new(out);
    pack.add("README.md", README.as_bytes())?;
    pack.add("evidence.json", subject_text(&subject)?.as_bytes())?;
    parts::write_policies(&mut pack, policies)?;
    devices::write(&mut pack, &case.records)?;
    let signers = signers(&whose.host_key, case.records.iter().map(|logged| &logged.vouched.approver));
    pack.add("keys/allowed_signers", parts::allowed_signers(policies, &signers)?.as_bytes())?;
    parts::write_log(&mut pack, log, &case.proofs, |device| device.tenant == subject.tenant)?;
    let extent = if case.deleted.is_some() {
        Taken::fetch_any(case)?.read_notes(&mut |note, signed| {
            let name = format!("recording/{:08}.note", note.chunk);
            pack.add(&name, signed.text.as_bytes())?;
            pack.add(&format!("{name}.sig"), signed.signature.as_bytes())
        })?
    } else if subject.recording {
        Taken::fetch(case)?.read(&mut |chunk| {
            let number = chunk.note.chunk;
            pack.add(&format!("recording/{number:08}.note"), chunk.signed.text.as_bytes())?;
            pack.add(&format!("recording/{number:08}.note.sig"), chunk.signed.signature.as_bytes())?;
            pack.add(&format!("recording/{}", blob::file_name(number, blob::is_plain(chunk.blob))), chunk.blob)
        })?
    } else {
        Checker::new(whose).end(&case.said)?
    };
    pack.finish()?;
    Ok(extent)
}

/// Judges a pack: every file is checked against the ones before it, and nothing else is in it.
///
/// # Errors
/// With the broken piece.
pub fn judge(input: impl Read) -> Outcome<Judged> {
    let mut pack = Reader::new(input)?;
    match pack.take("README.md", README_BYTES_MAX)? {
        readme if is_one(&readme, README, README_EARLIER) => judge_session(pack),
        readme if is_one(&readme, job::README, job::README_EARLIER) => job::judge(pack),
        _ => Err(refused(
            "README.md is none that this Belay has written: it was altered, or a newer Belay wrote it and judges it",
        )),
    }
}

/// Whether this is the text of today or one of those before.
fn is_one(readme: &[u8], text: &str, earlier: &[&str]) -> bool {
    readme == text.as_bytes() || earlier.contains(&Digest::of(readme).hex().as_str())
}

fn judge_session(mut pack: Reader<impl Read>) -> Outcome<Judged> {
    let subject: Subject = read_subject(&mut pack)?;
    if subject.format != FORMAT || subject.device.tenant != subject.tenant {
        return Err(refused("evidence.json is not as Belay writes it"));
    }
    let policies = parts::read_policies(&mut pack)?;
    let chain = parts::follow(&policies, &subject.tenant)?;
    let cas = parts::device_cas(&policies, &subject.tenant)?;
    let vouched = devices::read(&mut pack, &subject.tenant, &cas)?;
    let host_key = vouched.first().map(|first| first.record.host_key.clone());
    let host_key = host_key.ok_or_else(|| refused("the pack has no record of the device"))?;
    let signers = signers(&host_key, vouched.iter().map(|one| &one.approver));
    pack.exact("keys/allowed_signers", parts::allowed_signers(&policies, &signers)?.as_bytes())?;
    let takes = |device: &DeviceAddress| device.tenant == subject.tenant;
    let (head, entries) = parts::read_log(&mut pack, chain.policy(), &subject.origin, takes)?;
    let records = Records::found(vouched, &entries)?;
    let said = Said::of(&entries, &subject.session, &records)?;
    check_devices(&records, &said, &subject)?;
    parts::check_used(&policies, &said.intent.policies)?;
    let whose = Whose { session: subject.session, device: said.device.clone(), host_key: said.host_key.clone() };
    let deleted = Deleted::of(&entries, &subject.session)?;
    let (extent, removed) = match deleted {
        Some(deleted) => {
            let (extent, noted) = read_notes(&mut pack, &whose, &said)?;
            deleted.check(&noted)?;
            let rule = rule(&policies, &subject.tenant, deleted.why())?;
            (extent, Some(Box::new(Removed { deleted, noted, rule })))
        }
        None => (read_recording(&mut pack, &whose, &said)?, None),
    };
    if !subject.recording && extent != Extent::Beginning(0) {
        return Err(refused("evidence.json says that there is no recording, and one is here"));
    }
    pack.finish()?;
    let proved = Proved::Session { whose: Box::new(whose), said: Box::new(said), extent, removed };
    Ok(Judged { policy0: chain.policy0(), tenant: subject.tenant, proved, entries: entries.len(), head })
}

fn signers<'k>(device: &'k PublicKey, approvers: impl Iterator<Item = &'k PublicKey>) -> Vec<parts::Signer<'k>> {
    let mut signers = vec![("device".to_owned(), "statement.v1@belay,recording.v1@belay", device)];
    for approver in approvers {
        if !signers.iter().skip(1).any(|(_, _, known)| *known == approver) {
            signers.push(("approver".to_owned(), "device.v1@belay", approver));
        }
    }
    signers
}

/// Whether exactly the records are here under which the device of the session spoke.
fn check_devices(records: &Records, said: &Said, subject: &Subject) -> Outcome {
    if said.device != subject.device {
        return Err(refused(format!("evidence.json names {}, and the session was on {}", subject.device, said.device)));
    }
    for logged in records.iter() {
        let serial = logged.record().serial;
        if !said.serials.contains(&serial) {
            return Err(refused(format!("devices/{serial}/record is of a device that says nothing here")));
        }
    }
    Ok(())
}

/// The newest version of a tenant's policy that has the rule by which a recording was deleted.
fn rule(policies: &Policies, tenant: &TenantName, why: &str) -> Outcome<Option<u64>> {
    let mut found = None;
    for signed in policies.get(tenant).into_iter().flatten() {
        let policy = Policy::parse(&signed.bytes)?;
        let days = policy.recording.keep_days;
        if days.is_some_and(|days| why == format!("the policy says `keep = \"{days}d\"`")) {
            found = Some(policy.version);
        }
    }
    Ok(found)
}

fn subject_text(subject: &impl Serialize) -> Outcome<String> {
    let text = serde_json::to_string_pretty(subject).during(|| "cannot write evidence.json".to_owned())?;
    Ok(text + "\n")
}

/// Reads `evidence.json`, which can be written in one way only.
fn read_subject<S: Serialize + DeserializeOwned>(pack: &mut Reader<impl Read>) -> Outcome<S> {
    let text = pack.text("evidence.json", SUBJECT_BYTES_MAX)?;
    let subject: S = serde_json::from_str(&text).during(|| "evidence.json is not understood".to_owned())?;
    if subject_text(&subject)? != text {
        return Err(refused("evidence.json is not as Belay writes it"));
    }
    Ok(subject)
}

/// Reads the notes of a recording that was deleted.
fn read_notes(pack: &mut Reader<impl Read>, whose: &Whose, said: &Said) -> Outcome<(Extent, Noted)> {
    let (mut checker, mut noted) = (Checker::new(whose), Noted::default());
    while pack.peek().is_some_and(|path| path != MANIFEST) {
        let number = checker.next();
        let name = format!("recording/{number:08}.note");
        let note = pack.take(&name, RECORDING_NOTE_BYTES_MAX)?;
        let signature = pack.take(&format!("{name}.sig"), SIGNATURE_BYTES_MAX)?;
        let signed = taken::signed(number, note, signature)?;
        noted.take(&checker.take_note(&signed)?, signed.digest());
    }
    Ok((checker.end(said)?, noted))
}

fn read_recording(pack: &mut Reader<impl Read>, whose: &Whose, said: &Said) -> Outcome<Extent> {
    let mut checker = Checker::new(whose);
    while pack.peek().is_some_and(|path| path != MANIFEST) {
        let number = checker.next();
        let name = format!("recording/{number:08}.note");
        let note = pack.take(&name, RECORDING_NOTE_BYTES_MAX)?;
        let signature = pack.take(&format!("{name}.sig"), SIGNATURE_BYTES_MAX)?;
        let is_plain = pack.peek().is_some_and(|path| path.ends_with(".zst"));
        let file = format!("recording/{}", blob::file_name(number, is_plain));
        let bytes = pack.take(&file, RECORDING_BLOB_BYTES_MAX)?;
        checker.take(taken::signed(number, note, signature)?, &bytes)?;
        if blob::is_plain(&bytes) != is_plain {
            return Err(refused(format!("{file} has a name that is not its own")));
        }
    }
    checker.end(said)
}

#[cfg(test)]
#[path = "evidence/tests.rs"]
mod tests;
