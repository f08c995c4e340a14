//! What a device says under its own host key: which session or run it is about to start, refused, or has ended.
//!
//! Not here: the log entry around a statement (`entry`) and the proof that it was logged (`receipt`).
//!
//! The text is compact JSON, members in the order of the structs below, absent options left out. Unknown members are
//! ignored on reading, so that a newer device can say more; the text itself is what is signed, hashed and kept.

use crate::digest::{Digest, Id};
use crate::invalid::{Fault, Invalid, malformed};
use crate::keys::{PrivateKey, PublicKey};
pub use crate::limits::POLICIES_USED_MAX;
use crate::limits::{SIGNATURE_BYTES_MAX, STATEMENT_BYTES_MAX};
use crate::names::{DeviceAddress, PersonRef, TenantName};
use crate::sshsig::{self, Namespace};
use crate::time::Timestamp;
pub use body::Body;
pub use files::{Deed, FileDeed, Files, path_text};
pub use run::{RunEnd, RunIntent};
use serde::{Deserialize, Serialize};
pub use session::{Command, Intent, SessionKind};
pub(crate) use words::is_plain;
pub use words::{WORD_BYTES_MAX, readable, word};
use words::{check_length, check_word};

mod body;
mod files;
mod run;
mod session;
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

impl PolicyUsed {
    /// Every policy of these versions.
    pub fn all(versions: &[(TenantName, u64, Digest)]) -> Vec<Self> {
        let used = |(tenant, version, digest): &(TenantName, u64, Digest)| Self {
            tenant: tenant.clone(),
            version: *version,
            digest: *digest,
        };
        versions.iter().map(used).collect()
    }
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
        self.body.type_name()
    }

    /// The person it is about; an end names only its session or run.
    pub fn person(&self) -> Option<&PersonRef> {
        self.body.person()
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
        self.body.check()
    }
}

/// Refuses more policies than one decision can rest on.
fn check_policies(policies: &[PolicyUsed]) -> Result<(), Invalid> {
    if policies.len() > POLICIES_USED_MAX {
        let sentence = format!("intent names {} policies, at most {POLICIES_USED_MAX} are allowed", policies.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(())
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
