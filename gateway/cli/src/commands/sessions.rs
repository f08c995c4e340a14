//! `belay sessions`: who had which session on which device, as the gateways tell. `belay log verify` proves it.

use super::{ask_all, cell, rows_table};
use crate::{
    failure::Outcome,
    home::Home,
    screen::{json, note, say},
    trusted::Trusted,
};
use belay_certs::{DeviceAddress, PersonRef, TenantName, Timestamp};
use serde_json::Value;
use std::cmp::Reverse;

/// Sessions shown when nobody says how many.
const SHOWN_DEFAULT: usize = 100;
/// Sessions that a gateway lists at once.
pub const LISTED_MAX: usize = 10_000;

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
    /// Only sessions begun before: as --since
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// Only sessions of this kind
    #[arg(long, value_parser = ["shell", "exec", "sftp", "forward"])]
    kind: Option<String>,
    /// At most so many, up to 10000, the newest first
    #[arg(long, value_name = "N", default_value_t = SHOWN_DEFAULT)]
    limit: usize,
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
    let limit = args.limit.min(LISTED_MAX);
    let mut words = vec!["sessions".to_owned()];
    let options = [
        ("--tenant", args.tenant.as_ref().map(ToString::to_string)),
        ("--device", args.device.as_ref().map(ToString::to_string)),
        ("--person", args.person.as_ref().map(ToString::to_string)),
        ("--since", args.since.clone()),
        ("--until", args.until.clone()),
        ("--kind", args.kind.clone()),
        ("--limit", Some(limit.to_string())),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            words.extend([option.to_owned(), value]);
        }
    }
    words.push("--json".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut rows, outcome) = ask_all(home, &trusted, &words)?;
    // Of several gateways' lists the newest count, so that all of them go on at one moment.
    rows.sort_by_cached_key(|row| Reverse(cell(row, "started").parse::<Timestamp>().ok()));
    let more = rows.len() >= limit;
    rows.truncate(limit);
    if args.json {
        json(&Value::Array(rows));
    } else if !rows.is_empty() {
        // Of one that nobody ended there is no moment to show.
        for row in rows.iter_mut().filter(|row| row["state"] == "unterminated") {
            row["ended"] = row["state"].clone();
        }
        for row in &mut rows {
            row["session"] = row["id"].take();
            row["recording"] = row.pointer("/recording/state").cloned().unwrap_or_default();
        }
        let columns =
            ["SESSION", "STARTED", "ENDED", "DEVICE", "PERSON", "ACCOUNT", "KIND", "EXIT", "RECORDING", "COMMAND"];
        say(rows_table(&columns, &rows).trim_end());
        if let Some(last) = rows.last().filter(|_| more) {
            let last = cell(last, "started");
            note(&format!(
                "belay: perhaps there are older ones: go on with --until {last}, or name more with --limit N"
            ));
        }
    }
    outcome
}
