//! The work list: what waits until somebody has looked at it, and the judge of what they say.
//!
//! What waits follows from the log and the policies beside it alone, so that the list can be made again from them.

use crate::draft::Draft;
use crate::event::{ReviewGiven, What};
use crate::freeze::check_reason;
use crate::refusal::Refusal;
use belay_certs::policy::{Policy, Risk};
use belay_certs::{DeviceName, Id, Invalid, PersonRef, RunbookName, TenantName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A session of one device.
    Session,
    /// A job with all its runs.
    Job,
}

/// What somebody thinks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opinion {
    /// It is as it should be.
    Approved,
    /// Somebody must look further.
    Flagged,
}

/// Where something on the list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has looked.
    Waiting,
    /// The newest opinion approves it.
    Approved,
    /// The newest opinion flags it.
    Flagged,
}

impl Kind {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Job => "job",
        }
    }
}

impl State {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Flagged => "flagged",
        }
    }
}

impl Opinion {
    /// Where that leaves it.
    pub fn state(self) -> State {
        match self {
            Self::Approved => State::Approved,
            Self::Flagged => State::Flagged,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let all = [Self::Waiting, Self::Approved, Self::Flagged];
        all.into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| unknown(text, "waiting, approved or flagged"))
    }
}

impl FromStr for Kind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let all = [Self::Session, Self::Job];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| unknown(text, "session or job"))
    }
}

fn unknown(text: &str, words: &str) -> Invalid {
    Invalid::new(belay_certs::Fault::Malformed, format!("{text:?} is none of {words}"))
}

/// The lines of the grants of a policy that ask for a review.
pub fn lines(policy: &Policy) -> BTreeSet<u64> {
    let asking = policy.grants.iter().filter(|grant| grant.review);
    asking.filter_map(|grant| u64::try_from(grant.line).ok()).collect()
}

/// Why a session waits for a review, if it does: by the line of the grant that its device names, in the policy that its device
/// went by; `asking` are that policy's [`lines`]. A policy that is not here may ask for one.
pub fn of_session(grant_line: Option<u64>, asking: Option<&BTreeSet<u64>>) -> Option<String> {
    match (grant_line, asking) {
        (_, None) => Some("the policy that its device went by is not known here".to_owned()),
        (None, Some(_)) => Some("its device names no grant".to_owned()),
        (Some(line), Some(asking)) => asking.contains(&line).then(|| by_grant(line)),
    }
}

/// Why a job waits for a review because of its runbook, if it does.
pub fn of_job(runbook: &RunbookName, risk: Risk) -> Option<String> {
    match risk {
        Risk::Normal => None,
        Risk::High => Some(format!("the runbook {runbook} is of high risk")),
    }
}

/// Why something waits that was done under the grant in this line.
pub fn by_grant(line: u64) -> String {
    format!("the grant in line {line} asks for it")
}

/// A session or a job that somebody has looked at, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// Whose it is.
    pub tenant: TenantName,
    /// Which of the two.
    pub kind: Kind,
    /// Which.
    pub id: Id,
    /// A session's device.
    pub device: Option<DeviceName>,
    /// Who did it: a session's person; who signed a job's order, and who brought it.
    pub people: Vec<PersonRef>,
    /// Whether nothing more comes of it.
    pub is_over: bool,
}

/// May this person say so?
///
/// # Errors
/// When it is their own, when it goes on and they approve it, or when the note does not fit.
pub fn give(reviewed: &Reviewed, opinion: Opinion, note: &str, by: &PersonRef) -> Result<Draft, Refusal> {
    let Reviewed { tenant, kind, id, device, people, is_over } = reviewed;
    if people.contains(by) {
        return Err(Refusal::OwnReview { kind: *kind, id: *id, by: by.clone() });
    }
    check_reason(note)?;
    if !is_over && opinion == Opinion::Approved {
        return Err(Refusal::NotOverYet { kind: *kind, id: *id });
    }
    let what = What::ReviewGiven(ReviewGiven { subject: *id, of: *kind, verdict: opinion, note: note.to_owned() });
    let draft = Draft::new(tenant.clone().into(), what).by(by.clone());
    Ok(match device {
        Some(device) => draft.on(device.clone()),
        None => draft,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(people: &[&str], is_over: bool) -> Reviewed {
        Reviewed {
            tenant: "acme".parse().unwrap(),
            kind: Kind::Session,
            id: Id([1; 16]),
            device: Some("web1".parse().unwrap()),
            people: people.iter().map(|person| person.parse().unwrap()).collect(),
            is_over,
        }
    }

    #[test]
    fn a_session_waits_when_its_grant_asks_for_it_or_nobody_knows() {
        let asking = BTreeSet::from([44]);
        assert!(of_session(Some(44), Some(&asking)).unwrap().contains("line 44"));
        assert_eq!(of_session(Some(45), Some(&asking)), None);
        assert!(of_session(None, Some(&asking)).is_some() && of_session(Some(45), None).is_some());
    }

    #[test]
    fn the_lines_that_ask_are_those_that_say_so() {
        let text = include_str!("../../../certs/src/policy/fixtures/example.toml");
        let asks = text.replacen("as = [\"root\"]", "as = [\"root\"]\nreview = true", 1);
        let of = |text: &str| lines(&Policy::parse(text.as_bytes()).unwrap());
        assert_eq!((of(text), of(&asks)), (BTreeSet::new(), BTreeSet::from([54])));
    }

    #[test]
    fn only_high_risk_makes_a_job_wait() {
        let runbook = "wipe".parse().unwrap();
        assert_eq!(of_job(&runbook, Risk::Normal), None);
        assert!(of_job(&runbook, Risk::High).unwrap().contains("wipe"));
    }

    #[test]
    fn nobody_reviews_their_own_or_approves_what_goes_on() {
        let auditor: PersonRef = "auditor".parse().unwrap();
        let give = |reviewed: &Reviewed, opinion| super::give(reviewed, opinion, "looked at it", &auditor);
        for opinion in [Opinion::Approved, Opinion::Flagged] {
            let own = give(&session(&["tech", "auditor"], true), opinion).unwrap_err();
            assert!(matches!(own, Refusal::OwnReview { .. }), "{own}");
            assert_eq!(give(&session(&["tech"], true), opinion).unwrap().what.type_name(), "review.given");
        }
        assert!(matches!(give(&session(&["tech"], false), Opinion::Approved), Err(Refusal::NotOverYet { .. })));
        assert!(give(&session(&["tech"], false), Opinion::Flagged).is_ok());
        assert_eq!(super::give(&session(&["tech"], true), Opinion::Flagged, "", &auditor), Err(Refusal::WordsUnfit));
    }
}
