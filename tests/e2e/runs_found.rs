//! What runs print is their recording: it is found by its words, held, let go, and deleted when the policy's `keep` is over, and
//! its digest stays. A disk without room takes no job.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/edited.rs"]
mod edited;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/readable.rs"]
mod readable;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::{Context, ensure};
use belay_tests::{
    Person, Plan, World,
    wait::{GENEROUS, until},
};
use serde_json::Value;

const DEVICE: &str = "web1.acme";
/// A day and a bit, in microseconds: longer than the test's policy keeps.
const LONG_AGO: &str = "90000000000";

struct Bench {
    world: World,
    /// Owner of acme: may everything.
    tech: Person,
    /// Of the runbooks.
    author: Person,
}

impl Bench {
    /// A world whose recordings the gateway can read, with a runbook that prints to both streams.
    fn new() -> Self {
        let world = World::of(Plan::small());
        readable::readable(&world, DEVICE);
        Self::of(world)
    }

    fn of(world: World) -> Self {
        let author = runs::allow(&world, DEVICE);
        runs::push(&world, &author, "print", "", "printf 'a \\033[1mneedle\\033[0m in hay\\n'; echo a thorn >&2");
        let tech = world.person("tech");
        Self { world, tech, author }
    }

    /// A job that is over, all of its output at the gateway.
    fn ran(&self) -> String {
        jobs::order(&self.tech, &["print", "--on", DEVICE]).must();
        let id = jobs::newest(&self.tech);
        until("the whole output", GENEROUS, || {
            let run = self.run(&id);
            ensure!(run["output_bytes"].as_u64() > Some(0) && run["output_kept"] == run["output_bytes"], "{run:#}");
            Ok(())
        })
        .unwrap();
        id
    }

    fn run(&self, id: &str) -> Value {
        let job = jobs::job(&self.tech, id);
        assert_eq!(jobs::states(&job), [("web1".to_owned(), "succeeded".to_owned())], "{job:#}");
        job["runs"][0].clone()
    }

    fn found(&self, words: &str) -> Vec<Value> {
        let answer = self.tech.gw(&format!("search {words} --json")).must().json();
        answer["found"].as_array().unwrap().clone()
    }

    fn until_found(&self, words: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} lines of {words}"), GENEROUS, || {
            let found = self.found(words);
            ensure!(found.len() == count, "{found:#?}");
            Ok(found)
        })
        .unwrap()
    }

    fn kinds(&self, kind: &str) -> Vec<Value> {
        self.tech.log("acme").into_iter().filter(|entry| entry["type"] == kind).collect()
    }

    fn restart(&self) {
        self.world.start_gateway().unwrap();
        self.world.until_state(DEVICE, "online").unwrap();
    }
}

#[test]
fn what_a_run_printed_is_found_by_its_words_and_every_look_is_in_the_log_first() {
    let bench = Bench::new();
    let job = bench.ran();
    let found = bench.until_found("needle --kind run", 1).remove(0);
    for (field, value) in [
        ("session", job.as_str()),
        ("kind", "run"),
        ("device", DEVICE),
        ("person", "tech"),
        ("line", "a needle in hay"),
    ] {
        assert_eq!(found[field], value, "{found:#}");
    }
    assert_eq!(bench.found("thorn")[0]["session"], job.as_str(), "standard error is searched too");
    let looks = bench.kinds("output.read");
    let look = looks.iter().find(|look| look["job"] == job.as_str()).context("no look is in the log").unwrap();
    assert_eq!((&look["kind"], &look["device"], &look["person"]), (&"search".into(), &"web1".into(), &"tech".into()));
    for (options, count) in [
        ("--tenant acme --device web1.acme --person tech --since 24h --kind run", 1),
        ("--kind exec", 0),
        ("--person nobody", 0),
        ("--since 2099-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(bench.found(&format!("needle {options}")).len(), count, "{options}");
    }
    let named = format!("{job}/web1");
    for said in [bench.tech.gw("search needle"), bench.tech.belay(["search", "needle", "--kind", "run"]).unwrap()] {
        let said = said.must();
        assert!(said.out().contains(&named) && said.out().contains("a needle in hay"), "{}", said.story());
    }
    bench.tech.belay(["replay", &named]).unwrap().must();
    bench.tech.gw("sessions --kind run").must_refuse(2, &["`jobs` lists them"]);
    bench.tech.gw("search needle --kind forward").must_refuse(2, &["not recorded"]);
    // It is made anew from the outputs.
    bench.world.stop_gateway().unwrap();
    std::fs::remove_file(bench.world.gateway_dir().join("index/acme.db")).unwrap();
    bench.restart();
    bench.until_found("needle --kind run", 1);
}

#[test]
fn what_only_auditors_can_read_is_counted_and_never_in_the_index() {
    let bench = Bench::of(World::of(Plan::small()));
    bench.ran();
    let counted = |words: &str| bench.tech.gw(&format!("search needle {words} --json")).must().json();
    until("the sealed output to be counted", GENEROUS, || {
        let answer = counted("--kind run");
        ensure!(answer["unreadable_runs"] == 1 && answer["unreadable"] == 1, "{answer:#}");
        Ok(())
    })
    .unwrap();
    assert_eq!(counted("")["found"], serde_json::json!([]));
    for options in ["--kind exec", "--person nobody", "--since 2099-01-01T00:00:00Z"] {
        assert_eq!(counted(options)["unreadable_runs"], 0, "{options}");
    }
    let said = bench.tech.gw("search needle").must().out();
    assert!(said.contains("what 1 runs printed is encrypted to the auditors"), "{said}");
    let said = bench.tech.belay(["search", "needle", "--kind", "run"]).unwrap().must();
    assert!(said.out().is_empty() && said.err().contains("1 recordings are encrypted"), "{}", said.story());
}

#[test]
fn what_is_due_is_deleted_with_an_event_a_hold_wins_and_the_digest_stays() {
    let bench = Bench::new();
    let [due, held] = [bench.ran(), bench.ran()];
    bench.until_found("needle --kind run", 2);
    let digest = bench.run(&due)["output"].clone();
    let run = format!("{held}/web1");
    bench.tech.belay(["hold", &run, "--reason", "case 7"]).unwrap().must();
    bench.tech.gw(&format!("hold {run} --reason again")).must_refuse(1, &["is held"]);
    assert_eq!((&bench.run(&held)["output_held"], &bench.run(&due)["output_held"]), (&true.into(), &false.into()));
    changed::change(&bench.world, DEVICE, |text| {
        text.replace("readable_by_gateway = true\n", "readable_by_gateway = true\nkeep = \"1d\"\n")
    });
    bench.world.stop_gateway().unwrap();
    let age = format!(
        "UPDATE run SET ended_us = ended_us - {LONG_AGO}, output_us = output_us - {LONG_AGO} WHERE job IN (?, ?)"
    );
    assert_eq!(edited::edit(&bench.world, &age, &[&due, &held]), 2);
    bench.restart();
    let gone = until("the deletion", GENEROUS, || {
        let run = bench.run(&due);
        ensure!(run["output_deleted"].is_string(), "{run:#}");
        Ok(run)
    })
    .unwrap();
    assert_eq!((&gone["output"], &gone["output_kept"], &gone["state"]), (&digest, &0.into(), &"succeeded".into()));
    let deleted = bench.kinds("output.deleted");
    assert_eq!(deleted.len(), 1, "{deleted:#?}");
    for (field, value) in [("job", &Value::from(due.as_str())), ("device", &"web1".into()), ("digest", &digest)] {
        assert_eq!(&deleted[0][field], value, "{:#}", deleted[0]);
    }
    assert_eq!(deleted[0]["why"], "the policy says `keep = \"1d\"`");
    let asked = format!("job {due} --device web1 --output");
    bench.tech.gw(&asked).must_refuse(1, &["was deleted at", digest.as_str().unwrap(), "prove whatever copy"]);
    bench.tech.gw(&format!("hold {due}/web1 --reason late")).must_refuse(1, &["was deleted"]);
    let left = bench.until_found("needle --kind run", 1);
    assert_eq!(left[0]["session"], held.as_str());
    bench.tech.gw(&format!("job {held} --device web1 --output")).must();
    // The rest of the job is proved all the same.
    let pack = bench.world.dir().join("pack.tar");
    let pack = pack.to_str().unwrap();
    bench.tech.belay(["evidence", &due, "-o", pack]).unwrap().must();
    let verified = bench.tech.belay(["evidence", "verify", pack]).unwrap().must();
    assert!(verified.out().contains("its output was deleted at"), "{}", verified.story());
    bench.tech.belay(["release", &run, "--reason", "closed"]).unwrap().must();
    bench.world.stop_gateway().unwrap();
    bench.restart();
    until("the second deletion", GENEROUS, || {
        let run = bench.run(&held);
        ensure!(run["output_deleted"].is_string(), "{run:#}");
        Ok(())
    })
    .unwrap();
    bench.until_found("needle --kind run", 0);
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn without_room_on_the_disk_no_job_begins_and_the_refusal_says_so() {
    let bench = Bench::new();
    bench.ran();
    bench.world.stop_gateway().unwrap();
    bench.world.keep_free(1 << 40, 0).unwrap();
    bench.restart();
    let before = bench.kinds("job.submitted").len();
    let refused = jobs::order(&bench.tech, &["print", "--on", DEVICE]);
    assert!(!refused.status.success(), "{}", refused.story());
    let said = refused.err();
    assert!(said.contains("no job begins here") && said.contains("its operator must make room"), "{}", refused.story());
    assert_eq!(bench.kinds("job.submitted").len(), before);
    bench.world.stop_gateway().unwrap();
    bench.world.keep_free(0, 0).unwrap();
    bench.restart();
    bench.ran();
}

#[test]
fn what_a_run_prints_on_a_disk_without_room_stays_with_its_machine_and_comes_when_there_is_some() {
    let bench = Bench::new();
    let go = bench.world.dir().join("go");
    let body = format!("while ! test -e {}; do sleep 0.1; done; echo the rest", go.display());
    runs::push(&bench.world, &bench.author, "late", "", &body);
    jobs::order(&bench.tech, &["late", "--on", DEVICE, "--detach"]);
    let job = jobs::newest(&bench.tech);
    let until_run = |what: &str, fits: fn(&Value) -> bool| {
        until(what, GENEROUS, || {
            let run = jobs::job(&bench.tech, &job)["runs"][0].clone();
            ensure!(fits(&run), "{run:#}");
            Ok(())
        })
        .unwrap();
    };
    until_run("the start", |run| run["state"] == "started");
    bench.world.stop_gateway().unwrap();
    bench.world.keep_free(1 << 40, 0).unwrap();
    bench.restart();
    let mark = bench.world.log("gateway").mark();
    std::fs::write(&go, "").unwrap();
    until_run("the end", |run| run["state"] == "succeeded" && run["output_bytes"].as_u64() > Some(0));
    bench
        .world
        .log("gateway")
        .wait("a word of it", mark, GENEROUS, |line| line.contains("stays with their devices"))
        .unwrap();
    until_run("nothing of the output", |run| run["output_kept"] == 0);
    bench.world.stop_gateway().unwrap();
    bench.world.keep_free(0, 0).unwrap();
    bench.restart();
    until_run("the output", |run| run["output_kept"] == run["output_bytes"]);
    bench.until_found("rest --kind run", 1);
}
