//! The moment by which recordings grow old, in a file beside the database: `retention-clock`, one line.
//!
//! A file of its own, because an operator removes it to say that the clock is right. Not here: how far it may go
//! (`belay_rules::aging`).

use super::Store;
use super::broken::Broken;
use super::limits::MOMENT_BYTES_MAX;
use belay_certs::Timestamp;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// The file in the gateway's directory.
pub(crate) const FILE: &str = "retention-clock";

impl Store {
    /// The moment that was kept last; none before the first.
    ///
    /// # Errors
    /// It cannot be read, or is no moment.
    pub fn aged_until(&self) -> Result<Option<Timestamp>, Broken> {
        read(self.directory())
    }

    /// Keeps the moment.
    ///
    /// # Errors
    /// The disk does not take it: the one before stands.
    pub fn keep_aged_until(&self, moment: Timestamp) -> Result<(), Broken> {
        keep(self.directory(), moment)
    }
}

fn read(directory: &Path) -> Result<Option<Timestamp>, Broken> {
    let named = |error: Broken| error.of(directory.join(FILE).display());
    let file = match File::open(directory.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(error.into())),
    };
    let mut text = String::new();
    file.take(MOMENT_BYTES_MAX).read_to_string(&mut text).map_err(|error| named(error.into()))?;
    let moment = text.trim_end().parse().map_err(|invalid: belay_certs::Invalid| named(invalid.into()))?;
    Ok(Some(moment))
}

/// Crash before the name is there: the one before stands, and the draft is made anew.
fn keep(directory: &Path, moment: Timestamp) -> Result<(), Broken> {
    let (path, draft) = (directory.join(FILE), directory.join(FILE).with_extension("new"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(format!("{moment}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| Broken::from(error).of(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_cannot_be_kept_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        let (first, second) = (Timestamp::from_micros(1_700_000_000_000_001), Timestamp::from_seconds(1_800_000_000));
        keep(directory.path(), first).unwrap();
        fs::create_dir(directory.path().join("retention-clock.new")).unwrap();
        let broken = keep(directory.path(), second).unwrap_err().to_string();
        assert!(broken.contains(FILE), "{broken}");
        assert_eq!(read(directory.path()).unwrap(), Some(first));
    }

    #[test]
    fn a_draft_that_a_crash_left_counts_for_nothing_and_what_is_no_moment_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (Timestamp::from_seconds(1_700_000_000), Timestamp::from_seconds(1_800_000_000));
        keep(directory.path(), first).unwrap();
        fs::write(directory.path().join("retention-clock.new"), "2099-01-01T00:0").unwrap();
        assert_eq!(read(directory.path()).unwrap(), Some(first));
        keep(directory.path(), second).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Some(second));
        for text in ["", "soon\n", &"2".repeat(1_000)] {
            fs::write(directory.path().join(FILE), text).unwrap();
            assert!(read(directory.path()).unwrap_err().to_string().contains(FILE), "{text:?}");
        }
    }
}
