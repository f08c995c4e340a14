//! `kill -9` of the gateway, the agent or both at any moment: what ran is in the log, what was acknowledged is in the log,
//! the log is whole, and the service is back.

use anyhow::{Result, ensure};
use belay_fuzz::Seeded;
use belay_tests::{
    Person, Plan, Said, World,
    call::run_within,
    export::{self, Files},
    wait::{GENEROUS, Watched, until},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Crashes for every day, and with BELAY_LONG=1.
const ROUNDS: usize = 10;
const ROUNDS_LONG: usize = 100;
/// People who work on the device while it happens: some over one shared login, some with one for each command.
const WORKERS: usize = 3;
/// Tokens made in one round at most: they are there to be lost, not to make the log long.
const TOKENS: usize = 30;
/// A crash comes after up to so many commands of a round, and up to so many milliseconds: two commands' time.
const DONE_BEFORE_MAX: usize = 6;
const MOMENT_MS_MAX: usize = 250;
/// How long a command of somebody whose gateway died may hang: QUIC's idle time on both sides and what follows it.
const HANGING: Duration = Duration::from_secs(150);
/// A device that says nothing hears of a killed gateway with its next keep-alive, after at most 20 s; a busy machine takes
/// twice that. Far below QUIC's idle time of 60 s: whoever waits for that never noticed that the gateway was another.
const BACK: Duration = Duration::from_secs(45);
/// Where the commands run.
const DEVICE: &str = "web1.acme";

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Gateway,
    Agent,
    Both,
}

/// What somebody was told during all rounds.
#[derive(Debug, Default)]
struct Told {
    /// Commands that ended with status 0.
    done: BTreeSet<String>,
    /// Tokens that the gateway took.
    tokens: BTreeSet<String>,
}

struct Bench {
    world: World,
    tech: Person,
    /// Every command appends its id here.
    file: PathBuf,
    told: Watched<Told>,
}

#[test]
fn nothing_that_ran_or_was_acknowledged_is_lost_by_a_kill() {
    let seed = std::env::var("BELAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(9);
    let rounds = if std::env::var_os("BELAY_LONG").is_some() { ROUNDS_LONG } else { ROUNDS };
    let bench = Bench::new();
    let mut seeded = Seeded::new(seed);
    let mut back: BTreeMap<&str, Duration> = BTreeMap::new();
    for round in 0..rounds {
        let victim = [Victim::Gateway, Victim::Agent, Victim::Gateway, Victim::Agent, Victim::Both][round % 5];
        let took = bench.round(round, victim, &mut seeded);
        println!("round {round}: {victim:?} killed, back in service after {} ms", took.as_millis());
        let slowest = back.entry(name(victim)).or_default();
        *slowest = took.max(*slowest);
        bench.check(&format!("round {round} of seed {seed}"));
    }
    for (victim, slowest) in back {
        println!(
            "measured: back in service at most {} ms after a kill -9 of {victim}, and its start",
            slowest.as_millis()
        );
    }
    bench.every_session_has_an_end();
    bench.the_independent_verifier_agrees();
    let told = bench.told.lock();
    println!(
        "measured: {rounds} crashes, {} commands and {} tokens acknowledged, none lost",
        told.done.len(),
        told.tokens.len()
    );
    assert!(told.done.len() >= rounds && !told.tokens.is_empty(), "too little was done to prove anything");
}

fn name(victim: Victim) -> &'static str {
    match victim {
        Victim::Gateway => "the gateway",
        Victim::Agent => "the agent",
        Victim::Both => "both",
    }
}

impl Bench {
    fn new() -> Self {
        let world = World::of(Plan::small());
        let (tech, file) = (world.person("tech"), world.dir().join("ran"));
        fs::write(&file, "").unwrap();
        Self { world, tech, file, told: Watched::default() }
    }

    /// One crash under work; how long it was from the start of what was killed until a command ran again.
    fn round(&self, round: usize, victim: Victim, seeded: &mut Seeded) -> Duration {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stopping = StopAtEnd(&stop);
            for worker in 0..WORKERS {
                let stop = &stop;
                scope.spawn(move || self.work(round, worker, stop));
            }
            scope.spawn(|| self.make_tokens(round, &stop));
            self.wait_for_the_moment(seeded);
            let took = self.crash(victim);
            drop(stopping);
            took
        })
    }

    /// A random moment of the round: after some commands are done, and somewhere inside the next ones.
    fn wait_for_the_moment(&self, seeded: &mut Seeded) {
        let enough = self.told.lock().done.len() + seeded.below(DONE_BEFORE_MAX);
        let reached = self.told.wait(GENEROUS, |told| (told.done.len() >= enough).then_some(()));
        assert!(reached.is_some(), "no commands run before the crash");
        let moment = Duration::from_millis(seeded.below(MOMENT_MS_MAX) as u64);
        // Nothing is waited for but the moment: it is the test's random input.
        let _ = self.told.wait(moment, |_| None::<()>);
    }

    fn crash(&self, victim: Victim) -> Duration {
        if victim != Victim::Agent {
            self.world.kill_gateway();
        }
        if victim != Victim::Gateway {
            self.world.kill_agent(DEVICE);
        }
        let begun = Instant::now();
        if victim != Victim::Agent {
            self.world.start_gateway().unwrap();
        }
        if victim != Victim::Gateway {
            self.world.start_agent(DEVICE).unwrap();
        }
        until("the service to be back", BACK, || self.attempt("true", "none")?.succeeded().map(drop)).unwrap();
        begun.elapsed()
    }

    /// A command on the device, over the shared login or one of its own.
    fn attempt(&self, command: &str, control: &str) -> Result<Said> {
        let mut ssh = self.tech.ssh_command();
        if control == "none" {
            ssh.args(["-o", "ControlPath=none"]);
        }
        run_within(ssh.args(["--", DEVICE, command]), b"", HANGING)
    }

    fn work(&self, round: usize, worker: usize, stop: &AtomicBool) {
        let control = if worker == 0 { "none" } else { "shared" };
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("r{round}w{worker}n{number}");
            let said = self.attempt(&self.command(&id), control).unwrap();
            if said.status.success() {
                self.told.change(|told| _ = told.done.insert(id));
            }
        }
    }

    fn command(&self, id: &str) -> String {
        format!("echo {id} >> {}", self.file.display())
    }

    /// Somebody whose acts are the gateway's own events.
    fn make_tokens(&self, round: usize, stop: &AtomicBool) {
        for number in 0..TOKENS {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let file = self.world.dir().join(format!("r{round}n{number}.token"));
            if self.world.make_token("acme", &file, &[]).is_ok() {
                let id = token_id(&fs::read_to_string(&file).unwrap());
                self.told.change(|told| _ = told.tokens.insert(id));
            }
        }
    }

    /// The log after a crash: whole, a continuation of what was verified before, and nothing is missing from it.
    fn check(&self, when: &str) {
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
        let events = export::events(&self.export());
        let opened: BTreeSet<&str> = events
            .iter()
            .filter(|event| event["type"] == "session.opened")
            .filter_map(|event| event["command"].as_str())
            .collect();
        let issued: BTreeSet<&str> = events
            .iter()
            .filter(|event| event["type"] == "token.issued")
            .filter_map(|event| event["token"].as_str())
            .collect();
        let ran = fs::read_to_string(&self.file).unwrap();
        let mut seen = BTreeSet::new();
        for id in ran.lines() {
            assert!(seen.insert(id), "{when}: {id} ran twice");
            assert!(opened.contains(self.command(id).as_str()), "{when}: {id} ran and no session.opened says so");
        }
        let told = self.told.lock();
        for id in &told.done {
            assert!(seen.contains(id.as_str()), "{when}: {id} was acknowledged and did not run");
        }
        for token in &told.tokens {
            assert!(
                issued.contains(token.as_str()),
                "{when}: the token {token} was acknowledged and is not in the log"
            );
        }
    }

    fn export(&self) -> Files {
        until("the export", GENEROUS, || export::fetch(&self.tech, "acme")).unwrap()
    }

    /// What a crash cut off is said to have ended, by the machine, when it comes back.
    fn every_session_has_an_end(&self) {
        until("every session's end in the log", GENEROUS, || {
            let events = export::events(&export::fetch(&self.tech, "acme")?);
            let of = |kind: &str| -> BTreeSet<String> {
                events.iter().filter(|event| event["type"] == kind).map(|event| event["session"].to_string()).collect()
            };
            let (opened, ended) = (of("session.opened"), of("session.ended"));
            let open: Vec<&String> = opened.difference(&ended).collect();
            ensure!(open.is_empty(), "these sessions have no end: {open:?}");
            Ok(())
        })
        .unwrap();
    }

    fn the_independent_verifier_agrees(&self) {
        let tar = self.world.dir().join("final.tar");
        fs::write(&tar, export::pack(&self.export())).unwrap();
        let vkey = export::vkey_of_policy(&self.world.tenant_dir("acme").join("policy-0.toml")).unwrap();
        export::independent(&tar, &vkey, None).unwrap().must();
    }
}

/// Tells the workers to stop, also when the round fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The id in a token file.
fn token_id(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("id = \""));
    line.and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("no id in {text}")).to_owned()
}
