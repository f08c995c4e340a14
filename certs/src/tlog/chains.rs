//! What devices said in a log: every statement signed by its device, none missing, and no log head they saw denied.
//!
//! Not here: tiles and bundles, see `check.rs`.
//!
//! A device's host key comes from its record in a `device.approved` entry before. The chain belongs to the host key: a new
//! record for the same key goes on, also under another name, and what was said under the old name may come after it. A new
//! key (a reinstalled machine) begins at 1. In a later life of a log ([`life`]) the chain of a host key that was carried into it
//! goes on at any number; only the beginning of a life carries devices, so that no device that came later begins in the middle.

use super::edge::Edge;
use super::hash::Hash;
use crate::Digest;
use crate::device::DeviceRecord;
use crate::entry::Entry;
use crate::invalid::{Fault, Invalid, malformed};
use crate::keys::PublicKey;
use crate::names::DeviceAddress;
use crate::statement::{Head, Statement};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The event whose `record` member is a device record's exact text.
const APPROVED: &str = "device.approved";
/// The first entry of every life.
const STARTED: &str = "log.started";
/// The same as an approval, put into a later life of the log again.
const CARRIED: &str = "device.carried";

/// Which life of its log an origin names: `GATEWAY/LOG` is the first, `GATEWAY/LOG/2` the second. A log lives again when its
/// gateway lost entries; what a device said before stands elsewhere then, or nowhere, so the first statement under each host
/// key that is carried over may have any number in a later life.
pub fn life(origin: &str) -> u32 {
    let mut parts = origin.splitn(3, '/').skip(2);
    parts.next().and_then(|life| life.parse().ok()).filter(|life| *life >= 2).unwrap_or(1)
}

/// The devices of one log and what each said last, up to some entry.
pub(super) struct Chains<'a> {
    /// The log's name: heads of other logs cannot be compared.
    origin: &'a str,
    /// The host key of every record, by address and serial.
    records: HashMap<(DeviceAddress, u64), PublicKey>,
    /// The host keys that came from an earlier life.
    carried: HashSet<PublicKey>,
    /// Whether only the start of this life and what it carries were seen so far.
    beginning: bool,
    /// The last statement under each host key.
    last: HashMap<PublicKey, Link>,
    /// Statements so far.
    statements: u64,
    /// Heads of this log that devices saw, by size.
    heads: BTreeMap<u64, Seen>,
}

/// The end of a chain.
struct Link {
    seq: u64,
    digest: Digest,
}

/// A head that a device saw.
struct Seen {
    root: Hash,
    /// The entry with the statement that names it.
    index: u64,
}

impl<'a> Chains<'a> {
    pub(super) fn new(origin: &'a str) -> Self {
        Self {
            origin,
            records: HashMap::new(),
            carried: HashSet::new(),
            beginning: true,
            last: HashMap::new(),
            statements: 0,
            heads: BTreeMap::new(),
        }
    }

    /// Statements followed.
    pub(super) fn statements(&self) -> u64 {
        self.statements
    }

    /// Devices with a record.
    pub(super) fn devices(&self) -> u64 {
        let addresses: HashSet<&DeviceAddress> = self.records.keys().map(|(address, _)| address).collect();
        count(addresses.len())
    }

    /// Different heads that devices saw.
    pub(super) fn heads(&self) -> u64 {
        count(self.heads.len())
    }

    /// The size of the newest head that a device saw; 0 when there is none.
    pub(super) fn newest_head(&self) -> u64 {
        self.heads.last_key_value().map_or(0, |(size, _)| *size)
    }

    /// Takes entry `index` into account.
    ///
    /// # Errors
    /// When its record or statement is malformed, does not agree with the envelope, or does not continue its chain.
    pub(super) fn follow(&mut self, index: u64, entry: &Entry) -> Result<(), Invalid> {
        match entry.kind.as_str() {
            STARTED => {}
            CARRIED => {
                let host_key = self.approve(entry)?;
                self.carry(host_key)?;
            }
            APPROVED => {
                self.approve(entry)?;
                self.beginning = false;
            }
            _ => self.beginning = false,
        }
        let Some(signed) = &entry.statement else { return Ok(()) };
        let head = Statement::parse(signed.text.as_bytes())?.head;
        let key = self.records.get(&(head.device.clone(), head.serial)).cloned().ok_or_else(|| {
            let sentence = format!("no record of {} with serial {} was approved before", head.device, head.serial);
            Invalid::new(Fault::WrongSigner, sentence)
        })?;
        entry.check_envelope(Some(&key))?;
        self.see(index, &head)?;
        self.link(head, key, Digest::of(signed.text.as_bytes()))
    }

    /// Takes a record into account; its host key.
    fn approve(&mut self, entry: &Entry) -> Result<PublicKey, Invalid> {
        let text = entry.detail.get("record").and_then(Value::as_str);
        let text =
            text.ok_or_else(|| malformed(format!("{} without the device record's text in `record`", entry.kind)))?;
        let record = DeviceRecord::parse(text.as_bytes())?;
        if Some(&record.address.tenant) != entry.tenant.as_ref()
            || Some(&record.address.device) != entry.device.as_ref()
        {
            let sentence = format!("the record is of {}, the entry of another device", record.address);
            return Err(Invalid::new(Fault::Mismatch, sentence));
        }
        let held =
            self.records.entry((record.address.clone(), record.serial)).or_insert_with(|| record.host_key.clone());
        if *held != record.host_key {
            let sentence =
                format!("{} has two records with serial {} and different keys", record.address, record.serial);
            return Err(Invalid::new(Fault::Fork, sentence));
        }
        Ok(record.host_key)
    }

    fn carry(&mut self, host_key: PublicKey) -> Result<(), Invalid> {
        if !self.beginning {
            let sentence =
                format!("{CARRIED} stands behind other entries: only the beginning of a log's life carries devices");
            return Err(Invalid::new(Fault::BadProof, sentence));
        }
        self.carried.insert(host_key);
        Ok(())
    }

    fn link(&mut self, head: Head, key: PublicKey, digest: Digest) -> Result<(), Invalid> {
        let last = self.last.get(&key);
        let goes_on = last.is_none() && head.previous.is_some() && self.carried.contains(&key);
        if goes_on && life(self.origin) > 1 {
            self.statements += 1;
            self.last.insert(key, Link { seq: head.seq, digest });
            return Ok(());
        }
        let expected = last.map_or(1, |last| last.seq.saturating_add(1));
        if head.seq != expected {
            let sentence = if head.seq > expected {
                format!("{} says number {}, but number {expected} is missing", head.device, head.seq)
            } else {
                format!("{} says number {} a second time", head.device, head.seq)
            };
            return Err(Invalid::new(Fault::BadProof, sentence));
        }
        if head.previous != last.map(|last| last.digest) {
            let sentence = format!("number {} of {} does not name the statement before it", head.seq, head.device);
            return Err(Invalid::new(Fault::WrongPrevious, sentence));
        }
        self.statements += 1;
        self.last.insert(key, Link { seq: head.seq, digest });
        Ok(())
    }

    /// Notes a head of this log that the device saw; it can only be older than the entry that says so.
    fn see(&mut self, index: u64, head: &Head) -> Result<(), Invalid> {
        let Some(seen) = head.checkpoint.as_ref().filter(|seen| seen.origin == self.origin) else { return Ok(()) };
        let root = seen.root.0;
        let known = self.heads.entry(seen.size).or_insert(Seen { root, index });
        if seen.size > index || known.root != root {
            return Err(denied(seen.size, index));
        }
        Ok(())
    }

    /// Compares the head that a device saw at this size, if one did, with the tree.
    ///
    /// # Errors
    /// [`Fault::Fork`] when the device saw another tree.
    pub(super) fn compare_head(&self, edge: &Edge) -> Result<(), Invalid> {
        match self.heads.get(&edge.size()) {
            Some(seen) if seen.root != edge.root() => Err(denied(edge.size(), seen.index)),
            _ => Ok(()),
        }
    }
}

fn denied(size: u64, index: u64) -> Invalid {
    let sentence =
        format!("entry {index}: its device saw a log of {size} entries that is not the beginning of this one");
    Invalid::new(Fault::Fork, sentence)
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
