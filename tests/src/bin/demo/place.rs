//! Which directory a demo may use: a new or empty one, or that of an earlier demo that has ended, which is removed.
//!
//! Anything else is left alone.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

/// Says that a directory is a demo's; locked while that demo runs.
const MARK: &str = "demo.lock";
/// Everything a demo makes at the top of its directory, but the mark.
const MADE: [&str; 14] = [
    "acme.cursor",
    "acme.jsonl",
    "agents",
    "gateway",
    "logs",
    "people",
    "ports.json",
    "proofs",
    "session.cast",
    "ssh_config",
    "ssh_config.auditor",
    "ssh_config.leaver",
    "ssh_config.other",
    "tenants",
];

/// A directory that is ours until this value ends.
#[derive(Debug)]
pub struct Place {
    _lock: File,
}

/// Makes `dir` ours, empty but for the mark.
///
/// # Errors
/// It is something else, or another demo is in it.
pub fn claim(dir: &Path) -> Result<Place> {
    let mark = dir.join(MARK);
    let is_empty =
        !dir.exists() || fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?.next().is_none();
    if !is_empty && !mark.exists() {
        bail!("{} holds something that is not a demo: it is left alone; give another --dir", dir.display());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lock = File::options().create(true).truncate(false).write(true).open(&mark)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another demo runs in {}: end it first, or give another --dir", dir.display())
        }
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the demo's directory"),
    }
    if let Some((name, pid)) = left_over(dir) {
        bail!("{name} of an earlier demo in {} still runs: end it first with `kill {pid}`", dir.display());
    }
    for name in MADE {
        let path = dir.join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    Ok(Place { _lock: lock })
}

/// A program of an earlier demo that was cut off before it could end its children.
fn left_over(dir: &Path) -> Option<(String, u64)> {
    let ports: Value = serde_json::from_str(&fs::read_to_string(dir.join("ports.json")).ok()?).ok()?;
    let dir = dir.canonicalize().ok()?;
    let mut pids = ports["pids"].as_object()?.iter().filter_map(|(name, pid)| Some((name.clone(), pid.as_u64()?)));
    pids.find(|(_, pid)| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // The number may be somebody else's by now: only a program that was given this very directory is ours.
        String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy())
    })
}
