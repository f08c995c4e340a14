//! What may be done to what a run printed: judged by where it stands, never by who asks.
//!
//! Not here: who may ask (the doors), and the file itself (`belay_certs::output`).

use crate::draft::Draft;
use crate::event::{OutputDeleted, OutputHold, What};
use crate::refusal::Refusal;
use belay_certs::{DeviceName, Digest, Id, PersonRef, TenantName, Timestamp};
use std::fmt;

/// The output of one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputName {
    /// Whose.
    pub tenant: TenantName,
    /// Of which job the run is.
    pub job: Id,
    /// The device that ran it.
    pub device: DeviceName,
}

/// `JOB/DEVICE`, as people write it.
impl fmt::Display for OutputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.device)
    }
}

/// What is held of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputHeld {
    /// Bytes that are here.
    pub bytes: u64,
    /// As the run's signed end names it.
    pub digest: Option<Digest>,
    /// Since when it grows old: the run is over, or its job when nobody said that the run is, and nothing more has come.
    pub over: Option<Timestamp>,
    /// Why it must not be deleted, if so.
    pub hold: Option<String>,
    /// When it was deleted, if it was.
    pub deleted: Option<Timestamp>,
}

/// Holds an output, also one that still comes.
///
/// # Errors
/// When it is held already, or gone.
pub fn hold(name: &OutputName, held: &OutputHeld, by: &PersonRef, reason: &str) -> Result<Draft, Refusal> {
    match (&held.deleted, &held.hold) {
        (Some(at), _) => Err(Refusal::OutputGone { name: name.to_string(), at: *at }),
        (None, Some(_)) => Err(Refusal::OutputHeld(name.to_string())),
        (None, None) => {
            let what = OutputHold { job: name.job, reason: reason.to_owned() };
            Ok(draft(name, What::OutputHeld(what)).by(by.clone()))
        }
    }
}

/// Lets an output go.
///
/// # Errors
/// When nobody holds it.
pub fn release(name: &OutputName, held: &OutputHeld, by: &PersonRef, reason: &str) -> Result<Draft, Refusal> {
    if held.hold.is_none() {
        return Err(Refusal::OutputNotHeld(name.to_string()));
    }
    let what = OutputHold { job: name.job, reason: reason.to_owned() };
    Ok(draft(name, What::OutputReleased(what)).by(by.clone()))
}

/// Deletes an output that grows old since before `before`. A hold wins over every rule, and the output of what goes on stays.
///
/// # Errors
/// When it is held, gone, or its run goes on or did until then.
pub fn delete(name: &OutputName, held: &OutputHeld, before: Timestamp, why: &str) -> Result<Draft, Refusal> {
    if let Some(at) = held.deleted {
        return Err(Refusal::OutputGone { name: name.to_string(), at });
    }
    if held.over.is_none_or(|over| over >= before) {
        return Err(Refusal::OutputLive(name.to_string()));
    }
    if held.hold.is_some() {
        return Err(Refusal::OutputHeld(name.to_string()));
    }
    let &OutputHeld { bytes, digest, .. } = held;
    Ok(draft(name, What::OutputDeleted(OutputDeleted { job: name.job, bytes, digest, why: why.to_owned() })))
}

fn draft(name: &OutputName, what: What) -> Draft {
    Draft::new(name.tenant.clone().into(), what).on(name.device.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> OutputName {
        OutputName { tenant: "acme".parse().unwrap(), job: Id([1; 16]), device: "web1".parse().unwrap() }
    }

    fn held(over: bool, hold: Option<&str>, deleted: bool) -> OutputHeld {
        let at = |is: bool| is.then(|| Timestamp::from_seconds(1));
        let (digest, hold) = (Some(Digest::of(b"printed")), hold.map(ToOwned::to_owned));
        OutputHeld { bytes: 7, digest, over: at(over), hold, deleted: at(deleted) }
    }

    #[test]
    fn only_what_is_over_and_not_held_is_deleted_and_only_once() {
        let draft = delete(&name(), &held(true, None, false), Timestamp::from_seconds(2), "keep").unwrap();
        let said =
            OutputDeleted { job: name().job, bytes: 7, digest: Some(Digest::of(b"printed")), why: "keep".into() };
        assert_eq!((draft.what, draft.device), (What::OutputDeleted(said), Some(name().device)));
        for (held, why) in [
            (held(false, None, false), "goes on"),
            (held(true, Some("case 7"), false), "is held"),
            (held(true, None, true), "was deleted"),
        ] {
            let refused = delete(&name(), &held, Timestamp::from_seconds(2), "keep").unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains(&name().to_string()), "{refused}");
        }
        let anew = delete(&name(), &held(true, None, false), Timestamp::from_seconds(1), "keep");
        assert_eq!(anew, Err(Refusal::OutputLive(name().to_string())), "it ended, or more came, meanwhile");
    }

    #[test]
    fn a_hold_is_laid_once_and_lifted_once() {
        let ann = "ann".parse().unwrap();
        let (free, kept) = (held(false, None, false), held(true, Some("case 7"), false));
        assert!(hold(&name(), &free, &ann, "case 7").is_ok());
        assert_eq!(hold(&name(), &kept, &ann, "case 8"), Err(Refusal::OutputHeld(name().to_string())));
        assert!(release(&name(), &kept, &ann, "closed").is_ok());
        assert_eq!(release(&name(), &free, &ann, "closed"), Err(Refusal::OutputNotHeld(name().to_string())));
        let gone = hold(&name(), &held(true, None, true), &ann, "case 7").unwrap_err();
        assert!(matches!(gone, Refusal::OutputGone { .. }), "{gone}");
    }
}
