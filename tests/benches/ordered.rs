//! A signed order for many devices, as the tenant's technician writes and signs it, and what must be there before.

use anyhow::{Context, Result, bail, ensure};
use belay_certs::{
    Digest, Id, Namespace, Signed, Timestamp,
    limits::DOCUMENT_BYTES_MAX,
    order::{DeviceLine, DeviceList, Order, Waves},
    policy::{Chain, Step},
    runbook::Arguments,
};
use belay_tests::{Person, World};
use serde_json::Value;
use std::time::SystemTime;

/// What all of them run.
const SCRIPT: &str = "#!/bin/sh\n# /// belay\n# name = \"noop\"\n# description = \"nothing\"\n# issued = ISSUED\n# account = \"ACCOUNT\"\n# ///\ntrue\n";

/// Lets `tech` write and run runbooks everywhere as `account`, and brings the one that is run; its version.
///
/// # Errors
/// The gateway refuses one of them.
pub fn allow(world: &World, account: &str) -> Result<Digest> {
    let tech = world.person("tech");
    let text = tech.gw("policy show acme").must().out();
    let version: u64 =
        text.lines().find_map(|line| line.strip_prefix("version = ")?.parse().ok()).context("no version")?;
    let mut next = String::new();
    for line in text.lines().filter(|line| !line.starts_with("previous = ")) {
        match line.split(" = ").next() {
            Some("version") => {
                next += &format!("version = {}\nprevious = \"{}\"\n", version + 1, Digest::of(text.as_bytes()));
            }
            Some("issued") => next += &format!("issued = {}\n", now()),
            Some("signers") => next += "signers = [\"tech\"]\n",
            _ => next += &format!("{line}\n"),
        }
    }
    if !next.contains("[runbooks]") {
        next += "\n[runbooks]\nsigners = [\"tech\"]\n";
    }
    next += &format!(
        "\n[[grants]]\nwho = [\"tech\"]\non = [\"*\"]\ndo = [\"run\"]\nas = [\"{account}\"]\nrunbooks = [\"*\"]\nrisk = \"normal\"\ndevices_max = 10000\n"
    );
    let signature = Person::sign(&world.root_key("acme"), "policy.v1@belay", next.as_bytes())?;
    tech.gw_with_input("policy push acme", &[next.as_bytes(), signature.as_bytes()].concat()).must();
    let script = SCRIPT.replace("ISSUED", &now().to_string()).replace("ACCOUNT", account);
    let signature = Person::sign(&tech.key(), Namespace::Runbook.as_str(), script.as_bytes())?;
    tech.gw_with_input("runbook push acme", &[script.as_bytes(), signature.as_bytes()].concat()).must();
    Ok(Digest::of(script.as_bytes()))
}

/// The tenant's policies, verified as agents and people do.
///
/// # Errors
/// The gateway shows no chain that holds.
pub fn chain(world: &World) -> Result<Chain> {
    let shown: Value = world.person("tech").gw("policy show acme --json").must().json();
    let mut chain: Option<Chain> = None;
    for version in shown["versions"].as_array().context("no versions")? {
        let strings = |value: &Value| value.as_str().map(str::to_owned).context("not text");
        let signatures = version["signatures"].as_array().context("no signatures")?;
        let signed = Signed {
            bytes: strings(&version["text"])?.into_bytes(),
            signatures: signatures.iter().map(strings).collect::<Result<_>>()?,
        };
        chain = Some(match chain {
            None => Chain::begin(&signed)?,
            Some(chain) => match chain.extend(&signed)? {
                Step::Next(next) => next,
                Step::Same => bail!("a policy twice"),
            },
        });
    }
    chain.context("no policy")
}

/// An order for these devices, its signature and its list, as they are submitted.
///
/// # Errors
/// It cannot be signed.
pub fn order(
    world: &World,
    chain: &Chain,
    lines: Vec<DeviceLine>,
    (version, account): (Digest, &str),
) -> Result<Vec<u8>> {
    let list = DeviceList::of(lines)?;
    let order = Order {
        tenant: "acme".parse()?,
        id: Id::random()?,
        runbook: "noop".parse()?,
        version,
        account: account.parse()?,
        ticket: None,
        issued: now(),
        not_before: now(),
        not_after: now().plus(900 * 1_000_000),
        policy_version: chain.version(),
        policy: chain.digest(),
        devices: list.count(),
        devices_root: list.root(),
        waves: Waves::default(),
        stop_above: None,
        timeout: None,
        secrets: Vec::new(),
        output_to: Vec::new(),
        arguments: Arguments::default(),
    };
    let text = order.to_text();
    ensure!(text.len() <= DOCUMENT_BYTES_MAX, "the order is too long");
    let signature = Person::sign(&world.person("tech").key(), Namespace::Order.as_str(), text.as_bytes())?;
    Ok([text.as_bytes(), signature.as_bytes(), list.to_text().as_bytes()].concat())
}

/// Now, as orders count.
pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now()).whole_second()
}
