//! The judge of what devices say: does it follow from what they said before, and for whom does it speak?

use crate::ask::Outer;
use crate::device::DeviceState;
use crate::draft::Draft;
use crate::event::What;
use crate::freeze::Freeze;
use crate::presence::Caller;
use crate::refusal::Refusal;
use crate::submission::{self, Offered};
use belay_certs::statement::{Body, Intent, RunIntent, SignedStatement, Statement};
use belay_certs::{Digest, Id, PersonRef, Timestamp};

/// The newest statement of a device that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementHead {
    /// Its number; 0 when there is none.
    pub seq: u64,
    /// Of its text; nothing refers to it when there is none.
    pub digest: Digest,
    /// The entry that holds it.
    pub index: u64,
}

impl StatementHead {
    /// The head of a device that has said nothing.
    pub const NONE: Self = Self { seq: 0, digest: Digest([0; 32]), index: 0 };
}

/// How the log head that a statement names fits the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is a head this log had, or one of another log, or none is named.
    Fits,
    /// This log never had it: somebody's state is older than it should be.
    Denied,
}

/// Where what a device says may begin in its tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// At number 1.
    AtOne,
    /// At any number: the log lives again, and what came before stands in its life before, or nowhere.
    Anywhere,
}

/// What becomes of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// Recorded.
    Record(Draft),
    /// Recorded, but it permits nothing.
    Withhold(Draft, Refusal),
    /// Not recorded; the event says so.
    Reject(Draft, Refusal),
    /// A recorded statement, sent again: its entry is this one.
    Again(u64),
}

/// One statement and what bears on it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Who says it.
    pub caller: &'a Caller,
    /// The newest statement of the same device that is recorded.
    pub head: &'a StatementHead,
    /// The recorded statement of the device that has this one's number, if that is not the newest one.
    pub earlier: Option<&'a StatementHead>,
    /// The exact text and signature.
    pub signed: &'a SignedStatement,
    /// What it says.
    pub statement: &'a Statement,
    /// Where the device's first statement in the log may begin.
    pub begins: Begins,
    /// How the log head it names fits.
    pub seen: Seen,
    /// The open access to this device that the intent names.
    pub outer: Option<&'a Outer>,
    /// The job whose order it names, and where this device's run of it stands.
    pub offered: Option<&'a Offered<'a>>,
    /// What keeps the intent's person from doing anything on this device.
    pub frozen: Option<&'a Freeze>,
    /// The gateway's clock.
    pub now: Timestamp,
}

/// Judges one statement.
///
/// # Errors
/// When it is about another device, or the device never was an approved one: nothing at all is recorded then.
pub fn judge(case: &Case<'_>) -> Result<Judgement, Refusal> {
    let Case { caller, head, earlier, signed, statement, .. } = *case;
    let said = &statement.head;
    if said.device.tenant != caller.tenant || !caller.was_called(&said.device.device) {
        return Err(Refusal::StatementForeign { said: said.device.to_string(), device: caller.name.clone() });
    }
    if !caller.may_speak() {
        return Err(not_approved(caller));
    }
    let digest = Digest::of(signed.text.as_bytes());
    // A device sends ahead: when its connection was lost, several may be recorded whose receipts never arrived.
    let known = [Some(head), earlier].into_iter().flatten();
    let same = known.into_iter().find(|known| known.seq > 0 && known.seq == said.seq && known.digest == digest);
    if let Some(same) = same {
        if let Body::RunStarted(intent) = &statement.body {
            submission::start_again(case.offered, intent)?;
            check_frozen(case)?;
        }
        return Ok(Judgement::Again(same.index));
    }
    if let Err(refusal) = continues(case) {
        return Ok(Judgement::Reject(rejected(case, &refusal), refusal));
    }
    Ok(match permitted(case) {
        Ok(()) => Judgement::Record(entry(case, what(&statement.body))),
        Err(withheld) => {
            let (what, refusal) = *withheld;
            Judgement::Withhold(entry(case, what), refusal)
        }
    })
}

fn not_approved(caller: &Caller) -> Refusal {
    Refusal::NotApproved { name: caller.name.clone(), state: caller.state }
}

/// The judgement when the entry around the statement would be too long.
pub fn too_large(case: &Case<'_>) -> Judgement {
    let refusal = Refusal::StatementTooLarge(case.statement.head.seq);
    Judgement::Reject(rejected(case, &refusal), refusal)
}

/// The rules by which `tlog::check_log` verifies a device's chain: what breaks one is not let into the log.
fn continues(case: &Case<'_>) -> Result<(), Refusal> {
    let said = &case.statement.head;
    let (seq, expected) = (said.seq, case.head.seq.saturating_add(1));
    let previous = (case.head.seq > 0).then_some(case.head.digest);
    let goes_on = case.begins == Begins::Anywhere && case.head.seq == 0 && seq > 1 && said.previous.is_some();
    if goes_on {
        return fits(case);
    }
    if seq > expected {
        return Err(Refusal::StatementGap { seq, expected });
    }
    if seq < expected || said.previous != previous {
        return Err(Refusal::StatementFork { seq });
    }
    fits(case)
}

/// A statement in its place in the device's chain: was it made under a record of the device, and does it know our log?
fn fits(case: &Case<'_>) -> Result<(), Refusal> {
    let said = &case.statement.head;
    let seq = said.seq;
    // What it said under an earlier record, and so perhaps under an earlier name, may still be on its way.
    if !case.caller.records.iter().any(|record| record.serial == said.serial && record.name == said.device.device) {
        return Err(Refusal::RecordUnknown { seq, serial: said.serial });
    }
    match (&said.checkpoint, case.seen) {
        (Some(checkpoint), Seen::Denied) => Err(Refusal::CheckpointDenied { seq, size: checkpoint.size }),
        (Some(_) | None, Seen::Fits | Seen::Denied) => Ok(()),
    }
}

/// Only the start of something needs permission; what was refused or is over is recorded whoever it was. A no comes with what
/// the entry says in the intent's place.
fn permitted(case: &Case<'_>) -> Result<(), Box<(What, Refusal)>> {
    match &case.statement.body {
        Body::SessionOpened(intent) => permitted_session(case, intent).map_err(|refusal| {
            Box::new((What::SessionWithheld { session: intent.session, reason: refusal.to_string() }, refusal))
        }),
        Body::RunStarted(intent) => permitted_run(case, intent).map_err(|refusal| {
            Box::new((What::RunWithheld { order: intent.order, reason: refusal.to_string() }, refusal))
        }),
        Body::SessionRefused { .. } | Body::SessionEnded { .. } | Body::RunRefused { .. } | Body::RunEnded(_) => Ok(()),
    }
}

fn check_frozen(case: &Case<'_>) -> Result<(), Refusal> {
    case.frozen.map_or(Ok(()), |freeze| Err(Refusal::Frozen(Box::new(freeze.clone()))))
}

fn permitted_run(case: &Case<'_>, intent: &RunIntent) -> Result<(), Refusal> {
    if case.caller.state != DeviceState::Approved {
        return Err(not_approved(case.caller));
    }
    check_frozen(case)?;
    submission::start(case.offered, intent, case.now)
}

fn permitted_session(case: &Case<'_>, intent: &Intent) -> Result<(), Refusal> {
    let Case { caller, statement, outer, .. } = *case;

    // A revoked device still says how its sessions ended.
    if caller.state != DeviceState::Approved {
        return Err(not_approved(caller));
    }
    let outer = outer
        .filter(|outer| outer.access == intent.access && outer.device == statement.head.device.device)
        .ok_or(Refusal::AccessUnknown(intent.access))?;
    if outer.person != intent.person {
        return Err(Refusal::PersonMismatch { outer: outer.person.clone(), said: intent.person.clone() });
    }
    check_frozen(case)
}

/// What the entry of a statement says by itself; [`Body::members`] is the same, as a verifier wants it.
pub(crate) fn what(body: &Body) -> What {
    match body {
        Body::SessionOpened(intent) => What::SessionOpened(intent.into()),
        Body::SessionRefused { intent, reason } => {
            What::SessionRefused { session: intent.into(), reason: reason.clone() }
        }
        Body::SessionEnded { session, exit, signal, reason, bytes_in, bytes_out, recording, files } => {
            What::SessionEnded {
                session: *session,
                exit: *exit,
                signal: signal.clone(),
                reason: reason.clone(),
                bytes_in: *bytes_in,
                bytes_out: *bytes_out,
                recording: *recording,
                files: files.clone(),
            }
        }
        Body::RunStarted(intent) => What::RunStarted(intent.into()),
        Body::RunRefused { intent, reason } => What::RunRefused { run: intent.into(), reason: reason.clone() },
        Body::RunEnded(end) => What::RunEnded(end.clone()),
    }
}

fn entry(case: &Case<'_>, what: What) -> Draft {
    let caller = case.caller;
    Draft {
        person: case.statement.person().cloned(),
        statement: Some(case.signed.clone()),
        ..Draft::new(caller.tenant.clone().into(), what).on(case.statement.head.device.device.clone())
    }
}

fn rejected(case: &Case<'_>, refusal: &Refusal) -> Draft {
    let what = What::StatementRejected {
        seq: case.statement.head.seq,
        expected: case.head.seq.saturating_add(1),
        said: Digest::of(case.signed.text.as_bytes()),
        signature: Digest::of(case.signed.signature.as_bytes()),
        reason: refusal.to_string(),
    };
    Draft::new(case.caller.tenant.clone().into(), what).on(case.caller.name.clone())
}

/// The order whose run a statement is about.
pub fn order(statement: &Statement) -> Option<Id> {
    match &statement.body {
        Body::RunStarted(intent) | Body::RunRefused { intent, .. } => Some(intent.order),
        Body::RunEnded(end) => Some(end.order),
        Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => None,
    }
}

/// The person whose intent a statement is, where it starts something.
pub fn starter(statement: &Statement) -> Option<&PersonRef> {
    match &statement.body {
        Body::SessionOpened(intent) => Some(&intent.person),
        Body::RunStarted(intent) => Some(&intent.person),
        Body::SessionRefused { .. } | Body::SessionEnded { .. } | Body::RunRefused { .. } | Body::RunEnded(_) => None,
    }
}

/// The access that a statement's intent came through, for the door to look up.
pub fn access(statement: &Statement) -> Option<Id> {
    match &statement.body {
        Body::SessionOpened(intent) | Body::SessionRefused { intent, .. } => Some(intent.access),
        Body::SessionEnded { .. } | Body::RunStarted(_) | Body::RunRefused { .. } | Body::RunEnded(_) => None,
    }
}

#[cfg(test)]
mod tests;
