//! The invite: what `belay-gateway tenant add` prints about a gateway, and version 0 of a policy made from it. No secrets.

use crate::{
    failure::{Outcome, While, refused},
    gateway::Route,
    home,
};
use belay_certs::{
    AccountName, Digest, PersonName, PersonRef, PrivateKey, PublicKey, TenantName, Timestamp,
    policy::{ActionKind, Policy},
    time::DAY,
};
use serde::Deserialize;
use std::{fmt::Write, path::Path};
use toml_edit::{Array, Value};

/// The format this program reads.
const FORMAT: u32 = 1;
/// The oldest agent that obeys this format of policy.
const MIN_AGENT: &str = "0.1.0";

/// One tenant's place at one gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    format: u32,
    /// The tenant it was made for.
    pub tenant: TenantName,
    /// The gateway's name.
    pub gateway: String,
    /// `HOST:PORT` of its ssh door.
    pub ssh: String,
    /// The host keys of that door.
    pub ssh_host_keys: Vec<PublicKey>,
    /// `HOST:PORT`s that devices dial.
    pub addresses: Vec<String>,
    /// Digests of the transport CA's certificates.
    pub transport_ca: Vec<Digest>,
    /// The name of the tenant's log.
    pub origin: String,
    /// The log's public key.
    pub vkey: String,
}

impl Invite {
    /// Reads an invite file.
    ///
    /// # Errors
    /// It is not one.
    pub fn read(path: &Path) -> Outcome<Self> {
        let invite: Self =
            toml::from_str(&home::read_text(path)?).during(|| format!("{} is no invite", path.display()))?;
        if invite.format != FORMAT {
            return Err(refused(format!(
                "{} has format {}, this program reads {FORMAT}: use a newer `belay`",
                path.display(),
                invite.format
            )));
        }
        invite.check().map_err(|failure| failure.of(path.display()))?;
        Ok(invite)
    }

    /// What a policy made from it would be refused for is refused now, before any key is made for it.
    fn check(&self) -> Outcome<Policy> {
        self.route()?;
        let key = PrivateKey::generate_ed25519("")?;
        let issued = Timestamp::from_seconds(0);
        let beginning = Beginning {
            issued,
            expires: issued.plus(DAY),
            threshold: 1,
            root_keys: vec![key.public().clone()],
            device_ca: vec![key.public().clone()],
            recipients: vec![age::x25519::Identity::generate().to_public().to_string()],
            first: None,
            imports: Vec::new(),
            grant: None,
        };
        Ok(Policy::parse(version_0(self, &beginning).as_bytes())?)
    }

    /// The gateway's ssh door.
    ///
    /// # Errors
    /// The address is not one.
    pub fn route(&self) -> Outcome<Route> {
        Route::new(&self.ssh, &self.ssh_host_keys)
    }
}

/// What version 0 says beyond the invite.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// When it is made.
    pub issued: Timestamp,
    /// When devices stop acting on it.
    pub expires: Timestamp,
    /// How many root keys must sign each version.
    pub threshold: usize,
    /// The keys that make later versions valid.
    pub root_keys: Vec<PublicKey>,
    /// The keys that certify devices.
    pub device_ca: Vec<PublicKey>,
    /// The auditors' age recipients.
    pub recipients: Vec<String>,
    /// The first person.
    pub first: Option<(PersonName, PublicKey)>,
    /// The providers whose people may be named, each with the digest of its version 0.
    pub imports: Vec<(TenantName, Digest)>,
    /// The first grant, on every device.
    pub grant: Option<FirstGrant>,
}

/// The grant that version 0 begins with.
#[derive(Debug, Clone)]
pub struct FirstGrant {
    /// To whom.
    pub who: Vec<PersonRef>,
    /// What.
    pub actions: Vec<ActionKind>,
    /// As which accounts.
    pub accounts: Vec<AccountName>,
}

impl FirstGrant {
    /// As the policy has it. A forward that may go nowhere would be none, so it may go anywhere.
    fn to_text(&self) -> String {
        let mut out = format!(
            "[[grants]]\nwho = {}\non = [\"*\"]\ndo = {}\n",
            list(self.who.iter().map(PersonRef::to_string)),
            list(self.actions.iter().map(ActionKind::to_string))
        );
        if self.actions.iter().any(|action| action.has_account()) {
            let _ = writeln!(out, "as = {}", list(self.accounts.iter().map(AccountName::to_string)));
        }
        if self.actions.contains(&ActionKind::Forward) {
            out.push_str("forward_to = [\"0.0.0.0/0:1-65535\", \"[::/0]:1-65535\", \"localhost:1-65535\"]\n");
        }
        out.push('\n');
        out
    }
}

/// The text of version 0.
pub fn version_0(invite: &Invite, beginning: &Beginning) -> String {
    let mut out = String::new();
    let keys = |keys: &[PublicKey]| list(keys.iter().map(PublicKey::line));
    let _ = write!(
        out,
        "# Who may do what on the machines of {tenant}. Devices obey this file, not the gateway.\n\
         # Every change is a new version, signed by the root keys: `belay policy sign`, then `belay policy push`.\n\
         format = 1\ntenant = {}\nversion = 0\nissued = {}\nexpires = {}\nmin_agent = {}\n\n",
        text(invite.tenant.as_str()),
        beginning.issued,
        beginning.expires,
        text(MIN_AGENT),
        tenant = invite.tenant
    );
    let _ = write!(
        out,
        "[root] # as many of these keys as `threshold` says make the next version valid\n\
         threshold = {}\nkeys = {}\n\n",
        beginning.threshold,
        keys(&beginning.root_keys)
    );
    let _ = write!(
        out,
        "[gateway] # the only source a laptop or a device believes about the gateway\n\
         ssh = {}\nssh_host_keys = {}\naddresses = {}\ntransport_ca = {}\n\
         logs = [{{ origin = {}, vkey = {} }}]\n\n",
        text(&invite.ssh),
        keys(&invite.ssh_host_keys),
        list(invite.addresses.iter().cloned()),
        list(invite.transport_ca.iter().map(Digest::to_string)),
        text(&invite.origin),
        text(&invite.vkey)
    );
    let _ = write!(out, "[devices]\nca = {}\nrevoked = [] # device record serials\n\n", keys(&beginning.device_ca));
    for (provider, policy0) in &beginning.imports {
        let _ = write!(out, "[import.{provider}] # its people are {provider}:NAME here\npolicy0 = \"{policy0}\"\n\n");
    }
    if let Some((name, key)) = &beginning.first {
        let _ =
            write!(out, "[[people]]\nname = {}\nkeys = {}\n\n", text(name.as_str()), keys(std::slice::from_ref(key)));
    }
    out.extend(beginning.grant.as_ref().map(FirstGrant::to_text));
    let _ =
        write!(out, "[recording]\nto = {} # auditors' age recipients\n", list(beginning.recipients.iter().cloned()));
    out
}

/// One string as TOML.
fn text(plain: &str) -> String {
    Value::from(plain).to_string()
}

/// A list of strings as TOML.
fn list(items: impl IntoIterator<Item = String>) -> String {
    Value::from(items.into_iter().collect::<Array>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{seeded::Seeded, testing::Customer};

    fn read(text: &str) -> Outcome<Invite> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("invite.toml");
        std::fs::write(&path, text).unwrap();
        Invite::read(&path)
    }

    #[test]
    fn an_invite_that_no_policy_can_be_made_from_is_refused_before_keys_are() {
        let text = Customer::new("acme", "").invite_text();
        assert_eq!(read(&text).unwrap().tenant.as_str(), "acme");
        for (from, to) in [
            ("format = 1", "format = 2"),
            ("gw.example:2222", "gw.example"),
            ("tenant = \"acme\"", "tenant = \"com\""),
            ("sha256:", "sha1:"),
            ("vkey = \"gw.example", "vkey = \"other.example"),
            ("format = 1", "format = 1\nsurprise = 1"),
            ("addresses = [\"gw.example:4433\"]", "addresses = []"),
        ] {
            assert!(read(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_changed_invite_is_refused_or_makes_a_policy_of_just_what_it_says() {
        let text = Customer::new("acme", "").invite_text();
        let (mut seeded, mut taken, mut refused) = (Seeded::new(0x1417), 0, 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("invite.toml");
        for _ in 0..1_500 {
            std::fs::write(&path, seeded.mutate(text.as_bytes())).unwrap();
            match Invite::read(&path) {
                Ok(invite) => {
                    taken += 1;
                    let policy = invite.check().unwrap();
                    let (said, gateway) = (&invite, &policy.gateway);
                    assert_eq!((&policy.tenant, &gateway.ssh), (&said.tenant, &said.ssh));
                    assert_eq!((&gateway.ssh_host_keys, &gateway.addresses), (&said.ssh_host_keys, &said.addresses));
                    let [log] = gateway.logs.as_slice() else { panic!("{} logs", gateway.logs.len()) };
                    assert_eq!((&log.origin, &log.vkey), (&said.origin, &said.vkey));
                    assert_eq!((policy.root.keys.len(), policy.people.len(), policy.grants.len()), (1, 0, 0));
                }
                Err(failure) => {
                    refused += 1;
                    assert!(!failure.sentence().is_empty());
                }
            }
        }
        assert!(taken > 20 && refused > 500, "{taken} taken, {refused} refused");
    }

    #[test]
    fn a_quote_in_an_invite_stays_a_quote() {
        let invite = Customer::new("acme", "").invite();
        let hostile = Invite { origin: "x\" }]\n[root]\nkeys = [\"evil".into(), ..invite };
        assert!(hostile.check().is_err());
        assert_eq!(text("a\"b\\"), toml_edit::Value::from("a\"b\\").to_string());
    }
}
