//! `belay sessions`: who had which session on which device, as the gateways tell. `belay log verify` proves it.

use super::{ask_all, rows_table};
use crate::{
    failure::Outcome,
    home::Home,
    screen::{json, say},
    trusted::Trusted,
};
use belay_certs::{DeviceAddress, PersonRef, TenantName};
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
    /// Only sessions of this person
    #[arg(long)]
    person: Option<PersonRef>,
    /// Only sessions begun since: 24h, 7d, or a moment as 2026-11-21T09:00:00Z
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Only sessions of this kind
    #[arg(long, value_parser = ["shell", "exec", "sftp", "forward"])]
    kind: Option<String>,
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
    let options = [
        ("--tenant", args.tenant.as_ref().map(ToString::to_string)),
        ("--device", args.device.as_ref().map(ToString::to_string)),
        ("--person", args.person.as_ref().map(ToString::to_string)),
        ("--since", args.since.clone()),
        ("--kind", args.kind.clone()),
        ("--limit", args.limit.map(|limit| limit.to_string())),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            words.extend([option.to_owned(), value]);
        }
    }
    words.push("--json".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut rows, outcome) = ask_all(home, &trusted, &words)?;
    if args.json {
        json(&Value::Array(rows));
    } else if !rows.is_empty() {
        // Of one that nobody ended there is no moment to show.
        for row in rows.iter_mut().filter(|row| row["state"] == "unterminated") {
            row["ended"] = row["state"].clone();
        }
        let columns = ["STARTED", "ENDED", "DEVICE", "PERSON", "ACCOUNT", "KIND", "EXIT", "COMMAND"];
        say(rows_table(&columns, &rows).trim_end());
    }
    outcome
}
