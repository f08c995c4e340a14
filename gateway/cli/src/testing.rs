//! Tenants for the tests of this crate: keys, an invite, and signed versions of a policy that follow each other.

pub mod log;
pub mod ordered;
pub mod packed;
pub mod recorded;
pub mod stage;

use crate::{
    chain,
    home::Home,
    invite::{Beginning, FirstGrant, Invite, version_0},
    policy_edit::{Edit, Head},
};
use belay_certs::{
    Digest, Namespace, PrivateKey, PublicKey, Signed, TenantName, Timestamp, device::DeviceRecord, policy::ActionKind,
    sshsig, time::DAY, tlog::NoteSigner,
};

/// When version 0 is made.
pub fn start() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

/// A tenant whose keys the test holds.
pub struct Customer {
    pub name: TenantName,
    pub root: PrivateKey,
    pub device_ca: PrivateKey,
    pub person: PrivateKey,
    pub gateway_key: PrivateKey,
    /// The private key of its log.
    pub log: NoteSigner,
    pub versions: Vec<Signed>,
}

impl Customer {
    /// A tenant with version 0: `alice` may do everything. `more` is TOML put at its end.
    pub fn new(name: &str, more: &str) -> Self {
        Self::rooted(name, more, PrivateKey::generate_ed25519("root").unwrap())
    }

    /// The same with a root key that is there already.
    pub fn rooted(name: &str, more: &str, root: PrivateKey) -> Self {
        Self::begun(name, more, root, start())
    }

    /// The same, of another moment.
    pub fn begun(name: &str, more: &str, root: PrivateKey, issued: Timestamp) -> Self {
        let key = |what: &str| PrivateKey::generate_ed25519(what).unwrap();
        let mut customer = Self {
            name: name.parse().unwrap(),
            root,
            device_ca: key("device-ca"),
            person: key("alice"),
            gateway_key: key("gateway"),
            log: NoteSigner::generate(&format!("gw.example/{name}")).unwrap(),
            versions: Vec::new(),
        };
        let beginning = Beginning {
            issued,
            expires: issued.plus(90 * DAY),
            threshold: 1,
            root_keys: vec![customer.root.public().clone()],
            device_ca: vec![customer.device_ca.public().clone()],
            recipients: vec![age::x25519::Identity::generate().to_public().to_string()],
            first: Some(("alice".parse().unwrap(), customer.person.public().clone())),
            imports: Vec::new(),
            grant: Some(FirstGrant {
                who: vec!["alice".parse().unwrap()],
                actions: ActionKind::ALL.to_vec(),
                accounts: vec!["root".parse().unwrap()],
            }),
        };
        let text = version_0(&customer.invite(), &beginning) + more;
        customer.versions.push(customer.sign(&text));
        customer
    }

    /// The invite of its gateway.
    pub fn invite(&self) -> Invite {
        toml::from_str(&self.invite_text()).unwrap()
    }

    /// The same as its file.
    pub fn invite_text(&self) -> String {
        format!(
            "format = 1\ntenant = \"{}\"\ngateway = \"gw.example\"\nssh = \"gw.example:2222\"\nssh_host_keys = [\"{}\"]\n\
             addresses = [\"gw.example:4433\"]\ntransport_ca = [\"{}\"]\norigin = \"gw.example/{}\"\nvkey = \"{}\"\n",
            self.name,
            self.gateway_key.public().line(),
            Digest::of(b"ca"),
            self.name,
            self.log.vkey()
        )
    }

    /// This text, signed by the root key.
    pub fn sign(&self, text: &str) -> Signed {
        let signature = sshsig::sign(Namespace::Policy, text.as_bytes(), &self.root).unwrap();
        Signed { bytes: text.as_bytes().to_vec(), signatures: vec![signature] }
    }

    /// The next version, changed by `change`, issued a day after the last; not yet one of `versions`.
    pub fn next(&self, change: impl FnOnce(&mut Edit)) -> Signed {
        let last = self.versions.last().unwrap();
        let mut edit = Edit::of(std::str::from_utf8(&last.bytes).unwrap()).unwrap();
        let version = self.versions.len() as u64;
        let issued = start().plus(i64::try_from(version).unwrap() * DAY);
        let head = Head { version, previous: Digest::of(&last.bytes), issued, expires: issued.plus(90 * DAY) };
        edit.renumber(&head).unwrap();
        change(&mut edit);
        self.sign(&edit.text())
    }

    /// The hash to pin.
    pub fn pin(&self) -> Digest {
        Digest::of(&self.versions[0].bytes)
    }

    /// Puts every version into a home's cache.
    pub fn cache(&self, home: &Home) {
        chain::keep(home, &self.name, self.versions.len() as u64 - 1, &self.versions).unwrap();
    }

    /// Everybody's key that may push, sign and approve here.
    pub fn person_key(&self) -> &PublicKey {
        self.person.public()
    }
}

/// An empty home.
pub fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(Some(dir.path().join("home")), None).unwrap();
    (dir, home)
}

/// A key of a device or a stranger.
pub fn key() -> PublicKey {
    PrivateKey::generate_ed25519("").unwrap().public().clone()
}

/// The record of a device.
pub fn record(address: &str, labels: &[&str], serial: u64, host_key: &PublicKey) -> DeviceRecord {
    DeviceRecord {
        address: address.parse().unwrap(),
        host_key: host_key.clone(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        serial,
        replaces: None,
        issued: start(),
    }
}
