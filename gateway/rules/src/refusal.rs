//! The reasoned no's: each says what was refused, which rule said so, and what to do about it.
//!
//! Not here: refusals of an action by policy (`belay_certs::policy::Refusal`), and what broke on our side.

use crate::device::DeviceState;
use crate::freeze::{Freeze, Frozen};
use crate::job::Withheld;
use crate::review::Kind;
use belay_certs::{DeviceName, Digest, Id, PersonRef, TenantName, Timestamp};

/// Why an ask was not recorded as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The tenant is there already.
    #[error("tenant {0} exists already; nothing was changed")]
    TenantExists(TenantName),
    /// The name is the gateway's own.
    #[error("{0} cannot be a tenant's name: the gateway's own log is called so; choose another")]
    TenantReserved(TenantName),
    /// The gateway is full.
    #[error("this gateway has {0} tenants, the most it serves; use a second gateway")]
    TooManyTenants(usize),
    /// Nobody added it.
    #[error("there is no tenant {0} here; the operator adds one with `belay-gateway tenant add {0}`")]
    TenantUnknown(TenantName),
    /// Its version 0 was not adopted yet.
    #[error(
        "tenant {0} has no policy here yet; the operator adopts version 0 with `belay-gateway tenant adopt {0} FILE`"
    )]
    PolicyMissing(TenantName),
    /// Version 0 came over the network.
    #[error("version 0 of a policy is adopted on the gateway itself: `belay-gateway tenant adopt {0} FILE`")]
    PolicyZeroIsLocal(TenantName),
    /// A policy of somebody else.
    #[error("this is a policy of tenant {offered}, not of {tenant}")]
    PolicyForeign {
        /// Where it was offered.
        tenant: TenantName,
        /// Whose it is.
        offered: TenantName,
    },
    /// It begins with another version 0.
    #[error(
        "this policy's chain begins with {offered}, the one held here with {held}; it is another tenant's or a forgery"
    )]
    PolicyOtherChain {
        /// The version 0 held.
        held: Digest,
        /// The version 0 offered.
        offered: Digest,
    },
    /// Older than what is held.
    #[error("policy version {offered} is older than version {held}, which is in force; write version {held} + 1")]
    PolicyOlder {
        /// The version offered.
        offered: u64,
        /// The version held.
        held: u64,
    },
    /// Does not continue what is held: somebody was faster, or versions are missing.
    #[error("policy version {offered} does not continue version {held}, which is in force; fetch that and build on it")]
    PolicyGap {
        /// The version offered.
        offered: u64,
        /// The version held.
        held: u64,
    },
    /// A second, different document under a number already held.
    #[error(
        "a different policy version {version} is in force ({held}); two versions with one number are never accepted"
    )]
    PolicyFork {
        /// The number.
        version: u64,
        /// The one in force.
        held: Digest,
    },
    /// Signed under another policy than the tenant's.
    #[error("this token names another version 0 than tenant {0}'s; make it anew with `belay token {0}`")]
    TokenForeign(TenantName),
    /// Past its end.
    #[error("the token expired {0}; make a new one with `belay token`")]
    TokenExpired(Timestamp),
    /// Two tokens under one id.
    #[error("another token has the id {0}; make it anew with `belay token`")]
    TokenIdTaken(Id),
    /// The gateway never saw it.
    #[error("this token is not known here; make one with `belay token`, which also brings it to the gateway")]
    TokenUnknown,
    /// It joined as many devices as it may.
    #[error("the token was for {0} devices and all of them have joined; make a new one with `belay token`")]
    TokenUsedUp(u64),
    /// Somebody else has the name.
    #[error("the name {name} is taken by a device that is {state}; join under another name, or revoke that one first")]
    DeviceNameTaken {
        /// The name.
        name: DeviceName,
        /// What the holder is.
        state: DeviceState,
    },
    /// The machine is here already, under another name.
    #[error("this host key belongs to device {0} already; a copied machine makes new keys before it joins")]
    HostKeyTaken(DeviceName),
    /// The host key was a device's, and the policy revokes it.
    #[error(
        "this host key was device {0}'s and is revoked; let the machine make new keys with `belay-agent forget --tenant T`"
    )]
    HostKeyRevoked(DeviceName),
    /// More approvals than one ask takes.
    #[error("{0} approvals at once are too many; send them in smaller parts")]
    TooManyApprovals(usize),
    /// An ask to approve nothing.
    #[error("there is no device to approve; name at least one")]
    ApprovalsMissing,
    /// Two records for one machine in one ask.
    #[error("device {0} is approved twice at once; keep one of the two records")]
    ApprovedTwice(DeviceName),
    /// Approvals of two tenants, or of none.
    #[error("an approval for {0} came with a batch of another tenant; approve one tenant's devices at a time")]
    ApprovalForeign(String),
    /// Nobody asked under that name with that key.
    #[error("no machine with this host key waits to become {0}; list what waits with `belay pending`")]
    NotPending(DeviceName),
    /// A device has the name, and the record does not say that it takes its place.
    #[error(
        "the name {name} belongs to the device with serial {serial}; to put this machine in its place, approve it with --replace"
    )]
    NameHeld {
        /// The name.
        name: DeviceName,
        /// The serial of the device that has it.
        serial: u64,
    },
    /// No approved device has a record with that serial.
    #[error("no approved device has a record with serial {0}; list them with `belay devices`")]
    NoSuchRecord(u64),
    /// The operator means another chain than the one that is held.
    #[error("the chain held here begins with {held}, not with {meant}; nothing was changed")]
    RestartOther {
        /// The version 0 held.
        held: Digest,
        /// The one the operator named.
        meant: Digest,
    },
    /// Another device has the serial.
    #[error("serial {serial} belongs to device {holder}; approve again, with the next free serial")]
    SerialTaken {
        /// The serial.
        serial: u64,
        /// Who has it.
        holder: DeviceName,
    },
    /// No store can count so far.
    #[error("serial {serial} of device {name} is too high; approve with the next free serial")]
    SerialTooHigh {
        /// The device.
        name: DeviceName,
        /// The serial offered.
        serial: u64,
    },
    /// The record is not newer than the one held.
    #[error("device {name} has a record with serial {held}; a new one needs a higher serial than that, not {serial}")]
    SerialNotHigher {
        /// The device.
        name: DeviceName,
        /// The serial offered.
        serial: u64,
        /// The serial held.
        held: u64,
    },
    /// The policy was not asked whether the approver may void that record: it came meanwhile.
    #[error("the device behind {name} got the record with serial {serial} meanwhile; look at it, then approve again")]
    RecordMeanwhile {
        /// The name that the approval gives.
        name: DeviceName,
        /// The serial of the record that would be voided.
        serial: u64,
    },
    /// No such device.
    #[error("no device has joined under the id {0}; let it join with a token")]
    DeviceUnknown(Id),
    /// It was, and is no more.
    #[error("device {name} is {state}; let the machine join again with a token")]
    DeviceGone {
        /// The device.
        name: DeviceName,
        /// Pending, revoked or replaced.
        state: DeviceState,
    },
    /// The connection has ended before, or a newer one took its place.
    #[error("connection {connection} is not device {name}'s any more; its end has been recorded")]
    NotConnected {
        /// The device.
        name: DeviceName,
        /// The connection.
        connection: Id,
    },
    /// A statement before approval, or after revocation.
    #[error("device {name} is {state}, so nothing it says is recorded; approve it first")]
    NotApproved {
        /// The device.
        name: DeviceName,
        /// What it is.
        state: DeviceState,
    },
    /// A statement about somebody else.
    #[error("a statement about {said} came from {device}; a device speaks only for itself")]
    StatementForeign {
        /// Whom it is about.
        said: String,
        /// Who sent it.
        device: DeviceName,
    },
    /// A statement is missing before this one.
    #[error(
        "statement {seq} was not recorded, because statement {expected} comes next: the device's log has a gap; a gateway \
         restored from a backup has lost entries, and its operator runs `belay-gateway log restart`"
    )]
    StatementGap {
        /// The number it has.
        seq: u64,
        /// The number that comes next.
        expected: u64,
    },
    /// It does not follow from what the device said before.
    #[error(
        "statement {seq} was not recorded, because it contradicts what the device said before: two machines with one key, or a restored disk"
    )]
    StatementFork {
        /// The number it has.
        seq: u64,
    },
    /// It names a device record that this host key never had.
    #[error("statement {seq} goes by a device record with serial {serial}, which this device never had")]
    RecordUnknown {
        /// The number it has.
        seq: u64,
        /// The serial it names.
        serial: u64,
    },
    /// It names a log head that this log never had.
    #[error(
        "statement {seq} says the log had {size} entries with another root than it has; one of the two was put back to an older state"
    )]
    CheckpointDenied {
        /// The number it has.
        seq: u64,
        /// The size of the head it names.
        size: u64,
    },
    /// The entry around it would be too long.
    #[error("statement {0} does not fit a log entry; the device must say less")]
    StatementTooLarge(u64),
    /// The outer connection is not there.
    #[error("no open access {0} leads to this device, so nothing may start through it; connect again")]
    AccessUnknown(Id),
    /// Nobody offered it to this device.
    #[error("the order {0} was not offered to this device here, so it may not run; submit it with `ssh GATEWAY run`")]
    RunUnknown(Id),
    /// It was offered, and may not start now.
    #[error("the order {order} may not run now: {why}")]
    RunWithheld {
        /// The order.
        order: Id,
        /// Why.
        why: Withheld,
    },
    /// Two orders under one id.
    #[error("another order has the id {0}; sign it anew, with a new id")]
    OrderIdTaken(Id),
    /// There is no such job.
    #[error("there is no job {0} here; list them with `belay jobs`")]
    JobUnknown(Id),
    /// Nothing more happens in it.
    #[error("job {0} is over already; nothing was changed")]
    JobOver(Id),
    /// It was called off before.
    #[error("job {0} was cancelled before; nothing was changed")]
    JobCancelled(Id),
    /// A run says more than any may.
    #[error("the output of the run of order {0} is longer than any may be; the rest of it is not kept")]
    OutputTooLong(Id),
    /// Nothing starts there for now.
    #[error("{0}")]
    Frozen(Box<Freeze>),
    /// Frozen twice.
    #[error("nothing was changed: {0}")]
    FrozenAlready(Box<Freeze>),
    /// There is no such freeze.
    #[error("{0} is not frozen, so nothing was changed; list what is with `freezes`")]
    NotFrozen(Frozen),
    /// Who froze themselves could not lift it again.
    #[error("you are {0}: whoever is frozen thaws nothing, so somebody else with `operate` must do this")]
    FreezesSelf(PersonRef),
    /// More than is looked up.
    #[error("tenant {0} has as many freezes as there may be; thaw some, or freeze the tenant")]
    TooManyFreezes(TenantName),
    /// There is nothing of that id to look at.
    #[error("there is no session or job {0} here; list what waits with `review`")]
    ReviewOfNothing(Id),
    /// Nobody is their own judge.
    #[error("{kind} {id} is your own, {by}: somebody else with `audit` reviews it")]
    OwnReview {
        /// Which of the two.
        kind: Kind,
        /// Which.
        id: Id,
        /// Whose.
        by: PersonRef,
    },
    /// What goes on may still become something else.
    #[error("{kind} {id} goes on: flag it now, or approve it when it is over")]
    NotOverYet {
        /// Which of the two.
        kind: Kind,
        /// Which.
        id: Id,
    },
    /// A reason or note that is none, or no line.
    #[error("a reason or note is one line of 1 to {chars} characters; write it in quotes", chars = crate::limits::REASON_CHARS_MAX)]
    WordsUnfit,
    /// More jobs than may be under way.
    #[error(transparent)]
    JobsFull(#[from] crate::job::Full),
    /// No session of that id has a recording here.
    #[error("session {0} has no recording here; list them with `belay sessions`")]
    RecordingUnknown(Id),
    /// Its chunks were removed.
    #[error("the recording of session {0} was deleted; its notes are left")]
    RecordingGone(Id),
    /// Its session goes on.
    #[error("session {0} goes on, so its recording stays")]
    RecordingLive(Id),
    /// Its session's end, or that none is waited for, is in the log.
    #[error("the log says already where the recording of session {0} stands; nothing was changed")]
    RecordingSettled(Id),
    /// Somebody holds it.
    #[error("the recording of session {0} is held; `belay release {0}` lets it go")]
    RecordingHeld(Id),
    /// Nobody holds it.
    #[error("the recording of session {0} is not held; nothing was changed")]
    RecordingNotHeld(Id),
    /// Its note does not name the one before.
    #[error("chunk {chunk} of the recording of session {session} does not follow the one before it, so it is not kept")]
    RecordingForked {
        /// Whose recording.
        session: Id,
        /// Its number.
        chunk: u64,
    },
    /// More comes although its session is over, and its signed end named nothing.
    #[error("session {0} is over and its end named no recording, so nothing more of it is kept")]
    RecordingOver(Id),
    /// There is no such run.
    #[error("there is no run {0} here; `belay job JOB` lists a job's runs")]
    OutputUnknown(String),
    /// It was removed.
    #[error("the output of {name} was deleted at {at}; its digest is left")]
    OutputGone {
        /// `JOB/DEVICE`.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// Its run goes on, or did a moment ago.
    #[error("the run {0} goes on, or more of it has just come, so its output stays")]
    OutputLive(String),
    /// Somebody holds it.
    #[error("the output of {0} is held; `belay release {0}` lets it go")]
    OutputHeld(String),
    /// Nobody holds it.
    #[error("the output of {0} is not held; nothing was changed")]
    OutputNotHeld(String),
    /// The outer connection is somebody else's.
    #[error("the access belongs to {outer}, the session was asked for by {said}; use the same key on both hops")]
    PersonMismatch {
        /// Who has the outer connection.
        outer: PersonRef,
        /// Who is named by the device.
        said: PersonRef,
    },
    /// The event itself breaks the form of an entry.
    #[error("this cannot be written to the log: {0}")]
    EntryInvalid(String),
}
