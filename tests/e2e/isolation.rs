//! P3: a tenant is a wall. Every command and name of one tenant, tried by a person of another, beside
//! the same words for names that do not exist: no byte differs, nothing is learnt, and the tenant's log does not even notice.
//! Whoever is known in no tenant does not get past the login.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/listed.rs"]
mod listed;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::Context;
use belay_tests::{
    Person, Plan, Said, World, run,
    wait::{GENEROUS, until},
};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The tenant that is pried into, and words that only it has: nobody else may ever read one that they did not type.
const VICTIM: &str = "acme";
const VICTIMS_WORDS: [&str; 5] = ["acme", "web1", "db1", "auditor", "tech"];
/// A tenant that there is none of.
const NOBODY: &str = "umbra";
/// The delay that every stranger waits.
const STRANGER_DELAY: Duration = Duration::from_millis(750);

/// What a command is fed on its standard input.
#[derive(Clone, Copy)]
enum Fed {
    Nothing,
    /// Each of the documents that it would take from the right people.
    Stolen,
    /// This, with the tenant's name put in.
    Text(&'static str),
}

/// Every command of the gateway as one may try it on a foreign tenant, whose name TENANT stands for. A new command needs a
/// row, and each row is tried with a tenant that there is and with one that there is not.
const COMMANDS: [(&str, Fed); 60] = [
    ("devices --tenant TENANT", Fed::Nothing),
    ("devices --json --tenant=TENANT", Fed::Nothing),
    ("devices web1 --tenant TENANT", Fed::Nothing),
    ("pending --tenant TENANT", Fed::Nothing),
    ("pending --tenant TENANT --json", Fed::Nothing),
    ("token TENANT", Fed::Stolen),
    ("approve TENANT", Fed::Stolen),
    ("approve TENANT --json", Fed::Nothing),
    ("records TENANT", Fed::Nothing),
    ("records TENANT --json", Fed::Nothing),
    ("records TENANT --device web1.TENANT", Fed::Nothing),
    ("records TENANT --after none.TENANT --limit 5", Fed::Nothing),
    ("recertify TENANT", Fed::Stolen),
    ("recertify TENANT --json", Fed::Nothing),
    ("policy show TENANT", Fed::Nothing),
    ("policy show TENANT --json", Fed::Nothing),
    ("policy show TENANT --from 1 --json", Fed::Nothing),
    ("policy fetch", Fed::Text("{\"only\":[\"TENANT\"]}")),
    ("policy fetch", Fed::Text("{\"only\":[\"TENANT\"],\"held\":{\"TENANT\":0}}")),
    ("policy push TENANT", Fed::Stolen),
    ("runbooks TENANT", Fed::Nothing),
    ("runbooks TENANT --name restart --json", Fed::Nothing),
    ("runbook show TENANT sha256:0000000000000000000000000000000000000000000000000000000000000000", Fed::Nothing),
    ("runbook push TENANT", Fed::Stolen),
    ("run TENANT", Fed::Stolen),
    ("run TENANT --json", Fed::Text("tenant = \"TENANT\"\n")),
    ("jobs --tenant TENANT", Fed::Nothing),
    ("jobs --tenant TENANT --limit 5", Fed::Nothing),
    ("jobs --tenant TENANT --json", Fed::Nothing),
    ("sessions --tenant TENANT", Fed::Nothing),
    ("sessions --device web1.TENANT", Fed::Nothing),
    ("sessions --device db1.TENANT --json", Fed::Nothing),
    ("sessions --device none.TENANT", Fed::Nothing),
    ("sessions --tenant TENANT --device web1.TENANT --limit 5", Fed::Nothing),
    ("sessions --tenant TENANT --person tech --since 7d --kind shell --json", Fed::Nothing),
    ("search secret --tenant TENANT", Fed::Nothing),
    ("search secret --tenant TENANT --json --limit 5", Fed::Nothing),
    ("search secret --device web1.TENANT --person tech", Fed::Nothing),
    ("search secret --tenant TENANT --json --sealed 1970-01-01T00:00:00Z", Fed::Nothing),
    ("freeze TENANT", Fed::Nothing),
    ("freeze web1.TENANT --reason stolen", Fed::Nothing),
    ("freeze TENANT/tech", Fed::Nothing),
    ("freeze TENANT/msp:tech", Fed::Nothing),
    ("thaw TENANT", Fed::Nothing),
    ("thaw none.TENANT", Fed::Nothing),
    ("freezes --tenant TENANT", Fed::Nothing),
    ("freezes --tenant TENANT --json", Fed::Nothing),
    ("review --tenant TENANT", Fed::Nothing),
    ("review --tenant TENANT --state approved --json", Fed::Nothing),
    ("review --tenant TENANT --limit 5", Fed::Nothing),
    ("log tail TENANT", Fed::Nothing),
    ("log tail TENANT --json --limit 5", Fed::Nothing),
    ("log tail TENANT --from 0 --json", Fed::Nothing),
    ("log tail TENANT --from 1000000", Fed::Nothing),
    ("log tail TENANT --follow --json", Fed::Nothing),
    ("log tail TENANT --follow --from 0 --json", Fed::Nothing),
    ("log export TENANT", Fed::Nothing),
    ("log checkpoint TENANT", Fed::Nothing),
    ("log proof TENANT 0", Fed::Nothing),
    ("log proof TENANT 00000000000000000000000000000001", Fed::Nothing),
];
/// Every command that names a job, which JOB stands for: it is looked for among the caller's own tenants.
const JOB_COMMANDS: [&str; 9] = [
    "job JOB",
    "job JOB --json",
    "job JOB --device web1 --output",
    "job JOB --follow --json",
    "job JOB --output --follow --json",
    "job JOB --device web1 --output --follow",
    "cancel JOB",
    "hold JOB/web1 --reason case",
    "release JOB/web1 --reason case",
];
/// Every command that names a session, which SESSION stands for: it is looked for among the caller's own tenants.
const SESSION_COMMANDS: [&str; 3] =
    ["kill SESSION", "review approve SESSION --note well", "review flag SESSION --note odd --device web1.acme"];
/// Every command that names a recording by its session, which SESSION stands for.
const RECORDING_COMMANDS: [&str; 5] = [
    "recording SESSION",
    "recording SESSION --json",
    "recording SESSION --from 1",
    "hold SESSION --reason case",
    "release SESSION --reason case",
];
/// Every way to ask for what a log says of an id without the log's name.
const PROOF_COMMANDS: [&str; 2] = ["log proof SESSION", "log proof SESSION --records"];
/// The one command that names nothing and asks nobody.
const HELP: &str = "help";

/// What to type that names no tenant, with what it may show: the caller's own.
const OWN: [&str; 15] = [
    "search secret --json --sealed 7d",
    "search secret --json",
    "jobs",
    "jobs --json --limit 1000",
    "devices",
    "devices --json",
    "devices web1",
    "pending",
    "pending --json",
    "sessions",
    "sessions --json --limit 1000",
    "freezes",
    "freezes --json",
    "review",
    "review --state flagged --json",
];

/// Everything a row is fed, for the tenant with this name.
fn inputs(world: &World, fed: Fed, tenant: &str) -> Vec<Vec<u8>> {
    match fed {
        Fed::Nothing => vec![Vec::new()],
        Fed::Text(text) => vec![text.replace("TENANT", tenant).into_bytes()],
        Fed::Stolen => {
            let dir = world.tenant_dir(VICTIM);
            let mut policies = files(&dir).into_iter().filter(|file| file.extension().is_some_and(|end| end == "toml"));
            let newest = policies.rfind(|file| file.to_string_lossy().contains("policy-")).unwrap();
            vec![
                Vec::new(),
                b"no document".to_vec(),
                fs::read(newest).unwrap(),
                fs::read(dir.join("join.token")).unwrap(),
            ]
        }
    }
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What came back, with the name that was typed taken out.
fn seen(said: &Said, tenant: &str) -> (Option<i32>, String, String) {
    (said.code(), said.out().replace(tenant, "TENANT"), said.err().replace(tenant, "TENANT"))
}

/// Nothing of the victim's is in `text`, besides what the caller typed.
#[track_caller]
fn must_not_tell(text: &str, typed: &str) {
    for word in text.split(|letter: char| !letter.is_alphanumeric()) {
        assert!(typed.contains(word) || !VICTIMS_WORDS.contains(&word), "{typed:?} was told {word:?}:\n{text}");
    }
}

/// Tries every row at once, as a thief in a hurry would; the answers come on one shared connection.
fn pry(world: &World, person: &Person) {
    let _ = person.gw(HELP);
    thread::scope(|scope| {
        for (line, fed) in COMMANDS {
            scope.spawn(move || {
                for (there, nowhere) in inputs(world, fed, VICTIM).iter().zip(inputs(world, fed, NOBODY)) {
                    must_be_alike(person, line, [(VICTIM, there), (NOBODY, &nowhere)]);
                }
            });
        }
    });
}

/// The same command for two names is answered alike, with nothing, after the strangers' delay.
#[track_caller]
fn must_be_alike(person: &Person, line: &str, tries: [(&str, &Vec<u8>); 2]) {
    let [there, nowhere] = tries.map(|(tenant, input)| {
        let began = Instant::now();
        let said = person.gw_with_input(&line.replace("TENANT", tenant), input);
        assert!(began.elapsed() >= STRANGER_DELAY, "{line:?} was answered without the delay");
        assert!(said.code() == Some(1) && said.stdout.is_empty(), "{}", said.story());
        assert!(said.err().contains("nothing there is granted to you"), "{}", said.story());
        must_not_tell(&said.err(), "");
        seen(&said, tenant)
    });
    assert_eq!(there, nowhere, "{line:?} by {}", person.name);
}

/// The victim's log knows nothing of those who pried: strangers are the system log's.
#[track_caller]
fn must_not_be_noticed(world: &World, persons: &[&Person]) {
    let fingerprints: Vec<String> = persons
        .iter()
        .map(|person| {
            let mut keygen = std::process::Command::new("ssh-keygen");
            let said = run(keygen.arg("-lf").arg(person.public_key()), b"").unwrap().must().out();
            said.split(' ').nth(1).unwrap().to_owned()
        })
        .collect();
    for entry in world.person("auditor").log(VICTIM) {
        let who = entry["person"].as_str().unwrap_or("tech");
        assert!(["tech", "auditor", "author"].contains(&who), "{entry:#}");
        let text = entry.to_string();
        assert!(!fingerprints.iter().any(|one| text.contains(one.as_str())), "{entry:#}");
    }
}

/// The bytes that a jump to a name gets, whatever they are.
fn jump(person: &Person, target: &str) -> Said {
    run(person.ssh_command().args(["-W", target, "gw"]), b"SSH-2.0-probe\r\n").unwrap()
}

#[test]
fn the_table_of_this_test_has_every_command() {
    let world = World::shared();
    let listed = listed::listed(&world.person("tech").gw(HELP).must().out());
    assert!(listed.len() >= 12 && listed.contains("log export"), "help was not understood: {listed:?}");
    let has_row = |command: &String| {
        let lines = COMMANDS
            .iter()
            .map(|(line, _)| *line)
            .chain(JOB_COMMANDS)
            .chain(SESSION_COMMANDS)
            .chain(RECORDING_COMMANDS);
        lines.into_iter().any(|line| line == command || line.starts_with(&format!("{command} ")))
    };
    let missing: Vec<&String> =
        listed.iter().filter(|command| *command != HELP && !command.is_empty() && !has_row(command)).collect();
    assert!(missing.is_empty(), "commands without a row in COMMANDS: {missing:?}");
}

#[test]
fn a_person_of_another_tenant_learns_nothing_from_any_command() {
    let world = World::shared();
    let other = world.person("other");
    for line in OWN {
        let said = other.gw(line).must();
        must_not_tell(&(said.out() + &said.err()), line);
    }
    assert!(other.gw("devices").must().out().contains("till1.globex"));
    pry(&world, &other);
    // Beside a tenant of one's own, one that there is counts as much as one that there is not.
    let fetch = |tenant: &str| {
        let asked = format!("{{\"only\":[\"{tenant}\",\"globex\"],\"held\":{{\"{tenant}\":0}}}}");
        let said = other.gw_with_input("policy fetch", asked.as_bytes()).must();
        must_not_tell(&said.out(), "");
        said.stdout
    };
    assert_eq!(fetch(VICTIM), fetch(NOBODY));
    must_not_be_noticed(&world, &[&other]);
}

#[test]
fn a_job_of_another_tenant_is_no_job() {
    let world = World::of(Plan::demo());
    let author = runs::allow(&world, "web1.acme");
    let (tech, other) = (world.person("tech"), world.person("other"));
    runs::push(&world, &author, "noop", "", "echo the secret of acme");
    jobs::order(&tech, &["noop", "--on", "acme/*"]).must();
    let theirs = jobs::newest(&tech);
    assert!(jobs::states(&jobs::job(&tech, &theirs)).iter().all(|(_, state)| state == "succeeded"));
    for line in JOB_COMMANDS {
        tech.gw(&line.replace("JOB", &theirs).replace("cancel", "job"));
        let answer = |id: &str| {
            let said = other.gw(&line.replace("JOB", id)).must_refuse(1, &["there is no job", "that you may see"]);
            must_not_tell(&(said.out() + &said.err()), line);
            (said.out().replace(id, "JOB"), said.err().replace(id, "JOB"))
        };
        assert_eq!(answer(&theirs), answer(&"0".repeat(32)), "{line}");
    }
    must_not_be_noticed(&world, &[&other]);
}

#[test]
fn a_recording_of_another_tenant_is_no_recording() {
    let world = World::of(Plan::demo());
    let (tech, other) = (world.person("tech"), world.person("other"));
    tech.ssh("web1.acme", "echo the secret of acme").must();
    let theirs = until("a session with a recording", GENEROUS, || {
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&tech.gw("sessions --json").must().stdout)?;
        let found = rows.iter().find(|row| row["recording"]["state"] == "whole");
        found.and_then(|row| row["id"].as_str()).map(str::to_owned).with_context(|| format!("{rows:#?}"))
    })
    .unwrap();
    must_be_nothing(&other, &RECORDING_COMMANDS, "has no recording that you may see", &theirs);
    must_not_be_noticed(&world, &[&other]);
}

#[test]
fn a_session_of_another_tenant_is_no_session() {
    let world = World::new();
    let (tech, other) = (world.person("tech"), world.person("other"));
    tech.ssh("web1.acme", "true").must();
    let theirs = tech.gw("sessions --json").json()[0]["id"].as_str().unwrap().to_owned();
    must_be_nothing(&other, &SESSION_COMMANDS, "there is no session", &theirs);
    must_be_nothing(&other, &PROOF_COMMANDS, "any log", &theirs);
    must_not_be_noticed(&world, &[&other]);
}

/// What is theirs and what is nobody's is answered alike.
#[track_caller]
fn must_be_nothing(other: &Person, commands: &[&str], words: &str, theirs: &str) {
    for line in commands {
        let answer = |id: &str| {
            let said = other.gw(&line.replace("SESSION", id)).must_refuse(1, &[words, "that you may"]);
            must_not_tell(&(said.out() + &said.err()), line);
            (said.out().replace(id, "SESSION"), said.err().replace(id, "SESSION"))
        };
        assert_eq!(answer(theirs), answer(&"0".repeat(32)), "{line}");
    }
}

#[test]
fn a_stranger_comes_no_further_than_the_door_whatever_they_say() {
    let world = World::shared();
    let stranger = world.stranger("prying").unwrap();
    let turned_away = |said: Said, name: &str| {
        must_not_tell(&(said.out() + &said.err()), name);
        (said.code(), said.stdout.clone(), said.err().replace(name, "NAME"))
    };
    let first = turned_away(stranger.gw(HELP), NOBODY);
    assert!(first.0 == Some(255) && first.2.contains("Permission denied"), "{first:?}");
    // One of each kind is enough: no command is read before the login.
    for tenant in [VICTIM, NOBODY] {
        assert_eq!(turned_away(stranger.gw(&format!("log tail {tenant}")), tenant), first);
        assert_eq!(turned_away(jump(&stranger, &format!("web1.{tenant}:22")), tenant), first);
    }
    must_not_be_noticed(&world, &[&stranger]);
}

#[test]
fn a_way_to_a_foreign_device_is_refused_like_a_way_to_none() {
    let world = World::shared();
    let person = world.person("other");
    let bytes = |target: &str| {
        let began = Instant::now();
        let said = jump(&person, target);
        assert!(began.elapsed() >= STRANGER_DELAY, "{target} was answered without the delay");
        (said.code(), said.stdout.clone(), said.err().replace(target, "TARGET"))
    };
    let nowhere = bytes("web1.umbra:22");
    assert!(String::from_utf8_lossy(&nowhere.1).contains("nothing there is granted to you"), "{nowhere:?}");
    for target in
        ["web1.acme:22", "db1.acme:22", "none.acme:22", "web1.acme:23", "none.acme:1", "acme:22", "web1.umbra:5"]
    {
        assert_eq!(bytes(target), nowhere, "{target} by {}", person.name);
    }
    // With the configuration that names the victim, as an onlooker may have it.
    let (there, nowhere) = (person.ssh("web1.acme", "true"), person.ssh("none.acme", "true"));
    let words = |said: &Said, name: &str| (said.code(), said.out(), said.err().replace(name, "DEVICE"));
    assert_eq!(words(&there, "web1.acme"), words(&nowhere, "none.acme"));
    must_not_be_noticed(&world, &[&person]);
}

#[test]
fn the_time_an_answer_takes_tells_no_more_than_its_words() {
    let world = World::shared();
    let other = world.person("other");
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..9 {
        for (at, tenant) in [VICTIM, NOBODY].into_iter().enumerate() {
            let began = Instant::now();
            other.gw(&format!("log checkpoint {tenant}")).must_refuse(1, &[]);
            times[at].push(began.elapsed());
        }
    }
    let [there, nowhere] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    println!(
        "measured: refused after {} ms where there is a tenant, {} ms where there is none",
        there.as_millis(),
        nowhere.as_millis()
    );
    // Both wait out the same delay, so that what was looked up before it is hidden; a look-up that showed would be the
    // difference between the delay and none.
    assert!(there.abs_diff(nowhere) < STRANGER_DELAY, "{there:?} and {nowhere:?}");
}
