//! Everything a device can say, one variant each.
//!
//! Not here: the head before it and the text around both (`statement`).

use super::words::{check_option, check_word};
use super::{Files, Intent, RunEnd, RunIntent};
use crate::digest::{Digest, Id};
use crate::invalid::{Invalid, malformed};
use crate::names::PersonRef;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Body {
    /// The session starts as soon as this is proved to be in the log.
    #[serde(rename = "session.opened")]
    SessionOpened(Intent),
    /// The session was asked for and the device said no.
    #[serde(rename = "session.refused")]
    SessionRefused {
        /// What was asked.
        #[serde(flatten)]
        intent: Intent,
        /// The sentence the person saw.
        reason: String,
    },
    /// The session is over.
    #[serde(rename = "session.ended")]
    SessionEnded {
        /// Which one.
        session: Id,
        /// The exit status, if it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<u32>,
        /// The signal that killed it, without `SIG`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// Why it ended, when it did not end by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Bytes from the person.
        bytes_in: u64,
        /// Bytes to the person.
        bytes_out: u64,
        /// The recording's digest, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recording: Option<Digest>,
        /// What a file session did; none for the other kinds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<Files>,
    },
    /// The run starts as soon as this is proved to be in the log.
    #[serde(rename = "run.started")]
    RunStarted(RunIntent),
    /// The order came and the device said no; it will not run it later either.
    #[serde(rename = "run.refused")]
    RunRefused {
        /// What was ordered; nothing grants it.
        #[serde(flatten)]
        intent: RunIntent,
        /// Why, for whoever gave the order.
        reason: String,
    },
    /// The run is over, or never began and never will.
    #[serde(rename = "run.ended")]
    RunEnded(RunEnd),
}

impl Body {
    /// What the entry that holds this says in its own members, for readers that do not open the statement: every member but
    /// the person, who is in the envelope, and the terminal; of a command only its start.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn members(&self) -> Result<Map<String, Value>, Invalid> {
        let value = serde_json::to_value(self).map_err(|error| malformed(format!("not written: {error}")))?;
        let Value::Object(mut members) = value else { return Err(malformed("statement is not a JSON object")) };
        for not_said in ["type", "person", "tty"] {
            members.remove(not_said);
        }
        let command = match self {
            Self::SessionOpened(intent) | Self::SessionRefused { intent, .. } => intent.command.as_ref(),
            Self::SessionEnded { .. } | Self::RunStarted(_) | Self::RunRefused { .. } | Self::RunEnded(_) => None,
        };
        if let Some(command) = command {
            members.insert("command".to_owned(), Value::String(command.text.clone()));
        }
        Ok(members)
    }

    /// The type, as in JSON and as the entry's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::SessionOpened(_) => "session.opened",
            Self::SessionRefused { .. } => "session.refused",
            Self::SessionEnded { .. } => "session.ended",
            Self::RunStarted(_) => "run.started",
            Self::RunRefused { .. } => "run.refused",
            Self::RunEnded(_) => "run.ended",
        }
    }

    /// The person it is about; an end names only its session or run.
    pub fn person(&self) -> Option<&PersonRef> {
        match self {
            Self::SessionOpened(intent) | Self::SessionRefused { intent, .. } => Some(&intent.person),
            Self::RunStarted(intent) | Self::RunRefused { intent, .. } => Some(&intent.person),
            Self::SessionEnded { .. } | Self::RunEnded(_) => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::SessionOpened(intent) => intent.check(),
            Self::SessionRefused { intent, reason } => {
                intent.check()?;
                check_word("reason", reason)
            }
            Self::SessionEnded { signal, reason, files, .. } => {
                check_option("signal", signal.as_deref())?;
                check_option("reason", reason.as_deref())?;
                files.as_ref().map_or(Ok(()), Files::check)
            }
            Self::RunStarted(intent) => intent.check_granted(),
            Self::RunRefused { intent, reason } => {
                intent.check_refused()?;
                check_word("reason", reason)
            }
            Self::RunEnded(end) => end.check(),
        }
    }
}
