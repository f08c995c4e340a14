//! What recordings cost: 200 busy sessions on four machines with recordings and without, and how long a search over what many
//! sessions showed takes.

use crate::{
    echo::Terminal,
    figure::{Samples, Target, short, show},
    meter,
};
use anyhow::{Context, Result, ensure};
use belay_tests::{
    Plan, World,
    plan::Tenant,
    wait::{BULKY, GENEROUS, until},
};
use std::{
    fs::File,
    io::{self, Read},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Sessions that show something all the time, and the machines that they are spread over: one takes 64 logins.
const BUSY: usize = 200;
const DEVICES: &[&str] = &["web1", "web2", "web3", "web4"];
/// What each of them follows: twenty lines, five times a second. One writer for all: what the sessions' programs take is no cost of
/// ours.
const LINES: &str = "while :; do seq 20; sleep 0.2; done";
/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(15);
/// Between two bytes of the one whose echo is measured.
const ECHO_EVERY: Duration = Duration::from_millis(20);
/// Sessions that are searched, what each shows in bytes, and searches.
const SEARCHED: usize = 300;
const SHOWN_BYTES: usize = 512 << 10;
const SEARCHES: usize = 20;

/// Measures and prints.
///
/// # Errors
/// A session cannot be opened, or is not found.
pub fn measure() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
    let world = World::prepare(scratch.path(), plan())?;
    world.bring_up(&|_| {})?;
    let recorded = busy(&world)?;
    change(&world, r#"sed -i 's/^to = \["age1.*/readable_by_gateway = true/'"#)?;
    search(&world)?;
    change(&world, r"sed -i '/^\[recording\]/,/^$/d'")?;
    let without = busy(&world)?;
    let beside = format!("without recordings {} %", short(without.cpu));
    show("200 busy sessions, gateway and four agents, CPU", recorded.cpu, "%", Target::None, &beside);
    for (name, of) in [("p50", Samples::p50 as fn(&Samples) -> f64), ("p99", Samples::p99)] {
        let beside = format!("without recordings {} us", short(of(&without.echo)));
        show(&format!("echo beside them, {name}"), of(&recorded.echo), "us", Target::None, &beside);
    }
    world.stop()
}

fn plan() -> Plan {
    Plan { tenants: vec![Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: DEVICES }] }
}

/// What 200 busy sessions take.
struct Busy {
    /// Of one core, in per cent.
    cpu: f64,
    echo: Samples,
}

fn busy(world: &World) -> Result<Busy> {
    let followed = world.dir().join("followed.log");
    let lines = File::create(&followed)?;
    let mut sessions = Sessions(vec![Command::new("sh").args(["-c", LINES]).stdout(lines).spawn()?]);
    let follow = format!("echo begun; exec tail -n 0 -f {}", followed.display());
    for device in DEVICES.iter().cycle().take(BUSY) {
        let mut ssh = alone(world);
        ssh.args(["-tt", &format!("{device}.acme"), &follow]);
        let mut begun = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let shown = begun.stdout.take();
        sessions.0.push(begun);
        // One after the other: what all of them cost is measured, not two hundred logins at one moment.
        let mut shown = shown.context("no output")?;
        shown.read_exact(&mut [0]).with_context(|| format!("a session on {device} did not begin"))?;
        thread::spawn(move || io::copy(&mut shown, &mut io::sink()));
    }
    let mut ssh = alone(world);
    ssh.args(["-tt", "web1.acme", "stty raw -echo && printf R && exec cat"]);
    let mut terminal = Terminal::open(ssh)?;
    let mut pids = vec![world.gateway_pid().context("no gateway")?];
    for device in DEVICES {
        pids.push(world.agent_pid(&format!("{device}.acme")).context("no agent")?);
    }
    let (before, start, mut echo) = (own_seconds(&pids)?, Instant::now(), Samples::default());
    while start.elapsed() < WATCHED {
        echo.add(terminal.echo(b'x')?);
        thread::park_timeout(ECHO_EVERY);
    }
    Ok(Busy { cpu: (own_seconds(&pids)? - before) / start.elapsed().as_secs_f64() * 100.0, echo })
}

/// CPU seconds of these processes without what they started: the sessions' programs are the same either way.
fn own_seconds(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| meter::own_seconds(*pid)).sum()
}

/// `ssh` with a connection of its own to the machine.
fn alone(world: &World) -> Command {
    let mut ssh = world.person("tech").ssh_command();
    ssh.args(["-o", "ControlPath=none"]);
    ssh
}

/// Ends with this value.
struct Sessions(Vec<Child>);

impl Drop for Sessions {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

fn change(world: &World, editor: &str) -> Result<()> {
    let logs = DEVICES.iter().map(|device| world.log(&format!("{device}.acme")));
    let marked: Vec<_> = logs.map(|log| (log.mark(), log)).collect();
    world.edit("acme", editor)?;
    let has = |line: &str| line.contains("policy") && line.contains("version=");
    marked.into_iter().try_for_each(|(mark, log)| log.wait("a new policy", mark, GENEROUS, has).map(drop))
}

fn search(world: &World) -> Result<()> {
    let tech = world.person("tech");
    for number in 0..SEARCHED {
        let command = format!("head -c {} /dev/urandom | base64; echo needle number{number}", SHOWN_BYTES / 4 * 3);
        tech.ssh("web1.acme", &command).must();
    }
    let start = Instant::now();
    until("all in the index", BULKY, || {
        let said = tech.gw("search number0 --json").must().json();
        ensure!(said["waiting"] == 0 && said["found"].as_array().is_some_and(|found| found.len() == 1), "{said}");
        Ok(())
    })?;
    let indexed = start.elapsed().as_secs_f64();
    let mut times = Samples::default();
    for number in 0..SEARCHES {
        let start = Instant::now();
        let said = tech.gw(&format!("search number{number} --json")).must().json();
        times.add(start.elapsed().as_secs_f64() * 1e3);
        ensure!(said["found"].as_array().is_some_and(|found| found.len() == 1), "{said}");
    }
    let bytes = (SEARCHED * SHOWN_BYTES) >> 20;
    let beside = format!(
        "over {bytes} MiB of {SEARCHED} sessions (the target is for 5 GB of 10,000); in the index {} s after the last",
        short(indexed)
    );
    show("search, p50", times.p50(), "ms", Target::AtMost(300.0), &beside);
    Ok(())
}
