//! 1,000 approved devices that do nothing but keep their connection: gateway memory after 40 keep-alives of each, CPU to
//! let one in, and how they come back after `kill -9` of the gateway.
//!
//! They keep alive every second instead of every twenty, so that 40 take a minute: memory counts keep-alives, not seconds.

use crate::{
    figure::{Target, short, show},
    meter,
    sim::{Agent, Connected, Dialler},
    size,
};
use anyhow::{Context, Result, ensure};
use belay_certs::token::TokenFile;
use belay_tests::{Plan, World, call::run_within, wait::BULKY};
use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Simulated agents.
const AGENTS: usize = 1_000;
/// Joins and connections under way at one time.
const AT_ONCE: usize = 64;
/// Keep-alives of each before memory counts: quinn's connections grow until the 32nd (TARGETS.md, tuning 4).
const KEEP_ALIVES: u64 = 40;
/// Time between two of them.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Measures and prints.
///
/// # Errors
/// An agent is not let in, or does not come back.
pub fn measure() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
    let world = World::prepare(scratch.path(), Plan::without_devices())?;
    world.bring_up(&|_| {})?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agents = runtime.block_on(enrol(&world, AGENTS))?;
    world.stop_gateway()?;
    let starts = size::starts(&world)?;
    show("gateway, start to accepting, 1,000 devices, p50", starts.p50(), "ms", Target::AtMost(500.0), "");
    world.start_gateway()?;
    runtime.block_on(stay(&world, agents))?;
    world.stop()
}

/// Simulated agents of this world.
///
/// # Errors
/// No socket, or no CA.
pub fn dialler(world: &World, keep_alive: Duration) -> Result<Arc<Dialler>> {
    let ca = world.gateway_dir().join("keys/transport-ca.pem");
    Ok(Arc::new(Dialler::new(&ca, ([127, 0, 0, 1], world.quic_port()).into(), keep_alive)?))
}

/// Joins `count`, approves with one signature, and fetches policy and record, as machines do on their first day.
///
/// # Errors
/// One of them is not let in.
pub async fn enrol(world: &World, count: usize) -> Result<Vec<Agent>> {
    let dialler = dialler(world, KEEP_ALIVE)?;
    let token = world.dir().join("fleet.token");
    world.make_token("acme", &token, &["--uses", &count.to_string()])?;
    let file = Arc::new(TokenFile::parse(&fs::read(&token)?)?);
    let start = Instant::now();
    let agents = each((0..count).collect(), {
        let dialler = Arc::clone(&dialler);
        move |number| {
            let (dialler, file) = (Arc::clone(&dialler), Arc::clone(&file));
            async move { dialler.join(&file, &format!("m{number}")).await }
        }
    })
    .await?;
    show(&format!("{count} joins"), start.elapsed().as_secs_f64(), "s", Target::None, "keys of the machines included");
    let start = Instant::now();
    let owner = world.person("tech");
    let mut approve = owner.belay_command()?;
    approve.args(["approve", "*.acme", "--yes", "--ca"]).arg(world.tenant_dir("acme").join("device-ca"));
    run_within(&mut approve, b"", BULKY)?.succeeded()?;
    show(&format!("{count} approvals with one signature"), start.elapsed().as_secs_f64(), "s", Target::None, "");
    each(agents, move |mut agent| {
        let dialler = Arc::clone(&dialler);
        async move {
            let mut connected = dialler.connect(&agent).await?;
            connected.learn(&mut agent).await?;
            Ok(agent)
        }
    })
    .await
}

/// Connects all, waits for the keep-alives, then kills the gateway and waits for all to be back.
async fn stay(world: &World, agents: Vec<Agent>) -> Result<()> {
    let dialler = dialler(world, KEEP_ALIVE)?;
    let gateway = world.gateway_pid().context("no gateway")?;
    let (base, cpu) = (meter::memory_kib(gateway, "VmRSS")?, meter::cpu_seconds(&[gateway]));
    let connected: Vec<Connected> =
        connect(&dialler, agents.clone()).await?.into_iter().map(|(_, connected)| connected).collect();
    let cpu = (meter::cpu_seconds(&[gateway]) - cpu) * 1e3 / AGENTS as f64;
    let of_each = |rss: f64| (rss - base) / AGENTS as f64;
    let fresh = of_each(meter::memory_kib(gateway, "VmRSS")?);
    show("idle agent, gateway CPU to let it in", cpu, "ms", Target::AtMost(0.9), "handshake, hello, durable record");
    while connected.iter().any(|one| one.quic.stats().frame_tx.ping < KEEP_ALIVES) {
        tokio::time::sleep(KEEP_ALIVE / 2).await;
        ensure!(connected.iter().all(|one| one.quic.close_reason().is_none()), "an agent lost its connection");
    }
    let kept = of_each(meter::memory_kib(gateway, "VmRSS")?);
    let beside = format!("fresh {}; gateway without agents {} MB", short(fresh), short(base / 1024.0));
    show("idle agent, gateway memory, 40 keep-alives", kept, "KiB", Target::AtMost(40.0), &beside);
    world.kill_gateway();
    let start = Instant::now();
    world.start_gateway()?;
    let lost = each(connected, |one: Connected| async move { Ok(one.quic.closed().await) });
    lost.await?;
    let heard = start.elapsed().as_secs_f64();
    let _back = connect(&dialler, agents).await?;
    let beside = format!("the last heard of it after {} s", short(heard));
    show("1,000 agents back after kill -9", start.elapsed().as_secs_f64(), "s", Target::AtMost(60.0), &beside);
    Ok(())
}

/// Connects all of them, in the order in which they come in.
///
/// # Errors
/// The gateway does not want one.
pub async fn connect(dialler: &Arc<Dialler>, agents: Vec<Agent>) -> Result<Vec<(Agent, Connected)>> {
    let dialler = Arc::clone(dialler);
    each(agents, move |agent| {
        let dialler = Arc::clone(&dialler);
        async move {
            let connected = dialler.connect(&agent).await?;
            Ok((agent, connected))
        }
    })
    .await
}

/// Does something with each, [`AT_ONCE`] at a time.
async fn each<T, R, F, W>(all: Vec<T>, work: F) -> Result<Vec<R>>
where
    R: Send + 'static,
    F: Fn(T) -> W,
    W: Future<Output = Result<R>> + Send + 'static,
{
    let (mut under_way, mut done) = (JoinSet::new(), Vec::with_capacity(all.len()));
    for one in all {
        if under_way.len() >= AT_ONCE
            && let Some(ended) = under_way.join_next().await
        {
            done.push(ended??);
        }
        under_way.spawn(work(one));
    }
    while let Some(ended) = under_way.join_next().await {
        done.push(ended??);
    }
    Ok(done)
}
