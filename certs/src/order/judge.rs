//! May this order run here and now? One judgement for the laptop that shows it, the gateway that filters and the machine that
//! decides (P6). Pure: documents, proofs and clocks are arguments.
//!
//! Not here: whether the id is new (the agent keeps them), whether the interpreter is there, and the run itself.

use super::{DeviceLine, DeviceList, Order};
use crate::{
    AccountName, PersonRef, PrivateKey, PublicKey, Timestamp,
    invalid::{Fault, Invalid},
    limits::CLOCK_AHEAD_MICROS_MAX,
    policy::{Action, DeviceFacts, Grant, Policies, Question, Risk, decide},
    runbook::{self, ParameterName, Runbook},
    secrets::{Sealed, Secrets},
    sshsig::{Namespace, Signed},
    tlog::{Hash, verify_inclusion},
    token::seen,
};

/// What the clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// This machine's: the one that counts.
    pub here: Timestamp,
    /// The gateway's, where it is known: it never makes an order count, only refuses one when the two are far apart, and is
    /// named so that a person sees which one is wrong.
    pub gateway: Option<Timestamp>,
}

/// An order and its runbook, whose signatures and everything that no device changes hold.
#[derive(Debug)]
pub struct CheckedOrder<'a> {
    /// What it was judged under.
    policies: &'a Policies<'a>,
    /// What was signed.
    order: Order,
    /// What it runs.
    runbook: Runbook,
    /// Who signed the order; whether they may is asked for each device.
    signer: PublicKey,
    /// Who signed the runbook.
    author: PersonRef,
    /// The arguments as the script will see them.
    environment: Vec<(String, String)>,
}

impl<'a> CheckedOrder<'a> {
    /// Checks what all devices of an order share.
    ///
    /// # Errors
    /// When the order or the runbook does not parse, is not signed by exactly one key for its purpose, is another tenant's,
    /// does not fit the other one, names a policy version that is not held, is outside its window or beyond the policy's end,
    /// or when one person signed both and the risk is high. The sentence says which, and what to do.
    pub fn of(policies: &'a Policies<'a>, order: &Signed, runbook: &Signed, clocks: Clocks) -> Result<Self, Invalid> {
        let signer = order.only_signer(Namespace::Order).map_err(|invalid| invalid.of("the order"))?;
        Self::by(policies, Order::parse(&order.bytes)?, signer, runbook, clocks)
    }

    fn by(
        policies: &'a Policies<'a>,
        order: Order,
        signer: PublicKey,
        runbook: &Signed,
        clocks: Clocks,
    ) -> Result<Self, Invalid> {
        check_order(policies, &order, clocks).map_err(|invalid| invalid.of(format!("the order {}", order.id)))?;
        let (runbook, author) = runbook::check_signed(policies, runbook, clocks.here)?;
        if runbook.name != order.runbook || runbook.version != order.version {
            let sentence = format!(
                "the order is for the runbook {} in version {}, and this is {} in version {}",
                order.runbook, order.version, runbook.name, runbook.version
            );
            return Err(Invalid::new(Fault::Mismatch, sentence));
        }
        if runbook.risk == Risk::High && policies.person(&signer).as_ref() == Some(&author) {
            let sentence = format!(
                "the runbook {} is of high risk, and {author} signed both it and the order: let another person sign the order",
                runbook.name
            );
            return Err(Invalid::new(Fault::WrongSigner, sentence));
        }
        let environment = runbook.environment(&order.arguments)?;
        runbook.check_secrets(&order.secrets)?;
        Ok(Self { policies, order, runbook, signer, author, environment })
    }

    /// What was ordered.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What it runs.
    pub fn runbook(&self) -> &Runbook {
        &self.runbook
    }

    /// The key that signed the order.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// Whether this is the list whose root the order signs.
    ///
    /// # Errors
    /// `Mismatch`, when it is another.
    pub fn check_list(&self, list: &DeviceList) -> Result<(), Invalid> {
        if list.count() != self.order.devices || list.root() != self.order.devices_root {
            let sentence = format!(
                "the list of {} devices is not the one of {} devices that the order {} was signed over: bring that one",
                list.count(),
                self.order.devices,
                self.order.id
            );
            return Err(Invalid::new(Fault::Mismatch, sentence));
        }
        let line = list.lines().first().and_then(|line| line.sealed.as_ref());
        check_sealed(&self.order, line, NOT_LISTED)
    }

    /// Whether the policy lets the order's signer run it on this device. Whether the order names the device is not looked at.
    ///
    /// # Errors
    /// With the refusal of [`decide`].
    pub fn permit(&self, device: &DeviceFacts, now: Timestamp) -> Result<Grant, Invalid> {
        decide(self.policies, &self.question(device), now).map_err(|refusal| {
            let sentence = format!("the order {} on {}", self.order.id, device.address);
            seen::refused(&refusal).of(sentence)
        })
    }

    fn question(&self, device: &DeviceFacts) -> Question {
        let Order { runbook, devices, account, ticket, .. } = &self.order;
        let action = Action::Run { runbook: runbook.to_string(), risk: self.runbook.risk, devices: *devices };
        Question {
            key: self.signer.clone(),
            device: device.clone(),
            account: Some(account.clone()),
            action,
            ticket: ticket.clone(),
        }
    }
}

/// What would be said of an order if this key signed it: shown to its holder before. It proves nothing, and nothing runs by it.
#[derive(Debug)]
pub struct Foreseen<'a>(CheckedOrder<'a>);

impl<'a> Foreseen<'a> {
    /// Judges an order without a signature.
    ///
    /// # Errors
    /// As [`CheckedOrder::of`], but for the order's signature.
    pub fn of(
        policies: &'a Policies<'a>,
        order: Order,
        signer: PublicKey,
        runbook: &Signed,
        clocks: Clocks,
    ) -> Result<Self, Invalid> {
        CheckedOrder::by(policies, Order::parse(order.to_text().as_bytes())?, signer, runbook, clocks).map(Self)
    }

    /// As [`CheckedOrder::permit`].
    ///
    /// # Errors
    /// With the refusal of [`decide`].
    pub fn permit(&self, device: &DeviceFacts, now: Timestamp) -> Result<Grant, Invalid> {
        self.0.permit(device, now)
    }
}

/// What a device is offered.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The order and its signature.
    pub order: &'a Signed,
    /// The runbook and its signature.
    pub runbook: &'a Signed,
    /// The device's place in the order's list, from 0.
    pub place: u64,
    /// The RFC 6962 path from the device's line to the order's root.
    pub path: &'a [Hash],
    /// The secrets in that line.
    pub sealed: Option<&'a Sealed>,
}

/// What a device knows of itself.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    /// Its own record.
    pub device: DeviceFacts,
    /// Its platform, as `std::env::consts::OS` names it.
    pub platform: &'a str,
    /// Since when it remembers which orders it has seen.
    pub remembers_since: Timestamp,
}

/// A yes to one run on one device. Only [`judge`] makes one, and whatever starts a run asks for one.
#[derive(Debug)]
pub struct Permit {
    order: Order,
    runbook: Runbook,
    author: PersonRef,
    environment: Vec<(String, String)>,
    sealed: Option<Sealed>,
    grant: Grant,
    question: Question,
}

impl Permit {
    /// What was ordered.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What is run.
    pub fn runbook(&self) -> &Runbook {
        &self.runbook
    }

    /// Who signed the runbook.
    pub fn author(&self) -> &PersonRef {
        &self.author
    }

    /// As whom.
    pub fn account(&self) -> &AccountName {
        &self.order.account
    }

    /// The arguments: variables and their values, for the environment and nowhere else.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The secrets that the order says are in this device's line, decrypted with its host key.
    ///
    /// # Errors
    /// When they do not open, are more or fewer than the order says, or one is not what its parameter allows. No sentence shows a
    /// value.
    pub fn secrets(&self, host_key: &PrivateKey) -> Result<Secrets, Invalid> {
        let Some(sealed) = &self.sealed else { return Ok(Secrets::default()) };
        let of = |invalid: Invalid| invalid.of(format!("the secrets of the order {}", self.order.id));
        let secrets = Secrets::open(sealed, &self.question.key, host_key).map_err(of)?;
        let mut named = self.order.secrets.clone();
        named.sort();
        if secrets.names() != named {
            let named: Vec<&str> = named.iter().map(ParameterName::as_str).collect();
            let sentence = format!("other secrets are encrypted than the order names: encrypt {}", named.join(", "));
            return Err(of(Invalid::new(Fault::Mismatch, sentence)));
        }
        self.runbook.check_secret_values(&secrets)?;
        Ok(secrets)
    }

    /// How long it may take, in seconds.
    pub fn timeout_seconds(&self) -> u64 {
        self.order.timeout.unwrap_or(self.runbook.timeout).seconds()
    }

    /// What allows it.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What to ask again while it runs.
    pub fn question(&self) -> &Question {
        &self.question
    }
}

/// Judges an offer as the device does that it is made to. The caller has checked that its clock may be believed, and checks
/// that the order's id is new.
///
/// # Errors
/// As [`CheckedOrder::of`]; when the order does not name this device under the record it has, began before the device
/// remembers, is for another platform, or its signer may not do this here.
pub fn judge(
    policies: &Policies<'_>,
    offer: &Offer<'_>,
    machine: &Machine<'_>,
    clocks: Clocks,
) -> Result<Permit, Invalid> {
    let checked = CheckedOrder::of(policies, offer.order, offer.runbook, clocks)?;
    check_sealed(&checked.order, offer.sealed, NOT_OFFERED)?;
    check_place(&checked.order, offer, &machine.device)?;
    check_memory(&checked.order, machine.remembers_since)?;
    checked.runbook.check_platform(machine.platform)?;
    let grant = checked.permit(&machine.device, clocks.here)?;
    let question = checked.question(&machine.device);
    let CheckedOrder { order, runbook, author, environment, .. } = checked;
    let sealed = offer.sealed.cloned();
    Ok(Permit { order, runbook, author, environment, sealed, grant, question })
}

/// The order is this tenant's, of a policy that is held, and counts now.
fn check_order(policies: &Policies<'_>, order: &Order, clocks: Clocks) -> Result<(), Invalid> {
    let chain = policies.tenant;
    if order.tenant != *chain.tenant() {
        let sentence = format!("is for {}, not for {}", order.tenant, chain.tenant());
        return Err(Invalid::new(Fault::ForeignTenant, sentence));
    }
    seen::check_version(chain, order.policy_version, &order.policy)?;
    check_window(order, clocks)?;
    let expires = chain.policy().expires;
    // Judged beforehand it is judged as of its beginning: the policy has not expired, it will have.
    if order.issued < expires && order.not_before >= expires {
        let sentence = format!(
            "begins at {}, when the policy of {} is over: that ends at {expires}; renew it, then sign a new order",
            order.not_before, order.tenant
        );
        return Err(Invalid::new(Fault::Expired, sentence));
    }
    chain.check_expiry(clocks.here).map_err(|refusal| seen::refused(&refusal))?;
    if order.not_after > expires {
        let sentence = format!(
            "ends at {}, after the policy of {} at {expires}: give a shorter window, or renew the policy first",
            order.not_after, order.tenant
        );
        return Err(Invalid::new(Fault::Expired, sentence));
    }
    Ok(())
}

/// The window is open by the clock here, and no clock contradicts it by much; who reads that it is not sees every clock there is.
fn check_window(order: &Order, clocks: Clocks) -> Result<(), Invalid> {
    let Clocks { here, gateway } = clocks;
    let latest = here.plus(CLOCK_AHEAD_MICROS_MAX);
    let said = gateway.map_or(String::new(), |gateway| format!(", the gateway's {gateway}"));
    let said = format!("the clock here says {here}{said}, the signer's said {} when it was signed", order.issued);
    let disagree = gateway.is_some_and(|gateway| {
        let apart = gateway.micros().abs_diff(here.micros());
        apart > CLOCK_AHEAD_MICROS_MAX.unsigned_abs()
    });
    if here >= order.not_after {
        let (fault, advice) = match disagree {
            true => (Fault::Clock, "set the clock that is wrong"),
            false => (Fault::Expired, "sign a new order, or set the clock that is wrong"),
        };
        return Err(Invalid::new(fault, format!("ended at {}; {said}: {advice}", order.not_after)));
    }
    if order.issued > latest {
        return Err(Invalid::new(Fault::Clock, format!("is from the future; {said}: set the clock that is wrong")));
    }
    if order.not_before > latest {
        let sentence = format!("begins at {}; {said}: wait for it, or set the clock that is wrong", order.not_before);
        return Err(Invalid::new(Fault::Clock, sentence));
    }
    if disagree {
        // In a long window both may be inside, and the hours of a grant would still be those of a wrong clock.
        let sentence = format!("cannot be timed, for the clocks disagree; {said}: set the clock that is wrong");
        return Err(Invalid::new(Fault::Clock, sentence));
    }
    Ok(())
}

/// Why an order names secrets and its list has none: who signed it left them out.
const NOT_LISTED: &str = "its list of devices has none: encrypt them for each device, or take them out";
/// Why a device hears of none: who offers the order left them out.
const NOT_OFFERED: &str = "the gateway offered it without those of this machine's line in the signed list";

/// Lines have secrets when the order says which, and only then; `missing` says why there are none.
fn check_sealed(order: &Order, sealed: Option<&Sealed>, missing: &str) -> Result<(), Invalid> {
    let wrong = |why: &str| Err(Invalid::new(Fault::Mismatch, format!("the order {} {why}", order.id)));
    match (order.secrets.is_empty(), sealed) {
        (true, None) | (false, Some(_)) => Ok(()),
        (true, Some(_)) => wrong("names no secrets, and its list of devices has some: name them in `secrets`"),
        (false, None) => wrong(&format!("names secrets, and {missing}")),
    }
}

/// The device's own line, made here from its own record, is where the offer says under the signed root.
fn check_place(order: &Order, offer: &Offer<'_>, device: &DeviceFacts) -> Result<(), Invalid> {
    let sealed = offer.sealed.cloned();
    let own = DeviceLine { name: device.address.device.clone(), serial: device.serial, sealed };
    verify_inclusion(&own.leaf(), offer.place, order.devices, offer.path, &order.devices_root.0).map_err(|invalid| {
        let what = format!("the order {} is not for {} with serial {}", order.id, device.address, device.serial);
        invalid.of(what)
    })
}

/// Orders from before the device remembers may have run here before. Orders count by whole seconds: one of the second in which
/// the memory begins is none of them, for whoever signed it named this device by a record that is younger than its memory.
fn check_memory(order: &Order, since: Timestamp) -> Result<(), Invalid> {
    if order.not_before < since.whole_second() {
        let sentence = format!(
            "the order {} counts from {}, and what this machine remembers of orders begins at {since}: sign a new order",
            order.id, order.not_before
        );
        return Err(Invalid::new(Fault::Spent, sentence));
    }
    Ok(())
}
