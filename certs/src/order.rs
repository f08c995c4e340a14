//! The order: a person's or robot's signed instruction to run one version of a runbook on named devices within a window.
//!
//! A person can read it before signing, and a shell script can write it. Not here: who may (`judge`), the script (`runbook`),
//! and carrying it out (the gateway's job, the agent's run).

mod devices;
mod judge;
mod outcome;
mod share;

pub use devices::{DeviceLine, DeviceList, DeviceTree};
pub use judge::{CheckedOrder, Clocks, Foreseen, Machine, Offer, Permit, judge};
pub use outcome::Outcome;
pub use share::{Share, Waves};

use crate::{
    AccountName, Digest, Id, RunbookName, TenantName, Timestamp,
    invalid::{Fault, Invalid, malformed},
    limits::{DOCUMENT_BYTES_MAX, ORDER_DEVICES_MAX, OUTPUT_TO_MAX, PARAMETERS_MAX, TICKET_BYTES_MAX, WINDOW_DAYS_MAX},
    policy::check_recipient,
    runbook::{Arguments, ParameterName, Timeout, check_argument},
    sshsig::document::{self, Document, check_list},
    time::DAY,
};
use serde::Deserialize;

/// The signed document (`order.v1@belay`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Whose devices.
    pub tenant: TenantName,
    /// Random: a device runs no id twice (P5).
    pub id: Id,
    /// The runbook's name.
    pub runbook: RunbookName,
    /// The digest of the runbook's bytes.
    pub version: Digest,
    /// As whom it runs.
    pub account: AccountName,
    /// The ticket it is for, where the grant wants one.
    #[serde(default)]
    pub ticket: Option<String>,
    /// When it was signed.
    #[serde(deserialize_with = "document::moment")]
    pub issued: Timestamp,
    /// From when on a run may start.
    #[serde(deserialize_with = "document::moment")]
    pub not_before: Timestamp,
    /// From when on none may start any more; at most 7 days later.
    #[serde(deserialize_with = "document::moment")]
    pub not_after: Timestamp,
    /// The newest policy version its signer knew.
    pub policy_version: u64,
    /// The digest of that version's bytes.
    pub policy: Digest,
    /// Devices it is for, 1 to 10,000.
    pub devices: u64,
    /// The RFC 6962 root over the lines of the list of devices.
    pub devices_root: Digest,
    /// How many devices may begin before how many are done; for whoever paces the job, not for a device.
    #[serde(default)]
    pub waves: Waves,
    /// No further device begins when more than this did not succeed; `None`: whatever happens.
    #[serde(default)]
    pub stop_above: Option<Share>,
    /// How long a run may take, in the place of what the runbook says.
    #[serde(default)]
    pub timeout: Option<Timeout>,
    /// Which secrets the line of each device holds for it.
    #[serde(default)]
    pub secrets: Vec<ParameterName>,
    /// age recipients that can read what it prints, beside those of the policy; without any effect where the policy encrypts no
    /// recordings.
    #[serde(default)]
    pub output_to: Vec<String>,
    /// What the runbook is told in the open.
    #[serde(default)]
    pub arguments: Arguments,
}

impl Order {
    /// The document's text, to be signed as it is.
    pub fn to_text(&self) -> String {
        let mut text = Document::default()
            .quoted("tenant", &self.tenant)
            .quoted("id", self.id)
            .quoted("runbook", &self.runbook)
            .quoted("version", self.version)
            .quoted("account", &self.account);
        if let Some(ticket) = &self.ticket {
            text = text.quoted("ticket", ticket);
        }
        text = text
            .bare("issued", self.issued)
            .bare("not_before", self.not_before)
            .bare("not_after", self.not_after)
            .bare("policy_version", self.policy_version)
            .quoted("policy", self.policy)
            .bare("devices", self.devices)
            .quoted("devices_root", self.devices_root);
        if self.waves != Waves::default() {
            text = text.list("waves", self.waves.shares());
        }
        if let Some(share) = &self.stop_above {
            text = text.quoted("stop_above", share);
        }
        if let Some(timeout) = &self.timeout {
            text = text.quoted("timeout", timeout);
        }
        if !self.secrets.is_empty() {
            text = text.list("secrets", &self.secrets);
        }
        if !self.output_to.is_empty() {
            text = text.list("output_to", &self.output_to);
        }
        if !self.arguments.is_empty() {
            text = text.table("arguments");
        }
        self.arguments.iter().fold(text, |text, (name, value)| text.quoted(name.as_str(), value)).finish()
    }

    /// Reads the document's bytes. Says nothing about who signed it: see [`CheckedOrder`].
    ///
    /// # Errors
    /// With the line or field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let parsed = document::read::<Self>(bytes, DOCUMENT_BYTES_MAX).and_then(|order| {
            order.check_limits()?;
            Ok(order)
        });
        parsed.map_err(|invalid| invalid.of("the order"))
    }

    fn check_limits(&self) -> Result<(), Invalid> {
        if !(1..=ORDER_DEVICES_MAX as u64).contains(&self.devices) {
            return Err(malformed(format!("devices is {}, but must be 1 to {ORDER_DEVICES_MAX}", self.devices)));
        }
        if self.not_after <= self.not_before || self.not_after > self.not_before.plus(WINDOW_DAYS_MAX * DAY) {
            return Err(malformed(format!("not_after must be after not_before, by at most {WINDOW_DAYS_MAX} days")));
        }
        if self.not_after <= self.issued {
            return Err(malformed(format!(
                "its window ended at {}, before it was issued at {}: give one that is still to come",
                self.not_after, self.issued
            )));
        }
        self.waves.check(self.devices)?;
        if let Some(ticket) = &self.ticket
            && (ticket.len() > TICKET_BYTES_MAX || ticket.is_empty() || !ticket.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(malformed(format!("ticket must be 1 to {TICKET_BYTES_MAX} visible ASCII characters")));
        }
        if self.arguments.len() > PARAMETERS_MAX {
            return Err(Invalid::new(Fault::TooLarge, format!("there are more than {PARAMETERS_MAX} arguments")));
        }
        check_list("secrets", &self.secrets, PARAMETERS_MAX)?;
        check_list("output_to", &self.output_to, OUTPUT_TO_MAX)?;
        self.output_to.iter().try_for_each(|one| check_recipient(one).map_err(|invalid| invalid.of("output_to")))?;
        if let Some(open) = self.secrets.iter().find(|name| self.arguments.contains_key(*name)) {
            return Err(malformed(format!("{open} is an argument and a secret: keep one")));
        }
        self.arguments.iter().try_for_each(|(name, value)| {
            check_argument(value).map_err(|invalid| invalid.of(format!("the argument {name}")))
        })
    }
}

#[cfg(test)]
mod tests;
