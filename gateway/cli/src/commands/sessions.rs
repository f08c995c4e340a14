//! `belay sessions`: who had which session on which device, as the gateways tell. `belay log verify` proves it.

use super::{ask_all, rows_table};
use crate::{
    failure::Outcome,
    home::Home,
    screen::{json, say},
    trusted::Trusted,
};
use belay_certs::{DeviceAddress, TenantName};
use serde_json::Value;

/// `belay sessions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only sessions of this tenant
    #[arg(long)]
    tenant: Option<TenantName>,
    /// Only sessions on this device
    #[arg(long)]
    device: Option<DeviceAddress>,
    /// At most so many, the newest first
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists them.
///
/// # Errors
/// A gateway cannot be asked.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let trusted = Trusted::load(home)?;
    let mut words = vec!["sessions".to_owned()];
    if let Some(tenant) = &args.tenant {
        words.extend(["--tenant".to_owned(), tenant.to_string()]);
    }
    if let Some(device) = &args.device {
        words.extend(["--device".to_owned(), device.to_string()]);
    }
    if let Some(limit) = args.limit {
        words.extend(["--limit".to_owned(), limit.to_string()]);
    }
    words.push("--json".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (rows, outcome) = ask_all(home, &trusted, &words)?;
    if args.json {
        json(&Value::Array(rows));
    } else if !rows.is_empty() {
        let columns = ["STARTED", "ENDED", "DEVICE", "PERSON", "ACCOUNT", "KIND", "EXIT", "COMMAND"];
        say(rows_table(&columns, &rows).trim_end());
    }
    outcome
}
