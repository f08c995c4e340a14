//! A policy file and the signatures that several people sent of it: `FILE.sig`, and beside it `FILE.bob.sig` or however it
//! was saved, as `belay policy push` gathers them too. What the signatures are worth is not decided here.

use super::read;
use anyhow::{Context, ensure};
use belay_certs::{
    envelope,
    limits::{POLICY_BYTES_MAX, POLICY_SIGNATURES_MAX, ROOT_KEYS_MAX, SIGNATURE_BYTES_MAX},
    sshsig,
};
use std::path::{Path, PathBuf};

/// Signature files beside one policy: each root key signs once, and mistakes are corrected once.
const FILES_MAX: usize = 2 * ROOT_KEYS_MAX;

/// A policy's text, and every signature in the files beside it once. What is no signature file is told and left out.
///
/// # Errors
/// The file is no text, or nothing beside it holds a signature.
pub(super) fn read_signed(policy: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let bytes = read(policy, POLICY_BYTES_MAX)?;
    let text = sshsig::text(&bytes, POLICY_BYTES_MAX).with_context(|| policy.display().to_string())?.to_owned();
    let (mut signatures, mut left_out) = (Vec::new(), None);
    for path in beside(policy)? {
        match signatures_in(&path) {
            Ok(found) => signatures.extend(found),
            Err(error) => {
                tracing::warn!("it is left out: {error:#}");
                left_out = Some(error);
            }
        }
    }
    signatures.sort();
    signatures.dedup();
    match left_out {
        Some(error) if signatures.is_empty() => Err(error),
        Some(_) | None => {
            ensure!(!signatures.is_empty(), "no signature of it is there: {}.sig cannot be read", policy.display());
            Ok((text, signatures))
        }
    }
}

fn signatures_in(path: &Path) -> anyhow::Result<Vec<String>> {
    let armored = read(path, POLICY_SIGNATURES_MAX * (SIGNATURE_BYTES_MAX + 2))?;
    let armored = String::from_utf8(armored).with_context(|| format!("{} is not text", path.display()))?;
    envelope::signatures(&armored).with_context(|| path.display().to_string())
}

/// The files in the policy's directory that are called as it is, with anything behind it, and `.sig` at the end.
fn beside(policy: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = policy.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir = match policy.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    let described = || format!("cannot look for signatures in {}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(described)? {
        let path = entry.with_context(described)?.path();
        let called = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if called.starts_with(name) && called.ends_with(".sig") {
            found.push(path);
        }
        ensure!(found.len() <= FILES_MAX, "there are over {FILES_MAX} signature files beside {}", policy.display());
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::{Namespace, PrivateKey};
    use std::fs;

    #[test]
    fn signatures_made_on_two_laptops_come_together_and_rubbish_stays_out() {
        let dir = tempfile::tempdir().unwrap();
        let (file, text) = (dir.path().join("policy-0.toml"), "version = 0\n");
        fs::write(&file, text).unwrap();
        let signature = || {
            let key = PrivateKey::generate_ed25519("").unwrap();
            sshsig::sign(Namespace::Policy, text.as_bytes(), &key).unwrap()
        };
        let (one, two) = (signature(), signature());
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("policy-0.toml.rubbish.sig", "hello\n");
        let alone = read_signed(&file).unwrap_err();
        assert!(format!("{alone:#}").contains("rubbish.sig"), "{alone:#}");
        write("policy-0.toml.sig", &one);
        write("policy-0.toml.bob.sig", &format!("{two}\n{one}"));
        write("policy-1.toml.sig", &signature());
        assert_eq!(read_signed(&file).unwrap().1.len(), 2);
        for number in 0..FILES_MAX {
            write(&format!("policy-0.toml.{number}.sig"), "");
        }
        assert!(read_signed(&file).is_err());
    }
}
