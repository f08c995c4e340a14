//! A whole exported log, checked from nothing but its name and its key: signature, entries, tiles, root, chains, objects.
//!
//! Not here: where the export lies (a [`Source`] reads it) and what the events mean to a reader (`each` gets them).
//!
//! It catches what was changed, dropped, swapped or cut off inside the export, and what contradicts a head that a device
//! or the reader (`since`) saw earlier. That a person really approved a device is proved by the approval, not by the log.

use super::chains::Chains;
#[cfg(test)]
use super::chains::life;
use super::checkpoint::Checkpoint;
use super::edge::{CompletedTile, Edge};
use super::hash::{Hash, leaf_hash};
use super::tile::{TILE_WIDTH, Tile, decode_bundle, decode_hashes, entries_path};
use crate::Digest;
use crate::entry::Entry;
use crate::invalid::{Fault, Invalid};
use serde_json::Value;
use std::collections::HashSet;

/// An export: `checkpoint`, `log.vkey`, `tile/…` and `objects/<hex>`, in a directory, an archive or memory.
pub trait Source {
    /// The bytes of the file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Invalid>;
}

/// What a successful check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The head that was verified: keep it for the next `since`.
    pub checkpoint: Checkpoint,
    /// Entries, each hashed and parsed.
    pub entries: u64,
    /// Tiles of hashes, each compared with what the entries hash to.
    pub tiles: u64,
    /// Statements of devices, each signature and link verified.
    pub statements: u64,
    /// Devices with at least one record in the log.
    pub devices: u64,
    /// Older heads that devices saw, each found again in this log.
    pub heads: u64,
    /// Objects that entries refer to and the export holds.
    pub objects: u64,
}

/// Members whose digests name no object: a statement, a tree head, and a command that is kept nowhere else.
const NO_OBJECTS: [&str; 3] = ["previous", "checkpoint", "command"];

/// Checks the export in `source` as the log `origin` signed by `vkey`, and that it continues `since`.
///
/// `each` gets every entry with its index, in order, while the check goes on: believe none before it returned `Ok`.
///
/// # Errors
/// The first broken piece, named: `tile/entries/000: entry 17: …`, `tile/0/000.p/40: hash 3 …`.
pub fn check_log(
    source: &dyn Source,
    origin: &str,
    vkey: &str,
    since: Option<&Checkpoint>,
    each: &mut dyn FnMut(u64, &Entry),
) -> Result<Report, Invalid> {
    let files = Files(source);
    let checkpoint = files.checkpoint(origin, vkey)?;
    let mut check = Check {
        files,
        checkpoint: &checkpoint,
        since: since.map(|since| continues(&checkpoint, since)).transpose()?,
        edge: Edge::empty(),
        chains: Chains::new(origin),
        objects: HashSet::new(),
        tiles: 0,
    };
    check.compare_since()?;
    for leaves in level_0(checkpoint.size) {
        check.bundle(leaves, each)?;
    }
    check.partial_tiles()?;
    check.root()?;
    let heads = check.heads()?;
    Ok(Report {
        entries: checkpoint.size,
        tiles: check.tiles,
        statements: check.chains.statements(),
        devices: check.chains.devices(),
        heads,
        objects: u64::try_from(check.objects.len()).unwrap_or(u64::MAX),
        checkpoint,
    })
}

/// The tiles of leaf hashes of a tree of `size` leaves; each has its bundle of entries.
fn level_0(size: u64) -> impl Iterator<Item = Tile> {
    (0..).map_while(move |index| Tile::of_tree(0, index, size))
}

/// `since`, when it can be an older head of the same log.
fn continues<'a>(checkpoint: &Checkpoint, since: &'a Checkpoint) -> Result<&'a Checkpoint, Invalid> {
    if since.origin != checkpoint.origin {
        let sentence = format!("the older checkpoint is of the log {:?}, not of {:?}", since.origin, checkpoint.origin);
        return Err(broken(sentence));
    }
    if since.size > checkpoint.size {
        return Err(broken(format!(
            "checkpoint: the log has {} entries and had {} before: it was rolled back",
            checkpoint.size, since.size
        )));
    }
    Ok(since)
}

/// The export's files, each refused with its path in front.
struct Files<'a>(&'a dyn Source);

impl Files<'_> {
    fn required(&self, path: &str) -> Result<Vec<u8>, Invalid> {
        self.0.read(path)?.ok_or_else(|| broken(format!("{path} is missing from the export")))
    }

    /// The signed head. The key beside it proves nothing, but must be the one given.
    fn checkpoint(&self, origin: &str, vkey: &str) -> Result<Checkpoint, Invalid> {
        let note = self.required("checkpoint")?;
        let checkpoint = Checkpoint::open(&note, origin, vkey).map_err(|refused| refused.of("checkpoint"))?;
        match self.0.read("log.vkey")? {
            Some(held) if held.strip_suffix(b"\n").unwrap_or(&held) != vkey.as_bytes() => {
                let sentence = format!("log.vkey: not the key {vkey} that the log was checked with");
                Err(Invalid::new(Fault::Mismatch, sentence))
            }
            _ => Ok(checkpoint),
        }
    }

    fn tile(&self, tile: Tile) -> Result<Vec<Hash>, Invalid> {
        let path = tile.path();
        let hashes = decode_hashes(&self.required(&path)?).map_err(|refused| refused.of(&path))?;
        if hashes.len() != usize::from(tile.width) {
            return Err(broken(format!("{path}: holds {} hashes and must hold {}", hashes.len(), tile.width)));
        }
        Ok(hashes)
    }
}

/// A check under way.
struct Check<'a> {
    /// The export.
    files: Files<'a>,
    /// Its signed head, which everything must lead to.
    checkpoint: &'a Checkpoint,
    /// The older head it must continue.
    since: Option<&'a Checkpoint>,
    /// The tree over the entries so far.
    edge: Edge,
    /// What devices said so far.
    chains: Chains<'a>,
    /// Objects checked so far.
    objects: HashSet<Digest>,
    /// Tiles compared so far.
    tiles: u64,
}

impl Check<'_> {
    /// One bundle of entries with its tile of leaf hashes.
    fn bundle(&mut self, leaves: Tile, each: &mut dyn FnMut(u64, &Entry)) -> Result<(), Invalid> {
        let path = entries_path(leaves.index, leaves.width);
        let bytes = self.files.required(&path)?;
        let entries = decode_bundle(&bytes).map_err(|refused| refused.of(&path))?;
        if entries.len() != usize::from(leaves.width) {
            return Err(broken(format!("{path}: holds {} entries and must hold {}", entries.len(), leaves.width)));
        }
        let hashes = self.files.tile(leaves)?;
        self.tiles += 1;
        for (place, (bytes, hash)) in entries.into_iter().zip(hashes).enumerate() {
            let index = self.edge.size();
            if leaf_hash(bytes) != hash {
                return Err(broken(format!(
                    "{}: hash {place} is not the hash of entry {index} in {path}",
                    leaves.path()
                )));
            }
            let entry = Entry::parse(bytes).and_then(|entry| self.entry(index, &entry).map(|()| entry));
            let entry = entry.map_err(|refused| refused.of(format!("{path}: entry {index}")))?;
            self.append(hash)?;
            each(index, &entry);
        }
        Ok(())
    }

    fn entry(&mut self, index: u64, entry: &Entry) -> Result<(), Invalid> {
        self.chains.follow(index, entry)?;
        for digest in references(entry) {
            self.object(digest)?;
        }
        Ok(())
    }

    fn append(&mut self, leaf: Hash) -> Result<(), Invalid> {
        // Level 0 was compared hash by hash.
        for CompletedTile { level, index, hashes } in self.edge.append(leaf).into_iter().filter(|tile| tile.level > 0) {
            self.compare(Tile { level, index, width: TILE_WIDTH }, &hashes)?;
        }
        self.compare_since()
    }

    fn compare(&mut self, tile: Tile, expected: &[Hash]) -> Result<(), Invalid> {
        let held = self.files.tile(tile)?;
        if let Some(place) = held.iter().zip(expected).position(|(held, expected)| held != expected) {
            return Err(broken(format!("{}: hash {place} is not what the entries hash to", tile.path())));
        }
        self.tiles += 1;
        Ok(())
    }

    fn partial_tiles(&mut self) -> Result<(), Invalid> {
        let partials: Vec<(Tile, Vec<Hash>)> =
            self.edge.partials().map(|(tile, hashes)| (tile, hashes.to_vec())).collect();
        for (tile, hashes) in partials.into_iter().filter(|(tile, _)| tile.level > 0) {
            self.compare(tile, &hashes)?;
        }
        Ok(())
    }

    fn root(&self) -> Result<(), Invalid> {
        if self.edge.root() != self.checkpoint.root {
            let sentence = format!("checkpoint: the signed root is not that of the {} entries", self.checkpoint.size);
            return Err(broken(sentence));
        }
        Ok(())
    }

    fn compare_since(&self) -> Result<(), Invalid> {
        match self.since {
            Some(since) if since.size == self.edge.size() && since.root != self.edge.root() => Err(broken(format!(
                "the first {} entries are not those of the older checkpoint: history was changed",
                since.size
            ))),
            _ => Ok(()),
        }
    }

    /// Finds every head that devices saw again, by growing the tree once more up to the newest of them.
    fn heads(&self) -> Result<u64, Invalid> {
        let mut edge = Edge::empty();
        self.chains.compare_head(&edge)?;
        let newest = self.chains.newest_head();
        for leaves in level_0(newest) {
            let whole = Tile::of_tree(0, leaves.index, self.checkpoint.size).unwrap_or(leaves);
            for leaf in self.files.tile(whole)? {
                let _ = edge.append(leaf);
                self.chains.compare_head(&edge)?;
            }
        }
        Ok(self.chains.heads())
    }

    fn object(&mut self, digest: Digest) -> Result<(), Invalid> {
        if self.objects.contains(&digest) {
            return Ok(());
        }
        let path = format!("objects/{}", digest.hex());
        let Some(bytes) = self.files.0.read(&path)? else { return Ok(()) };
        if Digest::of(&bytes) != digest {
            return Err(Invalid::new(Fault::Mismatch, format!("{path}: the bytes have another hash than the name")));
        }
        self.objects.insert(digest);
        Ok(())
    }
}

/// The digests in an entry that may name an object.
fn references(entry: &Entry) -> Vec<Digest> {
    let mut found = Vec::new();
    entry.detail.iter().for_each(|(name, value)| collect(name, value, &mut found));
    let said = entry.statement.as_ref().and_then(|signed| serde_json::from_str(&signed.text).ok());
    if let Some(said) = said {
        collect("statement", &said, &mut found);
    }
    found
}

/// Depth is bounded: the value was parsed by `serde_json`, which stops at 128 levels.
fn collect(name: &str, value: &Value, found: &mut Vec<Digest>) {
    match value {
        _ if NO_OBJECTS.contains(&name) => {}
        Value::String(text) => found.extend(text.parse::<Digest>()),
        Value::Array(values) => values.iter().for_each(|value| collect("", value, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| collect(name, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn broken(sentence: String) -> Invalid {
    Invalid::new(Fault::BadProof, sentence)
}

#[cfg(test)]
mod tests;
