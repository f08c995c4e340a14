//! One signed order on 10,000 simulated agents: from its submission until the last device has the proof that its result is
//! durable; several times. Each agent judges the order, signs its intent, checks the receipt, signs its end and checks that
//! receipt, with the code that real agents use; only the script's process is missing. Meanwhile a person of another tenant types
//! in a shell.

use crate::{
    echo::Terminal,
    figure::{Samples, Target, short, show},
    idle, meter,
    ordered::{self, now},
    sim::{self, Agent, Connected},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use belay_certs::{
    Digest, Id, Signed, Timestamp,
    order::{Clocks, DeviceLine, Machine, Offer, Outcome, judge},
    policy::{Chain, DeviceFacts, LogIdentity, Policies},
    receipt::{self, Receipt},
    statement::{self, Body, Head, RunEnd, RunIntent, SignedStatement, Statement},
    tlog::Checkpoint,
};
use belay_protocol::{ReceiptGiven, RefusalCode, RunOffered, StatementMade, ToAgent};
use belay_tests::{Plan, World, plan::Tenant};
use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc::Sender, watch};

/// Simulated agents.
const AGENTS: usize = 10_000;
/// As real agents keep alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Orders, one after the other: what is shown is their median.
const ROUNDS: usize = 3;
/// Before each: what the one before left is written.
const SETTLE: Duration = Duration::from_secs(3);
/// The rest then: a tenant's share of events is full again, and somebody types, to compare with.
const REST: Duration = Duration::from_secs(10);
/// The pause between two bytes: as fast as anybody types.
const TYPED_EVERY: Duration = Duration::from_millis(10);
/// Devices that start before a job is cancelled.
const STARTS_BEFORE_CANCEL: usize = 2_000;
/// How long after a cancel it is watched whether another device starts: five times what it is to take.
const WATCHED: Duration = Duration::from_secs(5);

/// What all agents go by.
struct Fleet {
    chain: Chain,
    log: LogIdentity,
    since: Timestamp,
}

/// Measures and prints.
///
/// # Errors
/// A device does not end its run, or a proof does not hold.
pub fn measure() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
    let acme = Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: &[] };
    let globex = Tenant { name: "globex", owner: "other", people: &[], onlookers: &[], devices: &["till1"] };
    let world = World::prepare(scratch.path(), Plan { tenants: vec![acme, globex] })?;
    world.bring_up(&|_| {})?;
    let since = now();
    let version = ordered::allow(&world, "root")?;
    let runtime = sim::runtime()?;
    let agents = runtime.block_on(idle::enrol(&world, AGENTS))?;
    let fleet = Arc::new(Fleet::of(&world, since)?);
    let connected =
        runtime.block_on(async { idle::connect(&idle::dialler(&world, KEEP_ALIVE)?, agents.clone()).await })?;
    list(&world)?;
    let lines = || agents.iter().map(line).collect::<Result<Vec<_>>>();
    let order = || ordered::order(&world, &fleet.chain, lines()?, (version, "root"));
    let orders = (0..ROUNDS).map(|_| order()).collect::<Result<Vec<_>>>()?;
    let last = order()?;
    let mut ssh = world.person("other").ssh_command();
    ssh.args(["-tt", "till1.globex", "stty raw -echo && printf R && exec cat"]);
    let mut shell = Terminal::open(ssh)?;
    let mut runs: Vec<Run> = connected.into_iter().map(|(agent, at)| Run::new(Arc::clone(&fleet), agent, at)).collect();
    let (mut quiet, mut meanwhile, mut rounds) = (Samples::default(), Samples::default(), Rounds::default());
    for order in orders {
        thread::park_timeout(SETTLE);
        let rested = Instant::now() + REST;
        while Instant::now() < rested {
            quiet.add(shell.echo(b'x')?);
            thread::park_timeout(TYPED_EVERY);
        }
        runs =
            typed_beside(&mut shell, &mut meanwhile, || runtime.block_on(carry_out(&world, runs, order, &mut rounds)))?;
        runtime.block_on(over(&world))?;
    }
    rounds.show();
    let beside = format!(
        "{} us before each; p50 {} us, {} before; {} bytes",
        short(quiet.p99()),
        short(meanwhile.p50()),
        short(quiet.p50()),
        meanwhile.count()
    );
    let target = Target::Times(3.0, quiet.p99());
    show("echo in another tenant's shell meanwhile, p99", meanwhile.p99(), "us", target, &beside);
    runtime.block_on(call_off(&world, runs, last))?;
    world.stop()
}

/// What `done` gives, while somebody types as fast as anybody does.
fn typed_beside<T>(shell: &mut Terminal, meanwhile: &mut Samples, done: impl FnOnce() -> Result<T>) -> Result<T> {
    let (stop, stopped) = mpsc::sync_channel::<()>(0);
    thread::scope(|scope| {
        let typed = scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TYPED_EVERY) {
                meanwhile.add(shell.echo(b'x')?);
            }
            anyhow::Ok(())
        });
        let done = done();
        drop(stop);
        typed.join().map_err(|_| anyhow!("the shell's thread ended"))??;
        done
    })
}

/// What each round took.
#[derive(Default)]
struct Rounds {
    /// Seconds of the first, which finds nothing in memory.
    first: f64,
    seconds: Samples,
    gateway_ms: Samples,
    agents_ms: Samples,
    submitted: Samples,
    /// Seconds of both processors that the host took.
    stolen: Samples,
}

impl Rounds {
    fn show(&self) {
        let beside = format!(
            "median of {ROUNDS}, first {}, {} to {}; submitted after {} s; intent and result of each durable and proved",
            short(self.first),
            short(self.seconds.quantile(0.0)),
            short(self.seconds.quantile(1.0)),
            short(self.submitted.p50())
        );
        show("fan-out to 10,000 agents", self.seconds.p50(), "s", Target::AtMost(10.0), &beside);
        let beside = format!(
            "{} to {}; and {} ms of the simulated agents on the same cores, at a lower priority; the host took {} to {} s meanwhile",
            short(self.gateway_ms.quantile(0.0)),
            short(self.gateway_ms.quantile(1.0)),
            short(self.agents_ms.p50()),
            short(self.stolen.quantile(0.0)),
            short(self.stolen.quantile(1.0))
        );
        show("the same, gateway CPU a device", self.gateway_ms.p50(), "ms", Target::AtMost(0.5), &beside);
    }
}

/// The devices as a person lists them.
fn list(world: &World) -> Result<()> {
    let tech = world.person("tech");
    let mut times = Samples::default();
    for _ in 0..5 {
        let start = Instant::now();
        let said = tech.gw("devices --json").must();
        times.add(start.elapsed().as_secs_f64() * 1e3);
        ensure!(said.json().as_array().is_some_and(|rows| rows.len() == AGENTS), "not all devices are listed");
    }
    show(
        "list of 10,000 devices, p50",
        times.p50(),
        "ms",
        Target::AtMost(200.0),
        "`ssh gw devices --json`, login shared",
    );
    Ok(())
}

/// The agent's line in an order's list.
fn line(agent: &Agent) -> Result<DeviceLine> {
    let DeviceFacts { address, serial, .. } = agent.facts()?;
    Ok(DeviceLine { name: address.device, serial, sealed: None })
}

/// Submits the order, and lets every agent carry it out.
async fn carry_out(world: &World, agents: Vec<Run>, order: Vec<u8>, rounds: &mut Rounds) -> Result<Vec<Run>> {
    let gateway = world.gateway_pid().context("no gateway")?;
    let used = || {
        let (gateway, agents) = (meter::own_seconds(gateway)?, meter::own_seconds(std::process::id())?);
        anyhow::Ok((gateway, agents, meter::stolen_seconds()?))
    };
    let mut carried = tokio::task::JoinSet::new();
    for run in agents {
        carried.spawn(run.carry_out());
    }
    let before = used()?;
    let start = Instant::now();
    let tech = world.person("tech");
    let submitted = tokio::task::spawn_blocking(move || {
        tech.gw_with_input("run acme --json", &order).must();
        start.elapsed()
    });
    let mut runs = Vec::new();
    while let Some(ended) = carried.join_next().await {
        runs.push(ended??);
    }
    let (took, after, submitted) = (start.elapsed(), used()?, submitted.await?);
    let each = |before: f64, after: f64| (after - before) * 1e3 / AGENTS as f64;
    if rounds.seconds.count() == 0 {
        rounds.first = took.as_secs_f64();
    }
    rounds.seconds.add(took.as_secs_f64());
    rounds.gateway_ms.add(each(before.0, after.0));
    rounds.agents_ms.add(each(before.1, after.1));
    rounds.submitted.add(submitted.as_secs_f64());
    rounds.stolen.add(after.2 - before.2);
    Ok(runs)
}

/// Submits an order, and cancels it when some have started: when the last of the others did.
async fn call_off(world: &World, agents: Vec<Run>, order: Vec<u8>) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (starts, mut started) = tokio::sync::mpsc::channel(agents.len());
    let mut carried = tokio::task::JoinSet::new();
    for run in agents {
        carried.spawn(run.start(starts.clone(), stopped.clone()));
    }
    let tech = world.person("tech");
    let said = tokio::task::spawn_blocking(move || tech.gw_with_input("run acme --json", &order).must().json()).await?;
    let id = said["job"].as_str().context("no job")?.to_owned();
    for _ in 0..STARTS_BEFORE_CANCEL {
        started.recv().await.context("no more starts")?;
    }
    let tech = world.person("tech");
    let cancelled = tokio::task::spawn_blocking(move || {
        tech.gw(&format!("cancel {id}")).must();
        Instant::now()
    })
    .await?;
    tokio::time::sleep(WATCHED).await;
    stop.send(true)?;
    let mut last = cancelled;
    let mut count = STARTS_BEFORE_CANCEL;
    drop(starts);
    while let Some(at) = started.recv().await {
        last = last.max(at);
        count += 1;
    }
    while let Some(ended) = carried.join_next().await {
        ended??;
    }
    ensure!(count < AGENTS, "all had started before the cancel");
    let after = (last - cancelled).as_secs_f64() * 1e3;
    let beside = format!("{count} of {AGENTS} had started; watched for {} s", WATCHED.as_secs());
    show("the last start after `cancel` had answered", after, "ms", Target::AtMost(1_000.0), &beside);
    Ok(())
}

/// The job is over, and all of it succeeded.
async fn over(world: &World) -> Result<()> {
    let tech = world.person("tech");
    for _ in 0..100 {
        let jobs = tech.gw("jobs --json").must().json();
        if jobs[0]["phase"] == "over" {
            ensure!(jobs[0]["counts"]["succeeded"] == AGENTS, "{jobs:#}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the job did not end");
}

/// One agent with its order.
struct Run {
    fleet: Arc<Fleet>,
    agent: Agent,
    connected: Connected,
    seq: u64,
    previous: Option<Digest>,
    kept: Option<Checkpoint>,
}

impl Fleet {
    fn of(world: &World, since: Timestamp) -> Result<Self> {
        let chain = ordered::chain(world)?;
        let log = chain.policy().gateway.logs.first().context("no log")?.clone();
        Ok(Self { chain, log, since })
    }
}

impl Run {
    fn new(fleet: Arc<Fleet>, agent: Agent, connected: Connected) -> Self {
        Self { fleet, agent, connected, seq: 0, previous: None, kept: None }
    }

    async fn offered(&mut self) -> Result<RunOffered> {
        loop {
            if let ToAgent::RunOffered(offered) = self.connected.hear().await? {
                return Ok(offered);
            }
        }
    }

    /// Waits for the order and for the word to start, and says when that came; ends with `stopped`. Who is not let start, does
    /// not.
    async fn start(mut self, starts: Sender<Instant>, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let offered = tokio::select! {
            offered = self.offered() => offered?,
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
        };
        let intent = self.judge(offered)?;
        if self.prove(Body::RunStarted(intent)).await? {
            starts.send(Instant::now()).await?;
        }
        Ok(())
    }

    /// Waits for the order, and does all that an agent does but start the script.
    async fn carry_out(mut self) -> Result<Self> {
        let offered = self.offered().await?;
        let intent = self.judge(offered)?;
        let order = intent.order;
        ensure!(self.prove(Body::RunStarted(intent)).await?, "the receipt permits nothing");
        let end = RunEnd {
            order,
            outcome: Outcome::Succeeded,
            exit: Some(0),
            signal: None,
            reason: None,
            duration_ms: 1,
            output: None,
            output_bytes: 0,
            output_dropped: 0,
        };
        self.prove(Body::RunEnded(end)).await?;
        Ok(self)
    }

    fn judge(&self, offered: RunOffered) -> Result<RunIntent> {
        let order = Signed { bytes: offered.order, signatures: vec![offered.order_signature] };
        let runbook = Signed { bytes: offered.runbook, signatures: vec![offered.runbook_signature] };
        let policies = Policies { tenant: &self.fleet.chain, imports: Vec::new() };
        let offer = Offer { order: &order, runbook: &runbook, place: offered.index, path: &offered.path, sealed: None };
        let machine = Machine { device: self.agent.facts()?, platform: "linux", remembers_since: self.fleet.since };
        let permit = judge(&policies, &offer, &machine, Clocks { here: now(), gateway: None })?;
        Ok(RunIntent::of(&permit, Digest::of(&order.bytes)))
    }

    /// Says it, and checks the proof that it is in the log. Whether it permits a start.
    async fn prove(&mut self, body: Body) -> Result<bool> {
        let (signed, id) = self.sign(body)?;
        let (consistency_from, origin) =
            self.kept.as_ref().map(|kept| (kept.size, kept.origin.clone())).unwrap_or_default();
        let (text, signature) = (signed.text.clone(), signed.signature.clone());
        self.connected.say(&StatementMade { seq: self.seq, text, signature, consistency_from, origin }).await?;
        let given = loop {
            match self.connected.hear().await? {
                ToAgent::ReceiptGiven(given) if given.statement == id.0 => break given,
                ToAgent::StatementRefused(refused) if refused.code == RefusalCode::Withdrawn.code() => {
                    return Ok(false);
                }
                ToAgent::StatementRefused(refused) => bail!("refused: {}", refused.sentence),
                _ => {}
            }
        };
        let recorded = receipt::verify(&of(given), &self.fleet.log, self.kept.as_ref(), &signed)?;
        self.kept = Some(recorded.checkpoint().clone());
        Ok(recorded.permission().is_ok())
    }

    fn sign(&mut self, body: Body) -> Result<(SignedStatement, Id)> {
        self.seq += 1;
        let facts = self.agent.facts()?;
        let id = Id::random()?;
        let head = Head {
            id,
            device: facts.address,
            serial: facts.serial,
            seq: self.seq,
            previous: self.previous,
            checkpoint: self.kept.as_ref().map(|kept| statement::CheckpointSeen {
                origin: kept.origin.clone(),
                size: kept.size,
                root: Digest(kept.root),
            }),
            issued: now(),
        };
        let signed = statement::sign(&Statement { head, body }, &self.agent.host_key)?;
        self.previous = Some(Digest::of(signed.text.as_bytes()));
        Ok((signed, id))
    }
}

fn of(given: ReceiptGiven) -> Receipt {
    Receipt {
        entry: given.entry,
        index: given.index,
        inclusion: given.inclusion,
        checkpoint: given.checkpoint,
        consistency: given.consistency,
        consistency_from: given.consistency_from,
    }
}
