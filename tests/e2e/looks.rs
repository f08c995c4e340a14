//! P6: a look that cannot be recorded shows nothing. Where the gateway's log has no room, or fails between a command's own record
//! and that of the look, not one byte of what sessions showed or runs wrote is handed out.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/disk.rs"]
mod disk;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/readable.rs"]
mod readable;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_tests::{
    Person, Plan, Said, World,
    strace::Injected,
    wait::{GENEROUS, until},
};
use disk::Disk;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

const DEVICE: &str = "web1.acme";
/// Room for a young gateway with a recording, an index and a run's output.
const SIZE: &str = "16m";
/// What the session shows and the run writes.
const SHOWN: &str = "a needle in a recording";
const PRINTED: &str = "a thread of a run";
/// The looks, as they are typed. SESSION and JOB stand for those that there are.
const LOOKS: [&str; 5] =
    ["recording SESSION", "search needle --json", "search needle", "job JOB --device web1 --output", "log export acme"];
/// Tries on a full disk of one look: some records still fit into pages that were allocated before.
const ATTEMPTS: usize = 40;
/// Writes into the database's log that no look takes.
const WRITES: u32 = 512;

/// An installation with something to look at.
struct Bench {
    world: World,
    tech: Person,
    session: String,
    job: String,
}

impl Bench {
    fn of(world: World) -> Self {
        let tech = world.person("tech");
        readable::readable(&world, DEVICE);
        let author = runs::allow(&world, DEVICE);
        runs::push(&world, &author, "thread", "", &format!("echo {PRINTED}"));
        jobs::order(&tech, &["thread", "--on", DEVICE]).must();
        let ran = jobs::states(&jobs::job(&tech, &jobs::newest(&tech)));
        assert_eq!(ran, [("web1".to_owned(), "succeeded".to_owned())]);
        tech.ssh(DEVICE, &format!("echo {SHOWN}")).must();
        let session = until("a line that is found", GENEROUS, || {
            let answer: Value = serde_json::from_slice(&tech.gw("search needle --json").must().stdout)?;
            answer["found"][0]["session"].as_str().map(str::to_owned).with_context(|| answer.to_string())
        });
        let bench = Self { session: session.unwrap(), job: jobs::newest(&tech), world, tech };
        let tar = until("the whole recording", GENEROUS, || {
            let about = bench.look("recording SESSION --json").json();
            ensure!(about["state"] == "whole", "{about:#}");
            Ok(bench.look("recording SESSION").must().stdout)
        });
        assert!(tar.unwrap().len() > 1024, "there is something to be looked at");
        assert!(bench.look("search needle").must().out().contains(SHOWN));
        let printed = STANDARD.encode(format!("{PRINTED}\n"));
        assert!(bench.look("job JOB --device web1 --output").must().out().contains(&printed), "the run's own words");
        bench
    }

    fn look(&self, line: &str) -> Said {
        self.tech.gw(&line.replace("SESSION", &self.session).replace("JOB", &self.job))
    }

    /// How many looks, and how many commands with the name of this one, are in the log.
    fn recorded(&self, look: &str) -> (usize, usize) {
        let (log, name) = (self.tech.log("acme"), look.split(' ').next().unwrap());
        let looks = log.iter().filter(|entry| entry["type"] == "recording.read").count();
        (looks, log.iter().filter(|entry| entry["type"] == "command.ran" && entry["words"][0] == name).count())
    }

    /// Waits until the gateway can record again.
    fn recover(&self) {
        until("the gateway to record again", GENEROUS, || self.tech.gw("devices").succeeded().map(drop)).unwrap();
    }
}

/// Refused without a byte, with one sentence for a person.
#[track_caller]
fn must_show_nothing(said: &Said) {
    assert!(said.code() == Some(1) && said.stdout.is_empty(), "{}", said.story());
    assert_eq!(said.err().lines().count(), 1, "{}", said.story());
    assert!(said.err().contains("nothing was done"), "{}", said.story());
}

#[test]
fn on_a_full_disk_nothing_is_shown_that_is_not_recorded() {
    let scratch = TempDir::with_prefix("belay-").unwrap();
    let world = World::prepare(scratch.path(), Plan::small()).unwrap();
    let Some(disk) = Disk::mount(&world.gateway_dir(), SIZE) else { return };
    world.bring_up(&|_| {}).unwrap();
    let bench = Bench::of(world);
    let (before, _) = bench.recorded("");
    let mut shown = 0;
    for look in LOOKS {
        let refused = (0..ATTEMPTS).any(|_| {
            disk.fill();
            let said = bench.look(look);
            if said.status.success() {
                shown += usize::from(look.starts_with("recording") || look.starts_with("search"));
                return false;
            }
            must_show_nothing(&said);
            true
        });
        assert!(refused, "the disk is full, and {look} was answered {ATTEMPTS} times");
    }
    disk.free();
    bench.recover();
    let (looks, _) = bench.recorded("");
    assert!(looks - before >= shown, "{shown} looks were answered, {} are in the log", looks - before);
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
    for look in LOOKS {
        bench.look(look).must();
    }
    drop((bench, disk));
}

/// Makes every write into the database's log fail from the `first` on, and looks. None where no fault can be made.
fn look_with_fault(bench: &Bench, look: &str, first: u32) -> Option<Said> {
    let pid = bench.world.gateway_pid().unwrap();
    let wal = bench.world.gateway_dir().join("belay.db-wal");
    let inject = format!("write,pwrite64,pwritev:error=ENOSPC:when={first}+");
    let injected = Injected::into(pid, &inject, Some(Path::new(&wal))).unwrap()?;
    let said = bench.look(look);
    drop(injected);
    Some(said)
}

#[test]
fn a_look_whose_own_record_fails_shows_nothing_although_the_command_is_recorded() {
    let bench = Bench::of(World::of(Plan::small()));
    for look in ["recording SESSION", "search needle"] {
        // The first of all writes fails it; one that it has not does not.
        let (mut fails, mut succeeds, mut between) = (1, WRITES, 0);
        while between == 0 && succeeds - fails > 1 {
            let (first, before) = (u32::midpoint(fails, succeeds), bench.recorded(look));
            let Some(said) = look_with_fault(&bench, look, first) else { return };
            if said.status.success() {
                succeeds = first;
                continue;
            }
            must_show_nothing(&said);
            fails = first;
            bench.recover();
            let after = bench.recorded(look);
            assert_eq!(after.0, before.0, "a look that was refused is in the log");
            between = after.1 - before.1;
        }
        assert_eq!(between, 1, "{look}: no fault lay between the record of the command and that of the look");
        println!("measured: {look}: refused at write {fails}, behind its command's record");
    }
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}
