//! `belay devices`: the devices a person has any grant on, as the gateways tell.

use super::{ask_all, rows_table};
use crate::{
    failure::Outcome,
    home::Home,
    screen::{json, say},
    trusted::Trusted,
};
use belay_certs::TenantName;
use serde_json::Value;

/// `belay devices`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only devices whose name or label holds this text
    text: Option<String>,
    /// Only devices of this tenant
    #[arg(long)]
    tenant: Option<TenantName>,
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
    let (rows, outcome) = find(home, &trusted, args.text.as_deref(), args.tenant.as_ref())?;
    if args.json {
        json(&Value::Array(rows));
    } else if !rows.is_empty() {
        say(rows_table(&["NAME", "STATE", "SINCE", "LABELS", "VERSION"], &rows).trim_end());
    }
    outcome
}

/// The rows of `devices`, from every gateway.
///
/// # Errors
/// The text cannot be sent.
pub fn find(
    home: &Home,
    trusted: &Trusted,
    text: Option<&str>,
    tenant: Option<&TenantName>,
) -> Outcome<(Vec<Value>, Outcome)> {
    let mut words = vec!["devices"];
    words.extend(text);
    if let Some(tenant) = tenant {
        words.extend(["--tenant", tenant.as_str()]);
    }
    words.push("--json");
    ask_all(home, trusted, &words)
}
