//! What a device says under its own host key: which session it is about to start, refused, or has ended.
//!
//! Not here: the log entry around a statement (`entry`) and the proof that it was logged (`receipt`).
//!
//! The text is compact JSON, members in the order of the structs below, absent options left out. Unknown members are
//! ignored on reading, so that a newer device can say more; the text itself is what is signed, hashed and kept.

use crate::digest::{Digest, Id};
use crate::invalid::{Fault, Invalid, malformed};
use crate::keys::{PrivateKey, PublicKey};
pub use crate::limits::POLICIES_USED_MAX;
use crate::limits::{COMMAND_BYTES_KEPT, SIGNATURE_BYTES_MAX, STATEMENT_BYTES_MAX};
use crate::names::{DeviceAddress, PersonRef, TenantName};
use crate::sshsig::{self, Namespace};
use crate::time::Timestamp;
pub use files::{Deed, FileDeed, Files, path_text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
pub(crate) use words::is_plain;
pub use words::{WORD_BYTES_MAX, readable, word};
use words::{check_length, check_option, check_readable, check_word};

mod files;
mod words;

/// The format number written as `v`.
const FORMAT: u32 = 1;

/// What every statement starts with: who speaks, and what was said before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Random; the same when the same statement is sent again.
    pub id: Id,
    /// The device that speaks.
    pub device: DeviceAddress,
    /// The serial of the device record it goes by.
    pub serial: u64,
    /// This device's statements counted from 1, without gaps.
    pub seq: u64,
    /// The digest of the previous statement's bytes; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The newest log head the device has verified, which lets anyone catch a log that was rolled back or split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointSeen>,
    /// When it was said, by the device's clock.
    pub issued: Timestamp,
}

/// A log head as a device has verified it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointSeen {
    /// The log's name.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// Its RFC 6962 root.
    pub root: Digest,
}

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
}

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

/// One policy a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyUsed {
    /// Whose.
    pub tenant: TenantName,
    /// Its version.
    pub version: u64,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// Something a device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who speaks, and after what.
    pub head: Head,
    /// What is said.
    pub body: Body,
}

/// A statement as it travels and is kept: the exact text, and the host key's sshsig over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStatement {
    /// The statement's JSON, byte for byte as signed.
    pub text: String,
    /// The armoured signature.
    pub signature: String,
}

/// The JSON object: the format number, then head and body side by side.
#[derive(Serialize, Deserialize)]
struct Written<H, B> {
    v: u32,
    #[serde(flatten)]
    head: H,
    #[serde(flatten)]
    body: B,
}

/// Read first, so that a text of another format is told so and not blamed for its members.
#[derive(Deserialize)]
struct Format {
    v: u32,
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
            Self::SessionEnded { .. } => None,
        };
        if let Some(command) = command {
            members.insert("command".to_owned(), Value::String(command.text.clone()));
        }
        Ok(members)
    }
}

impl Statement {
    /// The JSON text, ready to sign.
    ///
    /// # Errors
    /// When a member breaks its bounds or the text is longer than [`STATEMENT_BYTES_MAX`].
    pub fn to_text(&self) -> Result<String, Invalid> {
        self.check()?;
        let written = Written { v: FORMAT, head: &self.head, body: &self.body };
        let text = serde_json::to_string(&written).map_err(|error| malformed(format!("not written: {error}")))?;
        check_length(&text, STATEMENT_BYTES_MAX, "statement")?;
        Ok(text)
    }

    /// Reads a statement's JSON text.
    ///
    /// # Errors
    /// When it is too long, not this format's JSON, of an unknown type, or a member breaks its bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let text = sshsig::text(bytes, STATEMENT_BYTES_MAX).map_err(|refused| refused.of("statement"))?;
        let broken = |error: serde_json::Error| malformed(format!("statement is not the JSON of a statement: {error}"));
        let Format { v } = serde_json::from_str(text).map_err(broken)?;
        if v != FORMAT {
            return Err(malformed(format!("statement has format {v}, this Belay reads {FORMAT}: use a newer one")));
        }
        let Written { head, body, .. } = serde_json::from_str::<Written<Head, Body>>(text).map_err(broken)?;
        let statement = Self { head, body };
        statement.check()?;
        Ok(statement)
    }

    /// The type, as in JSON and as the entry's type.
    pub fn type_name(&self) -> &'static str {
        match self.body {
            Body::SessionOpened(_) => "session.opened",
            Body::SessionRefused { .. } => "session.refused",
            Body::SessionEnded { .. } => "session.ended",
        }
    }

    /// The person it is about; an end names only its session.
    pub fn person(&self) -> Option<&PersonRef> {
        match &self.body {
            Body::SessionOpened(intent) | Body::SessionRefused { intent, .. } => Some(&intent.person),
            Body::SessionEnded { .. } => None,
        }
    }

    /// The session it is about.
    pub fn session(&self) -> Id {
        match &self.body {
            Body::SessionOpened(intent) | Body::SessionRefused { intent, .. } => intent.session,
            Body::SessionEnded { session, .. } => *session,
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        let Head { seq, previous, checkpoint, .. } = &self.head;
        if *seq == 0 || (*seq == 1) != previous.is_none() {
            return Err(malformed(format!(
                "statement {seq} has a wrong `previous`: numbers start at 1, and only the first has none before it"
            )));
        }
        if let Some(seen) = checkpoint {
            check_word("origin", &seen.origin)?;
        }
        match &self.body {
            Body::SessionOpened(intent) => intent.check(),
            Body::SessionRefused { intent, reason } => {
                intent.check()?;
                check_word("reason", reason)
            }
            Body::SessionEnded { signal, reason, files, .. } => {
                check_option("signal", signal.as_deref())?;
                check_option("reason", reason.as_deref())?;
                files.as_ref().map_or(Ok(()), Files::check)
            }
        }
    }
}

impl Intent {
    fn check(&self) -> Result<(), Invalid> {
        check_word("key", &self.key)?;
        check_word("account", &self.account)?;
        check_option("target", self.target.as_deref())?;
        check_option("ticket", self.ticket.as_deref())?;
        if let Some(command) = &self.command {
            check_readable("command", &command.text, COMMAND_BYTES_KEPT)?;
        }
        if self.policies.len() > POLICIES_USED_MAX {
            return Err(Invalid::new(
                Fault::TooLarge,
                format!("intent names {} policies, at most {POLICIES_USED_MAX} are allowed", self.policies.len()),
            ));
        }
        match self.kind {
            SessionKind::Exec if self.command.is_none() => Err(malformed("intent to run a command does not say which")),
            SessionKind::Forward if self.target.is_none() => Err(malformed("intent to forward does not say where to")),
            SessionKind::Shell | SessionKind::Exec | SessionKind::Sftp | SessionKind::Forward => Ok(()),
        }
    }
}

/// Writes and signs a statement with the device's host key.
///
/// # Errors
/// As [`Statement::to_text`], and when the key cannot sign.
pub fn sign(statement: &Statement, key: &PrivateKey) -> Result<SignedStatement, Invalid> {
    let text = statement.to_text()?;
    let signature = sshsig::sign(Namespace::Statement, text.as_bytes(), key)?;
    Ok(SignedStatement { text, signature })
}

/// Reads a statement after checking that `host_key` signed exactly its text.
///
/// # Errors
/// When it is too long, the signature is broken or by another key, or as [`Statement::parse`].
pub fn verify(signed: &SignedStatement, host_key: &PublicKey) -> Result<Statement, Invalid> {
    check_length(&signed.text, STATEMENT_BYTES_MAX, "statement")?;
    check_length(&signed.signature, SIGNATURE_BYTES_MAX, "signature of the statement")?;
    let signer = sshsig::verify(Namespace::Statement, signed.text.as_bytes(), &signed.signature)
        .map_err(|refused| refused.of("statement"))?;
    if signer != *host_key {
        return Err(Invalid::new(
            Fault::WrongSigner,
            format!(
                "statement is signed by {}, not by the device's host key {}",
                signer.fingerprint(),
                host_key.fingerprint()
            ),
        ));
    }
    Statement::parse(signed.text.as_bytes())
}

#[cfg(test)]
mod tests;
