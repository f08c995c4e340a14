//! `belay policy`: check, sign, push and show. A policy is shown as its difference before anybody signs it.

use super::now;
use crate::{
    chain::{self, Held},
    failure::{Outcome, refused, usage},
    gateway::{Gateway, Route},
    home::{self, Home},
    keygen, next_version,
    screen::{confirm, document, json, note, say, table},
    signatures,
    trusted::Trusted,
};
use belay_certs::{
    Namespace, PublicKey, Signed, TenantName, Timestamp, envelope,
    policy::{Chain, Policy, difference},
    sshsig,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// `belay policy …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the next version's text, ready to be changed
    Draft(super::draft::Args),
    /// Change the next version in your editor, then sign and push it
    Edit(super::draft::Edit),
    /// Sign and push the next version of every policy that expires soon, unchanged
    Renew(super::renew::Args),
    /// Say whether a file is a valid policy and what it changes
    Check {
        /// The policy file
        file: PathBuf,
    },
    /// Show what a file changes, then sign it: FILE.sig, with the signatures of others that lie beside it as FILE*.sig
    Sign {
        /// The policy file
        file: PathBuf,
        /// A root key, or the .pub of one that your ssh-agent holds; may be given again
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
        /// Sign without asking
        #[arg(long)]
        yes: bool,
    },
    /// Send a signed policy to the gateway, with every signature that lies beside it as FILE*.sig
    Push {
        /// The policy file
        file: PathBuf,
        /// A signature file that lies elsewhere; may be given again
        #[arg(long = "sig", value_name = "FILE")]
        signatures: Vec<PathBuf>,
    },
    /// Print the newest verified policy of a tenant, or list all tenants
    Show {
        /// The tenant
        tenant: Option<TenantName>,
        /// Print JSON (of the list)
        #[arg(long, conflicts_with = "tenant")]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// What was refused, and why.
pub fn run(home: &Home, command: Command) -> Outcome {
    match command {
        Command::Draft(args) => super::draft::run(home, &args),
        Command::Edit(args) => super::draft::edit(home, &args),
        Command::Renew(args) => super::renew::run(home, &args),
        Command::Check { file } => check(home, &file),
        Command::Sign { file, keys, yes } => sign(home, &file, &keys, yes),
        Command::Push { file, signatures } => push_file(home, &file, &signatures),
        Command::Show { tenant: Some(tenant), .. } => show(home, &tenant),
        Command::Show { tenant: None, json } => list(home, json),
    }
}

fn check(home: &Home, file: &Path) -> Outcome {
    let bytes = home::read(file)?;
    let policy = Policy::parse(&bytes).map_err(|invalid| invalid.of(file.display()))?;
    let before = before(home, &policy)?;
    say(&format!("{} is a valid policy: version {} of {}", file.display(), policy.version, policy.tenant));
    match &before {
        Some(held) if held.newest.bytes == bytes => say("it is the newest version itself"),
        Some(held) => {
            say(&changes(held, &policy).join("\n"));
            follows(held, &policy)?;
            standing(file, before.as_ref(), bytes)?;
        }
        None => {
            say("no version of it is trusted here, so there is nothing to compare it with");
            if policy.version == 0 {
                standing(file, None, bytes)?;
            }
        }
    }
    Ok(())
}

/// Says whether the signatures beside the file are enough.
fn standing(file: &Path, before: Option<&Held>, bytes: Vec<u8>) -> Outcome {
    let signed = signatures::gather(file, bytes, &[])?;
    say(&match still_missing(before, &signed) {
        Some(missing) => format!("not valid yet: {missing}"),
        None => "it has the signatures it needs".to_owned(),
    });
    Ok(())
}

/// The last verified version of the same tenant, if the tenant is trusted here: of the gateway, or else of the cache.
fn before(home: &Home, policy: &Policy) -> Outcome<Option<Held>> {
    if home.pins()?.pins.is_empty() {
        return Ok(None);
    }
    let cached = match Trusted::load(home)?.tenant(&policy.tenant) {
        Ok(held) => held.clone(),
        Err(_) => return Ok(None),
    };
    let gateway = Gateway::new(home, Route::of(cached.policy())?);
    match chain::refresh(home, &gateway, &policy.tenant, &cached.chain.policy0()) {
        Ok(newer) => Ok(Some(newer)),
        Err(failure) => {
            note(&format!(
                "belay: compared with version {} of the cache: {}",
                cached.chain.version(),
                failure.sentence()
            ));
            Ok(Some(cached))
        }
    }
}

/// What a version says about its place in the chain, checked before it has signatures.
fn follows(held: &Held, policy: &Policy) -> Outcome {
    let chain = &held.chain;
    let next = chain.version().saturating_add(1);
    if policy.version != next {
        return Err(refused(format!(
            "the newest version is {}, so this one must have `version = {next}`, not {}",
            chain.version(),
            policy.version
        )));
    }
    if policy.previous != Some(chain.digest()) {
        return Err(refused(format!("this version must have `previous = \"{}\"`", chain.digest())));
    }
    if policy.issued < chain.issued() {
        return Err(refused(format!(
            "`issued` must not be before {}, when version {} was",
            chain.issued(),
            chain.version()
        )));
    }
    Ok(())
}

fn changes(held: &Held, policy: &Policy) -> Vec<String> {
    let lines = difference(held.policy(), policy);
    let mut out = vec![format!("changes against version {} of {}:", held.chain.version(), policy.tenant)];
    if lines.is_empty() {
        out.push("  none but version, previous, issued and expires".to_owned());
    }
    out.extend(lines.iter().map(|line| format!("  {line}")));
    out
}

fn sign(home: &Home, file: &Path, keys: &[PathBuf], yes: bool) -> Outcome {
    let bytes = home::read(file)?;
    let policy = Policy::parse(&bytes).map_err(|invalid| invalid.of(file.display()))?;
    let before = before(home, &policy)?;
    let mut roots = policy.root.keys.clone();
    match &before {
        Some(held) => {
            follows(held, &policy)?;
            note(&changes(held, &policy).join("\n"));
            roots.extend(held.policy().root.keys.iter().cloned());
        }
        None if policy.version == 0 => note(&String::from_utf8_lossy(&bytes)),
        None => {
            return Err(refused(format!(
                "{} is not trusted here, so the change cannot be shown: `belay trust` first",
                policy.tenant
            )));
        }
    }
    check_roots(keys, &roots, &policy)?;
    confirm(&format!("Sign version {} of {}?", policy.version, policy.tenant), yes)?;
    let mut signed = signatures::gather(file, bytes, &[])?;
    keep_others(&mut signed, keys)?;
    for key in keys {
        signed.signatures.push(keygen::sign(key, Namespace::Policy, &signed.bytes)?);
    }
    let sig = chain::signature_path(file);
    home::write_whole(&sig, envelope::armor(&signed).as_bytes(), 0o644)?;
    say(&format!("{}: {} signature(s)", sig.display(), signed.signatures.len()));
    say(&match still_missing(before.as_ref(), &signed) {
        Some(missing) => format!(
            "not valid yet: {missing}\nnext: the others sign the same file on their machines, their .sig files are put \
             beside this one as {}.NAME.sig, then: belay policy push {0}",
            file.display()
        ),
        None => format!("next: belay policy push {}", file.display()),
    });
    Ok(())
}

fn check_roots(keys: &[PathBuf], roots: &[PublicKey], policy: &Policy) -> Outcome {
    for path in keys {
        if !roots.contains(&keygen::public(path)?) {
            return Err(usage(format!(
                "{} is no root key of {}: its signature would count for nothing",
                path.display(),
                policy.tenant
            )));
        }
    }
    Ok(())
}

/// Takes the signatures of these keys away: they sign anew.
fn keep_others(signed: &mut Signed, keys: &[PathBuf]) -> Outcome {
    let again = keys.iter().map(|path| keygen::public(path)).collect::<Outcome<Vec<_>>>()?;
    let Signed { bytes, signatures } = signed;
    signatures
        .retain(|armored| sshsig::verify(Namespace::Policy, bytes, armored).is_ok_and(|key| !again.contains(&key)));
    Ok(())
}

fn still_missing(before: Option<&Held>, signed: &Signed) -> Option<String> {
    let verdict = match before {
        Some(held) => held.chain.extend(signed).map(drop),
        None => Chain::begin(signed).map(drop),
    };
    verdict.err().map(|invalid| invalid.sentence)
}

fn push_file(home: &Home, file: &Path, more: &[PathBuf]) -> Outcome {
    let signed = signatures::gather(file, home::read(file)?, more)?;
    let policy = Policy::parse(&signed.bytes).map_err(|invalid| invalid.of(file.display()))?;
    let trusted = Trusted::load(home)?;
    let cached = trusted.tenant(&policy.tenant)?;
    let gateway = Gateway::new(home, Route::of(cached.policy())?);
    let held = chain::refresh(home, &gateway, &policy.tenant, &cached.chain.policy0())?;
    next_version::push(home, &held, &signed)
}

fn show(home: &Home, tenant: &TenantName) -> Outcome {
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([tenant.clone()]))?;
    document(&String::from_utf8_lossy(&trusted.tenant(tenant)?.newest.bytes));
    Ok(())
}

fn list(home: &Home, as_json: bool) -> Outcome {
    let trusted = Trusted::refresh(home)?;
    let now = now();
    if as_json {
        let rows = trusted.reached().map(|held| {
            let policy = held.policy();
            json!({
                "tenant": policy.tenant, "version": policy.version, "digest": held.chain.digest(),
                "policy0": held.chain.policy0(), "issued": policy.issued, "expires": policy.expires,
                "gateway": policy.gateway.ssh, "expired": held.chain.check_expiry(now).is_err(),
                "days_left": held.chain.expires_soon(now),
            })
        });
        json(&rows.collect());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = trusted
        .reached()
        .map(|held| {
            let policy = held.policy();
            vec![
                policy.tenant.to_string(),
                policy.version.to_string(),
                expiry(&held.chain, now),
                policy.gateway.ssh.clone(),
                held.chain.digest().to_string(),
            ]
        })
        .collect();
    say(table(&["TENANT", "VERSION", "EXPIRES", "GATEWAY", "HASH"], &rows).trim_end());
    Ok(())
}

/// When a version expires, and from 30 days before in how many days.
fn expiry(chain: &Chain, now: Timestamp) -> String {
    let expires = chain.policy().expires;
    match (chain.check_expiry(now), chain.expires_soon(now)) {
        (Err(_), _) => format!("{expires} (expired)"),
        (Ok(()), Some(days)) => format!("{expires} (in {days} days)"),
        (Ok(()), None) => expires.to_string(),
    }
}
