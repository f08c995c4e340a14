//! An order before it is signed: whom it is for, what each device would say, and how it is shown.
//!
//! The judgement is the device's own (`certs`): what is shown here is what will happen there, unless something changes.

use super::library::Verified;
use crate::{
    failure::{Outcome, refused, usage},
    screen::table,
};
use belay_certs::{
    AccountName, Id, Invalid, PublicKey, Timestamp,
    device::DeviceRecord,
    order::{Clocks, DeviceLine, DeviceList, Foreseen, Order, Share, Waves},
    policy::{DeviceFacts, Grant, Policies, Risk},
    recording::blob::Readers,
    runbook::{Arguments, ParameterName, Timeout},
    secrets::Secrets,
};
use serde_json::{Value, json};

/// Devices that are shown before signing; a person reads no more, and `--dry-run --json` has all.
const SHOWN_MAX: usize = 50;

/// What the person asked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// As whom; `None`: as the runbook says.
    pub account: Option<AccountName>,
    /// For which ticket.
    pub ticket: Option<String>,
    /// From when on; `None`: now.
    pub from: Option<Timestamp>,
    /// For how long, in microseconds.
    pub span: i64,
    /// Empty: all at once.
    pub waves: Vec<Share>,
    /// When to begin no further device.
    pub stop_above: Option<Share>,
    /// In the runbook's place.
    pub timeout: Option<Timeout>,
    /// What the runbook is told in the open.
    pub arguments: Arguments,
    /// What only the devices read.
    pub secrets: Secrets,
    /// Who reads what it prints, beside the policy's auditors.
    pub output_to: Vec<String>,
}

/// An order, and what is said of it before it is signed.
#[derive(Debug)]
pub struct Plan {
    /// The order.
    pub order: Order,
    /// Its devices.
    pub list: DeviceList,
    /// What it runs.
    pub runbook: Verified,
    /// Every device, and what the policy says of this order there.
    pub devices: Vec<(DeviceFacts, Result<Grant, Invalid>)>,
    /// How many keys of the policy read what it prints beside those of the order; none: the gateway does too.
    pub readers: Option<usize>,
}

impl Plan {
    /// Makes an order of a wish for these devices of one tenant, and judges it as if `signer` had signed it.
    ///
    /// # Errors
    /// An argument, the window or the waves are not what they may be, no account is named, or no device at all would take it.
    pub fn of(
        policies: &Policies<'_>,
        wish: Wish,
        runbook: Verified,
        devices: &[DeviceRecord],
        signer: &PublicKey,
        now: Timestamp,
    ) -> Outcome<Self> {
        let declared = &runbook.runbook;
        declared.environment(&wish.arguments)?;
        declared.check_secret_values(&wish.secrets)?;
        let account = wish.account.or_else(|| declared.account.clone()).ok_or_else(|| {
            usage(format!("the runbook {} names no account: say as whom it runs with --as ACCOUNT", declared.name))
        })?;
        let lines = devices.iter().map(|record| line(record, signer, &wish.secrets)).collect::<Outcome<_>>()?;
        let list = DeviceList::of(lines)?;
        let waves = match wish.waves.is_empty() {
            true => Waves::default(),
            false => Waves::of(wish.waves, list.count()).map_err(|invalid| invalid.of("--wave"))?,
        };
        let issued = now.whole_second();
        let not_before = wish.from.unwrap_or(issued).whole_second();
        let chain = policies.tenant;
        let order = Order {
            tenant: chain.tenant().clone(),
            id: Id::random()?,
            runbook: declared.name.clone(),
            version: declared.version,
            account,
            ticket: wish.ticket,
            issued,
            not_before,
            not_after: not_before.plus(wish.span),
            policy_version: chain.version(),
            policy: chain.digest(),
            devices: list.count(),
            devices_root: list.root(),
            waves,
            stop_above: wish.stop_above,
            timeout: wish.timeout,
            secrets: wish.secrets.names(),
            output_to: wish.output_to,
            arguments: wish.arguments,
        };
        let devices = foresee(policies, &order, &runbook, devices, signer, now)?;
        let readers = match Readers::of_run(&chain.policy().recording, &order.output_to)? {
            Readers::Only(_) => Some(chain.policy().recording.to.len()),
            Readers::Anybody => None,
        };
        Ok(Self { order, list, runbook, devices, readers })
    }

    /// The devices that would refuse it, each with the reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&DeviceFacts, &Invalid)> {
        self.devices.iter().filter_map(|(device, answer)| Some((device, answer.as_ref().err()?)))
    }

    /// What a person reads before signing.
    pub fn page(&self) -> String {
        let (order, runbook) = (&self.order, &self.runbook.runbook);
        let mut lines = vec![
            format!("{}: {}: {}", order.tenant, order.runbook, runbook.description),
            format!("  version    {}", order.version),
            format!("  issued     {} by {}", runbook.issued, self.runbook.authors()),
            format!("  arguments  {}", self.arguments()),
            format!("  account    {}", order.account),
            format!("  window     {} to {}", order.not_before, order.not_after),
        ];
        if !order.secrets.is_empty() {
            let names: Vec<&str> = order.secrets.iter().map(ParameterName::as_str).collect();
            lines.push(format!("  secrets    {}: encrypted for each device, shown nowhere", names.join(", ")));
        }
        lines.push(match self.readers {
            Some(auditors) => {
                let own: String = order.output_to.iter().map(|one| format!(" and to {one}")).collect();
                format!("  output     encrypted to the policy's {auditors} auditors{own}")
            }
            None => "  output     readable by the gateway".to_owned(),
        });
        if runbook.risk == Risk::High {
            lines.push("  risk       high: author and signer of the order are two persons".to_owned());
        }
        if let Some(ticket) = &order.ticket {
            lines.push(format!("  ticket     {ticket}"));
        }
        let platforms: Vec<&str> = runbook.platforms.iter().map(|platform| platform.as_str()).collect();
        if !platforms.is_empty() {
            lines.push(format!("  platforms  {}: others refuse it", platforms.join(", ")));
        }
        lines.push(format!("  timeout    {}", order.timeout.unwrap_or(runbook.timeout)));
        let shares: Vec<String> = order.waves.shares().iter().map(Share::to_string).collect();
        let gates: Vec<String> = order.waves.gates(order.devices).iter().map(u64::to_string).collect();
        lines.push(match gates.len() {
            0 | 1 => format!("  waves      all {} at once", order.devices),
            _ => format!("  waves      {}: {} of {} devices", shares.join(", "), gates.join(", "), order.devices),
        });
        lines.push(match &order.stop_above {
            Some(share) => format!("  stops      when more than {share} of a wave did not succeed"),
            None => "  stops      never by itself: --stop-above 5% would".to_owned(),
        });
        lines.push(self.table());
        lines.join("\n")
    }

    /// What the script will see, defaults included.
    fn arguments(&self) -> String {
        let runbook = &self.runbook.runbook;
        let mut shown = Vec::new();
        for (name, parameter) in runbook.parameters.iter().filter(|(_, one)| !one.kind.is_secret()) {
            match (self.order.arguments.get(name), &parameter.default) {
                (Some(value), _) => shown.push(format!("{name}={value}")),
                (None, Some(value)) => shown.push(format!("{name}={value} (default)")),
                (None, None) => shown.push(format!("{name} not set")),
            }
        }
        if shown.is_empty() { "none".to_owned() } else { shown.join("  ") }
    }

    fn table(&self) -> String {
        // Those that refuse first: they are why nothing will be signed.
        let (yes, no): (Vec<_>, Vec<_>) = self.devices.iter().partition(|(_, answer)| answer.is_ok());
        let rows: Vec<Vec<String>> = no
            .iter()
            .chain(&yes)
            .take(SHOWN_MAX)
            .map(|(device, answer)| {
                let labels = if device.labels.is_empty() { "-".to_owned() } else { device.labels.join(",") };
                let answer = match answer {
                    Ok(grant) => format!("grant in line {}", grant.line()),
                    Err(_) => "refused".to_owned(),
                };
                vec![device.address.to_string(), device.serial.to_string(), labels, answer]
            })
            .collect();
        let mut text = table(&["DEVICE", "SERIAL", "LABELS", "POLICY"], &rows);
        let more = self.devices.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            text.push_str(&format!("and {more} more: --dry-run --json lists all\n"));
        }
        text.trim_end().to_owned()
    }

    /// The same for a program.
    pub fn json(&self) -> Value {
        let (order, runbook) = (&self.order, &self.runbook.runbook);
        let devices = self.devices.iter().map(|(device, answer)| {
            let line = answer.as_ref().ok().map(Grant::line);
            let refused = answer.as_ref().err().map(|invalid| &invalid.sentence);
            json!({
                "device": device.address.device, "serial": device.serial, "labels": device.labels,
                "grant_line": line, "refused": refused,
            })
        });
        let devices: Vec<Value> = devices.collect();
        json!({
            "tenant": order.tenant, "runbook": order.runbook, "version": order.version, "issued": runbook.issued,
            "arguments": order.arguments.iter().map(|(name, value)| (name.to_string(), json!(value)))
                .collect::<serde_json::Map<_, _>>(),
            "secrets": order.secrets, "output_to": order.output_to, "output_encrypted": self.readers.is_some(), "account": order.account, "ticket": order.ticket,
            "not_before": order.not_before, "not_after": order.not_after,
            "waves": order.waves.gates(order.devices), "devices": devices,
        })
    }
}

/// A device's line, with what only it may read.
fn line(record: &DeviceRecord, signer: &PublicKey, secrets: &Secrets) -> Outcome<DeviceLine> {
    let sealed = match secrets.is_empty() {
        true => None,
        false => Some(secrets.seal(signer, &record.host_key).map_err(|invalid| invalid.of(&record.address))?),
    };
    Ok(DeviceLine { name: record.address.device.clone(), serial: record.serial, sealed })
}

/// What each device would say, and first what all would: then there is nothing to choose between.
fn foresee(
    policies: &Policies<'_>,
    order: &Order,
    runbook: &Verified,
    devices: &[DeviceRecord],
    signer: &PublicKey,
    now: Timestamp,
) -> Outcome<Vec<(DeviceFacts, Result<Grant, Invalid>)>> {
    // Hours and the policy's end are judged when it may begin.
    let when = now.max(order.not_before);
    let person = policies.person(signer);
    let Some(signed) = runbook.signed_beside(person.as_ref()) else { return Err(refused("the runbook is not signed")) };
    let clocks = Clocks { here: when, gateway: None };
    let foreseen = Foreseen::of(policies, order.clone(), signer.clone(), signed, clocks)?;
    let answer = |record: &DeviceRecord| {
        let device =
            DeviceFacts { address: record.address.clone(), labels: record.labels.clone(), serial: record.serial };
        let answer = foreseen.permit(&device, when);
        (device, answer)
    };
    Ok(devices.iter().map(answer).collect())
}

/// Refuses plans of which some device would refuse its part: a run that nobody asked for is worse than none.
///
/// # Errors
/// With every device and its reason.
pub fn check_all(plans: &[Plan]) -> Outcome {
    let refused_at: Vec<(&DeviceFacts, &Invalid)> = plans.iter().flat_map(Plan::refusals).collect();
    if refused_at.is_empty() {
        return Ok(());
    }
    let named = refused_at.iter().take(SHOWN_MAX).map(|(device, invalid)| {
        // `the order ID on DEVICE: why`: nobody knows the id yet.
        let why = invalid.sentence.split_once(": ").map_or(invalid.sentence.as_str(), |(_, why)| why);
        format!("\n  {}: {why}", device.address)
    });
    let named: String = named.collect();
    Err(refused(format!(
        "{} of these devices would refuse it, so nothing was signed; name only the others with --on:{named}",
        refused_at.len()
    )))
}
