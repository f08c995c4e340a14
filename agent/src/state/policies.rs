//! The policy chains this device holds, as the exact signed bytes: `policies/TENANT/POLICY0/VERSION.toml` and `.sig` beside it.
//!
//! Loading verifies every version again. A chain is named by the digest of its version 0, so that a provider whose chain is
//! replaced in the tenant's policy never overwrites, and never revives, the one before. Which chains count is not known here.

use super::files::{self, Broken};
use crate::limits::POLICY_VERSIONS_MAX;
use belay_certs::{
    Digest, Signed, TenantName,
    limits::{POLICY_BYTES_MAX, POLICY_SIGNATURES_MAX, SIGNATURE_BYTES_MAX},
    policy::{Chain, Step},
};
use std::path::{Path, PathBuf};

/// The first line of each armoured signature.
const ARMOR: &str = "-----BEGIN SSH SIGNATURE-----";
/// All signatures of one version, each with its line end.
const SIGNATURES_BYTES_MAX: u64 = (POLICY_SIGNATURES_MAX * (SIGNATURE_BYTES_MAX + 1)) as u64;

/// The directory of chains.
#[derive(Debug, Clone)]
pub(crate) struct PolicyFiles {
    /// `policies/`.
    root: PathBuf,
}

impl PolicyFiles {
    /// The chains under `root`, which is made when it is not there.
    pub(crate) fn open(root: PathBuf) -> Result<Self, Broken> {
        files::make_directory(&root)?;
        Ok(Self { root })
    }

    /// The chain of `tenant` that begins with `policy0`, verified again from its version 0; none when none is held.
    ///
    /// # Errors
    /// When a file cannot be read, or a version is not what was verified when it was kept: nothing older is taken for it.
    pub(crate) fn load(&self, tenant: &TenantName, policy0: Digest) -> Result<Option<Chain>, Broken> {
        let directory = self.directory(tenant, policy0);
        let Some(first) = read_version(&directory, 0)? else { return Ok(None) };
        let damaged = |version: u64, why: &dyn std::fmt::Display| Broken::damaged(&document(&directory, version), why);
        let mut chain = Chain::begin(&first).map_err(|refused| damaged(0, &refused))?;
        if chain.policy0() != policy0 || chain.tenant() != tenant {
            return Err(damaged(0, &"it is another policy than the one pinned"));
        }
        for version in 1..POLICY_VERSIONS_MAX {
            let Some(signed) = read_version(&directory, version)? else { break };
            match chain.extend(&signed).map_err(|refused| damaged(version, &refused))? {
                Step::Next(next) => chain = next,
                Step::Same => return Err(damaged(version, &"it is the version before")),
            }
        }
        Ok(Some(chain))
    }

    /// Keeps the version that made `chain` what it is: its bytes and, of what came with them, only the signatures that count.
    /// What else the gateway put beside them would be read with them at the next start.
    ///
    /// Crash before the signatures are written, or between signatures and document: the chain ends one version earlier, for
    /// a version counts when its document is there; the gateway offers it again. Crash after: the version is held.
    ///
    /// # Errors
    /// When a file cannot be written; the chain on disk is then the old one or the new one, never a broken one.
    pub(crate) fn keep(&self, chain: &Chain, bytes: &[u8]) -> Result<(), Broken> {
        if chain.version() >= POLICY_VERSIONS_MAX {
            let full = std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                format!("{POLICY_VERSIONS_MAX} versions are held"),
            );
            return Err(Broken::new(format!("the policy of {} cannot be kept", chain.tenant()), full));
        }
        let directory = self.directory(chain.tenant(), chain.policy0());
        files::make_directory(&self.root.join(chain.tenant().as_str()))?;
        files::make_directory(&directory)?;
        let signatures = chain.signatures().join("\n") + "\n";
        files::write(&signatures_of(&directory, chain.version()), signatures.as_bytes())?;
        files::write(&document(&directory, chain.version()), bytes)
    }

    fn directory(&self, tenant: &TenantName, policy0: Digest) -> PathBuf {
        self.root.join(tenant.as_str()).join(policy0.hex())
    }
}

fn document(directory: &Path, version: u64) -> PathBuf {
    directory.join(format!("{version}.toml"))
}

fn signatures_of(directory: &Path, version: u64) -> PathBuf {
    directory.join(format!("{version}.sig"))
}

fn read_version(directory: &Path, version: u64) -> Result<Option<Signed>, Broken> {
    let Some(bytes) = files::read(&document(directory, version), POLICY_BYTES_MAX as u64)? else { return Ok(None) };
    let path = signatures_of(directory, version);
    let text = files::read_text(&path, SIGNATURES_BYTES_MAX)?
        .ok_or_else(|| Broken::damaged(&path, "the policy beside it has no signatures"))?;
    let signatures = text.split(ARMOR).skip(1).map(|rest| format!("{ARMOR}{rest}")).collect();
    Ok(Some(Signed { bytes, signatures }))
}
