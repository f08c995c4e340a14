//! What may be done to a recording that is kept: judged by where it stands, never by who asks.
//!
//! Not here: who may ask (the doors), and the notes that prove it (`belay_certs::recording`).

use crate::draft::Draft;
use crate::event::{RecordingCut, RecordingDeleted, RecordingHold, What};
use crate::refusal::Refusal;
use belay_certs::{DeviceName, Digest, Id, PersonRef, TenantName};

/// A recording of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingName {
    /// Whose.
    pub tenant: TenantName,
    /// The device, as it was called when the session began.
    pub device: DeviceName,
    /// The session.
    pub session: Id,
}

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordingState {
    /// Its session goes on.
    Live,
    /// The signed end names it, and all of it is here.
    Whole,
    /// The signed end names more than is here: it still comes, or is lost.
    Missing,
    /// Its session is over without a signed end that names it: a prefix.
    Cut,
    /// Nobody said that its session ended, and nothing was heard of it for long after the way to it was gone: a prefix, until
    /// more comes.
    Unterminated,
    /// Its chunks were removed; its notes are here.
    Deleted,
}

impl RecordingState {
    /// As people and programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Whole => "whole",
            Self::Missing => "missing",
            Self::Cut => "cut off",
            Self::Unterminated => "unterminated",
            Self::Deleted => "deleted",
        }
    }
}

/// What is held of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingHeld {
    /// Where it stands.
    pub state: RecordingState,
    /// Chunks that are durable.
    pub chunks: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Of the newest note's text.
    pub head: Digest,
    /// Why it must not be deleted, if so.
    pub hold: Option<String>,
}

/// Holds a recording.
///
/// # Errors
/// When it is held already, or gone.
pub fn hold(name: &RecordingName, held: &RecordingHeld, by: &PersonRef, reason: &str) -> Result<Draft, Refusal> {
    if held.state == RecordingState::Deleted {
        return Err(Refusal::RecordingGone(name.session));
    }
    match &held.hold {
        Some(_) => Err(Refusal::RecordingHeld(name.session)),
        None => {
            let what = RecordingHold { session: name.session, reason: reason.to_owned() };
            Ok(draft(name, What::RecordingHeld(what)).by(by.clone()))
        }
    }
}

/// Lets a recording go.
///
/// # Errors
/// When nobody holds it.
pub fn release(name: &RecordingName, held: &RecordingHeld, by: &PersonRef, reason: &str) -> Result<Draft, Refusal> {
    match &held.hold {
        None => Err(Refusal::RecordingNotHeld(name.session)),
        Some(_) => {
            let what = RecordingHold { session: name.session, reason: reason.to_owned() };
            Ok(draft(name, What::RecordingReleased(what)).by(by.clone()))
        }
    }
}

/// Deletes a recording whose time is over. A hold wins over every rule, and what is still being made stays.
///
/// # Errors
/// When it is held, gone, or its session goes on.
pub fn delete(name: &RecordingName, held: &RecordingHeld, why: &str) -> Result<Draft, Refusal> {
    match held.state {
        RecordingState::Deleted => return Err(Refusal::RecordingGone(name.session)),
        RecordingState::Live => return Err(Refusal::RecordingLive(name.session)),
        RecordingState::Whole | RecordingState::Missing | RecordingState::Cut | RecordingState::Unterminated => {}
    }
    if held.hold.is_some() {
        return Err(Refusal::RecordingHeld(name.session));
    }
    let &RecordingHeld { chunks, bytes, head, .. } = held;
    let what = RecordingDeleted { session: name.session, chunks, bytes, head, why: why.to_owned() };
    Ok(draft(name, What::RecordingDeleted(what)))
}

/// What is recorded when the way to a session is gone and its device has been silent of it for long. What comes later all the
/// same, and a signed end, count more.
///
/// # Errors
/// When the log says already where it stands.
pub fn give_up(name: &RecordingName, held: &RecordingHeld) -> Result<Draft, Refusal> {
    match held.state {
        RecordingState::Live => Ok(cut(name, held)),
        RecordingState::Whole
        | RecordingState::Missing
        | RecordingState::Cut
        | RecordingState::Unterminated
        | RecordingState::Deleted => Err(Refusal::RecordingSettled(name.session)),
    }
}

/// What is recorded when a session is over without a signed end that names its recording.
pub fn cut(name: &RecordingName, held: &RecordingHeld) -> Draft {
    let &RecordingHeld { chunks, head, .. } = held;
    draft(name, What::RecordingCut(RecordingCut { session: name.session, chunks, head }))
}

fn draft(name: &RecordingName, what: What) -> Draft {
    Draft::new(name.tenant.clone().into(), what).on(name.device.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> RecordingName {
        let (tenant, device) = ("acme".parse().unwrap(), "web1".parse().unwrap());
        RecordingName { tenant, device, session: Id([1; 16]) }
    }

    fn held(state: RecordingState, hold: Option<&str>) -> RecordingHeld {
        let hold = hold.map(ToOwned::to_owned);
        RecordingHeld { state, chunks: 2, bytes: 30, head: Digest::of(b"note"), hold }
    }

    #[test]
    fn only_what_is_over_and_not_held_is_deleted() {
        use RecordingState::{Cut, Deleted, Live, Missing, Unterminated, Whole};
        for (state, hold, deleted) in [
            (Whole, None, true),
            (Missing, None, true),
            (Cut, None, true),
            (Unterminated, None, true),
            (Live, None, false),
            (Deleted, None, false),
            (Whole, Some("case 7"), false),
            (Cut, Some("case 7"), false),
        ] {
            assert_eq!(delete(&name(), &held(state, hold), "keep = 1d").is_ok(), deleted, "{state:?} {hold:?}");
        }
    }

    #[test]
    fn only_what_nobody_has_ended_is_given_up_and_only_once() {
        use RecordingState::{Cut, Deleted, Live, Missing, Unterminated, Whole};
        for state in [Whole, Missing, Cut, Unterminated, Deleted] {
            let refused = give_up(&name(), &held(state, None)).unwrap_err();
            assert_eq!(refused, Refusal::RecordingSettled(Id([1; 16])), "{state:?}");
        }
        let draft = give_up(&name(), &held(Live, Some("case 7"))).unwrap();
        assert_eq!(draft.what.type_name(), "recording.cut");
    }

    #[test]
    fn a_hold_is_laid_once_and_lifted_once() {
        let ann = "ann".parse().unwrap();
        let (free, kept) = (held(RecordingState::Whole, None), held(RecordingState::Whole, Some("case 7")));
        assert!(hold(&name(), &free, &ann, "case 7").is_ok());
        assert_eq!(hold(&name(), &kept, &ann, "case 8"), Err(Refusal::RecordingHeld(Id([1; 16]))));
        assert!(release(&name(), &kept, &ann, "closed").is_ok());
        assert_eq!(release(&name(), &free, &ann, "closed"), Err(Refusal::RecordingNotHeld(Id([1; 16]))));
        let gone = held(RecordingState::Deleted, None);
        assert_eq!(hold(&name(), &gone, &ann, "case 7"), Err(Refusal::RecordingGone(Id([1; 16]))));
    }
}
