//! Where a run, a job and its numbers stand: the words of the job's rules.
//!
//! Not here: what changes them (`job`).

use belay_certs::Timestamp;
use belay_certs::order::Outcome;
use std::collections::BTreeMap;

/// Where one run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It was not offered yet.
    Waiting,
    /// It was offered, perhaps more than once.
    Offered {
        /// When it is overdue unless the device answers.
        due: Timestamp,
    },
    /// Its intent is recorded: it may be going on.
    Started {
        /// When it is overdue unless its end is said.
        due: Timestamp,
    },
    /// It is over.
    Ended(Outcome),
}

/// Whether more may begin, the window apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Yes.
    Open,
    /// No: too many did not succeed. What runs goes on.
    Stopped,
    /// No: a person called it off. What runs is ended.
    Cancelled,
}

/// Whether a device said something new about its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Yes.
    First,
    /// No: the same was said before, and its answer was perhaps lost.
    Again,
}

/// What a device that is there now must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// Nothing.
    Nothing,
    /// The offer, again.
    Offer,
    /// That the run is called off.
    Cancel,
}

/// Why the stop rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// Runs that did not succeed, or are overdue.
    pub runs: u64,
    /// Runs that the waves so far reach.
    pub places: u64,
    /// How many of them might miss.
    pub tolerated: u64,
}

/// How many runs stand where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Not offered yet.
    pub waiting: u64,
    /// Offered.
    pub offered: u64,
    /// Started.
    pub started: u64,
    /// Of those offered and started: the overdue ones.
    pub overdue: u64,
    /// Ended, by outcome.
    pub ended: BTreeMap<Outcome, u64>,
}

/// Whether nothing was allowed to start yet.
pub(super) fn is_unstarted(run: Run) -> bool {
    match run {
        Run::Waiting | Run::Offered { .. } => true,
        Run::Started { .. } | Run::Ended(_) => false,
    }
}

/// Whether this outcome counts for the stop rule. Who was called off did not miss, and with the window's end nothing begins
/// anyway.
pub(super) fn is_miss(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Succeeded | Outcome::Cancelled | Outcome::NotStarted | Outcome::Expired => false,
        Outcome::Failed | Outcome::TimedOut | Outcome::Refused | Outcome::Interrupted => true,
    }
}
