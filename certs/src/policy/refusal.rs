//! The reasons for a no, each one sentence that names the rule or the line that says so.
//!
//! Not here: documents that are refused (`crate::Invalid`).

use super::{ActionKind, Risk};
use crate::limits::SHOWN_CHARS_MAX;
use crate::{AccountName, DeviceAddress, PersonRef, TenantName, Timestamp};
use std::fmt;

/// A reasoned no. Line numbers are those of the tenant's policy document, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody in the tenant's policy or its imports has this key.
    UnknownKey,
    /// The key belongs to two names at once, in the tenant's policy and an import or in two imports.
    AmbiguousKey {
        /// The names.
        names: Vec<PersonRef>,
    },
    /// The device is another tenant's.
    ForeignDevice {
        /// The device.
        device: DeviceAddress,
        /// The tenant whose policy was asked.
        tenant: TenantName,
    },
    /// No grant of this person reaches this device.
    NoGrant {
        /// Who asked.
        person: PersonRef,
        /// For which device.
        device: DeviceAddress,
    },
    /// Grants reach the device, none with this action.
    ActionNotGranted {
        /// Who asked.
        person: PersonRef,
        /// For which device.
        device: DeviceAddress,
        /// For what.
        action: ActionKind,
        /// What is granted instead.
        granted: Vec<ActionKind>,
    },
    /// The action happens as an account and none was named.
    AccountMissing {
        /// The line that came closest.
        line: usize,
    },
    /// The action is granted, as other accounts.
    AccountNotGranted {
        /// The account asked for.
        account: AccountName,
        /// The accounts the closest lines give.
        granted: Vec<AccountName>,
        /// The line that came closest.
        line: usize,
    },
    /// The grant counts at other hours.
    OutsideHours {
        /// The line that came closest.
        line: usize,
        /// Its hours as written.
        hours: String,
    },
    /// The grant wants a ticket and none was named.
    TicketMissing {
        /// The line that came closest.
        line: usize,
        /// Its pattern as written.
        pattern: String,
    },
    /// The ticket named does not fit the grant's pattern.
    TicketWrong {
        /// The line that came closest.
        line: usize,
        /// Its pattern as written.
        pattern: String,
    },
    /// The grant's `forward_to` does not hold this target.
    ForwardNotGranted {
        /// The line that came closest.
        line: usize,
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
    },
    /// The grant's `runbooks` do not hold this name.
    RunbookNotGranted {
        /// The line that came closest.
        line: usize,
        /// The runbook asked for.
        runbook: String,
    },
    /// The runbook's risk is above the grant's.
    RiskNotGranted {
        /// The line that came closest.
        line: usize,
        /// The runbook's risk.
        risk: Risk,
    },
    /// The order is for more devices than the grant allows.
    TooManyDevices {
        /// The line that came closest.
        line: usize,
        /// The order's devices.
        devices: u64,
        /// The grant's `devices_max`.
        devices_max: u64,
    },
    /// The newest version of a policy has expired: the tenant's, or the one the person is of.
    PolicyExpired {
        /// Whose policy.
        tenant: TenantName,
        /// Its newest version.
        version: u64,
        /// When it expired.
        expires: Timestamp,
    },
    /// The device's record was revoked.
    DeviceRevoked {
        /// The device.
        device: DeviceAddress,
        /// Its record's serial.
        serial: u64,
    },
    /// The policy asks for a newer agent.
    AgentTooOld {
        /// The agent's version.
        agent: String,
        /// The policy's `min_agent`.
        min_agent: String,
    },
    /// The clock is behind a document that was verified.
    Clock {
        /// What the clock says.
        now: Timestamp,
        /// When the document was issued.
        issued: Timestamp,
    },
    /// The clock is behind a moment that the machine remembers to have reached, its durable high-water mark.
    ClockSetBack {
        /// What the clock says.
        now: Timestamp,
        /// The mark.
        mark: Timestamp,
    },
    /// The clock is behind the gateway's.
    ClockBehindGateway {
        /// What the clock says.
        now: Timestamp,
        /// What the gateway's says.
        theirs: Timestamp,
    },
}

impl Refusal {
    /// The reason as one word for events and tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown-key",
            Self::AmbiguousKey { .. } => "ambiguous-key",
            Self::ForeignDevice { .. } => "foreign-device",
            Self::NoGrant { .. } => "no-grant",
            Self::ActionNotGranted { .. } => "action-not-granted",
            Self::AccountMissing { .. } => "account-missing",
            Self::AccountNotGranted { .. } => "account-not-granted",
            Self::OutsideHours { .. } => "outside-hours",
            Self::TicketMissing { .. } => "ticket-missing",
            Self::TicketWrong { .. } => "ticket-wrong",
            Self::ForwardNotGranted { .. } => "forward-not-granted",
            Self::RunbookNotGranted { .. } => "runbook-not-granted",
            Self::RiskNotGranted { .. } => "risk-not-granted",
            Self::TooManyDevices { .. } => "too-many-devices",
            Self::PolicyExpired { .. } => "policy-expired",
            Self::DeviceRevoked { .. } => "device-revoked",
            Self::AgentTooOld { .. } => "agent-too-old",
            Self::Clock { .. } | Self::ClockSetBack { .. } | Self::ClockBehindGateway { .. } => "clock",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => {
                f.write_str("this key belongs to nobody the policy knows: ask for it to be added to a person")
            }
            Self::AmbiguousKey { names } => {
                write!(
                    f,
                    "this key belongs to {} at once, so to nobody: take it from all but one",
                    words(names, " and ")
                )
            }
            Self::ForeignDevice { device, tenant } => write!(f, "{device} is not a device of {tenant}"),
            Self::NoGrant { person, device } => write!(f, "no grant lets {person} reach {device}"),
            Self::ActionNotGranted { person, device, action, granted } => {
                write!(f, "no grant gives {person} `{action}` on {device}, only {}", words(granted, ", "))
            }
            Self::AccountMissing { line } => {
                write!(f, "no account was named, and the grant at line {line} is for named ones")
            }
            Self::AccountNotGranted { account, granted, line } => {
                write!(
                    f,
                    "the account {account} is not granted: the grant at line {line} gives {}",
                    words(granted, ", ")
                )
            }
            Self::OutsideHours { line, hours } => write!(f, "the grant at line {line} counts only at {hours}"),
            Self::TicketMissing { line, pattern } => {
                write!(f, "the grant at line {line} wants a ticket like {pattern}: name it in BELAY_TICKET")
            }
            Self::TicketWrong { line, pattern } => {
                write!(
                    f,
                    "the ticket is not like {pattern}, as the grant at line {line} wants it: correct BELAY_TICKET"
                )
            }
            Self::ForwardNotGranted { line, host, port } => {
                write!(f, "`forward_to` of the grant at line {line} does not hold {:?} port {port}", shown(host))
            }
            Self::RunbookNotGranted { line, runbook } => {
                write!(f, "`runbooks` of the grant at line {line} do not hold {:?}", shown(runbook))
            }
            Self::RiskNotGranted { line, risk } => {
                write!(f, "the grant at line {line} is not for runbooks of {risk} risk")
            }
            Self::TooManyDevices { line, devices, devices_max } => {
                write!(f, "the order is for {devices} devices, and the grant at line {line} allows {devices_max}")
            }
            Self::PolicyExpired { .. }
            | Self::DeviceRevoked { .. }
            | Self::AgentTooOld { .. }
            | Self::Clock { .. }
            | Self::ClockSetBack { .. }
            | Self::ClockBehindGateway { .. } => self.fmt_for_everybody(f),
        }
    }
}

impl Refusal {
    /// The refusals that say nothing of the person: they stop everybody on the machine.
    fn fmt_for_everybody(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyExpired { tenant, version, expires } => {
                write!(
                    f,
                    "version {version} of the policy of {tenant} expired at {expires}: nothing starts until it is renewed"
                )
            }
            Self::DeviceRevoked { device, serial } => {
                write!(f, "{device} was revoked: its serial {serial} is in `revoked` of the policy")
            }
            Self::AgentTooOld { agent, min_agent } => {
                write!(
                    f,
                    "the agent is version {agent}, and `min_agent` of the policy asks for {min_agent}: upgrade it"
                )
            }
            Self::Clock { now, issued } => {
                write!(f, "the clock says {now}, before the policy was issued at {issued}: set the clock")
            }
            Self::ClockSetBack { now, mark } => {
                write!(
                    f,
                    "the clock says {now}, but this machine's high-water mark is {mark}: set the clock, or if the mark is wrong, \
                     stop the agent as root, remove the file `clock` from its state directory and start it again"
                )
            }
            Self::ClockBehindGateway { now, theirs } => {
                write!(f, "the clock says {now}, the gateway's {theirs}: set the clock that is wrong")
            }
            Self::UnknownKey
            | Self::AmbiguousKey { .. }
            | Self::ForeignDevice { .. }
            | Self::NoGrant { .. }
            | Self::ActionNotGranted { .. }
            | Self::AccountMissing { .. }
            | Self::AccountNotGranted { .. }
            | Self::OutsideHours { .. }
            | Self::TicketMissing { .. }
            | Self::TicketWrong { .. }
            | Self::ForwardNotGranted { .. }
            | Self::RunbookNotGranted { .. }
            | Self::RiskNotGranted { .. }
            | Self::TooManyDevices { .. } => f.write_str(self.word()),
        }
    }
}

impl std::error::Error for Refusal {}

fn words<T: fmt::Display>(items: &[T], between: &str) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

/// The beginning of what a stranger wrote, short enough for one sentence.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
