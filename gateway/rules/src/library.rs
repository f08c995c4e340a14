//! The judge of runbooks that come into a tenant's library: each version is its hash, and is kept for ever.

use crate::ask::Verdict;
use crate::draft::Draft;
use crate::event::{RunbookPushed, What};
use crate::refusal::Refusal;
use belay_certs::runbook::Runbook;
use belay_certs::{Digest, PersonRef, Signed, TenantName};

/// A runbook that the door has checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// What it declares.
    pub runbook: Runbook,
    /// Its exact bytes and signature.
    pub signed: Signed,
    /// Who signed it.
    pub author: PersonRef,
    /// The fingerprint of the key that signed it.
    pub signed_by: String,
    /// Who brought it.
    pub bearer: PersonRef,
}

/// May this version become one of the library's? `held` is the entry that says that the same author's signature is there.
///
/// # Errors
/// When it does not carry exactly one signature.
pub fn push(tenant: &TenantName, held: Option<u64>, pushed: &Pushed) -> Result<Verdict<Draft>, Refusal> {
    if let Some(index) = held {
        return Ok(Verdict::Again(index));
    }
    let Pushed { runbook, signed, author, signed_by, bearer } = pushed;
    let [signature] = signed.signatures.as_slice() else {
        return Err(Refusal::EntryInvalid("a runbook carries exactly one signature".to_owned()));
    };
    let what = What::RunbookPushed(RunbookPushed {
        runbook: runbook.name.clone(),
        version: runbook.version,
        signature: Digest::of(signature.as_bytes()),
        signed_by: signed_by.clone(),
        author: author.clone(),
        issued: runbook.issued,
        risk: runbook.risk,
    });
    Ok(Verdict::Record(Draft::new(tenant.clone().into(), what).by(bearer.clone())))
}
