//! `belay log proof`: entries of a log, shown when they are proved to be in it with the log's key from the pinned policy.

use super::super::desk::{
    case,
    proofs::{Answer, Proofs, Proven},
};
use crate::{
    failure::{Outcome, refused, usage},
    gateway,
    home::{Home, write_whole},
    screen::{json, say},
    trusted::Trusted,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Digits of an id; an entry's number has fewer, for no log is so long.
const ID_DIGITS: usize = 32;

/// `belay log proof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An event's id, or a session or job: all entries that name it; or a tenant and its entry's number
    #[arg(value_name = "[TENANT] ENTRY|EVENT|SESSION|JOB", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// Also write each entry as N.json and its proof as N.proof (c2sp.org/tlog-proof) into this directory
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows them.
///
/// # Errors
/// The gateway does not give them, or one does not verify.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let trusted = Trusted::load(home)?;
    let (proofs, which) = match args.words.as_slice() {
        [tenant, which] => (case::proofs(home, &trusted, &tenant.parse()?, which)?, which),
        [which] => (anywhere(home, &trusted, which)?, which),
        _ => return Err(usage("which entry? give an event's id, a session or a job")),
    };
    about(&proofs, which)?;
    if let Some(dir) = &args.output {
        write(dir, &proofs)?;
    }
    if args.json {
        json(&value(&proofs));
        return Ok(());
    }
    for proven in &proofs.entries {
        say(&format!(
            "entry {} ({} at {}): in the log, as this head proves",
            proven.index, proven.entry.kind, proven.entry.at
        ));
        say(&proven.text);
    }
    say(proofs.checkpoint.trim_end());
    Ok(())
}

/// Asks each gateway, which looks in every log that this person audits.
fn anywhere(home: &Home, trusted: &Trusted, which: &str) -> Outcome<Proofs> {
    if which.len() < ID_DIGITS && which.chars().all(|digit| digit.is_ascii_digit()) {
        return Err(usage(format!("entry {which} of which log? write `belay log proof TENANT {which}`")));
    }
    let gateways = trusted.gateways(home)?;
    gateway::first(gateway::at_once(&gateways, |gateway| {
        let answer: Answer = gateway.ask(&["log", "proof", which])?;
        let policy = trusted.tenant(answer.tenant())?.policy();
        let tenant = policy.tenant.clone();
        let log = policy.gateway.logs.last().ok_or_else(|| refused(format!("the policy of {tenant} names no log")))?;
        Proofs::check(answer, &tenant, log)
    }))
}

/// Whether these entries are what was asked for: each is the one of this number, or has this id somewhere.
fn about(proofs: &Proofs, which: &str) -> Outcome {
    let is_it = |proven: &Proven| match which.len() < ID_DIGITS {
        true => proven.index.to_string() == which,
        false => proven.text.contains(which),
    };
    match proofs.entries.iter().find(|proven| !is_it(proven)) {
        Some(other) => Err(refused(format!("the gateway proves entry {} where {which} was asked for", other.index))),
        None if proofs.entries.is_empty() => Err(refused(format!("the gateway proves nothing about {which}"))),
        None => Ok(()),
    }
}

fn write(dir: &Path, proofs: &Proofs) -> Outcome {
    for proven in &proofs.entries {
        write_whole(&dir.join(format!("{}.json", proven.index)), proven.text.as_bytes(), 0o644)?;
        let proof = proven.to_file(&proofs.checkpoint);
        write_whole(&dir.join(format!("{}.proof", proven.index)), proof.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn value(proofs: &Proofs) -> Value {
    let entries: Vec<Value> = proofs
        .entries
        .iter()
        .map(|proven| {
            let path: Vec<String> = proven.inclusion.iter().map(|hash| STANDARD.encode(hash)).collect();
            json!({"index": proven.index, "entry": proven.text, "inclusion": path})
        })
        .collect();
    json!({"checkpoint": proofs.checkpoint, "proofs": entries})
}
