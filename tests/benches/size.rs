//! What is installed: the programs' sizes, an idle agent's memory, and how soon a gateway takes connections.

use crate::{
    figure::{Samples, Target, show},
    meter,
};
use anyhow::{Context, Result};
use belay_tests::{World, programs::programs, run};
use std::{fs, net::TcpStream, process::Command, time::Instant};

/// Starts measured.
const STARTS: usize = 10;

/// Measures and prints.
///
/// # Errors
/// A program does not run.
pub fn measure(world: &World) -> Result<()> {
    for (name, most) in [("belay-agent", Some(8.0)), ("belay-gateway", None), ("belay", None)] {
        let target = most.map_or(Target::None, Target::AtMost);
        show(&format!("size of {name}, stripped"), stripped(world, name)? / 1e6, "MB", target, "");
    }
    world.stop_agent("web1.acme")?;
    world.start_agent("web1.acme")?;
    world.until_state("web1.acme", "online")?;
    let pid = world.agent_pid("web1.acme").context("no agent")?;
    let rss = meter::memory_kib(pid, "VmRSS")? * 1024.0 / 1e6;
    show("memory of an idle agent, RSS", rss, "MB", Target::AtMost(8.0), "");
    world.stop_gateway()?;
    let starts = starts(world)?;
    show("gateway, start to accepting, p50", starts.p50(), "ms", Target::AtMost(40.0), "small log, one device");
    world.start_gateway()
}

fn stripped(world: &World, name: &str) -> Result<f64> {
    let (from, to) = (programs()?.path(name), world.dir().join(format!("{name}.stripped")));
    fs::copy(&from, &to)?;
    // Without binutils the program's own size is told.
    let _ = run(Command::new("strip").arg(&to), b"");
    Ok(fs::metadata(&to)?.len() as f64)
}

/// Milliseconds from starting the gateway's process to its taking a TCP connection. No gateway runs before or after.
///
/// # Errors
/// It does not start.
pub fn starts(world: &World) -> Result<Samples> {
    let mut starts = Samples::default();
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut serve = world.serve_command()?;
        let log = fs::File::create(world.dir().join("logs/starts.log"))?;
        let mut gateway = serve.stderr(log).spawn()?;
        while TcpStream::connect(("127.0.0.1", world.ssh_port())).is_err() {
            anyhow::ensure!(gateway.try_wait()?.is_none(), "the gateway ended");
            std::thread::yield_now();
        }
        starts.add(start.elapsed().as_secs_f64() * 1e3);
        gateway.kill()?;
        gateway.wait()?;
    }
    Ok(starts)
}
