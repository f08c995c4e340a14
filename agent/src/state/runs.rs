//! The files of runs: what was offered, kept until the run is over, and what it wrote, kept until the gateway has it.
//!
//! One directory a run, named by its order. Which of them count is known by the journal (`outbox`): they are written before the
//! note that needs them, and removed after the line that forgets the run. Not here: what the bytes mean.

use super::files::{self, Broken, StateDir};
use crate::limits::{RUN_BLOCK_BYTES, STATE_FILE_BYTES_MAX};
use belay_certs::{
    Id, Signed, Timestamp,
    limits::{DOCUMENT_BYTES_MAX, OUTPUT_BYTES_MAX, RUNBOOK_BYTES_MAX, SEALED_TEXT_BYTES_MAX, SIGNATURE_BYTES_MAX},
    secrets::Sealed,
    tlog::Hash,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The moment since when this machine remembers which orders it has seen.
const SINCE: &str = "since";
/// The directory of all runs.
const RUNS: &str = "runs";
/// What the run wrote.
const OUTPUT: &str = "output";

/// The secrets of a run, encrypted.
const SEALED: &str = "sealed";

/// The process that leads a run's session.
const LEADER: &str = "leader";

/// What was offered, byte for byte: enough to judge it again after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The order and its signature.
    pub(crate) order: Signed,
    /// The runbook and its signature.
    pub(crate) runbook: Signed,
    /// The device's place in the order's list, from 0.
    pub(crate) index: u64,
    /// The path from there to the order's root.
    pub(crate) path: Vec<Hash>,
    /// The secrets in its line, encrypted: what is in them is never written.
    pub(crate) sealed: Option<Sealed>,
}

/// The file that holds the rest of an offer.
#[derive(Serialize, Deserialize)]
struct Place {
    index: u64,
    path: Vec<String>,
}

/// The directories of runs.
#[derive(Debug, Clone)]
pub(crate) struct RunFiles {
    root: PathBuf,
}

impl RunFiles {
    /// Opens the place of runs in `dir`, making it when it is not there.
    pub(crate) fn open(dir: &StateDir) -> Result<Self, Broken> {
        let root = dir.at(RUNS);
        files::make_directory(&root)?;
        Ok(Self { root })
    }

    /// Keeps an offer, and an empty output beside it, durably.
    ///
    /// Crash before the note that follows: a directory that the journal does not know, which the next start removes.
    ///
    /// # Errors
    /// When something cannot be written: nothing may be noted.
    pub(crate) fn keep(&self, order: Id, kept: &Kept) -> Result<(), Broken> {
        let at = self.of(order);
        files::make_directory(&at)?;
        let place = Place { index: kept.index, path: kept.path.iter().map(hex).collect() };
        let place = serde_json::to_vec(&place)
            .map_err(|error| Broken::new("the place in an order cannot be written", error.into()))?;
        let mut parts: Vec<(&str, &[u8])> = vec![
            ("order", &kept.order.bytes),
            ("order.sig", signature(&kept.order)),
            ("runbook", &kept.runbook.bytes),
            ("runbook.sig", signature(&kept.runbook)),
            ("place", &place),
            (OUTPUT, b""),
        ];
        parts.extend(kept.sealed.as_ref().map(|sealed| (SEALED, sealed.as_str().as_bytes())));
        parts.iter().try_for_each(|(name, bytes)| files::replace(&at.join(name), bytes).map(drop))?;
        files::sync_parent(&at.join(OUTPUT))
    }

    /// What was kept of this order.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub(crate) fn load(&self, order: Id) -> Result<Kept, Broken> {
        let at = self.of(order);
        let read = |name: &str, bytes_max: usize| -> Result<Vec<u8>, Broken> {
            let path = at.join(name);
            files::read(&path, bytes_max as u64)?.ok_or_else(|| Broken::damaged(&path, "it is missing"))
        };
        let text = |name: &str| -> Result<String, Broken> {
            String::from_utf8(read(name, SIGNATURE_BYTES_MAX)?).map_err(|_| Broken::damaged(&at.join(name), "not text"))
        };
        let damaged = |why: &dyn std::fmt::Display| Broken::damaged(&at.join("place"), why);
        let place: Place =
            serde_json::from_slice(&read("place", STATE_FILE_BYTES_MAX as usize)?).map_err(|error| damaged(&error))?;
        let path = place.path.iter().map(|text| belay_certs::digest::unhex(text)).collect::<Option<Vec<Hash>>>();
        let sealed = files::read_text(&at.join(SEALED), SEALED_TEXT_BYTES_MAX as u64)?;
        let sealed = sealed.map(|text| text.parse::<Sealed>()).transpose();
        Ok(Kept {
            order: Signed { bytes: read("order", DOCUMENT_BYTES_MAX)?, signatures: vec![text("order.sig")?] },
            runbook: Signed { bytes: read("runbook", RUNBOOK_BYTES_MAX)?, signatures: vec![text("runbook.sig")?] },
            index: place.index,
            path: path.ok_or_else(|| damaged(&"it is no path"))?,
            sealed: sealed.map_err(|invalid| Broken::damaged(&at.join(SEALED), invalid))?,
        })
    }

    /// Remembers who leads the session of a script that was started, for the next start to end what is left of it. Not made
    /// durable: after a power cut nothing is left.
    pub(crate) fn started(&self, order: Id, leader: u32) {
        if let Err(error) = fs::write(self.of(order).join(LEADER), leader.to_string()) {
            tracing::warn!(%order, "who leads a run's session could not be written down: {error}");
        }
    }

    /// Who that is; none when it was not written.
    pub(crate) fn leader(&self, order: Id) -> Option<u32> {
        let text = files::read_text(&self.of(order).join(LEADER), STATE_FILE_BYTES_MAX).ok()??;
        text.parse().ok()
    }

    /// Removes what is kept of this order. What cannot be removed now the next start removes.
    pub(crate) fn remove(&self, order: Id) {
        if let Err(error) = fs::remove_dir_all(self.of(order)) {
            tracing::warn!(%order, "the files of a run could not be removed: {error}");
        }
    }

    /// Removes every directory but those of `known` runs: a crash left them before a note or after a run was forgotten.
    pub(crate) fn sweep(&self, known: &[Id]) -> Result<(), Broken> {
        let failed = |error| Broken::new(format!("{} cannot be read", self.root.display()), error);
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let order = name.to_str().and_then(|name| name.parse::<Id>().ok());
            if order.is_none_or(|order| !known.contains(&order)) {
                let path = self.root.join(&name);
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(|error| Broken::new(format!("{} cannot be removed", path.display()), error))?;
            }
        }
        Ok(())
    }

    /// The room that all runs take, in bytes: each file at least a block.
    pub(crate) fn held_bytes(&self) -> u64 {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let of_file = |entry: fs::DirEntry| entry.metadata().map_or(0, |meta| meta.len().max(RUN_BLOCK_BYTES));
        entries(&self.root).flat_map(|run| entries(&run.path())).map(of_file).sum()
    }

    /// The output of a run, to be written on and read.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub(crate) fn output(&self, order: Id) -> Result<OutputFile, Broken> {
        let path = self.of(order).join(OUTPUT);
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = opened.map_err(|error| Broken::new(format!("{} cannot be opened", path.display()), error))?;
        Ok(OutputFile { file, path })
    }

    fn of(&self, order: Id) -> PathBuf {
        self.root.join(order.to_string())
    }
}

/// A run's output file.
#[derive(Debug)]
pub(crate) struct OutputFile {
    file: File,
    path: PathBuf,
}

impl OutputFile {
    /// Writes `lines` at `end`, the file's end, and makes them durable.
    ///
    /// Crash before the sync: the file may end in half a line, which the next start cuts off. Nothing of it was sent.
    ///
    /// # Errors
    /// When they cannot be written: the file then ends where it did, as far as that can be had.
    pub(crate) fn append(&self, end: u64, lines: &[u8]) -> Result<(), Broken> {
        self.file.write_all_at(lines, end).and_then(|()| self.file.sync_data()).map_err(|error| {
            let _ = self.file.set_len(end);
            self.broken("written", error)
        })
    }

    /// Cuts the file off at `end` and makes what is left durable: after a crash it may hold what was never synced.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn trim(&self, end: u64) -> Result<(), Broken> {
        self.file.set_len(end).and_then(|()| self.file.sync_all()).map_err(|error| self.broken("cut", error))
    }

    /// The whole file.
    ///
    /// # Errors
    /// When it cannot be read, or is longer than an output can be.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Broken> {
        let length = self.file.metadata().map_err(|error| self.broken("read", error))?.len();
        if length > OUTPUT_BYTES_MAX {
            return Err(Broken::damaged(&self.path, format!("it has more than {OUTPUT_BYTES_MAX} bytes")));
        }
        self.slice(0, length)
    }

    /// `bytes` bytes from `from` on, all of which are there.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn slice(&self, from: u64, bytes: u64) -> Result<Vec<u8>, Broken> {
        let mut slice = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut slice, from).map_err(|error| self.broken("read", error))?;
        Ok(slice)
    }

    fn broken(&self, what: &str, error: io::Error) -> Broken {
        Broken::new(format!("{} cannot be {what}", self.path.display()), error)
    }
}

/// Since when this machine remembers which orders it has seen: stamped once, with the identity, or at the first start of an
/// agent that runs orders. An order that counts from earlier on is refused: it may have run here before.
///
/// Crash before it is durable: it is stamped at the next try, later.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn remembers_since(dir: &StateDir, now: Timestamp) -> Result<Timestamp, Broken> {
    let path = dir.at(SINCE);
    if let Some(text) = files::read_text(&path, STATE_FILE_BYTES_MAX)? {
        return text.trim().parse().map_err(|refused| Broken::damaged(&path, refused));
    }
    files::write(&path, format!("{now}\n").as_bytes())?;
    Ok(now)
}

fn signature(signed: &Signed) -> &[u8] {
    signed.signatures.first().map_or(&[], |armoured| armoured.as_bytes())
}

fn hex(hash: &Hash) -> String {
    belay_certs::digest::hex(hash)
}

#[cfg(test)]
mod tests;
