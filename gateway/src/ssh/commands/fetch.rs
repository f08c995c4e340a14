//! `policy fetch`: the policies of every tenant that the caller may see, in one answer, beyond what they hold already.
//!
//! A provider's laptop follows eighty tenants with one connection. Names that it sends are never looked up: the answer is
//! made from what the caller may see, so it says nothing about the rest (P3).

use super::{
    Call, Failure, Input, Output, Place, input,
    policy::{Version, page},
    show,
};
use crate::limits::{FETCH_BYTES_MAX, FETCH_REQUEST_BYTES_MAX};
use belay_certs::{Signed, TenantName, policy::Policies};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tokio::io::AsyncWriteExt;

/// Versions held in memory at once while they are shown.
const VERSIONS_PER_PAGE: u32 = 16;

/// What is asked for, as JSON on standard input.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The newest version that the caller holds of each tenant: only later ones are sent.
    #[serde(default)]
    held: BTreeMap<String, u64>,
    /// Only these tenants and what they import; all when it is left out.
    only: Option<BTreeSet<String>>,
}

impl Wanted {
    fn means(&self, tenant: &TenantName) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(tenant.as_str()))
    }
}

/// `{"tenants":[{"tenant","newest","digest","versions":[…]}…],"more":false}`; with `more`, ask again.
pub(super) async fn run(call: &Call<'_>, stdin: &mut Input<'_>, stdout: &mut Output<'_>) -> Result<String, Failure> {
    let text = input::read(stdin, FETCH_REQUEST_BYTES_MAX).await?;
    let wanted: Wanted = serde_json::from_slice(&text)
        .map_err(|error| Failure::Usage(format!("the input is not what `policy fetch` reads: {error}")))?;
    let (tenants, places) = visible(call, &wanted);
    if tenants.is_empty() {
        return Err(call.turn_away(None).await);
    }
    call.record(&places).await?;
    let mut sent_bytes = 0;
    let mut more = false;
    stdout.write_all(b"{\"tenants\":[").await?;
    for (place, tenant) in tenants.iter().enumerate() {
        if sent_bytes >= FETCH_BYTES_MAX {
            more = true;
            break;
        }
        let comma = if place == 0 { "" } else { "," };
        stdout.write_all(comma.as_bytes()).await?;
        let next = wanted.held.get(tenant.as_str()).map_or(0, |held| held.saturating_add(1));
        more |= one(call, tenant, next, &mut sent_bytes, stdout).await?;
    }
    stdout.write_all(format!("],\"more\":{more}}}\n").as_bytes()).await?;
    Ok(String::new())
}

/// One tenant with its versions from `next` on. Whether some had to be left for another time.
async fn one(
    call: &Call<'_>,
    tenant: &TenantName,
    mut next: u64,
    sent_bytes: &mut usize,
    stdout: &mut Output<'_>,
) -> Result<bool, Failure> {
    let Some(chain) = call.gateway.book.chain(tenant) else { return Err(call.turn_away(Some(tenant)).await) };
    let (newest, digest) = (chain.version(), chain.digest());
    let head = format!("{{\"tenant\":\"{tenant}\",\"newest\":{newest},\"digest\":\"{digest}\",\"versions\":[");
    stdout.write_all(head.as_bytes()).await?;
    let first = next;
    while next <= newest && *sent_bytes < FETCH_BYTES_MAX {
        let page = page(call, tenant, next, VERSIONS_PER_PAGE).await?;
        if page.is_empty() {
            break;
        }
        for Signed { bytes, signatures } in page {
            let one = Version::of(next, bytes, signatures)?;
            let json = serde_json::to_string(&one)?;
            let comma = if next == first { "" } else { "," };
            stdout.write_all(format!("{comma}{}", show::harmless(&json)).as_bytes()).await?;
            *sent_bytes = sent_bytes.saturating_add(json.len());
            next = next.saturating_add(1);
        }
    }
    stdout.write_all(b"]}").await?;
    Ok(next <= newest)
}

/// The tenants to show, and where that is recorded: in each that is shown for itself, and in those whose imports are.
fn visible(call: &Call<'_>, wanted: &Wanted) -> (BTreeSet<TenantName>, Vec<Place>) {
    let book = &call.gateway.book;
    let (mut tenants, mut places) = (BTreeSet::new(), Vec::new());
    for (tenant, _) in book.tenants_of(&call.caller.key) {
        let Some(place) = call.find(&tenant).filter(|_| wanted.means(&tenant)) else { continue };
        if book.in_tenant(&tenant, &call.caller.key, call.now()).is_some() {
            // Every device of the tenant holds the imported policies too, and nobody could check without them who is who.
            let imports =
                |policies: &Policies<'_>| policies.imports.iter().map(|chain| chain.tenant().clone()).collect();
            let imports: Vec<TenantName> = book.with(&tenant, imports).unwrap_or_default();
            tenants.extend(imports);
        }
        tenants.insert(tenant);
        places.push(place);
    }
    (tenants, places)
}
