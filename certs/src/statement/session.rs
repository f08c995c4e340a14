//! A session as its device describes it: what is about to happen, for whom, and by which line of which policy.
//!
//! Not here: its end (`body`) and what a file session did (`files`).

use super::words::{check_option, check_readable, check_word, readable};
use super::{PolicyUsed, check_policies};
use crate::digest::{Digest, Id};
use crate::invalid::{Invalid, malformed};
use crate::limits::COMMAND_BYTES_KEPT;
use crate::names::PersonRef;
use serde::{Deserialize, Serialize};

/// What is about to happen, for whom, and by which line of which policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// This shell, command, file session or forward.
    pub session: Id,
    /// The outer connection it came through.
    pub access: Id,
    /// Who.
    pub person: PersonRef,
    /// The fingerprint of the key used, `SHA256:…`.
    pub key: String,
    /// The account asked for. Not an `AccountName`: a refused one may be no account name at all.
    pub account: String,
    /// What was asked for.
    pub kind: SessionKind,
    /// The command line; always there for [`SessionKind::Exec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// `host:port` of a forward; always there for [`SessionKind::Forward`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// The ticket the person named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The line of the grant that allows it; none when refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_line: Option<u64>,
    /// Every policy it was decided under.
    pub policies: Vec<PolicyUsed>,
}

/// The kinds of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// A login shell.
    Shell,
    /// One command.
    Exec,
    /// Files.
    Sftp,
    /// A TCP connection onwards.
    Forward,
}

/// A command line as it is recorded: enough to read, and a digest to prove the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its start, at most [`COMMAND_BYTES_KEPT`] bytes; see [`readable()`].
    pub text: String,
    /// Its whole length in bytes.
    pub bytes: u64,
    /// The digest of all its bytes.
    pub digest: Digest,
}

impl Command {
    /// What is recorded of the command line `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            text: readable(bytes, COMMAND_BYTES_KEPT),
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            digest: Digest::of(bytes),
        }
    }
}

impl Intent {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_word("key", &self.key)?;
        check_word("account", &self.account)?;
        check_option("target", self.target.as_deref())?;
        check_option("ticket", self.ticket.as_deref())?;
        if let Some(command) = &self.command {
            check_readable("command", &command.text, COMMAND_BYTES_KEPT)?;
        }
        check_policies(&self.policies)?;
        match self.kind {
            SessionKind::Exec if self.command.is_none() => Err(malformed("intent to run a command does not say which")),
            SessionKind::Forward if self.target.is_none() => Err(malformed("intent to forward does not say where to")),
            SessionKind::Shell | SessionKind::Exec | SessionKind::Sftp | SessionKind::Forward => Ok(()),
        }
    }
}
