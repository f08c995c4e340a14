//! One order for three devices that is good in every way, to be broken in one.

use crate::order::*;
use crate::policy::tests::fixture::{Draft, device, moment, monday, private};
use crate::policy::{Chain, DeviceFacts, Policies};
use crate::runbook::Arguments;
use crate::runbook::tests::EXAMPLE;
use crate::{Digest, Id, Invalid, Namespace, Signed, sshsig};

const PEOPLE: &str = r#"[devices]
revoked = [666]

[[people]]
name = "ada"
keys = [{KEY ada}, {KEY ada-second}]
teams = ["authors"]

[[people]]
name = "ole"
keys = [{KEY ole}]

[[people]]
name = "nightly"
robot = true
keys = [{KEY nightly}]

[[people]]
name = "idle"
keys = [{KEY idle}]

[[grants]]
who = ["ada", "ole"]
on = ["*"]
do = ["run"]
as = ["root", "deploy"]
runbooks = ["*"]
risk = "high"
ticket = "[A-Z0-9-]*"

[[grants]]
who = ["nightly"]
on = ["tag:server"]
do = ["run"]
as = ["root"]
runbooks = ["restart-*"]
devices_max = 3

[[grants]]
who = ["idle"]
on = ["*"]
do = ["shell"]
as = ["root"]

[runbooks]
signers = ["authors"]
"#;

pub(crate) fn arguments(pairs: &[(&str, &str)]) -> Arguments {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect()
}

/// Everything that one judgement looks at. `nightly` orders, `ada` wrote the runbook, `web1` judges.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) chain: Chain,
    /// What is signed as the order, unless `order_text` is there.
    pub(crate) order: Order,
    /// Bytes to offer instead of what was signed.
    pub(crate) order_bytes: Option<Vec<u8>>,
    pub(crate) order_key: &'static str,
    pub(crate) order_namespace: Namespace,
    pub(crate) runbook: String,
    pub(crate) runbook_key: &'static str,
    pub(crate) runbook_namespace: Namespace,
    pub(crate) list: DeviceList,
    pub(crate) place: u64,
    /// The path of this place.
    pub(crate) path_of: usize,
    pub(crate) sealed: Option<crate::secrets::Sealed>,
    pub(crate) device: DeviceFacts,
    pub(crate) platform: &'static str,
    pub(crate) remembers_since: crate::Timestamp,
    pub(crate) clocks: Clocks,
}

impl Case {
    pub(crate) fn new() -> Self {
        let chain = Draft::new("acme", PEOPLE).begin();
        let list = DeviceList::parse(b"db1 3\nweb1 7\nweb2 9\n").unwrap();
        let order = Order {
            tenant: "acme".parse().unwrap(),
            id: Id([7; 16]),
            runbook: "restart-service".parse().unwrap(),
            version: Digest::of(EXAMPLE.as_bytes()),
            account: "root".parse().unwrap(),
            ticket: None,
            issued: monday(),
            not_before: monday(),
            not_after: moment("2026-11-23T10:15:00Z"),
            policy_version: 0,
            policy: chain.digest(),
            devices: 3,
            devices_root: list.root(),
            waves: Waves::default(),
            stop_above: None,
            timeout: None,
            secrets: Vec::new(),
            output_to: Vec::new(),
            arguments: arguments(&[("service", "cups")]),
        };
        Self {
            chain,
            order,
            order_bytes: None,
            order_key: "nightly",
            order_namespace: Namespace::Order,
            runbook: EXAMPLE.to_owned(),
            runbook_key: "ada",
            runbook_namespace: Namespace::Runbook,
            list,
            place: 1,
            path_of: 1,
            sealed: None,
            device: device("web1.acme", &["server"], 7),
            platform: "linux",
            remembers_since: moment("2026-11-22T00:00:00Z"),
            clocks: Clocks { here: monday(), gateway: Some(monday()) },
        }
    }

    /// A policy with `text` behind what it has.
    pub(crate) fn with_policy(&mut self, change: impl Fn(&str) -> String) {
        self.chain = Draft::new("acme", &change(PEOPLE)).begin();
        self.order.policy = self.chain.digest();
    }

    /// A changed runbook, whose version the order names.
    pub(crate) fn with_runbook(&mut self, old: &str, new: &str) {
        assert!(self.runbook.contains(old), "{old}");
        self.runbook = self.runbook.replace(old, new);
        self.order.version = Digest::of(self.runbook.as_bytes());
    }

    pub(crate) fn signed_order(&self) -> Signed {
        let text = self.order.to_text();
        let signature = sshsig::sign(self.order_namespace, text.as_bytes(), &private(self.order_key)).unwrap();
        Signed { bytes: self.order_bytes.clone().unwrap_or(text.into_bytes()), signatures: vec![signature] }
    }

    pub(crate) fn signed_runbook(&self) -> Signed {
        let bytes = self.runbook.as_bytes();
        let signature = sshsig::sign(self.runbook_namespace, bytes, &private(self.runbook_key)).unwrap();
        Signed { bytes: bytes.to_vec(), signatures: vec![signature] }
    }

    pub(crate) fn policies(&self) -> Policies<'_> {
        Policies { tenant: &self.chain, imports: Vec::new() }
    }

    pub(crate) fn judge(&self) -> Result<Permit, Invalid> {
        self.judge_signed(&self.signed_order(), &self.signed_runbook())
    }

    pub(crate) fn judge_signed(&self, order: &Signed, runbook: &Signed) -> Result<Permit, Invalid> {
        let path = self.list.tree().path(self.path_of as u64).unwrap();
        let offer = Offer { order, runbook, place: self.place, path: &path, sealed: self.sealed.as_ref() };
        let machine =
            Machine { device: self.device.clone(), platform: self.platform, remembers_since: self.remembers_since };
        judge(&self.policies(), &offer, &machine, self.clocks)
    }
}
