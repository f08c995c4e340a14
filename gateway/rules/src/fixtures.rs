//! A tenant made of real keys and signatures, for tests here and in the gateway's store.

use belay_certs::device::{Approval, Batch, DeviceRecord, approvals};
use belay_certs::join::{self, JoinRequest, SignedJoin};
use belay_certs::order::{Order, Waves};
use belay_certs::policy::Chain;
use belay_certs::runbook::Arguments;
use belay_certs::statement::{
    self, Body, CheckpointSeen, Head, Intent, RunIntent, SessionKind, SignedStatement, Statement,
};
use belay_certs::time::{DAY, SECOND};
use belay_certs::tlog::NoteSigner;
use belay_certs::token::Token;
use belay_certs::{Digest, Id, Namespace, PersonRef, PrivateKey, Signed, TenantName, Timestamp, sshsig};

/// The moment of most tests.
pub fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

pub fn tenant() -> TenantName {
    "acme".parse().unwrap()
}

pub fn ann() -> PersonRef {
    "ann".parse().unwrap()
}

pub fn key(comment: &str) -> PrivateKey {
    PrivateKey::generate_ed25519(comment).unwrap()
}

fn sign(namespace: Namespace, text: String, key: &PrivateKey) -> Signed {
    let signature = sshsig::sign(namespace, text.as_bytes(), key).unwrap();
    Signed { bytes: text.into_bytes(), signatures: vec![signature] }
}

/// Tenant acme: its root key, its one person `ann`, and the key of its tokens.
pub struct Acme {
    pub root: PrivateKey,
    pub ann: PrivateKey,
    pub join_key: PrivateKey,
}

impl Acme {
    pub fn new() -> Self {
        Self { root: key("root"), ann: key("ann"), join_key: key("join") }
    }

    /// The next version after `previous`, which revokes these serials.
    pub fn policy(&self, version: u64, previous: Option<&Signed>, revoked: &[u64]) -> Signed {
        let previous =
            previous.map(|signed| format!("previous = \"{}\"\n", Digest::of(&signed.bytes))).unwrap_or_default();
        let text = format!(
            "format = 1\ntenant = \"acme\"\nversion = {version}\n{previous}issued = 2026-11-21T09:00:00Z\n\
             expires = 2027-02-19T09:00:00Z\nmin_agent = \"0.1.0\"\n\
             [root]\nthreshold = 1\nkeys = [\"{root}\"]\n\
             [gateway]\nssh = \"gw.example:2222\"\nssh_host_keys = [\"{root}\"]\naddresses = [\"gw.example:4433\"]\n\
             transport_ca = [\"{ca}\"]\nlogs = [{{ origin = \"gw.example/acme\", vkey = \"{vkey}\" }}]\n\
             [devices]\nca = [\"{root}\"]\nrevoked = {revoked:?}\n\
             [[people]]\nname = \"ann\"\nkeys = [\"{ann}\"]\n\
             [[grants]]\nwho = [\"ann\"]\non = [\"*\"]\ndo = [\"shell\", \"enrol\"]\nas = [\"root\"]\n",
            root = self.root.public(),
            ann = self.ann.public(),
            ca = Digest::of(b"transport ca"),
            vkey = NoteSigner::generate("gw.example/acme").unwrap().vkey(),
        );
        sign(Namespace::Policy, text, &self.root)
    }

    /// Version 0 and the chain that it begins.
    pub fn begin(&self) -> (Signed, Chain) {
        let signed = self.policy(0, None, &[]);
        let chain = Chain::begin(&signed).unwrap();
        (signed, chain)
    }

    /// A token for `uses` devices under the policy in `chain`.
    pub fn token(&self, chain: &Chain, id: Id, uses: u64) -> (Signed, Token) {
        let token = Token {
            tenant: tenant(),
            id,
            join_key: self.join_key.public().clone(),
            policy0: chain.policy0(),
            policy_version: chain.version(),
            policy: chain.digest(),
            uses,
            issued: now(),
            expires: now().plus(DAY),
            labels: vec!["server".to_owned()],
            name_pattern: "*".parse().unwrap(),
            addresses: vec!["gw.example:4433".to_owned()],
            transport_ca: vec![Digest::of(b"transport ca")],
        };
        (sign(Namespace::Token, token.to_text(), &self.ann), token)
    }

    /// What a machine asks that has the token and this host key.
    pub fn request(&self, token: &Signed, name: &str, host_key: &PrivateKey) -> (JoinRequest, SignedJoin) {
        let request = JoinRequest {
            tenant: tenant(),
            token: Digest::of(&token.bytes),
            host_key: host_key.public().clone(),
            transport_key: Digest::of(b"transport key"),
            name: name.parse().unwrap(),
            machine_id: Digest::of(host_key.public().line().as_bytes()),
            nonce: Id::random().unwrap(),
            issued: now(),
        };
        let signed = join::sign(&request, &self.join_key, host_key).unwrap();
        (request, signed)
    }

    /// Approvals of these devices by `ann`, as one batch.
    pub fn approve(&self, records: Vec<DeviceRecord>) -> Vec<(DeviceRecord, Approval)> {
        let batch = Batch::over(&records, 0, Digest::of(b"policy"), now()).unwrap();
        let certificates = vec!["ssh-ed25519-cert-v01@openssh.com AAAA".to_owned(); records.len()];
        let made = approvals(&records, sign(Namespace::Device, batch.to_text(), &self.ann), &certificates).unwrap();
        records.into_iter().zip(made).collect()
    }
}

/// The record of device `name`.
pub fn record(name: &str, host_key: &PrivateKey, serial: u64) -> DeviceRecord {
    DeviceRecord {
        address: format!("{name}.acme").parse().unwrap(),
        host_key: host_key.public().clone(),
        labels: vec!["server".to_owned()],
        serial,
        replaces: None,
        issued: now(),
    }
}

/// The intent to open a shell for `ann` through `access`.
pub fn intent(session: Id, access: Id) -> Intent {
    Intent {
        session,
        access,
        person: ann(),
        key: "SHA256:ann".to_owned(),
        account: "root".to_owned(),
        kind: SessionKind::Shell,
        command: None,
        target: None,
        tty: true,
        ticket: None,
        grant_line: Some(30),
        policies: Vec::new(),
    }
}

/// The end of a session.
pub fn ended(session: Id) -> Body {
    Body::SessionEnded {
        session,
        exit: Some(0),
        signal: None,
        reason: None,
        bytes_in: 3,
        bytes_out: 4,
        recording: None,
        files: None,
    }
}

/// A device that speaks: each statement continues the one before.
pub struct Speaker {
    pub name: &'static str,
    pub host_key: PrivateKey,
    pub serial: u64,
    pub seq: u64,
    pub previous: Option<Digest>,
    pub checkpoint: Option<CheckpointSeen>,
}

impl Speaker {
    pub fn new(name: &'static str, serial: u64) -> Self {
        Self { name, host_key: key(name), serial, seq: 0, previous: None, checkpoint: None }
    }

    /// Says something, as the next of its statements.
    pub fn say(&mut self, body: Body) -> (SignedStatement, Statement) {
        self.seq += 1;
        let said = self.phrase(body);
        self.previous = Some(Digest::of(said.0.text.as_bytes()));
        said
    }

    /// The statement that its present state makes, without moving on.
    pub fn phrase(&self, body: Body) -> (SignedStatement, Statement) {
        let head = Head {
            id: Id::random().unwrap(),
            device: format!("{}.acme", self.name).parse().unwrap(),
            serial: self.serial,
            seq: self.seq,
            previous: self.previous,
            checkpoint: self.checkpoint.clone(),
            issued: now(),
        };
        let statement = Statement { head, body };
        (statement::sign(&statement, &self.host_key).unwrap(), statement)
    }
}

/// An order of acme's for a quarter of an hour from now, on the one device of `list`.
pub fn order(id: Id, list: &str) -> Order {
    Order {
        tenant: tenant(),
        id,
        runbook: "restart".parse().unwrap(),
        version: Digest::of(b"script"),
        account: "root".parse().unwrap(),
        ticket: None,
        issued: now(),
        not_before: now(),
        not_after: now().plus(900 * SECOND),
        policy_version: 0,
        policy: Digest::of(b"policy"),
        devices: 1,
        devices_root: Digest::of(list.as_bytes()),
        waves: Waves::default(),
        stop_above: None,
        timeout: None,
        secrets: Vec::new(),
        output_to: Vec::new(),
        arguments: Arguments::default(),
    }
}

/// A device's intent to run that order.
pub fn run_intent(id: Id, list: &str) -> RunIntent {
    let order = order(id, list);
    RunIntent {
        order: id,
        order_digest: Digest::of(order.to_text().as_bytes()),
        runbook: order.runbook,
        version: order.version,
        author: Some("carol".parse().unwrap()),
        person: ann(),
        key: "SHA256:ann".to_owned(),
        account: order.account,
        ticket: None,
        grant_line: Some(3),
        review: false,
        policies: Vec::new(),
    }
}
