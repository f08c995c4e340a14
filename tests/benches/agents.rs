//! One signed order on a hundred real agents, each a process with its own state directory that starts `true` as its account.

use crate::{
    figure::{Samples, Target, short, show},
    ordered,
};
use anyhow::{Context, Result, ensure};
use belay_certs::order::DeviceLine;
use belay_tests::{Plan, World, plan::Tenant};
use serde_json::Value;
use std::time::Instant;

/// Agents.
const AGENTS: usize = 100;
/// Orders, one after the other.
const ORDERS: usize = 5;

/// Measures and prints.
///
/// # Errors
/// A run does not succeed.
pub fn measure() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
    let names = (0..AGENTS).map(|number| &*format!("d{number:02}").leak()).collect::<Vec<&'static str>>();
    let acme = Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: names.leak() };
    let world = World::prepare(scratch.path(), Plan { tenants: vec![acme] })?;
    world.bring_up(&|_| {})?;
    let account = world.account().to_owned();
    let version = ordered::allow(&world, &account)?;
    // Orders count by whole seconds, and one of the second in which a machine joined may be older than what it remembers.
    let joined = ordered::now();
    while ordered::now() <= joined {
        std::thread::yield_now();
    }
    let chain = ordered::chain(&world)?;
    let tech = world.person("tech");
    let mut times = Samples::default();
    for _ in 0..ORDERS {
        let order = ordered::order(&world, &chain, lines(&world)?, (version, &account))?;
        let start = Instant::now();
        let job = tech.gw_with_input("run acme --json", &order).must().json();
        let id = job["job"].as_str().context("no job")?;
        // Ends with the job.
        tech.gw(&format!("job {id} --follow --json")).must();
        times.add(start.elapsed().as_secs_f64());
        let job = tech.gw(&format!("job {id} --json")).must().json();
        ensure!(job["counts"]["succeeded"] == AGENTS, "{job:#}");
    }
    let beside =
        format!("from the signed order to the last durable result; worst of {ORDERS} {} s", short(times.quantile(1.0)));
    show("fan-out of `true` to 100 real agents, p50", times.p50(), "s", Target::AtMost(0.9), &beside);
    world.stop()
}

/// The devices with their serials, from their records.
fn lines(world: &World) -> Result<Vec<DeviceLine>> {
    let records: Value = world.person("tech").gw("records acme").must().json();
    let line = |record: &Value| {
        let text = record["record"].as_str().context("no record")?;
        let serial = text.lines().find_map(|line| line.strip_prefix("serial = ")).context("no serial")?;
        let name = record["name"].as_str().and_then(|name| name.split('.').next()).context("no name")?;
        Ok(DeviceLine { name: name.parse()?, serial: serial.parse()?, sealed: None })
    };
    records.as_array().context("no records")?.iter().map(line).collect()
}
