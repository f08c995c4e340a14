//! `belay jobs`, `belay job`, `belay cancel`: what became of orders, as the gateways tell.

use super::{ask_all, cell, rows_table};
use crate::{
    failure::{Failure, Outcome, refused},
    gateway::{self, Gateway},
    home::Home,
    runs::{
        follow::{self, Followed, Outputs},
        job::{Job, Run, State},
        output,
        progress::{Screen, standing},
        readers::Keys,
    },
    screen::{json, note, say, table},
    trusted::Trusted,
};
use belay_certs::{DeviceAddress, DeviceName, Id, TenantName};
use serde_json::Value;
use std::path::PathBuf;

/// `belay jobs`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only jobs of this tenant
    tenant: Option<TenantName>,
    /// At most so many, the newest first
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// `belay job`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The job's id
    id: Id,
    /// Watch it until it is over; the exit status is that of `belay run`
    #[arg(long, conflicts_with_all = ["device", "csv"])]
    follow: bool,
    /// Only this device of it: web1
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<DeviceName>,
    /// Print what it printed; with --follow what every device prints, as it comes
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    output: bool,
    /// The auditor's age identity, where only the auditors read what runs print
    /// [default: auditor.age among the tenant's keys of the home]
    #[arg(long, value_name = "FILE", requires = "output")]
    age_identity: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// `belay cancel`.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    /// The job's id
    id: Id,
}

/// `web1` or `web1.acme`.
///
/// # Errors
/// It is neither.
pub fn device(text: &str) -> Result<DeviceName, String> {
    let name = text.parse::<DeviceAddress>().map(|address| address.device).or_else(|_| text.parse());
    name.map_err(|invalid| invalid.to_string())
}

/// Lists them.
///
/// # Errors
/// A gateway cannot be asked.
pub fn list(home: &Home, args: &List) -> Outcome {
    let trusted = Trusted::load(home)?;
    let mut words = vec!["jobs".to_owned()];
    if let Some(tenant) = &args.tenant {
        words.extend(["--tenant".to_owned(), tenant.to_string()]);
    }
    if let Some(limit) = args.limit {
        words.extend(["--limit".to_owned(), limit.to_string()]);
    }
    words.push("--json".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut rows, outcome) = ask_all(home, &trusted, &words)?;
    if args.json {
        json(&Value::Array(rows));
        return outcome;
    }
    for row in &mut rows {
        let tally = tally(row);
        if let Value::Object(row) = row {
            row.insert("counts".to_owned(), Value::String(tally));
        }
    }
    let columns = ["JOB", "TENANT", "RUNBOOK", "PERSON", "DEVICES", "SUBMITTED", "NOT_AFTER", "PHASE", "COUNTS"];
    if args.csv {
        let fields = columns.map(str::to_ascii_lowercase);
        let cells = rows.iter().map(|row| fields.iter().map(|field| cell(row, field)).collect());
        say(csv(&fields, cells).trim_end());
    } else if !rows.is_empty() {
        say(rows_table(&columns, &rows).trim_end());
    }
    outcome
}

/// `3 succeeded, 1 failed` of a row.
fn tally(row: &Value) -> String {
    let counts = row.get("counts").and_then(Value::as_object).into_iter().flatten();
    counts.map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}

/// Shows one.
///
/// # Errors
/// No gateway shows such a job; with --follow also how it ended when not all succeeded.
pub fn show(home: &Home, args: &Show) -> Outcome {
    if args.output && !args.follow && args.device.is_none() {
        return Err(crate::failure::usage("whose output? give --device DEVICE, or --follow for all"));
    }
    let trusted = Trusted::load(home)?;
    let (gateway, job) = find(home, &trusted, &args.id)?;
    let keys = Keys::of(home, args.age_identity.clone());
    if args.follow {
        let screen = if args.json { Screen::Json } else { Screen::for_people() };
        let outputs = if args.output { Outputs::Shown(keys) } else { Outputs::Left };
        return follow::follow(&[Followed { gateway, id: args.id }], screen, &outputs)?.verdict();
    }
    if let (Some(device), true) = (&args.device, args.output) {
        return print(&gateway, &job, device, &keys);
    }
    let runs: Vec<&Run> =
        job.runs.values().filter(|run| args.device.as_ref().is_none_or(|device| *device == run.device)).collect();
    if let (Some(device), []) = (&args.device, runs.as_slice()) {
        return Err(no_device(&job, device));
    }
    if args.json {
        json(&of_device(&job.raw, args.device.as_ref()));
    } else if args.csv {
        say(csv(&COLUMNS.map(str::to_owned), runs.iter().map(|run| cells(run))).trim_end());
    } else {
        page(&job, &runs);
    }
    Ok(())
}

/// The columns of the table of a job for a program.
const COLUMNS: [&str; 11] = [
    "device",
    "serial",
    "state",
    "exit",
    "signal",
    "reason",
    "started",
    "ended",
    "duration_ms",
    "output",
    "output_bytes",
];

fn cells(run: &Run) -> Vec<String> {
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map(T::to_string).unwrap_or_default()
    }
    let signal = run.signal.as_ref().filter(|signal| !signal.is_null());
    vec![
        run.device.to_string(),
        run.serial.to_string(),
        run.state.to_string(),
        text(run.exit.as_ref()),
        signal.map(|signal| signal.as_str().map_or_else(|| signal.to_string(), str::to_owned)).unwrap_or_default(),
        text(run.reason.as_ref()),
        text(run.started.as_ref()),
        text(run.ended.as_ref()),
        text(run.duration_ms.as_ref()),
        text(run.output.as_ref()),
        text(run.output_bytes.as_ref()),
    ]
}

/// Lines of RFC 4180 but for their ends. What a spreadsheet would compute is text: it gets a quote in front.
fn csv(heading: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        cells.join(",") + "\n"
    };
    let head = line(heading);
    rows.fold(head, |text, row| text + &line(&row))
}

fn quoted(cell: &str) -> String {
    let cell = crate::screen::escape(cell);
    let computes = cell.starts_with(['=', '+', '@', '\t']) || (cell.starts_with('-') && cell.parse::<f64>().is_err());
    match (computes, cell.contains([',', '"', '\n', '\r'])) {
        (false, false) => cell.into_owned(),
        (computes, _) => format!("\"{}{}\"", if computes { "'" } else { "" }, cell.replace('"', "\"\"")),
    }
}

/// The job's JSON, with only one device's part if one is named.
fn of_device(raw: &Value, device: Option<&DeviceName>) -> Value {
    let mut raw = raw.clone();
    if let (Some(device), Some(Value::Array(runs))) = (device, raw.get_mut("runs")) {
        runs.retain(|run| run.get("device").and_then(Value::as_str) == Some(device.as_str()));
    }
    raw
}

fn page(job: &Job, runs: &[&Run]) {
    let head = &job.head;
    say(&format!("{}: {} by {}: {}", head.tenant, head.runbook, head.person, standing(job)));
    say(&format!("from {} to {}{}", head.not_before, head.not_after, if job.over { "; over" } else { "" }));
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let cells = cells(run);
            let pick = |column: &str| {
                let cell = COLUMNS.iter().zip(&cells).find(|(name, _)| **name == column).map(|(_, cell)| cell.clone());
                cell.filter(|cell| !cell.is_empty()).unwrap_or_else(|| "-".to_owned())
            };
            ["device", "state", "exit", "started", "ended", "output_bytes", "reason"].map(pick).to_vec()
        })
        .collect();
    say(table(&["DEVICE", "STATE", "EXIT", "STARTED", "ENDED", "OUTPUT", "REASON"], &rows).trim_end());
}

fn print(gateway: &Gateway<'_>, job: &Job, device: &DeviceName, keys: &Keys<'_>) -> Outcome {
    let run = job.runs.get(device).ok_or_else(|| no_device(job, device))?;
    let address = DeviceAddress { device: device.clone(), tenant: job.head.tenant.clone() };
    let printed = output::fetch(gateway, &job.id, (&address, run), keys)?;
    printed.lines.iter().for_each(|line| say(line));
    if let Some(warning) = printed.warning(&address) {
        note(&format!("belay: {warning}"));
    }
    if !matches!(run.state, State::Ended(_)) {
        note("this is not all: it is not over there");
    }
    Ok(())
}

/// What is said of a device that the job has not.
pub fn no_device(job: &Job, device: &DeviceName) -> Failure {
    refused(format!("the job {} is not for {device}: `belay job {0}` lists its devices", job.id))
}

/// The job, of whichever gateway shows it.
///
/// # Errors
/// None does: what the last of them said.
pub fn find<'h>(home: &'h Home, trusted: &Trusted, id: &Id) -> Outcome<(Gateway<'h>, Job)> {
    let gateways = trusted.gateways(home)?;
    let text = id.to_string();
    gateway::first(gateway::at_once(&gateways, |gateway| {
        Job::read(&gateway.run(&["job", &text, "--json"], &[])?, id).map(|job| (gateway.clone(), job))
    }))
}

/// Calls one off.
///
/// # Errors
/// The gateway refuses, or none shows such a job.
pub fn cancel(home: &Home, args: &Cancel) -> Outcome {
    let trusted = Trusted::load(home)?;
    let mut gateways = trusted.gateways(home)?;
    // The only gateway is not asked first: whoever cancels is in a hurry.
    let gateway = match (gateways.pop(), gateways.is_empty()) {
        (Some(only), true) => only,
        _ => find(home, &trusted, &args.id)?.0,
    };
    say(&follow::cancel(&gateway, &args.id)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_quoted_where_it_must_be_and_computes_nothing() {
        let rows = [vec!["web1".to_owned(), "a,\"b\"".to_owned()], vec!["=1+1".to_owned(), "-7".to_owned()]];
        let text = csv(&["device".to_owned(), "reason".to_owned()], rows.into_iter());
        assert_eq!(text, "device,reason\nweb1,\"a,\"\"b\"\"\"\n\"'=1+1\",-7\n");
    }

    #[test]
    fn a_device_of_a_job_is_named_with_or_without_its_tenant() {
        assert_eq!(device("web1").unwrap(), device("web1.acme").unwrap());
        assert!(device("web 1").is_err());
    }

    #[test]
    fn the_counts_of_a_row_are_words() {
        let row = serde_json::json!({"counts": {"failed": 1, "succeeded": 3}});
        assert_eq!(tally(&row), "1 failed, 3 succeeded");
    }
}
