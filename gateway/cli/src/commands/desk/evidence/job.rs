//! What a pack of evidence of a job holds, in its one order, written from a case and judged without any gateway.
//!
//! The judge repeats no device's decision: it proves who ordered what, and what each device signed about it.

use super::{FORMAT, Judged, Policies, devices, parts, read_subject, subject_text};
use crate::{
    commands::desk::{
        job::{JobCase, Ordered, Run, Said},
        pack::{MANIFEST, Reader, Writer},
        printed::{self, Printed},
        records::{Records, Vouched},
    },
    failure::{Outcome, refused},
    gateway::{Gateway, at_once},
    limits::OUTPUTS_AT_ONCE,
};
use belay_certs::{
    DeviceAddress, DeviceName, Digest, Id, PersonRef, PublicKey, Signed, TenantName, envelope,
    limits::{
        DEVICE_LIST_BYTES_MAX, DOCUMENT_BYTES_MAX, OUTPUT_BYTES_MAX, POLICY_SIGNATURES_MAX, RUNBOOK_BYTES_MAX,
        SIGNATURE_BYTES_MAX,
    },
    order::DeviceList,
    policy::Policy,
    statement::RunEnd,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
};

/// How a reader checks it without us.
pub const README: &str = include_str!("job.md");
/// The SHA-256 of what packs of earlier versions say there.
pub const README_EARLIER: &[&str] = &["0423a81b11c5c3d48a9ca0e4311c94b76ce3b81d78a716e6022f297f9ebd37c8"];

/// What a pack is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    format: u32,
    job: Id,
    tenant: TenantName,
    /// Only this device of it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceName>,
    /// Of the log's key.
    origin: String,
}

/// What a pack proves.
#[derive(Debug)]
pub struct Proved {
    /// What was ordered.
    pub ordered: Ordered,
    /// Only this device of it.
    pub only: Option<DeviceName>,
    /// Who ordered it, and what the devices said.
    pub said: Said,
    /// Devices whose output is not here.
    pub missing: Vec<DeviceName>,
}

/// Writes the pack of a case.
///
/// # Errors
/// An output is not what its device stated, or the pack cannot be written.
pub fn write(case: &JobCase<'_>, policies: &Policies, out: impl Write) -> Outcome {
    let ordered = &case.ordered;
    let tenant = &ordered.order.tenant;
    let newest = parts::newest(policies, tenant)?;
    let log = newest.gateway.logs.last().ok_or_else(|| refused("the policy names no log"))?;
    let (job, device, origin) = (ordered.order.id, case.only.clone(), log.origin.clone());
    let subject = Subject { format: FORMAT, job, tenant: tenant.clone(), device, origin };
    let mut pack = Writer::new(out);
    pack.add("README.md", README.as_bytes())?;
    pack.add("evidence.json", subject_text(&subject)?.as_bytes())?;
    parts::write_policies(&mut pack, policies)?;
    pack.add("order/order.toml", &ordered.signed.bytes)?;
    pack.add("order/order.toml.sig", envelope::armor(&ordered.signed).as_bytes())?;
    pack.add("order/devices", ordered.list.to_text().as_bytes())?;
    pack.add("order/runbook", &ordered.runbook.bytes)?;
    pack.add("order/runbook.sig", envelope::armor(&ordered.runbook).as_bytes())?;
    devices::write(&mut pack, &case.records)?;
    let keys = Keys::of(case.records.iter().map(|logged| &logged.vouched));
    pack.add("keys/allowed_signers", keys.allowed_signers(policies, ordered)?.as_bytes())?;
    parts::write_log(&mut pack, log, &case.proofs, |device| keys.has(device))?;
    write_outputs(&mut pack, &case.gateway, ordered, &case.said)?;
    pack.finish()?;
    Ok(())
}

/// The outputs that devices stated, some at once; what the gateway has not whole yet, or has deleted, is said to be missing.
fn write_outputs(pack: &mut Writer<impl Write>, gateway: &Gateway<'_>, ordered: &Ordered, said: &Said) -> Outcome {
    let stated: Vec<(&DeviceName, &Run, &RunEnd, Digest)> = outputs(said).collect();
    let (job, tenant) = (&ordered.order.id, &ordered.order.tenant);
    for some in stated.chunks(OUTPUTS_AT_ONCE) {
        let files = at_once(some, |(name, run, end, digest)| {
            let device = DeviceAddress { device: (*name).clone(), tenant: tenant.clone() };
            match said.deleted.contains_key(*name) {
                true => Ok(Printed::Beginning { file: Vec::new(), missing: end.output_bytes }),
                false => printed::fetch(gateway, job, &device, (end, *digest, run.end_index)),
            }
        });
        for ((name, .., digest), file) in some.iter().zip(files) {
            match file? {
                Printed::Proved(file) => pack.add(&format!("outputs/{name}"), &file)?,
                Printed::Beginning { .. } => {
                    pack.add(&format!("outputs/{name}.missing"), missing_text(digest).as_bytes())?;
                }
            }
        }
    }
    Ok(())
}

/// The devices that stated an output, in order.
fn outputs(said: &Said) -> impl Iterator<Item = (&DeviceName, &Run, &RunEnd, Digest)> {
    let ended = said.runs.iter().filter_map(|(name, run): (_, &Run)| Some((name, run, run.end.as_ref()?)));
    ended.filter_map(|(name, run, end)| Some((name, run, end, end.output?)))
}

fn missing_text(digest: &Digest) -> String {
    format!("{digest}\n")
}

/// Judges a pack behind its README: every file is checked against the ones before it, and nothing else is in it.
///
/// # Errors
/// With the broken piece.
pub fn judge(mut pack: Reader<impl Read>) -> Outcome<Judged> {
    let subject: Subject = read_subject(&mut pack)?;
    let policies = parts::read_policies(&mut pack)?;
    let chain = parts::follow(&policies, &subject.tenant)?;
    let ordered = read_order(&mut pack)?;
    if subject.format != FORMAT || ordered.order.id != subject.job || ordered.order.tenant != subject.tenant {
        return Err(refused("evidence.json is not of order/order.toml"));
    }
    let cas = parts::device_cas(&policies, &subject.tenant)?;
    let vouched = devices::read(&mut pack, &subject.tenant, &cas)?;
    let keys = Keys::of(vouched.iter());
    pack.exact("keys/allowed_signers", keys.allowed_signers(&policies, &ordered)?.as_bytes())?;
    let takes = |device: &DeviceAddress| keys.has(device);
    let (head, entries) = parts::read_log(&mut pack, chain.policy(), &subject.origin, takes)?;
    let records = Records::found(vouched, &entries)?;
    let said = Said::of(&entries, &ordered, &records)?;
    for logged in records.iter() {
        let (serial, name) = (logged.record().serial, &logged.record().address.device);
        if !said.serials.contains(&serial) || subject.device.as_ref().is_some_and(|only| only != name) {
            return Err(refused(format!("devices/{serial}/record is of a device that says nothing here")));
        }
    }
    let used: Vec<_> = said.used().cloned().collect();
    parts::check_used(&policies, &used)?;
    check_people(&said, &ordered, &policies)?;
    let mut missing = Vec::new();
    for (name, _, _, digest) in outputs(&said) {
        let absent = format!("outputs/{name}.missing");
        if pack.peek() == Some(absent.as_str()) {
            pack.exact(&absent, missing_text(&digest).as_bytes())?;
            missing.push(name.clone());
            continue;
        }
        let file = format!("outputs/{name}");
        let bytes = pack.take(&file, usize::try_from(OUTPUT_BYTES_MAX).unwrap_or(usize::MAX))?;
        if Digest::of(&bytes) != digest {
            return Err(refused(format!("{file} is not what the device stated: {digest}")));
        }
    }
    if let Some(other) = pack.peek().filter(|path| *path != MANIFEST) {
        return Err(refused(format!("the pack has {other:?} where {MANIFEST} must be")));
    }
    pack.finish()?;
    let proved = Proved { ordered, only: subject.device, said, missing };
    let (policy0, tenant) = (chain.policy0(), subject.tenant);
    Ok(Judged { policy0, tenant, proved: super::Proved::Job(Box::new(proved)), entries: entries.len(), head })
}

fn read_order(pack: &mut Reader<impl Read>) -> Outcome<Ordered> {
    let order = pack.take("order/order.toml", DOCUMENT_BYTES_MAX)?;
    let order = signed(pack, "order/order.toml.sig", order, 1)?;
    let text = pack.take("order/devices", DEVICE_LIST_BYTES_MAX)?;
    let list = DeviceList::parse(&text).map_err(|invalid| invalid.of("order/devices"))?;
    if list.to_text().as_bytes() != text {
        return Err(refused("order/devices is not as Belay writes it"));
    }
    let runbook = pack.take("order/runbook", RUNBOOK_BYTES_MAX)?;
    let runbook = signed(pack, "order/runbook.sig", runbook, POLICY_SIGNATURES_MAX)?;
    Ordered::check(order, list, runbook).map_err(|failure| match failure.sentence().starts_with("order/") {
        true => failure,
        false => failure.of("order/order.toml"),
    })
}

fn signed(pack: &mut Reader<impl Read>, name: &str, bytes: Vec<u8>, signatures_max: usize) -> Outcome<Signed> {
    let armored = pack.text(name, signatures_max * SIGNATURE_BYTES_MAX)?;
    Ok(Signed { bytes, signatures: envelope::signatures(&armored).map_err(|invalid| invalid.of(name))? })
}

/// Whether the keys are those of the persons that they are said to be, by some version of a policy.
fn check_people(said: &Said, ordered: &Ordered, policies: &Policies) -> Outcome {
    let tenant = &ordered.order.tenant;
    if !is_of(policies, tenant, &said.person, &ordered.signer)? {
        return Err(refused(format!("order/order.toml.sig is by no key that a policy gives {}", said.person)));
    }
    let mut authors = BTreeSet::new();
    for run in said.runs.values().filter(|run| run.refused.is_none()) {
        authors.extend(run.intent.as_ref().and_then(|intent| intent.author.as_ref()));
    }
    for author in authors {
        let mut is_signed = false;
        for key in &ordered.authors {
            is_signed |= is_of(policies, tenant, author, key)?;
        }
        if !is_signed {
            return Err(refused(format!("order/runbook.sig has no signature of {author}")));
        }
    }
    Ok(())
}

fn is_of(policies: &Policies, tenant: &TenantName, person: &PersonRef, key: &PublicKey) -> Outcome<bool> {
    for signed in policies.get(person.tenant.as_ref().unwrap_or(tenant)).into_iter().flatten() {
        let policy = Policy::parse(&signed.bytes)?;
        if policy.people.iter().any(|one| one.name == person.name && one.keys.contains(key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys of devices and of those who approved them.
#[derive(Default)]
struct Keys {
    devices: BTreeSet<(String, PublicKey)>,
    approvers: Vec<PublicKey>,
}

impl Keys {
    fn of<'v>(all: impl Iterator<Item = &'v Vouched>) -> Self {
        let mut keys = Self::default();
        for Vouched { record, approver, .. } in all {
            keys.devices.insert((record.address.to_string(), record.host_key.clone()));
            if !keys.approvers.contains(approver) {
                keys.approvers.push(approver.clone());
            }
        }
        keys
    }

    fn has(&self, device: &DeviceAddress) -> bool {
        let name = device.to_string();
        self.devices.iter().any(|(known, _)| *known == name)
    }

    fn allowed_signers(&self, policies: &Policies, ordered: &Ordered) -> Outcome<String> {
        let mut signers: Vec<parts::Signer<'_>> = vec![("order".to_owned(), "order.v1@belay", &ordered.signer)];
        signers.extend(ordered.authors.iter().map(|key| ("author".to_owned(), "runbook.v1@belay", key)));
        signers.extend(self.approvers.iter().map(|key| ("approver".to_owned(), "device.v1@belay", key)));
        signers.extend(self.devices.iter().map(|(name, key)| (name.clone(), "statement.v1@belay", key)));
        parts::allowed_signers(policies, &signers)
    }
}

#[cfg(test)]
mod tests;
