//! `ssh host true`, from the start of the client to its end: with nothing kept, with the outer hop kept open, and as one more
//! session of a connection that is open end to end, which shows what the log before every act adds.

use crate::{
    figure::{Samples, Target, short, show},
    meter,
    rivals::{Kept, Rivals, WAYS, Way},
};
use anyhow::Result;
use belay_tests::{run, wait::GENEROUS};
use std::{
    process::{Command, Stdio},
    time::Instant,
};

/// Logins measured for each way, in turns.
const ROUNDS: usize = 40;

/// Measures and prints.
///
/// # Errors
/// A login fails.
pub fn measure(rivals: &Rivals<'_>) -> Result<()> {
    let cold = turns(rivals, |way| rivals.ssh(way, Kept::Nothing))?;
    let target = Target::Times(0.6, wall(&cold, Way::Tunnel));
    show("login, cold, p50", wall(&cold, Way::Belay), "ms", target, &beside(&cold, wall));
    show("login, cold, CPU of the servers", cpu(&cold, Way::Belay), "ms", Target::None, &beside(&cold, cpu));
    let shared = turns(rivals, |way| rivals.ssh(way, Kept::Outer))?;
    let target = Target::Times(1.0, wall(&shared, Way::Direct));
    show("login, outer hop shared, p50", wall(&shared, Way::Belay), "ms", target, &beside(&shared, wall));
    let used = cpu(&shared, Way::Belay);
    show("login, outer hop shared, CPU of the servers", used, "ms", Target::None, &beside(&shared, cpu));
    session(rivals)
}

/// One more session of an open connection.
fn session(rivals: &Rivals<'_>) -> Result<()> {
    let path = format!("ControlPath={}/s.%C", rivals.dir().display());
    let ssh = |way: Way| {
        let mut ssh = rivals.ssh(way, Kept::Nothing);
        ssh.args(["-o", "ControlMaster=auto", "-o", &path, "-o", "ControlPersist=60"]);
        ssh
    };
    let open = turns(rivals, ssh);
    for way in WAYS {
        let _ = run(ssh(way).args(["-O", "exit", way.host()]), b"");
    }
    let open = open?;
    let (belay, tunnel) = (wall(&open, Way::Belay), wall(&open, Way::Tunnel));
    show("one more session, p50", belay, "ms", Target::None, &beside(&open, wall));
    let said = "log before act and all: the difference to -R + ProxyJump";
    show("one more session, added", belay - tunnel, "ms", Target::AtMost(5.0), said);
    Ok(())
}

/// For each way: milliseconds of every login, and mean CPU milliseconds of the servers for one.
type Turns = Vec<(Way, Samples, f64)>;

fn wall(turns: &Turns, way: Way) -> f64 {
    turns.iter().find(|(one, ..)| *one == way).map_or(0.0, |(_, samples, _)| samples.p50())
}

fn cpu(turns: &Turns, way: Way) -> f64 {
    turns.iter().find(|(one, ..)| *one == way).map_or(0.0, |(.., cpu)| *cpu)
}

fn turns(rivals: &Rivals<'_>, ssh: impl Fn(Way) -> Command) -> Result<Turns> {
    let call = |way: Way| -> Result<f64> {
        let mut ssh = ssh(way);
        ssh.args([way.host(), "true"]);
        let start = Instant::now();
        let mut child = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let ended = belay_tests::wait::end_of(&mut child, GENEROUS)?;
        let took = start.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(ended.is_some_and(|status| status.success()), "ssh {} true: {ended:?}", way.host());
        Ok(took)
    };
    let mut turns: Turns = WAYS.map(|way| (way, Samples::default(), 0.0)).into();
    for (way, ..) in &turns {
        // The first opens what is kept.
        call(*way)?;
    }
    for _ in 0..ROUNDS {
        for (way, samples, cpu) in &mut turns {
            let servers = rivals.servers(*way);
            let before = meter::cpu_seconds(&servers);
            samples.add(call(*way)?);
            *cpu += (meter::cpu_seconds(&servers) - before) * 1e3 / ROUNDS as f64;
        }
    }
    Ok(turns)
}

fn beside(turns: &Turns, of: fn(&Turns, Way) -> f64) -> String {
    format!("-R + ProxyJump {}, sshd {}", short(of(turns, Way::Tunnel)), short(of(turns, Way::Direct)))
}
