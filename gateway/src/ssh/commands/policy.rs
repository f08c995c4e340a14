//! `policy show` and `policy push`: a tenant's policies go out as the exact bytes that were signed, and come in so.

use super::{
    Call, Failure, Input, Output, Place, devices, input,
    pending::text,
    show::{self, Form},
};
use crate::{
    act::policies::{self, Adopted},
    store::Broken,
};
use belay_certs::{Signed, TenantName, limits::POLICY_BYTES_MAX};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

/// Versions held in memory at once while they are shown: 16 MiB at the most.
const VERSIONS_PER_PAGE: u32 = 16;
/// Devices named after a push whose agents are too old for the policy; the rest is counted.
const OUTDATED_NAMED_MAX: usize = 20;

/// One version, as JSON.
#[derive(Serialize)]
pub(super) struct Version {
    version: u64,
    text: String,
    signatures: Vec<String>,
}

impl Version {
    /// Of the exact bytes of a stored version.
    pub(super) fn of(version: u64, bytes: Vec<u8>, signatures: Vec<String>) -> Result<Self, Failure> {
        Ok(Self { version, text: text(bytes)?, signatures })
    }
}

/// The newest version's exact bytes, or as JSON every version from `from` on.
pub(super) async fn show(
    call: &Call<'_>,
    tenant: &TenantName,
    from: u64,
    form: Form,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    if let Some(place) = call.find(tenant) {
        call.record(&[place]).await?;
    } else {
        let importers = importers(call, tenant);
        if importers.is_empty() {
            return Err(call.turn_away(Some(tenant)).await);
        }
        call.record(&importers).await?;
    }
    match form {
        Form::Table => newest(call, tenant, stdout).await?,
        Form::Json => versions(call, tenant, from, stdout).await?,
    }
    Ok(String::new())
}

/// Tenants with a grant for the caller whose policies import `tenant`'s people. Every device of theirs holds the imported
/// policy too, and nobody could check without it who those people are.
fn importers(call: &Call<'_>, tenant: &TenantName) -> Vec<Place> {
    let book = &call.gateway.book;
    let Some(policy0) = book.chain(tenant).map(|chain| chain.policy0()) else { return Vec::new() };
    let places = book.tenants_of(&call.caller.key).into_iter().filter_map(|(importer, _)| {
        let imports = book.chain(&importer)?.policy().imports.get(tenant) == Some(&policy0);
        let person = book.in_tenant(&importer, &call.caller.key, call.now())?;
        imports.then_some(Place { tenant: importer, person })
    });
    places.collect()
}

async fn newest(call: &Call<'_>, tenant: &TenantName, stdout: &mut Output<'_>) -> Result<(), Failure> {
    let version = call.gateway.book.chain(tenant).map_or(0, |chain| chain.version());
    for policy in page(call, tenant, version, 1).await? {
        stdout.write_all(&policy.bytes).await?;
    }
    Ok(())
}

async fn versions(call: &Call<'_>, tenant: &TenantName, from: u64, stdout: &mut Output<'_>) -> Result<(), Failure> {
    stdout.write_all(format!("{{\"tenant\":\"{tenant}\",\"versions\":[").as_bytes()).await?;
    let mut next = from;
    loop {
        let page = page(call, tenant, next, VERSIONS_PER_PAGE).await?;
        if page.is_empty() {
            break;
        }
        for Signed { bytes, signatures } in page {
            let json = serde_json::to_string(&Version::of(next, bytes, signatures)?)?;
            let comma = if next == from { "" } else { "," };
            stdout.write_all(format!("{comma}{}", show::harmless(&json)).as_bytes()).await?;
            next = next.saturating_add(1);
        }
    }
    stdout.write_all(b"]}\n").await?;
    Ok(())
}

/// Versions from `from` on, the oldest first; there are no gaps between them.
pub(super) async fn page(call: &Call<'_>, tenant: &TenantName, from: u64, limit: u32) -> Result<Vec<Signed>, Broken> {
    match call.gateway.store.tenant(tenant) {
        // No version has a number beyond what the database counts.
        Some(store) if i64::try_from(from).is_ok() => store.policies(from, limit).await,
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Anyone whom the policy knows may bring the next version; whether it counts, its signatures say.
pub(super) async fn push(call: &Call<'_>, tenant: &TenantName, stdin: &mut Input<'_>) -> Result<String, Failure> {
    let place = call.known(tenant).await?;
    let signed = input::read_signed(stdin, POLICY_BYTES_MAX).await?;
    match policies::push(call.gateway, tenant, signed, place.person.clone()).await? {
        Adopted::Now(version) => {
            let warning = outdated(call, &place).await.unwrap_or_default();
            Ok(format!("{tenant}: version {version} adopted\n{warning}"))
        }
        Adopted::Already(version) => Ok(format!("{tenant}: version {version} is in force already\n")),
    }
}

/// Devices that the caller may see and whose agents are older than the policy wants: they start nothing new.
async fn outdated(call: &Call<'_>, place: &Place) -> Result<String, Failure> {
    let Some(chain) = call.gateway.book.chain(&place.tenant) else { return Ok(String::new()) };
    let devices = devices::visible(call, place).await?;
    let old: Vec<String> = devices
        .iter()
        .filter_map(|device| {
            let version = &device.seen.as_ref()?.version;
            chain
                .check_agent(version)
                .is_err()
                .then(|| format!("  {} {}\n", device.facts.address, show::escape(version)))
        })
        .collect();
    if old.is_empty() {
        return Ok(String::new());
    }
    let more = old.len().saturating_sub(OUTDATED_NAMED_MAX);
    let named: String = old.iter().take(OUTDATED_NAMED_MAX).map(String::as_str).collect();
    let rest = if more == 0 { String::new() } else { format!("  and {more} more\n") };
    let count = old.len();
    Ok(format!(
        "{count} devices have an older agent than this policy wants, and start nothing until it is updated:\n{named}{rest}"
    ))
}
