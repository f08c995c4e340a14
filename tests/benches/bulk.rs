//! 256 MiB from a device to its technician and back, in turns: how fast, and what it costs the machines on the way.

use crate::{
    figure::{Samples, Target, short, show},
    meter,
    rivals::{Kept, Rivals, WAYS, Way},
};
use anyhow::{Context, Result, ensure};
use std::{
    process::{Command, Stdio},
    time::Instant,
};

/// Bytes each way.
const BYTES: u64 = 256 << 20;
/// How often, for each way.
const ROUNDS: usize = 3;

/// Where the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

/// Measures and prints.
///
/// # Errors
/// A transfer fails.
pub fn measure(rivals: &Rivals<'_>) -> Result<()> {
    for (direction, name) in [(Direction::Down, "to the technician"), (Direction::Up, "to the device")] {
        let mut rates = WAYS.map(|_| Samples::default());
        let mut costs = WAYS.map(|_| Samples::default());
        for _ in 0..ROUNDS {
            for ((way, rates), costs) in WAYS.into_iter().zip(&mut rates).zip(&mut costs) {
                let servers = rivals.servers(way);
                let (before, start) = (meter::cpu_seconds(&servers), Instant::now());
                transfer(rivals, way, direction)?;
                rates.add(BYTES as f64 / 1e6 / start.elapsed().as_secs_f64());
                costs.add((meter::cpu_seconds(&servers) - before) * 1e9 / BYTES as f64);
            }
        }
        let beside = |of: &[Samples; 3]| format!("-R + ProxyJump {}, sshd {}", short(of[2].p50()), short(of[1].p50()));
        let target = Target::AtLeastTimes(1.7, rates[2].p50());
        show(&format!("bulk {name}"), rates[0].p50(), "MB/s", target, &beside(&rates));
        let target = Target::Times(0.7, costs[2].p50());
        show(&format!("bulk {name}, CPU of the servers"), costs[0].p50(), "s/GB", target, &beside(&costs));
    }
    Ok(())
}

fn transfer(rivals: &Rivals<'_>, way: Way, direction: Direction) -> Result<()> {
    let mut ssh = rivals.ssh(way, Kept::Nothing);
    ssh.arg(way.host());
    match direction {
        Direction::Down => {
            // What arrives is counted without being kept.
            ssh.arg(format!("head -c {BYTES} /dev/zero")).stdin(Stdio::null()).stdout(Stdio::piped());
            let mut ssh = ssh.spawn()?;
            let arrived = std::io::copy(&mut ssh.stdout.take().context("no output")?, &mut std::io::sink())?;
            ensure!(ssh.wait()?.success() && arrived == BYTES, "{} gave {arrived} bytes", way.host());
        }
        Direction::Up => {
            let mut zeros = Command::new("head");
            let mut zeros = zeros.args(["-c", &BYTES.to_string(), "/dev/zero"]).stdout(Stdio::piped()).spawn()?;
            let said = ssh.arg("wc -c").stdin(zeros.stdout.take().context("no output")?).output()?;
            zeros.wait()?;
            let arrived = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            ensure!(said.status.success() && arrived == BYTES.to_string(), "{} took {arrived} bytes", way.host());
        }
    }
    Ok(())
}
