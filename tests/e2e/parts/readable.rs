//! Recordings that the gateway may read and search.

use super::changed;
use belay_tests::World;

/// Changes the tenant's policy so, and waits until `device` goes by it.
#[track_caller]
pub fn readable(world: &World, device: &str) {
    changed::change(world, device, |text| {
        let line = |line: &str| match line.starts_with("to = [\"age1") {
            true => "readable_by_gateway = true\n".to_owned(),
            false => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    });
}
