//! Room on the disk for recordings: below what is configured nothing new begins, and long before it is full all of it ends.
//!
//! The rest of the disk is the log's: without room there, nothing could be recorded and so nothing done (P1).

use crate::config;
use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// What does not happen when an index has no room.
const INDEXED: &str = "recordings are not read into the index";

/// What is left of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Free for us.
    pub(crate) free: u64,
    /// In all.
    pub(crate) total: u64,
}

/// Watches the disk that recordings are on.
#[derive(Debug)]
pub(crate) struct Room {
    directory: PathBuf,
    config: config::Recordings,
    /// How a file system is measured.
    measure: fn(&Path) -> io::Result<Left>,
    /// Whether what runs print stays with their devices, as the operator was told last.
    outputs_stay: AtomicBool,
}

impl Room {
    /// The room in the gateway's directory.
    pub(crate) fn new(directory: &Path, config: &config::Recordings) -> Self {
        let outputs_stay = AtomicBool::new(false);
        Self { directory: directory.to_owned(), config: config.clone(), measure: measured, outputs_stay }
    }

    /// May a session begin that is recorded?
    ///
    /// # Errors
    /// One sentence for the person: how much is left, and who can help.
    pub(crate) fn begin(&self) -> Result<(), String> {
        self.check(1, "no session that is recorded begins here")
    }

    /// May a job begin? What its runs print comes here too.
    ///
    /// # Errors
    /// As [`Room::begin`].
    pub(crate) fn begin_job(&self) -> Result<(), String> {
        self.check(1, "no job begins here")
    }

    /// May what runs print come here? Half of what a new job needs is enough; their devices have it until then. The operator is
    /// told when that changes.
    pub(crate) fn takes_output(&self) -> bool {
        let left = self.check(2, "what runs print stays with their devices");
        let told = self.outputs_stay.swap(left.is_err(), Ordering::Relaxed);
        match &left {
            Err(why) if !told => tracing::warn!("{why}"),
            Err(_) | Ok(()) => {}
        }
        left.is_ok()
    }

    /// May a recording that has begun go on? Half of what a new one needs is enough.
    ///
    /// # Errors
    /// As [`Room::begin`].
    pub(crate) fn go_on(&self) -> Result<(), String> {
        self.check(2, "recordings end here")
    }

    /// May a recording be read into an index, which can take as much as was shown?
    ///
    /// # Errors
    /// As [`Room::begin`].
    pub(crate) fn begin_index(&self) -> Result<(), String> {
        self.check(1, INDEXED)
    }

    /// May one that is being read into an index go on?
    ///
    /// # Errors
    /// As [`Room::begin`].
    pub(crate) fn go_on_index(&self) -> Result<(), String> {
        self.check(2, INDEXED)
    }

    fn check(&self, part: u64, what: &str) -> Result<(), String> {
        let left = match (self.measure)(&self.directory) {
            Ok(left) => left,
            Err(error) => {
                tracing::error!("the disk of the recordings cannot be measured: {error}");
                return Err(format!("{what}: the gateway cannot measure its disk; its operator finds why in the log"));
            }
        };
        let (bytes, percent) = (self.config.free_bytes_min() / part, self.config.free_percent_min / part);
        if left.free < bytes || left.free.saturating_mul(100) < left.total.saturating_mul(percent) {
            let free = left.free >> 20;
            return Err(format!(
                "{what}: the gateway's disk has {free} MiB left, less than it needs; its operator must make room"
            ));
        }
        Ok(())
    }
}

fn measured(directory: &Path) -> io::Result<Left> {
    let found = rustix::fs::statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Left { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(measure: fn(&Path) -> io::Result<Left>) -> Room {
        let config = config::Recordings { free_mib_min: 1_024, free_percent_min: 5, ..config::Recordings::default() };
        Room { directory: "/".into(), config, measure, outputs_stay: AtomicBool::new(false) }
    }

    fn left(free_mib: u64, total_mib: u64) -> Left {
        Left { free: free_mib << 20, total: total_mib << 20 }
    }

    #[test]
    fn a_session_begins_and_a_recording_goes_on_only_while_there_is_room() {
        let enough = room(|_| Ok(left(1_024, 20_000)));
        assert_eq!((enough.begin(), enough.go_on()), (Ok(()), Ok(())));
        assert_eq!((enough.begin_index(), enough.go_on_index()), (Ok(()), Ok(())));
        assert_eq!((enough.begin_job(), enough.takes_output()), (Ok(()), true));
        let few_bytes = room(|_| Ok(left(1_023, 2_000)));
        let refused = few_bytes.begin().unwrap_err();
        assert!(refused.contains("1023 MiB left") && refused.contains("operator"), "{refused}");
        assert_eq!(few_bytes.go_on(), Ok(()), "what has begun may end");
        let small_part = room(|_| Ok(left(4_000, 100_000)));
        assert!(small_part.begin().is_err() && small_part.go_on().is_ok());
        let hardly_any = room(|_| Ok(left(511, 2_000)));
        assert!(hardly_any.go_on().is_err());
        assert!(few_bytes.begin_job().unwrap_err().starts_with("no job begins here: "));
        assert!(few_bytes.takes_output() && !hardly_any.takes_output());
        assert!(
            small_part.begin_index().is_err() && small_part.go_on_index().is_ok() && hardly_any.go_on_index().is_err()
        );
    }

    #[test]
    fn a_disk_that_cannot_be_measured_has_no_room() {
        let gone = room(|_| Err(io::ErrorKind::NotFound.into()));
        assert!(gone.begin().is_err() && gone.go_on().is_err());
        assert!(measured(Path::new("/")).unwrap().total > 0);
    }
}
