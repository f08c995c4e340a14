//! `belay approve`: checks, shows one table, asks once, certifies, signs one document over all records, sends.
//!
//! The device CA and the person's key are used on this machine only. Not here: keeping and sending (`batch`), machines that
//! are still to come (`watch`).

pub mod batch;
mod watch;

use super::{
    now,
    pending::{self, Candidate, Found, Wanted},
};
use crate::{
    failure::{Outcome, While, refused, usage},
    home::Home,
    keygen,
    limits::SIGNING_LASTS,
    screen::{confirm, note, say},
    ssh_agent::Signing,
    trusted::Trusted,
};
use batch::{Kept, Keys, Sent, finish_all, first_serial};
use belay_certs::{
    Invalid, PublicKey, TenantName, Timestamp,
    device::DeviceRecord,
    limits::BATCH_RECORDS_MAX,
    policy::{Action, DeviceFacts, Glob, Question, decide},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// `belay approve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which machines: web1.acme, 'acme/*', 'acme/web*', 'web*.acme', '*'
    #[arg(required_unless_present = "token", value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<Glob>,
    /// Only machines that came with this token: its id, if it was made here, or its file
    #[arg(long, value_name = "ID|FILE")]
    token: Option<String>,
    /// Go on approving machines of --token as they come, for so long: 90m, 4h
    #[arg(long, value_name = "TIME", requires = "token", value_parser = watch::span)]
    watch: Option<Duration>,
    /// Put machines in the place of those whose names they ask for; not with --watch, which asks about none of them
    #[arg(long, conflicts_with = "watch")]
    replace: bool,
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
    let earlier = finish_all(home)?;
    if args.watch.is_some() {
        return watch::run(home, args, identity, &me);
    }
    let wanted = match &args.token {
        Some(named) => Wanted::of_token(watch::find_token(home, named)?.0),
        None => Wanted::default(),
    };
    let Found { trusted, rows, outcome } = pending::fetch(home, &wanted)?;
    let (candidates, rejected) = select(rows, &args.patterns);
    let broken = rejected.len();
    pending::tell_rejected(rejected.into_iter());
    let candidates = distinct(candidates)?;
    let (candidates, held_back) = without_replacements(candidates, args.replace);
    if candidates.is_empty() && earlier.done > 0 {
        return settle(earlier, broken, held_back).and(outcome);
    }
    if candidates.is_empty() {
        outcome?;
        return Err(refused(match (broken, held_back) {
            (0, 0) => "no machine that matches is waiting, or you may not approve it: see `belay pending`",
            (_, 0) => "nothing that matches verifies, so nothing was approved",
            _ => "all that match ask for names that are taken: add --replace to put them in those machines' place",
        }));
    }
    let mut works = Vec::new();
    for (tenant, candidates) in by_tenant(candidates) {
        works.push(prepare(home, &trusted, args, &me, tenant, candidates)?);
    }
    let left_out: usize = works.iter().map(|work| work.left_out).sum();
    show(&works, identity);
    confirm("Certify and approve these machines?", args.yes)?;
    let mut total = earlier;
    let mut signing = Signing::default();
    for work in &works {
        let sent = work.approve(home, &trusted, &mut signing, identity)?;
        total = Sent { done: total.done + sent.done, refused: total.refused + sent.refused };
    }
    settle(total, broken + left_out, held_back).and(outcome)
}

/// Whether all that matched was approved.
fn settle(sent: Sent, broken: usize, held_back: usize) -> Outcome {
    if sent.refused > 0 {
        return Err(refused(format!("{} machines were refused by the gateway; see above", sent.refused)));
    }
    if broken + held_back > 0 {
        return Err(refused(format!("{} that matched stayed out; see above", broken + held_back)));
    }
    Ok(())
}

/// What one tenant's batch is made of.
struct Work {
    tenant: TenantName,
    ca: PathBuf,
    candidates: Vec<Candidate>,
    records: Vec<DeviceRecord>,
    /// Machines that this person may not approve.
    left_out: usize,
}

/// Those that match, verified and not.
fn select(
    found: Vec<Result<Candidate, pending::Rejected>>,
    patterns: &[Glob],
) -> (Vec<Candidate>, Vec<pending::Rejected>) {
    // Without a pattern, all that the token brought are meant.
    let meant = |name: &str| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name));
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

/// A new machine under the name of one that is there takes its place: that must be said, a pattern must not do it.
fn without_replacements(candidates: Vec<Candidate>, replace: bool) -> (Vec<Candidate>, usize) {
    if replace {
        return (candidates, 0);
    }
    let (free, taken): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|one| one.holder.is_none());
    for one in &taken {
        let whose = one.replaces().unwrap_or_default();
        note(&format!("belay: {} stays out: it {whose}; add --replace if it shall", one.device));
    }
    (free, taken.len())
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
    let may = |one: &Candidate| {
        let device = DeviceFacts { address: one.device.clone(), labels: one.labels.clone(), serial: one.serial_next };
        let question = Question { key: me.clone(), device, account: None, action: Action::Enrol, ticket: None };
        decide(&policies, &question, now).during(|| format!("you may not approve {}", one.device))
    };
    let (mut mine, mut refusals) = (Vec::new(), Vec::new());
    for one in candidates {
        match may(&one) {
            Ok(_) => mine.push(one),
            Err(failure) => refusals.push(failure),
        }
    }
    refusals.iter().for_each(|failure| note(&format!("belay: {}", failure.sentence())));
    let left_out = refusals.len();
    if let (true, Some(first)) = (mine.is_empty(), refusals.into_iter().next()) {
        return Err(first);
    }
    let records = number(&mine, &policies.tenant.policy().devices.revoked, now.whole_second())?;
    Ok(Work { tenant, ca, candidates: mine, records, left_out })
}

fn number(candidates: &[Candidate], revoked: &[u64], issued: Timestamp) -> Outcome<Vec<DeviceRecord>> {
    let next = candidates.iter().map(|one| one.serial_next).max().unwrap_or(1);
    let first = first_serial(next, revoked, candidates.len())?;
    let record = |(serial, one): (u64, &Candidate)| DeviceRecord {
        address: one.device.clone(),
        host_key: one.host_key.clone(),
        labels: one.labels.clone(),
        serial,
        replaces: one.holder.as_ref().map(|holder| holder.serial),
        issued,
    };
    Ok((first..).zip(candidates).map(record).collect())
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

impl Work {
    /// Asks for each key's passphrase once, signs, keeps and sends.
    fn approve(&self, home: &Home, trusted: &Trusted, signing: &mut Signing, identity: &Path) -> Outcome<Sent> {
        signing.add(&self.ca, SIGNING_LASTS)?;
        signing.add(identity, SIGNING_LASTS)?;
        let keys = Keys { ca: &self.ca, identity };
        let (kept, path) = Kept::sign(home, trusted, signing, keys, &self.records)?;
        let sent = kept.send(home, trusted, &path)?;
        for serial in self.records.iter().filter_map(|record| record.replaces) {
            note(&format!(
                "what was serial {serial} keeps its key and its certificate: `belay device revoke --tenant {} --serial {serial} \
                 --root KEY` makes them worthless",
                self.tenant
            ));
        }
        Ok(sent)
    }
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
            holder: None,
            token: Digest::of(b"token"),
            remark: String::new(),
        }
    }

    fn at() -> belay_certs::Timestamp {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    #[test]
    fn nobody_gives_names_away_unseen() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            _args: Args,
        }
        let reads = |more: &[&str]| {
            let words = ["approve", "--token", "a-token"].iter().chain(more);
            <Line as clap::Parser>::try_parse_from(words).map(drop).map_err(|error| error.kind())
        };
        assert_eq!(reads(&["--watch", "4h"]), Ok(()));
        assert_eq!(reads(&["--replace"]), Ok(()));
        assert_eq!(reads(&["--watch", "4h", "--replace"]), Err(clap::error::ErrorKind::ArgumentConflict));
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
    fn a_machine_that_asks_for_a_taken_name_is_left_out_unless_it_was_said() {
        let mut taken = candidate("a.acme", 7);
        taken.holder = Some(pending::Holder { serial: 3, machine_id: Digest::of(b"machine") });
        let both = || vec![taken.clone(), candidate("b.acme", 7)];
        let (free, held_back) = without_replacements(both(), false);
        assert_eq!((free.len(), held_back), (1, 1));
        let (all, held_back) = without_replacements(both(), true);
        assert_eq!((all.len(), held_back), (2, 0));
        let records = number(&all, &[], at()).unwrap();
        assert_eq!((records[0].replaces, records[1].replaces), (Some(3), None));
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
