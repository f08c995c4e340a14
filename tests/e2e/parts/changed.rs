//! A policy changed in one place, signed by the tenant's root key and pushed; and the wait until a device has it.

use super::policies;
use belay_tests::{World, wait::GENEROUS};

/// Pushes the newest policy with one change and waits until `device` goes by it.
#[track_caller]
pub fn change(world: &World, device: &str, change: impl FnOnce(&str) -> String) {
    let tenant = device.split('.').nth(1).unwrap();
    let mark = world.log(device).mark();
    let owner = world.person("tech");
    let text = policies::next(&policies::newest(&owner, tenant));
    let changed = change(&text);
    assert_ne!(changed, text, "nothing was changed");
    owner.gw_with_input(&format!("policy push {tenant}"), &policies::signed(&changed, &world.root_key(tenant))).must();
    world
        .log(device)
        .wait("a new policy", mark, GENEROUS, |line| line.contains("policy") && line.contains("version="))
        .unwrap();
}
