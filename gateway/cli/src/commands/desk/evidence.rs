//! What a pack of evidence of a session holds, in its one order, written from a case and judged without any gateway.
//!
//! Both directions stand here side by side, so that each file that is written is also read. Not here: the container (`pack`), what
//! it has in common with that of a job (`parts`), and that (`job`).

use super::{
    case::{Case, Said},
    pack::{MANIFEST, Reader, Writer},
    taken::{self, Checker, Extent, Taken, Whose},
};
use crate::failure::{Outcome, While, refused};
use belay_certs::{
    DeviceAddress, Digest, Id, TenantName,
    limits::{RECORDING_BLOB_BYTES_MAX, RECORDING_NOTE_BYTES_MAX, SIGNATURE_BYTES_MAX},
    recording::blob,
    tlog::Checkpoint,
};
pub use parts::Policies;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{Read, Write};

pub mod job;
mod parts;

/// How a reader checks it without us.
const README: &str = include_str!("evidence.md");
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
    /// Whether there is a recording.
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
        /// How far the recording goes.
        extent: Extent,
    },
    /// One job.
    Job(Box<job::Proved>),
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
    let approver = parts::write_device(&mut pack, "device", case.record.approval())?;
    let signers = signers(&whose.host_key, &approver);
    pack.add("keys/allowed_signers", parts::allowed_signers(policies, &signers)?.as_bytes())?;
    parts::write_log(&mut pack, log, &case.proofs, |device| *device == whose.device)?;
    let extent = if subject.recording {
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
        readme if readme == README.as_bytes() => judge_session(pack),
        readme if readme == job::README.as_bytes() => job::judge(pack),
        _ => Err(refused("README.md is not as this Belay writes it")),
    }
}

fn judge_session(mut pack: Reader<impl Read>) -> Outcome<Judged> {
    let subject: Subject = read_subject(&mut pack)?;
    if subject.format != FORMAT || subject.device.tenant != subject.tenant {
        return Err(refused("evidence.json is not as Belay writes it"));
    }
    let policies = parts::read_policies(&mut pack)?;
    let chain = parts::follow(&policies, &subject.tenant)?;
    let cas = parts::device_cas(&policies, &subject.tenant)?;
    let vouched = parts::read_device(&mut pack, "device", &subject.device, &cas)?;
    let parts::Vouched { record, approver } = vouched;
    let signers = signers(&record.host_key, &approver);
    pack.exact("keys/allowed_signers", parts::allowed_signers(&policies, &signers)?.as_bytes())?;
    let takes = |device: &DeviceAddress| *device == subject.device;
    let (head, entries) = parts::read_log(&mut pack, chain.policy(), &subject.origin, takes)?;
    let said = Said::of(&entries, &subject.session, &subject.device, &record.host_key)?;
    parts::check_used(&policies, &said.intent.policies)?;
    let whose = Whose { session: subject.session, device: record.address, host_key: record.host_key };
    let extent = read_recording(&mut pack, &whose, &said)?;
    if !subject.recording && extent != Extent::Beginning(0) {
        return Err(refused("evidence.json says that there is no recording, and one is here"));
    }
    pack.finish()?;
    let proved = Proved::Session { whose: Box::new(whose), said: Box::new(said), extent };
    Ok(Judged { policy0: chain.policy0(), tenant: subject.tenant, proved, entries: entries.len(), head })
}

fn signers<'k>(device: &'k belay_certs::PublicKey, approver: &'k belay_certs::PublicKey) -> [parts::Signer<'k>; 2] {
    [
        ("device".to_owned(), "statement.v1@belay,recording.v1@belay", device),
        ("approver".to_owned(), "device.v1@belay", approver),
    ]
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
