//! A gateway with tenant acme on a real store, for tests of acts and of the door for machines.

use crate::{Gateway, act::policies, admin::directory::Directory, config::Config, serve};
use belay_certs::{
    Digest, Id, Namespace, PrivateKey, Signed, TenantName, Timestamp,
    device::{self, Approval, Batch, DeviceRecord},
    entry::Entry,
    join::{self, JoinRequest},
    policy::Chain,
    sshsig,
    time::{DAY, SECOND},
    tlog::NoteSigner,
    token::Token,
    transport::ClientKey,
};
use belay_protocol::{JoinAccepted, JoinAsked};
use belay_rules::{Ask, LogName};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now()).whole_second()
}

pub(crate) fn acme() -> TenantName {
    "acme".parse().unwrap()
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate_ed25519("").unwrap()
}

pub(crate) fn sign(namespace: Namespace, text: String, key: &PrivateKey) -> Signed {
    let signature = sshsig::sign(namespace, text.as_bytes(), key).unwrap();
    Signed { bytes: text.into_bytes(), signatures: vec![signature] }
}

/// Approvals of one batch as `belay approve` sends them.
pub(crate) fn sent(approvals: &[Approval]) -> Vec<u8> {
    let batch = &approvals[0].batch;
    let rows: Vec<Value> = approvals
        .iter()
        .map(|one| {
            let path: Vec<Digest> = one.path.iter().copied().map(Digest).collect();
            let record = String::from_utf8(one.record.clone()).unwrap();
            json!({"record": record, "index": one.index, "path": path, "certificate": one.certificate})
        })
        .collect();
    let text = String::from_utf8(batch.bytes.clone()).unwrap();
    json!({"batch": text, "signature": batch.signatures[0], "approvals": rows}).to_string().into_bytes()
}

/// The keys of tenant acme: its root, `tech` who may everything, and the tokens' join key.
pub(crate) struct Keys {
    pub(crate) root: PrivateKey,
    pub(crate) tech: PrivateKey,
    pub(crate) join: PrivateKey,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { root: key(), tech: key(), join: key() }
    }

    /// The version after `previous`, which revokes these serials.
    pub(crate) fn policy(&self, previous: Option<(u64, &Signed)>, revoked: &[u64]) -> Signed {
        let (version, previous) = match previous {
            Some((version, signed)) => (version + 1, format!("previous = \"{}\"\n", Digest::of(&signed.bytes))),
            None => (0, String::new()),
        };
        let (issued, expires) = (now().plus(-60 * SECOND), now().plus(30 * DAY));
        let text = format!(
            "format = 1\ntenant = \"acme\"\nversion = {version}\n{previous}issued = {issued}\nexpires = {expires}\n\
             min_agent = \"0.1.0\"\n[root]\nthreshold = 1\nkeys = [\"{root}\"]\n[gateway]\nssh = \"gw.example:2222\"\n\
             ssh_host_keys = [\"{root}\"]\naddresses = [\"gw.example:4433\"]\ntransport_ca = [\"{ca}\"]\n\
             logs = [{{ origin = \"gw.example/acme\", vkey = \"{vkey}\" }}]\n[devices]\nca = [\"{root}\"]\n\
             revoked = {revoked:?}\n[[people]]\nname = \"tech\"\nkeys = [\"{tech}\"]\n\
             [[grants]]\nwho = [\"tech\"]\non = [\"*\"]\ndo = [\"shell\", \"enrol\"]\nas = [\"root\"]\n",
            root = self.root.public(),
            tech = self.tech.public(),
            ca = Digest::of(b"transport ca"),
            vkey = NoteSigner::generate("gw.example/acme").unwrap().vkey(),
        );
        sign(Namespace::Policy, text, &self.root)
    }

    /// Versions 0 to `last`.
    pub(crate) fn policies(&self, last: u64) -> Vec<Signed> {
        let mut made = vec![self.policy(None, &[])];
        for version in 0..last {
            made.push(self.policy(made.last().map(|signed| (version, signed)), &[]));
        }
        made
    }
}

/// A gateway whose doors are closed.
pub(crate) struct Scene {
    _directory: TempDir,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) keys: Keys,
    /// The policy's version 0.
    pub(crate) first: Signed,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::new(temporary.path());
        directory.make(&Config::local(), now()).unwrap();
        let (operator, _) = serve::open(&directory, Config::local()).await.unwrap();
        let gateway = Arc::clone(&operator.gateway);
        let keys = Keys::new();
        let first = keys.policy(None, &[]);
        gateway.record(Ask::AddTenant { tenant: acme() }).await.unwrap();
        policies::adopt_first(&gateway, &acme(), first.clone()).await.unwrap();
        Self { _directory: temporary, gateway, keys, first }
    }

    pub(crate) fn chain(&self) -> Chain {
        self.gateway.book.chain(&acme()).unwrap()
    }

    /// Brings the next policy.
    pub(crate) async fn push(&self, signed: Signed) {
        policies::push(&self.gateway, &acme(), signed, "tech".parse().unwrap()).await.unwrap();
    }

    /// A token for ten devices that `tech` signed, after this change.
    pub(crate) fn token(&self, change: impl FnOnce(&mut Token)) -> Signed {
        let chain = self.chain();
        let mut token = Token {
            tenant: acme(),
            id: Id::random().unwrap(),
            join_key: self.keys.join.public().clone(),
            policy0: chain.policy0(),
            policy_version: chain.version(),
            policy: chain.digest(),
            uses: 10,
            issued: now(),
            expires: now().plus(DAY),
            labels: Vec::new(),
            name_pattern: "web*".parse().unwrap(),
            addresses: vec!["gw.example:4433".to_owned()],
            transport_ca: self.gateway.transport.fingerprints(),
        };
        change(&mut token);
        sign(Namespace::Token, token.to_text(), &self.keys.tech)
    }

    /// What a machine asks with a token; its machine id is its name's.
    pub(crate) fn asked(&self, token: &Signed, name: &str, host_key: &PrivateKey, transport: &ClientKey) -> JoinAsked {
        let request = JoinRequest {
            tenant: Token::parse(&token.bytes).unwrap().tenant,
            token: Digest::of(&token.bytes),
            host_key: host_key.public().clone(),
            transport_key: transport.spki_digest(),
            name: name.parse().unwrap(),
            machine_id: Digest::of(name.as_bytes()),
            nonce: Id::random().unwrap(),
            issued: now(),
        };
        let signed = join::sign(&request, &self.keys.join, host_key).unwrap();
        JoinAsked {
            token: token.bytes.clone(),
            token_signature: token.signatures[0].clone(),
            request: signed.bytes,
            by_join_key: signed.by_join_key,
            by_host_key: signed.by_host_key,
            csr: transport.csr_der().unwrap(),
        }
    }

    /// A machine that joined and waits for approval.
    pub(crate) async fn machine(&self, name: &str) -> Machine {
        let (host_key, transport) = (key(), ClientKey::generate().unwrap());
        let token = self.token(|_| {});
        crate::act::enrol::issue_token(&self.gateway, &acme(), token.clone()).await.unwrap();
        let asked = self.asked(&token, name, &host_key, &transport);
        let joined = crate::act::enrol::join(&self.gateway, asked, "192.0.2.7:9".to_owned()).await;
        let JoinAccepted { join, chain, .. } = joined.unwrap_or_else(|refusal| panic!("{}", refusal.sentence()));
        Machine { join: Id(join), chain, transport, host_key, name: name.to_owned() }
    }

    /// An approval of the machine as it goes to the store.
    pub(crate) fn approval(&self, machine: &Machine, serial: u64) -> Vec<(DeviceRecord, Approval)> {
        let record = DeviceRecord {
            address: format!("{}.acme", machine.name).parse().unwrap(),
            host_key: machine.host_key.public().clone(),
            labels: Vec::new(),
            serial,
            replaces: None,
            issued: now(),
        };
        let (records, chain) = ([record], self.chain());
        let batch = Batch::over(&records, chain.version(), chain.digest(), now()).unwrap();
        let batch = sign(Namespace::Device, batch.to_text(), &self.keys.tech);
        let certificates = ["ssh-ed25519-cert-v01@openssh.com AAAA".to_owned()];
        let made = device::approvals(&records, batch, &certificates).unwrap();
        records.into_iter().zip(made).collect()
    }

    /// The host certificate that `ssh-keygen -s` makes with the root key.
    pub(crate) fn certify(&self, record: &DeviceRecord) -> String {
        use std::{fs, os::unix::fs::PermissionsExt, process::Command};
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        fs::write(&ca, self.keys.root.to_openssh().unwrap()).unwrap();
        fs::set_permissions(&ca, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("key.pub"), record.host_key.line()).unwrap();
        let (name, serial) = (record.address.to_string(), record.serial.to_string());
        let made = Command::new("ssh-keygen")
            .current_dir(folder.path())
            .args(["-q", "-s", "ca", "-h", "-I", &name, "-n", &name, "-z", &serial, "key.pub"])
            .status();
        assert!(made.unwrap().success());
        fs::read_to_string(folder.path().join("key-cert.pub")).unwrap()
    }

    /// Approves the machine in the store, and tells nobody.
    pub(crate) async fn approve_unheard(&self, machine: &Machine, serial: u64) {
        let approvals = self.approval(machine, serial);
        self.gateway
            .record(Ask::Approve { tenant: acme(), approvals, by: "tech".parse().unwrap(), over: Vec::new() })
            .await
            .unwrap();
    }

    /// How many entries of this type a log has.
    pub(crate) async fn count(&self, log: LogName, kind: &str) -> usize {
        self.entries(log).await.iter().filter(|entry| entry.kind == kind).count()
    }

    pub(crate) async fn entries(&self, log: LogName) -> Vec<Entry> {
        let entries = self.gateway.store.entries(&log, 0, u64::MAX).await.unwrap();
        entries.iter().map(|bytes| Entry::parse(bytes).unwrap()).collect()
    }

    /// Waits for every task of the gateway.
    pub(crate) async fn settled(&self) {
        self.gateway.tracker.close();
        self.gateway.tracker.wait().await;
        self.gateway.tracker.reopen();
    }
}

/// A machine that joined.
pub(crate) struct Machine {
    pub(crate) join: Id,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) transport: ClientKey,
    pub(crate) host_key: PrivateKey,
    pub(crate) name: String,
}
