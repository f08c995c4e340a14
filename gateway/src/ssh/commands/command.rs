//! The gateway's commands over ssh, read from their words: `devices web --json`.
//!
//! Only what is said, never whether it is allowed or true.

mod orders;
mod said;

use super::{jobs::Wanted, show::Form};
use crate::limits::{PENDING_WAIT_SECONDS_MAX, RECORDS_MAX, SESSIONS_MAX, TAIL_MAX};
use belay_certs::{DeviceAddress, DeviceName, Digest, Id, RunbookName, TenantName};
use said::Rest;

/// Sessions shown when nobody says how many.
const SESSIONS_DEFAULT: u64 = 100;
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
  job JOB --device D --output                                what one run wrote
  cancel JOB                                                 call a job off
  sessions [--tenant T] [--device D] [--limit N] [--json]    who had which session
  log tail TENANT [--limit N] [--json]                       the newest entries of the log
  log export TENANT                                          the whole log as a tar
  log checkpoint TENANT                                      the log's signed head
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
    Sessions { tenant: Option<TenantName>, device: Option<DeviceAddress>, limit: u64, form: Form },
    /// The newest entries of a log.
    LogTail { tenant: TenantName, limit: u64, form: Form },
    /// A whole log, or an earlier life of it.
    LogExport { tenant: TenantName, life: Option<u32> },
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
        "sessions" => sessions(rest),
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

fn sessions(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "sessions [--tenant T] [--device D] [--limit N] [--json]";
    let said = rest.read(usage, 0, &["--tenant", "--device", "--limit", "--json"])?;
    if let (Some(tenant), Some(device)) = (&said.tenant, &said.device)
        && device.tenant != *tenant
    {
        return Err(format!("{device} is not a device of {tenant}; leave --tenant out"));
    }
    let limit = said.limit.unwrap_or(SESSIONS_DEFAULT).min(SESSIONS_MAX);
    Ok(Command::Sessions { tenant: said.tenant, device: said.device, limit, form: said.form })
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
    let usage = "log tail TENANT [--limit N] [--json]";
    match rest.words.next().map(String::as_str) {
        Some("tail") => {
            let said = rest.read(usage, 1, &["--limit", "--json"])?;
            let limit = said.limit.unwrap_or(TAIL_DEFAULT).min(TAIL_MAX);
            Ok(Command::LogTail { limit, form: said.form, tenant: said.one_tenant(usage)? })
        }
        Some("export") => log_export(rest),
        Some("checkpoint") => alone(rest, "log checkpoint TENANT", |tenant| Command::LogCheckpoint { tenant }),
        _ => Err(format!("write `{usage}`, `log export TENANT` or `log checkpoint TENANT`")),
    }
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

/// A command that takes a tenant and nothing else.
fn alone(rest: Rest<'_>, usage: &str, command: impl FnOnce(TenantName) -> Command) -> Result<Command, String> {
    Ok(command(rest.read(usage, 1, &[])?.one_tenant(usage)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::JOBS_SHOWN_MAX;
    use crate::seeded::Seeded;

    fn read(line: &str) -> Result<Command, String> {
        parse(&belay_rules::words::split(line.as_bytes()).unwrap())
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    #[test]
    fn every_command_is_read_as_it_is_written() {
        let table = [
            ("", Command::Help),
            ("help", Command::Help),
            ("devices", Command::Devices { text: None, tenant: None, form: Form::Table }),
            (
                "devices 'web 1' --json --tenant acme",
                Command::Devices { text: Some("web 1".into()), tenant: Some(acme()), form: Form::Json },
            ),
            (
                "pending --tenant=acme",
                Command::Pending {
                    wanted: PendingWords { tenant: Some(acme()), ..PendingWords::default() },
                    form: Form::Table,
                },
            ),
            (
                "pending --after web1.acme --limit 9 --beyond 4 --wait 9999 --json",
                Command::Pending {
                    wanted: PendingWords {
                        after: Some("web1.acme".parse().unwrap()),
                        limit: Some(9),
                        beyond: Some(4),
                        wait_seconds: PENDING_WAIT_SECONDS_MAX,
                        ..PendingWords::default()
                    },
                    form: Form::Json,
                },
            ),
            (
                "records acme --device web1.acme",
                Command::Records {
                    tenant: acme(),
                    device: Some("web1.acme".parse().unwrap()),
                    after: None,
                    limit: RECORDS_MAX,
                },
            ),
            ("recertify acme --json", Command::Recertify { tenant: acme(), form: Form::Json }),
            ("token acme", Command::Token { tenant: acme() }),
            ("approve acme --json", Command::Approve { tenant: acme(), form: Form::Json }),
            ("policy show acme", Command::PolicyShow { tenant: acme(), from: 0, form: Form::Table }),
            ("policy show --from 3 acme --json", Command::PolicyShow { tenant: acme(), from: 3, form: Form::Json }),
            ("policy push acme", Command::PolicyPush { tenant: acme() }),
            ("policy fetch", Command::PolicyFetch),
            ("sessions", Command::Sessions { tenant: None, device: None, limit: SESSIONS_DEFAULT, form: Form::Table }),
            (
                "sessions --device web1.acme --limit 5",
                Command::Sessions {
                    tenant: None,
                    device: Some("web1.acme".parse().unwrap()),
                    limit: 5,
                    form: Form::Table,
                },
            ),
            ("log tail acme --limit 99999999", Command::LogTail { tenant: acme(), limit: TAIL_MAX, form: Form::Table }),
            ("log export acme", Command::LogExport { tenant: acme(), life: None }),
            ("log export acme/1", Command::LogExport { tenant: acme(), life: Some(1) }),
            ("log checkpoint acme", Command::LogCheckpoint { tenant: acme() }),
        ];
        for (line, command) in table {
            assert_eq!(read(line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn every_command_about_orders_is_read_as_it_is_written() {
        let table = [
            ("runbooks acme", Command::Runbooks { tenant: acme(), name: None, form: Form::Table }),
            (
                "runbooks --name restart acme --json",
                Command::Runbooks { tenant: acme(), name: Some("restart".parse().unwrap()), form: Form::Json },
            ),
            ("runbook push acme", Command::RunbookPush { tenant: acme() }),
            ("run acme --json", Command::Run { tenant: acme(), form: Form::Json }),
            ("jobs --limit 99999999", Command::Jobs { tenant: None, limit: JOBS_SHOWN_MAX, form: Form::Table }),
            (
                "job 01010101010101010101010101010101 --follow --json",
                Command::Job {
                    id: Id([1; 16]),
                    device: None,
                    wanted: Wanted { form: Form::Json, follow: true, ..Wanted::default() },
                },
            ),
            (
                "job 01010101010101010101010101010101 --device web1.acme --output",
                Command::Job {
                    id: Id([1; 16]),
                    device: Some("web1".parse().unwrap()),
                    wanted: Wanted { output: true, ..Wanted::default() },
                },
            ),
            ("cancel 01010101010101010101010101010101", Command::Cancel { id: Id([1; 16]) }),
        ];
        for (line, command) in table {
            assert_eq!(read(line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn wrong_words_are_answered_with_how_it_is_written() {
        for (line, part) in [
            ("reboot", "no command \"reboot\""),
            ("devices a b", "one word too many"),
            ("devices --jsn", "write `devices"),
            ("devices --json=yes", "takes no value"),
            ("devices --tenant", "needs a value"),
            ("devices --tenant com", "cannot be a tenant name"),
            ("devices --tenant acme --tenant acme", "given twice"),
            ("devices -x", "no option \"-x\""),
            ("pending --tenant globex --after web1.acme", "not a name of globex"),
            ("records globex --after web1.acme", "not a device of globex"),
            ("records", "a tenant is missing"),
            ("token", "a tenant is missing"),
            ("token Acme", "not a tenant name"),
            ("token acme --json", "no option"),
            ("policy", "policy push TENANT"),
            ("policy show acme --from 2", "add --json"),
            ("sessions --limit many", "--limit"),
            ("sessions --tenant globex --device web1.acme", "not a device of globex"),
            ("runbook", "runbook show TENANT VERSION"),
            ("runbook show acme", "a version is missing"),
            ("runbook show acme sha256:12", "VERSION"),
            ("run", "a tenant is missing"),
            ("job", "a job is missing"),
            ("job web1", "not the id of a job"),
            ("job 01010101010101010101010101010101 --csv --json", "either"),
            ("job 01010101010101010101010101010101 --output", "--device"),
            ("cancel 01010101010101010101010101010101 now", "one word too many"),
            ("log", "log export TENANT"),
            ("log tail", "a tenant is missing"),
        ] {
            let sentence = read(line).unwrap_err();
            assert!(sentence.contains(part), "{line}: {sentence}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for word in [
            "devices",
            "pending",
            "token",
            "approve",
            "records",
            "recertify",
            "policy show",
            "policy fetch",
            "policy push",
            "runbooks",
            "runbook show",
            "runbook push",
            "run ",
            "jobs",
            "job ",
            "cancel",
            "sessions",
            "log tail",
            "log export",
            "log checkpoint",
        ] {
            assert!(HELP.lines().any(|line| line.trim_start().starts_with(word)), "{word}");
        }
    }

    #[test]
    fn a_changed_line_is_refused_in_one_line_or_asks_for_no_more_than_is_given() {
        let lines = [
            "devices 'web 1' --json --tenant acme",
            "pending --after web1.acme --limit 9 --beyond 4 --wait 9999 --json",
            "records acme --device web1.acme --after web1.acme --limit 9999999",
            "policy show acme --from 3 --json",
            "sessions --tenant acme --device web1.acme --limit=99999999",
            "log tail acme --limit 99999999 --json",
            "jobs --tenant acme --limit 99999999",
            "job 01010101010101010101010101010101 --device web1 --output",
            "log export acme/1",
            "approve \"acme\" --json",
        ];
        let (mut seeded, mut taken, mut refused) = (Seeded::new(0xc0de), 0, 0);
        for turn in 0..20_000 {
            let line = seeded.mutate(lines[turn % lines.len()].as_bytes());
            match belay_rules::words::split(&line).and_then(|words| parse(&words)) {
                Ok(command) => {
                    taken += 1;
                    let bounded = match &command {
                        Command::Pending { wanted, .. } => wanted.wait_seconds <= PENDING_WAIT_SECONDS_MAX,
                        Command::Records { limit, .. } => *limit <= RECORDS_MAX,
                        Command::Sessions { limit, .. } => *limit <= SESSIONS_MAX,
                        Command::LogTail { limit, .. } => *limit <= TAIL_MAX,
                        Command::Jobs { limit, .. } => *limit <= JOBS_SHOWN_MAX,
                        Command::Help
                        | Command::Devices { .. }
                        | Command::Recertify { .. }
                        | Command::Token { .. }
                        | Command::Approve { .. }
                        | Command::PolicyShow { .. }
                        | Command::PolicyFetch
                        | Command::PolicyPush { .. }
                        | Command::Runbooks { .. }
                        | Command::RunbookShow { .. }
                        | Command::RunbookPush { .. }
                        | Command::Run { .. }
                        | Command::Job { .. }
                        | Command::Cancel { .. }
                        | Command::LogExport { .. }
                        | Command::LogCheckpoint { .. } => true,
                    };
                    assert!(bounded, "{command:?}");
                }
                Err(sentence) => {
                    refused += 1;
                    let plain = !sentence.is_empty() && !sentence.contains(char::is_control);
                    assert!(plain, "{:?}: {sentence:?}", line.escape_ascii().to_string());
                }
            }
        }
        assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
    }
}
