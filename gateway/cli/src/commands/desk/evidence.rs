//! What a pack of evidence holds, in its one order, written from a case and judged without any gateway.
//!
//! Both directions stand here side by side, so that each file that is written is also read. Not here: the container (`pack`).

use super::{
    case::{Case, Said},
    pack::{MANIFEST, Reader, Writer},
    proofs::Proven,
    taken::{self, Checker, Extent, Taken, Whose},
};
use crate::failure::{Outcome, While, refused};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    DeviceAddress, Digest, Id, Namespace, PublicKey, Signed, TenantName,
    device::{Batch, DeviceRecord},
    envelope, host_certificate,
    limits::{
        CHECKPOINT_BYTES_MAX, DOCUMENT_BYTES_MAX, ENTRY_BYTES_MAX, POLICY_BYTES_MAX, POLICY_SIGNATURES_MAX,
        PROOF_HASHES_MAX, RECORDING_BLOB_BYTES_MAX, RECORDING_NOTE_BYTES_MAX, SIGNATURE_BYTES_MAX,
    },
    policy::{Chain, Policy, Step},
    recording::blob,
    statement::{SignedStatement, Statement},
    tlog::{Checkpoint, Hash, leaf_hash, verify_inclusion},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
};

/// How a reader checks it without us.
const README: &str = include_str!("evidence.md");
/// The format of a pack.
const FORMAT: u32 = 1;
/// `evidence.json`, in bytes.
const SUBJECT_BYTES_MAX: usize = 1 << 10;
/// A proof file, in bytes: the hashes, and the head behind them.
const PROOF_BYTES_MAX: usize = PROOF_HASHES_MAX * 45 + 100 + CHECKPOINT_BYTES_MAX;
/// Versions of one policy.
const VERSIONS_MAX: usize = 100_000;

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
}

/// The documents of each policy, from version 0 on.
pub type Policies = BTreeMap<TenantName, Vec<Signed>>;

/// What a pack proves.
#[derive(Debug)]
pub struct Judged {
    /// Where the tenant's chain begins: to be compared with what is pinned.
    pub policy0: Digest,
    /// Whose session.
    pub whose: Whose,
    /// The tenant.
    pub tenant: TenantName,
    /// What the device said.
    pub said: Said,
    /// How far the recording goes.
    pub extent: Extent,
    /// How many entries are proved.
    pub entries: usize,
    /// The log's head.
    pub head: Checkpoint,
}

/// Writes the pack of a case.
///
/// # Errors
/// The recording does not verify, or the pack cannot be written.
pub fn write(case: &Case<'_>, policies: &Policies, out: impl Write) -> Outcome<Extent> {
    let newest = newest(policies, &case.about.tenant)?;
    let log = newest.gateway.logs.last().ok_or_else(|| refused("the policy names no log"))?;
    let whose = &case.whose;
    let subject = Subject {
        format: FORMAT,
        session: whose.session,
        tenant: case.about.tenant.clone(),
        device: whose.device.clone(),
        origin: log.origin.clone(),
    };
    let mut pack = Writer::new(out);
    pack.add("README.md", README.as_bytes())?;
    pack.add("evidence.json", subject_text(&subject)?.as_bytes())?;
    for (tenant, versions) in policies {
        for (number, signed) in versions.iter().enumerate() {
            pack.add(&format!("policies/{tenant}/{number}.toml"), &signed.bytes)?;
            pack.add(&format!("policies/{tenant}/{number}.toml.sig"), envelope::armor(signed).as_bytes())?;
        }
    }
    let approval = case.record.approval();
    pack.add("device/record", &approval.record)?;
    pack.add("device/batch", &approval.batch.bytes)?;
    pack.add("device/batch.sig", envelope::armor(&approval.batch).as_bytes())?;
    pack.add("device/path", path_text(approval.index, &approval.path).as_bytes())?;
    pack.add("device/certificate", certificate_text(&approval.certificate).as_bytes())?;
    let approver = approval.batch.only_signer(Namespace::Device)?;
    pack.add("keys/allowed_signers", allowed_signers(policies, &whose.host_key, &approver)?.as_bytes())?;
    pack.add("log/vkey", format!("{}\n", log.vkey).as_bytes())?;
    pack.add("log/checkpoint", case.proofs.checkpoint.as_bytes())?;
    for proven in &case.proofs.entries {
        let index = proven.index;
        pack.add(&format!("log/{index}.json"), proven.text.as_bytes())?;
        pack.add(&format!("log/{index}.proof"), proven.to_file(&case.proofs.checkpoint).as_bytes())?;
        if let Some(signed) = statement(proven, &whose.device) {
            pack.add(&format!("log/{index}.statement"), signed.text.as_bytes())?;
            pack.add(&format!("log/{index}.statement.sig"), signed.signature.as_bytes())?;
        }
    }
    let extent = Taken::fetch(case)?.read(&mut |chunk| {
        let number = chunk.note.chunk;
        pack.add(&format!("recording/{number:08}.note"), chunk.signed.text.as_bytes())?;
        pack.add(&format!("recording/{number:08}.note.sig"), chunk.signed.signature.as_bytes())?;
        pack.add(&format!("recording/{}", blob::file_name(number, blob::is_plain(chunk.blob))), chunk.blob)
    })?;
    pack.finish()?;
    Ok(extent)
}

/// Judges a pack: every file is checked against the ones before it, and nothing else is in it.
///
/// # Errors
/// With the broken piece.
pub fn judge(input: impl Read) -> Outcome<Judged> {
    let mut pack = Reader::new(input)?;
    pack.exact("README.md", README.as_bytes())?;
    let text = pack.text("evidence.json", SUBJECT_BYTES_MAX)?;
    let subject: Subject = serde_json::from_str(&text).during(|| "evidence.json is not understood".to_owned())?;
    if subject.format != FORMAT || subject_text(&subject)? != text || subject.device.tenant != subject.tenant {
        return Err(refused("evidence.json is not as Belay writes it"));
    }
    let policies = read_policies(&mut pack)?;
    let chains = follow(&policies)?;
    let chain =
        chains.get(&subject.tenant).ok_or_else(|| refused(format!("no policy of {} is here", subject.tenant)))?;
    for (imported, policy0) in &chain.policy().imports {
        if chains.get(imported).is_some_and(|chain| chain.policy0() != *policy0) {
            return Err(refused(format!(
                "policies/{imported}/0.toml is not the version 0 that {} imports",
                subject.tenant
            )));
        }
    }
    let whose = read_device(&mut pack, &subject, &policies)?;
    let log = chain.policy().gateway.logs.iter().find(|log| log.origin == subject.origin);
    let log = log.ok_or_else(|| refused(format!("the policy names no log {}", subject.origin)))?;
    pack.exact("log/vkey", format!("{}\n", log.vkey).as_bytes())?;
    let checkpoint = pack.text("log/checkpoint", CHECKPOINT_BYTES_MAX)?;
    let head = Checkpoint::open(checkpoint.as_bytes(), &log.origin, &log.vkey)
        .map_err(|invalid| invalid.of("log/checkpoint"))?;
    let entries = read_entries(&mut pack, &checkpoint, &head, &whose.device)?;
    let said = Said::of(&entries, &subject.session, &whose.device, &whose.host_key)?;
    for used in &said.intent.policies {
        let version = usize::try_from(used.version).ok();
        let held = version.and_then(|version| policies.get(&used.tenant)?.get(version));
        if held.map(|signed| Digest::of(&signed.bytes)) != Some(used.digest) {
            let sentence = "is not the version that the session was decided under";
            return Err(refused(format!("policies/{}/{}.toml {sentence}", used.tenant, used.version)));
        }
    }
    let extent = read_recording(&mut pack, &whose, &said)?;
    pack.finish()?;
    let policy0 = chain.policy0();
    Ok(Judged { policy0, whose, tenant: subject.tenant, said, extent, entries: entries.len(), head })
}

fn subject_text(subject: &Subject) -> Outcome<String> {
    let text = serde_json::to_string_pretty(subject).during(|| "cannot write evidence.json".to_owned())?;
    Ok(text + "\n")
}

fn newest(policies: &Policies, tenant: &TenantName) -> Outcome<Policy> {
    let last = policies.get(tenant).and_then(|versions| versions.last());
    let last = last.ok_or_else(|| refused(format!("no policy of {tenant} is kept here")))?;
    Ok(Policy::parse(&last.bytes)?)
}

fn read_policies(pack: &mut Reader<impl Read>) -> Outcome<Policies> {
    let mut policies = Policies::new();
    while let Some(path) = pack.peek().map(str::to_owned).filter(|path| path.starts_with("policies/")) {
        let tenant = path.split('/').nth(1).unwrap_or_default();
        let tenant: TenantName = tenant.parse().during(|| path.clone())?;
        if policies.last_key_value().is_some_and(|(last, _)| *last > tenant) {
            return Err(refused(format!("{path} does not stand in its place")));
        }
        let versions: &mut Vec<Signed> = policies.entry(tenant.clone()).or_default();
        if versions.len() == VERSIONS_MAX {
            return Err(refused(format!("{path}: there are too many versions")));
        }
        let name = format!("policies/{tenant}/{}.toml", versions.len());
        let bytes = pack.take(&name, POLICY_BYTES_MAX)?;
        let armored = pack.text(&format!("{name}.sig"), POLICY_SIGNATURES_MAX * SIGNATURE_BYTES_MAX)?;
        let signatures = envelope::signatures(&armored).map_err(|invalid| invalid.of(format!("{name}.sig")))?;
        versions.push(Signed { bytes, signatures });
    }
    Ok(policies)
}

/// The chain of each policy, every version following from the one before.
fn follow(policies: &Policies) -> Outcome<BTreeMap<TenantName, Chain>> {
    let mut chains = BTreeMap::new();
    for (tenant, versions) in policies {
        let mut chain: Option<Chain> = None;
        for (number, signed) in versions.iter().enumerate() {
            let of = |invalid: belay_certs::Invalid| invalid.of(format!("policies/{tenant}/{number}.toml"));
            let next = match &chain {
                None => Chain::begin(signed).map_err(of)?,
                Some(chain) => match chain.extend(signed).map_err(of)? {
                    Step::Next(next) => next,
                    Step::Same => return Err(refused(format!("policies/{tenant}/{number}.toml stands there twice"))),
                },
            };
            if next.tenant() != tenant {
                return Err(refused(format!("policies/{tenant}/{number}.toml is of {}", next.tenant())));
            }
            chain = Some(next);
        }
        chains.extend(chain.map(|chain| (tenant.clone(), chain)));
    }
    Ok(chains)
}

/// The device: a device CA of some version of the policy vouches for its host key, and somebody signed its record.
fn read_device(pack: &mut Reader<impl Read>, subject: &Subject, policies: &Policies) -> Outcome<Whose> {
    let bytes = pack.take("device/record", DOCUMENT_BYTES_MAX)?;
    let record = DeviceRecord::parse(&bytes).map_err(|invalid| invalid.of("device/record"))?;
    if record.address != subject.device {
        return Err(refused(format!("device/record is of {}", record.address)));
    }
    let batch = pack.take("device/batch", DOCUMENT_BYTES_MAX)?;
    let armored = pack.text("device/batch.sig", 2 * SIGNATURE_BYTES_MAX)?;
    let signatures = envelope::signatures(&armored).map_err(|invalid| invalid.of("device/batch.sig"))?;
    let batch = Signed { bytes: batch, signatures };
    let approver = batch.only_signer(Namespace::Device).map_err(|invalid| invalid.of("device/batch.sig"))?;
    let root = Batch::parse(&batch.bytes).map_err(|invalid| invalid.of("device/batch"))?;
    let path = pack.text("device/path", PROOF_BYTES_MAX)?;
    let (index, hashes) = read_path(&path)?;
    verify_inclusion(&leaf_hash(&bytes), index, root.count, &hashes, &root.root.0)
        .map_err(|invalid| invalid.of("device/path"))?;
    let certificate = pack.text("device/certificate", DOCUMENT_BYTES_MAX)?;
    if certificate_text(&certificate) != certificate {
        return Err(refused("device/certificate is not as Belay writes it"));
    }
    let mut cas: Vec<PublicKey> = Vec::new();
    for signed in policies.get(&subject.tenant).into_iter().flatten() {
        cas.extend(Policy::parse(&signed.bytes)?.devices.ca);
    }
    host_certificate::check(certificate.trim_end(), &record.address, &record.host_key, record.serial, &cas)
        .map_err(|invalid| invalid.of("device/certificate"))?;
    pack.exact("keys/allowed_signers", allowed_signers(policies, &record.host_key, &approver)?.as_bytes())?;
    Ok(Whose { session: subject.session, device: record.address, host_key: record.host_key })
}

fn read_entries(
    pack: &mut Reader<impl Read>,
    checkpoint: &str,
    head: &Checkpoint,
    device: &DeviceAddress,
) -> Outcome<Vec<Proven>> {
    let mut entries: Vec<Proven> = Vec::new();
    while let Some(path) = pack.peek().map(str::to_owned).filter(|path| path.starts_with("log/")) {
        let index = path.strip_prefix("log/").and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
        let index = index.filter(|index| entries.last().is_none_or(|last| last.index < *index));
        let index = index.ok_or_else(|| refused(format!("{path} does not stand in its place")))?;
        let text = pack.text(&format!("log/{index}.json"), ENTRY_BYTES_MAX)?;
        let proof = pack.text(&format!("log/{index}.proof"), PROOF_BYTES_MAX)?;
        let (place, hashes, note) =
            Proven::read_file(&proof).map_err(|failure| failure.of(format!("log/{index}.proof")))?;
        if place != index || note != checkpoint {
            return Err(refused(format!("log/{index}.proof is of another entry or another head")));
        }
        let proven =
            Proven::check(index, text, hashes, head).map_err(|failure| failure.of(format!("log/{index}.proof")))?;
        if proven.to_file(checkpoint) != proof {
            return Err(refused(format!("log/{index}.proof is not as Belay writes it")));
        }
        if let Some(signed) = statement(&proven, device) {
            pack.exact(&format!("log/{index}.statement"), signed.text.as_bytes())?;
            pack.exact(&format!("log/{index}.statement.sig"), signed.signature.as_bytes())?;
        }
        entries.push(proven);
    }
    Ok(entries)
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

/// The statement of this device in an entry, if there is one.
fn statement<'p>(proven: &'p Proven, device: &DeviceAddress) -> Option<&'p SignedStatement> {
    let signed = proven.entry.statement.as_ref()?;
    Statement::parse(signed.text.as_bytes()).ok().filter(|said| said.head.device == *device).map(|_| signed)
}

/// What `ssh-keygen -Y verify -f` reads: every key that signed something here, under what it may sign.
fn allowed_signers(policies: &Policies, device: &PublicKey, approver: &PublicKey) -> Outcome<String> {
    let line = |name: &str, spaces: &str, key: &PublicKey| {
        let key: String = key.line().split(' ').take(2).collect::<Vec<_>>().join(" ");
        format!("{name} namespaces=\"{spaces}\" {key}\n")
    };
    let mut text = line("device", "statement.v1@belay,recording.v1@belay", device);
    text.push_str(&line("approver", "device.v1@belay", approver));
    let mut roots = BTreeSet::new();
    for signed in policies.values().flatten() {
        roots.extend(Policy::parse(&signed.bytes)?.root.keys.iter().map(|key| line("root", "policy.v1@belay", key)));
    }
    text.extend(roots);
    Ok(text)
}

/// The certificate without its comment, which nobody signed.
fn certificate_text(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ") + "\n"
}

fn path_text(index: u64, path: &[Hash]) -> String {
    let hashes: String = path.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect();
    format!("index {index}\n{hashes}")
}

fn read_path(text: &str) -> Outcome<(u64, Vec<Hash>)> {
    let wrong = || refused("device/path is not as Belay writes it");
    let mut lines = text.lines();
    let index = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok()).ok_or_else(wrong)?;
    let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
    let hashes = lines.map(hash).collect::<Option<Vec<Hash>>>().ok_or_else(wrong)?;
    if hashes.len() > PROOF_HASHES_MAX || path_text(index, &hashes) != text {
        return Err(wrong());
    }
    Ok((index, hashes))
}

#[cfg(test)]
#[path = "evidence/tests.rs"]
mod tests;
