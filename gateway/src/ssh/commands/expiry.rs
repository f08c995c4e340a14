//! When policies expire: said beside every answer from 30 days before, on standard error, where no script reads.

use crate::{Gateway, limits::EXPIRING_NAMED_MAX};
use belay_certs::{
    PublicKey, TenantName, Timestamp,
    policy::{Chain, Policies},
};
use std::collections::BTreeMap;

/// When the first of the policies expires that devices of a tenant decide by: its own and those it imports.
pub(super) fn first(gateway: &Gateway, tenant: &TenantName) -> Option<Timestamp> {
    gateway.book.with(tenant, |policies| chains(policies).map(|chain| chain.policy().expires).min()).flatten()
}

/// One line about all policies that expire soon or have expired, of the tenants in which this key has any grant and of
/// those that they import.
pub(super) fn notice(gateway: &Gateway, key: &PublicKey, now: Timestamp) -> Option<String> {
    let mut soon: BTreeMap<(i64, TenantName), String> = BTreeMap::new();
    for (tenant, _) in gateway.book.tenants_of(key) {
        if gateway.book.in_tenant(&tenant, key, now).is_none() {
            continue;
        }
        gateway.book.with(&tenant, |policies| {
            for chain in chains(policies) {
                let Some(days) = chain.expires_soon(now) else { continue };
                soon.insert((days, chain.tenant().clone()), words(chain, days, now));
            }
        });
    }
    if soon.is_empty() {
        return None;
    }
    let named: Vec<&str> = soon.values().take(EXPIRING_NAMED_MAX).map(String::as_str).collect();
    let more = soon.len().saturating_sub(EXPIRING_NAMED_MAX);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!(
        "renew soon: {}{rest}; after that nothing starts under a policy: `belay policy renew --all` where its root keys are",
        named.join(", ")
    ))
}

fn chains<'a>(policies: &'a Policies<'_>) -> impl Iterator<Item = &'a Chain> {
    std::iter::once(policies.tenant).chain(policies.imports.iter().copied())
}

fn words(chain: &Chain, days: i64, now: Timestamp) -> String {
    let (tenant, version) = (chain.tenant(), chain.version());
    match chain.check_expiry(now) {
        Err(_) => format!("the policy of {tenant} (version {version}) has expired"),
        Ok(()) => format!("the policy of {tenant} (version {version}) expires in {days} days"),
    }
}
