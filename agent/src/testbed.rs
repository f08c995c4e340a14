//! What the agent's tests stand on: a tenant with real keys, a state directory, a clock set by hand, and a small true log.

use crate::{
    authority::Authority,
    recorder::Recorder,
    state::{
        StateDir,
        clock::{Clock, tests::set_by_hand},
        identity::{self, Pin},
        policies::PolicyFiles,
    },
};
use belay_certs::{
    DeviceName, Digest, Id, Namespace, PrivateKey, PublicKey, Signed, TenantName, Timestamp,
    device::{Approval, Batch, DeviceRecord, approvals},
    entry::{self, Entry},
    policy::{Chain, LogIdentity, Step},
    sshsig,
    statement::{Body, Intent, RunIntent, SessionKind, SignedStatement, Statement},
    tlog::{Checkpoint, Edge, NoteSigner, consistency_path, inclusion_path, leaf_hash},
};
use belay_protocol::{ReceiptGiven, StatementMade};
use ssh_key::certificate::{Builder, CertType};
use std::{
    fmt::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio_util::task::TaskTracker;

pub(crate) fn key(comment: &str) -> PrivateKey {
    PrivateKey::generate_ed25519(comment).unwrap()
}

/// A moment at which everything made here counts.
pub(crate) fn now() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn sign(namespace: Namespace, text: &str, signer: &PrivateKey) -> Signed {
    Signed {
        bytes: text.as_bytes().to_vec(),
        signatures: vec![sshsig::sign(namespace, text.as_bytes(), signer).unwrap()],
    }
}

/// One version of a policy, to be changed by a test before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) tenant: String,
    pub(crate) version: u64,
    pub(crate) previous: Option<Digest>,
    pub(crate) issued: &'static str,
    pub(crate) expires: &'static str,
    pub(crate) min_agent: &'static str,
    pub(crate) root: PrivateKey,
    pub(crate) addresses: Vec<String>,
    pub(crate) transport_ca: Vec<Digest>,
    pub(crate) log: LogIdentity,
    pub(crate) ca: PublicKey,
    pub(crate) revoked: Vec<u64>,
    pub(crate) imports: Vec<(String, Digest)>,
    pub(crate) people: Vec<(&'static str, PublicKey)>,
    pub(crate) grants: &'static str,
}

/// Alice may do everything everywhere; so may the provider's tech, once imported.
const GRANTS: &str = r#"
[[grants]]
who = ["alice"]
on = ["*"]
do = ["shell", "files", "enrol"]
as = ["root"]
"#;

impl Draft {
    pub(crate) fn text(&self) -> String {
        let Self { tenant, version, issued, expires, min_agent, .. } = self;
        let quoted = |items: &[String]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
        let cas: Vec<String> = self.transport_ca.iter().map(Digest::to_string).collect();
        let previous = self.previous.map(|digest| format!("previous = \"{digest}\"\n")).unwrap_or_default();
        let mut text = format!(
            "format = 1\ntenant = \"{tenant}\"\nversion = {version}\n{previous}issued = {issued}\nexpires = {expires}\n\
             min_agent = \"{min_agent}\"\n\n[root]\nthreshold = 1\nkeys = [\"{}\"]\n\n[gateway]\nssh = \"gw.example:2222\"\n\
             ssh_host_keys = [\"{}\"]\naddresses = [{}]\ntransport_ca = [{}]\n\
             logs = [{{ origin = \"{}\", vkey = \"{}\" }}]\n\n[devices]\nca = [\"{}\"]\nrevoked = {:?}\n",
            self.root.public(),
            self.ca,
            quoted(&self.addresses),
            quoted(&cas),
            self.log.origin,
            self.log.vkey,
            self.ca,
            self.revoked,
        );
        for (tenant, policy0) in &self.imports {
            write!(text, "\n[import.{tenant}]\npolicy0 = \"{policy0}\"\n").unwrap();
        }
        for (name, key) in &self.people {
            write!(text, "\n[[people]]\nname = \"{name}\"\nkeys = [\"{key}\"]\n").unwrap();
        }
        text + self.grants
    }

    pub(crate) fn signed(&self) -> Signed {
        sign(Namespace::Policy, &self.text(), &self.root)
    }

    /// The version after this one, the same but for its number.
    pub(crate) fn next(&self) -> Self {
        let previous = Some(Digest::of(self.text().as_bytes()));
        Self { version: self.version + 1, previous, ..self.clone() }
    }
}

/// A tenant whose newest policy is `draft`.
pub(crate) struct Tenant {
    pub(crate) alice: PrivateKey,
    pub(crate) ca: PrivateKey,
    pub(crate) log: FakeLog,
    pub(crate) draft: Draft,
    pub(crate) versions: Vec<Signed>,
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        let (alice, ca, log) = (key("alice"), key("ca"), FakeLog::new(&format!("gw.example/{name}")));
        let draft = Draft {
            tenant: name.to_owned(),
            version: 0,
            previous: None,
            issued: "2026-11-21T09:00:00Z",
            expires: "2027-02-19T09:00:00Z",
            min_agent: "0.1.0",
            root: key("root"),
            addresses: vec!["127.0.0.1:1".to_owned()],
            transport_ca: vec![Digest::of(b"transport ca")],
            log: log.identity(),
            ca: ca.public().clone(),
            revoked: Vec::new(),
            imports: Vec::new(),
            people: vec![("alice", alice.public().clone())],
            grants: GRANTS,
        };
        Self { alice, ca, log, versions: vec![draft.signed()], draft }
    }

    /// Makes the next version, changed by `change`.
    pub(crate) fn publish(&mut self, change: impl FnOnce(&mut Draft)) -> Signed {
        let mut next = self.draft.next();
        change(&mut next);
        self.draft = next;
        self.versions.push(self.draft.signed());
        self.draft.signed()
    }

    /// Starts the chain anew with a changed version 0.
    pub(crate) fn found(&mut self, change: impl FnOnce(&mut Draft)) {
        change(&mut self.draft);
        self.versions = vec![self.draft.signed()];
    }

    pub(crate) fn name(&self) -> TenantName {
        self.draft.tenant.parse().unwrap()
    }

    pub(crate) fn policy0(&self) -> Digest {
        Digest::of(&self.versions[0].bytes)
    }

    /// Every version as the chain it made.
    pub(crate) fn chains(&self) -> Vec<(Chain, &Signed)> {
        let mut chains: Vec<(Chain, &Signed)> = Vec::new();
        for signed in &self.versions {
            let chain = match chains.last() {
                None => Chain::begin(signed).unwrap(),
                Some((held, _)) => match held.extend(signed).unwrap() {
                    Step::Next(next) => next,
                    Step::Same => continue,
                },
            };
            chains.push((chain, signed));
        }
        chains
    }

    /// Approves `host_key` as `web1`, between two others.
    pub(crate) fn approve(&self, host_key: &PublicKey, serial: u64) -> Approval {
        self.approve_as("web1", host_key, serial, &self.alice)
    }

    pub(crate) fn approve_as(&self, name: &str, host_key: &PublicKey, serial: u64, approver: &PrivateKey) -> Approval {
        self.approve_labelled(name, "server", host_key, serial, approver)
    }

    pub(crate) fn approve_labelled(
        &self,
        name: &str,
        label: &str,
        host_key: &PublicKey,
        serial: u64,
        approver: &PrivateKey,
    ) -> Approval {
        let record = |name: &str, host_key: &PublicKey, serial| DeviceRecord {
            address: format!("{name}.{}", self.draft.tenant).parse().unwrap(),
            host_key: host_key.clone(),
            labels: vec![label.to_owned()],
            serial,
            replaces: None,
            issued: now(),
        };
        let all = [
            record("other1", key("").public(), serial + 1_000),
            record(name, host_key, serial),
            record("other2", key("").public(), serial + 2_000),
        ];
        let digest = Digest::of(&self.versions.last().unwrap().bytes);
        let batch = Batch::over(&all, self.draft.version, digest, now()).unwrap();
        let certificates: Vec<String> = all.iter().map(|record| self.certify(record)).collect();
        approvals(&all, sign(Namespace::Device, &batch.to_text(), approver), &certificates).unwrap().remove(1)
    }

    fn certify(&self, record: &DeviceRecord) -> String {
        let subject = record.host_key.as_ssh().key_data().clone();
        let mut builder = Builder::new([9; 16], subject, 0, u64::MAX).unwrap();
        builder.serial(record.serial).unwrap().cert_type(CertType::Host).unwrap();
        builder.key_id("web").unwrap().valid_principal(record.address.to_string()).unwrap();
        builder.sign(self.ca.as_ssh()).unwrap().to_openssh().unwrap()
    }
}

/// A joined machine of a tenant in a directory of its own.
pub(crate) struct Machine {
    _keep: tempfile::TempDir,
    pub(crate) dir: StateDir,
    pub(crate) host_key: PrivateKey,
    pub(crate) pin: Pin,
    pub(crate) clock: Arc<Clock>,
    /// The clock's hands, in microseconds.
    pub(crate) hands: Arc<AtomicI64>,
}

impl Machine {
    /// Joined, pending, holding every version of the tenant's policy.
    pub(crate) fn joined(tenant: &Tenant) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&keep.path().join("state")).unwrap();
        let host_key = identity::host_key(&dir).unwrap();
        let files = PolicyFiles::open(dir.at("policies")).unwrap();
        for (chain, signed) in tenant.chains() {
            files.keep(&chain, &signed.bytes).unwrap();
        }
        let pin = Pin {
            tenant: tenant.name(),
            policy0: tenant.policy0(),
            name: "web1".parse::<DeviceName>().unwrap(),
            join: Id([7; 16]),
            machine: identity::machine_id(),
        };
        pin.keep(&dir).unwrap();
        let (clock, hands) = set_by_hand(dir.path(), now());
        Self { _keep: keep, dir, host_key, pin, clock: Arc::new(clock), hands }
    }

    /// As after a restart: everything is read and verified again.
    pub(crate) fn authority(&self) -> Arc<Authority> {
        let (pin, host_key) = (self.pin.clone(), self.host_key.public().clone());
        Arc::new(Authority::open(&self.dir, pin, host_key, self.clock.clone()).unwrap())
    }

    /// As after a restart, approved if it was not.
    pub(crate) fn approved(&self, tenant: &Tenant) -> Arc<Authority> {
        let authority = self.authority();
        authority.take_record(&tenant.approve(self.host_key.public(), 7)).unwrap();
        authority
    }

    pub(crate) fn recorder(&self, authority: &Arc<Authority>) -> (Recorder, TaskTracker) {
        let tracker = TaskTracker::new();
        let recorder = Recorder::start(&self.dir, authority.clone(), self.host_key.clone(), &tracker).unwrap();
        (recorder, tracker)
    }

    pub(crate) fn set_clock(&self, to: &str) {
        self.hands.store(to.parse::<Timestamp>().unwrap().micros(), Ordering::Relaxed);
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A tenant's log as an honest gateway keeps it, small enough for one tile.
pub(crate) struct FakeLog {
    signer: NoteSigner,
    edge: Edge,
    entries: Vec<(Entry, Vec<u8>)>,
}

impl FakeLog {
    pub(crate) fn new(origin: &str) -> Self {
        Self { signer: NoteSigner::generate(origin).unwrap(), edge: Edge::empty(), entries: Vec::new() }
    }

    pub(crate) fn identity(&self) -> LogIdentity {
        LogIdentity { origin: self.signer.name().to_owned(), vkey: self.signer.vkey() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.edge.size()
    }

    /// A copy that can be told lies in.
    pub(crate) fn fork(&self) -> Self {
        let signer = NoteSigner::from_text(&self.signer.to_text()).unwrap();
        Self { signer, edge: self.edge.clone(), entries: self.entries.clone() }
    }

    /// Appends an entry of the gateway's own.
    pub(crate) fn noise(&mut self) {
        let id = Id::random().unwrap();
        self.append(Entry {
            v: entry::FORMAT,
            id,
            kind: "device.connected".to_owned(),
            at: now(),
            tenant: None,
            device: None,
            person: None,
            detail: serde_json::Map::new(),
            statement: None,
        });
    }

    /// Appends the entry of a statement, of type `kind` instead of the statement's own if given.
    pub(crate) fn record_as(&mut self, made: &StatementMade, kind: Option<&str>) -> u64 {
        let signed = SignedStatement { text: made.text.clone(), signature: made.signature.clone() };
        let said = Statement::parse(signed.text.as_bytes()).unwrap();
        self.append(Entry {
            v: entry::FORMAT,
            id: Id::random().unwrap(),
            kind: kind.unwrap_or(said.type_name()).to_owned(),
            at: now(),
            tenant: Some(said.head.device.tenant.clone()),
            device: Some(said.head.device.device.clone()),
            person: said.person().cloned(),
            detail: said.body.members().unwrap(),
            statement: Some(signed),
        })
    }

    /// Appends the entry that withholds what a statement announces: `kind`, its id and the reason, and nothing else of it.
    pub(crate) fn withhold(&mut self, made: &StatementMade, kind: &str) -> u64 {
        let index = self.record_as(made, Some(kind));
        let (mut entry, _) = self.entries.pop().unwrap();
        entry.detail.retain(|name, _| name == "order");
        entry.detail.insert("reason".to_owned(), "its job was cancelled".into());
        let bytes = entry.to_bytes().unwrap();
        self.edge = self.entries.iter().map(|(_, bytes)| leaf_hash(bytes)).fold(Edge::empty(), |mut edge, leaf| {
            edge.append(leaf);
            edge
        });
        self.edge.append(leaf_hash(&bytes));
        self.entries.push((entry, bytes));
        index
    }

    pub(crate) fn record(&mut self, made: &StatementMade) -> u64 {
        self.record_as(made, None)
    }

    fn append(&mut self, entry: Entry) -> u64 {
        let bytes = entry.to_bytes().unwrap();
        self.edge.append(leaf_hash(&bytes));
        self.entries.push((entry, bytes));
        self.edge.size() - 1
    }

    /// The receipt of entry `index` for a device that keeps a head of `from` entries.
    pub(crate) fn receipt(&self, index: u64, from: u64) -> ReceiptGiven {
        let size = self.edge.size();
        let (entry, bytes) = &self.entries[index as usize];
        let said = Statement::parse(entry.statement.as_ref().unwrap().text.as_bytes()).unwrap();
        let head = Checkpoint { origin: self.signer.name().to_owned(), size, root: self.edge.root() };
        ReceiptGiven {
            statement: said.head.id.0,
            entry: bytes.clone(),
            index,
            inclusion: inclusion_path(index, size, &self.edge).unwrap(),
            checkpoint: head.sign(&self.signer).unwrap().into_bytes(),
            consistency: if from == 0 { Vec::new() } else { consistency_path(from, size, &self.edge).unwrap() },
            consistency_from: from,
        }
    }
}

/// Alice's intent to open a shell, as session `n`.
pub(crate) fn intent(n: u8) -> Intent {
    Intent {
        session: Id([n; 16]),
        access: Id([1; 16]),
        person: "alice".parse().unwrap(),
        key: "SHA256:key".to_owned(),
        account: "root".to_owned(),
        kind: SessionKind::Shell,
        command: None,
        target: None,
        tty: true,
        ticket: None,
        grant_line: Some(1),
        policies: Vec::new(),
    }
}

/// Alice's order `n` to run something, as it is noted.
pub(crate) fn run_intent(n: u8) -> RunIntent {
    RunIntent {
        order: Id([n; 16]),
        order_digest: Digest::of(b"order"),
        runbook: "try".parse().unwrap(),
        version: Digest::of(b"runbook"),
        author: Some("alice".parse().unwrap()),
        person: "alice".parse().unwrap(),
        key: "SHA256:key".to_owned(),
        account: "root".parse().unwrap(),
        ticket: None,
        grant_line: Some(1),
        review: false,
        policies: Vec::new(),
    }
}

/// The end of session `n`, by itself.
pub(crate) fn ended(n: u8) -> Body {
    let (signal, reason, recording) = (None, None, None);
    Body::SessionEnded {
        session: Id([n; 16]),
        exit: Some(0),
        signal,
        reason,
        bytes_in: 1,
        bytes_out: 2,
        recording,
        files: None,
    }
}
