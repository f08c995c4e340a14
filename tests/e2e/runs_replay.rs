//! The same order again: to the same device, to another, after restarts and after its window, with other arguments, through a
//! gateway whose database root has edited, and to a machine whose state is an older copy. One execution in total.
//!
//! What a machine remembers is on its disk. One whose state directory was put back as it was before a run does not know of it,
//! and an honest gateway is then what stops the second run (TRUST.md says so): it takes no statement that contradicts an
//! earlier one, and without its receipt nothing starts. `hacked/runs.rs` shows what a gateway without honesty can do, and the
//! contradiction it leaves.

#[path = "parts/brought.rs"]
mod brought;
#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/edited.rs"]
mod edited;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/orders.rs"]
mod orders;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/rejoined.rs"]
mod rejoined;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{
    Person, Plan, World, run,
    wait::{GENEROUS, until},
};
use brought::bring;
use edited::edit;
use orders::Draft;
use rejoined::rejoin;
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

const DEVICE: &str = "web1.acme";
const REFUSED: i32 = 1;
const SOME_DID_NOT: i32 = 3;
const GOES_ON: i32 = 4;
/// The status of a channel that the device refused.
const NOT_STARTED: i32 = 254;
const SPENT: &str = "this order was carried out or refused here before, and none is taken twice: sign a new one";
const WORD: &str = "[parameters.word]\ntype = \"string\"\ndescription = \"a word\"\nrequired = true";

/// An installation with a runbook that leaves a line for each time it runs.
struct Scene {
    world: World,
    author: Person,
    tech: Person,
    mark: PathBuf,
    file: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, DEVICE);
        let (tech, mark) = (world.person("tech"), world.dir().join("ran"));
        let body = format!("echo \"$BELAY_DEVICE $BELAY_ARG_WORD\" >> {}", mark.display());
        let file = runs::push(&world, &author, "mark", WORD, &body);
        Self { world, author, tech, mark, file }
    }

    fn draft(&self, word: &str, devices: &[&str]) -> Draft {
        Draft::of(&self.world, &self.tech, ("mark", &self.file), devices).told(&[("word", word)])
    }

    fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.mark).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn over(&self, id: &str) -> Value {
        until("the end of the job", GENEROUS, || {
            let job = jobs::job(&self.tech, id);
            anyhow::ensure!(job["over"] == true, "{job:#}");
            Ok(job)
        })
        .unwrap()
    }

    /// Root on the gateway forgets how the job went, changes whatever else, and starts the gateway again: it offers anew.
    fn offered_anew(&self, id: &str, edits: &[(&str, &[&str])]) {
        self.world.stop_gateway().unwrap();
        assert_eq!(edit(&self.world, "DELETE FROM run WHERE job = ?", &[id]), 1);
        edit(&self.world, "UPDATE job SET over_us = NULL, phase = 'open' WHERE id = ?", &[id]);
        for (statement, values) in edits {
            assert_eq!(edit(&self.world, statement, values), 1, "{statement}");
        }
        self.world.start_gateway().unwrap();
    }

    /// The job came to a device that knew its order, and was refused in these words.
    fn is_refused(&self, id: &str, words: &str) {
        let job = self.over(id);
        let run = &job["runs"][0];
        let reason = run["reason"].as_str().unwrap_or_default();
        assert!(run["state"] == "refused" && reason.contains(words), "{job:#}");
    }

    /// A new order runs here, whatever was replayed before.
    fn is_healthy(&self, word: &str) {
        jobs::order(&self.tech, &["mark", &format!("word={word}"), "--on", DEVICE]).must();
        let job = self.over(&jobs::newest(&self.tech));
        assert_eq!(jobs::states(&job), [("web1".to_owned(), "succeeded".to_owned())], "{job:#}");
        assert_eq!(self.ran().iter().filter(|line| **line == format!("{DEVICE} {word}")).count(), 1);
    }
}

#[test]
fn an_order_that_comes_again_runs_once_whoever_brings_it_and_whatever_is_changed() {
    let scene = Scene::new();
    let draft = scene.draft("once", &["web1"]);
    let (id, stream) = (draft.id(), draft.signed(&scene.tech.key()));
    assert_eq!(bring(&scene.tech, &stream).must().json()["again"], false);
    scene.over(&id);
    assert_eq!(scene.ran(), ["web1.acme once"]);
    // The same bytes are the same job, whoever brings them, also under another signature.
    assert_eq!(bring(&scene.tech, &stream).must().json()["again"], true);
    assert_eq!(bring(&scene.author, &stream).must().json()["again"], true);
    assert_eq!(bring(&scene.tech, &draft.signed(&scene.author.key())).must().json()["again"], true);
    // Its id with other arguments, for another device, by anybody.
    let taken = |draft: &Draft, key| {
        let mut draft = draft.clone();
        draft.order.id = id.parse().unwrap();
        bring(&scene.tech, &draft.signed(key)).must_refuse(REFUSED, &[&id]);
    };
    let key = scene.tech.key();
    taken(&scene.draft("twice", &["web1"]), &key);
    taken(&scene.draft("once", &["web2"]), &key);
    taken(&scene.draft("once", &["web1", "web2"]), &key);
    // Under another id the signature does not fit.
    let text = String::from_utf8(stream).unwrap();
    let renamed = text.replacen(&id, &scene.draft("once", &["web1"]).id(), 1);
    bring(&scene.tech, renamed.as_bytes()).must_refuse(REFUSED, &["the text or the signature was changed"]);
    let args = text.replacen("\"once\"", "\"more\"", 1).replacen(&id, &scene.draft("once", &["web1"]).id(), 1);
    bring(&scene.tech, args.as_bytes()).must_refuse(REFUSED, &["the text or the signature was changed"]);
    scene.is_healthy("after");
    assert_eq!(scene.ran(), ["web1.acme once", "web1.acme after"]);
}

#[test]
fn a_gateway_that_was_made_to_forget_offers_it_again_and_no_device_takes_it() {
    let scene = Scene::new();
    let draft = scene.draft("once", &["web1"]);
    let id = draft.id();
    draft.submit(&scene.tech).must();
    scene.over(&id);
    scene.offered_anew(&id, &[]);
    scene.is_refused(&id, SPENT);
    // After the agent was killed too.
    scene.world.kill_agent(DEVICE);
    scene.offered_anew(&id, &[]);
    scene.world.start_agent(DEVICE).unwrap();
    scene.is_refused(&id, SPENT);
    // With other arguments, under its id and under another: nobody signed that.
    let text = draft.order.to_text();
    let more = text.replace("\"once\"", "\"more\"");
    scene.offered_anew(&id, &[("UPDATE job SET bytes = CAST(? AS BLOB) WHERE id = ?", &[&more, &id])]);
    scene.is_refused(&id, SPENT);
    let other = scene.draft("once", &["web1"]).id();
    let renamed = more.replace(&id, &other);
    let rename = "UPDATE job SET bytes = CAST(? AS BLOB), id = ? WHERE id = ?";
    scene.offered_anew(&id, &[(rename, &[&renamed, &other, &id])]);
    scene.is_refused(&other, "the text or the signature was changed");
    // For another device, in the place of the one it was signed for: the list is not what was signed.
    let back = "UPDATE job SET bytes = CAST(? AS BLOB), id = ?, list = CAST(? AS BLOB) WHERE id = ?";
    let list = orders::list(&scene.tech, &["web2"]).to_text();
    scene.offered_anew(&other, &[(back, &[&text, &id, &list, &other])]);
    scene.is_refused(&id, "is not for web2.acme");
    assert_eq!(scene.ran(), ["web1.acme once"]);
    scene.is_healthy("after");
    assert_eq!(scene.ran(), ["web1.acme once", "web1.acme after"]);
}

#[test]
fn an_order_whose_window_is_over_is_over_for_gateway_and_device() {
    let scene = Scene::new();
    scene.world.stop_agent("web3.acme").unwrap();
    let draft = scene.draft("once", &["web1", "web3"]).counting(0, 8);
    let (id, stream) = (draft.id(), draft.signed(&scene.tech.key()));
    bring(&scene.tech, &stream).must();
    // It is over when nobody waits for web3 any more.
    let states = jobs::states(&scene.over(&id));
    assert_eq!(states, [("web1".into(), "succeeded".into()), ("web3".into(), "expired".into())]);
    scene.world.start_agent("web3.acme").unwrap();
    scene.world.until_online("web3.acme").unwrap();
    assert_eq!(bring(&scene.tech, &stream).must().json()["again"], true);
    // A gateway that knows nothing of it any more, and devices that do.
    scene.world.stop_gateway().unwrap();
    edit(&scene.world, "DELETE FROM run WHERE job = ?", &[&id]);
    assert_eq!(edit(&scene.world, "DELETE FROM job WHERE id = ?", &[&id]), 1);
    scene.world.start_gateway().unwrap();
    bring(&scene.tech, &stream).must_refuse(REFUSED, &["ended at", "sign a new order"]);
    assert_eq!(scene.ran(), ["web1.acme once"]);
    scene.is_healthy("after");
}

#[test]
fn a_machine_whose_state_is_an_older_copy_runs_it_no_second_time_and_is_found_out() {
    let scene = Scene::new();
    let (state, copy) = (scene.world.agent_dir(DEVICE), scene.world.dir().join("copy"));
    let copied = |from: &PathBuf, to: &PathBuf| {
        let _ = fs::remove_dir_all(to);
        run(Command::new("cp").arg("-a").arg(from).arg(to), b"").unwrap().must();
    };
    scene.world.stop_agent(DEVICE).unwrap();
    copied(&state, &copy);
    scene.world.start_agent(DEVICE).unwrap();
    let draft = scene.draft("once", &["web1"]);
    draft.submit(&scene.tech).must();
    scene.over(&draft.id());
    assert_eq!(scene.ran(), ["web1.acme once"]);
    // The disk of yesterday, and a gateway that was made to offer it again: the machine would take it, and says so in a
    // statement with a number that it has used.
    scene.world.stop_agent(DEVICE).unwrap();
    copied(&copy, &state);
    scene.offered_anew(&draft.id(), &[]);
    let mark = scene.world.log(DEVICE).mark();
    scene.world.start_agent(DEVICE).unwrap();
    let found = until("what the log says of it", GENEROUS, || {
        let entries = scene.tech.log("acme");
        let found = entries.into_iter().find(|entry| entry["type"] == "statement.rejected");
        anyhow::ensure!(found.is_some(), "nothing was rejected: {}", scene.world.log(DEVICE).tail());
        Ok(found.unwrap_or_default())
    })
    .unwrap();
    assert!(found["reason"].as_str().unwrap().contains("two machines with one key, or a restored disk"), "{found:#}");
    let over = |line: &str| line.contains("a run is over") && line.contains("not started");
    scene.world.log(DEVICE).wait("the end of a run that never began", mark, GENEROUS, over).unwrap();
    // Whoever waits for it hears why, and what to do; so does who orders something new, which is not even offered to it.
    let words = "web1.acme contradicts what it said before, so nothing starts there";
    scene.is_refused(&draft.id(), words);
    let mark = scene.world.log(DEVICE).mark();
    let more = jobs::order(&scene.tech, &["mark", "word=more", "--on", "acme/*"]);
    more.must_refuse(SOME_DID_NOT, &[words, "belay-agent forget --tenant acme", "web2.acme succeeded"]);
    assert!(scene.world.log(DEVICE).since(mark).iter().all(|line| !line.contains("a run is noted")));
    scene.world.until_state(DEVICE, "out of step").unwrap();
    // Nothing else starts there either, until it is joined again. Another connection or gateway changes nothing.
    scene.tech.ssh(DEVICE, "true").must_refuse(NOT_STARTED, &["nothing was started"]);
    scene.world.kill_gateway();
    scene.world.start_gateway().unwrap();
    scene.world.until_state(DEVICE, "out of step").unwrap();
    jobs::order(&scene.tech, &["mark", "word=even", "--on", DEVICE]).must_refuse(REFUSED, &[words]);
    assert!(scene.ran().iter().all(|line| !line.starts_with("web1.acme") || line == "web1.acme once"));
    rejoin(&scene.world, DEVICE);
    scene.is_healthy("after");
    scene.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_gateway_that_lost_a_job_records_its_end_all_the_same_and_the_machine_keeps_what_it_printed() {
    let scene = Scene::new();
    let go = scene.world.dir().join("go");
    let body = format!("echo a line; until [ -e {} ]; do sleep 0.1; done", go.display());
    runs::push(&scene.world, &scene.author, "slow", "", &body);
    let said = jobs::order(&scene.tech, &["slow", "--on", DEVICE, "--detach"]);
    assert_eq!(said.code(), Some(GOES_ON), "{}", said.story());
    let id = jobs::newest(&scene.tech);
    until("its beginning", GENEROUS, || {
        let job = jobs::job(&scene.tech, &id);
        anyhow::ensure!(jobs::states(&job)[0].1 == "started", "{job:#}");
        Ok(())
    })
    .unwrap();
    // As after a restore from before the job.
    scene.world.kill_gateway();
    edit(&scene.world, "DELETE FROM output WHERE job = ?", &[&id]);
    assert_eq!(edit(&scene.world, "DELETE FROM run WHERE job = ?", &[&id]), 1);
    assert_eq!(edit(&scene.world, "DELETE FROM job WHERE id = ?", &[&id]), 1);
    fs::write(&go, b"").unwrap();
    scene.world.start_gateway().unwrap();
    let end = until("its end in the log", GENEROUS, || {
        let ended = scene.tech.log("acme").into_iter().find(|entry| entry["type"] == "run.ended");
        ended.ok_or_else(|| anyhow::anyhow!("no end: {}", scene.world.log(DEVICE).tail()))
    })
    .unwrap();
    assert_eq!((end["order"].as_str(), end["outcome"].as_str()), (Some(id.as_str()), Some("succeeded")), "{end:#}");
    // The order may still come again, so the machine holds what it cannot deliver, and goes on with other work.
    let output = scene.world.agent_dir(DEVICE).join("runs").join(&id).join("output");
    let digest = belay_certs::Digest::of(&fs::read(output).unwrap()).to_string();
    assert_eq!(end["output"], digest.as_str());
    scene.is_healthy("after");
    scene.tech.belay(["log", "verify", "acme"]).unwrap().must();
}
