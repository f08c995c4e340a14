//! A run as its device describes it: what is about to happen by whose order, and how it ended.
//!
//! Not here: the order (`order`), whose arguments are said by its digest only, and the output (`output`).

use super::words::{check_option, check_word, word};
use super::{PolicyUsed, check_policies};
use crate::digest::{Digest, Id};
use crate::invalid::{Invalid, malformed};
use crate::names::{AccountName, PersonRef, RunbookName};
use crate::order::{Outcome, Permit};
use serde::{Deserialize, Serialize};

/// What is about to run, for whom, and by which line of which policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIntent {
    /// The order's id, by which the run goes too: a device runs none twice (P5).
    pub order: Id,
    /// The digest of the order's bytes: everything else that was ordered, arguments included.
    pub order_digest: Digest,
    /// The runbook's name.
    pub runbook: RunbookName,
    /// The digest of the runbook's bytes.
    pub version: Digest,
    /// Who signed the runbook; none when it was refused before that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<PersonRef>,
    /// Who signed the order.
    pub person: PersonRef,
    /// The fingerprint of the key that signed the order, `SHA256:…`.
    pub key: String,
    /// As whom it runs.
    pub account: AccountName,
    /// The ticket that the order names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The line of the grant that allows it; none when refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_line: Option<u64>,
    /// Whether that grant asks for a review of what is done.
    #[serde(default, skip_serializing_if = "is_not")]
    pub review: bool,
    /// Every policy it was decided under.
    pub policies: Vec<PolicyUsed>,
}

/// How a run ended, and what it left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The order's id.
    pub order: Id,
    /// How it ended. Whether it ever began follows from it: see [`Outcome::has_begun`].
    pub outcome: Outcome,
    /// The exit status, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u32>,
    /// The signal that killed it, without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why, when it did not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took, in milliseconds by a clock that never goes back; 0 when it never began or nobody knows.
    pub duration_ms: u64,
    /// The digest of the output file; none when there is no such file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Digest>,
    /// The length of the output file, in bytes.
    pub output_bytes: u64,
    /// Bytes that the script wrote and that the file has no room for; of an interrupted run: as far as the file says.
    pub output_dropped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_not(flag: &bool) -> bool {
    !flag
}

impl RunIntent {
    /// The run that a permit allows; `order_digest` is of the order's bytes.
    pub fn of(permit: &Permit, order_digest: Digest) -> Self {
        let (order, grant) = (permit.order(), permit.grant());
        Self {
            order: order.id,
            order_digest,
            runbook: order.runbook.clone(),
            version: order.version,
            author: Some(permit.author().clone()),
            person: grant.person().clone(),
            key: permit.question().key.fingerprint(),
            account: order.account.clone(),
            ticket: order.ticket.as_deref().map(word),
            grant_line: u64::try_from(grant.line()).ok(),
            review: grant.review(),
            policies: PolicyUsed::all(grant.versions()),
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        check_word("key", &self.key)?;
        check_option("ticket", self.ticket.as_deref())?;
        check_policies(&self.policies)
    }

    pub(super) fn check_granted(&self) -> Result<(), Invalid> {
        self.check()?;
        match (&self.author, self.grant_line) {
            (Some(_), Some(_)) => Ok(()),
            (None, _) => Err(malformed("intent to run does not say who signed the runbook")),
            (_, None) => Err(malformed("intent to run does not say which grant allows it")),
        }
    }

    pub(super) fn check_refused(&self) -> Result<(), Invalid> {
        self.check()?;
        if self.grant_line.is_some() || self.review {
            return Err(malformed("refused run names a grant: a refusal has none"));
        }
        Ok(())
    }
}

impl RunEnd {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_option("signal", self.signal.as_deref())?;
        check_option("reason", self.reason.as_deref())?;
        let wrong = |why: &str| Err(malformed(format!("end of a run that {}: {why}", self.outcome_says())));
        if self.exit.is_some() && self.signal.is_some() {
            return wrong("it names an exit status and a signal, but has one end");
        }
        let has_ended = self.exit.is_some() || self.signal.is_some();
        match self.outcome {
            Outcome::Succeeded if self.exit != Some(0) => return wrong("its exit status must be 0"),
            Outcome::Failed if self.exit == Some(0) => return wrong("its exit status cannot be 0"),
            Outcome::Failed if !has_ended && self.reason.is_none() => {
                return wrong("it must name an exit status, a signal or a reason");
            }
            Outcome::Interrupted if has_ended => return wrong("nobody saw its exit status"),
            Outcome::Cancelled | Outcome::NotStarted | Outcome::Refused if self.reason.is_none() => {
                return wrong("it must say why");
            }
            Outcome::Succeeded
            | Outcome::Failed
            | Outcome::TimedOut
            | Outcome::Cancelled
            | Outcome::NotStarted
            | Outcome::Refused
            | Outcome::Interrupted
            | Outcome::Expired => {}
        }
        let left = has_ended || self.duration_ms > 0 || self.output.is_some();
        if !self.outcome.has_begun() && left {
            return wrong("it never began, so it has no exit status, duration or output");
        }
        if self.output.is_none() && (self.output_bytes > 0 || (self.output_dropped > 0 && !self.outcome.has_begun())) {
            return wrong("there is no output file, so it has no bytes");
        }
        Ok(())
    }

    fn outcome_says(&self) -> String {
        format!("says {:?}", self.outcome.as_str())
    }
}

#[cfg(test)]
mod tests;
