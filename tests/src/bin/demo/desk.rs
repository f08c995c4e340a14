//! The tour's auditors: what was shown is found, seen again, proved, and stopped.
//!
//! One customer lets the gateway read its recordings, the other lets only its auditor.

use super::tour::{ssh, typed};
use anyhow::{Context, Result, ensure};
use belay_tests::{
    Daemon, Person, World,
    log::Log,
    wait::{GENEROUS, until},
};
use serde_json::Value;

/// What stands in a policy in place of the recipients.
const READABLE: &str = r#"sed -i 's/^to = \["age1.*/readable_by_gateway = true/'"#;
/// What a machine is made to say.
fn said(device: &str) -> String {
    let name = device.split('.').next().unwrap_or(device);
    format!("echo the disk of {name} is full")
}

/// Walks it.
///
/// # Errors
/// The first step that did not do what it says.
pub fn walk(world: &World) -> Result<()> {
    println!(
        "\n9. What sessions show is recorded. acme lets the gateway read it; what till1 of globex shows only its auditor opens."
    );
    let mark = world.log("web1.acme").mark();
    world.edit("acme", READABLE)?;
    world
        .log("web1.acme")
        .wait("the new policy", mark, GENEROUS, |line| line.contains("policy") && line.contains("version="))?;
    for device in ["web1.acme", "till1.globex"] {
        let said = typed(&mut ssh(world, "ssh_config", &[device, &said(device)]))?;
        ensure!(said.status.success(), "{}", said.story());
    }
    let (auditor, other) = (world.person("auditor"), world.person("other"));
    let session = recorded(&auditor, "web1.acme")?;
    recorded(&other, "till1.globex")?;
    until("the line in the gateway's index", GENEROUS, || {
        let found = serde_json::from_slice::<Value>(&auditor.gw("search 'is full' --tenant acme --json").stdout)?;
        ensure!(found["found"].as_array().is_some_and(|found| !found.is_empty()), "{found}");
        Ok(())
    })?;
    let said = typed(auditor.belay_command()?.args(["search", "is full", "--tenant", "acme"]))?;
    ensure!(said.out().contains("the disk of web1 is full"), "{}", said.story());
    let said = typed(&mut ssh(world, "ssh_config.other", &["gw", "search 'is full' --tenant globex"]))?;
    ensure!(said.status.success() && !said.out().contains("disk of till1"), "{}", said.story());
    let mut search = other.belay_command()?;
    search.args(["search", "is full", "--tenant", "globex", "--age-identity"]);
    let said = typed(search.arg(world.tenant_dir("globex").join("auditor.age")))?;
    ensure!(said.out().contains("the disk of till1 is full"), "{}", said.story());

    println!("\n10. The auditor sees a session again, and packs what proves it for somebody who knows none of us.");
    let said = typed(auditor.belay_command()?.args(["replay", &session]))?;
    ensure!(said.out().contains("the disk of web1 is full"), "{}", said.story());
    let pack = world.dir().join("pack.tar");
    let said = typed(auditor.belay_command()?.args(["evidence", &session, "-o"]).arg(&pack))?;
    ensure!(said.status.success(), "{}", said.story());
    let said = typed(auditor.belay_command()?.args(["evidence", "verify"]).arg(&pack))?;
    ensure!(said.status.success(), "{}", said.story());
    stop(world)
}

/// A session is ended, and its person kept out until somebody lifts it.
fn stop(world: &World) -> Result<()> {
    println!("\n11. A customer ends a session that goes on, and freezes the technician whose laptop was stolen.");
    let owner = world.person("ana");
    let shell = ssh(world, "ssh_config", &["web1.acme", "exec sleep 300"]);
    let mut live = Daemon::start("session", shell, Log::default(), &world.dir().join("session.log"))?;
    let id = until("the session", GENEROUS, || {
        let sessions = owner.gw("sessions --device web1.acme --json").must().json();
        let row = sessions.as_array().into_iter().flatten().find(|row| row["command"] == "exec sleep 300");
        Ok(row.and_then(|row| row["id"].as_str()).context("it has not begun")?.to_owned())
    })?;
    let said = typed(owner.belay_command()?.args(["kill", &id]))?;
    ensure!(said.status.success(), "{}", said.story());
    until("the end of the session", GENEROUS, || {
        ensure!(!live.is_running(), "it goes on");
        Ok(())
    })?;
    let mut freeze = owner.belay_command()?;
    let said = typed(freeze.args(["freeze", "acme/msp:tech", "--reason", "laptop stolen"]))?;
    ensure!(said.status.success(), "{}", said.story());
    let said = typed(&mut ssh(world, "ssh_config", &["web1.acme", "true"]))?;
    ensure!(!said.status.success() && said.err().contains("laptop stolen"), "{}", said.story());
    let said = typed(owner.belay_command()?.args(["thaw", "acme/msp:tech"]))?;
    ensure!(said.status.success(), "{}", said.story());
    let said = typed(&mut ssh(world, "ssh_config", &["web1.acme", "true"]))?;
    ensure!(said.status.success(), "{}", said.story());
    Ok(())
}

/// The session on this device that said it, once its recording is whole.
fn recorded(person: &Person, device: &str) -> Result<String> {
    until(&format!("the recording of {device}"), GENEROUS, || {
        let sessions = person.gw(&format!("sessions --device {device} --json")).must().json();
        let row = sessions.as_array().into_iter().flatten().find(|row| row["command"] == said(device));
        let row = row.with_context(|| format!("no such session: {sessions:#}"))?;
        ensure!(row["recording"]["state"] == "whole", "{row:#}");
        Ok(row["id"].as_str().context("a session without an id")?.to_owned())
    })
}
