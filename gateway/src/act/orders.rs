//! An order comes in: everything about it is checked as its devices will, before anything is recorded.
//!
//! A filter only: each device decides for itself (P2). What no device would take is refused here, as a whole, in words.

use super::{
    devices,
    jobs::{JobKey, Prepared},
};
use crate::{Gateway, limits::REFUSED_NAMED_MAX};
use belay_certs::{
    Fault, Invalid, PersonRef, Signed, TenantName, Timestamp,
    limits::CLOCK_AHEAD_MICROS_MAX,
    order::{CheckedOrder, Clocks, DeviceList, Order},
    policy::DeviceFacts,
};
use belay_rules::{Outcome, submission::Submission};
use std::{collections::HashMap, sync::Arc};

/// An order that is a job now.
pub(crate) struct Submitted {
    /// What was ordered.
    pub(crate) order: Order,
    /// Whether it was one before.
    pub(crate) again: bool,
}

/// A person brings a signed order with the list of its devices.
///
/// # Errors
/// When the disk has no room for what its runs print; when it does not count, its runbook is not in the library, the list is
/// another one, or some device would refuse it; the sentence says which and why. When it could not be recorded.
pub(crate) async fn submit(
    gateway: &Gateway,
    tenant: &TenantName,
    (order, list): (Signed, Vec<u8>),
    bearer: PersonRef,
) -> Result<Submitted, Invalid> {
    let parsed = Order::parse(&order.bytes)?;
    if parsed.tenant != *tenant {
        let sentence = format!("the order is for {}, not for {tenant}: bring it there", parsed.tenant);
        return Err(Invalid::new(Fault::ForeignTenant, sentence));
    }
    let known = known(gateway, &(tenant.clone(), parsed.id), &order).await?;
    if known {
        return Ok(Submitted { order: parsed, again: true });
    }
    gateway.room.begin_job().map_err(|sentence| Invalid::new(Fault::TooLarge, sentence))?;
    let held = devices::listed(gateway, tenant).await.map_err(|why| crate::broken(&why))?;
    let facts = held.into_iter().map(|row| (row.facts.address.device.clone(), row.facts)).collect();
    let runbooks = runbooks(gateway, tenant, &parsed).await?;
    let gateway = gateway.itself.upgrade().ok_or_else(|| crate::broken(&"the gateway is gone"))?;
    let checking = Checking { gateway: Arc::clone(&gateway), order, list, runbooks, facts, bearer };
    // Signatures, and a question for each of up to ten thousand devices.
    let checked = tokio::task::spawn_blocking(move || checking.check()).await.map_err(|error| crate::broken(&error))?;
    let (submission, prepared) = checked?;
    let recorded = gateway.jobs.submit(submission, prepared).await?;
    Ok(Submitted { order: parsed, again: recorded.outcome == Outcome::Again })
}

/// Whether this very order is a job already: whoever brings it again missed the answer.
async fn known(gateway: &Gateway, key: &JobKey, order: &Signed) -> Result<bool, Invalid> {
    let Some(rows) = gateway.store.tenant(&key.0) else { return Ok(false) };
    let documents = rows.job_documents(key.1).await.map_err(|why| crate::broken(&why))?;
    Ok(documents.is_some_and(|documents| documents.order.bytes == order.bytes))
}

/// The runbook that an order names, once for each author.
async fn runbooks(gateway: &Gateway, tenant: &TenantName, order: &Order) -> Result<Vec<Signed>, Invalid> {
    let Some(rows) = gateway.store.tenant(tenant) else { return Ok(Vec::new()) };
    let found = rows.runbook(order.version).await.map_err(|why| crate::broken(&why))?;
    if found.is_empty() {
        let sentence = format!(
            "version {} of the runbook {} is not in the library of {tenant}: bring it with `belay runbook push`",
            order.version, order.runbook
        );
        return Err(Invalid::new(Fault::Mismatch, sentence));
    }
    Ok(found.into_iter().map(|one| one.signed).collect())
}

/// All that an order is checked against.
struct Checking {
    gateway: Arc<Gateway>,
    order: Signed,
    list: Vec<u8>,
    runbooks: Vec<Signed>,
    facts: HashMap<belay_certs::DeviceName, DeviceFacts>,
    bearer: PersonRef,
}

impl Checking {
    fn check(self) -> Result<(Submission, Prepared), Invalid> {
        let parsed = Order::parse(&self.order.bytes)?;
        let list = DeviceList::parse(&self.list)?;
        let checked = self.gateway.book.with(&parsed.tenant, |policies| {
            check_issued(&parsed, self.gateway.now())?;
            let when = self.when(&parsed);
            let clocks = Clocks { here: when, gateway: None };
            // The first author who counts today; who signed it before and left does not spoil it.
            let mut refused = None;
            for runbook in &self.runbooks {
                match CheckedOrder::of(policies, &self.order, runbook, clocks) {
                    Ok(checked) => {
                        checked.check_list(&list)?;
                        self.check_devices(&checked, &list, when)?;
                        let person = policies.person(checked.signer());
                        let key = checked.signer().fingerprint();
                        return Ok((person, key, runbook.clone()));
                    }
                    Err(invalid) => refused = refused.or(Some(invalid)),
                }
            }
            Err(refused.unwrap_or_else(|| crate::broken(&"an order was checked against no runbook")))
        });
        let (person, key, runbook) = checked.unwrap_or_else(|| {
            Err(Invalid::new(Fault::ForeignTenant, "this order is for a tenant that this gateway does not serve"))
        })?;
        let person = person.ok_or_else(|| {
            Invalid::new(
                Fault::WrongSigner,
                format!("the order was signed by {key}, whom {} does not know", parsed.tenant),
            )
        })?;
        let author_key = runbook.only_signer(belay_certs::Namespace::Runbook)?.fingerprint();
        let prepared = Prepared::of(self.order.clone(), runbook, &list)?;
        let Self { order: signed, list, bearer, .. } = self;
        Ok((Submission { order: parsed, signed, list, person, key, author_key, bearer }, prepared))
    }

    /// When the first device may be offered it: an order for tonight is judged as tonight. The devices judge it again then.
    fn when(&self, order: &Order) -> Timestamp {
        self.gateway.now().max(order.not_before)
    }

    /// Whether every device of the list would take it.
    fn check_devices(&self, checked: &CheckedOrder<'_>, list: &DeviceList, when: Timestamp) -> Result<(), Invalid> {
        let mut refused = Vec::new();
        let mut count: usize = 0;
        for line in list.lines() {
            let facts = self.facts.get(&line.name).filter(|facts| facts.serial == line.serial);
            let answer = match facts {
                Some(facts) => checked.permit(facts, when).map(|_| ()),
                None => Err(Invalid::new(
                    Fault::Mismatch,
                    format!("no device {} has a record with serial {} in force", line.name, line.serial),
                )),
            };
            let Err(invalid) = answer else { continue };
            count += 1;
            if refused.len() < REFUSED_NAMED_MAX {
                refused.push(invalid);
            }
        }
        let Some(first) = refused.first() else { return Ok(()) };
        let named: Vec<&str> = refused.iter().map(|invalid| invalid.sentence.as_str()).collect();
        let more = count.saturating_sub(refused.len());
        let rest = if more == 0 { String::new() } else { format!("; and {more} more devices") };
        let sentence = format!("nothing was started: {}{rest}", named.join("; "));
        Err(Invalid::new(first.fault, sentence))
    }
}

/// A signer whose clock runs ahead means another window than they see: judged by this clock, not by when it may begin.
fn check_issued(order: &Order, now: Timestamp) -> Result<(), Invalid> {
    if order.issued <= now.plus(CLOCK_AHEAD_MICROS_MAX) {
        return Ok(());
    }
    let sentence = format!(
        "the order {} is from the future; the clock here says {now}, the signer's said {} when it was signed: set the clock \
         that is wrong",
        order.id, order.issued
    );
    Err(Invalid::new(Fault::Clock, sentence))
}
