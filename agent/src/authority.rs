//! Who may do what on this machine: the verified policies, the device record and the clock, asked by every way in (P6).
//!
//! Authority moves only forward and only by signatures checked here; a new policy or record counts when it is durable.
//! Not here: the judgement itself (`belay_certs::policy::decide`), files (`state`), what the gateway is told (`quic`).

pub(crate) mod runs;

use crate::state::{
    clock::Clock,
    files::{Broken, StateDir},
    identity::Pin,
    policies::PolicyFiles,
    record::HeldRecord,
};
use belay_certs::{
    AccountName, DeviceAddress, Digest, Fault, Invalid, Namespace, PersonRef, PublicKey, Signed, TenantName,
    device::{Approval, check_approval},
    host_certificate,
    policy::{self, Action, Chain, DeviceFacts, Gateway, Grant, LogIdentity, Policies, Question, Refusal, Step},
    sshsig,
};
use ssh_key::Certificate;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};
use tokio::sync::watch;

/// This agent's version, compared with `min_agent` of the policies.
pub const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the machine goes by. Share it as an `Arc`.
#[derive(Debug)]
pub struct Authority {
    /// The one chain and the name this machine asked for.
    pin: Pin,
    /// The machine's key: a record for another is not for us.
    host_key: PublicKey,
    /// When it is.
    clock: Arc<Clock>,
    /// Where chains are kept.
    files: PolicyFiles,
    /// Where the record is kept.
    record_file: PathBuf,
    /// What counts now; replaced whole, so that a decision never sees half of a change.
    held: RwLock<Arc<Held>>,
    /// Held while something new is verified and made durable: one at a time.
    taking: Mutex<()>,
    /// Counts accepted policies and records.
    changes: watch::Sender<u64>,
}

/// Everything that was verified and is durable.
#[derive(Debug, Clone)]
struct Held {
    /// The tenant's own chain.
    chain: Chain,
    /// The chains it imports, as far as they are held.
    imports: BTreeMap<TenantName, Chain>,
    /// The device record; none while pending.
    record: Option<HeldRecord>,
    /// The chains, by their version 0, whose root keys signed a next version that this agent cannot read. Of the tenant's own:
    /// nothing starts until the agent is upgraded. Of an import: its people are nobody here until then.
    unreadable: BTreeSet<Digest>,
}

/// Why an offered policy or record was not taken. Everything is as before.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is not valid here.
    #[error("{0}")]
    Refused(#[from] Invalid),
    /// It could not be made durable.
    #[error("this machine could not keep it: {0}")]
    Broken(#[from] Broken),
}

/// What taking a policy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is the newest from now on.
    Next,
    /// It was held already.
    Same,
}

impl Authority {
    /// Loads and verifies again what the state directory holds for the pinned chain.
    ///
    /// # Errors
    /// When a file is damaged or the pinned chain is missing.
    pub fn open(dir: &StateDir, pin: Pin, host_key: PublicKey, clock: Arc<Clock>) -> Result<Self, Broken> {
        let files = PolicyFiles::open(dir.at("policies"))?;
        let record_file = dir.at("record.json");
        let chain = files
            .load(&pin.tenant, pin.policy0)?
            .ok_or_else(|| Broken::damaged(&dir.at("policies"), "the chain this machine is pinned to is missing"))?;
        let record = HeldRecord::load(&record_file, &host_key)?;
        let imports = load_imports(&files, &chain, BTreeMap::new())?;
        let held = Held { chain, imports, record, unreadable: BTreeSet::new() };
        held.teach(&clock);
        let (held, changes) = (RwLock::new(Arc::new(held)), watch::Sender::new(0));
        Ok(Self { pin, host_key, clock, files, record_file, held, taking: Mutex::new(()), changes })
    }

    /// Whose key this is in the policies held, whatever they may do.
    pub fn person(&self, key: &PublicKey) -> Option<PersonRef> {
        self.held().policies().person(key)
    }

    /// Who this key is, if any grant of theirs reaches this machine now.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn knows(&self, key: &PublicKey) -> Result<PersonRef, Refusal> {
        let now = self.clock.check()?;
        let held = self.held();
        let device = held.device(key, &self.pin)?;
        policy::any_grant(&held.policies(), key, &device, now)
    }

    /// Whether the holder of `key` may do this here and now. The only way to a [`Grant`].
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn decide(
        &self,
        key: &PublicKey,
        account: Option<&AccountName>,
        action: Action,
        ticket: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let now = self.clock.check()?;
        let held = self.held();
        let question = Question {
            key: key.clone(),
            device: held.device(key, &self.pin)?,
            account: account.cloned(),
            action,
            ticket: ticket.map(str::to_owned),
        };
        policy::decide(&held.policies(), &question, now)
    }

    /// Rises at every accepted policy and record: ask again what still runs.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What the device record says; none while pending.
    pub fn device(&self) -> Option<DeviceFacts> {
        self.held().record.as_ref().map(HeldRecord::facts)
    }

    /// Whether a person approved this machine.
    pub fn approved(&self) -> bool {
        self.held().record.is_some()
    }

    /// The certificate that the SSH server shows; none while pending.
    pub fn host_certificate(&self) -> Option<Certificate> {
        self.held().record.as_ref().map(|record| record.certificate.clone())
    }

    /// The log that receipts must be of: the last one the policy names.
    pub fn log(&self) -> Option<LogIdentity> {
        self.held().chain.policy().gateway.logs.last().cloned()
    }

    /// Where the gateway is and how it is known.
    pub fn gateway(&self) -> Gateway {
        self.held().chain.policy().gateway.clone()
    }

    /// Whether sessions here are recorded, and for whom.
    pub fn recording(&self) -> policy::Recording {
        self.held().chain.policy().recording.clone()
    }

    /// The clock that decisions are made by.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The machine's name: approved, or as it asked to be called.
    pub fn address(&self) -> DeviceAddress {
        self.device().map_or_else(|| self.pin.address(), |device| device.address)
    }

    /// Tenant, version and digest of every policy held, the tenant's own first.
    pub fn policies(&self) -> Vec<(TenantName, u64, Digest)> {
        let held = self.held();
        let chains = std::iter::once(&held.chain).chain(held.imports.values());
        chains.map(|chain| (chain.tenant().clone(), chain.version(), chain.digest())).collect()
    }

    /// Sentences about what will soon stop this machine from starting anything, for the log file.
    pub fn warnings(&self) -> Vec<String> {
        let refused = self.clock.check().err().map(|refusal| refusal.to_string());
        self.expiring().into_iter().chain(refused).collect()
    }

    /// Sentences about the policies held that expire within 30 days, for whoever logs in.
    pub fn expiring(&self) -> Vec<String> {
        let (held, now) = (self.held(), self.clock.now());
        let chains = std::iter::once(&held.chain).chain(held.imports.values());
        let expiring = chains.filter_map(|chain| {
            let days = chain.expires_soon(now)?;
            Some(format!("version {} of the policy of {} expires in {days} days", chain.version(), chain.tenant()))
        });
        expiring.collect()
    }

    /// Verifies an offered policy, makes it durable, and goes by it from then on.
    ///
    /// Crash before it is durable: the version before counts and the gateway offers this one again.
    ///
    /// # Errors
    /// [`NotTaken`]: everything stays as it was.
    pub fn take_policy(&self, tenant: &TenantName, signed: &Signed) -> Result<Taken, NotTaken> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.held();
        let step = match held.step(tenant, signed) {
            Ok(step) => step,
            Err(refused) => {
                self.mark_unreadable(&held, tenant, signed, &refused);
                return Err(refused.into());
            }
        };
        let Step::Next(next) = step else { return Ok(Taken::Same) };
        self.files.keep(&next, &signed.bytes)?;
        let mut new = Held::clone(&held);
        new.unreadable.remove(&next.policy0());
        if next.tenant() == new.chain.tenant() {
            new.imports = load_imports(&self.files, &next, new.imports)?;
            new.chain = next;
        } else {
            new.imports.insert(next.tenant().clone(), next);
        }
        self.replace(new);
        Ok(Taken::Next)
    }

    /// Verifies an offered device record, makes it durable, and goes by it from then on. Returns its serial.
    ///
    /// Crash before it is durable: the record before counts, or none, and the gateway offers this one again.
    ///
    /// # Errors
    /// [`NotTaken`]: everything stays as it was.
    pub fn take_record(&self, approval: &Approval) -> Result<u64, NotTaken> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.held();
        if let Some(record) = held.record.as_ref().filter(|record| record.text == approval.record) {
            return self.take_certificate(&held, record, approval);
        }
        let text = held.record.as_ref().map(|record| record.text.as_slice());
        let (record, approver) = check_approval(&held.policies(), approval, &self.host_key, text, self.clock.now())?;
        let ca = &held.chain.policy().devices.ca;
        let certificate =
            host_certificate::check(&approval.certificate, &record.address, &self.host_key, record.serial, ca)?;
        HeldRecord::keep(&self.record_file, approval, &approver)?;
        let serial = record.serial;
        let mut new = Held::clone(&held);
        let line = approval.certificate.trim().to_owned();
        new.record = Some(HeldRecord { text: approval.record.clone(), record, line, certificate });
        self.replace(new);
        Ok(serial)
    }

    /// The record held came again: with another certificate by a device CA of the policy, that one counts from now on. The
    /// proof that came with the record stays: it was verified then, and its signer may have left since.
    fn take_certificate(&self, held: &Held, record: &HeldRecord, approval: &Approval) -> Result<u64, NotTaken> {
        let (line, serial) = (approval.certificate.trim(), record.record.serial);
        if record.line == line {
            return Ok(serial);
        }
        let ca = &held.chain.policy().devices.ca;
        let certificate = host_certificate::check(line, &record.record.address, &self.host_key, serial, ca)?;
        HeldRecord::keep_certificate(&self.record_file, line)?;
        let mut new = Held::clone(held);
        new.record = Some(HeldRecord { line: line.to_owned(), certificate, ..record.clone() });
        self.replace(new);
        tracing::info!(serial, "this machine shows a new host certificate");
        Ok(serial)
    }

    /// The digest of the host certificate's line, by which the gateway knows whether to offer another; none while pending.
    pub fn certificate_held(&self) -> Option<Digest> {
        self.held().record.as_ref().map(|record| Digest::of(record.line.as_bytes()))
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, new: Held) {
        new.teach(&self.clock);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.changes.send_modify(|count| *count += 1);
    }

    /// A document that cannot be read and that the held root keys have signed is a newer format: new work stops, because
    /// what it forbids is not known. Somebody else's rubbish changes nothing.
    fn mark_unreadable(&self, held: &Held, tenant: &TenantName, signed: &Signed, refused: &Invalid) {
        let Some(chain) = held.chain_of(tenant).filter(|_| refused.fault == Fault::Malformed) else { return };
        if held.unreadable.contains(&chain.policy0()) || !signed_by_root(chain, signed) {
            return;
        }
        let stops = if tenant == held.chain.tenant() { "nothing starts" } else { "its people are nobody here" };
        tracing::error!(%tenant, "the newest policy cannot be read by this agent: {stops} until the agent is upgraded");
        let mut new = Held::clone(held);
        new.unreadable.insert(chain.policy0());
        self.replace(new);
    }
}

impl Held {
    fn policies(&self) -> Policies<'_> {
        let imports = self.imports.values().filter(|import| self.is_readable(import)).collect();
        Policies { tenant: &self.chain, imports }
    }

    fn is_readable(&self, chain: &Chain) -> bool {
        !self.unreadable.contains(&chain.policy0())
    }

    /// The chain held of `tenant`.
    fn chain_of(&self, tenant: &TenantName) -> Option<&Chain> {
        if tenant == self.chain.tenant() { Some(&self.chain) } else { self.imports.get(tenant) }
    }

    /// What an offered policy is to what is held.
    fn step(&self, tenant: &TenantName, signed: &Signed) -> Result<Step, Invalid> {
        if let Some(chain) = self.chain_of(tenant) {
            return chain.extend(signed);
        }
        let own = self.chain.tenant();
        let pinned = self.chain.policy().imports.get(tenant).ok_or_else(|| {
            Invalid::new(
                Fault::ForeignTenant,
                format!("this machine belongs to {own}, whose policy does not import {tenant}"),
            )
        })?;
        let chain = Chain::begin(signed)?;
        if chain.policy0() != *pinned || chain.tenant() != tenant {
            let sentence =
                format!("this is not the version 0 of the policy of {tenant} that the policy of {own} imports");
            return Err(Invalid::new(Fault::Fork, sentence));
        }
        Ok(Step::Next(chain))
    }

    /// The facts that `key`'s questions are judged on, once the agent itself may act.
    fn device(&self, key: &PublicKey, pin: &Pin) -> Result<DeviceFacts, Refusal> {
        self.check_agent()?;
        match &self.record {
            Some(record) => Ok(record.facts()),
            // A pending machine has no record, so no grant can reach it.
            None => match self.policies().person(key) {
                Some(person) => Err(Refusal::NoGrant { person, device: pin.address() }),
                None => Err(Refusal::UnknownKey),
            },
        }
    }

    /// The clock cannot be before anything that was verified.
    fn teach(&self, clock: &Clock) {
        for chain in std::iter::once(&self.chain).chain(self.imports.values()) {
            clock.verified(chain.issued());
        }
        if let Some(record) = &self.record {
            clock.verified(record.record.issued);
        }
    }
}

/// Whether the root keys of `chain` signed these bytes, whatever they say.
fn signed_by_root(chain: &Chain, signed: &Signed) -> bool {
    let root = &chain.policy().root;
    let verified = signed.signatures.iter().take(root.keys.len().saturating_mul(2));
    let signers: BTreeSet<PublicKey> = verified
        .filter_map(|armored| sshsig::verify(Namespace::Policy, &signed.bytes, armored).ok())
        .filter(|key| root.keys.contains(key))
        .collect();
    signers.len() >= root.threshold
}

/// The imports that `chain` names: as already held, or as found on disk from an earlier day.
fn load_imports(
    files: &PolicyFiles,
    chain: &Chain,
    mut held: BTreeMap<TenantName, Chain>,
) -> Result<BTreeMap<TenantName, Chain>, Broken> {
    let mut imports = BTreeMap::new();
    for (tenant, policy0) in &chain.policy().imports {
        let kept = held.remove(tenant).filter(|import| import.policy0() == *policy0);
        if let Some(import) = kept.map_or_else(|| files.load(tenant, *policy0), |import| Ok(Some(import)))? {
            imports.insert(tenant.clone(), import);
        }
    }
    Ok(imports)
}

#[cfg(test)]
mod tests;
