//! The judge of jobs and their runs, as the store has them: what is submitted, offered, called off, and what may start.
//!
//! Not here: pacing ([`crate::job`]), and whether the order is right and its signer may (`belay_certs::order`): the door checked
//! that.

use crate::ask::Verdict;
use crate::draft::Draft;
use crate::event::{JobEnded, JobOffered, JobStopped, JobSubmitted, What};
use crate::job::{Missed, Phase, Withheld};
use crate::limits::OFFERS_PER_ASK_MAX;
use crate::refusal::Refusal;
use belay_certs::order::{Order, Outcome};
use belay_certs::statement::RunIntent;
use belay_certs::{DeviceName, Digest, Id, PersonRef, Signed, TenantName, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A job as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobHeld {
    /// Of its order's bytes.
    pub order: Digest,
    /// Whether more may begin.
    pub phase: Phase,
    /// From when on runs may start.
    pub not_before: Timestamp,
    /// From when on none may start.
    pub not_after: Timestamp,
    /// Whether it is over: nothing more is waited for.
    pub over: bool,
    /// The entry that says it was submitted.
    pub index: u64,
}

/// Where a run stands that was offered, as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Its device was offered the order.
    Offered,
    /// Its intent is in the log.
    Started,
    /// Its device said how it ended, or refused it.
    Ended(Outcome),
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered => f.write_str("offered"),
            Self::Started => f.write_str("started"),
            Self::Ended(outcome) => outcome.fmt(f),
        }
    }
}

impl FromStr for RunState {
    type Err = belay_certs::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "offered" => Ok(Self::Offered),
            "started" => Ok(Self::Started),
            other => other.parse().map(Self::Ended),
        }
    }
}

/// An order that the door has checked, with what it says about it in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What it says.
    pub order: Order,
    /// Its exact bytes and signature.
    pub signed: Signed,
    /// The list of its devices, as it came.
    pub list: Vec<u8>,
    /// Who signed it.
    pub person: PersonRef,
    /// The fingerprint of the key that signed it.
    pub key: String,
    /// The fingerprint of the key that signed the runbook.
    pub author_key: String,
    /// Who brought it.
    pub bearer: PersonRef,
}

/// May this order become a job? `held` is the job of the same id.
///
/// # Errors
/// When its id is another order's, or its window is over.
pub fn submit(held: Option<&JobHeld>, submission: &Submission, now: Timestamp) -> Result<Verdict<Draft>, Refusal> {
    let Submission { order, signed, list, person, key, bearer, author_key: _ } = submission;
    let digest = Digest::of(&signed.bytes);
    match held {
        Some(held) if held.order == digest => return Ok(Verdict::Again(held.index)),
        Some(_) => return Err(Refusal::OrderIdTaken(order.id)),
        None if order.not_after <= now => {
            return Err(Refusal::RunWithheld { order: order.id, why: Withheld::OutsideWindow });
        }
        None => {}
    }
    let [signature] = signed.signatures.as_slice() else {
        return Err(Refusal::EntryInvalid("an order carries exactly one signature".to_owned()));
    };
    let what = What::JobSubmitted(JobSubmitted {
        job: order.id,
        order: digest,
        signature: Digest::of(signature.as_bytes()),
        list: Digest::of(list),
        runbook: order.runbook.clone(),
        version: order.version,
        key: key.clone(),
        brought_by: (bearer != person).then(|| bearer.clone()),
        account: order.account.clone(),
        ticket: order.ticket.clone(),
        devices: order.devices,
        not_before: order.not_before,
        not_after: order.not_after,
    });
    Ok(Verdict::Record(Draft::new(order.tenant.clone().into(), what).by(person.clone())))
}

/// May these devices be offered the order?
///
/// # Errors
/// When the job takes no more, its window is not open, or there are none or too many of them.
pub fn offer(
    tenant: &TenantName,
    id: Id,
    job: &JobHeld,
    devices: Vec<DeviceName>,
    now: Timestamp,
) -> Result<Draft, Refusal> {
    check_open(id, job, now)?;
    if devices.is_empty() || devices.len() > OFFERS_PER_ASK_MAX {
        return Err(Refusal::EntryInvalid(format!("an offer is for 1 to {OFFERS_PER_ASK_MAX} devices")));
    }
    Ok(Draft::new(tenant.clone().into(), What::JobOffered(JobOffered { job: id, devices })))
}

/// May a person call the job off?
///
/// # Errors
/// When it is over or was called off before.
pub fn cancel(tenant: &TenantName, id: Id, job: &JobHeld, by: &PersonRef) -> Result<Draft, Refusal> {
    if job.over {
        return Err(Refusal::JobOver(id));
    }
    match job.phase {
        Phase::Open | Phase::Stopped => {}
        Phase::Cancelled => return Err(Refusal::JobCancelled(id)),
    }
    Ok(Draft::new(tenant.clone().into(), What::JobCancelled { job: id }).by(by.clone()))
}

/// The event of a job whose stop rule holds.
///
/// # Errors
/// When it takes no more anyway.
pub fn stop(tenant: &TenantName, id: Id, job: &JobHeld, missed: Missed) -> Result<Draft, Refusal> {
    if job.over || job.phase != Phase::Open {
        return Err(Refusal::JobOver(id));
    }
    Ok(Draft::new(tenant.clone().into(), What::JobStopped(JobStopped::of(id, missed))))
}

/// The event of a job of which nothing more is waited for.
///
/// # Errors
/// When that was said before.
pub fn end(
    tenant: &TenantName,
    id: Id,
    job: &JobHeld,
    runs: BTreeMap<Outcome, u64>,
    unanswered: u64,
) -> Result<Draft, Refusal> {
    if job.over {
        return Err(Refusal::JobOver(id));
    }
    let what = What::JobEnded(JobEnded { job: id, runs, unanswered });
    Ok(Draft::new(tenant.clone().into(), what))
}

/// What bears on a run's intent, or on the end of it.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// The job of the order that it names.
    pub job: &'a JobHeld,
    /// Where the device's run stands; none when it was never offered.
    pub run: Option<RunState>,
}

/// May this run start, now that its device says that it is about to?
///
/// # Errors
/// Why not. What it said is recorded all the same, and permits nothing.
pub fn start(offered: Option<&Offered<'_>>, intent: &RunIntent, now: Timestamp) -> Result<(), Refusal> {
    let id = intent.order;
    let Some(Offered { job, run }) = offered else { return Err(Refusal::RunUnknown(id)) };
    if job.order != intent.order_digest {
        return Err(Refusal::RunUnknown(id));
    }
    let withheld = |why| Err(Refusal::RunWithheld { order: id, why });
    match run {
        None => withheld(Withheld::NotOffered),
        Some(RunState::Ended(outcome)) => withheld(Withheld::Ended(*outcome)),
        Some(RunState::Started) => withheld(Withheld::Started),
        Some(RunState::Offered) => check_open(id, job, now),
    }
}

/// A recorded intent came again, for its receipt may never have arrived. May it have another one?
///
/// # Errors
/// When the job was cancelled: the device that did not start must not start now.
pub fn start_again(offered: Option<&Offered<'_>>, intent: &RunIntent) -> Result<(), Refusal> {
    match offered.map(|offered| offered.job.phase) {
        Some(Phase::Cancelled) => Err(Refusal::RunWithheld { order: intent.order, why: Withheld::Cancelled }),
        Some(Phase::Open | Phase::Stopped) | None => Ok(()),
    }
}

fn check_open(id: Id, job: &JobHeld, now: Timestamp) -> Result<(), Refusal> {
    let why = match job.phase {
        Phase::Cancelled => Withheld::Cancelled,
        Phase::Stopped => Withheld::Stopped,
        Phase::Open if !(job.not_before..job.not_after).contains(&now) => Withheld::OutsideWindow,
        Phase::Open => return Ok(()),
    };
    Err(Refusal::RunWithheld { order: id, why })
}

#[cfg(test)]
mod tests;
