//! What happens to runbooks and jobs, as their entries say it. What a device says of its run is in `intents.rs`.
//!
//! Documents are beside the log, by digest: runbook, order, list of devices, signatures.

use crate::job::Missed;
use belay_certs::order::Outcome;
use belay_certs::policy::Risk;
use belay_certs::{AccountName, DeviceName, Digest, Id, PersonRef, RunbookName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One version of a runbook is in the tenant's library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunbookPushed {
    /// Its name.
    pub runbook: RunbookName,
    /// Of its bytes, kept beside the log.
    pub version: Digest,
    /// Of its author's armoured signature, kept beside the log.
    pub signature: Digest,
    /// The fingerprint of the author's key.
    pub signed_by: String,
    /// Who the author is.
    pub author: PersonRef,
    /// When it was issued.
    pub issued: Timestamp,
    /// How much can go wrong.
    #[serde(with = "risk_word")]
    pub risk: Risk,
}

/// A person's order is the gateway's to carry out. The person is in the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSubmitted {
    /// The order's id, and the job's.
    pub job: Id,
    /// Of the order, kept beside the log.
    pub order: Digest,
    /// Of its armoured signature, kept beside the log.
    pub signature: Digest,
    /// Of the list of its devices, kept beside the log.
    pub list: Digest,
    /// The runbook's name.
    pub runbook: RunbookName,
    /// Of the runbook.
    pub version: Digest,
    /// The fingerprint of the key that signed the order.
    pub key: String,
    /// Who brought it, where that is somebody else than who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_by: Option<PersonRef>,
    /// As whom it runs.
    pub account: AccountName,
    /// The ticket that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How many devices it is for.
    pub devices: u64,
    /// From when on a run may start.
    pub not_before: Timestamp,
    /// From when on none may.
    pub not_after: Timestamp,
}

/// Devices get the order now, or are about to: none gets it before this is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOffered {
    /// Which job.
    pub job: Id,
    /// The devices; at most [`crate::limits::OFFERS_PER_ASK_MAX`].
    pub devices: Vec<DeviceName>,
}

/// No further run of a job starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStopped {
    /// Which job.
    pub job: Id,
    /// Runs that did not succeed, or are overdue.
    pub missed: u64,
    /// Runs that the waves so far reach.
    pub places: u64,
    /// How many of them might miss.
    pub tolerated: u64,
}

impl JobStopped {
    /// The stop of a job whose rule holds.
    pub fn of(job: Id, Missed { runs, places, tolerated }: Missed) -> Self {
        Self { job, missed: runs, places, tolerated }
    }
}

/// A job is over: nothing more is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnded {
    /// Which job.
    pub job: Id,
    /// How many of its runs ended how, as far as it is known now.
    pub runs: BTreeMap<Outcome, u64>,
    /// Runs whose device has not said how they ended. What it says later is recorded.
    pub unanswered: u64,
}

/// A risk as a word.
mod risk_word {
    use belay_certs::policy::Risk;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(risk: &Risk, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(risk)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Risk, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
