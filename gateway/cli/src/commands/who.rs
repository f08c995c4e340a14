//! `belay who`: who can reach a device, how, and which line says so, from the verified policies alone.

use super::{devices, now};
use crate::{
    failure::Outcome,
    home::Home,
    screen::{json, note, say, table},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress,
    policy::{DeviceFacts, Reach, who},
};
use serde_json::{Value, json};
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
    let labels = if args.labels.is_empty() { labels(home, &trusted, &args.device) } else { args.labels.clone() };
    let facts = DeviceFacts { address: args.device.clone(), labels, serial: NO_SERIAL };
    let reaches = who(&policies, &facts);
    let expired = policies.tenant.check_expiry(now()).err().map(|refusal| refusal.to_string());
    if let Some(sentence) = &expired {
        note(&format!("belay: {sentence}"));
    }
    missing_imports(&trusted, &args.device)?;
    if args.json {
        json(&Value::Array(reaches.iter().map(row_json).collect()));
    } else if reaches.is_empty() {
        say(&format!("nobody can reach {}", args.device));
    } else {
        let rows: Vec<Vec<String>> = reaches.iter().map(row).collect();
        say(table(&["PERSON", "MAY", "AS", "WHEN", "LINE"], &rows).trim_end());
    }
    Ok(())
}

/// Labels decide grants by `tag:`; they are in the device's record, of which only the gateway tells here.
fn labels(home: &Home, trusted: &Trusted, device: &DeviceAddress) -> Vec<String> {
    let name = device.to_string();
    let rows =
        devices::find(home, trusted, Some(&name), Some(&device.tenant)).map(|(rows, _)| rows).unwrap_or_default();
    let row = rows.iter().find(|row| row.get("name").and_then(Value::as_str) == Some(&name));
    let Some(row) = row else {
        note("belay: its labels are not known here, so grants by `tag:` are missing: give them with --label");
        return Vec::new();
    };
    let items = row.get("labels").and_then(Value::as_array).cloned().unwrap_or_default();
    let labels: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if !labels.is_empty() {
        note(&format!("belay: with the labels {}, as the gateway tells", crate::screen::escape(&labels.join(", "))));
    }
    labels
}

fn missing_imports(trusted: &Trusted, device: &DeviceAddress) -> Outcome {
    let policies = trusted.policies(&device.tenant)?;
    for tenant in policies.tenant.policy().imports.keys() {
        if !policies.imports.iter().any(|chain| chain.tenant() == tenant) {
            note(&format!("belay: the policy of {tenant} is not here, so its people are missing from this list"));
        }
    }
    Ok(())
}

fn words<T: ToString>(items: &[T]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.iter().map(T::to_string).collect::<Vec<_>>().join(",") }
}

fn row(reach: &Reach) -> Vec<String> {
    let when = if reach.conditions.is_empty() { "always".to_owned() } else { reach.conditions.clone() };
    vec![reach.person.to_string(), words(&reach.actions), words(&reach.accounts), when, reach.line.to_string()]
}

fn row_json(reach: &Reach) -> Value {
    let actions: Vec<String> = reach.actions.iter().map(ToString::to_string).collect();
    json!({
        "person": reach.person, "actions": actions, "accounts": reach.accounts,
        "conditions": reach.conditions, "line": reach.line,
    })
}
