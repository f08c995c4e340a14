//! Policies: loaded and verified at the start, adopted when they verify, refused with a sentence and an event.

use crate::{
    Gateway, limits,
    store::{Broken, RecordError, Store, TenantStore},
};
use anyhow::Context;
use belay_certs::{
    Digest, Fault, Invalid, PersonRef, Signed, TenantName,
    policy::{Chain, Policy, Step},
};
use belay_rules::{Ask, Bearer, Draft, LogName, What};
use std::sync::Arc;

/// Policies read at once: 16 of the largest are 16 MiB.
const POLICIES_A_READ: u32 = 16;

/// All chains of the store, each verified from its version 0.
pub(crate) async fn load(store: &Store) -> anyhow::Result<Vec<Chain>> {
    let mut chains = Vec::new();
    for tenant in store.tenants().await? {
        let Some(rows) = store.tenant(&tenant.name) else { continue };
        chains.extend(read_on(&rows, None).await?);
    }
    Ok(chains)
}

/// The chain of a tenant as it stands in the store, read and verified from behind `held` on.
async fn read_on(rows: &TenantStore, held: Option<Chain>) -> anyhow::Result<Option<Chain>> {
    let mut chain = held;
    loop {
        let from = chain.as_ref().map_or(0, |held| held.version().saturating_add(1));
        let page = page(rows, from).await?;
        for (version, signed) in (from..).zip(&page) {
            let next = follow(chain.as_ref(), signed);
            let next = next.with_context(|| format!("policy version {version} of {} in the database", rows.name()))?;
            anyhow::ensure!(next.tenant() == rows.name(), "a policy of {} stands under {}", next.tenant(), rows.name());
            chain = Some(next);
        }
        if page.len() < POLICIES_A_READ as usize {
            return Ok(chain);
        }
    }
}

fn follow(held: Option<&Chain>, signed: &Signed) -> Result<Chain, Invalid> {
    let Some(held) = held else { return Chain::begin(signed) };
    Ok(match held.extend(signed)? {
        Step::Next(next) => next,
        Step::Same => held.clone(),
    })
}

/// Policies of a tenant from version `from`, the oldest first; less than a page, or none, at the end.
pub(crate) async fn page(rows: &TenantStore, from: u64) -> Result<Vec<Signed>, Broken> {
    rows.policies(from, POLICIES_A_READ).await
}

/// What became of an offered policy.
pub(crate) enum Adopted {
    /// It is the newest now.
    Now(u64),
    /// It was already.
    Already(u64),
}

/// Version 0, by the operator on the gateway itself: there is no network route for it.
pub(crate) async fn adopt_first(gateway: &Gateway, tenant: &TenantName, signed: Signed) -> Result<Adopted, Invalid> {
    let chain = Chain::begin(&signed)?;
    if chain.tenant() != tenant {
        return Err(foreign(tenant, chain.tenant()));
    }
    adopt(gateway, chain, signed, Bearer::Operator).await
}

/// A version 0 in the place of the chain that begins with `lost`, by the operator on the gateway itself.
pub(crate) async fn restart(
    gateway: &Gateway,
    tenant: &TenantName,
    signed: Signed,
    lost: Digest,
) -> Result<(), Invalid> {
    let chain = Chain::begin(&signed)?;
    if chain.tenant() != tenant {
        return Err(foreign(tenant, chain.tenant()));
    }
    let log = gateway.store.log_identity(&LogName::Tenant(tenant.clone()));
    if log.as_ref().is_none_or(|log| !chain.policy().gateway.logs.contains(log)) {
        let sentence =
            format!("this policy names another log than {tenant} has here: make it with `belay-gateway tenant invite`");
        return Err(Invalid::new(Fault::Mismatch, sentence));
    }
    check_keys(gateway, &chain)?;
    let ask = Ask::RestartPolicy { chain: Box::new(chain.clone()), signed, lost };
    gateway
        .carry_through(|gateway| async move {
            gateway.record(ask).await.map_err(|error| match error {
                RecordError::Refused(refusal) => Invalid::new(Fault::Mismatch, refusal.to_string()),
                RecordError::Broken(why) => crate::broken(&why),
            })?;
            let tenant = chain.tenant().clone();
            gateway.book.restart(chain);
            gateway.presence.wake_tenant(&tenant);
            Ok(())
        })
        .await
}

/// A later version, by anyone known in the policy; validity comes from the signatures alone.
pub(crate) async fn push(
    gateway: &Gateway,
    tenant: &TenantName,
    signed: Signed,
    by: PersonRef,
) -> Result<Adopted, Invalid> {
    let held = gateway
        .book
        .chain(tenant)
        .ok_or_else(|| Invalid::new(Fault::Mismatch, format!("tenant {tenant} has no policy here yet")))?;
    let step = match held.extend(&signed) {
        Ok(step) => step,
        Err(invalid) => {
            note_refused(gateway, tenant, &signed, &by, &invalid).await;
            return Err(invalid);
        }
    };
    match step {
        Step::Same => Ok(Adopted::Already(held.version())),
        Step::Next(chain) => adopt(gateway, chain, signed, Bearer::Person(by)).await,
    }
}

async fn adopt(gateway: &Gateway, chain: Chain, signed: Signed, bearer: Bearer) -> Result<Adopted, Invalid> {
    check_keys(gateway, &chain)?;
    gateway.carry_through(|gateway| record_then_adopt(gateway, chain, signed, bearer)).await
}

async fn record_then_adopt(
    gateway: Arc<Gateway>,
    chain: Chain,
    signed: Signed,
    bearer: Bearer,
) -> Result<Adopted, Invalid> {
    let tenant = chain.tenant().clone();
    let ask = Ask::AdoptPolicy { tenant: tenant.clone(), chain: Box::new(chain.clone()), signed, bearer };
    let error = match gateway.record(ask).await {
        Ok(_) => {
            gateway.book.adopt(chain.clone());
            return Ok(Adopted::Now(chain.version()));
        }
        Err(error) => error,
    };
    // It may have happened all the same, or the store holds a version that the book has not: what is durable counts.
    let catching_up = gateway.tracker.spawn(catch_up(Arc::clone(&gateway), tenant.clone()));
    let _ = tokio::time::timeout(limits::CATCH_UP_WAIT, catching_up).await;
    match error {
        RecordError::Refused(refusal) => Err(Invalid::new(Fault::Mismatch, refusal.to_string())),
        RecordError::Broken(why) => match gateway.book.chain(&tenant) {
            Some(held) if held.digest() == chain.digest() => Ok(Adopted::Now(chain.version())),
            Some(_) | None => Err(crate::broken(&why)),
        },
    }
}

/// Brings the book to what is durable, and does not give up before the gateway stops.
async fn catch_up(gateway: Arc<Gateway>, tenant: TenantName) {
    while let Err(error) = adopt_stored(&gateway, &tenant).await {
        tracing::error!(%tenant, "the policy in force may be older than the recorded one: {error:#}");
        let pause = tokio::time::sleep(limits::STORE_RETRY);
        if gateway.stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn adopt_stored(gateway: &Gateway, tenant: &TenantName) -> anyhow::Result<()> {
    let Some(rows) = gateway.store.tenant(tenant) else { return Ok(()) };
    if let Some(chain) = read_on(&rows, gateway.book.chain(tenant)).await? {
        gateway.book.adopt(chain);
    }
    Ok(())
}

/// One key under two names, here and in an import, would make nobody of both.
fn check_keys(gateway: &Gateway, chain: &Chain) -> Result<(), Invalid> {
    let imports: Vec<Chain> = chain
        .policy()
        .imports
        .iter()
        .filter_map(|(name, policy0)| gateway.book.chain(name).filter(|import| import.policy0() == *policy0))
        .collect();
    belay_certs::policy::Policies { tenant: chain, imports: imports.iter().collect() }.check_keys()
}

async fn note_refused(gateway: &Gateway, tenant: &TenantName, signed: &Signed, by: &PersonRef, invalid: &Invalid) {
    let version = Policy::parse(&signed.bytes).map_or(0, |policy| policy.version);
    let what = What::PolicyRefused { version, digest: Digest::of(&signed.bytes), sentence: invalid.sentence.clone() };
    gateway.note(Draft::new(LogName::Tenant(tenant.clone()), what).by(by.clone())).await;
}

fn foreign(tenant: &TenantName, of: &TenantName) -> Invalid {
    Invalid::new(Fault::ForeignTenant, format!("this is a policy of tenant {of}, not of {tenant}; nothing was adopted"))
}

#[cfg(test)]
mod tests;
