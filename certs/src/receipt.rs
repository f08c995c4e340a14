//! The proof that a device waits for before it acts (P1): its statement is in the tenant's log, and that log continues
//! the one it knew.
//!
//! Not here: asking for it, waiting for it, and keeping the checkpoint durably; the agent does those.

use crate::entry::Entry;
use crate::invalid::{Fault, Invalid};
use crate::policy::LogIdentity;
use crate::statement::SignedStatement;
use crate::tlog::{Checkpoint, Hash, leaf_hash, verify_consistency, verify_inclusion};

/// What the gateway answers to a statement. Believed only as far as [`verify`] follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The exact bytes of the log entry.
    pub entry: Vec<u8>,
    /// Where it stands in the log, from 0.
    pub index: u64,
    /// The path from the entry to the checkpoint's root.
    pub inclusion: Vec<Hash>,
    /// The log's head, a signed note.
    pub checkpoint: Vec<u8>,
    /// The proof that this head continues the one of `consistency_from` entries.
    pub consistency: Vec<Hash>,
    /// The size of the checkpoint that the device keeps; 0 for none.
    pub consistency_from: u64,
}

/// The types of the only entries that let something start: a session, a run.
const LETS_START: [&str; 2] = ["session.opened", "run.started"];

/// That a statement is durably in the log. Only [`verify`] makes it. It permits nothing yet: see [`Recorded::permission`].
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    checkpoint: Checkpoint,
    entry: Entry,
    index: u64,
}

impl Recorded {
    /// The log head that was verified: to be kept before acting, and given as `kept` next time.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The entry that holds the statement.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where it stands in the log.
    pub fn index(&self) -> u64 {
        self.index
    }
}

/// That a session or a run is durably in the log and may start. Only [`Recorded::permission`] makes it; whoever starts a process
/// must hold one (P1).
#[derive(Debug, PartialEq, Eq)]
pub struct Permission(Recorded);

impl Permission {
    /// What was recorded.
    pub fn recorded(&self) -> &Recorded {
        &self.0
    }
}

impl Recorded {
    /// The permission to start what the statement announces.
    ///
    /// # Errors
    /// Itself, when the entry is of another type: the gateway may have recorded the intent and withheld the session or run.
    pub fn permission(self) -> Result<Permission, Box<Self>> {
        if LETS_START.contains(&self.entry.kind.as_str()) { Ok(Permission(self)) } else { Err(Box::new(self)) }
    }
}

/// Follows a receipt for the statement `expected` in the log that the policy names, from the checkpoint that the device
/// keeps of that log. `kept` is `None` only when nothing was ever verified of this origin: a log that was lost starts
/// again under a new origin, which a new policy must name.
///
/// A receipt for the very checkpoint that is kept needs no consistency proof, wherever it starts: several statements
/// recorded in one commit share one checkpoint.
///
/// # Errors
/// When the checkpoint is another log's, not signed by its key, smaller than or inconsistent with the one kept
/// ([`Fault::BadProof`]), the entry is not in it, or does not hold this statement ([`Fault::Mismatch`]).
pub fn verify(
    receipt: &Receipt,
    log: &LogIdentity,
    kept: Option<&Checkpoint>,
    expected: &SignedStatement,
) -> Result<Recorded, Invalid> {
    let named = |refused: Invalid| refused.of("receipt");
    check_origin(receipt, log)?;
    let checkpoint = Checkpoint::open(&receipt.checkpoint, &log.origin, &log.vkey).map_err(named)?;
    check_history(receipt, &checkpoint, kept)?;
    let leaf = leaf_hash(&receipt.entry);
    verify_inclusion(&leaf, receipt.index, checkpoint.size, &receipt.inclusion, &checkpoint.root).map_err(named)?;
    let entry = Entry::parse(&receipt.entry).map_err(named)?;
    check_statement(&entry, expected)?;
    Ok(Recorded { checkpoint, entry, index: receipt.index })
}

/// Said before the signature is looked at, which could only be another log's: the reason a person can do something about.
fn check_origin(receipt: &Receipt, log: &LogIdentity) -> Result<(), Invalid> {
    let first = receipt.checkpoint.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match std::str::from_utf8(first) {
        Ok(origin) if origin != log.origin && origin.starts_with(log.origin.split('/').next().unwrap_or_default()) => {
            Err(bad_proof(format!(
                "receipt is of the log {origin:?}, but the policy names {:?}: only a new policy changes the log",
                log.origin
            )))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The new head holds everything that the kept one held.
fn check_history(receipt: &Receipt, new: &Checkpoint, kept: Option<&Checkpoint>) -> Result<(), Invalid> {
    let from = receipt.consistency_from;
    let Some(kept) = kept else {
        if from != 0 || !receipt.consistency.is_empty() {
            return Err(mismatch(format!(
                "receipt continues a log of {from} entries, but none is kept; ask for it again"
            )));
        }
        return Ok(());
    };
    if kept.origin != new.origin {
        return Err(bad_proof(format!(
            "receipt is of the log {:?}, but what is kept is of {:?}: only a new policy changes the log",
            new.origin, kept.origin
        )));
    }
    if new.size < kept.size {
        return Err(bad_proof(format!(
            "receipt's log {:?} has {} entries, but {} were verified before: entries were removed",
            new.origin, new.size, kept.size
        )));
    }
    if new == kept {
        return Ok(());
    }
    if from != kept.size {
        return Err(mismatch(format!(
            "receipt continues a log of {from} entries, but the one kept has {}; ask for it again",
            kept.size
        )));
    }
    verify_consistency(kept.size, &kept.root, new.size, &new.root, &receipt.consistency)
        .map_err(|refused| refused.of("receipt"))
}

/// The entry holds the statement byte for byte, and its envelope says the same. The signature is the device's own.
fn check_statement(entry: &Entry, expected: &SignedStatement) -> Result<(), Invalid> {
    let Some(held) = &entry.statement else {
        return Err(mismatch("receipt's entry holds no statement; nothing was recorded for this one"));
    };
    if held.text != expected.text {
        return Err(mismatch("receipt's entry holds another statement; nothing was recorded for this one"));
    }
    if held.signature != expected.signature {
        return Err(mismatch("receipt's entry holds this statement with another signature; it was changed on its way"));
    }
    entry.check_envelope(None).map_err(|refused| refused.of("receipt"))
}

fn bad_proof(sentence: impl Into<String>) -> Invalid {
    Invalid::new(Fault::BadProof, sentence)
}

fn mismatch(sentence: impl Into<String>) -> Invalid {
    Invalid::new(Fault::Mismatch, sentence)
}

#[cfg(test)]
mod tests;
