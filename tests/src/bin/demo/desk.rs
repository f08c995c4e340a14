//! The tour's auditors: what was shown is found and seen again, and taken along.
//!
//! One customer lets the gateway read its recordings, the other lets only its auditor. What is proved, handed over and judged
//! of it: `prove.rs`; what is stopped: `stop.rs`.

use super::{
    prove, stop,
    tour::{ssh, typed},
};
use anyhow::{Context, Result, ensure};
use belay_tests::{
    Person, World,
    call::is_there,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
    let mut shown = Vec::new();
    for device in ["web1.acme", "till1.globex"] {
        let said = typed(&mut ssh(world, "ssh_config", &[device, &said(device)]))?;
        ensure!(said.status.success(), "{}", said.story());
        shown.push(said.stdout);
    }
    let (auditor, other) = (world.person("auditor"), world.person("other"));
    let session = session(&auditor, "web1.acme", &said("web1.acme"))?;
    self::session(&other, "till1.globex", &said("till1.globex"))?;
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

    println!("\n10. The auditor sees a session again, and takes along what the technician saw, byte for byte.");
    let said = typed(auditor.belay_command()?.args(["replay", &session]))?;
    ensure!(said.out().contains("the disk of web1 is full"), "{}", said.story());
    let file = world.dir().join("session.cast");
    let said = typed(auditor.belay_command()?.args(["recording", &session, "-o"]).arg(&file))?;
    ensure!(said.status.success() && said.err().contains("the recording is whole"), "{}", said.story());
    let again = played(&file)?;
    ensure!(Some(&again) == shown.first(), "{:?} was seen, and {again:?} recorded", shown.first());
    prove::walk(world, &auditor, &session)?;
    stop::walk(world)
}

/// What the file shows: by `asciinema cat` where there is one, else its outputs one behind the other, which is the same.
fn played(file: &Path) -> Result<Vec<u8>> {
    let tools = std::env::var_os("BELAY_TOOLS").map(|folder| PathBuf::from(folder).join("asciinema"));
    let program = match tools.filter(|program| program.exists()) {
        Some(program) => program,
        None if is_there("asciinema") => PathBuf::from("asciinema"),
        None => {
            println!("     (with asciinema here: `asciinema cat {}`; its outputs are read without it)", file.display());
            let text = fs::read_to_string(file)?;
            let events = text.lines().skip(1).map(serde_json::from_str::<(f64, String, String)>);
            let mut played = Vec::new();
            for event in events {
                let (_, kind, data) = event?;
                played.extend((kind == "o").then_some(data).into_iter().flat_map(String::into_bytes));
            }
            return Ok(played);
        }
    };
    let mut cat = Command::new(program);
    cat.env("LC_ALL", "C.UTF-8").env("PYTHONIOENCODING", "utf-8:surrogateescape");
    Ok(typed(cat.arg("cat").arg(file))?.succeeded()?.stdout)
}

/// The session on this device with this command, once its recording is whole.
pub fn session(person: &Person, device: &str, command: &str) -> Result<String> {
    until(&format!("the recording of {device}"), GENEROUS, || {
        let sessions = person.gw(&format!("sessions --device {device} --json")).must().json();
        let row = sessions.as_array().into_iter().flatten().find(|row| row["command"] == command);
        let row = row.with_context(|| format!("no such session: {sessions:#}"))?;
        ensure!(row["recording"]["state"] == "whole", "{row:#}");
        Ok(row["id"].as_str().context("a session without an id")?.to_owned())
    })
}
