//! The gateway's commands over ssh, read from their words: `devices web --json`.
//!
//! Only what is said, never whether it is allowed or true.

mod orders;
mod recordings;
mod reviews;
mod said;
mod stops;

use super::{
    jobs::Wanted,
    log::{Begin, Until},
    proof::{Approvals, Proved, Which},
    recording::Hold,
    show::Form,
};
use crate::limits::{PENDING_WAIT_SECONDS_MAX, RECORDS_MAX, TAIL_MAX};
use belay_certs::{DeviceAddress, DeviceName, Digest, Id, Invalid, RunbookName, TenantName, recording::cast::Kind};
use belay_rules::{
    Frozen,
    review::{Opinion, State},
};
pub(super) use recordings::{Held, Sought};
use said::Rest;

/// Entries shown when nobody says how many.
const TAIL_DEFAULT: u64 = 20;

/// How `pending` is written.
const PENDING: &str =
    "pending [--tenant T] [--after D] [--limit N] [--token ID] [--beyond N] [--wait SECONDS] [--json]";

/// What `help` prints.
pub(super) const HELP: &str = "\
Commands of this gateway, as `ssh gw COMMAND`:
  help                                                       this text
  devices [TEXT] [--tenant T] [--json]                       devices you have a grant on
  pending [--tenant T] [--token ID] [--json]                 machines that wait for approval
  token TENANT                                               record a signed token (standard input)
  approve TENANT [--json]                                    record a signed approval (standard input)
  records TENANT [--device D] [--after D] [--limit N]        device records in force with their proofs (JSON)
  recertify TENANT [--json]                                  record new host certificates (standard input)
  policy show TENANT [--from N] [--json]                     the newest policy; as JSON all versions from N on
  policy fetch                                               news of all policies you may see (JSON on standard input)
  policy push TENANT                                         bring a signed policy (standard input)
  runbooks TENANT [--name N] [--json]                        the library of runbooks
  runbook show TENANT VERSION                                one version with its signatures (JSON)
  runbook push TENANT                                        bring a signed runbook (standard input)
  run TENANT [--json]                                        submit an order, its signature and its list (standard input)
  jobs [--tenant T] [--limit N] [--json]                     orders under way and over
  job JOB [--device D] [--follow] [--json|--csv]             one job, run by run
  job JOB --device D --output [--follow]                     what one run wrote, or writes, as it comes
  job JOB --output --follow --json                           what all write, between the changes of the job
  cancel JOB                                                 call a job off
  sessions [--tenant T] [--person P] [--device D] [--since M] [--until M] [--kind K] [--limit N] [--json]
                                                             who had which session; M is 24h, 7d or a moment
  recording SESSION [--from N]                               what a session showed, with its notes, as a tar
  recording SESSION --json                                   what there is of it
  search TEXT [--tenant T] [--person P] [--device D] [--since M] [--kind K] [--limit N] [--json [--sealed M]]
                                                             lines that sessions showed and runs printed; and which
                                                             recordings, new since M, only auditors can read
  hold SESSION|JOB/DEVICE --reason TEXT                      keep a recording whatever the policy says
  release SESSION|JOB/DEVICE --reason TEXT                   let it go again
  kill SESSION                                               end a session, with the connection that carries it
  freeze TENANT|DEVICE.TENANT|TENANT/PERSON [--reason TEXT]  let nothing start there, and end what goes on
  thaw TENANT|DEVICE.TENANT|TENANT/PERSON                    lift a freeze
  freezes [--tenant T] [--json]                              what is frozen
  review [--tenant T] [--state STATE] [--limit N] [--json]   what waits until somebody has looked at it
  review approve|flag SESSION|JOB --note TEXT [--device D]   say what you found
  log tail TENANT [--limit N] [--json]                       the newest entries of the log
  log tail TENANT [--from N] [--follow] [--json]             entries from N on as JSON Lines (OCSF), as they come
  log export TENANT                                          the whole log as a tar
  log checkpoint TENANT                                      the log's signed head
  log proof [TENANT] EVENT|SESSION|JOB [--device D] [--records]
  log proof TENANT ENTRY                                     entries with the proof that they are in the log (JSON), and
                                                             those that approved the devices that speak in them
A device's shell: `ssh ACCOUNT@DEVICE.TENANT`. On your own machine `belay` does all this, checks it and signs.
";

/// Which machines that wait are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PendingWords {
    /// Only this tenant's.
    pub(super) tenant: Option<TenantName>,
    /// Only those behind this one, by tenant and name.
    pub(super) after: Option<DeviceAddress>,
    /// At most so many; none: all.
    pub(super) limit: Option<u64>,
    /// Only those that came with this token.
    pub(super) token: Option<Id>,
    /// Only those whose log entry is behind this one.
    pub(super) beyond: Option<u64>,
    /// Seconds to wait for the first one.
    pub(super) wait_seconds: u64,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// The list of commands.
    Help,
    /// Devices that the caller has any grant on.
    Devices { text: Option<String>, tenant: Option<TenantName>, form: Form },
    /// Machines that wait for approval.
    Pending { wanted: PendingWords, form: Form },
    /// The approvals in force, as JSON.
    Records { tenant: TenantName, device: Option<DeviceAddress>, after: Option<DeviceAddress>, limit: u64 },
    /// New host certificates follow.
    Recertify { tenant: TenantName, form: Form },
    /// A signed token document follows.
    Token { tenant: TenantName },
    /// A signed approval batch follows.
    Approve { tenant: TenantName, form: Form },
    /// A tenant's policy; as JSON all versions from one on.
    PolicyShow { tenant: TenantName, from: u64, form: Form },
    /// Which policies are held follows; news of all are answered.
    PolicyFetch,
    /// A signed policy follows.
    PolicyPush { tenant: TenantName },
    /// The library of runbooks.
    Runbooks { tenant: TenantName, name: Option<RunbookName>, form: Form },
    /// One version of a runbook.
    RunbookShow { tenant: TenantName, version: Digest },
    /// A signed runbook follows.
    RunbookPush { tenant: TenantName },
    /// A signed order follows, and its list.
    Run { tenant: TenantName, form: Form },
    /// Jobs, the newest first.
    Jobs { tenant: Option<TenantName>, limit: u64, form: Form },
    /// One job.
    Job { id: Id, device: Option<DeviceName>, wanted: Wanted },
    /// A job is called off.
    Cancel { id: Id },
    /// Sessions, the newest first.
    Sessions { sought: Sought, form: Form },
    /// What a session showed.
    Recording { id: Id, from: u64, form: Form },
    /// Lines that sessions showed and runs printed.
    Search { text: String, sought: Sought<Kind>, form: Form },
    /// A recording is held, or let go.
    Hold { held: Held, reason: String, wanted: Hold },
    /// A session is ended.
    Kill { id: Id },
    /// A tenant, a device or a person is frozen.
    Freeze { frozen: Frozen, reason: Option<String> },
    /// A freeze is lifted.
    Thaw { frozen: Frozen },
    /// What is frozen.
    Freezes { tenant: Option<TenantName>, form: Form },
    /// What stands so on the work list.
    Reviews { tenant: Option<TenantName>, state: State, limit: u64, form: Form },
    /// Somebody has looked at a session or a job.
    ReviewGive { id: Id, device: Option<DeviceAddress>, opinion: Opinion, note: String },
    /// The newest entries of a log.
    LogTail { tenant: TenantName, limit: u64, form: Form },
    /// Entries of a log from one on, as they come.
    LogStream { tenant: TenantName, begin: Begin, until: Until, form: Form },
    /// A whole log, or an earlier life of it.
    LogExport { tenant: TenantName, life: Option<u32> },
    /// Entries of a log with their proofs; without a tenant, of the first that has them.
    LogProof { tenant: Option<TenantName>, wanted: Proved },
    /// A log's head.
    LogCheckpoint { tenant: TenantName },
}

/// Reads the command that these words say; no words at all are `help`.
///
/// # Errors
/// One sentence on what is wrong and how it is written.
pub(super) fn parse(words: &[String]) -> Result<Command, String> {
    let mut rest = Rest { words: words.iter().peekable() };
    let name = rest.words.next().map_or("help", String::as_str);
    match name {
        "help" | "--help" | "-h" => Ok(Command::Help),
        "devices" => devices(rest),
        "pending" => pending(rest),
        "token" => alone(rest, "token TENANT", |tenant| Command::Token { tenant }),
        "approve" => approve(rest),
        "records" => records(rest),
        "recertify" => recertify(rest),
        "policy" => policy(rest),
        "runbooks" => orders::runbooks(rest),
        "runbook" => orders::runbook(rest),
        "run" => orders::run(rest),
        "jobs" => orders::jobs(rest),
        "job" => orders::job(rest),
        "cancel" => orders::cancel(rest),
        "sessions" => recordings::sessions(rest),
        "recording" => recordings::recording(rest),
        "search" => recordings::search(rest),
        "hold" => recordings::hold(rest, Hold::Lay),
        "release" => recordings::hold(rest, Hold::Lift),
        "kill" => stops::kill(rest),
        "freeze" => stops::freeze(rest),
        "thaw" => stops::thaw(rest),
        "freezes" => stops::freezes(rest),
        "review" => reviews::review(rest),
        "log" => log(rest),
        other => Err(format!("there is no command {other:?}; `ssh gw help` lists them")),
    }
}

fn devices(rest: Rest<'_>) -> Result<Command, String> {
    let mut said = rest.read("devices [TEXT] [--tenant T] [--json]", 1, &["--tenant", "--json"])?;
    Ok(Command::Devices { text: said.plain.pop(), tenant: said.tenant, form: said.form })
}

fn pending(rest: Rest<'_>) -> Result<Command, String> {
    let options = ["--tenant", "--after", "--limit", "--token", "--beyond", "--wait", "--json"];
    let said = rest.read(PENDING, 0, &options)?;
    if let (Some(tenant), Some(after)) = (&said.tenant, &said.after)
        && after.tenant != *tenant
    {
        return Err(format!("{after} is not a name of {tenant}; write `{PENDING}`"));
    }
    let wanted = PendingWords {
        tenant: said.tenant,
        after: said.after,
        limit: said.limit,
        token: said.token,
        beyond: said.beyond,
        wait_seconds: said.wait.unwrap_or(0).min(PENDING_WAIT_SECONDS_MAX),
    };
    Ok(Command::Pending { wanted, form: said.form })
}

fn records(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "records TENANT [--device D] [--after D] [--limit N] [--json]";
    let said = rest.read(usage, 1, &["--device", "--after", "--limit", "--json"])?;
    let (device, after, limit) = (said.device.clone(), said.after.clone(), said.limit);
    let tenant = said.one_tenant(usage)?;
    if let Some(other) = [&device, &after].into_iter().flatten().find(|named| named.tenant != tenant) {
        return Err(format!("{other} is not a device of {tenant}; write `{usage}`"));
    }
    Ok(Command::Records { tenant, device, after, limit: limit.unwrap_or(RECORDS_MAX).min(RECORDS_MAX) })
}

fn recertify(rest: Rest<'_>) -> Result<Command, String> {
    let said = rest.read("recertify TENANT [--json]", 1, &["--json"])?;
    Ok(Command::Recertify { form: said.form, tenant: said.one_tenant("recertify TENANT [--json]")? })
}

fn approve(rest: Rest<'_>) -> Result<Command, String> {
    let said = rest.read("approve TENANT [--json]", 1, &["--json"])?;
    Ok(Command::Approve { form: said.form, tenant: said.one_tenant("approve TENANT [--json]")? })
}

fn policy(mut rest: Rest<'_>) -> Result<Command, String> {
    let usage = "policy show TENANT [--from N] [--json]";
    match rest.words.next().map(String::as_str) {
        Some("show") => {
            let said = rest.read(usage, 1, &["--from", "--json"])?;
            if said.from.is_some() && said.form == Form::Table {
                return Err("several versions are only shown as JSON: add --json to --from".to_owned());
            }
            Ok(Command::PolicyShow { from: said.from.unwrap_or(0), form: said.form, tenant: said.one_tenant(usage)? })
        }
        Some("fetch") => rest.read("policy fetch", 0, &[]).map(|_| Command::PolicyFetch),
        Some("push") => alone(rest, "policy push TENANT", |tenant| Command::PolicyPush { tenant }),
        _ => Err(format!("write `{usage}`, `policy fetch` or `policy push TENANT`")),
    }
}

fn log(mut rest: Rest<'_>) -> Result<Command, String> {
    let usage = "log tail TENANT [--limit N | --from N] [--follow] [--json]";
    match rest.words.next().map(String::as_str) {
        Some("tail") => log_tail(rest, usage),
        Some("export") => log_export(rest),
        Some("checkpoint") => alone(rest, "log checkpoint TENANT", |tenant| Command::LogCheckpoint { tenant }),
        Some("proof") => log_proof(rest),
        _ => Err(format!("write `{usage}`, `log export TENANT`, `log checkpoint TENANT` or `log proof TENANT ENTRY`")),
    }
}

/// The newest entries as a list; from one on, or followed, as lines.
fn log_tail(rest: Rest<'_>, usage: &str) -> Result<Command, String> {
    let said = rest.read(usage, 1, &["--limit", "--from", "--follow", "--json"])?;
    let limit = said.limit.unwrap_or(TAIL_DEFAULT).min(TAIL_MAX);
    let (form, follows) = (said.form, said.flags.contains(&"--follow"));
    let begin = match (said.from, said.limit) {
        (Some(_), Some(_)) => {
            return Err(format!("--limit counts from the newest, --from from the oldest; write `{usage}`"));
        }
        (Some(from), None) => Begin::At(from),
        (None, _) if follows => Begin::Newest(limit),
        (None, _) => return Ok(Command::LogTail { limit, form, tenant: said.one_tenant(usage)? }),
    };
    let until = if follows { Until::Forever } else { Until::Now };
    Ok(Command::LogStream { tenant: said.one_tenant(usage)?, begin, until, form })
}

/// `acme`, or an earlier life of its log: `acme/1`.
fn log_export(mut rest: Rest<'_>) -> Result<Command, String> {
    let usage = "log export TENANT";
    let earlier = rest.words.clone().next().and_then(|word| word.split_once('/'));
    let Some((tenant, life)) = earlier else {
        return alone(rest, usage, |tenant| Command::LogExport { tenant, life: None });
    };
    rest.words.next();
    match (tenant.parse(), life.parse(), rest.words.next()) {
        (Ok(tenant), Ok(life), None) => Ok(Command::LogExport { tenant, life: Some(life) }),
        _ => Err(format!("write `{usage}`, or `{usage}/1` for the first life of a log that was restarted")),
    }
}

fn log_proof(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "log proof [TENANT] ENTRY|EVENT|SESSION|JOB [--device D] [--records] [--json]";
    let mut said = rest.read(usage, 2, &["--device", "--records", "--json"])?;
    let which: Result<Which, String> = said.plain.pop().map_or(Err(String::new()), |word| word.parse());
    let tenant = said.plain.pop().map(|name| name.parse().map_err(|invalid: Invalid| invalid.sentence)).transpose()?;
    let which = match (which, &tenant) {
        (Ok(Which::Index(index)), None) => return Err(format!("entry {index} of which log? write `{usage}`")),
        (Ok(which), _) => which,
        (Err(_), None) => return Err(format!("which entry? write `{usage}`")),
        (Err(why), Some(_)) => return Err(why),
    };
    let approvals = if said.flags.contains(&"--records") { Approvals::Shown } else { Approvals::Left };
    let wanted = Proved { which, device: said.device.take(), approvals };
    Ok(Command::LogProof { tenant, wanted })
}

/// A command that takes a tenant and nothing else.
fn alone(rest: Rest<'_>, usage: &str, command: impl FnOnce(TenantName) -> Command) -> Result<Command, String> {
    Ok(command(rest.read(usage, 1, &[])?.one_tenant(usage)?))
}

#[cfg(test)]
mod tests;
