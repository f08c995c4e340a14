//! Who reads what runs print where the gateway may not: a key of this home's own, named in every order, and the keys that open
//! it here.
//!
//! Not here: what is sealed and how (`belay_certs::output`).

use crate::{
    commands::desk::stream::identities,
    failure::{Failure, Outcome, While, refused, usage},
    home::{self, Home},
    screen::note,
};
use age::secrecy::ExposeSecret;
use belay_certs::{
    DeviceAddress, Fault, Invalid, TenantName,
    limits::OUTPUT_TO_MAX,
    output::{Read, open, read_cut_off},
    policy::Policies,
    recording::blob::Identities,
};
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The home's own key.
const OWN: &str = "output.age";

/// Whether the home's own key is made when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// The order may be signed.
    Missing,
    /// It will not be: nothing is left behind.
    Nothing,
}

/// The recipients that an order of this home names where the policy encrypts what runs print: the home's own and `more`. None
/// where it does not.
///
/// # Errors
/// There are too many; or the key cannot be made or read.
pub fn of_order(home: &Home, policies: &Policies<'_>, more: &[String], make: Make) -> Outcome<Vec<String>> {
    let recording = &policies.tenant.policy().recording;
    if recording.to.is_empty() || recording.readable_by_gateway {
        return Ok(Vec::new());
    }
    let mut readers: Vec<String> = own(home, make)?.into_iter().collect();
    for one in more {
        if !readers.contains(one) {
            readers.push(one.clone());
        }
    }
    if readers.len() > OUTPUT_TO_MAX {
        let sentence =
            format!("--output-to: an order names {OUTPUT_TO_MAX} readers at most, this home's own among them");
        return Err(usage(sentence));
    }
    Ok(readers)
}

/// Whoever asks for readers learns that they would change nothing.
///
/// # Errors
/// The policy lets the gateway read what runs print, or records nothing.
pub fn check_wanted(policies: &Policies<'_>, wanted: &[String]) -> Outcome {
    let recording = &policies.tenant.policy().recording;
    match wanted.is_empty() || !recording.to.is_empty() && !recording.readable_by_gateway {
        true => Ok(()),
        false => Err(usage(format!(
            "--output-to changes nothing in {}: its policy does not encrypt recordings, so the gateway reads what is printed",
            policies.tenant.tenant()
        ))),
    }
}

/// The public half of the home's own key.
///
/// Cut off half-way: no key is there, or a whole and durable one that no order names yet.
fn own(home: &Home, make: Make) -> Outcome<Option<String>> {
    let path = home.dir().join(OWN);
    match (home::read_text(&path), make) {
        (Ok(text), _) => return public(&text).during(|| path.display().to_string()).map(Some),
        (Err(_), Make::Missing) if is_missing(&path) => {}
        (Err(_), Make::Nothing) if is_missing(&path) => return Ok(None),
        (Err(failure), _) => return Err(failure),
    }
    let identity = age::x25519::Identity::generate();
    let text = format!(
        "# Opens what runbooks print that are ordered from this home, where only the auditors could read it otherwise.\n\
         # public key: {}\n{}\n",
        identity.to_public(),
        identity.to_string().expose_secret()
    );
    let doing = || format!("cannot write {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(home.dir()).during(doing)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).during(doing)?;
    match file.persist_noclobber(&path) {
        Ok(_) => {
            File::open(home.dir()).and_then(|dir| dir.sync_all()).during(doing)?;
            Ok(Some(identity.to_public().to_string()))
        }
        // Another `belay run` was faster: its key counts.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            public(&home::read_text(&path)?).during(|| path.display().to_string()).map(Some)
        }
        Err(error) => Err(error.error).during(doing),
    }
}

/// Nothing at all is there, not even a link that leads nowhere.
fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Of the first key of a file, whatever its comments say.
fn public(text: &str) -> Result<String, Invalid> {
    Identities::parse(text)?
        .public()
        .ok_or_else(|| Invalid::new(Fault::Malformed, "there is no age identity in the file"))
}

/// The keys here that may open what ran in a tenant.
#[derive(Debug, Clone)]
pub struct Keys<'a> {
    home: &'a Home,
    /// The auditor's key, in the place of the one that is kept.
    given: Option<PathBuf>,
    /// What was read: a pipe gives its key once.
    held: Arc<Mutex<Held>>,
}

/// Keys as they were read; none where there is none.
#[derive(Default)]
struct Held {
    own: Option<Option<Arc<Identities>>>,
    auditors: BTreeMap<TenantName, Option<Arc<Identities>>>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys")
    }
}

impl<'a> Keys<'a> {
    /// This home's own, and the auditor's: `given`, or kept here.
    pub fn of(home: &'a Home, given: Option<PathBuf>) -> Self {
        Self { home, given, held: Arc::default() }
    }

    /// What is in an output file, as far as it is there. No key is looked at that is not needed.
    ///
    /// # Errors
    /// It is no output file; or it is sealed, and altered or no key opens it: the sentence says who can.
    pub fn read(&self, device: &DeviceAddress, file: &[u8]) -> Outcome<Read> {
        let read = read_cut_off(file).map_err(|invalid| invalid.of(device))?;
        if !read.is_sealed() {
            return Ok(read);
        }
        if let Some(own) = self.own() {
            match open(read.clone(), Some(&own)) {
                Err(invalid) if invalid.fault == Fault::WrongSigner => {}
                answer => return answer.map_err(|invalid| Failure::from(invalid.of(device))),
            }
        }
        let auditors = self.auditors(&device.tenant)?;
        open(read, auditors.as_deref()).map_err(|invalid| match invalid.fault {
            Fault::WrongSigner => closed(device),
            _ => Failure::from(invalid.of(device)),
        })
    }

    fn own(&self) -> Option<Arc<Identities>> {
        let read = || {
            let path = self.home.dir().join(OWN);
            match keys_in(&path) {
                Ok(own) => Some(Arc::new(own)),
                Err(_) if is_missing(&path) => None,
                // A damaged one does not keep the auditor's from opening it.
                Err(failure) => {
                    note(&format!("belay: {}", failure.sentence()));
                    None
                }
            }
        };
        self.held().own.get_or_insert_with(read).clone()
    }

    fn auditors(&self, tenant: &TenantName) -> Outcome<Option<Arc<Identities>>> {
        let mut held = self.held();
        if let Some(auditors) = held.auditors.get(tenant) {
            return Ok(auditors.clone());
        }
        let auditors = identities(self.home, tenant, self.given.as_deref())?.map(Arc::new);
        held.auditors.insert(tenant.clone(), auditors.clone());
        Ok(auditors)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys_in(path: &Path) -> Outcome<Identities> {
    Identities::parse(&home::read_text(path)?).during(|| path.display().to_string())
}

fn closed(device: &DeviceAddress) -> Failure {
    refused(format!(
        "{device}: what it printed is encrypted, and no key here opens it: the auditors' does (--age-identity FILE), or the home's \
         from which it was ordered"
    ))
}

#[cfg(test)]
#[path = "readers/tests.rs"]
mod tests;
