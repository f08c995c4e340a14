//! Every kind of event that Belay records: the one enum to read to know what the product can do.
//!
//! Not here: the event around it (`draft.rs`), who may cause one (the judges), and how it becomes durable (the gateway's
//! `store/`).

use belay_certs::entry::Entry;
use belay_certs::statement::{CheckpointSeen, Files, RunEnd};
use belay_certs::{DeviceName, Digest, Fault, Id, Invalid, PublicKey, TenantName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod freezes;
mod intents;
mod jobs;
mod outputs;
mod recordings;
pub mod reviews;

pub use freezes::{FreezeBegun, FreezeLifted, SessionKilled};
pub use intents::{Run, Session};
pub use jobs::{JobEnded, JobOffered, JobStopped, JobSubmitted, RunbookPushed};
pub use outputs::{OutputDeleted, OutputHold, OutputRead};
pub use recordings::{Look, RecordingCut, RecordingDeleted, RecordingHold, RecordingRead};
pub use reviews::ReviewGiven;

/// What happened. The JSON members of a variant are the entry's own members; none is named as one of the envelope's
/// (`v id type at tenant device person statement`), and numbers are whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum What {
    /// The first entry of every log: what it is called and which key signs its checkpoints.
    #[serde(rename = "log.started")]
    LogStarted {
        /// `GATEWAY/LOG`.
        origin: String,
        /// The checkpoint key, as a C2SP signed-note verifier key.
        vkey: String,
        /// The last head known here of the log's life before, when it was restarted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        continues: Option<CheckpointSeen>,
    },
    /// The operator began a tenant's log anew, because this gateway lost entries of it (system log).
    #[serde(rename = "log.restarted")]
    LogRestarted {
        /// Whose.
        name: TenantName,
        /// The log from here on.
        origin: String,
        /// The last head known here of the one before.
        continues: CheckpointSeen,
    },
    /// The gateway came up; in a tenant's log: nothing of the tenant is connected at this moment.
    #[serde(rename = "gateway.started")]
    GatewayStarted {
        /// The gateway's version.
        version: String,
        /// Devices (of this tenant, in its log) that were connected when the gateway went away.
        devices_lost: u64,
    },
    /// The gateway went down in good order.
    #[serde(rename = "gateway.stopped")]
    GatewayStopped {
        /// Why.
        reason: String,
    },
    /// The operator added a tenant (system log).
    #[serde(rename = "tenant.added")]
    TenantAdded {
        /// Its name.
        name: TenantName,
        /// Its log.
        origin: String,
    },
    /// Callers that nobody knows were turned away (system log); counted and merged, so that they cannot fill the disk.
    #[serde(rename = "strangers.refused")]
    StrangersRefused {
        /// How many.
        count: u64,
        /// The first of them.
        since: Timestamp,
        /// The last of them.
        until: Timestamp,
        /// A few of them: address, key fingerprint, what they wanted.
        sample: Vec<String>,
    },
    /// A policy became the tenant's newest.
    #[serde(rename = "policy.adopted")]
    PolicyAdopted {
        /// Its version.
        version: u64,
        /// Of its bytes, which are kept beside the log.
        digest: Digest,
        /// Fingerprints of the keys that signed it.
        signers: Vec<String>,
        /// The armoured signatures, kept beside the log.
        signatures: Vec<Digest>,
    },
    /// A policy was offered and turned away, by the gateway or by a device.
    #[serde(rename = "policy.refused")]
    PolicyRefused {
        /// The version it claims.
        version: u64,
        /// Of its bytes.
        digest: Digest,
        /// Why.
        sentence: String,
    },
    /// The operator began the tenant's policy anew, because the root keys of the old chain are lost. No device of the old
    /// chain follows: each must forget it, by hand, and join again.
    #[serde(rename = "policy.restarted")]
    PolicyRestarted {
        /// The version 0 of the chain that ended.
        lost: Digest,
        /// The last version of that chain.
        lost_version: u64,
        /// The version 0 of the chain that begins; `policy.adopted` follows.
        begun: Digest,
        /// Devices of the old chain, approved or pending, that were left behind.
        devices_lost: u64,
    },
    /// A person made a token to join devices with.
    #[serde(rename = "token.issued")]
    TokenIssued {
        /// The token's id.
        token: Id,
        /// Of the token document, kept beside the log.
        digest: Digest,
        /// Of the armoured signature, kept beside the log.
        signature: Digest,
        /// How many devices it joins.
        uses: u64,
        /// Until when.
        expires: Timestamp,
        /// Labels it proposes.
        labels: Vec<String>,
        /// Names it allows.
        name_pattern: String,
    },
    /// A machine asked to become a device, and waits for approval.
    #[serde(rename = "device.pending")]
    DevicePending {
        /// The request's id, by which the transport knows the machine.
        join: Id,
        /// The token it used.
        token: Id,
        /// The name it proposes.
        name: DeviceName,
        /// Its host key.
        host_key: PublicKey,
        /// The digest of its machine id.
        machine_id: Digest,
        /// Of the join request, kept beside the log.
        request: Digest,
        /// Of its two armoured signatures (join key, host key), kept beside the log.
        signatures: Vec<Digest>,
        /// Where it called from.
        address: String,
    },
    /// A person approved a device.
    #[serde(rename = "device.approved")]
    DeviceApproved {
        /// The request it answers.
        join: Id,
        /// The exact text of the device record.
        record: String,
        /// The record's serial.
        serial: u64,
        /// The device's host key.
        host_key: PublicKey,
        /// Its labels.
        labels: Vec<String>,
        /// The name it had before, when this gives it another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        formerly: Option<DeviceName>,
        /// Of the signed batch document, kept beside the log.
        batch: Digest,
        /// Of the batch's armoured signature, kept beside the log.
        batch_signature: Digest,
        /// Which record of the batch it is.
        place: u64,
        /// The inclusion path of the record in the batch's root.
        path: Vec<Digest>,
        /// Of the OpenSSH host certificate line, kept beside the log.
        certificate: Digest,
    },
    /// A device that was approved in an earlier life of the log stands in this one again, with its proof: what it says is
    /// verified from here on.
    #[serde(rename = "device.carried")]
    DeviceCarried {
        /// The request it came in by.
        join: Id,
        /// The exact text of the device record.
        record: String,
        /// The record's serial.
        serial: u64,
        /// Who approved it.
        approved_by: String,
        /// Of the signed batch document, kept beside the log.
        batch: Digest,
        /// Of the batch's armoured signature, kept beside the log.
        batch_signature: Digest,
        /// Which record of the batch it is.
        place: u64,
        /// The inclusion path of the record in the batch's root.
        path: Vec<Digest>,
        /// Of the OpenSSH host certificate line, kept beside the log.
        certificate: Digest,
    },
    /// A device lost its name to another machine; its record counts no more.
    #[serde(rename = "device.replaced")]
    DeviceReplaced {
        /// The request it came in by.
        join: Id,
        /// Its record's serial, which the record of the new one names.
        serial: u64,
        /// The request that the new one came in by.
        by: Id,
    },
    /// A device got a new host certificate for the record it has.
    #[serde(rename = "device.recertified")]
    DeviceRecertified {
        /// The request it came in by.
        join: Id,
        /// Its record's serial.
        serial: u64,
        /// Of the OpenSSH host certificate line, kept beside the log.
        certificate: Digest,
        /// The fingerprint of the device CA that signed it.
        ca: String,
    },
    /// A device (pending or approved) connected.
    #[serde(rename = "device.connected")]
    DeviceConnected {
        /// The request it came in by.
        join: Id,
        /// This connection.
        connection: Id,
        /// Where from.
        address: String,
        /// The agent's version.
        version: String,
    },
    /// A device's connection ended.
    #[serde(rename = "device.disconnected")]
    DeviceDisconnected {
        /// The request it came in by.
        join: Id,
        /// Which connection.
        connection: Id,
        /// Why.
        reason: String,
    },
    /// A second agent came with the same identity: the newest wins, the one named here was closed.
    #[serde(rename = "device.superseded")]
    DeviceSuperseded {
        /// The request both came in by.
        join: Id,
        /// The connection that was closed.
        connection: Id,
        /// Where it came from.
        address: String,
    },
    /// A known device was turned away.
    #[serde(rename = "device.refused")]
    DeviceRefused {
        /// The request it came in by.
        join: Id,
        /// Where from.
        address: String,
        /// Why.
        reason: String,
    },
    /// A person was let through to a device. What they do there, the device says.
    #[serde(rename = "access.opened")]
    AccessOpened {
        /// This outer connection.
        access: Id,
        /// The fingerprint of the person's key.
        key: String,
        /// Where from.
        address: String,
    },
    /// A person with a grant in the tenant was turned away.
    #[serde(rename = "access.refused")]
    AccessRefused {
        /// What was asked for.
        target: String,
        /// The fingerprint of the person's key.
        key: String,
        /// Where from.
        address: String,
        /// What the person was told.
        sentence: String,
    },
    /// A person's way to a device closed.
    #[serde(rename = "access.ended")]
    AccessEnded {
        /// Which.
        access: Id,
        /// Bytes to the device.
        bytes_up: u64,
        /// Bytes from the device.
        bytes_down: u64,
        /// Why.
        reason: String,
    },
    /// A device is about to start a session; its statement is in the entry.
    #[serde(rename = "session.opened")]
    SessionOpened(Session),
    /// A device refused a session; its statement is in the entry.
    #[serde(rename = "session.refused")]
    SessionRefused {
        /// What was asked.
        #[serde(flatten)]
        session: Session,
        /// What the person was told.
        reason: String,
    },
    /// A session is over; the device's statement is in the entry.
    #[serde(rename = "session.ended")]
    SessionEnded {
        /// Which.
        session: Id,
        /// Its exit status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<u32>,
        /// The signal that killed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// Why it ended, when it did not end by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Bytes from the person.
        bytes_in: u64,
        /// Bytes to the person.
        bytes_out: u64,
        /// The recording.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recording: Option<Digest>,
        /// What a file session did: paths, directions, bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<Files>,
    },
    /// A device wanted to start a session for somebody the access does not belong to. Its statement is in the entry,
    /// so that its chain stays whole, but this type permits nothing: a device starts only on `session.opened` (P1).
    #[serde(rename = "session.withheld")]
    SessionWithheld {
        /// Which.
        session: Id,
        /// Why.
        reason: String,
    },
    /// A person ended somebody's session.
    #[serde(rename = "session.killed")]
    SessionKilled(SessionKilled),
    /// A person froze a tenant, a device or a person.
    #[serde(rename = "freeze.begun")]
    FreezeBegun(FreezeBegun),
    /// A person lifted a freeze.
    #[serde(rename = "freeze.lifted")]
    FreezeLifted(FreezeLifted),
    /// A person has looked at a session or a job, and says what they found.
    #[serde(rename = "review.given")]
    ReviewGiven(ReviewGiven),
    /// A person brought a version of a runbook.
    #[serde(rename = "runbook.pushed")]
    RunbookPushed(RunbookPushed),
    /// A person's order is to be carried out.
    #[serde(rename = "job.submitted")]
    JobSubmitted(JobSubmitted),
    /// Devices are offered the order.
    #[serde(rename = "job.offered")]
    JobOffered(JobOffered),
    /// A person called a job off: what has not started never will, what runs is ended.
    #[serde(rename = "job.cancelled")]
    JobCancelled {
        /// Which.
        job: Id,
    },
    /// Too many runs did not succeed: what has not started never will.
    #[serde(rename = "job.stopped")]
    JobStopped(JobStopped),
    /// A job is over.
    #[serde(rename = "job.ended")]
    JobEnded(JobEnded),
    /// A device turned down what it was offered, and says nothing of it itself: no person's order, or one that it knows.
    #[serde(rename = "run.declined")]
    RunDeclined {
        /// The order's id, as far as the device could read it.
        order: Id,
        /// Of the bytes that it was offered.
        digest: Digest,
        /// Why.
        sentence: String,
    },
    /// A device is about to run a script that was ordered; its statement is in the entry.
    #[serde(rename = "run.started")]
    RunStarted(Run),
    /// A device refused a run; its statement is in the entry.
    #[serde(rename = "run.refused")]
    RunRefused {
        /// What was ordered.
        #[serde(flatten)]
        run: Run,
        /// Why.
        reason: String,
    },
    /// A run is over, or never began and never will; the device's statement is in the entry.
    #[serde(rename = "run.ended")]
    RunEnded(RunEnd),
    /// A device wanted to start a run that may not start now. Its statement is in the entry, so that its chain stays whole,
    /// but this type permits nothing: a device starts only on `run.started` (P1).
    #[serde(rename = "run.withheld")]
    RunWithheld {
        /// The order's id.
        order: Id,
        /// Why.
        reason: String,
    },
    /// A device's statement does not continue what it said before: omission, or two devices with one key.
    #[serde(rename = "statement.rejected")]
    StatementRejected {
        /// The number it claims.
        seq: u64,
        /// The number that would have been next.
        expected: u64,
        /// Of the statement's text, kept beside the log.
        said: Digest,
        /// Of its armoured signature, kept beside the log.
        signature: Digest,
        /// Why.
        reason: String,
    },
    /// Somebody is about to see what a session showed.
    #[serde(rename = "recording.read")]
    RecordingRead(RecordingRead),
    /// A session is over, or was given up, and its recording is a prefix.
    #[serde(rename = "recording.cut")]
    RecordingCut(RecordingCut),
    /// The chunks of a recording are removed; its notes stay.
    #[serde(rename = "recording.deleted")]
    RecordingDeleted(RecordingDeleted),
    /// A recording is held: nothing deletes it.
    #[serde(rename = "recording.held")]
    RecordingHeld(RecordingHold),
    /// A recording is held no more.
    #[serde(rename = "recording.released")]
    RecordingReleased(RecordingHold),
    /// Somebody is about to see lines that a run printed.
    #[serde(rename = "output.read")]
    OutputRead(OutputRead),
    /// What a run printed is removed; its digest stays.
    #[serde(rename = "output.deleted")]
    OutputDeleted(OutputDeleted),
    /// What a run printed is held: nothing deletes it.
    #[serde(rename = "output.held")]
    OutputHeld(OutputHold),
    /// What a run printed is held no more.
    #[serde(rename = "output.released")]
    OutputReleased(OutputHold),
    /// A person ran a `belay` command on the gateway.
    #[serde(rename = "command.ran")]
    CommandRan {
        /// The command, word by word.
        words: Vec<String>,
    },
}

impl What {
    /// The entry's type: dotted, past tense.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::LogStarted { .. } => "log.started",
            Self::LogRestarted { .. } => "log.restarted",
            Self::GatewayStarted { .. } => "gateway.started",
            Self::GatewayStopped { .. } => "gateway.stopped",
            Self::TenantAdded { .. } => "tenant.added",
            Self::StrangersRefused { .. } => "strangers.refused",
            Self::PolicyAdopted { .. } => "policy.adopted",
            Self::PolicyRefused { .. } => "policy.refused",
            Self::PolicyRestarted { .. } => "policy.restarted",
            Self::TokenIssued { .. } => "token.issued",
            Self::DevicePending { .. } => "device.pending",
            Self::DeviceApproved { .. } => "device.approved",
            Self::DeviceCarried { .. } => "device.carried",
            Self::DeviceReplaced { .. } => "device.replaced",
            Self::DeviceRecertified { .. } => "device.recertified",
            Self::DeviceConnected { .. } => "device.connected",
            Self::DeviceDisconnected { .. } => "device.disconnected",
            Self::DeviceSuperseded { .. } => "device.superseded",
            Self::SessionKilled(_) => "session.killed",
            Self::FreezeBegun(_) => "freeze.begun",
            Self::FreezeLifted(_) => "freeze.lifted",
            Self::ReviewGiven(_) => "review.given",
            Self::RunbookPushed(_) => "runbook.pushed",
            Self::JobSubmitted(_) => "job.submitted",
            Self::JobOffered(_) => "job.offered",
            Self::JobCancelled { .. } => "job.cancelled",
            Self::JobStopped(_) => "job.stopped",
            Self::JobEnded(_) => "job.ended",
            Self::RunDeclined { .. } => "run.declined",
            Self::DeviceRefused { .. } => "device.refused",
            Self::AccessOpened { .. } => "access.opened",
            Self::AccessRefused { .. } => "access.refused",
            Self::AccessEnded { .. } => "access.ended",
            Self::SessionOpened(_) => "session.opened",
            Self::SessionRefused { .. } => "session.refused",
            Self::SessionEnded { .. } => "session.ended",
            Self::SessionWithheld { .. } => "session.withheld",
            Self::RunStarted(_) => "run.started",
            Self::RunRefused { .. } => "run.refused",
            Self::RunEnded(_) => "run.ended",
            Self::RunWithheld { .. } => "run.withheld",
            Self::StatementRejected { .. } => "statement.rejected",
            Self::RecordingRead(_) => "recording.read",
            Self::RecordingCut(_) => "recording.cut",
            Self::RecordingDeleted(_) => "recording.deleted",
            Self::RecordingHeld(_) => "recording.held",
            Self::RecordingReleased(_) => "recording.released",
            Self::OutputRead(_) => "output.read",
            Self::OutputDeleted(_) => "output.deleted",
            Self::OutputHeld(_) => "output.held",
            Self::OutputReleased(_) => "output.released",
            Self::CommandRan { .. } => "command.ran",
        }
    }

    /// What an entry says happened.
    ///
    /// # Errors
    /// When its type is none of these, or a member is missing or wrong.
    pub fn of(entry: &Entry) -> Result<Self, Invalid> {
        let mut members = entry.detail.clone();
        members.insert("type".to_owned(), Value::String(entry.kind.clone()));
        serde_json::from_value(Value::Object(members))
            .map_err(|error| Invalid::new(Fault::Malformed, format!("entry {} is not readable: {error}", entry.id)))
    }
}

#[cfg(test)]
mod tests;
