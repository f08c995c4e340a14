//! `belay log verify`: proves that a tenant's log is whole, with the key from the pinned policy and never from the export.

mod archive;

use crate::{
    failure::{Outcome, While, refused, usage},
    gateway::{Gateway, Route},
    home::{self, Home, write_whole},
    screen::{note, say},
    trusted::Trusted,
};
use archive::Archive;
use belay_certs::{
    TenantName,
    policy::LogIdentity,
    tlog::{Checkpoint, NoteVerifier, Report, Source, check_log},
};
use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

/// Largest export that is fetched, in bytes: a hundred million entries with their objects.
const EXPORT_BYTES_MAX: u64 = 1 << 40;

/// `belay log …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Verify every entry, tile, statement and object of a tenant's log, and that it continues what was verified before
    Verify(Verify),
}

/// `belay log verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The tenant
    tenant: TenantName,
    /// An export (tar) instead of fetching one from the gateway
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// The log's key, NAME+HASH+KEY, instead of the pinned policy's
    #[arg(long, value_name = "KEY")]
    vkey: Option<String>,
    /// An older checkpoint that the log must continue [default: the last one verified here]
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Also keep the verified checkpoint in this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Does it.
///
/// # Errors
/// What was refused, and why.
pub fn run(home: &Home, command: Command) -> Outcome {
    match command {
        Command::Verify(args) => verify(home, &args),
    }
}

fn verify(home: &Home, args: &Verify) -> Outcome {
    let log = identity(home, args)?;
    let since = since(home, args, &log)?;
    let file = match &args.export {
        Some(path) => File::open(path).during(|| format!("cannot read {}", path.display()))?,
        None => fetch(home, &args.tenant)?,
    };
    let archive = Archive::open(file)?;
    let report = check_log(&archive, &log.origin, &log.vkey, since.as_ref(), &mut |_, _| {})
        .map_err(|invalid| invalid.of(format!("the log of {} does not verify", args.tenant)))?;
    let checkpoint = archive.read("checkpoint")?.ok_or_else(|| refused("the export has no checkpoint"))?;
    // What is kept only moves along the log that the policy names, from the checkpoint that was kept before.
    if args.vkey.is_none() && args.since.is_none() {
        write_whole(&home.checkpoint(&args.tenant), &checkpoint, 0o600)?;
    }
    if let Some(path) = &args.save {
        write_whole(path, &checkpoint, 0o644)?;
    }
    tell(&log, &report, since.as_ref());
    Ok(())
}

/// The log's name and key: given by hand, or the last one in the verified policy.
fn identity(home: &Home, args: &Verify) -> Outcome<LogIdentity> {
    if let Some(vkey) = &args.vkey {
        let origin = NoteVerifier::parse(vkey)?.name().to_owned();
        return Ok(LogIdentity { origin, vkey: vkey.clone() });
    }
    let trusted = match &args.export {
        Some(_) => Trusted::load(home)?,
        None => Trusted::refresh_only(home, &BTreeSet::from([args.tenant.clone()]))?,
    };
    let logs = &trusted.tenant(&args.tenant)?.policy().gateway.logs;
    logs.last().cloned().ok_or_else(|| refused(format!("the policy of {} names no log: give --vkey", args.tenant)))
}

/// What the log must continue. A kept checkpoint of another origin is no measure for a log that the policy names anew.
fn since(home: &Home, args: &Verify, log: &LogIdentity) -> Outcome<Option<Checkpoint>> {
    if let Some(path) = &args.since {
        return open(path, log).map(Some);
    }
    let kept = home.checkpoint(&args.tenant);
    if !kept.exists() {
        note("belay: no older checkpoint is kept here, so entries removed before today would not be noticed");
        return Ok(None);
    }
    let note_text = home::read_text(&kept)?;
    if note_text.lines().next() != Some(log.origin.as_str()) {
        note(&format!("belay: the checkpoint kept here is of another log than {}: compared with nothing", log.origin));
        return Ok(None);
    }
    open(&kept, log).map(Some)
}

fn open(path: &Path, log: &LogIdentity) -> Outcome<Checkpoint> {
    Checkpoint::open(&home::read(path)?, &log.origin, &log.vkey).map_err(|invalid| invalid.of(path.display()).into())
}

/// The export of the tenant's gateway, in a file without a name that goes when this process goes.
fn fetch(home: &Home, tenant: &TenantName) -> Outcome<File> {
    let trusted = Trusted::load(home)?;
    let held = trusted
        .tenant(tenant)
        .map_err(|_| usage(format!("{tenant} is not trusted here, so its gateway is not known: give --export FILE")))?;
    let mut file = tempfile::tempfile().during(|| "cannot make a temporary file".to_owned())?;
    Gateway::new(home, Route::of(held.policy())?).run_into(
        &["log", "export", tenant.as_str()],
        &[],
        &mut file,
        EXPORT_BYTES_MAX,
    )?;
    Ok(file)
}

fn tell(log: &LogIdentity, report: &Report, since: Option<&Checkpoint>) {
    say(&format!(
        "{} is whole: {} entries, {} tiles, {} statements of {} devices, {} objects, root {}",
        log.origin,
        report.entries,
        report.tiles,
        report.statements,
        report.devices,
        report.objects,
        belay_certs::digest::hex(&report.checkpoint.root)
    ));
    if let Some(since) = since {
        say(&format!("it continues the checkpoint of {} entries that was verified before", since.size));
    }
}
