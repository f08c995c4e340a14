//! `belay review`: the auditors' work list, as the gateways keep it. Who said what is in the log, which `belay log verify` proves.

use super::{ask_all, rows_table, stops::first_of};
use crate::{
    failure::Outcome,
    gateway::quoted,
    home::Home,
    screen::{json, say},
    trusted::Trusted,
};
use belay_certs::{DeviceAddress, Id, TenantName};
use serde_json::Value;

/// `belay review`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    given: Option<Given>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<TenantName>,
    /// What stands so
    #[arg(long, value_enum, default_value_t = State::Waiting)]
    state: State,
    /// At most so many, the oldest first
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where something on the list stands.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum State {
    /// Nobody has looked
    Waiting,
    /// The newest opinion approves it
    Approved,
    /// The newest opinion flags it
    Flagged,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Flagged => "flagged",
        }
    }
}

/// What somebody says.
#[derive(Debug, clap::Subcommand)]
enum Given {
    /// Say that a session or job is as it should be
    Approve(Opinion),
    /// Say that somebody must look further
    Flag(Opinion),
}

/// One opinion.
#[derive(Debug, clap::Args)]
struct Opinion {
    /// The session or job
    id: Id,
    /// What you found
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// The session's device, where two devices gave one id
    #[arg(long)]
    device: Option<DeviceAddress>,
}

/// Lists what waits, or says what somebody found.
///
/// # Errors
/// A gateway cannot be asked, or refuses.
pub fn run(home: &Home, args: &Args) -> Outcome {
    match &args.given {
        Some(Given::Approve(opinion)) => give(home, "approve", opinion),
        Some(Given::Flag(opinion)) => give(home, "flag", opinion),
        None => list(home, args),
    }
}

fn give(home: &Home, word: &str, opinion: &Opinion) -> Outcome {
    let (id, note) = (opinion.id.to_string(), quoted(&opinion.note)?);
    let device = opinion.device.as_ref().map(ToString::to_string);
    let mut words = vec!["review", word, id.as_str(), "--note", note.as_str()];
    words.extend(device.iter().flat_map(|device| ["--device", device.as_str()]));
    say(&first_of(home, &words)?);
    Ok(())
}

fn list(home: &Home, args: &Args) -> Outcome {
    let limit = args.limit.map(|limit| limit.to_string());
    let mut words = vec!["review", "--json", "--state", args.state.word()];
    words.extend(args.tenant.iter().flat_map(|tenant| ["--tenant", tenant.as_str()]));
    words.extend(limit.iter().flat_map(|limit| ["--limit", limit.as_str()]));
    let (mut rows, outcome) = ask_all(home, &Trusted::load(home)?, &words)?;
    if args.json {
        json(&Value::Array(rows));
    } else if !rows.is_empty() {
        rows.iter_mut().for_each(shorten);
        let columns = ["SINCE", "KIND", "SUBJECT", "DEVICE", "PERSON", "OVER", "STATE", "BY", "NOTE"];
        say(rows_table(&columns, &rows).trim_end());
    }
    outcome
}

/// The newest opinion as cells of its row; of what waits: why it does.
fn shorten(row: &mut Value) {
    let newest = row.get("reviews").and_then(Value::as_array).and_then(|given| given.last()).cloned();
    let cell = |field: &str| newest.as_ref().and_then(|given| given.get(field)).cloned();
    let (by, note) = (cell("by"), cell("note").or_else(|| row.get("why").cloned()));
    if let Value::Object(row) = row {
        row.extend(by.map(|by| ("by".to_owned(), by)));
        row.extend(note.map(|note| ("note".to_owned(), note)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_newest_opinion_or_why_it_waits() {
        let mut waits = serde_json::json!({"why": "line 3", "reviews": []});
        shorten(&mut waits);
        assert_eq!((waits.get("by"), &waits["note"]), (None, &"line 3".into()));
        let given = [("ann", "odd"), ("bob", "fine")].map(|(by, note)| serde_json::json!({"by": by, "note": note}));
        let mut looked = serde_json::json!({"why": "line 3", "reviews": given});
        shorten(&mut looked);
        assert_eq!((&looked["by"], &looked["note"]), (&"bob".into(), &"fine".into()));
    }
}
