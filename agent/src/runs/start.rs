//! Everything that must be right before a script starts: an account to become, a program to read it, and what it is told.
//!
//! Not here: who may (`authority`), becoming the account (`spawn`).

use crate::{
    accounts,
    spawn::{self, PATH_RUN, Running, Script},
};
use belay_certs::{DeviceAddress, order::Permit, receipt::Permission, runbook::Interpreter, secrets::Secrets};
use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The variable that names the run to everything it starts.
pub(super) const RUN: &str = "BELAY_RUN";

/// Whether this machine has what the run needs. Looked at before anything is noted, so that nobody waits for a run that cannot
/// begin. Blocks while the user database answers.
///
/// # Errors
/// The sentence that says what is missing.
pub(super) fn check(permit: &Permit) -> Result<(), String> {
    accounts::find(permit.account()).map_err(|problem| problem.to_string())?;
    check_interpreter(&permit.runbook().interpreter)
        .map_err(|why| format!("the runbook {} cannot be run here: {why}", permit.runbook().name))
}

/// The program is there, and the one behind `env` too.
fn check_interpreter(interpreter: &Interpreter) -> Result<(), String> {
    let program = Path::new(&interpreter.program);
    if !is_program(program) {
        return Err(format!("there is no program {} on this machine", program.display()));
    }
    match interpreter.searched() {
        Some(name) if find(name).is_none() => Err(format!("there is no program {name} in {PATH_RUN} on this machine")),
        Some(_) | None => Ok(()),
    }
}

/// Where `name` is, in the path that every run has.
fn find(name: &str) -> Option<PathBuf> {
    PATH_RUN.split(':').map(|place| Path::new(place).join(name)).find(|path| is_program(path))
}

/// A file that somebody may execute; whether the account may, its start shows.
fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Starts the script. Blocks until the interpreter runs, which a home on a dead file server can delay for ever: never call it
/// on the runtime.
pub(super) fn start(
    permit: &Permit,
    (script, secrets): (&[u8], &Secrets),
    device: &DeviceAddress,
    proof: &Permission,
) -> io::Result<Running> {
    let account = accounts::find(permit.account()).map_err(io::Error::other)?;
    let environment = environment(permit, secrets, device);
    let Interpreter { program, argument } = &permit.runbook().interpreter;
    let script = Script {
        account: &account,
        interpreter: program,
        argument: argument.as_deref(),
        bytes: script,
        environment: &environment,
    };
    spawn::start_script(&script, proof)
}

/// The arguments, and where they come from.
fn environment(permit: &Permit, secrets: &Secrets, device: &DeviceAddress) -> Vec<(String, String)> {
    let order = permit.order();
    let said = [
        (RUN, order.id.to_string()),
        ("BELAY_DEVICE", device.to_string()),
        ("BELAY_PERSON", permit.grant().person().to_string()),
        ("BELAY_RUNBOOK", order.runbook.to_string()),
    ];
    let said = said.map(|(name, value)| (name.to_owned(), value));
    let secrets = secrets.iter().map(|(name, value)| (name.variable(), value.to_owned()));
    permit.environment().iter().cloned().chain(secrets).chain(said).collect()
}
