//! The person's Belay home: where pins, verified policies, checkpoints and the written ssh files live.
//!
//! What those files mean is not here: `chain.rs` verifies policies, `ssh_config.rs` writes for ssh.

use crate::failure::{Outcome, While, refused, usage};
use belay_certs::{Digest, TenantName, digest::hex};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Any file of the home or named on the command line, in bytes: a policy with its signatures fits.
pub const FILE_BYTES_MAX: u64 = 2 << 20;
/// A unix socket's path with its NUL, in bytes (Linux `sun_path`).
const SOCKET_PATH_BYTES_MAX: usize = 108;
/// What ssh adds to the control directory: `/`, our alias (`gw99`), `.`, `%C` (40), a dot and 16 random characters.
const SOCKET_NAME_BYTES: usize = 1 + 4 + 1 + 40 + 17;

/// `config.toml` of the home.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The person's private key (or the `.pub` of one that an ssh-agent holds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
}

/// `trust.toml` of the home: the only thing a laptop believes without a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Those of them that were pinned as this person's provider: only their lists of served tenants count.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub providers: BTreeSet<TenantName>,
    /// The digest of version 0 of each tenant that was pinned by hand.
    #[serde(default)]
    pub pins: BTreeMap<TenantName, Digest>,
}

impl Pins {
    /// Whether it is pinned, and as a provider.
    pub fn is_provider(&self, tenant: &TenantName) -> bool {
        self.providers.contains(tenant) && self.pins.contains_key(tenant)
    }
}

/// What a pinned tenant is to this person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinnedAs {
    /// Itself alone: its list of served tenants, if it has one, is not read.
    Tenant,
    /// The provider: the tenants that it serves are believed too.
    Provider,
}

/// A home that exists.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    config: Config,
    /// The key that signs when none is named: the only one that `ssh` would find by itself.
    default_key: Option<PathBuf>,
}

/// Where `ssh` looks for keys by itself (ssh(1)).
const DEFAULT_KEYS: [&str; 5] = ["id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa"];

/// The key in `~/.ssh` under one of the names that `ssh` knows. Of several none: which one signs, its owner says.
fn default_key() -> Option<PathBuf> {
    let folder = std::env::home_dir()?.join(".ssh");
    let mut found = DEFAULT_KEYS.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    found.next().filter(|_| found.next().is_none())
}

impl Home {
    /// Opens `dir`, or `~/.config/belay`, making it (0700) where it is missing. `identity` wins over the config file's.
    ///
    /// # Errors
    /// The directory cannot be made, or `config.toml` is not understood.
    pub fn open(dir: Option<PathBuf>, identity: Option<PathBuf>) -> Outcome<Self> {
        // Whoever has a home of another kind has keys of another kind.
        let default_key = if dir.is_none() { default_key() } else { None };
        let dir = match dir {
            Some(dir) => dir,
            None => std::env::home_dir()
                .map(|home| home.join(".config/belay"))
                .ok_or_else(|| usage("there is no home directory: give --home DIR"))?,
        };
        make_private_dir(&dir)?;
        let dir = fs::canonicalize(&dir).during(|| format!("cannot use {}", dir.display()))?;
        let mut config: Config = read_toml(&dir.join("config.toml"))?.unwrap_or_default();
        if let Some(identity) = identity {
            let full = std::path::absolute(&identity).during(|| format!("cannot use {}", identity.display()))?;
            config.identity = Some(full);
        }
        Ok(Self { dir, config, default_key })
    }

    /// The directory itself, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The person's key, if one is named.
    pub fn identity(&self) -> Option<&Path> {
        self.config.identity.as_deref()
    }

    /// The person's key: the one that is named, or else the only one under a name that `ssh` knows.
    ///
    /// # Errors
    /// None is named, and there is none or more than one to choose from: signing needs one.
    pub fn signing_identity(&self) -> Outcome<&Path> {
        self.identity().or(self.default_key.as_deref()).ok_or_else(|| {
            usage(format!(
                "which key is yours? give --identity FILE, or write `identity = \"FILE\"` in {}/config.toml",
                self.dir.display()
            ))
        })
    }

    /// Writes `config.toml` with the identity now in use.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_config(&self) -> Outcome {
        let text = toml::to_string(&self.config).during(|| "cannot write the configuration".to_owned())?;
        write_whole(&self.dir.join("config.toml"), text.as_bytes(), 0o600)
    }

    /// The pinned digests.
    ///
    /// # Errors
    /// `trust.toml` is not understood.
    pub fn pins(&self) -> Outcome<Pins> {
        Ok(read_toml(&self.dir.join("trust.toml"))?.unwrap_or_default())
    }

    /// Whether version 0 of a tenant could be pinned: before anything of it is kept here.
    ///
    /// # Errors
    /// Another version 0 is pinned already.
    pub fn check_pin(&self, tenant: &TenantName, policy0: &Digest) -> Outcome {
        match self.pins()?.pins.get(tenant) {
            Some(held) if held != policy0 => Err(refused(format!(
                "{tenant} is pinned to {held} here, and {policy0} is another policy; if the tenant really started anew, \
                 remove its line from {}/trust.toml and the policies in {}",
                self.dir.display(),
                self.policies(tenant).display()
            ))),
            _ => Ok(()),
        }
    }

    /// Pins version 0 of a tenant. Pinning the same again can make it a provider, and else changes nothing.
    ///
    /// # Errors
    /// Another version 0 is pinned already, or the file cannot be written.
    pub fn pin(&self, tenant: &TenantName, policy0: Digest, pinned_as: PinnedAs) -> Outcome {
        self.check_pin(tenant, &policy0)?;
        let mut pins = self.pins()?;
        let before = pins.clone();
        if pins.pins.insert(tenant.clone(), policy0).is_none() {
            // What was left of an earlier pin that was taken out by hand says nothing of this one.
            pins.providers.remove(tenant);
        }
        if pinned_as == PinnedAs::Provider {
            pins.providers.insert(tenant.clone());
        }
        if pins == before {
            return Ok(());
        }
        let text = toml::to_string(&pins).during(|| "cannot write the pins".to_owned())?;
        write_whole(&self.dir.join("trust.toml"), text.as_bytes(), 0o600)
    }

    /// Where a tenant's verified policies are kept.
    pub fn policies(&self, tenant: &TenantName) -> PathBuf {
        self.dir.join("tenants").join(tenant.as_str())
    }

    /// Where `belay init` puts a tenant's keys unless told otherwise.
    pub fn keys(&self, tenant: &TenantName) -> PathBuf {
        self.policies(tenant).join("keys")
    }

    /// The private root keys that `belay init` made here and that are still here: `root-1`, `root-2`, …
    pub fn root_keys(&self, tenant: &TenantName) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.keys(tenant)) else { return Vec::new() };
        let is_root = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("root-") && !name.ends_with(".pub")
        };
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_root).collect();
        found.sort();
        found
    }

    /// Where a version waits that has not all its signatures yet.
    pub fn draft(&self, tenant: &TenantName, version: u64) -> PathBuf {
        self.dir.join("drafts").join(format!("{tenant}-{version}.toml"))
    }

    /// The newest checkpoint of a tenant's log that this person verified.
    pub fn checkpoint(&self, tenant: &TenantName) -> PathBuf {
        self.dir.join("checkpoints").join(tenant.as_str())
    }

    /// Where signed batches are kept until the gateway has all of them.
    pub fn batches(&self) -> PathBuf {
        self.dir.join("batches")
    }

    /// Where the documents of tokens that were made here are kept: no secrets.
    pub fn token(&self, id: &belay_certs::Id) -> PathBuf {
        self.dir.join("tokens").join(format!("{id}.token"))
    }

    /// The host keys that ssh believes.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// The fragment for ssh.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// A private directory for ssh's control sockets, short enough for a unix socket's path.
    ///
    /// One per home and identity: `%C` knows neither, and one person must never ride on another's connection.
    ///
    /// # Errors
    /// No private directory with a short path can be made.
    pub fn control_dir(&self) -> Outcome<PathBuf> {
        let seed = format!("{}\n{:?}", self.dir.display(), self.identity());
        let mine: String = hex(&Digest::of(seed.as_bytes()).0).chars().take(8).collect();
        let mut base = self.dir.join("cm");
        if !fits_socket(&base.join(&mine)) {
            base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(PathBuf::new, PathBuf::from).join("belay");
        }
        if !base.is_absolute() || !base.parent().is_some_and(Path::is_dir) || !fits_socket(&base.join(&mine)) {
            base = PathBuf::from(format!("/tmp/belay-{}", rustix::process::getuid().as_raw()));
        }
        make_private_dir(&base)?;
        check_private(&base)?;
        let dir = base.join(mine);
        make_private_dir(&dir)?;
        check_private(&dir)?;
        Ok(dir)
    }
}

/// Whether ssh's control sockets in `dir` fit a unix socket's path, spelled as ssh's configuration can spell it.
fn fits_socket(dir: &Path) -> bool {
    let text = dir.as_os_str().as_encoded_bytes();
    text.len() + SOCKET_NAME_BYTES < SOCKET_PATH_BYTES_MAX && !text.iter().any(|byte| b"%\"'$\\ \t\n".contains(byte))
}

/// In /tmp anybody may have been there first: the directory must be ours alone and no link.
fn check_private(dir: &Path) -> Outcome {
    let facts = fs::symlink_metadata(dir).during(|| format!("cannot use {}", dir.display()))?;
    let mine = facts.is_dir() && facts.uid() == rustix::process::getuid().as_raw() && facts.mode() & 0o077 == 0;
    if !mine {
        return Err(refused(format!(
            "{} is not a directory of yours with mode 0700: remove it and try again",
            dir.display()
        )));
    }
    Ok(())
}

/// Makes a directory and its parents with mode 0700; one that exists is left as it is.
///
/// # Errors
/// It cannot be made.
pub fn make_private_dir(dir: &Path) -> Outcome {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).during(|| format!("cannot make {}", dir.display()))
}

/// A file, at most [`FILE_BYTES_MAX`].
///
/// # Errors
/// It cannot be read or is too large.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    let file = fs::File::open(path).during(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).during(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(format!(
            "{} is larger than {FILE_BYTES_MAX} bytes: it is no file of Belay's",
            path.display()
        )));
    }
    Ok(bytes)
}

/// A text file, at most `bytes_max`.
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8.
pub fn read_text_up_to(path: &Path, bytes_max: u64) -> Outcome<String> {
    let doing = || format!("cannot read {}", path.display());
    let mut text = String::new();
    fs::File::open(path).during(doing)?.take(bytes_max + 1).read_to_string(&mut text).during(doing)?;
    if text.len() as u64 > bytes_max {
        return Err(refused(format!("{} is larger than {bytes_max} bytes: it is no file of Belay's", path.display())));
    }
    Ok(text)
}

/// A text file, at most [`FILE_BYTES_MAX`].
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8.
pub fn read_text(path: &Path) -> Outcome<String> {
    String::from_utf8(read(path)?).during(|| format!("{} is not text", path.display()))
}

/// A TOML file, or nothing where it is missing.
fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Outcome<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    toml::from_str(&read_text(path)?).map(Some).during(|| format!("{} is not understood", path.display()))
}

/// Writes a file so that a reader sees the old or the new one, whole, also after a crash.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Outcome {
    let doing = || format!("cannot write {}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private_dir(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).during(doing)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).during(doing)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).during(doing)?;
    file.persist(path).during(doing)?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).during(doing)
}

/// Writes a file that must not exist yet: keys and token files are never overwritten.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt;
    let doing = || format!("cannot write {} (files are never overwritten)", path.display());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).during(doing)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).during(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &Path) -> Home {
        Home::open(Some(dir.to_owned()), None).unwrap()
    }

    #[test]
    fn a_second_policy_0_for_a_pinned_tenant_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let tenant: TenantName = "acme".parse().unwrap();
        home.pin(&tenant, Digest::of(b"a"), PinnedAs::Tenant).unwrap();
        home.pin(&tenant, Digest::of(b"a"), PinnedAs::Tenant).unwrap();
        assert!(
            home.pin(&tenant, Digest::of(b"b"), PinnedAs::Provider).unwrap_err().sentence().contains("is pinned to")
        );
        assert_eq!(home.pins().unwrap().pins.get(&tenant), Some(&Digest::of(b"a")));
    }

    #[test]
    fn a_pin_is_a_providers_only_once_that_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let tenant: TenantName = "msp".parse().unwrap();
        let pin = |pinned_as| {
            home.pin(&tenant, Digest::of(b"a"), pinned_as).unwrap();
            home.pins().unwrap().is_provider(&tenant)
        };
        assert_eq!([PinnedAs::Tenant, PinnedAs::Provider, PinnedAs::Tenant].map(pin), [false, true, true]);
        // Its line is taken out of the pins by hand; what stays of it counts for nothing.
        fs::write(dir.path().join("trust.toml"), "providers = [\"msp\"]\n").unwrap();
        assert!(!home.pins().unwrap().is_provider(&tenant));
        assert!(!pin(PinnedAs::Tenant));
    }

    #[test]
    fn an_unknown_word_in_the_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), "identiti = \"x\"\n").unwrap();
        assert!(Home::open(Some(dir.path().to_owned()), None).is_err());
    }

    #[test]
    fn control_sockets_fit_and_two_identities_never_share_one() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a-directory-with-a-long-name/and-another-one-below-it/home");
        let one = Home::open(Some(deep.clone()), Some("/keys/one".into())).unwrap().control_dir().unwrap();
        let two = Home::open(Some(deep), Some("/keys/two".into())).unwrap().control_dir().unwrap();
        assert_ne!(one, two);
        assert!(fits_socket(&one), "{}", one.display());
        assert_eq!(fs::metadata(&one).unwrap().mode() & 0o777, 0o700);
        let _ = fs::remove_dir(&one);
        let _ = fs::remove_dir(&two);
    }

    #[test]
    fn a_directory_that_others_can_enter_holds_no_control_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check_private(&open).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(check_private(&link).is_err());
    }

    #[test]
    fn a_whole_file_replaces_and_a_new_file_never_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_new(&path, b"one", 0o600).unwrap();
        assert!(write_new(&path, b"two", 0o600).is_err());
        write_whole(&path, b"three", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    }
}
