//! Evidence of what no recording shows: a job, run by run, and a session that its device refused; packed by an auditor who may do
//! nothing else.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{Person, Plan, World};
use std::fs;

/// The client's status when the device said no.
const REFUSED: i32 = 254;

/// No byte of a pack can be changed: some are tried.
#[track_caller]
fn refuses_changes(person: &Person, pack: &str) {
    let whole = fs::read(pack).unwrap();
    for at in (7..whole.len()).step_by(whole.len() / 10) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(pack, changed).unwrap();
        person.belay(["evidence", "verify", pack]).unwrap().must_refuse(1, &["the pack does not verify"]);
    }
    fs::write(pack, whole).unwrap();
}

#[test]
fn a_pack_proves_a_job_on_every_device_or_on_one() {
    let world = World::of(Plan::three());
    let auditor = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let word = "[parameters.word]\ntype = \"string\"\ndescription = \"a word\"\npattern = \"[a-z]+\"\nrequired = true";
    runs::push(&world, &auditor, "mark", word, "echo \"out $BELAY_ARG_WORD\"; test $BELAY_DEVICE != web2.acme");
    jobs::order(&tech, &["mark", "word=hello", "--on", "acme/*"]);
    let job = jobs::newest(&tech);
    let states = jobs::states(&jobs::job(&tech, &job));
    assert!(states.contains(&("web2".to_owned(), "failed".to_owned())), "{states:?}");
    let path = |name: &str| world.dir().join(name).to_str().unwrap().to_owned();
    let (all, one) = (path("all.tar"), path("one.tar"));
    let said = auditor.belay(["evidence", &job, "-o", &all]).unwrap().must();
    for line in ["mark as", "on 3 devices, ordered by tech", "web1.acme: succeeded\n", "web2.acme: failed\n"] {
        assert!(said.out().contains(line), "{line}: {}", said.story());
    }
    auditor.belay(["evidence", &job, "--device", "web2", "-o", &one]).unwrap().must();
    world.kill_gateway();
    let stranger = Person::make(world.dir(), "stranger").unwrap();
    let said = stranger.belay(["evidence", "verify", &all]).unwrap().must();
    assert!(
        said.err().contains("is not pinned here") && said.out().contains("web3.acme: succeeded"),
        "{}",
        said.story()
    );
    let said = auditor.belay(["evidence", "verify", &one]).unwrap().must();
    assert!(said.out().contains("only web2 is here") && !said.out().contains("web1"), "{}", said.story());
    refuses_changes(&stranger, &all);
    refuses_changes(&stranger, &one);
}

#[test]
fn a_pack_proves_that_a_device_refused_a_session_and_has_no_recording() {
    let world = World::shared();
    let auditor = world.person("auditor");
    auditor.ssh("web1.acme", "echo never").must_refuse(REFUSED, &["no grant gives auditor"]);
    let entries = auditor.log("acme");
    let is_ours = |entry: &&serde_json::Value| entry["type"] == "session.refused" && entry["command"] == "echo never";
    let session =
        entries.iter().rev().find(is_ours).expect("a refused session")["session"].as_str().unwrap().to_owned();
    let pack = world.dir().join("refused.tar").to_str().unwrap().to_owned();
    auditor.belay(["evidence", &session, "-o", &pack]).unwrap().must();
    let said = auditor.belay(["evidence", "verify", &pack]).unwrap().must();
    for line in ["command: echo never", "the device refused it: no grant gives auditor", "there is no recording of it"]
    {
        assert!(said.out().contains(line), "{line}: {}", said.story());
    }
    refuses_changes(&auditor, &pack);
    let unknown = ["evidence", &"7".repeat(32), "-o", &pack];
    auditor.belay(unknown).unwrap().must_refuse(1, &["no gateway shows you a session or a job"]);
}
