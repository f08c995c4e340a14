//! A machine that joins again under its name, after it has lost what it was.

use belay_tests::{World, run};
use std::fs;

/// The device with an empty disk, and approved again under its name.
pub fn rejoin(world: &World, device: &str) {
    let (name, tech) = (device.split('.').next().unwrap(), world.person("tech"));
    let token = world.dir().join("again.token");
    world.make_token("acme", &token, &["--name", name]).unwrap();
    world.stop_agent(device).unwrap();
    fs::remove_dir_all(world.agent_dir(device)).unwrap();
    world.join(device, &token).unwrap().must();
    let mut approve = tech.belay_command().unwrap();
    approve.args(["approve", device, "--replace", "--yes", "--ca"]).arg(world.tenant_dir("acme").join("device-ca"));
    run(&mut approve, b"").unwrap().must();
    world.start_agent(device).unwrap();
    world.until_online(device).unwrap();
}
