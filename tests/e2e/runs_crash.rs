//! `kill -9` of gateway and agents at any moment of many jobs: no order runs twice on a device, every run has a result or
//! is said to be interrupted, and the log is whole (P5).

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::ensure;
use belay_fuzz::Seeded;
use belay_tests::{
    Person, Plan, World, export,
    plan::Tenant,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Jobs for every day, and with BELAY_LONG=1; the devices of each.
const JOBS: usize = 8;
const JOBS_LONG: usize = 100;
const DEVICES: &[&str] = &["d01", "d02", "d03", "d04"];
const DEVICES_LONG: &[&str] = &[
    "d01", "d02", "d03", "d04", "d05", "d06", "d07", "d08", "d09", "d10", "d11", "d12", "d13", "d14", "d15", "d16",
    "d17", "d18", "d19", "d20",
];
/// Kills in one job at most, each up to so many milliseconds after the one before: a job takes about as long.
const KILLS_MAX: usize = 3;
const MOMENT_MS_MAX: usize = 300;

struct Bench {
    world: World,
    tech: Person,
    devices: &'static [&'static str],
    /// Every run appends its order's id and its device here, when it begins and when it ends.
    file: PathBuf,
    kills: BTreeMap<&'static str, usize>,
}

#[test]
fn no_order_runs_twice_and_no_result_is_lost_by_a_kill() {
    let seed = std::env::var("BELAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    let long = std::env::var_os("BELAY_LONG").is_some();
    let (jobs, devices) = if long { (JOBS_LONG, DEVICES_LONG) } else { (JOBS, DEVICES) };
    let mut bench = Bench::new(devices);
    let mut seeded = Seeded::new(seed);
    let (mut ended, mut ids): (BTreeMap<String, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for number in 0..jobs {
        let job = bench.job(&mut seeded);
        bench.check(&job, &format!("job {number} of seed {seed}"));
        for (_, state) in jobs::states(&job) {
            *ended.entry(state).or_default() += 1;
        }
        ids.push(job["job"].as_str().unwrap().to_owned());
    }
    let begun = Instant::now();
    ids.iter().for_each(|id| bench.every_output_is_whole(id));
    println!("measured: the last output was whole {} ms after the last job", begun.elapsed().as_millis());
    println!("measured: {jobs} jobs on {} devices, killed {:?}, runs ended {ended:?}", devices.len(), bench.kills);
    assert_eq!(ended.values().sum::<usize>(), jobs * devices.len());
    assert!(ended.get("succeeded").is_some_and(|count| *count >= jobs), "too little ran to prove anything");
    assert!(!bench.kills.is_empty(), "nothing was killed");
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
    bench.the_log_has_every_run_once();
}

impl Bench {
    fn new(devices: &'static [&'static str]) -> Self {
        let acme = Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices };
        let world = World::of(Plan { tenants: vec![acme] });
        let author = runs::allow(&world, &format!("{}.acme", devices[0]));
        let file = world.dir().join("ran");
        fs::write(&file, "").unwrap();
        let say = |what: &str| format!("echo \"$BELAY_RUN $BELAY_DEVICE {what}\" >> {}", file.display());
        let body = format!("{}\necho some output\nsleep 0.05\n{}", say("begins"), say("ends"));
        runs::push(&world, &author, "mark", "", &body);
        Self { tech: world.person("tech"), world, devices, file, kills: BTreeMap::new() }
    }

    /// One job with kills in it, until it is over.
    fn job(&mut self, seeded: &mut Seeded) -> Value {
        let id = self.submit();
        for _ in 0..=seeded.below(KILLS_MAX) {
            let moment = Instant::now() + Duration::from_millis(seeded.below(MOMENT_MS_MAX) as u64);
            // Nothing is waited for but the moment: it is the test's random input.
            while Instant::now() < moment {
                std::thread::yield_now();
            }
            self.kill(seeded);
        }
        until("the end of the job", 4 * GENEROUS, || {
            let job = jobs::job(&self.tech, &id);
            ensure!(job["over"] == true, "{job:#}");
            Ok(job)
        })
        .unwrap()
    }

    fn submit(&self) -> String {
        let said = jobs::order(&self.tech, &["mark", "--on", "acme/*", "--detach", "--for", "10m"]);
        assert!(matches!(said.code(), Some(0 | 4)), "{}", said.story());
        jobs::newest(&self.tech)
    }

    fn kill(&mut self, seeded: &mut Seeded) {
        let agents = seeded.below(4);
        let gateway = agents == 0 || seeded.below(3) == 0;
        let victims: Vec<String> =
            (0..agents).map(|_| format!("{}.acme", self.devices[seeded.below(self.devices.len())])).collect();
        if gateway {
            self.world.kill_gateway();
            *self.kills.entry("gateway").or_default() += 1;
        }
        for victim in &victims {
            self.world.kill_agent(victim);
            *self.kills.entry("agents").or_default() += 1;
        }
        if gateway {
            self.world.start_gateway().unwrap();
        }
        let mut started: Vec<&String> = victims.iter().collect();
        started.sort();
        started.dedup();
        for victim in started {
            self.world.start_agent(victim).unwrap();
        }
    }

    /// What each device did fits what it said.
    #[track_caller]
    fn check(&self, job: &Value, when: &str) {
        let id = job["job"].as_str().unwrap();
        let ran = fs::read_to_string(&self.file).unwrap();
        for (device, state) in jobs::states(job) {
            let count = |what: &str| {
                let line = format!("{id} {device}.acme {what}");
                ran.lines().filter(|ran| *ran == line).count()
            };
            let (began, ended) = (count("begins"), count("ends"));
            let fits = match state.as_str() {
                "succeeded" => (began, ended) == (1, 1),
                "interrupted" => began <= 1 && ended <= began,
                "not started" | "expired" | "refused" => began == 0,
                other => panic!("{when}: {device} is {other}: {job:#}"),
            };
            assert!(fits, "{when}: {device} is {state}, began {began} times and ended {ended} times: {job:#}");
        }
    }

    /// What each run printed is there as its device says, killed or not.
    #[track_caller]
    fn every_output_is_whole(&self, id: &str) {
        until("every output", GENEROUS, || {
            let job = jobs::job(&self.tech, id);
            for run in job["runs"].as_array().unwrap() {
                ensure!(run["output_bytes"].is_null() || run["output_kept"] == run["output_bytes"], "{run:#}");
                ensure!(run["state"] != "succeeded" || run["output_kept"].as_u64() > Some(0), "{run:#}");
            }
            Ok(())
        })
        .unwrap();
    }

    /// Every run that began has one intent and one end in the log, also for whoever reads all of it.
    fn the_log_has_every_run_once(&self) {
        let events = export::events(&export::fetch(&self.tech, "acme").unwrap());
        let mut seen: BTreeMap<(String, String), [usize; 2]> = BTreeMap::new();
        for event in &events {
            let at = match event["type"].as_str().unwrap() {
                "run.started" => 0,
                "run.ended" => 1,
                _ => continue,
            };
            let of = |member: &str| event[member].as_str().unwrap().to_owned();
            seen.entry((of("order"), of("device"))).or_default()[at] += 1;
        }
        let ran = fs::read_to_string(&self.file).unwrap();
        let begun = ran.lines().filter(|line| line.ends_with("begins")).count();
        assert!(begun > 0 && seen.len() >= begun, "{begun} began, {} are in the log", seen.len());
        for ((order, device), counts) in seen {
            assert_eq!(counts, [1, 1], "{order} on {device}");
        }
    }
}
