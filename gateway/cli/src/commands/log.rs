//! `belay log verify`: proves that a tenant's log is whole, with the key from the pinned policy and never from the export.
//!
//! `belay log tail` is in `log/tail.rs`.

mod archive;
mod proof;
mod tail;

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
    entry::Entry,
    policy::LogIdentity,
    statement::Statement,
    tlog::{Checkpoint, NoteVerifier, Report, Source, check_log, life},
};
use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// Show a tenant's newest events, or keep all of them in a file as they come
    Tail(tail::Tail),
    /// Show entries with the verified proof that they are in the log
    Proof(proof::Args),
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
        Command::Tail(args) => tail::run(home, &args),
        Command::Proof(args) => proof::run(home, &args),
    }
}

fn verify(home: &Home, args: &Verify) -> Outcome {
    let lives = identities(home, args)?;
    let Some((log, earlier)) = lives.split_last() else {
        return Err(refused(format!("the policy of {} names no log: give --vkey", args.tenant)));
    };
    let since = since(home, args, log)?;
    let file = match &args.export {
        Some(path) => File::open(path).during(|| format!("cannot read {}", path.display()))?,
        None => fetch(home, &args.tenant, None)?,
    };
    let archive = Archive::open(file)?;
    let mut before = Before::default();
    let report = check_log(&archive, &log.origin, &log.vkey, since.as_ref(), &mut |_, entry| before.note(entry))
        .map_err(|invalid| invalid.of(format!("the log of {} does not verify", args.tenant)))?;
    let checkpoint = archive.read("checkpoint")?.ok_or_else(|| refused("the export has no checkpoint"))?;
    // What is kept only moves along the log that the policy names, from the checkpoint that was kept before.
    if args.vkey.is_none() && args.since.is_none() {
        write_whole(&home.checkpoint(&args.tenant), &checkpoint, 0o600)?;
    }
    if let Some(path) = &args.save {
        write_whole(path, &checkpoint, 0o644)?;
    }
    tell(log, &report, since.as_ref());
    match &args.export {
        Some(_) if !earlier.is_empty() => note("belay: the lives of the log before this one are not in this export"),
        Some(_) => {}
        None => verify_earlier(home, &args.tenant, earlier, &before)?,
    }
    Ok(())
}

/// Every life of the log that the policy names before the one in use; and what lies between, where that shows.
fn verify_earlier(home: &Home, tenant: &TenantName, lives: &[LogIdentity], before: &Before) -> Outcome {
    for log in lives {
        let archive = Archive::open(fetch(home, tenant, Some(life(&log.origin)))?)?;
        let check = |since: Option<&Checkpoint>| check_log(&archive, &log.origin, &log.vkey, since, &mut |_, _| {});
        let report = check(None)
            .map_err(|invalid| invalid.of(format!("the log of {tenant} before it was restarted does not verify")))?;
        tell(log, &report, None);
        say(&match before.seen.get(&log.origin) {
            None => "between it and the next: no device says how much of it was verified".to_owned(),
            Some(head) => match check(Some(head)) {
                Ok(_) => {
                    format!("between it and the next: all {} entries that devices verified of it are here", head.size)
                }
                Err(_) => format!(
                    "between it and the next: devices verified {} entries of it that are not all here: the gateway lost some",
                    head.size
                ),
            },
        });
    }
    Ok(())
}

/// What the log in use says about the lives before it.
#[derive(Default)]
struct Before {
    /// By origin, the largest head that a device says it verified.
    seen: BTreeMap<String, Checkpoint>,
}

impl Before {
    fn note(&mut self, entry: &Entry) {
        let statement = entry.statement.as_ref().and_then(|signed| Statement::parse(signed.text.as_bytes()).ok());
        let Some(seen) = statement.and_then(|statement| statement.head.checkpoint) else { return };
        let head = Checkpoint { origin: seen.origin.clone(), size: seen.size, root: seen.root.0 };
        match self.seen.get(&seen.origin) {
            Some(held) if held.size >= head.size => {}
            Some(_) | None => drop(self.seen.insert(seen.origin, head)),
        }
    }
}

/// The name and key of every life of the log, the one in use last: given by hand, or from the verified policy.
fn identities(home: &Home, args: &Verify) -> Outcome<Vec<LogIdentity>> {
    if let Some(vkey) = &args.vkey {
        let origin = NoteVerifier::parse(vkey)?.name().to_owned();
        return Ok(vec![LogIdentity { origin, vkey: vkey.clone() }]);
    }
    let trusted = match &args.export {
        Some(_) => Trusted::load(home)?,
        None => Trusted::refresh_only(home, &BTreeSet::from([args.tenant.clone()]))?,
    };
    Ok(trusted.tenant(&args.tenant)?.policy().gateway.logs.clone())
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

/// The export of the tenant's gateway, of its log or of an earlier life of it, in a file without a name that goes when this
/// process goes.
fn fetch(home: &Home, tenant: &TenantName, life: Option<u32>) -> Outcome<File> {
    let trusted = Trusted::load(home)?;
    let held = trusted
        .tenant(tenant)
        .map_err(|_| usage(format!("{tenant} is not trusted here, so its gateway is not known: give --export FILE")))?;
    let mut file = tempfile::tempfile().during(|| "cannot make a temporary file".to_owned())?;
    Gateway::new(home, Route::of(held.policy())?).run_into(
        &["log", "export", &life.map_or_else(|| tenant.to_string(), |life| format!("{tenant}/{life}"))],
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
