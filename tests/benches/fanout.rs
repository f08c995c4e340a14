//! One signed order on 10,000 simulated agents: from its submission until the last device has the proof that its result is
//! durable. Each agent judges the order, signs its intent, checks the receipt, signs its end and checks that receipt, with the
//! code that real agents use; only the script's process is missing. Meanwhile another tenant's people log in.

use crate::{
    figure::{Samples, Target, short, show},
    idle, meter,
    sim::{Agent, Connected},
};
use anyhow::{Context, Result, bail, ensure};
use belay_certs::{
    Digest, Id, Namespace, Signed, Timestamp,
    limits::DOCUMENT_BYTES_MAX,
    order::{Clocks, DeviceLine, DeviceList, Machine, Offer, Order, Outcome, Waves, judge},
    policy::{Chain, DeviceFacts, LogIdentity, Policies, Step},
    receipt::{self, Receipt},
    runbook::Arguments,
    statement::{self, Body, Head, RunEnd, RunIntent, SignedStatement, Statement},
    tlog::Checkpoint,
};
use belay_protocol::{ReceiptGiven, RunOffered, StatementMade, ToAgent};
use belay_tests::{Person, Plan, World, plan::Tenant};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Simulated agents.
const AGENTS: usize = 10_000;
/// As real agents keep alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Logins of the other tenant before, to compare with.
const LOGINS_BEFORE: usize = 20;
/// The pause between two logins: they are to measure, and not to be the load.
const LOGIN_EVERY: Duration = Duration::from_millis(200);
/// What all of them run.
const SCRIPT: &str = "#!/bin/sh\n# /// belay\n# name = \"noop\"\n# description = \"nothing\"\n# issued = ISSUED\n# account = \"root\"\n# ///\ntrue\n";

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
    let version = allow(&world)?;
    // A thread of their own: connections live on while the rest of this waits.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let agents = runtime.block_on(idle::enrol(&world, AGENTS))?;
    let fleet = Arc::new(fleet(&world, since)?);
    let connected =
        runtime.block_on(async { idle::connect(&idle::dialler(&world, KEEP_ALIVE)?, agents.clone()).await })?;
    list(&world)?;
    let order = order(&world, &fleet, &agents, version)?;
    let mut before = Samples::default();
    for _ in 0..LOGINS_BEFORE {
        before.add(login(&world));
    }
    let (stop, stopped) = mpsc::sync_channel::<()>(0);
    let world = &world;
    let meanwhile = thread::scope(|scope| {
        let logins = scope.spawn(move || {
            let mut meanwhile = Samples::default();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOGIN_EVERY) {
                meanwhile.add(login(world));
            }
            meanwhile
        });
        let done = runtime.block_on(carry_out(world, &fleet, connected, order));
        drop(stop);
        let meanwhile = logins.join().unwrap_or_default();
        done.map(|()| meanwhile)
    })?;
    let (p50, p99) = (meanwhile.p50(), meanwhile.p99());
    let beside = format!("{} ms before; p99 {} ms, {} logins", short(before.p50()), short(p99), meanwhile.count());
    show("another tenant's `ssh till1 true` meanwhile, p50", p50, "ms", Target::None, &beside);
    world.stop()
}

/// One command on the other tenant's device, in milliseconds.
fn login(world: &World) -> f64 {
    let start = Instant::now();
    world.person("other").ssh("till1.globex", "true").must();
    start.elapsed().as_secs_f64() * 1e3
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

/// Submits the order, and lets every agent carry it out.
async fn carry_out(world: &World, fleet: &Arc<Fleet>, agents: Vec<(Agent, Connected)>, order: Vec<u8>) -> Result<()> {
    let gateway = world.gateway_pid().context("no gateway")?;
    let mut runs = tokio::task::JoinSet::new();
    for (agent, connected) in agents {
        runs.spawn(Run::new(Arc::clone(fleet), agent, connected).carry_out());
    }
    let cpu = meter::cpu_seconds(&[gateway]);
    let start = Instant::now();
    let tech = world.person("tech");
    let submitted = tokio::task::spawn_blocking(move || {
        tech.gw_with_input("run acme --json", &order).must();
        start.elapsed()
    });
    while let Some(ended) = runs.join_next().await {
        ended??;
    }
    let (took, submitted) = (start.elapsed(), submitted.await?);
    let cpu = (meter::cpu_seconds(&[gateway]) - cpu) * 1e3 / AGENTS as f64;
    let beside =
        format!("submitted after {} s; intent and result of each durable and proved", short(submitted.as_secs_f64()));
    show("fan-out to 10,000 agents", took.as_secs_f64(), "s", Target::AtMost(10.0), &beside);
    show("the same, gateway CPU a device", cpu, "ms", Target::AtMost(0.5), "logins of the other tenant included");
    over(world).await
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

impl Run {
    fn new(fleet: Arc<Fleet>, agent: Agent, connected: Connected) -> Self {
        Self { fleet, agent, connected, seq: 0, previous: None, kept: None }
    }

    /// Waits for the order, and does all that an agent does but start the script.
    async fn carry_out(mut self) -> Result<()> {
        let offered = loop {
            if let ToAgent::RunOffered(offered) = self.connected.hear().await? {
                break offered;
            }
        };
        let intent = self.judge(offered)?;
        let order = intent.order;
        self.prove(Body::RunStarted(intent)).await?;
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
        self.prove(Body::RunEnded(end)).await
    }

    fn judge(&self, offered: RunOffered) -> Result<RunIntent> {
        let order = Signed { bytes: offered.order, signatures: vec![offered.order_signature] };
        let runbook = Signed { bytes: offered.runbook, signatures: vec![offered.runbook_signature] };
        let policies = Policies { tenant: &self.fleet.chain, imports: Vec::new() };
        let offer = Offer { order: &order, runbook: &runbook, place: offered.index, path: &offered.path };
        let machine = Machine { device: self.agent.facts()?, platform: "linux", remembers_since: self.fleet.since };
        let permit = judge(&policies, &offer, &machine, Clocks { here: now(), gateway: None })?;
        Ok(RunIntent::of(&permit, Digest::of(&order.bytes)))
    }

    /// Says it, and checks the proof that it is in the log.
    async fn prove(&mut self, body: Body) -> Result<()> {
        let (signed, id) = self.sign(body)?;
        let (consistency_from, origin) =
            self.kept.as_ref().map(|kept| (kept.size, kept.origin.clone())).unwrap_or_default();
        let (text, signature) = (signed.text.clone(), signed.signature.clone());
        self.connected.say(&StatementMade { seq: self.seq, text, signature, consistency_from, origin }).await?;
        let given = loop {
            match self.connected.hear().await? {
                ToAgent::ReceiptGiven(given) if given.statement == id.0 => break given,
                ToAgent::StatementRefused(refused) => bail!("refused: {}", refused.sentence),
                _ => {}
            }
        };
        let starts = matches!(Statement::parse(signed.text.as_bytes())?.body, Body::RunStarted(_));
        let recorded = receipt::verify(&of(given), &self.fleet.log, self.kept.as_ref(), &signed)?;
        self.kept = Some(recorded.checkpoint().clone());
        if starts {
            ensure!(recorded.permission().is_ok(), "the receipt permits nothing");
        }
        Ok(())
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

/// Lets `tech` write and run runbooks everywhere, and brings the one that is run; its version.
fn allow(world: &World) -> Result<Digest> {
    let tech = world.person("tech");
    let text = tech.gw("policy show acme").must().out();
    let version: u64 =
        text.lines().find_map(|line| line.strip_prefix("version = ")?.parse().ok()).context("no version")?;
    let mut next = String::new();
    for line in text.lines().filter(|line| !line.starts_with("previous = ")) {
        match line.split(" = ").next() {
            Some("version") => {
                next += &format!("version = {}\nprevious = \"{}\"\n", version + 1, Digest::of(text.as_bytes()));
            }
            Some("issued") => next += &format!("issued = {}\n", now()),
            Some("signers") => next += "signers = [\"tech\"]\n",
            _ => next += &format!("{line}\n"),
        }
    }
    if !next.contains("[runbooks]") {
        next += "\n[runbooks]\nsigners = [\"tech\"]\n";
    }
    next += "\n[[grants]]\nwho = [\"tech\"]\non = [\"*\"]\ndo = [\"run\"]\nas = [\"root\"]\nrunbooks = [\"*\"]\nrisk = \"normal\"\ndevices_max = 10000\n";
    let signature = Person::sign(&world.root_key("acme"), "policy.v1@belay", next.as_bytes())?;
    tech.gw_with_input("policy push acme", &[next.as_bytes(), signature.as_bytes()].concat()).must();
    let script = SCRIPT.replace("ISSUED", &now().to_string());
    let signature = Person::sign(&tech.key(), Namespace::Runbook.as_str(), script.as_bytes())?;
    tech.gw_with_input("runbook push acme", &[script.as_bytes(), signature.as_bytes()].concat()).must();
    Ok(Digest::of(script.as_bytes()))
}

/// The policies as agents have verified them.
fn fleet(world: &World, since: Timestamp) -> Result<Fleet> {
    let shown: Value = world.person("tech").gw("policy show acme --json").must().json();
    let mut chain: Option<Chain> = None;
    for version in shown["versions"].as_array().context("no versions")? {
        let strings = |value: &Value| value.as_str().map(str::to_owned).context("not text");
        let signatures = version["signatures"].as_array().context("no signatures")?;
        let signed = Signed {
            bytes: strings(&version["text"])?.into_bytes(),
            signatures: signatures.iter().map(strings).collect::<Result<_>>()?,
        };
        chain = Some(match chain {
            None => Chain::begin(&signed)?,
            Some(chain) => match chain.extend(&signed)? {
                Step::Next(next) => next,
                Step::Same => bail!("a policy twice"),
            },
        });
    }
    let chain = chain.context("no policy")?;
    let log = chain.policy().gateway.logs.first().context("no log")?.clone();
    Ok(Fleet { chain, log, since })
}

/// The order for all of them, its signature and its list, as they are submitted.
fn order(world: &World, fleet: &Fleet, agents: &[Agent], version: Digest) -> Result<Vec<u8>> {
    let line = |agent: &Agent| -> Result<DeviceLine> {
        let DeviceFacts { address, serial, .. } = agent.facts()?;
        Ok(DeviceLine { name: address.device, serial })
    };
    let list = DeviceList::of(agents.iter().map(line).collect::<Result<_>>()?)?;
    let order = Order {
        tenant: "acme".parse()?,
        id: Id::random()?,
        runbook: "noop".parse()?,
        version,
        account: "root".parse()?,
        ticket: None,
        issued: now(),
        not_before: now(),
        not_after: now().plus(900 * 1_000_000),
        policy_version: fleet.chain.version(),
        policy: fleet.chain.digest(),
        devices: list.count(),
        devices_root: list.root(),
        waves: Waves::default(),
        stop_above: None,
        timeout: None,
        arguments: Arguments::default(),
    };
    let text = order.to_text();
    ensure!(text.len() <= DOCUMENT_BYTES_MAX, "the order is too long");
    let signature = Person::sign(&world.person("tech").key(), Namespace::Order.as_str(), text.as_bytes())?;
    Ok([text.as_bytes(), signature.as_bytes(), list.to_text().as_bytes()].concat())
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now()).whole_second()
}
