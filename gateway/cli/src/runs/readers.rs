//! Who reads what runs print where the gateway may not: a key of this home's own, named in every order, and the keys that open
//! it here.
//!
//! Not here: what is sealed and how (`belay_certs::output`).

use crate::{
    commands::desk::stream::identities,
    failure::{Failure, Outcome, While, refused},
    home::{self, Home},
};
use age::secrecy::ExposeSecret;
use belay_certs::{
    DeviceAddress, Fault, TenantName,
    output::{Read, open, read_cut_off},
    policy::Policies,
    recording::blob::Identities,
};
use std::{fs, io::ErrorKind, path::Path};

/// The home's own key.
const OWN: &str = "output.age";
/// What `age-keygen` writes before the public half.
const PUBLIC: &str = "# public key: ";

/// The recipients that an order of this home names: `more`, and where the policy seals what runs print the home's own, made
/// when it is not there.
///
/// # Errors
/// The key cannot be made or read.
pub fn of_order(home: &Home, policies: &Policies<'_>, more: &[String]) -> Outcome<Vec<String>> {
    let recording = &policies.tenant.policy().recording;
    let seals = recording.is_on() && !recording.readable_by_gateway;
    let mut readers = more.to_vec();
    if seals || !more.is_empty() {
        let own = own(home)?;
        if !readers.contains(&own) {
            readers.push(own);
        }
    }
    Ok(readers)
}

/// The public half of the home's own key.
///
/// Cut off half-way: no key is there, or a whole one that no order names yet.
fn own(home: &Home) -> Outcome<String> {
    let path = home.dir().join(OWN);
    if let Some(public) = public(&path)? {
        return Ok(public);
    }
    let identity = age::x25519::Identity::generate();
    let text = format!(
        "# Opens what runbooks print that are ordered from this home, where only the auditors could read it otherwise.\n\
         {PUBLIC}{}\n{}\n",
        identity.to_public(),
        identity.to_string().expose_secret()
    );
    let doing = || format!("cannot write {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(home.dir()).during(doing)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.as_file().sync_all()).during(doing)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(identity.to_public().to_string()),
        // Another `belay run` was faster: its key counts.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            public(&path)?.ok_or_else(|| refused(format!("{} was removed just now: try again", path.display())))
        }
        Err(error) => Err(error.error).during(doing),
    }
}

fn public(path: &Path) -> Outcome<Option<String>> {
    if !fs::exists(path).during(|| format!("cannot look for {}", path.display()))? {
        return Ok(None);
    }
    let text = home::read_text(path)?;
    let public = text.lines().find_map(|line| line.strip_prefix(PUBLIC)).map(str::to_owned);
    public.map(Some).ok_or_else(|| {
        refused(format!("{} does not say its public key: put back the line `{PUBLIC}age1…`", path.display()))
    })
}

/// The keys here that may open what ran in a tenant: this home's own, and the auditor's, given or kept.
///
/// # Errors
/// A file cannot be read or holds no key.
pub fn keys(home: &Home, tenant: &TenantName, given: Option<&Path>) -> Outcome<Option<Identities>> {
    let path = home.dir().join(OWN);
    let own = match fs::exists(&path).during(|| format!("cannot look for {}", path.display()))? {
        true => Some(Identities::parse(&home::read_text(&path)?).during(|| path.display().to_string())?),
        false => None,
    };
    let auditors = identities(home, tenant, given)?;
    Ok(match (own, auditors) {
        (Some(own), auditors) => Some(own.and(auditors)),
        (None, auditors) => auditors,
    })
}

/// What is in an output file, as far as it is there, for whoever has `keys`.
///
/// # Errors
/// It is no output file, or it is sealed and no key opens it: the sentence says who can.
pub fn read(device: &DeviceAddress, file: &[u8], keys: Option<&Identities>) -> Outcome<Read> {
    let read = read_cut_off(file).map_err(|invalid| invalid.of(device))?;
    open(read, keys).map_err(|invalid| match invalid.fault {
        Fault::WrongSigner => refused(format!(
            "{device}: what it printed is encrypted, and no key here opens it: the auditors' does (--age-identity FILE), or the \
             home's from which it was ordered"
        )),
        _ => Failure::from(invalid.of(device)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stage::Stage;
    use belay_certs::{
        output::{Line, Stream, seal},
        policy::Recording,
        recording::blob::Readers,
    };
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_home_has_one_key_that_nobody_else_reads_and_that_opens_what_was_sealed_to_it() {
        let stage = Stage::new();
        let (first, again) = (own(&stage.home).unwrap(), own(&stage.home).unwrap());
        assert_eq!(first, again);
        let path = stage.home.dir().join(OWN);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (acme, web1) = ("acme".parse().unwrap(), "web1.acme".parse().unwrap());
        let line = Line::Piece { at: 1, stream: Stream::Out, bytes: b"words\n".to_vec() };
        let sealed = seal(&line.to_text(), &Readers::of_run(&Recording::default(), &[first]).unwrap()).unwrap();
        let keys = keys(&stage.home, &acme, None).unwrap();
        assert_eq!(read(&web1, sealed.as_bytes(), keys.as_ref()).unwrap().lines, [line]);
        let refused = read(&web1, sealed.as_bytes(), None).unwrap_err();
        assert!(refused.sentence().starts_with("web1.acme: what it printed is encrypted"), "{}", refused.sentence());
        fs::write(&path, "AGE-SECRET-KEY-1\n").unwrap();
        assert!(own(&stage.home).unwrap_err().sentence().contains("public key"));
        assert!(super::keys(&stage.home, &acme, None).is_err());
    }

    #[test]
    fn a_file_that_is_none_is_named_with_its_device() {
        let refused = read(&"web1.acme".parse().unwrap(), b"hello\n", None).unwrap_err();
        assert!(refused.sentence().starts_with("web1.acme: line 1"), "{}", refused.sentence());
    }
}
