//! `runbooks`, `runbook show` and `runbook push`: the tenant's library. Versions go out as the exact bytes that were signed.

use super::{
    Call, Failure, Input, Place, input,
    show::{self, Form},
};
use crate::{
    act::library::{self, Brought},
    limits::RUNBOOKS_SHOWN_MAX,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{Digest, RunbookName, TenantName, Timestamp, limits::RUNBOOK_BYTES_MAX, policy};
use serde::Serialize;

/// One version, as JSON.
#[derive(Serialize)]
struct Row {
    name: RunbookName,
    version: Digest,
    issued: Timestamp,
    risk: String,
    /// The fingerprint of its author's key.
    signed_by: String,
    pushed: Timestamp,
    /// The entry that says it was brought.
    entry: u64,
}

/// A version with its signatures, as JSON.
#[derive(Serialize)]
struct Whole {
    /// The exact bytes, in base64.
    runbook: String,
    signatures: Vec<String>,
}

pub(super) async fn list(
    call: &Call<'_>,
    tenant: &TenantName,
    name: Option<&RunbookName>,
    form: Form,
) -> Result<String, Failure> {
    call.granted(Some(tenant)).await?;
    let rows = match call.gateway.store.tenant(tenant) {
        Some(store) => store.runbooks(name, RUNBOOKS_SHOWN_MAX).await?,
        None => Vec::new(),
    };
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|row| Row {
            name: row.name,
            version: row.version,
            issued: row.issued,
            risk: row.risk,
            signed_by: row.signed_by,
            pushed: row.pushed,
            entry: row.index,
        })
        .collect();
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows
                .into_iter()
                .map(|row| {
                    [row.name.to_string(), row.issued.to_string(), row.risk, row.version.to_string(), row.signed_by]
                })
                .collect();
            Ok(show::table(["NAME", "ISSUED", "RISK", "VERSION", "SIGNED BY"], &cells))
        }
    }
}

pub(super) async fn show(call: &Call<'_>, tenant: &TenantName, version: Digest) -> Result<String, Failure> {
    call.granted(Some(tenant)).await?;
    let found = match call.gateway.store.tenant(tenant) {
        Some(store) => store.runbook(version).await?,
        None => Vec::new(),
    };
    let Some(first) = found.first() else {
        return Err(Failure::Refused(format!(
            "there is no runbook with version {version} in the library of {tenant}; list it with `runbooks {tenant}`"
        )));
    };
    let runbook = STANDARD.encode(&first.signed.bytes);
    let signatures = found.into_iter().flat_map(|one| one.signed.signatures).collect();
    Ok(show::json(&Whole { runbook, signatures })?)
}

pub(super) async fn push(call: &Call<'_>, tenant: &TenantName, stdin: &mut Input<'_>) -> Result<String, Failure> {
    let place = match call.find(tenant).or_else(|| as_author(call, tenant)) {
        Some(place) => place,
        None => return Err(call.turn_away(Some(tenant)).await),
    };
    call.record(std::slice::from_ref(&place)).await?;
    let signed = input::read_signed(stdin, RUNBOOK_BYTES_MAX).await?;
    let (pushed, when) = match library::push(call.gateway, tenant, signed, place.person).await? {
        Brought::Now(pushed) => (pushed, "is in the library"),
        Brought::Before(pushed) => (pushed, "was in the library"),
    };
    let before = if when.starts_with("was") { " before" } else { "" };
    Ok(format!("{} {} {when} of {tenant}{before}\n", pushed.runbook.name, pushed.runbook.version))
}

/// The caller as one of the authors whom the tenant's policy names: they need no grant to bring what they wrote.
fn as_author(call: &Call<'_>, tenant: &TenantName) -> Option<Place> {
    let (key, now) = (&call.caller.key, call.now());
    let author = call.gateway.book.with(tenant, |policies| policy::runbook_signer(policies, key, now).ok().flatten());
    author.flatten().map(|person| Place { tenant: tenant.clone(), person })
}
