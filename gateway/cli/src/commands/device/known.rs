//! The devices of a tenant that selectors mean: of the gateway's records those that verify here, and why the others stay out.
//!
//! Nothing is taken from `devices`, which is the gateway's word alone.

use super::{
    super::now,
    held::{self, HeldRecord, Row},
    newest::Newest,
};
use crate::{
    failure::{Outcome, refused},
    gateway::{Gateway, Route},
    home::Home,
    screen::{escape, note},
    selector::Selector,
    trusted::Trusted,
};
use belay_certs::{PublicKey, TenantName, Timestamp, device::DeviceRecord, policy::Policies};
use std::collections::BTreeSet;

/// What happens when a selector means no device that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// Nothing is done: the person asked for it.
    Refused,
    /// It is told, and the others are taken: the selector was made from an old list.
    Told,
}

/// The tenant's devices that any of the selectors means, by name. Whoever might be meant and is not believed is told; of one
/// that is named exactly, that is refused.
///
/// # Errors
/// The gateway does not answer, a selector of the tenant means no device, or one that names a device names none that verifies.
pub fn select(
    home: &Home,
    trusted: &Trusted,
    tenant: &TenantName,
    selectors: &[Selector],
    unmet: Unmet,
) -> Outcome<Vec<DeviceRecord>> {
    let held = trusted.tenant(tenant)?;
    let policies = trusted.policies(tenant)?;
    let mut newest = Newest::open(home, tenant)?;
    let mut found = Found::new(&policies, &newest, &held.policy().devices.ca, selectors);
    held::each(&Gateway::new(home, Route::of(held.policy())?), tenant, |row| found.take(row, now()))?;
    let chosen = found.settle(tenant, unmet)?;
    newest.keep(&chosen)?;
    Ok(chosen)
}

/// What has come of the records.
struct Found<'a> {
    policies: &'a Policies<'a>,
    newest: &'a Newest,
    ca: &'a [PublicKey],
    selectors: &'a [Selector],
    /// The names that came.
    names: BTreeSet<String>,
    chosen: Vec<DeviceRecord>,
    /// Names that may be meant, and why nothing is believed of them.
    left_out: Vec<(String, String)>,
}

impl<'a> Found<'a> {
    fn new(policies: &'a Policies<'a>, newest: &'a Newest, ca: &'a [PublicKey], selectors: &'a [Selector]) -> Self {
        let (names, chosen, left_out) = Default::default();
        Self { policies, newest, ca, selectors, names, chosen, left_out }
    }

    /// Sorts a row. One that no selector can mean is not even checked.
    fn take(&mut self, row: Row, now: Timestamp) {
        let name = row.name.clone();
        if !self.selectors.iter().any(|selector| selector.may_match(&name)) {
            return;
        }
        if !self.names.insert(name.clone()) {
            self.chosen.retain(|record| record.address.to_string() != name);
            self.left_out.push((name, "the gateway has two records of that name".to_owned()));
            return;
        }
        let checked = HeldRecord::check(row, self.ca).and_then(|held| {
            held.check_approved(self.policies, now)?;
            self.newest.check(&held.record)?;
            Ok(held.record)
        });
        match checked {
            Ok(record) if self.selectors.iter().any(|selector| selector.matches(&record)) => self.chosen.push(record),
            Ok(_) => {}
            Err(failure) => self.left_out.push((name, failure.sentence().to_owned())),
        }
    }

    fn settle(mut self, tenant: &TenantName, unmet: Unmet) -> Outcome<Vec<DeviceRecord>> {
        for selector in self.selectors.iter().filter(|selector| selector.tenant == *tenant) {
            if self.chosen.iter().any(|record| selector.matches(record)) {
                continue;
            }
            let why = self.left_out.iter().find(|(name, _)| selector.is_exact() && selector.may_match(name));
            let sentence = match why {
                Some((name, sentence)) => format!("{} is not believed: {}", escape(name), escape(sentence)),
                None => format!("{selector} means no device: see `belay devices --tenant {tenant}`"),
            };
            match unmet {
                Unmet::Refused => return Err(refused(sentence)),
                Unmet::Told => note(&format!("belay: {sentence}")),
            }
        }
        // Of those that were named exactly, that has been said.
        for (name, sentence) in self.left_out.iter().filter(|_| unmet == Unmet::Refused) {
            note(&format!("belay: {} stays out: {}", escape(name), escape(sentence)));
        }
        self.chosen.sort_by(|a, b| a.address.device.as_str().cmp(b.address.device.as_str()));
        Ok(self.chosen)
    }
}
