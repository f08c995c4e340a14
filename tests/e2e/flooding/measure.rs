//! What a flood costs: the gateway's memory, its log lines and its events, and how long a good login takes meanwhile.

use belay_tests::{Person, World, export};
use serde_json::Value;
use std::{
    fs,
    time::{Duration, Instant},
};

/// A gateway's state at one moment.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// Resident memory, in KiB.
    pub rss: u64,
    /// Lines in its log file.
    pub lines: usize,
    /// Entries of the system log.
    pub system: u64,
    /// Entries of acme's log.
    pub acme: u64,
}

impl State {
    /// The gateway of `world` now.
    pub fn of(world: &World) -> Self {
        Self {
            rss: status_kib(world.gateway_pid().unwrap(), "VmRSS"),
            lines: world.log("gateway").mark(),
            system: events(world, "system").len() as u64,
            acme: events(world, "acme").len() as u64,
        }
    }
}

/// A line of a process's status, in KiB.
pub fn status_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Events of a log, as the gateway exports it.
pub fn events(world: &World, log: &str) -> Vec<Value> {
    let file = world.dir().join("counted.tar");
    world.operator(&["log", "export", log, "-o", file.to_str().unwrap()]).unwrap().must();
    let files = export::unpack(&fs::read(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    export::events(&files)
}

/// How long `count` logins took, one after the other, each with a command on a device; the longest last.
pub fn logins(person: &Person, target: &str, count: usize) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..count)
        .map(|number| {
            person.hang_up();
            let start = Instant::now();
            let said = person.ssh(target, &format!("echo in {number}")).must();
            let took = start.elapsed();
            assert_eq!(said.out(), format!("in {number}\n"));
            took
        })
        .collect();
    took.sort();
    took
}

/// Half of them took no longer than the first, none longer than the second, in milliseconds.
pub fn median(took: &[Duration]) -> (u128, u128) {
    (took[took.len() / 2].as_millis(), took[took.len() - 1].as_millis())
}
