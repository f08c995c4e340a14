//! Signing an order and bringing it to the gateway.
//!
//! Cut off: an order that was sent without an answer is sent again as it is; the gateway takes the same bytes once.

use super::plan::Plan;
use crate::{
    failure::{Failure, Outcome, While},
    gateway::Gateway,
    keygen,
    limits::{SUBMITS_MAX, WATCH_PAUSES},
};
use belay_certs::{
    Id, Namespace, Signed, TenantName, Timestamp, envelope,
    order::{CheckedOrder, Clocks},
    policy::Policies,
};
use serde::Deserialize;
use std::{path::Path, thread};

/// An order that counts.
#[derive(Debug)]
pub struct Ready {
    /// Whose devices.
    pub tenant: TenantName,
    /// Its id.
    pub id: Id,
    /// Order, signature, list.
    stream: Vec<u8>,
}

/// The gateway's answer.
#[derive(Debug, Deserialize)]
struct Answer {
    job: Id,
}

impl Ready {
    /// Signs a plan and judges it once more as gateway and devices will.
    ///
    /// # Errors
    /// The key does not sign, or something has changed since it was shown.
    pub fn sign(plan: &Plan, policies: &Policies<'_>, identity: &Path, now: Timestamp) -> Outcome<Self> {
        let text = plan.order.to_text();
        let signature = keygen::sign(identity, Namespace::Order, text.as_bytes())?;
        let order = Signed { bytes: text.into_bytes(), signatures: vec![signature] };
        let person = policies.person(&keygen::public(identity)?);
        let when = now.max(plan.order.not_before);
        if let Some(runbook) = plan.runbook.signed_beside(person.as_ref()) {
            let checked = CheckedOrder::of(policies, &order, runbook, Clocks { here: when, gateway: None })?;
            checked.check_list(&plan.list)?;
            for (device, _) in &plan.devices {
                checked.permit(device, when)?;
            }
        }
        let stream = [envelope::join(&order), plan.list.to_text().into_bytes()].concat();
        Ok(Self { tenant: plan.order.tenant.clone(), id: plan.order.id, stream })
    }

    /// Brings it there.
    ///
    /// # Errors
    /// The gateway refuses, or cannot be reached; then it may have it all the same.
    pub fn submit(&self, gateway: &Gateway<'_>) -> Outcome {
        let mut pause = WATCH_PAUSES.0;
        let mut tries = 1;
        let answer = loop {
            match gateway.run(&["run", self.tenant.as_str(), "--json"], &self.stream) {
                Err(Failure::Unreachable(_)) if tries < SUBMITS_MAX => {
                    thread::park_timeout(pause);
                    (pause, tries) = ((pause * 2).min(WATCH_PAUSES.1), tries + 1);
                }
                Err(Failure::Unreachable(sentence)) => {
                    let id = self.id;
                    let more = format!("{sentence}; whether it has the order, `belay job {id}` shows");
                    return Err(Failure::Unreachable(more).of(&self.tenant));
                }
                answer => break answer.map_err(|failure| failure.of(&self.tenant))?,
            }
        };
        let unknown =
            || format!("{}: whether the job {} is there, `belay job` shows: its answer", self.tenant, self.id);
        let answer: Answer = serde_json::from_slice(&answer).during(unknown)?;
        match answer.job == self.id {
            true => Ok(()),
            false => Err(Failure::Gateway(format!(
                "{}: the gateway answers for the job {} where {} was sent",
                self.tenant, answer.job, self.id
            ))),
        }
    }
}
