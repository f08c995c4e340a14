//! A gateway with two tenants and some people, on a real store in a directory of its own.

use super::super::run;
use crate::{
    Gateway, act::access::Caller, act::policies, admin::directory::Directory, config::Config, scene::sent, serve,
};
use belay_certs::{
    Digest, Id, Namespace, PrivateKey, Signed, TenantName, Timestamp,
    device::{Batch, DeviceRecord, approvals},
    entry::Entry,
    envelope,
    join::{self, JoinRequest},
    policy::{Chain, Step},
    sshsig,
    time::{DAY, SECOND},
    token::Token,
    transport::ClientKey,
};
use belay_protocol::JoinAsked;
use belay_rules::{Ask, LogName};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};
use tempfile::TempDir;

/// Who there is: `tech` may everything in acme and globex, `audit` reads acme's log, `guest` may reach web2 of acme,
/// `idle` stands in acme's policy without any grant, `other` may everything in globex only.
pub(in crate::ssh::commands) struct World {
    _directory: TempDir,
    pub(in crate::ssh::commands) gateway: Arc<Gateway>,
    pub(super) tech: PrivateKey,
    pub(super) audit: PrivateKey,
    pub(super) guest: PrivateKey,
    pub(super) idle: PrivateKey,
    pub(super) other: PrivateKey,
    /// Signs acme's policy, and its device certificates.
    pub(super) root: PrivateKey,
    /// The adopted versions 0.
    texts: HashMap<String, String>,
}

/// What a command left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u32,
    /// Standard output; as text where it is some.
    pub(super) bytes: Vec<u8>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        assert_eq!((self.status, self.err.as_str()), (0, ""));
        serde_json::from_str(&self.out).unwrap()
    }
}

pub(super) fn key() -> PrivateKey {
    PrivateKey::generate_ed25519("").unwrap()
}

pub(in crate::ssh::commands) fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now()).whole_second()
}

impl World {
    pub(in crate::ssh::commands) async fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::new(temporary.path());
        let config = Config::local();
        directory.make(&config, now()).unwrap();
        let (operator, _) = serve::open(&directory, config).await.unwrap();
        let gateway = Arc::clone(&operator.gateway);
        let [tech, audit, guest, idle, other, root] = [(); 6].map(|()| key());
        let texts = HashMap::new();
        let mut world = Self { _directory: temporary, gateway, tech, audit, guest, idle, other, root, texts };
        for name in ["acme", "globex"] {
            world.gateway.record(Ask::AddTenant { tenant: tenant(name) }).await.unwrap();
            let text = world.policy(name, 0, "");
            world.texts.insert(name.to_owned(), text.clone());
            let signed = world.sign(Namespace::Policy, text, &world.root);
            policies::adopt_first(&world.gateway, &tenant(name), signed).await.unwrap();
        }
        world
    }

    /// The text of a version of acme's or globex's policy; `extra` stands at its end.
    pub(super) fn policy(&self, name: &str, version: u64, extra: &str) -> String {
        let log = self.gateway.store.log_identity(&LogName::Tenant(tenant(name))).unwrap();
        let previous = match version {
            0 => String::new(),
            _ => format!("previous = \"{}\"\n", self.chain(name).digest()),
        };
        let person =
            |name: &str, key: &PrivateKey| format!("[[people]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", key.public());
        let grant =
            |who: &str, on: &str, what: &str| format!("[[grants]]\nwho = [\"{who}\"]\non = [\"{on}\"]\n{what}\n");
        let all = "do = [\"shell\", \"enrol\", \"audit\"]\nas = [\"root\"]";
        let people = match name {
            "acme" => [
                person("tech", &self.tech),
                person("audit", &self.audit),
                person("guest", &self.guest),
                person("idle", &self.idle),
                grant("tech", "*", all),
                grant("audit", "*", "do = [\"audit\"]"),
                grant("guest", "web2", "do = [\"shell\"]\nas = [\"root\"]"),
            ]
            .concat(),
            _ => [
                person("techie", &self.tech),
                person("other", &self.other),
                grant("techie", "*", all),
                grant("other", "*", all),
            ]
            .concat(),
        };
        let (issued, root) = (now().plus(-60 * SECOND), self.root.public());
        format!(
            "format = 1\ntenant = \"{name}\"\nversion = {version}\n{previous}issued = {issued}\nexpires = {expires}\n\
             min_agent = \"0.1.0\"\n[root]\nthreshold = 1\nkeys = [\"{root}\"]\n[gateway]\nssh = \"gw.example:2222\"\n\
             ssh_host_keys = [\"{root}\"]\naddresses = [\"gw.example:4433\"]\ntransport_ca = [\"{ca}\"]\n\
             logs = [{{ origin = \"{origin}\", vkey = \"{vkey}\" }}]\n[devices]\nca = [\"{root}\"]\n{people}{extra}",
            expires = issued.plus(60 * DAY),
            ca = self.gateway.transport.ca().digest(),
            origin = log.origin,
            vkey = log.vkey,
        )
    }

    pub(super) fn sign(&self, namespace: Namespace, text: String, key: &PrivateKey) -> Signed {
        let signature = sshsig::sign(namespace, text.as_bytes(), key).unwrap();
        Signed { bytes: text.into_bytes(), signatures: vec![signature] }
    }

    pub(super) fn chain(&self, name: &str) -> Chain {
        self.gateway.book.chain(&tenant(name)).unwrap()
    }

    pub(super) async fn run(&self, key: &PrivateKey, line: &str) -> Answer {
        self.run_with(key, line, b"").await
    }

    pub(super) async fn run_with(&self, key: &PrivateKey, line: &str, input: &[u8]) -> Answer {
        let caller = Caller { key: key.public().clone(), address: "192.0.2.1:5".to_owned() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(Arc::clone(&self.gateway), caller, line.as_bytes().to_vec(), input, &mut out, &mut err).await;
        Answer {
            status,
            out: String::from_utf8_lossy(&out).into_owned(),
            bytes: out,
            err: String::from_utf8(err).unwrap(),
        }
    }

    /// The entries of a tenant's log from `from` on.
    pub(super) async fn entries(&self, name: &str, from: u64) -> Vec<Entry> {
        let log = LogName::Tenant(tenant(name));
        let entries = self.gateway.store.entries(&log, from, u64::MAX).await.unwrap();
        entries.iter().map(|bytes| Entry::parse(bytes).unwrap()).collect()
    }

    pub(super) fn size(&self, name: &str) -> u64 {
        self.gateway.store.checkpoint(&LogName::Tenant(tenant(name))).unwrap().0
    }

    /// A token for acme that `tech` signed, and the key it is used with.
    pub(super) fn token(&self, labels: &[&str]) -> (Signed, PrivateKey) {
        let (chain, join_key) = (self.chain("acme"), key());
        let token = Token {
            tenant: tenant("acme"),
            id: Id::random().unwrap(),
            join_key: join_key.public().clone(),
            policy0: chain.policy0(),
            policy_version: chain.version(),
            policy: chain.digest(),
            uses: 10,
            issued: now(),
            expires: now().plus(DAY),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            name_pattern: "*".parse().unwrap(),
            addresses: vec!["gw.example:4433".to_owned()],
            transport_ca: self.gateway.transport.fingerprints(),
        };
        (self.sign(Namespace::Token, token.to_text(), &self.tech), join_key)
    }

    /// Machines of these names ask to join acme; their host keys.
    pub(super) async fn join(&self, names: &[&str], labels: &[&str]) -> Vec<PrivateKey> {
        let (token, join_key) = self.token(labels);
        let issued = self.run_with(&self.tech, "token acme", &envelope::join(&token)).await;
        assert_eq!((issued.status, issued.err.as_str()), (0, ""));
        let mut host_keys = Vec::new();
        for name in names {
            let (host_key, transport) = (key(), ClientKey::generate().unwrap());
            let request = JoinRequest {
                tenant: tenant("acme"),
                token: Digest::of(&token.bytes),
                host_key: host_key.public().clone(),
                transport_key: transport.spki_digest(),
                name: name.parse().unwrap(),
                machine_id: Digest::of(name.as_bytes()),
                nonce: Id::random().unwrap(),
                issued: now(),
            };
            let signed = join::sign(&request, &join_key, &host_key).unwrap();
            let asked = JoinAsked {
                token: token.bytes.clone(),
                token_signature: token.signatures[0].clone(),
                request: signed.bytes,
                by_join_key: signed.by_join_key,
                by_host_key: signed.by_host_key,
                csr: transport.csr_der().unwrap(),
            };
            let joined = crate::act::enrol::join(&self.gateway, asked, "192.0.2.7:9".to_owned()).await;
            assert!(joined.is_ok(), "{name}");
            host_keys.push(host_key);
        }
        host_keys
    }

    /// What `belay approve` sends for the machines in this answer of `pending --json`.
    pub(super) fn approval(&self, pending: &Value) -> Vec<u8> {
        let records: Vec<DeviceRecord> = pending
            .as_array()
            .unwrap()
            .iter()
            .map(|row| DeviceRecord {
                address: row["name"].as_str().unwrap().parse().unwrap(),
                host_key: row["host_key"].as_str().unwrap().parse().unwrap(),
                labels: serde_json::from_value(row["labels"].clone()).unwrap(),
                serial: row["serial_next"].as_u64().unwrap(),
                replaces: None,
                issued: now(),
            })
            .collect();
        let chain = self.chain("acme");
        let batch = Batch::over(&records, chain.version(), chain.digest(), now()).unwrap().to_text();
        let signed = self.sign(Namespace::Device, batch.clone(), &self.tech);
        let certificates: Vec<String> = records.iter().map(|record| self.certify(record)).collect();
        sent(&approvals(&records, signed, &certificates).unwrap())
    }

    /// The host certificate that `ssh-keygen -s` makes.
    fn certify(&self, record: &DeviceRecord) -> String {
        use std::{fs, os::unix::fs::PermissionsExt, process::Command};
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        fs::write(&ca, self.root.to_openssh().unwrap()).unwrap();
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

    /// Devices of these names, joined and approved.
    pub(super) async fn devices(&self, names: &[&str], labels: &[&str]) -> Vec<PrivateKey> {
        let host_keys = self.join(names, labels).await;
        let pending = self.run(&self.tech, "pending --tenant acme --json").await.json();
        let approved = self.run_with(&self.tech, "approve acme --json", &self.approval(&pending)).await.json();
        assert_eq!(approved.as_array().unwrap().len(), names.len());
        host_keys
    }
}

impl World {
    /// The exact text of a tenant's version 0, as it was adopted.
    pub(super) fn policy_text(&self, name: &str) -> String {
        self.texts[name].clone()
    }

    /// Puts a next version in force without the store, whatever else would object to it.
    pub(super) fn adopt_anyway(&self, name: &str, text: String) {
        let signed = self.sign(Namespace::Policy, text, &self.root);
        let Step::Next(chain) = self.chain(name).extend(&signed).unwrap() else { panic!("the same version") };
        self.gateway.book.adopt(chain);
    }
}
