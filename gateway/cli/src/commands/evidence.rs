//! `belay evidence`: a pack that proves one session or job to somebody who believes neither us nor the gateway; and its judge.

use super::{
    desk::{
        case::{self, Case, Said},
        evidence::{self, Judged, Policies, Proved, Removed},
        job::JobCase,
        taken::{Extent, Whose},
    },
    jobs,
    recording::tell,
};
use crate::{
    chain,
    failure::{Failure, Outcome, While, refused, usage},
    home::Home,
    screen::{escape, note, say},
    trusted::Trusted,
};
use belay_certs::{DeviceName, Digest, Id};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

/// `belay evidence`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verify: Option<Command>,
    /// The session, as `belay sessions` names it, or the job
    #[arg(value_name = "SESSION|JOB")]
    id: Option<Id>,
    /// Only this device of a job
    #[arg(long, value_name = "DEVICE", value_parser = jobs::device)]
    device: Option<DeviceName>,
    /// Where the pack goes
    #[arg(short, long, value_name = "PACK.tar")]
    output: Option<PathBuf>,
}

/// `belay evidence …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a pack, byte for byte, without any gateway
    Verify(Verify),
}

/// `belay evidence verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The pack
    pack: PathBuf,
    /// The hash of the tenant's version 0 [default: what is pinned here]
    #[arg(long, value_name = "HASH")]
    policy0: Option<Digest>,
}

/// Makes or checks a pack.
///
/// # Errors
/// Something does not verify; the sentence names it.
pub fn run(home: &Home, args: &Args) -> Outcome {
    match (&args.verify, &args.id, &args.output) {
        (Some(Command::Verify(args)), ..) => verify(home, args),
        (None, Some(id), Some(output)) => make(home, args, id, output),
        _ => Err(usage("write `belay evidence SESSION|JOB -o PACK.tar` or `belay evidence verify PACK.tar`")),
    }
}

fn make(home: &Home, args: &Args, id: &Id, output: &Path) -> Outcome {
    let trusted = Trusted::refresh(home)?;
    let found = find(home, &trusted, id, args.device.as_ref())?;
    let (tenant, used) = match &found {
        Found::Session(case) => (&case.about.tenant, case.said.intent.policies.iter().collect::<Vec<_>>()),
        Found::Job(case) => (&case.ordered.order.tenant, case.said.used().collect()),
    };
    let mut policies = Policies::new();
    for tenant in used.into_iter().map(|used| &used.tenant).chain([tenant]) {
        if !policies.contains_key(tenant) {
            policies.insert(tenant.clone(), chain::documents(home, tenant)?);
        }
    }
    let doing = || format!("cannot write {}", output.display());
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).during(doing)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    match &found {
        Found::Session(case) => {
            let extent = evidence::write(case, &policies, &mut writer)?;
            if case.about.is_recorded() && case.deleted.is_none() {
                tell(case, extent);
            }
        }
        Found::Job(case) => evidence::job::write(case, &policies, &mut writer)?,
    }
    writer.flush().during(doing)?;
    drop(writer);
    // What is handed over is what its judge accepts.
    let judged = evidence::judge(BufReader::new(file.reopen().during(doing)?))?;
    file.as_file().sync_all().during(doing)?;
    file.persist(output).during(doing)?;
    show(&judged);
    Ok(())
}

/// What an id is of.
enum Found<'h> {
    Session(Box<Case<'h>>),
    Job(Box<JobCase<'h>>),
}

/// Sessions with a recording first, then jobs, then sessions that only a log knows.
fn find<'h>(home: &'h Home, trusted: &Trusted, id: &Id, device: Option<&DeviceName>) -> Outcome<Found<'h>> {
    let session = |(gateway, about)| Case::of(home, trusted, gateway, about).map(|case| Found::Session(Box::new(case)));
    let is_session = device.is_none();
    if is_session {
        match case::find(home, trusted, id) {
            Ok(found) => return session(found),
            Err(failure @ Failure::Unreachable(_)) => return Err(failure),
            Err(_) => {}
        }
    }
    match jobs::find(home, trusted, id) {
        Ok(job) => return JobCase::of(home, trusted, job, device).map(|case| Found::Job(Box::new(case))),
        Err(failure) if !is_session || matches!(failure, Failure::Unreachable(_)) => return Err(failure),
        Err(_) => {}
    }
    match case::find_unrecorded(home, trusted, id) {
        Ok(found) => session(found),
        Err(failure @ Failure::Unreachable(_)) => Err(failure),
        Err(failure) => Err(failure.of(format!("no gateway shows you a session or a job {id}"))),
    }
}

fn verify(home: &Home, args: &Verify) -> Outcome {
    let file = File::open(&args.pack).during(|| format!("cannot read {}", args.pack.display()))?;
    let judged = evidence::judge(BufReader::new(file)).map_err(|failure| failure.of("the pack does not verify"))?;
    let pinned = match args.policy0 {
        Some(given) => Some(given),
        None => home.pins()?.pins.get(&judged.tenant).copied(),
    };
    match pinned {
        Some(pinned) if pinned != judged.policy0 => {
            return Err(refused(format!(
                "the pack does not verify: policies/{}/0.toml is {}, and {pinned} is what you hold it against",
                judged.tenant, judged.policy0
            )));
        }
        Some(_) => {}
        None => note(&format!(
            "belay: {} is not pinned here: all of this is worth as much as version 0 of its policy, {}; compare it, or give --policy0",
            judged.tenant, judged.policy0
        )),
    }
    show(&judged);
    Ok(())
}

fn show(judged: &Judged) {
    match &judged.proved {
        Proved::Session { whose, said, extent, removed } => {
            show_session(whose, said);
            match removed {
                Some(removed) => show_removed(removed, *extent),
                None => show_extent(*extent),
            }
        }
        Proved::Job(job) => show_job(job),
    }
    let Judged { entries, head, .. } = judged;
    say(&format!("{entries} entries are in the log {} of {} entries", head.origin, head.size));
    say(&format!("all of it follows from version 0 of the policy of {}: {}", judged.tenant, judged.policy0));
}

fn show_session(whose: &Whose, said: &Said) {
    let intent = &said.intent;
    say(&format!("session {} on {}: {} as {}", whose.session, whose.device, intent.person, escape(&intent.account)));
    if let Some(command) = &intent.command {
        say(&format!("command: {}", command.text));
    }
    if let Some(reason) = &said.refused {
        say(&format!("the device refused it: {}", escape(reason)));
    }
}

fn show_extent(extent: Extent) {
    say(&match extent {
        Extent::Whole(chunks) => format!("its recording is whole: {chunks} chunks, signed by the device"),
        Extent::Beginning(0) => "there is no recording of it".to_owned(),
        Extent::Beginning(chunks) => {
            format!("the first {chunks} chunks of its recording are signed by the device; nothing says how it ends")
        }
    });
}

fn show_removed(Removed { deleted, noted, rule }: &Removed, extent: Extent) {
    let rule = match rule {
        Some(version) => format!("version {version} of the policy has that rule"),
        None => "no version of the policy here has such a rule".to_owned(),
    };
    say(&format!(
        "the content of its recording was deleted at {}: {} (entry {}); {rule}",
        deleted.at,
        escape(deleted.why()),
        deleted.index
    ));
    let head = noted.head.map_or_else(String::new, |head| format!(", the last of them {head}"));
    say(&format!(
        "its notes still prove its length and digest: {} chunks of {} bytes, {}.{:03} s long, each signed by the device{head}",
        noted.chunks,
        noted.bytes,
        noted.to_ms / 1_000,
        noted.to_ms % 1_000
    ));
    say(match extent {
        Extent::Whole(_) => "the session's signed end names the last of them: nothing is missing",
        Extent::Beginning(_) => "nothing that the device signed says how it ended",
    });
}

fn show_job(job: &evidence::job::Proved) {
    let order = &job.ordered.order;
    let only = job.only.as_ref().map(|only| format!("; only {only} is here")).unwrap_or_default();
    let (id, runbook, account) = (order.id, &order.runbook, &order.account);
    say(&format!(
        "job {id}: {runbook} as {account} on {} devices, ordered by {}{only}",
        order.devices, job.said.person
    ));
    for (name, run) in &job.said.runs {
        let how = match (&run.refused, &run.end) {
            (Some(reason), _) => format!("refused: {}", escape(reason)),
            (None, Some(end)) => end.outcome.to_string(),
            (None, None) if run.has_begun => "began, and has not said how it ended".to_owned(),
            (None, None) => "was not allowed to begin".to_owned(),
        };
        let missing = match job.said.deleted.get(name) {
            _ if !job.missing.contains(name) => String::new(),
            Some(at) => format!("; its output was deleted at {at}"),
            None => "; its output is not here".to_owned(),
        };
        say(&format!("{name}.{}: {how}{missing}", order.tenant));
    }
    let silent = if job.only.is_some() { 0 } else { job.ordered.list.lines().len() - job.said.runs.len() };
    if silent > 0 {
        say(&format!("{silent} of its devices have said nothing"));
    }
}
