//! `kill -9` of the gateway, the agent or both at any moment: what ran is in the log, what was acknowledged is in the log,
//! the log is whole, and the service is back, also on a machine where nothing happened.

#[path = "parts/policies.rs"]
mod policies;
#[path = "crash/work.rs"]
mod work;

use anyhow::ensure;
use belay_fuzz::Seeded;
use belay_tests::{
    Person, Plan, World,
    export::{self, Files},
    plan::Tenant,
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
use work::Told;

/// Crashes for every day, and with BELAY_LONG=1.
const ROUNDS: usize = 10;
const ROUNDS_LONG: usize = 100;
/// People who work on the device while it happens: some over one shared login, some with one for each command.
const WORKERS: usize = 3;
/// A crash comes after up to so many commands of a round, and up to so many milliseconds: two commands' time.
const DONE_BEFORE_MAX: usize = 6;
const MOMENT_MS_MAX: usize = 250;
/// Back in service within this, or something waited for QUIC's idle time of 60 s. What is promised is less, and is measured.
const BACK: Duration = Duration::from_secs(45);
/// Where the commands run.
const DEVICE: &str = "web1.acme";
/// Where nothing runs.
const IDLE: &str = "web2.acme";

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Gateway,
    Agent,
    Both,
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
    let mut back: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..rounds {
        let victim = [Victim::Gateway, Victim::Agent, Victim::Gateway, Victim::Agent, Victim::Both][round % 5];
        let took = bench.round(round, victim, &mut seeded);
        for (what, took) in took {
            println!("round {round}: {victim:?} killed, {what} back in service after {} ms", took.as_millis());
            back.entry(what).or_default().push(took);
        }
        bench.check(&format!("round {round} of seed {seed}"));
    }
    back.into_iter().for_each(|(what, took)| report(what, took));
    bench.every_session_has_an_end();
    bench.the_independent_verifier_agrees();
    let told = bench.told.lock();
    println!(
        "measured: {rounds} crashes, {} commands, {} tokens, {} policies and {} approvals acknowledged, none lost",
        told.done.len(),
        told.tokens.len(),
        told.policies.len(),
        told.approved.len(),
    );
    assert!(told.done.len() >= rounds && !told.tokens.is_empty(), "too little was done to prove anything");
    let newest = work::version(&policies::newest(&bench.tech, "acme"));
    assert!(told.policies.last().is_some_and(|version| *version <= newest), "version {newest} is in force");
    assert!(!told.policies.is_empty() && !told.approved.is_empty(), "no policy and no approval went through");
}

/// The median and the worst.
fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let (median, worst) = (took[took.len() / 2].as_millis(), took[took.len() - 1].as_millis());
    println!(
        "measured: {what} back in service {median} ms (median), {worst} ms (worst) after the start of what was killed, {} kills",
        took.len()
    );
}

impl Bench {
    fn new() -> Self {
        let acme = Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: &["web1", "web2"] };
        let world = World::of(Plan { tenants: vec![acme] });
        let (tech, file) = (world.person("tech"), world.dir().join("ran"));
        fs::write(&file, "").unwrap();
        Self { world, tech, file, told: Watched::default() }
    }

    /// One crash under work; how long it was from the start of what was killed until commands ran again, and where.
    fn round(&self, round: usize, victim: Victim, seeded: &mut Seeded) -> Vec<(&'static str, Duration)> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stopping = StopAtEnd(&stop);
            for worker in 0..WORKERS {
                let stop = &stop;
                scope.spawn(move || self.work(round, worker, stop));
            }
            scope.spawn(|| self.make_tokens(round, &stop));
            scope.spawn(|| self.push_policies(&stop));
            scope.spawn(|| self.enrol(round));
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

    fn crash(&self, victim: Victim) -> Vec<(&'static str, Duration)> {
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
        let back = |device: &str| {
            until(&format!("{device} to be back"), BACK, || {
                self.attempt(device, "true", "none")?.succeeded().map(drop)
            })
            .unwrap();
            begun.elapsed()
        };
        // Both at once: the one must not wait for the other.
        thread::scope(|scope| {
            let idle = (victim != Victim::Agent).then(|| scope.spawn(|| back(IDLE)));
            let busy = match victim {
                Victim::Gateway => "a busy device, the gateway killed,",
                Victim::Agent => "a busy device, its agent killed,",
                Victim::Both => "a busy device, both killed,",
            };
            let mut took = vec![(busy, back(DEVICE))];
            took.extend(idle.map(|idle| ("an idle device, the gateway killed,", idle.join().unwrap())));
            took
        })
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
        let of = |kind: &str, member: &str| -> BTreeSet<String> {
            let of_kind = events.iter().filter(|event| event["type"] == kind);
            of_kind
                .map(|event| event[member].as_str().map_or_else(|| event[member].to_string(), str::to_owned))
                .collect()
        };
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
        let versions: BTreeSet<String> = told.policies.iter().map(u64::to_string).collect();
        for (said, kind, member) in [
            (&told.tokens, "token.issued", "token"),
            (&versions, "policy.adopted", "version"),
            (&told.approved, "device.approved", "device"),
        ] {
            let logged = of(kind, member);
            let lost: Vec<&String> = said.difference(&logged).collect();
            assert!(lost.is_empty(), "{when}: acknowledged, and no {kind} in the log: {lost:?}");
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
