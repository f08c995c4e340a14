//! The signatures of a document that several people sign, each on their own machine: gathered from the files beside it.
//!
//! `FILE.sig` is what is signed here; what others send back lies beside it as `FILE.bob.sig` or however it was saved. What
//! the signatures are worth is not decided here.

use crate::{
    failure::{Outcome, While, refused, usage},
    home,
    screen::note,
};
use belay_certs::{Namespace, PublicKey, Signed, envelope, limits::ROOT_KEYS_MAX, sshsig};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Signature files beside one document: each root key signs once, and mistakes are corrected once.
const FILES_MAX: usize = 2 * ROOT_KEYS_MAX;

/// The document with one signature of each key that signed these very bytes: those in `more`, then those beside it. What
/// does not fit is told and left out.
///
/// # Errors
/// A file in `more` has no signature of these bytes, or a file cannot be read.
pub fn gather(document: &Path, bytes: Vec<u8>, more: &[PathBuf]) -> Outcome<Signed> {
    let mut gathered = Gathered { seen: BTreeSet::new(), signed: Signed { bytes, signatures: Vec::new() } };
    for path in more {
        let text = home::read_text(path)?;
        if gathered.take(path, &text) == 0 {
            return Err(usage(format!("{} has no signature of {}", path.display(), document.display())));
        }
    }
    for path in beside(document)? {
        gathered.take(&path, &home::read_text(&path)?);
    }
    Ok(gathered.signed)
}

struct Gathered {
    seen: BTreeSet<PublicKey>,
    signed: Signed,
}

impl Gathered {
    /// Takes the signatures of one file; how many of them fit.
    fn take(&mut self, path: &Path, text: &str) -> usize {
        let found = match envelope::signatures(text) {
            Ok(found) => found,
            Err(invalid) => {
                note(&format!("belay: {}: {invalid}; it is left out", path.display()));
                return 0;
            }
        };
        let mut fitting = 0;
        for armored in found {
            match sshsig::verify(Namespace::Policy, &self.signed.bytes, &armored) {
                Ok(key) => {
                    fitting += 1;
                    if self.seen.insert(key) {
                        self.signed.signatures.push(armored);
                    }
                }
                Err(invalid) => note(&format!("belay: {}: {invalid}; it is left out", path.display())),
            }
        }
        fitting
    }
}

/// The files in the document's directory that are called as the document, with anything behind it, and `.sig` at the end.
fn beside(document: &Path) -> Outcome<Vec<PathBuf>> {
    let name = document.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let dir = match document.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    let doing = || format!("cannot look for signatures in {}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).during(doing)? {
        let path = entry.during(doing)?.path();
        let called = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if called.starts_with(&name) && called.ends_with(".sig") {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(refused(format!("there are over {FILES_MAX} signature files beside {}", document.display())));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::PrivateKey;
    use std::fs;

    const TEXT: &[u8] = b"version = 1\n";

    fn signature(key: &PrivateKey, bytes: &[u8]) -> String {
        sshsig::sign(Namespace::Policy, bytes, key).unwrap()
    }

    #[test]
    fn signatures_of_several_files_come_together_once_for_each_key() {
        let dir = tempfile::tempdir().unwrap();
        let document = dir.path().join("acme-1.toml");
        let keys: Vec<PrivateKey> = (0..4).map(|_| PrivateKey::generate_ed25519("").unwrap()).collect();
        let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
        write("acme-1.toml.sig", signature(&keys[0], TEXT) + &signature(&keys[0], TEXT));
        write("acme-1.toml.bob.sig", signature(&keys[1], TEXT) + &signature(&keys[0], TEXT));
        write("acme-1.toml (2).sig", signature(&keys[2], b"version = 2\n"));
        write("acme-1.toml.rubbish.sig", "hello\n".to_owned());
        write("acme-2.toml.sig", signature(&keys[3], TEXT));
        assert_eq!(gather(&document, TEXT.to_vec(), &[]).unwrap().signatures.len(), 2);
        write("sent", signature(&keys[3], TEXT));
        assert_eq!(gather(&document, TEXT.to_vec(), &[dir.path().join("sent")]).unwrap().signatures.len(), 3);
        let wrong = gather(&document, TEXT.to_vec(), &[dir.path().join("acme-1.toml (2).sig")]).unwrap_err();
        assert!(wrong.status() == 2 && wrong.sentence().contains("has no signature of"), "{wrong:?}");
    }

    #[test]
    fn a_flood_of_signature_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..=FILES_MAX {
            fs::write(dir.path().join(format!("p.toml.{number}.sig")), "").unwrap();
        }
        assert!(gather(&dir.path().join("p.toml"), TEXT.to_vec(), &[]).is_err());
    }
}
