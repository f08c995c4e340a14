//! `belay approve`: checks, shows one table, asks once, certifies, signs one document over all records, sends.
//!
//! The device CA and the person's key are used on this machine only.

use super::{
    devices, now,
    pending::{self, Candidate, Found},
};
use crate::{
    failure::{Outcome, While, refused, usage},
    gateway::{Gateway, Route},
    home::Home,
    keygen,
    screen::{confirm, note, say},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, Invalid, Namespace, PublicKey, TenantName,
    device::{Batch, DeviceRecord},
    limits::BATCH_RECORDS_MAX,
    policy::{Action, DeviceFacts, Glob, Question, decide},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// `belay approve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which machines: web1.acme, 'acme/*', 'acme/web*', 'web*.acme', '*'
    #[arg(required = true, value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<Glob>,
    /// The device CA, or the .pub of one that your ssh-agent holds [default: tenants/TENANT/keys/device-ca of the home]
    #[arg(long, value_name = "KEY")]
    ca: Option<PathBuf>,
    /// Approve without asking
    #[arg(long)]
    yes: bool,
}

/// `acme/web*` and `web*.acme` are the same machines.
fn pattern(text: &str) -> Result<Glob, Invalid> {
    match text.split_once('/') {
        Some((tenant, devices)) => format!("{devices}.{}", tenant.parse::<TenantName>()?).parse(),
        None => text.parse(),
    }
}

/// Approves them.
///
/// # Errors
/// Nothing matches, a request does not verify, the person may not, or the gateway refuses.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let identity = home.signing_identity()?;
    let me = keygen::public(identity)?;
    let Found { trusted, rows, outcome } = pending::fetch(home, None)?;
    let (candidates, rejected) = select(rows, &args.patterns);
    let broken = rejected.len();
    pending::tell_rejected(rejected.into_iter());
    let mut candidates = distinct(candidates)?;
    if candidates.is_empty() {
        outcome?;
        return Err(refused(if broken > 0 {
            "nothing that matches verifies, so nothing was approved"
        } else {
            "no machine that matches is waiting, or you may not approve it: see `belay pending`"
        }));
    }
    remark_replaced(home, &trusted, &mut candidates);
    let tenants = by_tenant(candidates);
    let mut works = Vec::new();
    for (tenant, candidates) in tenants {
        works.push(prepare(home, &trusted, args, &me, tenant, candidates)?);
    }
    show(&works, identity);
    confirm("Certify and approve these machines?", args.yes)?;
    for work in &works {
        approve(home, &trusted, identity, work)?;
    }
    if broken > 0 {
        return Err(refused(format!("{broken} that matched did not verify and stayed out")));
    }
    outcome
}

/// What one tenant's batch is made of.
struct Work {
    tenant: TenantName,
    ca: PathBuf,
    candidates: Vec<Candidate>,
    records: Vec<DeviceRecord>,
}

/// Those that match, verified and not.
fn select(
    found: Vec<Result<Candidate, pending::Rejected>>,
    patterns: &[Glob],
) -> (Vec<Candidate>, Vec<pending::Rejected>) {
    let meant = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Ok(candidate) if meant(&candidate.device.to_string()) => good.push(candidate),
            Err(rejected) if meant(&rejected.name) => bad.push(rejected),
            _ => {}
        }
    }
    (good, bad)
}

/// Two machines that ask for one name, or one key that asks for two: a person must look, a pattern must not choose.
fn distinct(candidates: Vec<Candidate>) -> Outcome<Vec<Candidate>> {
    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for one in &candidates {
        if !names.insert(&one.device) {
            return Err(refused(format!(
                "two machines ask for the name {}: see `belay pending` and let one ask again",
                one.device
            )));
        }
        if !keys.insert((&one.device.tenant, &one.host_key)) {
            return Err(refused(format!(
                "the host key {} asks for two names: let the machine ask again",
                one.host_key.fingerprint()
            )));
        }
    }
    Ok(candidates)
}

/// A new machine under the name of one that is there takes its place: that must be read before saying yes.
fn remark_replaced(home: &Home, trusted: &Trusted, candidates: &mut [Candidate]) {
    let rows = devices::find(home, trusted, None, None).map(|(rows, _)| rows).unwrap_or_default();
    let there: BTreeSet<DeviceAddress> = rows
        .iter()
        .filter(|row| row.get("state").and_then(Value::as_str) != Some("pending"))
        .filter_map(|row| row.get("name").and_then(Value::as_str)?.parse().ok())
        .collect();
    for one in candidates.iter_mut().filter(|one| there.contains(&one.device)) {
        let more = if one.remark.is_empty() { String::new() } else { format!("; {}", one.remark) };
        one.remark = format!("REPLACES the machine of this name{more}");
    }
}

fn by_tenant(candidates: Vec<Candidate>) -> BTreeMap<TenantName, Vec<Candidate>> {
    candidates.into_iter().fold(BTreeMap::new(), |mut tenants: BTreeMap<_, Vec<_>>, one| {
        tenants.entry(one.device.tenant.clone()).or_default().push(one);
        tenants
    })
}

/// Numbers the records and checks that this person and this CA may make them, before anything is signed.
fn prepare(
    home: &Home,
    trusted: &Trusted,
    args: &Args,
    me: &PublicKey,
    tenant: TenantName,
    candidates: Vec<Candidate>,
) -> Outcome<Work> {
    if candidates.len() > BATCH_RECORDS_MAX {
        return Err(usage(format!("at most {BATCH_RECORDS_MAX} machines at once: give a narrower pattern")));
    }
    let policies = trusted.policies(&tenant)?;
    let ca = args.ca.clone().unwrap_or_else(|| home.keys(&tenant).join("device-ca"));
    if !policies.tenant.policy().devices.ca.contains(&keygen::public(&ca)?) {
        return Err(refused(format!(
            "{} is no device CA in the policy of {tenant}: give the right one with --ca",
            ca.display()
        )));
    }
    let now = now();
    let records = number(&candidates, &policies.tenant.policy().devices.revoked, now.whole_second())?;
    for record in &records {
        let device =
            DeviceFacts { address: record.address.clone(), labels: record.labels.clone(), serial: record.serial };
        let question = Question { key: me.clone(), device, account: None, action: Action::Enrol, ticket: None };
        decide(&policies, &question, now).during(|| format!("you may not approve {}", record.address))?;
    }
    Ok(Work { tenant, ca, candidates, records })
}

/// Serials above everything the gateway knows of, each used once: a revoked serial names one machine.
fn number(candidates: &[Candidate], revoked: &[u64], issued: belay_certs::Timestamp) -> Outcome<Vec<DeviceRecord>> {
    let highest = revoked.iter().copied().max().unwrap_or(0);
    let first = candidates.iter().map(|one| one.serial_next).max().unwrap_or(1).max(highest.saturating_add(1)).max(1);
    let record = |(at, one): (u64, &Candidate)| {
        let serial = first.checked_add(at).filter(|serial| i64::try_from(*serial).is_ok());
        Ok(DeviceRecord {
            address: one.device.clone(),
            host_key: one.host_key.clone(),
            labels: one.labels.clone(),
            serial: serial.ok_or_else(|| {
                refused(format!("the gateway's next serial {first} leaves no room: it is not believed"))
            })?,
            issued,
        })
    };
    (0..).zip(candidates).map(record).collect()
}

fn show(works: &[Work], identity: &Path) {
    let all: Vec<Candidate> = works.iter().flat_map(|work| work.candidates.clone()).collect();
    say(pending::candidates_table(&all).trim_end());
    for work in works {
        note(&format!(
            "{}: {} machine(s), host keys certified by {}, records signed with {}",
            work.tenant,
            work.records.len(),
            work.ca.display(),
            identity.display()
        ));
    }
}

fn approve(home: &Home, trusted: &Trusted, identity: &Path, work: &Work) -> Outcome {
    let held = trusted.tenant(&work.tenant)?;
    let certificates = work
        .records
        .iter()
        .map(|record| keygen::certify(&work.ca, &record.address, &record.host_key, record.serial))
        .collect::<Outcome<Vec<_>>>()?;
    let batch = Batch::over(&work.records, held.chain.version(), held.chain.digest(), now().whole_second())?.to_text();
    let signature = keygen::sign(identity, Namespace::Device, batch.as_bytes())?;
    let records: Vec<String> = work.records.iter().map(DeviceRecord::to_text).collect();
    let sent = json!({"batch": batch, "signature": signature, "records": records, "certificates": certificates});
    let answer = Gateway::new(home, Route::of(held.policy())?)
        .run(&["approve", work.tenant.as_str()], sent.to_string().as_bytes())?;
    say(String::from_utf8_lossy(&answer).trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::{Digest, PrivateKey};

    fn candidate(device: &str, serial_next: u64) -> Candidate {
        Candidate {
            device: device.parse().unwrap(),
            host_key: PrivateKey::generate_ed25519("host").unwrap().public().clone(),
            labels: vec!["server".into()],
            invited_by: "alice".parse().unwrap(),
            machine_id: Digest::of(b"machine"),
            serial_next,
            seen_from: "192.0.2.1:5".into(),
            since: "2026-11-21T09:00:00Z".into(),
            remark: String::new(),
        }
    }

    fn at() -> belay_certs::Timestamp {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    #[test]
    fn serials_are_all_different_and_above_the_gateways_and_the_revoked() {
        let serials = |candidates: &[Candidate], revoked: &[u64]| -> Vec<u64> {
            number(candidates, revoked, at()).unwrap().iter().map(|record| record.serial).collect()
        };
        let three = [candidate("a.acme", 7), candidate("b.acme", 7), candidate("c.acme", 5)];
        assert_eq!(serials(&three, &[]), [7, 8, 9]);
        assert_eq!(serials(&three, &[3, 8]), [9, 10, 11]);
        assert_eq!(serials(&[candidate("a.acme", 0)], &[]), [1]);
    }

    #[test]
    fn a_gateway_cannot_run_the_serials_out() {
        assert!(number(&[candidate("a.acme", u64::MAX)], &[], at()).is_err());
        assert!(number(&[candidate("a.acme", i64::MAX as u64), candidate("b.acme", 1)], &[], at()).is_err());
    }

    #[test]
    fn a_tenant_may_stand_before_its_machines() {
        for (text, matches, not) in [
            ("acme/*", "web1.acme", "web1.globex"),
            ("acme/web*", "web1.acme", "db1.acme"),
            ("web*.acme", "web1.acme", "db1.acme"),
        ] {
            let pattern = pattern(text).unwrap();
            assert!(pattern.matches(matches) && !pattern.matches(not), "{text}");
        }
        for text in ["Acme/*", "com/*", "a/b/c"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_choose_and_two_machines_of_one_name_stop_everything() {
        let patterns = ["web*.acme".parse().unwrap()];
        let rejected = pending::Rejected { name: "web9.acme".into(), sentence: "x".into() };
        let found = vec![Ok(candidate("web1.acme", 1)), Ok(candidate("db1.acme", 1)), Err(rejected)];
        let (good, bad) = select(found, &patterns);
        assert_eq!((good.len(), bad.len()), (1, 1));
        assert!(distinct(good).is_ok());
        let twice = vec![candidate("web1.acme", 1), candidate("web1.acme", 1)];
        assert!(distinct(twice).unwrap_err().sentence().contains("two machines"));
        let mut same_key = vec![candidate("a.acme", 1), candidate("b.acme", 1)];
        same_key[1].host_key = same_key[0].host_key.clone();
        assert!(distinct(same_key).unwrap_err().sentence().contains("two names"));
    }
}
