//! The tour's repair: a signed runbook on three machines of two customers. On one a worker has stopped, on one a directory is
//! full, one is switched off and gets it when it comes back.
//!
//! The machines of the demo are one machine, so each has a directory of its own for what there is to repair.

use super::tour::typed;
use anyhow::{Result, ensure};
use belay_tests::{
    Person, World,
    wait::{GENEROUS, until},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files that a spool may hold.
const SPOOL_MAX: usize = 100;
/// Files that it holds when it is full.
const SPOOL_FULL: usize = 250;
/// `age-encryption.org/v1`, as base64 has it.
const AGE_FILE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3Yx";
/// The exit status of `belay run --detach` while a machine is still to come.
const GOES_ON: i32 = 4;

/// What both customers grant for it.
fn grants(account: &str) -> String {
    format!(
        "\n[runbooks]\nsigners = [\"msp:boss\"]\n\n[[grants]]\nwho = [\"msp:field\"]\non = [\"*\"]\ndo = [\"run\"]\nas = [\"{account}\"]\n\
         runbooks = [\"repair-*\"]\nrisk = \"normal\"\ndevices_max = 50\n"
    )
}

/// The runbook, for machines whose directories are in `machines`.
fn runbook(account: &str, machines: &Path) -> String {
    format!(
        r#"#!/bin/sh
# /// belay
# name = "repair-machine"
# description = "Start the worker again if it has stopped; keep the newest files of a full spool."
# account = "{account}"
# timeout = "60s"
# [parameters.keep]
# type = "integer"
# description = "files that a spool may hold"
# default = {SPOOL_MAX}
# ///
cd "{machines}/$BELAY_DEVICE" || exit
if [ -e worker.pid ] && ! kill -0 "$(cat worker.pid)" 2>/dev/null; then
  echo "the worker had stopped: starting it"
  setsid sh -c 'echo $$ > worker.pid; while [ -e worker.pid ]; do date > beat; sleep 1; done' </dev/null >/dev/null 2>&1 &
  while ! kill -0 "$(cat worker.pid)" 2>/dev/null; do sleep 0.1; done
fi
count=$(ls spool | wc -l)
if [ "$count" -gt "$BELAY_ARG_KEEP" ]; then
  echo "the spool holds $count files: keeping the newest $BELAY_ARG_KEEP"
  (cd spool && ls | sort | head -n $((count - BELAY_ARG_KEEP)) | xargs rm --)
fi
"#,
        machines = machines.display()
    )
}

/// Repairs them.
///
/// # Errors
/// The first step that did not do what it says.
pub fn walk(world: &World) -> Result<()> {
    println!(
        "\n7. A signed runbook repairs what is broken on machines of both customers; one of them is switched off."
    );
    let machines = world.dir().join("machines");
    break_them(world, &machines)?;
    let account = world.account().to_owned();
    for customer in ["acme", "globex"] {
        world.append(customer, &grants(&account))?;
    }
    let (author, tech) = (world.person("boss"), world.person("tech"));
    let file = world.dir().join("repair-machine.sh");
    fs::write(&file, runbook(&account, &machines))?;
    for customer in ["acme", "globex"] {
        author.trust(&world.policy0(customer)?, &world.tenant_dir(customer))?;
    }
    author.belay(["config"])?;
    let said = typed(author.belay_command()?.args(["runbook", "sign"]).arg(&file))?;
    ensure!(said.status.success(), "{}", said.story());
    let mut push = author.belay_command()?;
    let said = typed(push.args(["runbook", "push"]).arg(&file).args(["--tenant", "acme", "--tenant", "globex"]))?;
    ensure!(said.status.success(), "{}", said.story());
    world.stop_agent("till1.globex")?;
    let mut order = tech.belay_command()?;
    order.args(["run", "repair-machine", "--on", "acme/*,globex/*", "--for", "1h", "--yes", "--detach"]);
    let said = typed(&mut order)?;
    ensure!(said.code() == Some(GOES_ON), "{}", said.story());
    until("the worker and the spool of acme to be repaired", GENEROUS, || {
        ensure!(is_working(&machines.join("web1.acme")), "no worker");
        ensure!(spooled(&machines.join("db1.acme"))? == SPOOL_MAX, "the spool is full");
        Ok(())
    })?;
    ensure!(spooled(&machines.join("till1.globex"))? == SPOOL_FULL, "a machine that is off was repaired");

    println!("\n8. The one that was off comes back within the hour, and gets it then.");
    world.start_agent("till1.globex")?;
    let mut ids = tech.gw("jobs --json").must().json();
    for job in ids.as_array_mut().into_iter().flatten() {
        let id = job["job"].as_str().unwrap_or_default();
        let said = typed(tech.belay_command()?.args(["job", id, "--follow", "--output"]))?;
        ensure!(said.status.success(), "{}", said.story());
        let tenant = job["tenant"].as_str().unwrap_or_default();
        let device = if tenant == "acme" { "db1" } else { "till1" };
        ensure!(said.out().contains("keeping the newest"), "{}", said.story());
        sealed_at_the_gateway(&tech, id, device)?;
    }
    ensure!(spooled(&machines.join("till1.globex"))? == SPOOL_MAX, "the spool is full");
    Ok(())
}

/// Both customers encrypt what is recorded, so the gateway has an age file where `belay` has just shown words.
fn sealed_at_the_gateway(tech: &Person, job: &str, device: &str) -> Result<()> {
    let file = tech.gw(&format!("job {job} --device {device} --output")).must();
    let text = file.out();
    ensure!(!text.is_empty(), "the gateway has nothing of it");
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let is_sealed = words.get(1) == Some(&"s") && words.get(2).is_some_and(|blob| blob.starts_with(AGE_FILE));
        ensure!(is_sealed, "the gateway has some of it in the open: {line}");
    }
    println!("     (what the gateway has of it: {} bytes, `0 s {AGE_FILE}…`: age files)", text.len());
    Ok(())
}

/// A worker that has stopped, and two spools that are full.
fn break_them(world: &World, machines: &Path) -> Result<()> {
    for device in ["web1.acme", "db1.acme", "till1.globex"] {
        fs::create_dir_all(machines.join(device).join("spool"))?;
    }
    // A process id that no process has: the highest there can be, and then one.
    let highest = fs::read_to_string("/proc/sys/kernel/pid_max")?;
    fs::write(machines.join("web1.acme/worker.pid"), highest)?;
    for device in ["db1.acme", "till1.globex"] {
        for number in 0..SPOOL_FULL {
            fs::write(machines.join(device).join(format!("spool/{number:04}")), "")?;
        }
    }
    world.person("tech").belay(["config"]).map(drop)
}

fn spooled(machine: &Path) -> Result<usize> {
    Ok(fs::read_dir(machine.join("spool"))?.count())
}

/// Whether the worker beats.
fn is_working(machine: &Path) -> bool {
    machine.join("beat").is_file()
}

/// Ends the worker: it works as long as its file is there.
///
/// # Errors
/// The file cannot be removed.
pub fn end(world: &World) -> Result<()> {
    let file: PathBuf = world.dir().join("machines/web1.acme/worker.pid");
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
