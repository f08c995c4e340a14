//! The one function that says yes or no (P6): the gateway's filter and the agent's authority.
//!
//! Not here: tenant-wide questions (`reach`), lists of who could (`explain`).

use super::{ActionKind, GrantLine, Policies, Refusal, Risk};
use crate::{AccountName, DeviceAddress, Digest, PersonRef, PublicKey, TenantName, Timestamp};

/// What the signed record of a device says about it, and nothing the device or the gateway says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its name and tenant.
    pub address: DeviceAddress,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its record's serial.
    pub serial: u64,
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A terminal.
    Shell,
    /// One command; granted by `shell`.
    Exec,
    /// sftp or scp.
    Files,
    /// One TCP connection from the device.
    Forward {
        /// An address or a name, as the client sent it.
        host: String,
        /// The port.
        port: u16,
    },
    /// One runbook.
    Run {
        /// Its name.
        runbook: String,
        /// Its risk.
        risk: Risk,
        /// How many devices the order is for.
        devices: u64,
    },
    /// To approve this device.
    Enrol,
    /// To read what happened on this device.
    Audit,
    /// To end sessions on it, freeze it and the like.
    Operate,
}

impl Action {
    /// The word in `do` that grants it.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Shell | Self::Exec => ActionKind::Shell,
            Self::Files => ActionKind::Files,
            Self::Forward { .. } => ActionKind::Forward,
            Self::Run { .. } => ActionKind::Run,
            Self::Enrol => ActionKind::Enrol,
            Self::Audit => ActionKind::Audit,
            Self::Operate => ActionKind::Operate,
        }
    }
}

/// Everything a decision depends on besides the policies and the time, kept as long as what it allowed lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The key that was proved.
    pub key: PublicKey,
    /// The device.
    pub device: DeviceFacts,
    /// As whom. Needed for shell, exec, files and run; a forward is judged with the account of its connection, when
    /// there is one; the rest ignore it.
    pub account: Option<AccountName>,
    /// What.
    pub action: Action,
    /// The ticket named, if any.
    pub ticket: Option<String>,
}

/// A yes. Only [`decide`] makes one, and whatever acts asks for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    person: PersonRef,
    line: usize,
    versions: Vec<(TenantName, u64, Digest)>,
    review: bool,
}

impl Grant {
    /// Who may.
    pub fn person(&self) -> &PersonRef {
        &self.person
    }

    /// The line of the grant in the tenant's policy document, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Tenant, version and digest of every policy it was decided under, the tenant's own first.
    pub fn versions(&self) -> &[(TenantName, u64, Digest)] {
        &self.versions
    }

    /// Whether the grant asks for a review of what is done.
    pub fn review(&self) -> bool {
        self.review
    }
}

/// Says yes with the first grant of the document whose every condition holds, or no with the reason of the grant that
/// came closest.
///
/// # Errors
/// The [`Refusal`].
pub fn decide(policies: &Policies<'_>, question: &Question, now: Timestamp) -> Result<Grant, Refusal> {
    let found = policies.find_current(&question.key, now)?;
    check_device(policies, &question.device)?;
    let mut closest = Refusal::NoGrant { person: found.name.clone(), device: question.device.address.clone() };
    for line in policies.tenant.policy().grants.iter() {
        if !found.is_one_of(&line.who) || !line.reaches(&question.device) {
            continue;
        }
        match judge(line, question, &found.name, now) {
            Ok(()) => {
                let versions = policies.chains().map(|c| (c.tenant().clone(), c.version(), c.digest())).collect();
                return Ok(Grant { person: found.name, line: line.line, versions, review: line.review });
            }
            Err(refusal) => closest = closer(closest, refusal),
        }
    }
    Err(closest)
}

/// The device must be this tenant's and not revoked, whoever asks.
pub(super) fn check_device(policies: &Policies<'_>, device: &DeviceFacts) -> Result<(), Refusal> {
    let tenant = policies.tenant.tenant();
    if device.address.tenant != *tenant {
        return Err(Refusal::ForeignDevice { device: device.address.clone(), tenant: tenant.clone() });
    }
    if policies.tenant.policy().devices.revoked.contains(&device.serial) {
        return Err(Refusal::DeviceRevoked { device: device.address.clone(), serial: device.serial });
    }
    Ok(())
}

impl GrantLine {
    /// Whether `on` names the device and `except` does not.
    pub(super) fn reaches(&self, device: &DeviceFacts) -> bool {
        let names =
            |patterns: &[super::DevicePattern]| patterns.iter().any(|p| p.matches(&device.address, &device.labels));
        names(&self.on) && !names(&self.except)
    }
}

/// Whether every condition of a line that reaches the device holds: what, as whom, to where, when, why.
fn judge(line: &GrantLine, question: &Question, person: &PersonRef, now: Timestamp) -> Result<(), Refusal> {
    let action = question.action.kind();
    if !line.actions.contains(&action) {
        return Err(Refusal::ActionNotGranted {
            person: person.clone(),
            device: question.device.address.clone(),
            action,
            granted: line.actions.clone(),
        });
    }
    check_account(line, question)?;
    check_target(line, &question.action)?;
    if let Some(hours) = line.hours.as_ref().filter(|hours| !hours.contains(now)) {
        return Err(Refusal::OutsideHours { line: line.line, hours: hours.to_string() });
    }
    check_ticket(line, question.ticket.as_deref())
}

fn check_account(line: &GrantLine, question: &Question) -> Result<(), Refusal> {
    match (&question.action, &question.account) {
        (Action::Enrol | Action::Audit | Action::Operate, _) | (Action::Forward { .. }, None) => Ok(()),
        (Action::Shell | Action::Exec | Action::Files | Action::Run { .. }, None) => {
            Err(Refusal::AccountMissing { line: line.line })
        }
        (_, Some(account)) if line.accounts.contains(account) => Ok(()),
        (_, Some(account)) => Err(Refusal::AccountNotGranted {
            account: account.clone(),
            granted: line.accounts.clone(),
            line: line.line,
        }),
    }
}

fn check_target(line: &GrantLine, action: &Action) -> Result<(), Refusal> {
    match action {
        Action::Shell | Action::Exec | Action::Files | Action::Enrol | Action::Audit | Action::Operate => Ok(()),
        Action::Forward { host, port } => match line.forward_to.iter().any(|rule| rule.allows(host, *port)) {
            true => Ok(()),
            false => Err(Refusal::ForwardNotGranted { line: line.line, host: host.clone(), port: *port }),
        },
        Action::Run { runbook, risk, devices } => {
            if !line.runbooks.iter().any(|glob| glob.matches(runbook)) {
                return Err(Refusal::RunbookNotGranted { line: line.line, runbook: runbook.clone() });
            }
            if *risk > line.risk {
                return Err(Refusal::RiskNotGranted { line: line.line, risk: *risk });
            }
            match line.devices_max {
                Some(devices_max) if *devices > devices_max => {
                    Err(Refusal::TooManyDevices { line: line.line, devices: *devices, devices_max })
                }
                Some(_) | None => Ok(()),
            }
        }
    }
}

fn check_ticket(line: &GrantLine, ticket: Option<&str>) -> Result<(), Refusal> {
    let Some(pattern) = &line.ticket else { return Ok(()) };
    match ticket.filter(|ticket| !ticket.is_empty()) {
        None => Err(Refusal::TicketMissing { line: line.line, pattern: pattern.to_string() }),
        Some(ticket) if pattern.matches(ticket) => Ok(()),
        Some(_) => Err(Refusal::TicketWrong { line: line.line, pattern: pattern.to_string() }),
    }
}

/// The refusal that got further; of two that got equally far the first, with what the other gives added.
fn closer(held: Refusal, next: Refusal) -> Refusal {
    match (held, next) {
        (
            Refusal::ActionNotGranted { person, device, action, mut granted },
            Refusal::ActionNotGranted { granted: more, .. },
        ) => {
            add(&mut granted, more);
            Refusal::ActionNotGranted { person, device, action, granted }
        }
        (
            Refusal::AccountNotGranted { account, mut granted, line },
            Refusal::AccountNotGranted { granted: more, .. },
        ) => {
            add(&mut granted, more);
            Refusal::AccountNotGranted { account, granted, line }
        }
        (held, next) if distance(&next) > distance(&held) => next,
        (held, _) => held,
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// How many of the steps of [`judge`] were passed.
fn distance(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::UnknownKey
        | Refusal::AmbiguousKey { .. }
        | Refusal::ForeignDevice { .. }
        | Refusal::DeviceRevoked { .. }
        | Refusal::PolicyExpired { .. }
        | Refusal::AgentTooOld { .. }
        | Refusal::Clock { .. }
        | Refusal::ClockSetBack { .. }
        | Refusal::ClockBehindGateway { .. }
        | Refusal::NoGrant { .. } => 0,
        Refusal::ActionNotGranted { .. } => 1,
        Refusal::AccountMissing { .. } | Refusal::AccountNotGranted { .. } => 2,
        Refusal::ForwardNotGranted { .. } | Refusal::RunbookNotGranted { .. } => 3,
        Refusal::RiskNotGranted { .. } => 4,
        Refusal::TooManyDevices { .. } => 5,
        Refusal::OutsideHours { .. } => 6,
        Refusal::TicketMissing { .. } | Refusal::TicketWrong { .. } => 7,
    }
}
