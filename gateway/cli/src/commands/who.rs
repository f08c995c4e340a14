//! `belay who`: who can reach a device, how, and which line says so; and why the other lines do not count for it. From the
//! verified policies alone.

mod page;

use super::{devices, now};
use crate::{
    failure::Outcome,
    home::Home,
    screen::{document, json, note},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress,
    policy::{DeviceFacts, explain},
};
use page::{Labels, Page};
use serde_json::Value;
use std::collections::BTreeSet;

/// The serial of a device whose record is not asked for: no policy revokes it, for records start at 1.
const NO_SERIAL: u64 = 0;

/// `belay who`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device: web1.acme
    device: DeviceAddress,
    /// A label of it, instead of asking the gateway; may be given again
    #[arg(long = "label", value_name = "L", value_delimiter = ',')]
    labels: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Says it.
///
/// # Errors
/// The tenant is not trusted here.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([args.device.tenant.clone()]))?;
    let policies = trusted.policies(&args.device.tenant)?;
    let labels = match args.labels.as_slice() {
        [] => labels(home, &trusted, &args.device),
        given => Labels::Given(given.to_vec()),
    };
    let device = DeviceFacts { address: args.device.clone(), labels: labels.all().to_vec(), serial: NO_SERIAL };
    let page =
        Page { policies: &policies, device: &device, labels: &labels, now: now(), lines: explain(&policies, &device)? };
    for warning in page.warnings() {
        note(&format!("belay: {warning}"));
    }
    if args.json {
        json(&page.json());
    } else {
        document(&page.text());
    }
    Ok(())
}

/// Labels decide grants by `tag:`; they are in the device's record, of which only the gateway tells here.
fn labels(home: &Home, trusted: &Trusted, device: &DeviceAddress) -> Labels {
    let name = device.to_string();
    let rows =
        devices::find(home, trusted, Some(&name), Some(&device.tenant)).map(|(rows, _)| rows).unwrap_or_default();
    let Some(row) = rows.iter().find(|row| row.get("name").and_then(Value::as_str) == Some(&name)) else {
        return Labels::Unknown;
    };
    let items = row.get("labels").and_then(Value::as_array).cloned().unwrap_or_default();
    Labels::Told(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
