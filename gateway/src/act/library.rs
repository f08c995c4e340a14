//! A person brings a runbook into a tenant's library. Whether it counts, its author's signature and the policy say.

use super::enrol::refused;
use crate::Gateway;
use belay_certs::{Fault, Invalid, Namespace, PersonRef, Signed, TenantName, runbook};
use belay_rules::{Ask, Outcome, library::Pushed};

/// What became of a runbook that was brought.
pub(crate) enum Brought {
    /// It is in the library now.
    Now(Box<Pushed>),
    /// It was there before.
    Before(Box<Pushed>),
}

/// A person brings a signed runbook.
///
/// # Errors
/// When it is none, its author is no signer of the tenant's policy, it is withdrawn, or it could not be recorded.
pub(crate) async fn push(
    gateway: &Gateway,
    tenant: &TenantName,
    signed: Signed,
    bearer: PersonRef,
) -> Result<Brought, Invalid> {
    let now = gateway.now();
    let checked = gateway.book.with(tenant, |policies| runbook::check_signed(policies, &signed, now));
    let (runbook, author) = checked.unwrap_or_else(|| {
        Err(Invalid::new(Fault::ForeignTenant, "this runbook is for a tenant that this gateway does not serve"))
    })?;
    let signed_by = signed.only_signer(Namespace::Runbook)?.fingerprint();
    let pushed = Pushed { runbook, signed, author, signed_by, bearer };
    let ask = Ask::PushRunbook { tenant: tenant.clone(), pushed: Box::new(pushed.clone()) };
    let recorded = gateway.record(ask).await.map_err(refused)?;
    Ok(match recorded.outcome {
        Outcome::Again => Brought::Before(Box::new(pushed)),
        _ => Brought::Now(Box::new(pushed)),
    })
}
