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
    sentence(&soon.into_values().collect::<Vec<_>>())
}

/// The first ones by name, the rest as a number.
fn sentence(soon: &[String]) -> Option<String> {
    if soon.is_empty() {
        return None;
    }
    let named = soon.get(..EXPIRING_NAMED_MAX).unwrap_or(soon).join(", ");
    let more = soon.len().saturating_sub(EXPIRING_NAMED_MAX);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!(
        "renew soon: {named}{rest}; after that nothing starts under a policy: `belay policy renew --all` where its root keys are"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_policies_are_counted_and_not_all_named() {
        assert_eq!(sentence(&[]), None);
        let soon: Vec<String> = (0..EXPIRING_NAMED_MAX + 2).map(|number| format!("policy-{number}.")).collect();
        let said = sentence(&soon).unwrap();
        assert!(said.contains("policy-9. and 2 more;") && !said.contains("policy-10."), "{said}");
        assert!(!sentence(&soon[..1]).unwrap().contains("more"));
    }
}
