//! What processes use, from `/proc`: CPU of a process with all it started, and memory.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs};

/// Clock ticks a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;

/// CPU seconds used so far by these processes, by those they started and waited for, and by those they started that run.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let all = processes();
    let mut ticks = 0;
    for (pid, stat) in &all {
        let mut at = *pid;
        while !pids.contains(&at) && at > 1 {
            at = all.get(&at).map_or(0, |stat| stat.parent);
        }
        if pids.contains(&at) {
            ticks += stat.ticks;
        }
    }
    ticks as f64 / TICKS
}

/// CPU seconds used so far by one process alone.
///
/// # Errors
/// There is none.
pub fn own_seconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').context("no name in it")?.1;
    let used = rest.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = used.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS)
}

/// Seconds so far in which a processor of this machine had work and the host ran somebody else's (proc_stat(5), `steal`): what is
/// measured meanwhile is as much about them.
///
/// # Errors
/// `/proc/stat` is not as it should be.
pub fn stolen_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks: u64 = text.split_ascii_whitespace().nth(8).context("no steal in /proc/stat")?.parse()?;
    Ok(ticks as f64 / TICKS)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn processes() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// `/proc/PID/stat` (proc(5)): behind the name `STATE PARENT …`, and as 12th to 15th user, system, and both of the waited for.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}

/// A line of `/proc/PID/status`, in KiB: `VmRSS`, `VmHWM`.
///
/// # Errors
/// There is no such process or line.
pub fn memory_kib(pid: u32, line: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':'));
    let number = found.and_then(|rest| rest.split_ascii_whitespace().next()).context("no such line")?;
    Ok(number.parse()?)
}

/// Processor, cores and how busy the machine is just now.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores,{}, load {load}", model.trim_start_matches([' ', '\t', ':']).trim())
}
