//! The tour: its first six steps with the real `ssh`, each shown as it would be typed, each checked.

use anyhow::{Result, bail, ensure};
use belay_tests::{
    Said, World,
    call::{run, words},
    person::Person,
};
use std::process::Command;

/// What the technician does on web1, told apart from everything else in the log.
const COMMAND: &str = "echo \"this is $(uname -n), $BELAY_PERSON is here as $(id -un)\"";
/// Of a line so much is shown: an event is longer than anybody reads.
const SHOWN_CHARS_MAX: usize = 240;
/// What everybody without a grant is told.
const NOTHING_GRANTED: &str = "nothing there is granted to you";

/// Walks it.
///
/// # Errors
/// The first step that did not do what it says.
pub fn walk(world: &World) -> Result<()> {
    println!("\n1. A provider's technician runs a command on a customer's web1, which only dials out.");
    let said = typed(&mut ssh(world, "ssh_config", &["web1.acme", COMMAND]))?;
    ensure!(said.status.success(), "the command did not run: {}", said.story());
    let expected = format!("is here as {}", world.account());
    ensure!(said.out().contains("msp:tech") && said.out().contains(&expected), "{}", said.story());

    println!("\n2. The same laptop, which pinned one hash, reaches the other customer.");
    let said = typed(&mut ssh(world, "ssh_config", &["till1.globex", COMMAND]))?;
    ensure!(said.status.success() && said.out().contains("msp:tech"), "{}", said.story());

    println!("\n3. Somebody of that other customer tries web1, and is told no more than a stranger.");
    let said = typed(&mut ssh(world, "ssh_config.other", &["web1.acme", COMMAND]))?;
    ensure!(!said.status.success() && said.out().is_empty(), "it was not refused: {}", said.story());
    ensure!(said.err().contains(NOTHING_GRANTED), "the refusal does not say why: {}", said.story());

    println!("\n4. The customer's auditor, who may not log in anywhere, reads what was done.");
    let said = typed(&mut ssh(world, "ssh_config.auditor", &["web1.acme", "true"]))?;
    ensure!(!said.status.success(), "the auditor was let in: {}", said.story());
    let said = typed(&mut ssh(world, "ssh_config.auditor", &["gw", "log tail acme --limit 10"]))?;
    ensure!(said.status.success(), "{}", said.story());
    for expected in ["session.opened", "session.ended", "web1", "msp:tech"] {
        ensure!(said.out().contains(expected), "the log does not show {expected}: {}", said.story());
    }
    ensure!(!said.out().contains("globex"), "the log shows another customer: {}", said.story());

    println!("\n5. The auditor checks that nothing was removed or changed, with the key of the pinned policy.");
    let auditor = world.person("auditor");
    let said = typed(auditor.belay_command()?.args(["log", "verify", "acme"]))?;
    ensure!(said.status.success(), "the log does not verify: {}", said.story());
    let_go(world)
}

/// One signature of the provider counts at every customer.
fn let_go(world: &World) -> Result<()> {
    println!("\n6. The provider lets a technician go: one signature, and they are out of every customer.");
    let said = typed(&mut ssh(world, "ssh_config.leaver", &["web1.acme", COMMAND]))?;
    ensure!(said.status.success() && said.out().contains("msp:leaver"), "{}", said.story());
    let mut remove = world.person("boss").belay_command()?;
    remove.args(["person", "remove", "msp", "leaver", "--yes", "--root"]).arg(world.root_key("msp"));
    let said = typed(&mut remove)?;
    ensure!(said.status.success(), "{}", said.story());
    for device in ["web1.acme", "till1.globex"] {
        let said = typed(&mut ssh(world, "ssh_config.leaver", &[device, COMMAND]))?;
        ensure!(!said.status.success() && said.out().is_empty(), "it was not refused: {}", said.story());
    }
    Ok(())
}

/// `ssh` with one of the configurations at the top.
pub fn ssh(world: &World, config: &str, arguments: &[&str]) -> Command {
    let mut ssh = Person::plain_ssh();
    ssh.arg("-F").arg(world.dir().join(config)).args(arguments);
    ssh
}

/// Shows a command, runs it, shows what it says.
///
/// # Errors
/// It cannot be run.
pub fn typed(command: &mut Command) -> Result<Said> {
    println!("   $ {}", words(command));
    match run(command, b"") {
        Ok(said) => {
            for line in said.out().lines().chain(said.err().lines()) {
                let shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
                println!("     {shown}{}", if shown.len() < line.len() { " …" } else { "" });
            }
            Ok(said)
        }
        Err(error) => bail!("{error:#}"),
    }
}
