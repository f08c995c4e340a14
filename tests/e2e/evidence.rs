//! The auditor's desk: a session that only auditors can open is taken home, searched, replayed, packed and proved, and each look
//! is in the log.

use anyhow::{Context, ensure};
use belay_tests::{
    Person, Plan, Said, World, run,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

const DEVICE: &str = "web1.acme";
/// Titles, the clipboard, questions to the terminal, colours, noise and many lines.
const HOSTILE: &str = "printf 'first\\n\\033]0;evil\\007\\033]52;c;ZXZpbA==\\007\\033[6n\\033P$qm\\033\\\\\\033[31mred\\033[0m \\377\\303\\050\\n'; \
     seq 1 20000; echo the very last";

struct Bench {
    world: World,
    tech: Person,
    key: String,
}

impl Bench {
    fn new() -> Self {
        let world = World::of(Plan::small());
        let key = world.tenant_dir("acme").join("auditor.age");
        Self { tech: world.person("tech"), key: key.to_str().unwrap().to_owned(), world }
    }

    fn belay(&self, words: &[&str]) -> Said {
        self.tech.belay(words).unwrap()
    }

    /// Runs a command there; what the client received, and the session once its recording is whole.
    #[track_caller]
    fn recorded(&self, command: &str) -> (Vec<u8>, String) {
        let shown = self.tech.ssh(DEVICE, command).must().stdout;
        let session = until("a whole recording", GENEROUS, || {
            let rows: Value = serde_json::from_slice(&self.tech.gw("sessions --json").must().stdout)?;
            let rows = rows.as_array().context("no rows")?;
            let row = rows.iter().find(|row| row["command"] == command).context("no such session")?;
            ensure!(row["recording"]["state"] == "whole", "{row:#}");
            Ok(row["id"].as_str().context("no id")?.to_owned())
        });
        (shown, session.unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.world.dir().join(name).to_str().unwrap().to_owned()
    }

    fn kinds(&self, kind: &str) -> usize {
        self.tech.log("acme").iter().filter(|entry| entry["type"] == kind).count()
    }
}

/// What `asciinema cat` gives, where `tests/run` has put one.
fn asciinema_cat(file: &str) -> Option<Vec<u8>> {
    let program = std::env::var_os("BELAY_TOOLS").map(|dir| PathBuf::from(dir).join("asciinema"));
    let program = program.filter(|program| program.exists())?;
    let mut cat = Command::new(program);
    cat.args(["cat", file]).env("LC_ALL", "C.UTF-8").env("PYTHONIOENCODING", "utf-8:surrogateescape");
    Some(run(&mut cat, b"").unwrap().must().stdout)
}

#[test]
fn an_encrypted_session_is_taken_home_searched_and_replayed() {
    let bench = Bench::new();
    let (shown, session) = bench.recorded(HOSTILE);
    let file = bench.path("session.cast");
    bench.belay(&["recording", &session, "-o", &file]).must_refuse(1, &["chunk 0 of the recording", "age identity"]);
    assert!(!PathBuf::from(&file).exists());
    let said = bench.belay(&["recording", &session, "-o", &file, "--age-identity", &bench.key]).must();
    assert!(said.err().contains("the recording is whole"), "{}", said.story());
    match asciinema_cat(&file) {
        Some(cat) => assert_eq!(cat, shown, "byte for byte what the client received"),
        None => println!("skipped: asciinema is not installed"),
    }

    let about = bench.belay(&["recording", &session, "--json"]).must();
    assert!(about.err().contains("the recording is whole"), "{}", about.story());
    assert_eq!(about.json(), bench.tech.gw(&format!("recording {session} --json")).json());

    let replayed = bench.belay(&["replay", &session, "--age-identity", &bench.key]).must().stdout;
    let text = String::from_utf8(replayed).unwrap();
    assert!(text.starts_with("first\n\u{1b}[31mred\u{1b}[0m \u{fffd}\u{fffd}(\n1\n2\n"), "{:?}", &text[..80]);
    assert!(text.contains("20000\nthe very last\n"));

    let gone = bench.tech.gw("search 'the very last' --json").json();
    let sessions = bench.tech.gw("sessions --json").json();
    let recorded = sessions.as_array().unwrap().iter().filter(|row| !row["recording"].is_null()).count();
    assert_eq!((&gone["found"], &gone["unreadable"]), (&Value::Array(Vec::new()), &recorded.into()));
    let listed = bench.tech.gw("search nothing --json --sealed 24h").json();
    assert_eq!(
        (&listed["sealed"]["tenants"], listed["sealed"]["recordings"].as_array().map(Vec::len)),
        (&Value::from(vec!["acme"]), Some(recorded)),
        "{listed:#}"
    );
    bench.tech.gw("search nothing --sealed 24h").must_refuse(2, &["only listed as JSON"]);
    let search = ["search", "very last", "--tenant", "acme", "--json", "--age-identity", &bench.key];
    let found = bench.belay(&search).must().json();
    assert_eq!((found["found"].as_array().map(Vec::len), &found["unreadable"]), (Some(1), &0.into()), "{found}");
    let line = &found["found"][0];
    assert_eq!((&line["session"], &line["line"]), (&session.as_str().into(), &"the very last".into()));
    let words = |answer: &Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(words(&found), words(&gone), "the same words as the gateway's");
    let looks = bench.kinds("recording.read");
    assert_eq!(bench.belay(&["search", "very last", "--json"]).must().json(), found, "from the index of the home");
    assert_eq!(bench.kinds("recording.read"), looks, "nothing was fetched");
    // What comes later is asked for, and only that.
    let (_, later) = bench.recorded("echo the very last of all");
    let found = bench.belay(&[&search[..2], &["--device", "web1.acme", "--kind", "exec"], &search[2..]].concat());
    let found = found.must().json();
    assert_eq!(
        found["found"].as_array().unwrap().iter().map(|line| &line["session"]).collect::<Vec<_>>(),
        [&later, &session]
    );
    let none = bench.belay(&[&search[..2], &["--kind", "shell"], &search[2..]].concat()).must().json();
    assert_eq!((&none["found"], &none["unreadable"]), (&Value::Array(Vec::new()), &0.into()));
    assert_eq!(bench.kinds("recording.read"), looks + 1, "the new one was fetched");
    assert!(looks >= 3, "{looks} looks are in the log");
}

#[test]
fn a_pack_proves_a_session_to_a_machine_that_knows_nobody() {
    let bench = Bench::new();
    let (_, session) = bench.recorded("echo for the court");
    let pack = bench.path("pack.tar");
    let said = bench.belay(&["evidence", &session, "-o", &pack]).must();
    assert!(said.out().contains("its recording is whole"), "{}", said.story());
    bench.world.kill_gateway();
    let said = bench.belay(&["evidence", "verify", &pack]).must();
    assert!(said.out().contains("command: echo for the court"), "{}", said.story());

    let stranger = Person::make(bench.world.dir(), "stranger").unwrap();
    let said = stranger.belay(["evidence", "verify", &pack]).unwrap().must();
    assert!(said.err().contains("is not pinned here"), "{}", said.story());
    let whole = fs::read(&pack).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&pack, changed).unwrap();
        stranger.belay(["evidence", "verify", &pack]).unwrap().must_refuse(1, &["the pack does not verify"]);
    }
}
