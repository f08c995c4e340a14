//! What packs of sessions and of jobs have in common: policies, keys, and entries of one log.
//!
//! Each is written and judged here. Not here: the devices (`devices`), what is proved with all this (`evidence`, `job`), and the
//! container (`pack`).

use crate::{
    commands::desk::{
        pack::{Reader, Writer},
        proofs::{Proofs, Proven},
    },
    failure::{Outcome, While, refused},
};
use belay_certs::{
    DeviceAddress, Digest, PublicKey, Signed, TenantName, envelope,
    limits::{
        CHECKPOINT_BYTES_MAX, ENTRY_BYTES_MAX, POLICY_BYTES_MAX, POLICY_SIGNATURES_MAX, PROOF_HASHES_MAX,
        SIGNATURE_BYTES_MAX,
    },
    policy::{Chain, LogIdentity, Policy, Step},
    statement::{PolicyUsed, SignedStatement, Statement},
    tlog::Checkpoint,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
};

/// A proof file, in bytes: the hashes, and the head behind them.
pub(super) const PROOF_BYTES_MAX: usize = PROOF_HASHES_MAX * 45 + 100 + CHECKPOINT_BYTES_MAX;
/// Versions of one policy.
const VERSIONS_MAX: usize = 100_000;

/// The documents of each policy, from version 0 on.
pub type Policies = BTreeMap<TenantName, Vec<Signed>>;

/// A line of `keys/allowed_signers`: a name, what it may sign, and the key.
pub type Signer<'k> = (String, &'static str, &'k PublicKey);

/// Writes every version of every policy.
///
/// # Errors
/// The pack cannot be written.
pub fn write_policies(pack: &mut Writer<impl Write>, policies: &Policies) -> Outcome {
    for (tenant, versions) in policies {
        for (number, signed) in versions.iter().enumerate() {
            pack.add(&format!("policies/{tenant}/{number}.toml"), &signed.bytes)?;
            pack.add(&format!("policies/{tenant}/{number}.toml.sig"), envelope::armor(signed).as_bytes())?;
        }
    }
    Ok(())
}

/// Reads them.
///
/// # Errors
/// One is not in its place, or not signed.
pub fn read_policies(pack: &mut Reader<impl Read>) -> Outcome<Policies> {
    let mut policies = Policies::new();
    while let Some(path) = pack.peek().map(str::to_owned).filter(|path| path.starts_with("policies/")) {
        let tenant = path.split('/').nth(1).unwrap_or_default();
        let tenant: TenantName = tenant.parse().during(|| path.clone())?;
        if policies.last_key_value().is_some_and(|(last, _)| *last > tenant) {
            return Err(refused(format!("{path} does not stand in its place")));
        }
        let versions: &mut Vec<Signed> = policies.entry(tenant.clone()).or_default();
        if versions.len() == VERSIONS_MAX {
            return Err(refused(format!("{path}: there are too many versions")));
        }
        let name = format!("policies/{tenant}/{}.toml", versions.len());
        let bytes = pack.take(&name, POLICY_BYTES_MAX)?;
        let armored = pack.text(&format!("{name}.sig"), POLICY_SIGNATURES_MAX * SIGNATURE_BYTES_MAX)?;
        let signatures = envelope::signatures(&armored).map_err(|invalid| invalid.of(format!("{name}.sig")))?;
        versions.push(Signed { bytes, signatures });
    }
    Ok(policies)
}

/// The tenant's chain: every version of each policy follows from the one before, and each is the one that is imported.
///
/// # Errors
/// With the file that is not.
pub fn follow(policies: &Policies, tenant: &TenantName) -> Outcome<Chain> {
    let mut chains = chains(policies)?;
    let chain = chains.remove(tenant).ok_or_else(|| refused(format!("no policy of {tenant} is here")))?;
    for (imported, policy0) in &chain.policy().imports {
        if chains.get(imported).is_some_and(|chain| chain.policy0() != *policy0) {
            return Err(refused(format!("policies/{imported}/0.toml is not the version 0 that {tenant} imports")));
        }
    }
    Ok(chain)
}

fn chains(policies: &Policies) -> Outcome<BTreeMap<TenantName, Chain>> {
    let mut chains = BTreeMap::new();
    for (tenant, versions) in policies {
        let mut chain: Option<Chain> = None;
        for (number, signed) in versions.iter().enumerate() {
            let of = |invalid: belay_certs::Invalid| invalid.of(format!("policies/{tenant}/{number}.toml"));
            let next = match &chain {
                None => Chain::begin(signed).map_err(of)?,
                Some(chain) => match chain.extend(signed).map_err(of)? {
                    Step::Next(next) => next,
                    Step::Same => return Err(refused(format!("policies/{tenant}/{number}.toml stands there twice"))),
                },
            };
            if next.tenant() != tenant {
                return Err(refused(format!("policies/{tenant}/{number}.toml is of {}", next.tenant())));
            }
            chain = Some(next);
        }
        chains.extend(chain.map(|chain| (tenant.clone(), chain)));
    }
    Ok(chains)
}

/// The newest version of a tenant's policy.
///
/// # Errors
/// There is none.
pub fn newest(policies: &Policies, tenant: &TenantName) -> Outcome<Policy> {
    let last = policies.get(tenant).and_then(|versions| versions.last());
    let last = last.ok_or_else(|| refused(format!("no policy of {tenant} is kept here")))?;
    Ok(Policy::parse(&last.bytes)?)
}

/// Whether the policies that something was decided under are here.
///
/// # Errors
/// With the one that is not.
pub fn check_used(policies: &Policies, used: &[PolicyUsed]) -> Outcome {
    for used in used {
        let version = usize::try_from(used.version).ok();
        let held = version.and_then(|version| policies.get(&used.tenant)?.get(version));
        if held.map(|signed| Digest::of(&signed.bytes)) != Some(used.digest) {
            let sentence = "is not the version that this was decided under";
            return Err(refused(format!("policies/{}/{}.toml {sentence}", used.tenant, used.version)));
        }
    }
    Ok(())
}

/// The device CAs of all versions of a tenant's policy.
///
/// # Errors
/// A version does not read.
pub fn device_cas(policies: &Policies, tenant: &TenantName) -> Outcome<Vec<PublicKey>> {
    let mut cas: Vec<PublicKey> = Vec::new();
    for signed in policies.get(tenant).into_iter().flatten() {
        for ca in Policy::parse(&signed.bytes)?.devices.ca {
            if !cas.contains(&ca) {
                cas.push(ca);
            }
        }
    }
    Ok(cas)
}

/// Writes entries with their proofs, and the statements that `takes` says belong here.
///
/// # Errors
/// The pack cannot be written.
pub fn write_log(
    pack: &mut Writer<impl Write>,
    log: &LogIdentity,
    proofs: &Proofs,
    takes: impl Fn(&DeviceAddress) -> bool,
) -> Outcome {
    pack.add("log/vkey", format!("{}\n", log.vkey).as_bytes())?;
    pack.add("log/checkpoint", proofs.checkpoint.as_bytes())?;
    for proven in &proofs.entries {
        let index = proven.index;
        pack.add(&format!("log/{index}.json"), proven.text.as_bytes())?;
        pack.add(&format!("log/{index}.proof"), proven.to_file(&proofs.checkpoint).as_bytes())?;
        if let Some(signed) = statement(proven, &takes) {
            pack.add(&format!("log/{index}.statement"), signed.text.as_bytes())?;
            pack.add(&format!("log/{index}.statement.sig"), signed.signature.as_bytes())?;
        }
    }
    Ok(())
}

/// Reads them: all are under one head, which the log of this name signed.
///
/// # Errors
/// With the file that is wrong.
pub fn read_log(
    pack: &mut Reader<impl Read>,
    policy: &Policy,
    origin: &str,
    takes: impl Fn(&DeviceAddress) -> bool,
) -> Outcome<(Checkpoint, Vec<Proven>)> {
    let log = policy.gateway.logs.iter().find(|log| log.origin == origin);
    let log = log.ok_or_else(|| refused(format!("the policy names no log {origin}")))?;
    pack.exact("log/vkey", format!("{}\n", log.vkey).as_bytes())?;
    let checkpoint = pack.text("log/checkpoint", CHECKPOINT_BYTES_MAX)?;
    let head = Checkpoint::open(checkpoint.as_bytes(), &log.origin, &log.vkey)
        .map_err(|invalid| invalid.of("log/checkpoint"))?;
    let entries = read_entries(pack, &checkpoint, &head, takes)?;
    Ok((head, entries))
}

fn read_entries(
    pack: &mut Reader<impl Read>,
    checkpoint: &str,
    head: &Checkpoint,
    takes: impl Fn(&DeviceAddress) -> bool,
) -> Outcome<Vec<Proven>> {
    let mut entries: Vec<Proven> = Vec::new();
    while let Some(path) = pack.peek().map(str::to_owned).filter(|path| path.starts_with("log/")) {
        let index = path.strip_prefix("log/").and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
        let index = index.filter(|index| entries.last().is_none_or(|last| last.index < *index));
        let index = index.ok_or_else(|| refused(format!("{path} does not stand in its place")))?;
        let text = pack.text(&format!("log/{index}.json"), ENTRY_BYTES_MAX)?;
        let proof = pack.text(&format!("log/{index}.proof"), PROOF_BYTES_MAX)?;
        let (place, hashes, note) =
            Proven::read_file(&proof).map_err(|failure| failure.of(format!("log/{index}.proof")))?;
        if place != index || note != checkpoint {
            return Err(refused(format!("log/{index}.proof is of another entry or another head")));
        }
        let proven =
            Proven::check(index, text, hashes, head).map_err(|failure| failure.of(format!("log/{index}.proof")))?;
        if proven.to_file(checkpoint) != proof {
            return Err(refused(format!("log/{index}.proof is not as Belay writes it")));
        }
        if let Some(signed) = statement(&proven, &takes) {
            pack.exact(&format!("log/{index}.statement"), signed.text.as_bytes())?;
            pack.exact(&format!("log/{index}.statement.sig"), signed.signature.as_bytes())?;
        }
        entries.push(proven);
    }
    Ok(entries)
}

/// The statement in an entry, if there is one of a device that belongs here.
fn statement(proven: &Proven, takes: impl Fn(&DeviceAddress) -> bool) -> Option<&SignedStatement> {
    let signed = proven.entry.statement.as_ref()?;
    Statement::parse(signed.text.as_bytes()).ok().filter(|said| takes(&said.head.device)).map(|_| signed)
}

/// What `ssh-keygen -Y verify -f` reads: every key that signed something here, under what it may sign.
///
/// # Errors
/// A policy does not read.
pub fn allowed_signers(policies: &Policies, signers: &[Signer<'_>]) -> Outcome<String> {
    let line = |name: &str, spaces: &str, key: &PublicKey| {
        let key: String = key.line().split(' ').take(2).collect::<Vec<_>>().join(" ");
        format!("{name} namespaces=\"{spaces}\" {key}\n")
    };
    let mut text: String = signers.iter().map(|(name, spaces, key)| line(name, spaces, key)).collect();
    let mut roots = BTreeSet::new();
    for signed in policies.values().flatten() {
        roots.extend(Policy::parse(&signed.bytes)?.root.keys.iter().map(|key| line("root", "policy.v1@belay", key)));
    }
    text.extend(roots);
    Ok(text)
}
