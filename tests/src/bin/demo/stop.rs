//! The tour's end of things: a session and a person are stopped, and a disk that fills up stops what is new.

use super::tour::{ssh, typed};
use anyhow::{Context, Result, ensure};
use belay_tests::{
    Daemon, World,
    log::Log,
    wait::{GENEROUS, until},
};
use std::process::Command;

/// Walks it.
///
/// # Errors
/// The first step that did not do what it says.
pub fn walk(world: &World) -> Result<()> {
    println!("\n15. A customer ends a session that goes on, and freezes the technician whose laptop was stolen.");
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
    full(world)
}

/// The disk is not filled: what must stay free of it is set to more than there is.
fn full(world: &World) -> Result<()> {
    println!(
        "\n16. The gateway's disk has less free than its operator asked for: nothing begins that could not be recorded."
    );
    set_free(world, 1 << 40)?;
    let said = typed(&mut ssh(world, "ssh_config", &["web1.acme", "true"]))?;
    ensure!(!said.status.success() && said.err().contains("less than it needs"), "not refused: {}", said.story());
    let log = world.person("ana").log("acme");
    let refused = log.iter().rev().find(|entry| entry["type"] == "access.refused");
    ensure!(
        refused.is_some_and(|entry| entry["sentence"].to_string().contains("MiB left")),
        "not in the log: {refused:?}"
    );
    set_free(world, 0)?;
    let said = typed(&mut ssh(world, "ssh_config", &["web1.acme", "true"]))?;
    ensure!(said.status.success(), "{}", said.story());
    Ok(())
}

/// The operator changes the setting and starts the gateway again.
fn set_free(world: &World, mib: u64) -> Result<()> {
    let line = format!("s/^free_mib_min = .*/free_mib_min = {mib}/");
    let file = world.gateway_dir().join("gateway.toml");
    typed(Command::new("sed").args(["-i", &line]).arg(&file))?.succeeded()?;
    println!("     (the gateway starts again)");
    world.stop_gateway()?;
    world.start_gateway()?;
    world.write_ports()?;
    for device in ["web1.acme", "db1.acme", "till1.globex"] {
        world.until_state(device, "online")?;
    }
    Ok(())
}
