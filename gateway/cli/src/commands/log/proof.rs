//! `belay log proof`: entries of a log, shown when they are proved to be in it with the log's key from the pinned policy.

use super::super::desk::{case, proofs::Proofs};
use crate::{
    failure::Outcome,
    home::{Home, write_whole},
    screen::{json, say},
    trusted::Trusted,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::TenantName;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// `belay log proof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tenant
    tenant: TenantName,
    /// An entry's number, an event's id, or a session or job: all entries that name it
    #[arg(value_name = "ENTRY|EVENT|SESSION|JOB")]
    which: String,
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
    let proofs = case::proofs(home, &Trusted::load(home)?, &args.tenant, &args.which)?;
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
