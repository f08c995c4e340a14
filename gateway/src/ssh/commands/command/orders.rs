//! The commands of runbooks, orders and jobs, read from their words.

use super::super::{jobs::Wanted, show::Form};
use super::{Command, alone, said::Rest};
use crate::limits::JOBS_SHOWN_MAX;
use belay_certs::Id;

/// Jobs shown when nobody says how many.
const JOBS_DEFAULT: u64 = 50;

pub(super) fn runbooks(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "runbooks TENANT [--name N] [--json]";
    let said = rest.read(usage, 1, &["--name", "--json"])?;
    Ok(Command::Runbooks { name: said.name.clone(), form: said.form, tenant: said.one_tenant(usage)? })
}

pub(super) fn runbook(mut rest: Rest<'_>) -> Result<Command, String> {
    let usage = "runbook show TENANT VERSION";
    match rest.words.next().map(String::as_str) {
        Some("show") => {
            let mut said = rest.read(usage, 2, &[])?;
            if said.plain.len() < 2 {
                return Err(format!("a version is missing; write `{usage}`"));
            }
            let version = said.plain.pop().unwrap_or_default();
            let version = version.parse().map_err(|invalid| format!("VERSION: {invalid}; write `{usage}`"))?;
            Ok(Command::RunbookShow { version, tenant: said.one_tenant(usage)? })
        }
        Some("push") => alone(rest, "runbook push TENANT", |tenant| Command::RunbookPush { tenant }),
        _ => Err(format!("write `{usage}` or `runbook push TENANT`")),
    }
}

pub(super) fn run(rest: Rest<'_>) -> Result<Command, String> {
    let said = rest.read("run TENANT [--json]", 1, &["--json"])?;
    Ok(Command::Run { form: said.form, tenant: said.one_tenant("run TENANT [--json]")? })
}

pub(super) fn jobs(rest: Rest<'_>) -> Result<Command, String> {
    let said = rest.read("jobs [--tenant T] [--limit N] [--json]", 0, &["--tenant", "--limit", "--json"])?;
    let limit = said.limit.unwrap_or(JOBS_DEFAULT).min(JOBS_SHOWN_MAX);
    Ok(Command::Jobs { tenant: said.tenant, limit, form: said.form })
}

pub(super) fn job(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "job JOB [--device D] [--output] [--follow] [--json|--csv]";
    let mut said = rest.read(usage, 1, &["--device", "--output", "--follow", "--csv", "--json"])?;
    let has = |flag: &str| said.flags.contains(&flag);
    let wanted = Wanted { form: said.form, csv: has("--csv"), follow: has("--follow"), output: has("--output") };
    if wanted.csv && (wanted.form == Form::Json || wanted.follow) {
        return Err(format!("a job is shown either as values or as JSON, and followed as JSON; write `{usage}`"));
    }
    let of_all = wanted.follow && wanted.form == Form::Json;
    if wanted.output && said.run_of.is_none() && !of_all {
        return Err("an output is one device's: write `job JOB --device DEVICE --output`, or follow those of all as they come: \
                    `job JOB --output --follow --json`"
            .to_owned());
    }
    Ok(Command::Job { id: id(said.plain.pop(), usage)?, device: said.run_of, wanted })
}

pub(super) fn cancel(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "cancel JOB";
    let mut said = rest.read(usage, 1, &[])?;
    Ok(Command::Cancel { id: id(said.plain.pop(), usage)? })
}

fn id(word: Option<String>, usage: &str) -> Result<Id, String> {
    let word = word.ok_or_else(|| format!("a job is missing; write `{usage}`"))?;
    word.parse().map_err(|_| format!("{word:?} is not the id of a job; `jobs` lists them"))
}
