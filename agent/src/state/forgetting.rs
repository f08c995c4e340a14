//! How a machine leaves its tenant: everything it holds is moved into a dated directory beside, and it can join as a new one.
//!
//! One durable file decides. Before it is written the machine is pinned as before; from then on it has forgotten, and whatever
//! comes next (a join, a start, another `forget`) first moves what is still in the way. Nothing is deleted.

use super::{
    files::{self, Broken, StateDir},
    outbox::Outbox,
};
use crate::limits::STATE_FILE_BYTES_MAX;
use belay_certs::Timestamp;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Names the directory that everything goes to, while it is on its way.
const FORGETTING: &str = "forgetting";
/// How such a directory's name begins.
const ASIDE: &str = "aside-";
/// The file that keeps a second agent out.
const LOCK: &str = "lock";
/// The journal of statements.
const OUTBOX: &str = "outbox";

/// Sets everything in `dir` aside. Returns where it went.
///
/// Crash before the decision is durable: the machine is pinned as before. Crash after: it has forgotten, and [`finish`] moves
/// the rest.
///
/// # Errors
/// When something cannot be written or moved. The decision may have been made all the same: then the next start shows it.
pub fn set_aside(dir: &StateDir, now: Timestamp) -> Result<PathBuf, Broken> {
    let name = format!("{ASIDE}{}", now.to_string().replace(':', "-"));
    files::write(&dir.at(FORGETTING), name.as_bytes())?;
    let aside = finish(dir)?;
    aside.ok_or_else(|| Broken::damaged(&dir.at(FORGETTING), "it is gone"))
}

/// Moves what an earlier decision left in the way; where to, if there was one.
///
/// # Errors
/// When something cannot be moved: the machine has forgotten, and is of no use before this succeeds.
pub fn finish(dir: &StateDir) -> Result<Option<PathBuf>, Broken> {
    let marker = dir.at(FORGETTING);
    let Some(name) = files::read_text(&marker, STATE_FILE_BYTES_MAX)? else { return Ok(None) };
    if !name.starts_with(ASIDE) || name.contains('/') {
        return Err(Broken::damaged(&marker, "it names no directory of ours"));
    }
    let aside = dir.at(&name);
    files::make_directory(&aside)?;
    let failed = |error| Broken::new(format!("the state cannot be moved to {}", aside.display()), error);
    for entry in fs::read_dir(dir.path()).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let stays = [LOCK, FORGETTING].iter().any(|stays| *name == **stays);
        if !stays && !name.to_string_lossy().starts_with(ASIDE) {
            fs::rename(dir.at(&name), aside.join(&name)).map_err(failed)?;
        }
    }
    // What moved is durable in both directories before the marker goes.
    files::sync_parent(&aside.join(LOCK))?;
    files::sync_parent(&marker)?;
    fs::remove_file(&marker).map_err(failed)?;
    files::sync_parent(&marker)?;
    Ok(Some(aside))
}

/// Statements in a set-aside directory that no gateway has answered for. They belong to the old chain and are never sent.
///
/// # Errors
/// When the journal cannot be read.
pub fn undelivered(aside: &Path) -> Result<usize, Broken> {
    let journal = aside.join(OUTBOX);
    match fs::metadata(&journal) {
        Ok(_) => Ok(Outbox::open(journal)?.chain().pending_count()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Broken::new(format!("{} cannot be read", journal.display()), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::identity::{Pin, host_key, machine_id};
    use belay_certs::{Digest, Id};

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    /// A machine that joined.
    fn joined(path: &Path) -> StateDir {
        let dir = StateDir::open(&path.join("state")).unwrap();
        host_key(&dir).unwrap();
        let (tenant, name) = ("acme".parse().unwrap(), "web1".parse().unwrap());
        Pin { tenant, policy0: Digest::of(b"0"), name, join: Id([7; 16]), machine: machine_id() }.keep(&dir).unwrap();
        files::make_directory(&dir.at("policies")).unwrap();
        dir
    }

    #[test]
    fn a_machine_that_forgot_can_join_as_a_new_one_and_nothing_is_lost() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = joined(scratch.path());
        let old = host_key(&dir).unwrap();
        let aside = set_aside(&dir, now()).unwrap();
        assert_eq!(aside.file_name().unwrap(), "aside-2026-11-21T12-00-00Z");
        assert!(Pin::load(&dir).unwrap().is_none() && finish(&dir).unwrap().is_none());
        assert!(aside.join("pin.json").exists() && aside.join("policies").exists());
        assert_eq!(undelivered(&aside).unwrap(), 0);
        assert_ne!(host_key(&dir).unwrap().public(), old.public());
    }

    #[test]
    fn a_decision_that_could_not_be_written_leaves_the_machine_pinned() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = joined(scratch.path());
        // The draft of the marker cannot be made: a directory is in its way.
        fs::create_dir(dir.at("forgetting.new")).unwrap();
        assert!(set_aside(&dir, now()).is_err());
        assert!(finish(&dir).unwrap().is_none());
        assert!(Pin::load(&dir).unwrap().is_some() && dir.at("host_key").exists());
    }

    #[test]
    fn a_decision_that_was_reported_as_failed_and_happened_is_carried_out_by_whatever_comes_next() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = joined(scratch.path());
        // The marker is written, and then nothing can be moved: something is in the way of the host key.
        let aside = dir.at("aside-2026-11-21T12-00-00Z");
        fs::create_dir_all(aside.join("host_key").join("x")).unwrap();
        assert!(set_aside(&dir, now()).is_err());
        assert!(dir.at("forgetting").exists());
        assert!(finish(&dir).is_err(), "half forgotten is of no use");
        fs::remove_dir_all(aside.join("host_key")).unwrap();
        assert_eq!(finish(&dir).unwrap(), Some(aside));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| *name == *"lock" || name.to_string_lossy().starts_with("aside-")), "{left:?}");
    }

    #[test]
    fn a_marker_that_names_another_place_moves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = joined(scratch.path());
        for name in ["../elsewhere", "aside-/../../x", "policies"] {
            fs::write(dir.at("forgetting"), name).unwrap();
            assert!(finish(&dir).is_err(), "{name}");
        }
        assert!(dir.at("pin.json").exists());
    }
}
