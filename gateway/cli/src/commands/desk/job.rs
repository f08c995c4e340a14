//! One job as its documents and its devices tell it: the order with its signature, and what each device signed about its run.
//!
//! Entries are proved to be in the log before they come here. Not here: what was printed, and the pack (`evidence`).

use super::{
    super::{jobs, now},
    case,
    proofs::{Proofs, Proven},
    records::{self, Records},
};
use crate::{
    failure::{Outcome, While, refused, usage},
    gateway::Gateway,
    home::Home,
    limits::EVIDENCE_DEVICES_MAX,
    runs::{
        job::{self, Job},
        library::Library,
    },
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, DeviceName, Digest, Id, Namespace, PersonRef, PublicKey, Signed, TenantName, Timestamp,
    order::{DeviceLine, DeviceList, Order},
    sshsig,
    statement::{Body, PolicyUsed, RunEnd, RunIntent, Statement},
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What was ordered, by which keys.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// The order.
    pub order: Order,
    /// Its bytes with its one signature.
    pub signed: Signed,
    /// Which made that.
    pub signer: PublicKey,
    /// Its devices.
    pub list: DeviceList,
    /// The runbook's bytes with the signatures of its authors.
    pub runbook: Signed,
    /// Which made those.
    pub authors: Vec<PublicKey>,
}

impl Ordered {
    /// Checks that the documents belong together.
    ///
    /// # Errors
    /// One is not signed, or not the one that the order names.
    pub fn check(signed: Signed, list: DeviceList, runbook: Signed) -> Outcome<Self> {
        let order = Order::parse(&signed.bytes)?;
        let signer = signed.only_signer(Namespace::Order).map_err(|invalid| invalid.of("order/order.toml.sig"))?;
        if list.count() != order.devices || list.root() != order.devices_root {
            return Err(refused("order/devices is not the list that the order was signed over"));
        }
        if Digest::of(&runbook.bytes) != order.version {
            return Err(refused("order/runbook is not the version that was ordered"));
        }
        let author = |signature: &String| sshsig::verify(Namespace::Runbook, &runbook.bytes, signature);
        let authors = runbook.signatures.iter().map(author).collect::<Result<Vec<_>, _>>();
        let authors = authors.map_err(|invalid| invalid.of("order/runbook.sig"))?;
        Ok(Self { order, signed, signer, list, runbook, authors })
    }

    fn line(&self, device: &DeviceName) -> Option<&DeviceLine> {
        self.list.lines().iter().find(|line| line.name == *device)
    }
}

/// What one device signed about its run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// What it announced, or refused.
    pub intent: Option<RunIntent>,
    /// Whether it was allowed to begin.
    pub has_begun: bool,
    /// When it announced that, by the device's clock.
    pub begun: Option<Timestamp>,
    /// Why it would not.
    pub refused: Option<String>,
    /// How it ended.
    pub end: Option<RunEnd>,
    /// The place of the entry that says how it ended.
    pub end_index: u64,
}

/// What the entries say about a job.
#[derive(Debug, Clone)]
pub struct Said {
    /// Who ordered it.
    pub person: PersonRef,
    /// Every device that said something.
    pub runs: BTreeMap<DeviceName, Run>,
    /// The host key with which each of them did.
    pub host_keys: BTreeMap<DeviceName, PublicKey>,
    /// The serials under which they did.
    pub serials: BTreeSet<u64>,
    /// Whose output the gateway says to have deleted, and when; not of what came before the run had ended.
    pub deleted: BTreeMap<DeviceName, Timestamp>,
    /// How the gateway says that it went on: `job.stopped`, `job.cancelled`, `job.ended`.
    pub ends: Vec<String>,
}

/// The members of `job.submitted` that are held against the documents.
#[derive(Deserialize)]
struct Submitted {
    order: Digest,
    signature: Digest,
    version: Digest,
    key: String,
}

impl Said {
    /// What the entries hold of this job, each statement signed by the host key of the record that it names.
    ///
    /// # Errors
    /// No entry brings the job, one is of another order, or was not signed by the device.
    pub fn of(entries: &[Proven], ordered: &Ordered, records: &Records) -> Outcome<Self> {
        let job = ordered.order.id;
        let mut said: Option<Self> = None;
        for proven in entries {
            let entry = &proven.entry;
            let names_job = entry.detail.get("job").and_then(|id| id.as_str()) == Some(&job.to_string());
            match (entry.kind.as_str(), &mut said) {
                ("job.submitted", None) if names_job => {
                    said = Some(Self::begun(submitted(proven, ordered)?));
                }
                ("job.submitted", Some(_)) if names_job => {
                    return Err(refused(format!("entry {} brings the job a second time", proven.index)));
                }
                ("job.stopped" | "job.cancelled" | "job.ended", Some(said)) if names_job => {
                    said.ends.push(entry.kind.clone());
                }
                ("output.deleted", Some(said)) if names_job => {
                    said.deleted.extend(entry.device.clone().map(|device| (device, entry.at)));
                }
                (_, said) => {
                    if !is_about(proven, &job) {
                        continue;
                    }
                    let out_of_order = || refused(format!("entry {} stands before the job was brought", proven.index));
                    said.as_mut().ok_or_else(out_of_order)?.take(proven, ordered, records)?;
                }
            }
        }
        said.ok_or_else(|| refused(format!("no entry of the log says that the job {job} was brought")))
    }

    fn begun(person: PersonRef) -> Self {
        let (runs, host_keys, serials) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { person, runs, host_keys, serials, deleted: BTreeMap::new(), ends: Vec::new() }
    }

    fn take(&mut self, proven: &Proven, ordered: &Ordered, records: &Records) -> Outcome {
        let index = proven.index;
        let (logged, statement) = records.heard(proven)?;
        let (device, host_key) = (&logged.record().address, &logged.record().host_key);
        let no_fit = || refused(format!("entry {index} does not fit the order, or what {device} said before"));
        // A machine that joined again in between is another one: what the first began it cannot end.
        if self.host_keys.entry(device.device.clone()).or_insert_with(|| host_key.clone()) != host_key {
            return Err(no_fit());
        }
        self.serials.insert(statement.head.serial);
        let line = ordered.line(&device.device).ok_or_else(no_fit)?;
        let run = self.runs.entry(device.device.clone()).or_default();
        match statement.body {
            Body::RunStarted(intent) if run.intent.is_none() && run.end.is_none() => {
                let fits = intent.order_digest == Digest::of(&ordered.signed.bytes)
                    && intent.version == ordered.order.version
                    && intent.key == ordered.signer.fingerprint()
                    && intent.person == self.person
                    && statement.head.serial == line.serial;
                if !fits {
                    return Err(no_fit());
                }
                run.begun = Some(statement.head.issued);
                run.has_begun = proven.entry.kind == statement_type(&intent);
                run.intent = Some(intent);
            }
            Body::RunRefused { intent, reason } if run.intent.is_none() && run.end.is_none() => {
                (run.intent, run.refused) = (Some(intent), Some(reason));
            }
            Body::RunEnded(end) if run.end.is_none() => {
                (run.end, run.end_index) = (Some(end), index);
                // What was deleted before was a part of it: the gateway takes all of it anew.
                self.deleted.remove(&device.device);
            }
            _ => return Err(no_fit()),
        }
        Ok(())
    }

    /// Every policy that a device decided under.
    pub fn used(&self) -> impl Iterator<Item = &PolicyUsed> {
        self.runs.values().filter_map(|run| run.intent.as_ref()).flat_map(|intent| &intent.policies)
    }
}

/// The type of the entry of a run that may begin; one that was withheld has another.
fn statement_type(intent: &RunIntent) -> &'static str {
    Body::RunStarted(intent.clone()).type_name()
}

/// Who brought the job, if the entry is of these documents.
fn submitted(proven: &Proven, ordered: &Ordered) -> Outcome<PersonRef> {
    let of = || format!("entry {}", proven.index);
    let detail = serde_json::Value::Object(proven.entry.detail.clone());
    let submitted: Submitted = serde_json::from_value(detail).during(of)?;
    let signature = ordered.signed.signatures.first().map(|signature| Digest::of(signature.as_bytes()));
    for (what, fits) in [
        ("order/order.toml", submitted.order == Digest::of(&ordered.signed.bytes)),
        ("order/order.toml.sig", Some(submitted.signature) == signature),
        ("order/runbook", submitted.version == ordered.order.version),
        ("order/order.toml.sig", submitted.key == ordered.signer.fingerprint()),
    ] {
        if !fits {
            return Err(refused(format!("{}: {what} is not the one that it names", of())));
        }
    }
    proven.entry.person.clone().ok_or_else(|| refused(format!("{}: it does not say who ordered", of())))
}

/// Whether a device says something about its run of this job in an entry. Who it is, is not checked.
fn is_about(proven: &Proven, job: &Id) -> bool {
    let signed = proven.entry.statement.as_ref();
    let statement = signed.and_then(|signed| Statement::parse(signed.text.as_bytes()).ok());
    statement.is_some_and(|statement| match &statement.body {
        Body::RunStarted(intent) | Body::RunRefused { intent, .. } => intent.order == *job,
        Body::RunEnded(end) => end.order == *job,
        Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => false,
    })
}

/// A job with everything that proves what is said of it.
pub struct JobCase<'h> {
    /// The gateway that has it.
    pub gateway: Gateway<'h>,
    /// What was ordered.
    pub ordered: Ordered,
    /// Only this device of it.
    pub only: Option<DeviceName>,
    /// The records of those that said something, as the log has them.
    pub records: Records,
    /// All entries that name the job, and those that approved who speaks in them.
    pub proofs: Proofs,
    /// What they say.
    pub said: Said,
}

impl<'h> JobCase<'h> {
    /// Takes all of a job from its gateway and checks it.
    ///
    /// # Errors
    /// It has too many devices, or something does not verify; the sentence says what.
    pub fn of(
        home: &'h Home,
        trusted: &Trusted,
        (gateway, job): (Gateway<'h>, Job),
        only: Option<&DeviceName>,
    ) -> Outcome<Self> {
        check_size(&job, only)?;
        let tenant = job.head.tenant.clone();
        let policies = trusted.policies(&tenant)?;
        let lines = job.runs.values().map(job::Run::line);
        let list = DeviceList::of(lines.collect())?;
        let (Some(order), Some(signature)) = (&job.head.order, &job.head.signature) else {
            return Err(refused(format!("the gateway does not show the order of {}", job.id)));
        };
        let signed = Signed { bytes: order.clone().into_bytes(), signatures: vec![signature.clone()] };
        let version = Order::parse(&signed.bytes)?.version;
        let library = Library { gateway: gateway.clone(), tenant: &tenant, policies: &policies, now: now() };
        let ordered = Ordered::check(signed, list, library.documents(&version)?)?;
        if ordered.order.id != job.id || ordered.order.tenant != tenant {
            return Err(refused(format!("the gateway shows the order {} for the job {}", ordered.order.id, job.id)));
        }
        let device = only.map(|device| DeviceAddress { device: device.clone(), tenant: tenant.clone() });
        let proofs = entries(&gateway, trusted, &tenant, &job.id, device.as_ref())?;
        let about = proofs.entries.iter().filter(|proven| is_about(proven, &job.id));
        let serials = about.filter_map(records::serial).collect();
        let cas = case::device_cas(home, trusted.tenant(&tenant)?.policy());
        let records = Records::of(&proofs, &tenant, &serials, &cas)?;
        let said = Said::of(&proofs.entries, &ordered, &records)?;
        records.tell_unapproved(&policies, now());
        Ok(Self { gateway, ordered, only: only.cloned(), records, proofs, said })
    }
}

fn check_size(job: &Job, only: Option<&DeviceName>) -> Outcome {
    match only {
        Some(device) if !job.runs.contains_key(device) => Err(jobs::no_device(job, device)),
        None if job.runs.len() > EVIDENCE_DEVICES_MAX => Err(usage(format!(
            "the job {} has {} devices, and a pack holds at most {EVIDENCE_DEVICES_MAX}: name one with --device DEVICE",
            job.id,
            job.runs.len()
        ))),
        _ => Ok(()),
    }
}

fn entries(
    gateway: &Gateway<'_>,
    trusted: &Trusted,
    tenant: &TenantName,
    job: &Id,
    device: Option<&DeviceAddress>,
) -> Outcome<Proofs> {
    let (job, device) = (job.to_string(), device.map(DeviceAddress::to_string));
    let mut words = vec![job.as_str()];
    words.extend(device.iter().flat_map(|device| ["--device", device.as_str()]));
    words.push("--records");
    case::fetch(gateway, trusted.tenant(tenant)?.policy(), tenant, &words)
}
