//! A search over what 10,000 sessions showed, 5 GB of it: how long the gateway reads until it can be searched, what the index
//! takes, and how long each kind of search takes through ssh; and the same on the auditor's machine for fewer.
//!
//! The recordings are real ones, signed by devices that joined, and stand in the gateway's own store and log; nobody opened
//! ten thousand connections for them: they are put there while the gateway is stopped. `BELAY_SEARCHED=500` puts so many.

use crate::{
    chatter::Chatter,
    figure::{Samples, Target, short, show},
    idle, meter,
    sim::Agent,
};
use anyhow::{Context, Result, anyhow, ensure};
use belay_certs::{
    Digest, Id, PersonRef, Timestamp,
    limits::RECORDING_CHUNK_TEXT_BYTES,
    policy::Recording,
    recording::{
        Note, SignedNote,
        blob::{Readers, is_plain},
        cast::{About, Header, Kind, Writer},
    },
    screen::Lines,
    statement::{self, Body, Head, Intent, SessionKind, Statement},
    time::{DAY, SECOND},
};
use belay_gateway::store::{Chunk, LogKeys, Store};
use belay_rules::{Ask, Outcome, Outer, RecordingName};
use belay_tests::{Plan, World, call::run_within, person::Person, wait::BULKY, world::GATEWAY_NAME};
use std::{
    env, fs,
    ops::Range,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};
use tokio::task::JoinSet;

/// Sessions that the gateway can read, and what each shows in bytes.
const SESSIONS: usize = 10_000;
const SHOWN_BYTES: usize = 512 << 10;
/// Sessions that only the auditor can read.
const SEALED: usize = 100;
/// Machines, and people who work on them.
const DEVICES: usize = 20;
const PEOPLE: usize = 10;
/// Over which time they began.
const DAYS: i64 = 300;
/// Searches of each kind.
const SEARCHES: usize = 30;
/// Bytes that the terminal receives at once.
const PIECE_BYTES: usize = 800;
/// Between two looks whether all is indexed.
const LOOK: Duration = Duration::from_secs(3);
const INDEXED_WITHIN: Duration = Duration::from_secs(3 * 3_600);
/// Set to put another number of sessions there.
const ENV: &str = "BELAY_SEARCHED";

/// Measures and prints.
///
/// # Errors
/// What was put there is not found.
pub fn measure() -> Result<()> {
    giant_line();
    let sessions = env::var(ENV).map_or(Ok(SESSIONS), |count| count.parse())?;
    let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
    let world = World::prepare(scratch.path(), Plan::without_devices())?;
    world.bring_up(&|_| {})?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let agents = runtime.block_on(idle::enrol(&world, DEVICES))?;
    world.stop_gateway()?;
    let start = Instant::now();
    let readers = Readers::of(&recording(Vec::new()))?.context("nobody reads")?;
    let fleet: Vec<Machine> = agents.into_iter().map(Machine::new).collect();
    let fleet = runtime.block_on(fill(&world, fleet, 0..sessions, readers))?;
    show(
        "sessions put there",
        sessions as f64,
        "",
        Target::None,
        &format!("{} s", short(start.elapsed().as_secs_f64())),
    );
    world.start_gateway()?;
    index(&world, sessions)?;
    search(&world, sessions)?;
    world.stop_gateway()?;
    let sealed = sessions..sessions + SEALED.min(sessions);
    runtime.block_on(fill(&world, fleet, sealed.clone(), recipients(&world)?))?;
    world.start_gateway()?;
    at_home(&world, sealed)?;
    world.stop()
}

fn recording(to: Vec<String>) -> Recording {
    Recording { readable_by_gateway: to.is_empty(), to, input: false, keep_days: None }
}

/// Who reads what the gateway may not: whom the policy names.
fn recipients(world: &World) -> Result<Readers> {
    let policy = fs::read_to_string(world.tenant_dir("acme").join("policy-0.toml"))?;
    let from = policy.find("age1").context("the policy names no auditor")?;
    let named = policy.get(from..).and_then(|rest| rest.split('"').next()).context("no recipient")?;
    Readers::of(&recording(vec![named.to_owned()]))?.context("nobody reads")
}

/// A line of 20 MiB, as a program writes it that forgot the line end.
fn giant_line() {
    let bytes = b"0123456789abcdef".repeat((20 << 20) / 16);
    let (start, mut lines, mut found) = (Instant::now(), Lines::new(80, 24), 0);
    for piece in bytes.chunks(4 << 10) {
        found += lines.feed(0, piece).iter().map(|line| line.text.len()).sum::<usize>();
    }
    found += lines.finish().iter().map(|line| line.text.len()).sum::<usize>();
    let rate = found as f64 / start.elapsed().as_secs_f64() / 1e6;
    show("20 MiB without a line end, into lines", rate, "MB/s", Target::AtLeast(20.0), "");
}

/// Puts sessions of these numbers into the stopped gateway, each on the next machine by the next person.
async fn fill(world: &World, fleet: Vec<Machine>, numbers: Range<usize>, readers: Readers) -> Result<Vec<Machine>> {
    let keys = LogKeys::new(world.gateway_dir().join("keys"), GATEWAY_NAME);
    let now = Timestamp::from_system(SystemTime::now()).whole_second();
    let store = Store::open(&world.gateway_dir(), keys, now).await.map_err(|broken| anyhow!("{broken}"))?;
    let mut working = JoinSet::new();
    for (place, mut machine) in fleet.into_iter().enumerate() {
        let (store, numbers, readers, total) = (store.clone(), numbers.clone(), readers.clone(), numbers.end as i64);
        working.spawn(async move {
            let join = machine.join(&store).await?;
            for number in numbers.skip(place).step_by(DEVICES) {
                let back = (total - number as i64) * (DAYS * DAY / total);
                machine.session((&store, join), number, now.plus(-back), &readers).await?;
            }
            anyhow::Ok(machine)
        });
    }
    let mut fleet = Vec::new();
    while let Some(machine) = working.join_next().await {
        fleet.push(machine??);
    }
    store.close().await;
    Ok(fleet)
}

/// A machine that has sessions.
struct Machine {
    agent: Agent,
    /// The number of its last statement, and its digest.
    said: (u64, Option<Digest>),
}

/// The chunks of one recording: each with its note.
type Made = Vec<(SignedNote, Vec<u8>)>;

impl Machine {
    fn new(agent: Agent) -> Self {
        Self { agent, said: (0, None) }
    }

    /// As the gateway calls it.
    async fn join(&self, store: &Store) -> Result<Id> {
        let address = self.agent.facts()?.address;
        let tenant = store.tenant(&address.tenant).context("no tenant")?;
        let row = tenant.device(&address.device).await.map_err(|broken| anyhow!("{broken}"))?;
        Ok(row.context("no such device")?.join)
    }

    async fn say(&mut self, to: (&Store, Id), body: Body, outer: Option<Outer>, at: Timestamp) -> Result<()> {
        let facts = self.agent.facts()?;
        let head = Head {
            id: Id::random()?,
            device: facts.address,
            serial: facts.serial,
            seq: self.said.0 + 1,
            previous: self.said.1,
            checkpoint: None,
            issued: at,
        };
        let said = Statement { head, body };
        let signed = statement::sign(&said, &self.agent.host_key)?;
        self.said = (said.head.seq, Some(Digest::of(signed.text.as_bytes())));
        let ask = Ask::Statement { join: to.1, signed, statement: Box::new(said), outer };
        let recorded = to.0.record(ask, at).await.map_err(|error| anyhow!("{error:?}"))?;
        ensure!(recorded.outcome == Outcome::Recorded, "{:?}", recorded.outcome);
        Ok(())
    }

    /// One session from its beginning to its end.
    async fn session(&mut self, to: (&Store, Id), number: usize, at: Timestamp, readers: &Readers) -> Result<()> {
        let (session, access) = (Id::random()?, Id::random()?);
        let person: PersonRef = format!("p{}", number / DEVICES % PEOPLE).parse()?;
        let device = self.agent.facts()?.address;
        let intent = Intent {
            session,
            access,
            person: person.clone(),
            key: "SHA256:simulated".to_owned(),
            account: "root".to_owned(),
            kind: SessionKind::Shell,
            command: None,
            target: None,
            tty: true,
            ticket: None,
            grant_line: Some(1),
            policies: Vec::new(),
        };
        let outer = Outer { access, person: person.clone(), device: device.device.clone() };
        self.say(to, Body::SessionOpened(intent), Some(outer), at).await?;
        let (agent, readers) = (self.agent.clone(), readers.clone());
        let made = tokio::task::spawn_blocking(move || record(&agent, session, person, number, at, &readers)).await??;
        let name = RecordingName { tenant: device.tenant.clone(), device: device.device.clone(), session };
        let head = made.last().map(|(note, _)| note.digest());
        for (signed, blob) in made {
            let note = signed.note()?;
            let chunk = Chunk {
                name: name.clone(),
                number: note.chunk,
                previous: note.previous,
                is_last: note.last,
                is_sealed: !is_plain(&blob),
                note: signed.text,
                signature: signed.signature,
                bytes: note.blob_bytes,
                at: at.plus(note.to_ms as i64 * 1_000),
            };
            let kept = to.0.keep_chunk(chunk, blob.into()).await.map_err(|error| anyhow!("{error:?}"))?;
            ensure!(kept == note.chunk + 1, "chunk {} was not kept", note.chunk);
        }
        let (exit, signal, reason, files) = (Some(0), None, None, None);
        let (bytes_in, bytes_out) = (0, SHOWN_BYTES as u64);
        let body = Body::SessionEnded { session, exit, signal, reason, bytes_in, bytes_out, recording: head, files };
        self.say(to, body, None, at.plus(600 * SECOND)).await
    }
}

/// What a terminal of 120 columns showed, as the agent writes it down.
fn record(
    agent: &Agent,
    session: Id,
    person: PersonRef,
    number: usize,
    at: Timestamp,
    readers: &Readers,
) -> Result<Made> {
    let facts = agent.facts()?;
    let about = About {
        session,
        tenant: facts.address.tenant.clone(),
        device: facts.address.clone(),
        person,
        account: "root".to_owned(),
        kind: Kind::Shell,
        command: None,
        ticket: None,
    };
    let mut text = Header::new(about, at.seconds()).with_terminal("xterm-256color", 120, 40).to_line()?;
    let (mut chatter, mut writer) = (Chatter::new(number as u64), Writer::default());
    let (mut made, mut shown, mut micros) = (Made::new(), 0, 0);
    let mut seal = |text: &mut String, writer: &mut Writer, last: bool| -> Result<()> {
        writer.flush(text);
        let blob = readers.seal(std::mem::take(text).as_bytes())?;
        let to_ms = writer.last() / 1_000;
        let before = made.last().map(|(note, _): &(SignedNote, Vec<u8>)| (note.digest(), note.note()));
        let (previous, from_ms) = match before {
            Some((digest, note)) => (Some(digest), note?.to_ms),
            None => (None, 0),
        };
        let note = Note {
            device: facts.address.clone(),
            serial: facts.serial,
            session,
            chunk: made.len() as u64,
            from_ms,
            to_ms,
            blob_bytes: blob.len() as u64,
            blob: Digest::of(&blob),
            previous,
            last,
        };
        made.push((note.sign(&agent.host_key)?, blob));
        Ok(())
    };
    let (mut line, mut needle) = (String::new(), Some(format!("needle number{number} in the haystack\r\n")));
    while shown < SHOWN_BYTES {
        line.clear();
        while line.len() < PIECE_BYTES {
            chatter.line(&mut line);
            line.push_str("\r\n");
        }
        if shown > SHOWN_BYTES / 2 {
            line.push_str(&needle.take().unwrap_or_default());
        }
        micros += 50_000;
        writer.output(micros, line.as_bytes(), &mut text);
        shown += line.len();
        if text.len() >= RECORDING_CHUNK_TEXT_BYTES {
            seal(&mut text, &mut writer, false)?;
        }
    }
    seal(&mut text, &mut writer, true)?;
    Ok(made)
}

/// Waits until the gateway has read all, and says what that took.
fn index(world: &World, sessions: usize) -> Result<()> {
    let tech = world.person("tech");
    let gateway = world.gateway_pid().context("no gateway")?;
    let (start, before) = (Instant::now(), meter::cpu_seconds(&[gateway]));
    loop {
        let said = tech.gw("search haystack --limit 1 --json").must().json();
        if said["waiting"] == 0 {
            break;
        }
        ensure!(start.elapsed() < INDEXED_WITHIN, "not indexed: {said}");
        thread::park_timeout(LOOK);
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), meter::cpu_seconds(&[gateway]) - before);
    let shown = (sessions * SHOWN_BYTES) as f64;
    let taken = folder_bytes(&world.gateway_dir().join("recordings"))? as f64;
    let index = folder_bytes(&world.gateway_dir().join("index"))? as f64;
    let of = |bytes: f64| format!("of what was shown; {} GB", short(bytes / 1e9));
    show("shown", shown / 1e9, "GB", Target::None, &format!("in {sessions} sessions"));
    show("recordings on the disk", taken / shown * 100.0, "%", Target::None, &of(taken));
    show("index on the disk", index / shown * 100.0, "%", Target::None, &of(index));
    let beside = format!("{} s on the clock, {} MB a CPU second", short(wall), short(shown / 1e6 / cpu));
    show("to index it, CPU of the gateway", cpu, "s", Target::None, &beside);
    Ok(())
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { folder_bytes(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

/// Each kind of search: what is typed, for the number of a search, and whether it is found however few sessions there are.
type Search = (&'static str, fn(usize) -> String, bool);

const KINDS: &[Search] = &[
    ("a rare word", |n| format!("number{n}"), true),
    ("a common word", |n| ["systemd", "nginx", "kernel", "root", "http"][n % 5].to_owned(), true),
    ("two words", |n| format!("'host{} sshd'", n % 7), true),
    ("a phrase", |n| format!("'needle number{n} in the haystack'"), true),
    ("a rare phrase of common words", |n| format!("'{}:{}:{} host3 named'", n % 24, n + 10, n + 20), false),
    ("an address that is nowhere", |n| format!("10.3.{n}.300"), false),
    (
        "a person's, on a device, since",
        |n| format!("systemd --person p3 --device m{}.acme --since 60d", n % DEVICES),
        false,
    ),
    ("a rare word of a person", |n| format!("number{} --person p{}", n, n / DEVICES % PEOPLE), true),
    ("a common word, a month ago at most", |n| format!("{} --since 30d", ["cron", "err", "adm"][n % 3]), false),
    ("nothing found", |n| format!("nowhere{n}"), false),
];

fn search(world: &World, sessions: usize) -> Result<()> {
    let tech = world.person("tech");
    for (kind, words, found) in KINDS {
        let (mut times, mut lines) = (Samples::default(), 0);
        for number in 0..SEARCHES {
            let typed = format!("search {} --json", words(number % sessions));
            let start = Instant::now();
            let said = tech.gw(&typed).must().json();
            times.add(start.elapsed().as_secs_f64() * 1e3);
            let shown = said["found"].as_array().map_or(0, Vec::len);
            ensure!(!found || shown > 0, "{typed}: {said}");
            lines += shown;
        }
        let beside = format!("p99 {}; {} lines each", short(times.p99()), lines / SEARCHES);
        show(&format!("search, {kind}, p50"), times.p50(), "ms", Target::AtMost(300.0), &beside);
    }
    Ok(())
}

/// The same where the gateway may not read: the auditor's machine fetches, checks, opens and indexes.
fn at_home(world: &World, numbers: Range<usize>) -> Result<()> {
    let tech: Person = world.person("tech");
    let key = world.tenant_dir("acme").join("auditor.age");
    let asked = |text: &str| -> Result<(f64, serde_json::Value)> {
        let mut search = tech.belay_command()?;
        search.args(["search", text, "--tenant", "acme", "--json", "--age-identity"]).arg(&key);
        let start = Instant::now();
        let said = run_within(&mut search, b"", BULKY)?.succeeded()?;
        Ok((start.elapsed().as_secs_f64(), said.json()))
    };
    let last = format!("number{}", numbers.end - 1);
    let (first, found) = asked(&last)?;
    ensure!(found["found"].as_array().is_some_and(|found| found.len() == 1), "{found}");
    let shown = (numbers.len() * SHOWN_BYTES) as f64;
    let index = fs::metadata(tech.home().join("search.db"))?.len() as f64;
    let beside = format!("{} MB shown; index {} % of it", short(shown / 1e6), short(index / shown * 100.0));
    show(&format!("{} sessions fetched and indexed at home", numbers.len()), first, "s", Target::None, &beside);
    let mut times = Samples::default();
    for number in numbers.cycle().take(SEARCHES) {
        times.add(asked(&format!("number{number}"))?.0 * 1e3);
    }
    show("search at home, p50", times.p50(), "ms", Target::AtMost(300.0), &format!("p99 {}", short(times.p99())));
    Ok(())
}
