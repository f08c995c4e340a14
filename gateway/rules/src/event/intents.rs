//! What devices intend, as their entries say it beside the statement: all of it but the person, who is in the envelope.
//!
//! Not here: the statements themselves (`belay_certs::statement`).

use belay_certs::statement::{Intent, PolicyUsed, RunIntent, SessionKind};
use belay_certs::{AccountName, Digest, Id, PersonRef, RunbookName};
use serde::{Deserialize, Serialize};

/// A session as the device's intent describes it, for readers that do not open the statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub session: Id,
    /// The outer connection it came through.
    pub access: Id,
    /// The fingerprint of the person's key.
    pub key: String,
    /// The account asked for.
    pub account: String,
    /// Shell, command, files or forward.
    pub kind: SessionKind,
    /// The command line's start; its length and digest are in the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Where a forward goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The ticket the person named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The line of the grant that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_line: Option<u64>,
    /// The policies it was decided under.
    pub policies: Vec<PolicyUsed>,
}

/// A run as the device's intent describes it, for readers that do not open the statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The order's id.
    pub order: Id,
    /// Of the order, kept beside the log.
    pub order_digest: Digest,
    /// The runbook's name.
    pub runbook: RunbookName,
    /// Of the runbook, kept beside the log.
    pub version: Digest,
    /// Who signed the runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<PersonRef>,
    /// The fingerprint of the key that signed the order.
    pub key: String,
    /// As whom it runs.
    pub account: AccountName,
    /// The ticket that the order names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The line of the grant that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_line: Option<u64>,
    /// Whether that grant asks for a review.
    #[serde(default, skip_serializing_if = "is_not")]
    pub review: bool,
    /// The policies it was decided under.
    pub policies: Vec<PolicyUsed>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_not(flag: &bool) -> bool {
    !flag
}

impl From<&Intent> for Session {
    fn from(intent: &Intent) -> Self {
        Self {
            session: intent.session,
            access: intent.access,
            key: intent.key.clone(),
            account: intent.account.clone(),
            kind: intent.kind,
            command: intent.command.as_ref().map(|command| command.text.clone()),
            target: intent.target.clone(),
            ticket: intent.ticket.clone(),
            grant_line: intent.grant_line,
            policies: intent.policies.clone(),
        }
    }
}

impl From<&RunIntent> for Run {
    fn from(intent: &RunIntent) -> Self {
        Self {
            order: intent.order,
            order_digest: intent.order_digest,
            runbook: intent.runbook.clone(),
            version: intent.version,
            author: intent.author.clone(),
            key: intent.key.clone(),
            account: intent.account.clone(),
            ticket: intent.ticket.clone(),
            grant_line: intent.grant_line,
            review: intent.review,
            policies: intent.policies.clone(),
        }
    }
}
