//! The gateway's directory: its configuration, its keys and the lock that one process at a time holds.
//!
//! Not here: the database and the logs' keys (`store`).

use crate::config::{self, Config};
use anyhow::{Context, bail, ensure};
use belay_certs::{PrivateKey, Timestamp, transport::TransportCa};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The SSH host key, as OpenSSH names it.
const HOST_KEY: &str = "ssh_host_ed25519_key";
/// The file that is locked.
pub(super) const LOCK: &str = "lock";
/// The transport CA: its certificate, and what it needs of the one before it.
pub(super) const TRANSPORT_CERTIFICATE: &str = "transport-ca.pem";
/// Its key.
pub(super) const TRANSPORT_KEY: &str = "transport-ca.key";
/// The key of a CA that takes another's place, until its certificate has.
const TRANSPORT_KEY_NEXT: &str = "transport-ca.key.next";
/// For the gateway's own eyes.
const SECRET: u32 = 0o600;
/// For anybody's.
const PUBLIC: u32 = 0o644;

/// Where a gateway keeps what it is.
#[derive(Debug, Clone)]
pub(crate) struct Directory(PathBuf);

/// Held as long as nobody else may touch the directory; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Directory {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join(config::FILE)
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// Makes the directory of a new gateway: both keys, and the configuration last. What an interrupted call left is
    /// taken up again; what is complete is never touched.
    pub(crate) fn make(&self, config: &Config, now: Timestamp) -> anyhow::Result<()> {
        let text = config.to_text()?;
        ensure!(!self.config().exists(), "{} is there already; nothing was changed", self.config().display());
        for directory in [&self.0, &self.keys()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        // The keys' directory is private even where DIR was there before and is not.
        fs::set_permissions(self.keys(), fs::Permissions::from_mode(0o700))
            .with_context(|| format!("{} cannot be made private", self.keys().display()))?;
        self.make_host_key(&config.name)?;
        self.make_transport_ca(&config.name, now)?;
        write_whole(&self.config(), text.as_bytes(), PUBLIC)
    }

    fn make_host_key(&self, name: &str) -> anyhow::Result<()> {
        if self.keys().join(HOST_KEY).exists() {
            return self.host_key().map(|_| ());
        }
        let key = PrivateKey::generate_ed25519(name)?;
        write_whole(&self.keys().join(format!("{HOST_KEY}.pub")), format!("{}\n", key.public()).as_bytes(), PUBLIC)?;
        write_whole(&self.keys().join(HOST_KEY), key.to_openssh()?.as_bytes(), SECRET)
    }

    fn make_transport_ca(&self, name: &str, now: Timestamp) -> anyhow::Result<()> {
        if self.keys().join(TRANSPORT_CERTIFICATE).exists() {
            return self.transport_ca().map(|_| ());
        }
        let (certificate, key) = TransportCa::generate(name, now)?.to_pem();
        write_whole(&self.keys().join(TRANSPORT_KEY), key.as_bytes(), SECRET)?;
        write_whole(&self.keys().join(TRANSPORT_CERTIFICATE), certificate.as_bytes(), PUBLIC)
    }

    /// The key by which people know the gateway.
    pub(crate) fn host_key(&self) -> anyhow::Result<PrivateKey> {
        let path = self.keys().join(HOST_KEY);
        PrivateKey::from_openssh(&read_secret(&path)?).with_context(|| path.display().to_string())
    }

    /// The CA by which devices know the gateway, and the gateway them.
    ///
    /// A key beside it that fits the certificate better is the one of an exchange that was cut off: it is put in its place.
    pub(crate) fn transport_ca(&self) -> anyhow::Result<TransportCa> {
        let path = self.keys().join(TRANSPORT_CERTIFICATE);
        let certificates = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let next = self.keys().join(TRANSPORT_KEY_NEXT);
        if next.exists()
            && let Ok(ca) = TransportCa::from_pem(&certificates, &read_secret(&next)?)
        {
            self.settle_transport_key()?;
            return Ok(ca);
        }
        let key = read_secret(&self.keys().join(TRANSPORT_KEY))?;
        TransportCa::from_pem(&certificates, &key).with_context(|| path.display().to_string())
    }

    /// Puts a CA in the place of the one that is kept.
    ///
    /// The certificates' file decides. Crash before it is replaced: the old CA stands, and the new key beside it is of no
    /// use. Crash after: [`Directory::transport_ca`] finds the new key and puts it in its place; the old one is gone then.
    pub(crate) fn exchange_transport_ca(&self, ca: &TransportCa) -> anyhow::Result<()> {
        let (certificates, key) = ca.to_pem();
        write_whole(&self.keys().join(TRANSPORT_KEY_NEXT), key.as_bytes(), SECRET)?;
        write_whole(&self.keys().join(TRANSPORT_CERTIFICATE), certificates.as_bytes(), PUBLIC)?;
        self.settle_transport_key()
    }

    fn settle_transport_key(&self) -> anyhow::Result<()> {
        let (next, key) = (self.keys().join(TRANSPORT_KEY_NEXT), self.keys().join(TRANSPORT_KEY));
        let settle = || fs::rename(&next, &key).and_then(|()| File::open(self.keys())?.sync_all());
        settle().with_context(|| format!("{} cannot be put in place of {}", next.display(), key.display()))
    }

    /// Whoever works in the directory must be its owner: files that root makes there are not the gateway's to read.
    fn check_owner(&self) -> anyhow::Result<()> {
        let found = fs::metadata(&self.0).with_context(|| format!("{} cannot be read", self.0.display()))?;
        let (owner, we) = (found.uid(), rustix::process::geteuid().as_raw());
        ensure!(
            owner == we,
            "{} belongs to user {owner} and this is user {we}: run it as its owner, as in \
             `runuser -u belay-gateway -- belay-gateway …`, or start the gateway first, which does it then",
            self.0.display()
        );
        Ok(())
    }

    /// Takes the lock; none when another process holds it.
    pub(crate) fn try_lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.0.join(LOCK);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(SECRET).open(&path);
        let file = opened.with_context(|| format!("{} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                self.check_owner()?;
                Ok(Some(Lock(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }
}

/// A secret that only its owner can read; others could have read it already, so then it is no secret any more.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let described = || format!("{} cannot be read", path.display());
    let mode = fs::metadata(path).with_context(described)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others (mode {:o}): make it private with `chmod 600`", path.display(), mode & 0o777);
    }
    fs::read_to_string(path).with_context(described)
}

/// Writes a file whole or not at all, also when the machine stops in between.
pub(super) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_directory_is_made_private_and_read_back_and_never_made_twice() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::new(parent.path().join("a/gw"));
        directory.make(&Config::local(), now()).unwrap();
        assert_eq!(Config::read(&directory.config()).unwrap(), Config::local());
        let (host_key, ca) = (directory.host_key().unwrap(), directory.transport_ca().unwrap().digest());
        for (file, mode) in
            [("", 0o700), ("keys", 0o700), ("keys/ssh_host_ed25519_key", 0o600), ("keys/transport-ca.key", 0o600)]
        {
            assert_eq!(fs::metadata(directory.path().join(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
        }
        assert!(directory.make(&Config::local(), now()).unwrap_err().to_string().contains("nothing was changed"));
        fs::remove_file(directory.config()).unwrap();
        directory.make(&Config::local(), now()).unwrap();
        assert_eq!(directory.host_key().unwrap().public(), host_key.public());
        assert_eq!(directory.transport_ca().unwrap().digest(), ca);
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::new(parent.path());
        directory.make(&Config::local(), now()).unwrap();
        let path = directory.keys().join(HOST_KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(directory.host_key().unwrap_err().to_string().contains("chmod 600"));
    }

    /// A directory with its CA, and one that is to take its place.
    fn exchanging() -> (tempfile::TempDir, Directory, TransportCa, TransportCa) {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::new(parent.path());
        directory.make(&Config::local(), now()).unwrap();
        let old = directory.transport_ca().unwrap();
        let new = old.next("gw.example", now()).unwrap();
        (parent, directory, old, new)
    }

    #[test]
    fn an_exchanged_ca_is_kept_with_the_one_before_it_and_the_old_key_is_gone() {
        let (_parent, directory, old, new) = exchanging();
        directory.exchange_transport_ca(&new).unwrap();
        let kept = directory.transport_ca().unwrap();
        assert_eq!((kept.digest(), kept.previous()), (new.digest(), Some(old.digest())));
        let files = fs::read_dir(directory.keys()).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| !file.ends_with(TRANSPORT_CERTIFICATE)) {
            assert!(!fs::read_to_string(&file).unwrap().contains(&old.to_pem().1), "{}", file.display());
        }
        directory.exchange_transport_ca(&kept.retired().unwrap()).unwrap();
        assert_eq!(directory.transport_ca().unwrap().previous(), None);
    }

    #[test]
    fn an_exchange_that_fails_before_its_certificate_is_in_place_changes_nothing() {
        for obstacle in [TRANSPORT_KEY_NEXT, TRANSPORT_CERTIFICATE] {
            let (_parent, directory, old, new) = exchanging();
            // A directory in the way of the draft: nothing can be written there.
            let obstacle = directory.keys().join(format!("{obstacle}.new"));
            fs::create_dir(&obstacle).unwrap();
            assert!(directory.exchange_transport_ca(&new).is_err());
            assert_eq!(directory.transport_ca().unwrap().digest(), old.digest());
            fs::remove_dir(&obstacle).unwrap();
            directory.exchange_transport_ca(&new).unwrap();
            assert_eq!(directory.transport_ca().unwrap().digest(), new.digest());
        }
    }

    #[test]
    fn an_exchange_cut_off_after_its_certificate_is_in_place_has_happened() {
        let (_parent, directory, old, new) = exchanging();
        let (certificates, key) = new.to_pem();
        write_whole(&directory.keys().join(TRANSPORT_KEY_NEXT), key.as_bytes(), SECRET).unwrap();
        assert_eq!(directory.transport_ca().unwrap().digest(), old.digest(), "cut off one step before");
        write_whole(&directory.keys().join(TRANSPORT_CERTIFICATE), certificates.as_bytes(), PUBLIC).unwrap();
        for _ in 0..2 {
            assert_eq!(directory.transport_ca().unwrap().digest(), new.digest());
        }
        assert!(!directory.keys().join(TRANSPORT_KEY_NEXT).exists());
    }

    #[test]
    fn only_one_holds_the_lock_and_it_goes_with_its_holder() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::new(parent.path());
        let lock = directory.try_lock().unwrap();
        assert!(lock.is_some());
        assert!(directory.try_lock().unwrap().is_none());
        drop(lock);
        assert!(directory.try_lock().unwrap().is_some());
    }
}
