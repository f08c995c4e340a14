//! Freezes and runs: what a frozen device or a frozen person has running ends within two seconds, what waits does not start, and
//! nobody else's run is touched. Of a whole tenant's freeze: `stops`.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::ensure;
use belay_tests::{
    Person, Plan, World,
    wait::{GENEROUS, until},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a freeze promises.
const WITHIN: Duration = Duration::from_secs(2);
const AWAY: &str = "web3.acme";

/// A job of the technician's that runs on two machines and waits for the third, which is away.
struct Bench {
    world: World,
    tech: Person,
    /// Operates, and may order runs too.
    boss: Person,
    job: String,
    /// A line for each script of the job that began: its device, and its process.
    ran: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let world = World::of(Plan::three());
        let boss = world.add_person("acme", "boss", &["--do", "operate"]).unwrap();
        let author = runs::allow(&world, "web1.acme");
        changed::change(&world, "web1.acme", |text| {
            text.replace(
                "who = [\"tech\"]\non = [\"*\"]\ndo = [\"run\"]",
                "who = [\"tech\", \"boss\"]\non = [\"*\"]\ndo = [\"run\"]",
            )
        });
        boss.belay(["config"]).unwrap();
        let (tech, ran) = (world.person("tech"), world.dir().join("ran"));
        let body = format!("echo $BELAY_DEVICE $$ >> {}\nexec sleep 300", ran.display());
        runs::push(&world, &author, "slow", "", &body);
        runs::push(&world, &author, "noop", "", "true");
        runs::push(&world, &author, "other", "", "exec sleep 300");
        world.stop_agent(AWAY).unwrap();
        assert_eq!(jobs::order(&tech, &["slow", "--on", "acme/*", "--detach"]).code(), Some(4));
        let bench = Self { job: jobs::newest(&tech), world, tech, boss, ran };
        until("the first two", GENEROUS, || {
            let (begun, states) = (bench.begun(), bench.states());
            ensure!(begun.len() == 2 && states == ["started", "started", "waiting"], "{begun:?} {states:?}");
            Ok(())
        })
        .unwrap();
        bench
    }

    fn states(&self) -> Vec<String> {
        states(&self.tech, &self.job)
    }

    /// The devices whose scripts began, with their processes.
    fn begun(&self) -> Vec<(String, String)> {
        let lines = fs::read_to_string(&self.ran).unwrap_or_default();
        lines
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(one, two)| (one.to_owned(), two.to_owned()))
            .collect()
    }

    /// Whether the script that began on a device still runs.
    fn runs_on(&self, device: &str) -> bool {
        let begun = self.begun();
        let (_, pid) = begun.iter().find(|(one, _)| one == device).unwrap_or_else(|| panic!("{device}: {begun:?}"));
        Path::new("/proc").join(pid).exists()
    }

    /// Freezes, and waits until the runs stand so and the scripts of these devices are gone.
    #[track_caller]
    fn freeze(&self, what: &str, states: [&str; 3], gone: &[&str]) {
        let begun = Instant::now();
        self.boss.gw(&format!("freeze {what} --reason investigation")).must();
        until("the end of what ran", GENEROUS, || {
            let now = self.states();
            ensure!(now == states && !gone.iter().any(|device| self.runs_on(device)), "{now:?}");
            Ok(())
        })
        .unwrap();
        println!("measured: the runs of {what} ended {} ms after its freeze", begun.elapsed().as_millis());
        assert!(begun.elapsed() < WITHIN, "{what} ran on for {:?}", begun.elapsed());
    }

    /// Brings the third machine back: it is connected, and whatever the gateway then looks at it has looked at.
    fn bring_back(&self) {
        self.world.start_agent(AWAY).unwrap();
        self.world.until_state(AWAY, "online").unwrap();
    }

    /// Somebody else's order goes through, from the gateway to the machine and back.
    #[track_caller]
    fn others_run(&self, person: &Person, device: &str) {
        jobs::order(person, &["noop", "--on", device]).must();
        assert_eq!(states(person, &jobs::newest(person)), ["succeeded"], "{device}");
    }

    /// Thaws: what waits begins, what was ended does not.
    #[track_caller]
    fn thaw(&self, what: &str) {
        self.boss.gw(&format!("thaw {what}")).must();
        until("the third", GENEROUS, || {
            let begun = self.begun();
            ensure!(begun.len() == 3 && begun[2].0 == AWAY && self.states()[2] == "started", "{begun:?}");
            Ok(())
        })
        .unwrap();
    }

    /// The end of it all: the job is called off, the log is whole.
    #[track_caller]
    fn finish(&self, states: [&str; 3]) {
        self.tech.belay(["cancel", &self.job]).unwrap().must();
        until("the end of the job", GENEROUS, || {
            ensure!(jobs::job(&self.tech, &self.job)["over"] == true && self.states() == states, "{:?}", self.states());
            Ok(())
        })
        .unwrap();
        assert_eq!(self.begun().len(), 3, "each began once");
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
    }
}

fn states(person: &Person, job: &str) -> Vec<String> {
    jobs::states(&jobs::job(person, job)).into_iter().map(|(_, state)| state).collect()
}

#[test]
fn a_frozen_device_runs_nothing_and_the_others_of_the_job_go_on() {
    let bench = Bench::new();
    bench.freeze("web1.acme", ["cancelled", "started", "waiting"], &["web1.acme"]);
    let job = jobs::job(&bench.tech, &bench.job);
    assert!(job["runs"][0]["reason"].as_str().unwrap().contains("web1.acme has been frozen since"), "{job:#}");
    // One that waits for its machine, which is frozen before it is back.
    bench.freeze(AWAY, ["cancelled", "started", "waiting"], &[]);
    bench.bring_back();
    bench.others_run(&bench.tech, "web2.acme");
    assert_eq!((bench.begun().len(), bench.states()[2].as_str()), (2, "waiting"), "it began on a frozen machine");
    assert!(bench.runs_on("web2.acme"), "the run of a machine that nobody froze was ended");
    bench.thaw(AWAY);
    bench.boss.gw("thaw web1.acme").must();
    bench.others_run(&bench.tech, "web1.acme");
    assert!(bench.runs_on("web2.acme") && bench.runs_on(AWAY));
    bench.finish(["cancelled", "cancelled", "cancelled"]);
}

#[test]
fn what_a_frozen_person_ordered_runs_nowhere_and_what_others_ordered_goes_on() {
    let bench = Bench::new();
    assert_eq!(jobs::order(&bench.boss, &["other", "--on", "web2.acme", "--detach"]).code(), Some(4));
    let other = jobs::newest(&bench.boss);
    until("the other's run", GENEROUS, || {
        ensure!(states(&bench.boss, &other) == ["started"], "{:?}", states(&bench.boss, &other));
        Ok(())
    })
    .unwrap();
    bench.freeze("acme/tech", ["cancelled", "cancelled", "waiting"], &["web1.acme", "web2.acme"]);
    let job = jobs::job(&bench.boss, &bench.job);
    assert!(job["runs"][1]["reason"].as_str().unwrap().contains("acme/tech has been frozen since"), "{job:#}");
    jobs::order(&bench.tech, &["noop", "--on", "web1.acme", "--detach"]).must_refuse(1, &["acme/tech has been frozen"]);
    bench.bring_back();
    // On the very machine for which the frozen one's run waits.
    bench.others_run(&bench.boss, AWAY);
    assert_eq!((bench.begun().len(), bench.states()[2].as_str()), (2, "waiting"), "a frozen person's run began");
    assert_eq!(states(&bench.boss, &other), ["started"], "the run of somebody whom nobody froze was ended");
    bench.thaw("acme/tech");
    bench.finish(["cancelled", "cancelled", "cancelled"]);
    bench.boss.belay(["cancel", &other]).unwrap().must();
}
