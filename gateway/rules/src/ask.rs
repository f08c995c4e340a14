//! What a door may ask to be recorded, and how an ask can end.
//!
//! A door has checked every signature before it asks; an ask carries the checked values. What only the store knows
//! (does it exist, is it used up, does it follow) is judged here, inside the transaction that records it.

use crate::draft::Draft;
use crate::freeze::Frozen;
use crate::job::Missed;
use crate::library::Pushed;
use crate::limits::{ALONE_WEIGHT, OUTPUT_DELETED_WEIGHT};
use crate::output::OutputName;
use crate::recording::RecordingName;
use crate::refusal::Refusal;
use crate::review::Opinion;
use crate::submission::Submission;
use belay_certs::device::{Approval, DeviceRecord};
use belay_certs::join::{JoinRequest, SignedJoin};
use belay_certs::order::DeviceLine;
use belay_certs::policy::Chain;
use belay_certs::statement::{SignedStatement, Statement};
use belay_certs::token::Token;
use belay_certs::{DeviceName, Digest, Id, PersonRef, Signed, TenantName, Timestamp};
use std::collections::BTreeMap;

/// One change that somebody wants recorded.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "notes are the most frequent asks: a box would cost each an allocation")]
pub enum Ask {
    /// An event that needs no check against what is stored.
    Note(Draft),
    /// The gateway came up: nothing is connected, and every access that was open has ended.
    StartUp {
        /// The gateway's version.
        version: String,
    },
    /// The operator adds a tenant: its log key is made, and its log begins.
    AddTenant {
        /// Its name.
        tenant: TenantName,
    },
    /// The operator begins a tenant's log anew, because this gateway lost entries of it.
    RestartLog {
        /// Whose.
        tenant: TenantName,
    },
    /// A policy becomes the tenant's newest.
    AdoptPolicy {
        /// Whose.
        tenant: TenantName,
        /// The chain with the new policy at its head: only verification makes one.
        chain: Box<Chain>,
        /// The new policy's exact bytes and signatures.
        signed: Signed,
        /// Who brings it.
        bearer: Bearer,
    },
    /// A token becomes valid. Checked by `token::check_issued`.
    IssueToken {
        /// The document's exact bytes and signature.
        signed: Signed,
        /// What it says.
        token: Box<Token>,
        /// Who signed it.
        by: PersonRef,
    },
    /// A machine asks to become a device. Checked by `join::check`.
    Redeem {
        /// A fresh id for the request; [`Outcome::JoinedBefore`] answers with the one to use instead.
        join: Id,
        /// What it asks.
        request: Box<JoinRequest>,
        /// The exact request with its two signatures.
        signed: SignedJoin,
        /// Where it called from.
        address: String,
    },
    /// A person approves devices of one batch, all or none of them; at most
    /// [`crate::limits::APPROVALS_PER_ASK_MAX`]. Each checked by `device::check_approval`.
    Approve {
        /// Whose devices.
        tenant: TenantName,
        /// The records, each with its proof.
        approvals: Vec<(DeviceRecord, Approval)>,
        /// Who signed the batch.
        by: PersonRef,
        /// Serials of the records in force that these void and whose devices `by` may enrol as they stand. A record that
        /// is not among them was not there when the policy was asked, and stays.
        over: Vec<u64>,
    },
    /// Devices get new host certificates for the records they have, all or none; at most
    /// [`crate::limits::APPROVALS_PER_ASK_MAX`]. Each checked by `host_certificate::check`.
    Recertify {
        /// Whose devices.
        tenant: TenantName,
        /// The certificates.
        certificates: Vec<Recertified>,
        /// Who brings them.
        by: PersonRef,
    },
    /// The operator begins a tenant's policy anew: a version 0 in the place of a chain whose root keys are lost.
    RestartPolicy {
        /// The chain that begins, at its version 0.
        chain: Box<Chain>,
        /// Its exact bytes and signatures.
        signed: Signed,
        /// The version 0 of the chain that the operator means to end.
        lost: Digest,
    },
    /// A version of a runbook comes into a tenant's library. Checked by `runbook::check_signed`.
    PushRunbook {
        /// Whose library.
        tenant: TenantName,
        /// The runbook.
        pushed: Box<Pushed>,
    },
    /// An order becomes a job. Checked by `order::CheckedOrder`, for every device of its list.
    SubmitJob(Box<Submission>),
    /// Devices are about to be offered a job's order.
    OfferRuns {
        /// Whose job.
        tenant: TenantName,
        /// Which.
        job: Id,
        /// The devices with their places in the order's list; at most [`crate::limits::OFFERS_PER_ASK_MAX`].
        devices: Vec<(u64, DeviceLine)>,
    },
    /// A device turned down what it was offered, and says nothing of it in a statement.
    DeclineRun {
        /// Whose device.
        tenant: TenantName,
        /// Which.
        device: DeviceName,
        /// The order's id, as far as the device could read it.
        order: Id,
        /// Of the bytes that it was offered.
        digest: Digest,
        /// Why.
        sentence: String,
    },
    /// A person calls a job off.
    CancelJob {
        /// Whose job.
        tenant: TenantName,
        /// Which.
        job: Id,
        /// Who.
        by: PersonRef,
    },
    /// A job's stop rule holds.
    StopJob {
        /// Whose job.
        tenant: TenantName,
        /// Which.
        job: Id,
        /// What it missed.
        missed: Missed,
    },
    /// Nothing more of a job is waited for.
    EndJob {
        /// Whose job.
        tenant: TenantName,
        /// Which.
        job: Id,
        /// How many runs ended how.
        runs: BTreeMap<belay_certs::order::Outcome, u64>,
        /// Runs without an answer.
        unanswered: u64,
    },
    /// The time of a recording is over.
    DeleteRecording {
        /// Which.
        name: RecordingName,
        /// Which rule says so.
        why: String,
    },
    /// Nothing was heard of a session for long after the way to it was gone.
    GiveUpRecording {
        /// Its recording.
        name: RecordingName,
        /// Whatever came of it came before this moment.
        before: Timestamp,
    },
    /// Nothing may delete a recording until it is let go.
    HoldRecording {
        /// Which.
        name: RecordingName,
        /// Who wants it.
        by: PersonRef,
        /// Why.
        reason: String,
    },
    /// A recording that was held is let go.
    ReleaseRecording {
        /// Which.
        name: RecordingName,
        /// Who lets it go.
        by: PersonRef,
        /// Why.
        reason: String,
    },
    /// The time of what a run printed is over.
    DeleteOutput {
        /// Which.
        name: OutputName,
        /// Whatever came of it came before this moment, its end too.
        before: Timestamp,
        /// Which rule says so.
        why: String,
    },
    /// Nothing may delete what a run printed until it is let go.
    HoldOutput {
        /// Which.
        name: OutputName,
        /// Who wants it.
        by: PersonRef,
        /// Why.
        reason: String,
    },
    /// What a run printed and was held is let go.
    ReleaseOutput {
        /// Which.
        name: OutputName,
        /// Who lets it go.
        by: PersonRef,
        /// Why.
        reason: String,
    },
    /// A person freezes a tenant, a device or a person.
    Freeze {
        /// What.
        frozen: Frozen,
        /// Why, in their words.
        reason: Option<String>,
        /// Who.
        by: PersonRef,
    },
    /// A person lifts a freeze.
    Thaw {
        /// What was frozen.
        frozen: Frozen,
        /// Who.
        by: PersonRef,
    },
    /// A person says what they found when they looked at a session or a job.
    Review(Box<Reviewing>),
    /// A device connected. The newest connection of a device wins.
    Connect {
        /// The join id in its transport certificate.
        join: Id,
        /// A fresh id for this connection.
        connection: Id,
        /// Where it called from.
        address: String,
        /// The agent's version.
        version: String,
        /// The newest version of its tenant's policy that it says it holds.
        held: Option<u64>,
    },
    /// A device's connection ended; nothing happens when a newer one took its place.
    Disconnect {
        /// The join id in its transport certificate.
        join: Id,
        /// The connection that ended.
        connection: Id,
        /// Why.
        reason: String,
        /// The newest version of its tenant's policy that it said it holds.
        held: Option<u64>,
    },
    /// A device said something. Checked by `statement::verify` with the device's host key.
    Statement {
        /// The join id in its transport certificate.
        join: Id,
        /// The exact text and signature.
        signed: SignedStatement,
        /// What it says.
        statement: Box<Statement>,
        /// The open access to this device that the intent names; none when there is no such access.
        outer: Option<Outer>,
    },
}

impl Ask {
    /// Entries it can lead to, roughly: how much of a transaction it fills.
    pub fn weight(&self) -> usize {
        match self {
            Self::Approve { approvals, .. } => approvals.len().max(1),
            Self::RestartLog { .. } => ALONE_WEIGHT,
            Self::DeleteOutput { .. } => OUTPUT_DELETED_WEIGHT,
            Self::Recertify { certificates, .. } => certificates.len().max(1),
            // Rows beside one entry, a quarter of an entry's work each.
            Self::OfferRuns { devices, .. } => devices.len().div_ceil(4).max(1),
            Self::Note(_)
            | Self::PushRunbook { .. }
            | Self::SubmitJob(_)
            | Self::DeclineRun { .. }
            | Self::CancelJob { .. }
            | Self::StopJob { .. }
            | Self::EndJob { .. }
            | Self::DeleteRecording { .. }
            | Self::GiveUpRecording { .. }
            | Self::HoldRecording { .. }
            | Self::ReleaseRecording { .. }
            | Self::HoldOutput { .. }
            | Self::ReleaseOutput { .. }
            | Self::Freeze { .. }
            | Self::Thaw { .. }
            | Self::Review(_)
            | Self::RestartPolicy { .. }
            | Self::StartUp { .. }
            | Self::AddTenant { .. }
            | Self::AdoptPolicy { .. }
            | Self::IssueToken { .. }
            | Self::Redeem { .. }
            | Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::Statement { .. } => 1,
        }
    }
}

/// A new host certificate for the record that a device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recertified {
    /// The record's serial, and the certificate's.
    pub serial: u64,
    /// The OpenSSH host certificate, one line.
    pub certificate: String,
    /// The fingerprint of the device CA that signed it.
    pub ca: String,
}

/// What a person says of a session or a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewing {
    /// Whose session or job.
    pub tenant: TenantName,
    /// Which.
    pub subject: Id,
    /// The session's device; none: it is a job.
    pub device: Option<DeviceName>,
    /// What they think of it.
    pub opinion: Opinion,
    /// In their words.
    pub note: String,
    /// Who.
    pub by: PersonRef,
}

/// Who brings a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// The operator, on the gateway itself: the only way in for version 0.
    Operator,
    /// Somebody known in the policy, over the network.
    Person(PersonRef),
}

/// The outer connection that a session comes through, as the gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outer {
    /// Its id, as the device was told it.
    pub access: Id,
    /// Whose it is.
    pub person: PersonRef,
    /// The device it leads to.
    pub device: DeviceName,
}

/// What a judge decides when it does not refuse.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<T> {
    /// It is recorded.
    Record(T),
    /// The very same is recorded already, in the entry with this index of the tenant's log.
    Again(u64),
}

/// How an ask that was not refused ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is recorded now.
    Recorded,
    /// The very same was recorded before; the entry is that one.
    Again,
    /// The machine asked before and has this join id; the entry is that one.
    JoinedBefore(Id),
    /// The device's statement is recorded, and it permits nothing, for this reason.
    Withheld(Refusal),
    /// The device's statement is not recorded; the entry says that it was turned away, and why.
    Rejected(Refusal),
}
