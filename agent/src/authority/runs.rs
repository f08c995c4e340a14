//! May this order run here, and may what runs go on: asked of the same policies, record and clock as a session (P6).

use super::{AGENT_VERSION, Authority, Held};
use belay_certs::{
    Digest, Invalid, Namespace, PersonRef, Signed, TenantName, Timestamp,
    order::{Clocks, Machine, Offer, Order, Permit, judge},
    policy::{self, Refusal},
    runbook,
};

/// An order that is proved to be of a person of this tenant, whatever else is wrong with it.
#[derive(Debug)]
pub(crate) struct Ordered {
    /// What was ordered.
    pub(crate) order: Order,
    /// The digest of its bytes.
    pub(crate) order_digest: Digest,
    /// Who signed it.
    pub(crate) person: PersonRef,
    /// The fingerprint of their key.
    pub(crate) key: String,
    /// Every policy by which they are known.
    pub(crate) policies: Vec<(TenantName, u64, Digest)>,
}

impl Authority {
    /// Judges an offered order here and now: the only way to a [`Permit`] on a machine.
    ///
    /// # Errors
    /// The sentence that says what is wrong.
    pub(crate) fn judge_run(&self, offer: &Offer<'_>, remembers_since: Timestamp) -> Result<Permit, String> {
        let gateway = self.clock.gateway();
        let here = self.clock.check().map_err(|refusal| clocks(&refusal, gateway))?;
        let held = self.held();
        held.check_agent().map_err(|refusal| refusal.to_string())?;
        let pending = || "this machine is not approved yet".to_owned();
        let device = held.record.as_ref().ok_or_else(pending)?.facts();
        let machine = Machine { device, platform: std::env::consts::OS, remembers_since };
        judge(&held.policies(), offer, &machine, Clocks { here, gateway }).map_err(|invalid| invalid.to_string())
    }

    /// Whose order this is. Says nothing about whether it may run.
    ///
    /// # Errors
    /// Why it is not proved to be of a person of this tenant.
    pub(crate) fn who_ordered(&self, order: &Signed) -> Result<Ordered, Invalid> {
        let key = order.only_signer(Namespace::Order).map_err(|invalid| invalid.of("the order"))?;
        let (order, order_digest) = (Order::parse(&order.bytes)?, Digest::of(&order.bytes));
        let held = self.held();
        let own = held.chain.tenant();
        let foreign = |why: String| Invalid::new(belay_certs::Fault::ForeignTenant, why);
        if order.tenant != *own {
            return Err(foreign(format!("the order {} is for {}, not for {own}", order.id, order.tenant)));
        }
        let person = held.policies().person(&key).ok_or_else(|| {
            foreign(format!("the order {} was signed by {}, who is nobody in {own}", order.id, key.fingerprint()))
        })?;
        Ok(Ordered { order, order_digest, person, key: key.fingerprint(), policies: self.policies() })
    }

    /// Whether a run that was permitted may go on: the grant, and that its runbook still counts.
    ///
    /// # Errors
    /// The sentence that says why not.
    pub(crate) fn run_stands(&self, permit: &Permit, runbook: &Signed) -> Result<(), String> {
        let question = permit.question();
        let (account, ticket) = (question.account.as_ref(), question.ticket.as_deref());
        self.decide(&question.key, account, question.action.clone(), ticket).map_err(|refusal| refusal.to_string())?;
        let checked = runbook::check_signed(&self.held().policies(), runbook, self.clock.now());
        checked.map(drop).map_err(|invalid| invalid.to_string())
    }
}

impl Held {
    /// Whether the policies let this agent act at all.
    pub(super) fn check_agent(&self) -> Result<(), Refusal> {
        self.chain.check_agent(AGENT_VERSION)?;
        if !self.is_readable(&self.chain) {
            let min_agent = format!("one that reads version {}", self.chain.version().saturating_add(1));
            return Err(Refusal::AgentTooOld { agent: AGENT_VERSION.to_owned(), min_agent });
        }
        Ok(())
    }
}

/// A refusal for the clock, with the gateway's beside it where it is known and not named.
fn clocks(refusal: &policy::Refusal, gateway: Option<Timestamp>) -> String {
    match (refusal, gateway) {
        (Refusal::Clock { .. } | Refusal::ClockSetBack { .. }, Some(theirs)) => {
            format!("{refusal}; the gateway's clock says {theirs}")
        }
        (refusal, _) => refusal.to_string(),
    }
}
