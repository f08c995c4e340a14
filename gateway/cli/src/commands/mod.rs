//! The commands, one file each, and what several of them need: the time and questions to every gateway.

mod approve;
mod config;
pub mod desk;
mod device;
mod devices;
mod draft;
mod evidence;
mod hold;
mod init;
mod jobs;
mod log;
mod pending;
mod person;
mod policy;
mod provider;
mod recording;
mod renew;
mod replay;
mod retry;
mod review;
mod run;
mod runbook;
mod search;
mod sessions;
mod ssh;
mod stops;
mod token;
mod trust;
mod who;

use crate::{failure::Outcome, gateway, home::Home, screen::note, trusted::Trusted};
use belay_certs::Timestamp;
use clap::Subcommand;
use serde_json::Value;

/// What `belay` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a tenant's keys and sign version 0 of its policy
    Init(init::Args),
    /// Pin the hash of a version 0 and verify everything from there
    Trust(trust::Args),
    /// Write known_hosts and the ssh configuration from the verified policies
    Config(config::Args),
    /// Edit, renew, check, sign, push and show policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Add, change and remove people of a policy
    #[command(subcommand)]
    Person(person::Command),
    /// Let a provider's people be named in a customer's grants
    Import(provider::Import),
    /// Put a tenant on a provider's list of those it serves, so that its laptops find it
    Serve(provider::Serve),
    /// Make a token with which machines may ask to join
    Token(token::Args),
    /// List the machines that ask to join, each checked
    Pending(pending::Args),
    /// Certify and admit machines that ask to join
    Approve(approve::Args),
    /// Rename, relabel, recertify and revoke devices
    #[command(subcommand)]
    Device(device::Command),
    /// List the devices you have a grant on
    Devices(devices::Args),
    /// Open ssh to the only device that matches
    Ssh(ssh::Args),
    /// Who can reach a device, how, and which line says so
    Who(who::Args),
    /// Check, sign, push, list and show runbooks
    #[command(subcommand)]
    Runbook(runbook::Command),
    /// Run a runbook on devices
    Run(run::Args),
    /// List jobs
    Jobs(jobs::List),
    /// Show what became of a job, device by device
    Job(jobs::Show),
    /// Call a job off: what has not begun never begins, what runs is ended
    Cancel(jobs::Cancel),
    /// Order a job again for its devices that failed or never began
    Retry(retry::Args),
    /// List sessions
    Sessions(sessions::Args),
    /// Write a session's recording to a file, verified and decrypted
    Recording(recording::Args),
    /// Find what sessions showed
    Search(search::Args),
    /// Pack all that proves a session, or check such a pack without any gateway
    Evidence(evidence::Args),
    /// Replay a session or a run in this terminal, harmlessly
    Replay(replay::Args),
    /// Keep a recording whatever the policy says
    Hold(hold::Args),
    /// Let a recording go that is held
    Release(hold::Args),
    /// List what waits for a review, and say what you found
    Review(review::Args),
    /// End a session, with the connection that carries it
    Kill(stops::Kill),
    /// Let nothing start for a tenant, on a device or by a person, and end what goes on
    Freeze(stops::Freeze),
    /// Lift a freeze
    Thaw(stops::Thaw),
    /// List what is frozen
    Freezes(stops::List),
    /// Verify a tenant's log
    #[command(subcommand)]
    Log(log::Command),
}

impl Command {
    /// Does it. `identity_named`: the person gave `--identity`.
    ///
    /// # Errors
    /// What was refused, and why.
    pub fn run(self, home: &Home, identity_named: bool) -> Outcome {
        match self {
            Self::Init(args) => init::run(home, args),
            Self::Trust(args) => trust::run(home, &args),
            Self::Config(args) => config::run(home, &args, identity_named),
            Self::Policy(command) => policy::run(home, command),
            Self::Person(command) => person::run(home, command),
            Self::Import(args) => provider::import(home, &args),
            Self::Serve(args) => provider::serve(home, &args),
            Self::Token(args) => token::run(home, &args),
            Self::Pending(args) => pending::run(home, &args),
            Self::Approve(args) => approve::run(home, &args),
            Self::Device(command) => device::run(home, command),
            Self::Devices(args) => devices::run(home, &args),
            Self::Ssh(args) => ssh::run(home, &args),
            Self::Who(args) => who::run(home, &args),
            Self::Runbook(command) => runbook::run(home, command),
            Self::Run(args) => run::run(home, &args),
            Self::Jobs(args) => jobs::list(home, &args),
            Self::Job(args) => jobs::show(home, &args),
            Self::Cancel(args) => jobs::cancel(home, &args),
            Self::Retry(args) => retry::run(home, &args),
            Self::Sessions(args) => sessions::run(home, &args),
            Self::Recording(args) => recording::run(home, &args),
            Self::Search(args) => search::run(home, &args),
            Self::Evidence(args) => evidence::run(home, &args),
            Self::Replay(args) => replay::run(home, &args),
            Self::Hold(args) => hold::hold(home, &args),
            Self::Release(args) => hold::release(home, &args),
            Self::Review(args) => review::run(home, &args),
            Self::Kill(args) => stops::kill(home, &args),
            Self::Freeze(args) => stops::freeze(home, &args),
            Self::Thaw(args) => stops::thaw(home, &args),
            Self::Freezes(args) => stops::list(home, &args),
            Self::Log(command) => log::run(home, command),
        }
    }
}

/// The laptop's clock.
fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// The rows that every gateway gives to one command. The failure of one is given back beside the rows of the others, which
/// are still worth showing.
fn ask_all(home: &Home, trusted: &Trusted, words: &[&str]) -> Outcome<(Vec<Value>, Outcome)> {
    let mut rows = Vec::new();
    let mut outcome = Ok(());
    let gateways = trusted.gateways(home)?;
    for answer in gateway::at_once(&gateways, |gateway| gateway.ask::<Vec<Value>>(words)) {
        match answer {
            Ok(found) => rows.extend(found),
            Err(failure) => outcome = Err(failure),
        }
    }
    if outcome.is_err() && !rows.is_empty() {
        note("belay: a gateway did not answer, so this list is not complete");
    }
    Ok((rows, outcome))
}

/// A field of a gateway's row as a table cell: text as it is, a list with commas, nothing as `-`.
fn cell(row: &Value, field: &str) -> String {
    match row.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        Some(other) => other.to_string(),
    }
}

/// The table of rows under a heading; the fields are named as the columns, in lower case.
fn rows_table(columns: &[&str], rows: &[Value]) -> String {
    let lower: Vec<String> = columns.iter().map(|column| column.to_ascii_lowercase()).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(|row| lower.iter().map(|field| cell(row, field)).collect()).collect();
    crate::screen::table(columns, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_any_shape_becomes_cells() {
        let row = serde_json::json!({"name": "web1.acme", "labels": ["a", "b"], "since": null, "exit": 3});
        let cells: Vec<String> =
            ["name", "labels", "since", "exit", "missing"].iter().map(|field| cell(&row, field)).collect();
        assert_eq!(cells, ["web1.acme", "a,b", "-", "3", "-"]);
        assert_eq!(rows_table(&["NAME", "EXIT"], &[row]), "NAME       EXIT\nweb1.acme  3\n");
    }
}
