//! One tenant's policies: from the pinned version 0 forward, out of the cache, a directory or a gateway, always verified.
//!
//! Which tenants a laptop reaches is not here: see `trusted.rs`.

use crate::{
    failure::{Failure, Outcome, refused},
    fetch::{self, Shown},
    gateway::{Gateway, at_once},
    home::{self, Home},
    screen::note,
    signatures,
};
use belay_certs::{
    Digest, PublicKey, Signed, TenantName, envelope,
    policy::{Chain, Policy, Step},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Versions of one policy that are read from a directory: 27 years of one a day.
const VERSIONS_MAX: u64 = 10_000;

/// The verified newest version and the exact document it came from.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it says and that it follows from the pin.
    pub chain: Chain,
    /// Its bytes and signatures.
    pub newest: Signed,
}

impl Held {
    /// What the newest version says.
    pub fn policy(&self) -> &Policy {
        self.chain.policy()
    }
}

/// Starts from the pin or from what is held and takes every document in turn; gives back those that were new, each with the
/// signatures that count and no others: whoever brought them chose the rest, and the cache is read again.
///
/// # Errors
/// The first document does not have the pinned digest, or one does not follow from the one before it.
pub fn follow(pin: &Digest, held: Option<Held>, documents: Vec<Signed>) -> Outcome<(Held, Vec<Signed>)> {
    let mut fresh = Vec::new();
    let mut held = held;
    for signed in documents {
        let next = match &held {
            None => Some(begin(pin, &signed)?),
            Some(held) => match held.chain.extend(&signed)? {
                Step::Next(chain) => Some(chain),
                Step::Same => None,
            },
        };
        if let Some(chain) = next {
            let newest = counted(&chain, signed.bytes);
            fresh.push(newest.clone());
            held = Some(Held { chain, newest });
        }
    }
    let held = held.ok_or_else(|| refused(format!("no version 0 with the pinned hash {pin} was found")))?;
    Ok((held, fresh))
}

/// The newest version of `chain`, whose bytes these are, as it is kept.
pub fn counted(chain: &Chain, bytes: Vec<u8>) -> Signed {
    Signed { bytes, signatures: chain.signatures().to_vec() }
}

fn begin(pin: &Digest, signed: &Signed) -> Outcome<Chain> {
    let digest = Digest::of(&signed.bytes);
    if digest != *pin {
        return Err(refused(format!(
            "the hash {pin} is pinned, and this version 0 has {digest}: it is not the policy you trust"
        )));
    }
    Ok(Chain::begin(signed)?)
}

/// The verified versions of the cache, or nothing where there is no version 0.
///
/// # Errors
/// A file of the cache does not verify.
pub fn cached(home: &Home, tenant: &TenantName, pin: &Digest) -> Outcome<Option<Held>> {
    let dir = home.policies(tenant);
    let documents = read_dir(&dir)?;
    if documents.is_empty() {
        return Ok(None);
    }
    let (held, _) = follow(pin, None, documents).map_err(|failure| failure.of(dir.display()))?;
    check_tenant(&held, tenant)?;
    Ok(Some(held))
}

/// All versions that are kept of a tenant's policy, from 0 on, with the signatures that count.
///
/// # Errors
/// A file of the cache cannot be read.
pub fn documents(home: &Home, tenant: &TenantName) -> Outcome<Vec<Signed>> {
    read_dir(&home.policies(tenant))
}

/// The device CAs that earlier versions in the cache named and `now` does not. Every document there was verified when it came.
pub fn device_cas_gone(home: &Home, tenant: &TenantName, now: &[PublicKey]) -> Vec<PublicKey> {
    let documents = read_dir(&home.policies(tenant)).unwrap_or_default();
    let policies = documents.iter().filter_map(|signed| Policy::parse(&signed.bytes).ok());
    let mut gone: Vec<PublicKey> =
        policies.flat_map(|policy| policy.devices.ca).filter(|key| !now.contains(key)).collect();
    gone.sort();
    gone.dedup();
    gone
}

/// The chain from a directory of policy files with the signatures that were gathered there, and its documents for the cache.
///
/// # Errors
/// There is no version 0, or a file does not verify.
pub fn from_dir(dir: &Path, pin: &Digest) -> Outcome<(Held, Vec<Signed>)> {
    let documents = read_dir_with(dir, |path| signatures::gather(path, home::read(path)?, &[]))?;
    if documents.is_empty() {
        return Err(refused(format!("{} has no policy-0.toml", dir.display())));
    }
    follow(pin, None, documents).map_err(|failure| failure.of(dir.display()))
}

/// The newest chain a gateway has, verified from what is held here; new versions go into the cache.
///
/// # Errors
/// The gateway cannot be asked, or what it gives does not follow from the pin.
pub fn refresh(home: &Home, gateway: &Gateway<'_>, tenant: &TenantName, pin: &Digest) -> Outcome<Held> {
    let held = cached(home, tenant, pin)?;
    let versions = held.iter().map(|held| (tenant.clone(), held.chain.version())).collect();
    let news = fetch::news(gateway, &versions, Some(&BTreeSet::from([tenant.clone()])))?;
    let shown =
        news.get(tenant).ok_or_else(|| Failure::Gateway(format!("the gateway shows you nothing of {tenant}")))?;
    let taken = take(home, tenant, pin, held, shown)?;
    write_all(&taken.files(home))?;
    Ok(taken.held)
}

/// A chain that was followed, and what of it is not in the cache yet.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Where it stands.
    pub held: Held,
    /// The versions that were new, oldest first.
    fresh: Vec<Signed>,
}

impl Taken {
    /// The files of what was new, in the cache.
    pub fn files(&self, home: &Home) -> Vec<(PathBuf, &Signed)> {
        files(home, self.held.chain.tenant(), self.held.chain.version(), &self.fresh)
    }

    /// Whether anything was new.
    pub fn is_news(&self) -> bool {
        !self.fresh.is_empty()
    }
}

/// What is held, followed to what a gateway shows. Nothing is kept yet.
///
/// # Errors
/// It does not follow from what is held or pinned. A gateway that is behind what was verified here is only told about.
pub fn take(home: &Home, tenant: &TenantName, pin: &Digest, held: Option<Held>, shown: &Shown) -> Outcome<Taken> {
    let of_gateway = |failure: Failure| failure.of(format!("the gateway's policy of {tenant}"));
    let (held, fresh) = follow(pin, held, shown.documents()?).map_err(of_gateway)?;
    check_tenant(&held, tenant)?;
    let version = held.chain.version();
    if shown.newest < version {
        note(&format!(
            "belay: {tenant}: the gateway shows version {} as the newest, and version {version} was verified here before: it \
             is behind or hides it; `belay policy push {}` brings it",
            shown.newest,
            home.policies(tenant).join(format!("policy-{version}.toml")).display()
        ));
        return Ok(Taken { held, fresh });
    }
    if shown.newest > version || shown.digest != held.chain.digest() {
        return Err(of_gateway(refused(format!(
            "its version {} is {}, which does not follow from version {version} held here, {}",
            shown.newest,
            shown.digest,
            held.chain.digest()
        ))));
    }
    Ok(Taken { held, fresh })
}

/// The pin is a hash of one tenant's document: whoever asks for another's name must not get it.
fn check_tenant(held: &Held, tenant: &TenantName) -> Outcome {
    if held.chain.tenant() != tenant {
        return Err(refused(format!("the pinned policy is of {}, not of {tenant}", held.chain.tenant())));
    }
    Ok(())
}

/// Puts verified versions into the cache; the last of `documents` is `newest`.
///
/// # Errors
/// They cannot be written.
pub fn keep(home: &Home, tenant: &TenantName, newest: u64, documents: &[Signed]) -> Outcome {
    write_all(&files(home, tenant, newest, documents))
}

fn files<'a>(home: &Home, tenant: &TenantName, newest: u64, documents: &'a [Signed]) -> Vec<(PathBuf, &'a Signed)> {
    let first = (newest + 1).saturating_sub(documents.len() as u64);
    let path = |version: u64| home.policies(tenant).join(format!("policy-{version}.toml"));
    (first..).map(path).zip(documents).collect()
}

/// Writes several versions at once: the disk is waited for at each file. Cut off half-way there may be a gap: the chain ends
/// before it, and the gateway's next answer fills it.
///
/// # Errors
/// One cannot be written. What was written is whole.
pub fn write_all(files: &[(PathBuf, &Signed)]) -> Outcome {
    at_once(files, |(path, signed)| write(path, signed)).into_iter().collect()
}

/// Writes a document and, first, its signatures beside it: a document that is there is always signed.
///
/// # Errors
/// They cannot be written.
pub fn write(path: &Path, signed: &Signed) -> Outcome {
    home::write_whole(&signature_path(path), envelope::armor(signed).as_bytes(), 0o644)?;
    home::write_whole(path, &signed.bytes, 0o644)
}

/// A document and the signatures beside it.
///
/// # Errors
/// One of the files is missing or broken.
pub fn read(path: &Path) -> Outcome<Signed> {
    let sig = signature_path(path);
    let signatures = envelope::signatures(&home::read_text(&sig)?).map_err(|invalid| invalid.of(sig.display()))?;
    Ok(Signed { bytes: home::read(path)?, signatures })
}

/// `NAME.toml` → `NAME.toml.sig`.
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

fn read_dir(dir: &Path) -> Outcome<Vec<Signed>> {
    read_dir_with(dir, read)
}

fn read_dir_with(dir: &Path, read: impl Fn(&Path) -> Outcome<Signed>) -> Outcome<Vec<Signed>> {
    (0..VERSIONS_MAX)
        .map(|version| dir.join(format!("policy-{version}.toml")))
        .take_while(|path| path.exists())
        .map(|path| read(&path))
        .collect()
}

#[cfg(test)]
#[path = "chain/tests.rs"]
mod tests;
