//! A small tenant for the tests of tokens, join requests and approvals: alice may enrol `web*`, bob may not.

use crate::{
    Digest, Namespace, PrivateKey, Signed, TenantName, Timestamp,
    policy::{Chain, Policies},
    sshsig::sign,
    tlog::NoteSigner,
    token::Token,
};

/// The keys and the verified version 0 of `acme`.
pub(crate) struct Tenant {
    pub(crate) alice: PrivateKey,
    pub(crate) bob: PrivateKey,
    pub(crate) ca: PrivateKey,
    pub(crate) chain: Chain,
}

pub(crate) fn key(comment: &str) -> PrivateKey {
    PrivateKey::generate_ed25519(comment).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A moment at which the policy and the tokens of these tests count.
pub(crate) fn now() -> Timestamp {
    at("2026-12-01T12:00:00Z")
}

pub(crate) fn signed(namespace: Namespace, text: &str, key: &PrivateKey) -> Signed {
    Signed { bytes: text.as_bytes().to_vec(), signatures: vec![sign(namespace, text.as_bytes(), key).unwrap()] }
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        let (root, alice, bob, ca, host) = (key("root"), key("alice"), key("bob"), key("ca"), key("gw"));
        let text = format!(
            r#"format = 1
tenant = "{name}"
version = 0
issued = 2026-11-21T09:00:00Z
expires = 2027-02-19T09:00:00Z
min_agent = "0.1.0"

[root]
threshold = 1
keys = ["{root}"]

[gateway]
ssh = "gw.example:2222"
ssh_host_keys = ["{host}"]
addresses = ["gw.example:4433"]
transport_ca = ["{transport_ca}"]
logs = [{{ origin = "gw.example/{name}", vkey = "{vkey}" }}]

[devices]
ca = ["{ca}"]
revoked = [9]

[[people]]
name = "alice"
keys = ["{alice}"]

[[people]]
name = "bob"
keys = ["{bob}"]

[[grants]]
who = ["alice"]
on = ["web*"]
except = ["tag:vault"]
do = ["enrol"]

[[grants]]
who = ["bob"]
on = ["*"]
do = ["shell"]
as = ["root"]
"#,
            root = root.public(),
            host = host.public(),
            transport_ca = Digest::of(b"transport ca"),
            vkey = NoteSigner::generate(&format!("gw.example/{name}")).unwrap().vkey(),
            ca = ca.public(),
            alice = alice.public(),
            bob = bob.public(),
        );
        let chain = Chain::begin(&signed(Namespace::Policy, &text, &root)).unwrap();
        Self { alice, bob, ca, chain }
    }

    pub(crate) fn policies(&self) -> Policies<'_> {
        Policies { tenant: &self.chain, imports: Vec::new() }
    }

    pub(crate) fn name(&self) -> TenantName {
        self.chain.tenant().clone()
    }

    /// A token that counts at [`now`].
    pub(crate) fn token(&self, join_key: &PrivateKey) -> Token {
        Token {
            tenant: self.name(),
            id: crate::Id::random().unwrap(),
            join_key: join_key.public().clone(),
            policy0: self.chain.policy0(),
            policy_version: 0,
            policy: self.chain.digest(),
            uses: 3,
            issued: at("2026-12-01T09:00:00Z"),
            expires: at("2026-12-08T09:00:00Z"),
            labels: vec!["server".to_owned(), "site=berlin/1".to_owned()],
            name_pattern: "web*".parse().unwrap(),
            addresses: vec!["gw.example:4433".to_owned(), "[2001:db8::1]:4433".to_owned()],
            transport_ca: vec![Digest::of(b"transport ca")],
        }
    }
}
