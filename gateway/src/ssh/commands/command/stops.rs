//! The commands of whoever must stop something, read from their words.

use super::{Command, said::Rest};
use belay_certs::Id;

/// How `freeze` is written.
const FREEZE: &str = "freeze TENANT|DEVICE.TENANT|TENANT/PERSON [--reason TEXT]";

pub(super) fn kill(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "kill SESSION";
    let mut said = rest.read(usage, 1, &[])?;
    Ok(Command::Kill { id: session(said.plain.pop(), usage)? })
}

pub(super) fn freeze(rest: Rest<'_>) -> Result<Command, String> {
    let mut said = rest.read(FREEZE, 1, &["--reason"])?;
    let frozen = said.plain.pop().ok_or_else(|| format!("what is to be frozen is missing; write `{FREEZE}`"))?;
    Ok(Command::Freeze { frozen: frozen.parse().map_err(written)?, reason: said.reason })
}

pub(super) fn thaw(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "thaw TENANT|DEVICE.TENANT|TENANT/PERSON";
    let mut said = rest.read(usage, 1, &[])?;
    let frozen = said.plain.pop().ok_or_else(|| format!("what is to be thawed is missing; write `{usage}`"))?;
    Ok(Command::Thaw { frozen: frozen.parse().map_err(written)? })
}

pub(super) fn freezes(rest: Rest<'_>) -> Result<Command, String> {
    let said = rest.read("freezes [--tenant T] [--json]", 0, &["--tenant", "--json"])?;
    Ok(Command::Freezes { tenant: said.tenant, form: said.form })
}

/// The id of a session.
pub(super) fn session(word: Option<String>, usage: &str) -> Result<Id, String> {
    let word = word.ok_or_else(|| format!("a session is missing; write `{usage}`"))?;
    word.parse().map_err(|_| format!("{word:?} is not the id of a session; `sessions --json` shows them"))
}

fn written(invalid: belay_certs::Invalid) -> String {
    invalid.sentence
}
