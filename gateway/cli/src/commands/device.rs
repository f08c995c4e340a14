//! `belay device`: another name, other labels, a new host certificate, the end. What is carried over from a device's record
//! is verified here before anybody signs it again.

mod held;
pub mod known;
pub mod newest;
mod recertify;

use super::{
    approve::batch::{Kept, Keys, finish_all, first_serial},
    now, person,
};
use crate::{
    failure::{Outcome, While, refused, usage},
    home::Home,
    keygen,
    limits::SIGNING_LASTS,
    next_version,
    screen::{confirm, note, say, table},
    ssh_agent::Signing,
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, TenantName,
    device::DeviceRecord,
    policy::{Action, DeviceFacts, Question, decide},
};
pub(crate) use held::HeldRecord;
use std::{collections::BTreeSet, path::PathBuf};

/// `belay device …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Give a device another name: the old one leads nowhere from then on
    Rename {
        /// Its name now
        device: DeviceAddress,
        /// The new one, of the same tenant
        name: DeviceAddress,
        #[command(flatten)]
        by: By,
    },
    /// Give a device other labels; they decide grants
    Relabel {
        /// The device
        device: DeviceAddress,
        /// A label; may be given again. None: the device has no labels then
        #[arg(long = "label", value_name = "L", value_delimiter = ',')]
        labels: Vec<String>,
        #[command(flatten)]
        by: By,
    },
    /// Certify the host keys of a tenant's devices by another device CA
    Recertify(recertify::Args),
    /// End a device: the next policy revokes its record, its sessions end, its key and certificate are worthless
    Revoke(Revoke),
}

/// Who signs a new record.
#[derive(Debug, clap::Args)]
pub struct By {
    /// The device CA, or the .pub of one that your ssh-agent holds [default: tenants/TENANT/keys/device-ca of the home]
    #[arg(long, value_name = "KEY")]
    ca: Option<PathBuf>,
    /// Sign without asking
    #[arg(long)]
    yes: bool,
}

/// `belay device revoke`.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The device
    #[arg(required_unless_present = "serial")]
    device: Option<DeviceAddress>,
    /// The tenant, with --serial
    #[arg(long, requires = "serial", conflicts_with = "device")]
    tenant: Option<TenantName>,
    /// The serial of a record that no device has any more; needs --tenant
    #[arg(long, requires = "tenant", value_name = "N")]
    serial: Option<u64>,
    #[command(flatten)]
    signing: next_version::Signing,
}

/// Does it.
///
/// # Errors
/// What was refused, and why.
pub fn run(home: &Home, command: Command) -> Outcome {
    match command {
        Command::Rename { device, name, by } => rename(home, &device, name, &by),
        Command::Relabel { device, labels, by } => {
            change(home, &device, &by, Labels::Given(labels), |_| Ok(())).map(drop)
        }
        Command::Recertify(args) => recertify::run(home, &args),
        Command::Revoke(args) => revoke(home, &args),
    }
}

fn rename(home: &Home, device: &DeviceAddress, name: DeviceAddress, by: &By) -> Outcome {
    if name.tenant != device.tenant {
        return Err(usage(format!("{name} is of another tenant: let the machine forget, and join there")));
    }
    if name == *device {
        return Err(usage(format!("{device} is called so already")));
    }
    let held = change(home, device, by, Labels::Carried, |record| {
        record.address = name;
        Ok(())
    })?;
    note(&format!(
        "its old certificate for {device} stays valid until a policy revokes it: `belay device revoke --tenant {} --serial {}`",
        device.tenant, held.serial
    ));
    Ok(())
}

/// Where the labels of the new record come from.
enum Labels {
    /// The person gives them.
    Given(Vec<String>),
    /// From the record held, if its approval still verifies.
    Carried,
}

/// A new record with a higher serial for the same host key: shown, asked, certified, signed, kept, sent. Returns the one
/// that it voids.
fn change(
    home: &Home,
    device: &DeviceAddress,
    by: &By,
    labels: Labels,
    edit: impl FnOnce(&mut DeviceRecord) -> Outcome,
) -> Outcome<DeviceRecord> {
    let identity = home.signing_identity()?;
    let me = keygen::public(identity)?;
    finish_all(home)?;
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([device.tenant.clone()]))?;
    let policies = trusted.policies(&device.tenant)?;
    let policy = policies.tenant.policy();
    let ca = by.ca.clone().unwrap_or_else(|| home.keys(&device.tenant).join("device-ca"));
    if !policy.devices.ca.contains(&keygen::public(&ca)?) {
        return Err(refused(format!("{} is no device CA in the policy of {}", ca.display(), device.tenant)));
    }
    let held = HeldRecord::of(home, &trusted, device)?;
    let labels = match labels {
        Labels::Given(labels) => labels,
        Labels::Carried => held.labels(&policies, now())?,
    };
    let mut record = DeviceRecord {
        labels,
        serial: first_serial(held.serial_next, &policy.devices.revoked, 1)?,
        replaces: None,
        issued: now().whole_second(),
        ..held.record.clone()
    };
    edit(&mut record)?;
    for (address, labels, serial) in [
        (&held.record.address, &held.record.labels, held.record.serial),
        (&record.address, &record.labels, record.serial),
    ] {
        let device = DeviceFacts { address: address.clone(), labels: labels.clone(), serial };
        let question = Question { key: me.clone(), device, account: None, action: Action::Enrol, ticket: None };
        decide(&policies, &question, now()).during(|| format!("you may not change {address}"))?;
    }
    say(table(&["", "NAME", "SERIAL", "LABELS", "HOST KEY"], &[row("now", &held.record), row("then", &record)])
        .trim_end());
    note(&format!("host key certified by {}, record signed with {}", ca.display(), identity.display()));
    confirm("Certify and sign this record?", by.yes)?;
    let mut signing = Signing::default();
    signing.add(&ca, SIGNING_LASTS)?;
    let keys = Keys { ca: &ca, identity };
    signing.add(identity, SIGNING_LASTS)?;
    let (kept, path) = Kept::sign(home, &trusted, &mut signing, keys, &[record])?;
    match kept.send(home, &trusted, &path)?.refused {
        0 => Ok(held.record),
        _ => Err(refused("the gateway refused the new record; see above")),
    }
}

fn row(when: &str, record: &DeviceRecord) -> Vec<String> {
    let labels = if record.labels.is_empty() { "-".to_owned() } else { record.labels.join(",") };
    vec![when.to_owned(), record.address.to_string(), record.serial.to_string(), labels, record.host_key.fingerprint()]
}

fn revoke(home: &Home, args: &Revoke) -> Outcome {
    let (tenant, serial) = match (&args.device, &args.tenant, args.serial) {
        (None, Some(tenant), Some(serial)) => (tenant.clone(), serial),
        (Some(device), None, None) => {
            let trusted = Trusted::refresh_only(home, &BTreeSet::from([device.tenant.clone()]))?;
            let held = HeldRecord::of(home, &trusted, device)?;
            note(&format!(
                "{device} has serial {} and host key {}",
                held.record.serial,
                held.record.host_key.fingerprint()
            ));
            (device.tenant.clone(), held.record.serial)
        }
        _ => return Err(usage("give a device, or --tenant and --serial")),
    };
    person::change(home, &tenant, &args.signing, |edit| edit.revoke_serial(serial))
}
