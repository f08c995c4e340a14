//! The keys that sign the logs' checkpoints: one file a log, readable by the gateway alone.
//!
//! Whoever holds such a key can sign a false head, but neither act on a device (P2) nor change what was exported before.

use super::broken::Broken;
use super::limits::LIVES_MAX;
use belay_certs::{
    policy::LogIdentity,
    tlog::{self, NoteSigner},
};
use belay_rules::LogName;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the log keys are, and the gateway's name, with which every log's origin begins.
#[derive(Debug, Clone)]
pub struct LogKeys {
    /// Holds `log-NAME.key`.
    directory: PathBuf,
    /// As in policies: `gw.example`.
    gateway: String,
}

impl LogKeys {
    /// The keys in `directory` of the gateway called `gateway`.
    pub fn new(directory: impl Into<PathBuf>, gateway: impl Into<String>) -> Self {
        Self { directory: directory.into(), gateway: gateway.into() }
    }

    /// The key of a log that is there, which began with `vkey`. One that [`LogKeys::make_next`] left beside the old one comes
    /// into its place.
    pub(super) fn load(&self, log: &LogName, vkey: &str) -> Result<NoteSigner, Broken> {
        let (path, next) = (self.path(log), self.next(log));
        let held = read(&path);
        if held.as_ref().is_ok_and(|held| held.vkey() == vkey) {
            return held;
        }
        match read(&next) {
            Ok(signer) if signer.vkey() == vkey => {
                let moved = self.put_aside(&path).and_then(|_| fs::rename(&next, &path)).and_then(|()| sync(&path));
                moved.map_err(|error| Broken::from(error).of(path.display()))?;
                Ok(signer)
            }
            Ok(_) | Err(_) => {
                held?;
                Err(Broken::new("the key file holds another key than the log began with; restore the right one"))
            }
        }
    }

    /// Whether the log has a key, and so had a beginning, or nearly.
    pub(super) fn is_there(&self, log: &LogName) -> bool {
        self.path(log).exists()
    }

    /// A fresh key for the life of a log after `current`. It lies beside the current one until the log has begun with it
    /// ([`LogKeys::load`]): if it never does, the next try writes over it.
    pub(super) fn make_next(&self, log: &LogName, current: &LogIdentity) -> Result<NoteSigner, Broken> {
        self.load(log, &current.vkey)?;
        let life = tlog::life(&current.origin).saturating_add(1);
        let signer = NoteSigner::generate(&format!("{}/{log}/{life}", self.gateway))?;
        let path = self.next(log);
        write_secret(&path, &format!("{}\n", signer.to_text()))
            .map_err(|error| Broken::from(error).of(path.display()))?;
        Ok(signer)
    }

    /// A fresh key for a log that begins. A key that is there already belongs to an earlier life of the log, whose
    /// database was lost: it is put aside and never signs a second history, and the new life has an origin of its own.
    pub(super) fn make(&self, log: &LogName) -> Result<NoteSigner, Broken> {
        fs::create_dir_all(&self.directory).map_err(|error| Broken::from(error).of(self.directory.display()))?;
        let path = self.path(log);
        let life = self.put_aside(&path).map_err(|error| Broken::from(error).of(path.display()))?;
        let origin = match life {
            1 => format!("{}/{log}", self.gateway),
            life => format!("{}/{log}/{life}", self.gateway),
        };
        let signer = NoteSigner::generate(&origin)?;
        write_secret(&path, &format!("{}\n", signer.to_text()))
            .map_err(|error| Broken::from(error).of(path.display()))?;
        Ok(signer)
    }

    /// Takes back a key that was made for a log that did not begin after all, and that has signed nothing anyone saw.
    pub(super) fn unmake(&self, log: &LogName) -> Result<(), Broken> {
        let path = self.path(log);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Broken::from(error).of(path.display())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Renames the key at `path`, if there is one. Which life of the log begins: 1 when it had none before.
    fn put_aside(&self, path: &Path) -> std::io::Result<u32> {
        let next = next_life(path)?;
        if !path.exists() {
            return Ok(next);
        }
        fs::rename(path, aside(path, next))?;
        Ok(next + 1)
    }

    /// What the log's key is called once its life is over: the file's name, which no key has yet.
    pub(super) fn aside_next(&self, log: &LogName) -> Result<String, Broken> {
        let path = self.path(log);
        let next = next_life(&path).map_err(|error| Broken::from(error).of(path.display()))?;
        Ok(aside(&path, next).file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn path(&self, log: &LogName) -> PathBuf {
        self.directory.join(format!("log-{log}.key"))
    }

    fn next(&self, log: &LogName) -> PathBuf {
        self.directory.join(format!("log-{log}.key.next"))
    }
}

/// Where the key at `path` goes when the life of that number is over.
fn aside(path: &Path, life: u32) -> PathBuf {
    path.with_extension(format!("key.{life}"))
}

/// The first life whose key is not put aside.
fn next_life(path: &Path) -> std::io::Result<u32> {
    (1..=LIVES_MAX).find(|life| !aside(path, *life).exists()).ok_or_else(|| {
        std::io::Error::other(format!("the log has had {LIVES_MAX} lives: no number is left for its key"))
    })
}

/// The key in the file at `path`.
fn read(path: &Path) -> Result<NoteSigner, Broken> {
    let broken = |error: Broken| error.of(path.display());
    let text = fs::read_to_string(path).map_err(|error| broken(error.into()))?;
    NoteSigner::from_text(&text).map_err(|error| broken(error.into()))
}

/// Writes a file that only we can read, durably: whole or not at all, also when we die in between.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("key.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync(path)
}

/// Makes the names in a file's directory durable.
fn sync(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_log_key_is_secret_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(directory.path().join("keys"), "gw.example");
        let made = keys.make(&LogName::System).unwrap();
        assert_eq!(made.name(), "gw.example/system");
        assert_eq!(keys.load(&LogName::System, &made.vkey()).unwrap().vkey(), made.vkey());
        let mode = fs::metadata(directory.path().join("keys/log-system.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_begins_again_gets_a_new_key_and_origin_and_the_old_key_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(directory.path(), "gw.example");
        let acme: LogName = "acme".parse().unwrap();
        let made: Vec<NoteSigner> = (0..3).map(|_| keys.make(&acme).unwrap()).collect();
        let names: Vec<&str> = made.iter().map(NoteSigner::name).collect();
        assert_eq!(names, ["gw.example/acme", "gw.example/acme/2", "gw.example/acme/3"]);
        assert!(directory.path().join("log-acme.key.1").exists() && directory.path().join("log-acme.key.2").exists());
        assert_eq!(keys.load(&acme, &made[2].vkey()).unwrap().name(), "gw.example/acme/3");
    }

    #[test]
    fn the_next_key_comes_into_its_place_when_the_log_has_begun_with_it_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(directory.path(), "gw.example");
        let acme: LogName = "acme".parse().unwrap();
        let identity = |signer: &NoteSigner| LogIdentity { origin: signer.name().to_owned(), vkey: signer.vkey() };
        let first = identity(&keys.make(&acme).unwrap());
        // Begun and lost: the first goes on, and the next try is the second life still.
        let lost = keys.make_next(&acme, &first).unwrap();
        assert_eq!(keys.load(&acme, &first.vkey).unwrap().vkey(), first.vkey);
        let second = identity(&keys.make_next(&acme, &first).unwrap());
        assert_eq!((second.origin.as_str(), lost.name()), ("gw.example/acme/2", "gw.example/acme/2"));
        assert_ne!(second.vkey, lost.vkey());
        assert_eq!(keys.load(&acme, &second.vkey).unwrap().vkey(), second.vkey);
        assert!(keys.load(&acme, &first.vkey).unwrap_err().to_string().contains("another key"));
        assert!(directory.path().join("log-acme.key.1").exists());
        assert_eq!(keys.make_next(&acme, &second).unwrap().name(), "gw.example/acme/3");
    }

    #[test]
    fn a_log_that_has_had_all_its_lives_loses_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(directory.path(), "gw.example");
        let last = directory.path().join(format!("log-system.key.{LIVES_MAX}"));
        (1..LIVES_MAX)
            .for_each(|life| fs::write(keys.path(&LogName::System).with_extension(format!("key.{life}")), "").unwrap());
        assert_eq!(keys.make(&LogName::System).unwrap().name(), format!("gw.example/system/{LIVES_MAX}"));
        fs::write(&last, "the last one").unwrap();
        assert!(keys.make(&LogName::System).unwrap_err().to_string().contains("no number is left"));
        assert_eq!(fs::read_to_string(last).unwrap(), "the last one");
    }

    #[test]
    fn a_missing_or_broken_key_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(directory.path(), "gw.example");
        assert!(keys.load(&LogName::System, "x").unwrap_err().to_string().contains("log-system.key"));
        fs::write(directory.path().join("log-system.key"), "PRIVATE+KEY+x").unwrap();
        let sentence = keys.load(&LogName::System, "x").unwrap_err().to_string();
        assert!(sentence.contains("log-system.key") && !sentence.contains("PRIVATE+KEY+x"), "{sentence}");
    }
}
