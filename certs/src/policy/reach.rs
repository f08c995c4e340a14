//! Questions about more than one action: the gateway's filter, tenant-wide rights, and who could reach a device at all.
//!
//! Nothing here makes a [`super::Grant`]: what acts on a device asks `decide`.

use super::decide::check_device;
use super::policies::is_named;
use super::{ActionKind, DeviceFacts, GrantLine, Policies, Refusal};
use crate::{AccountName, PersonRef, PublicKey, Timestamp};

/// One way one person can reach a device, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Who; the name as granted when its policy is not held.
    pub person: PersonRef,
    /// The line of the grant in the tenant's policy document, from 1.
    pub line: usize,
    /// As whom.
    pub accounts: Vec<AccountName>,
    /// What.
    pub actions: Vec<ActionKind>,
    /// The other conditions in words; empty when there are none.
    pub conditions: String,
}

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

/// Who can reach this device, how, and which line says so, from the policies alone; expiry is not looked at. A person or
/// team of an import that is not held is listed under the name the grant uses. Nobody for a foreign or revoked device.
pub fn who(policies: &Policies<'_>, device: &DeviceFacts) -> Vec<Reach> {
    if check_device(policies, device).is_err() {
        return Vec::new();
    }
    let lines = policies.tenant.policy().grants.iter().filter(|line| line.reaches(device));
    lines.flat_map(|line| reaches_of(policies, line)).collect()
}

fn reaches_of(policies: &Policies<'_>, line: &GrantLine) -> Vec<Reach> {
    let reach = |person: PersonRef, conditions: String| Reach {
        person,
        line: line.line,
        accounts: line.accounts.clone(),
        actions: line.actions.clone(),
        conditions,
    };
    let conditions = line.conditions();
    let mut all = Vec::new();
    for chain in policies.chains() {
        for person in &chain.policy().people {
            let called = policies.name_in(chain, person);
            if line.who.iter().any(|name| is_named(&called, person, name)) {
                all.push(reach(called, conditions.clone()));
            }
        }
    }
    for name in &line.who {
        if let Some(tenant) = name.tenant.as_ref().filter(|tenant| policies.import(tenant).is_none()) {
            let unknown = format!("whoever that is: the policy of {tenant} is not held");
            let conditions = [conditions.as_str(), unknown.as_str()];
            all.push(reach(
                name.clone(),
                conditions.into_iter().filter(|c| !c.is_empty()).collect::<Vec<_>>().join("; "),
            ));
        }
    }
    all
}

impl GrantLine {
    /// The conditions besides who, where, what and as whom, in words, `; ` between.
    pub(super) fn conditions(&self) -> String {
        let list = |word: &str, items: Vec<String>| match items.is_empty() {
            true => format!("{word} nothing"),
            false => format!("{word} {}", items.join(" ")),
        };
        let mut words = Vec::new();
        if self.actions.contains(&ActionKind::Forward) {
            words.push(list("forward to", self.forward_to.iter().map(ToString::to_string).collect()));
        }
        if self.actions.contains(&ActionKind::Run) {
            words.push(list("runbooks", self.runbooks.iter().map(ToString::to_string).collect()));
            words.push(format!("risk {}", self.risk));
        }
        words.extend(self.devices_max.map(|max| format!("at most {max} devices")));
        words.extend(self.hours.as_ref().map(|hours| format!("hours {hours}")));
        words.extend(self.ticket.as_ref().map(|ticket| format!("ticket {ticket}")));
        words.extend(self.review.then(|| "reviewed".to_owned()));
        words.join("; ")
    }
}
