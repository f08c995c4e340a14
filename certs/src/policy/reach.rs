//! Questions about more than one action: the gateway's filter and tenant-wide rights.
//!
//! Nothing here makes a [`super::Grant`]: what acts on a device asks `decide`. Who could reach a device at all: `explain`.

use super::decide::check_device;
use super::{ActionKind, DeviceFacts, GrantLine, Policies, Refusal};
use crate::{PersonRef, PublicKey, Timestamp};

/// Whether any grant of any action reaches this device, whatever the account, hours and ticket: the gateway's filter.
///
/// # Errors
/// The [`Refusal`].
pub fn any_grant(
    policies: &Policies<'_>,
    key: &PublicKey,
    device: &DeviceFacts,
    now: Timestamp,
) -> Result<PersonRef, Refusal> {
    let found = policies.find_current(key, now)?;
    check_device(policies, device)?;
    let grants = &policies.tenant.policy().grants;
    match grants.iter().any(|line| found.is_one_of(&line.who) && line.reaches(device)) {
        true => Ok(found.name),
        false => Err(Refusal::NoGrant { person: found.name, device: device.address.clone() }),
    }
}

/// The person of this key, if some grant of any kind names them: who may be told the truth about this tenant's devices.
/// The tenant's own expiry is not looked at, so that they can be told of it; an expired import's people are nobody.
pub fn in_tenant(policies: &Policies<'_>, key: &PublicKey, now: Timestamp) -> Option<PersonRef> {
    let found = policies.find(key).ok()?;
    if found.name.tenant.is_some() {
        found.home.check_expiry(now).ok()?;
    }
    policies.tenant.policy().grants.iter().any(|line| found.is_one_of(&line.who)).then_some(found.name)
}

/// Why the holder of this key is nobody in the tenant although a grant names them: the key has two names, or the policy they
/// are imported from has expired. Said to nobody else.
pub fn why_nobody(policies: &Policies<'_>, key: &PublicKey, now: Timestamp) -> Option<Refusal> {
    match policies.find(key) {
        Ok(found) => {
            let expired = found.home.check_expiry(now).err()?;
            let is_named = policies.tenant.policy().grants.iter().any(|line| found.is_one_of(&line.who));
            (is_named && found.name.tenant.is_some()).then_some(expired)
        }
        Err(refusal @ Refusal::AmbiguousKey { .. }) => Some(refusal),
        Err(_) => None,
    }
}

/// The person of this key, if runbooks that it signed are valid now: `[runbooks] signers` names them or a team of theirs.
///
/// # Errors
/// The [`Refusal`] when the key is nobody's now, whatever `signers` says.
pub fn runbook_signer(policies: &Policies<'_>, key: &PublicKey, now: Timestamp) -> Result<Option<PersonRef>, Refusal> {
    let found = policies.find_current(key, now)?;
    Ok(found.is_one_of(&policies.tenant.policy().runbooks.signers).then_some(found.name))
}

/// The person of this key, if a grant of theirs holds this action now without a ticket, on some device; `audit` and
/// `operate` only count on all devices, for they are asked about the tenant as a whole. Nobody once a policy has expired.
pub fn may_anywhere(policies: &Policies<'_>, key: &PublicKey, action: ActionKind, now: Timestamp) -> Option<PersonRef> {
    let found = policies.find_current(key, now).ok()?;
    let wide_enough = |line: &GrantLine| match action {
        ActionKind::Audit | ActionKind::Operate => line.except.is_empty() && line.on.iter().any(|on| on.is_any()),
        ActionKind::Shell | ActionKind::Files | ActionKind::Forward | ActionKind::Run | ActionKind::Enrol => true,
    };
    let holds = |line: &GrantLine| {
        line.actions.contains(&action)
            && wide_enough(line)
            && line.ticket.is_none()
            && line.hours.as_ref().is_none_or(|hours| hours.contains(now))
    };
    let mut lines = policies.tenant.policy().grants.iter().filter(|line| found.is_one_of(&line.who));
    lines.any(holds).then_some(found.name)
}
