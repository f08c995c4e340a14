//! Policies with real keys, and the world of two customers and one provider that the matrix is asked about.

use crate::policy::*;
use crate::tlog::NoteSigner;
use crate::{AccountName, Digest, Namespace, PrivateKey, PublicKey, Signed, Timestamp, sshsig};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

static KEYS: LazyLock<Mutex<BTreeMap<String, PrivateKey>>> = LazyLock::new(Mutex::default);
static LOG_KEY: LazyLock<String> = LazyLock::new(|| NoteSigner::generate("gw.example/log").unwrap().vkey());

/// The private key of this name, the same all through one test run.
pub fn private(name: &str) -> PrivateKey {
    let mut keys = KEYS.lock().unwrap();
    keys.entry(name.to_owned()).or_insert_with(|| PrivateKey::generate_ed25519(name).unwrap()).clone()
}

pub fn public(name: &str) -> PublicKey {
    private(name).public().clone()
}

pub fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn signed(text: &str, signers: &[&str]) -> Signed {
    let sign = |name: &&str| sshsig::sign(Namespace::Policy, text.as_bytes(), &private(name)).unwrap();
    Signed { bytes: text.as_bytes().to_vec(), signatures: signers.iter().map(sign).collect() }
}

/// A document to write, with what every policy must have already there.
#[derive(Clone)]
pub struct Draft {
    pub tenant: &'static str,
    pub version: u64,
    pub previous: Option<Digest>,
    pub issued: &'static str,
    pub expires: &'static str,
    pub threshold: usize,
    pub roots: Vec<&'static str>,
    /// The sections behind `[gateway]`; `{KEY name}` stands for a public key.
    pub body: String,
}

impl Draft {
    pub fn new(tenant: &'static str, body: &str) -> Self {
        Self {
            tenant,
            version: 0,
            previous: None,
            issued: "2026-11-21T09:00:00Z",
            expires: "2027-02-19T09:00:00Z",
            threshold: 1,
            roots: vec!["root"],
            body: body.to_owned(),
        }
    }

    /// The version behind `chain`.
    pub fn after(mut self, chain: &Chain) -> Self {
        (self.version, self.previous) = (chain.version() + 1, Some(chain.digest()));
        self
    }

    pub fn text(&self) -> String {
        let Self { tenant, version, previous, issued, expires, threshold, roots, body } = self;
        let previous = previous.map(|digest| format!("previous = \"{digest}\"\n")).unwrap_or_default();
        let roots: Vec<String> = roots.iter().map(|name| format!("\"{}\"", public(name))).collect();
        let (roots, host, log) = (roots.join(", "), public("host"), &*LOG_KEY);
        let ca = Digest::of(b"ca");
        let head = format!(
            "format = 1\ntenant = \"{tenant}\"\nversion = {version}\n{previous}issued = {issued}\nexpires = {expires}\nmin_agent = \"0.1.0\"\n\n\
             [root]\nthreshold = {threshold}\nkeys = [{roots}]\n\n\
             [gateway]\nssh = \"gw.example:2222\"\nssh_host_keys = [\"{host}\"]\naddresses = [\"gw.example:4433\"]\n\
             transport_ca = [\"{ca}\"]\nlogs = [{{ origin = \"gw.example/{tenant}\", vkey = \"{log}\" }}]\n\n"
        );
        head + &with_keys(body)
    }

    pub fn parse(&self) -> Result<Policy, crate::Invalid> {
        Policy::parse(self.text().as_bytes())
    }

    /// A chain of version 0, signed by all roots.
    pub fn begin(&self) -> Chain {
        Chain::begin(&signed(&self.text(), &self.roots)).unwrap()
    }
}

fn with_keys(body: &str) -> String {
    let mut parts = body.split("{KEY ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap();
        text += &format!("\"{}\"{rest}", public(name));
    }
    text
}

/// A provider `msp`, its customers `acme` and `beta`.
pub struct World {
    pub msp: Chain,
    /// A chain of msp's name with another version 0, in which the same people are.
    pub forged_msp: Chain,
    pub acme: Chain,
    pub beta: Chain,
}

impl World {
    pub fn new() -> Self {
        let people = include_str!("msp.toml");
        let mut msp = Draft::new("msp", people);
        (msp.issued, msp.expires) = ("2026-11-20T09:00:00Z", "2027-01-15T09:00:00Z");
        let mut forged = msp.clone();
        (forged.roots, forged.expires) = (vec!["thief"], "2027-02-15T09:00:00Z");
        let (msp, forged_msp) = (msp.begin(), forged.begin());
        let customer =
            |tenant, body: &str| Draft::new(tenant, &body.replace("{MSP}", &msp.policy0().to_string())).begin();
        let acme = customer("acme", include_str!("acme.toml"));
        let beta = customer("beta", include_str!("beta.toml"));
        Self { msp, forged_msp, acme, beta }
    }

    pub fn of_acme(&self) -> Policies<'_> {
        Policies { tenant: &self.acme, imports: vec![&self.msp] }
    }
}

/// A Monday morning at which everything counts.
pub fn monday() -> Timestamp {
    moment("2026-11-23T10:00:00Z")
}

pub fn device(address: &str, labels: &[&str], serial: u64) -> DeviceFacts {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    DeviceFacts { address: address.parse().unwrap(), labels, serial }
}

pub fn web1() -> DeviceFacts {
    device("web1.acme", &["server"], 7)
}

pub fn account(name: &str) -> Option<AccountName> {
    Some(name.parse().unwrap())
}

/// A shell as root on web1.acme for ticket INC-42.
pub fn question(key: &str, action: Action) -> Question {
    Question { key: public(key), device: web1(), account: account("root"), action, ticket: Some("INC-42".to_owned()) }
}
