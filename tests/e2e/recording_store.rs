//! Recordings at the gateway: what was acknowledged survives its `kill -9`, an altered file is named by its chunk, what is due
//! is deleted and a hold wins, a disk without room refuses early, and a search finds what was shown.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/edited.rs"]
mod edited;
#[path = "parts/policies.rs"]
mod policies;

use anyhow::{Context, ensure};
use belay_certs::recording::{Chain, blob, cast};
use belay_tests::{
    Person, Plan, Said, World,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Stdio},
};

const DEVICE: &str = "web1.acme";
/// A day and a bit, in microseconds: longer than the tests' policies keep.
const LONG_AGO: &str = "90000000000";

struct Bench {
    world: World,
    /// Owner of acme: may everything.
    tech: Person,
}

impl Bench {
    /// A world whose recordings the gateway can read.
    fn new() -> Self {
        let world = World::of(Plan::small());
        let bench = Self { tech: world.person("tech"), world };
        bench.policy("readable_by_gateway = true\n");
        bench
    }

    /// Pushes a policy with this as its `[recording]`, and waits until the device goes by it.
    fn policy(&self, recording: &str) {
        changed::change(&self.world, DEVICE, |text| {
            let (before, rest) = text.split_once("[recording]\n").unwrap_or((text, ""));
            let after = rest.find("\n[").map_or("", |at| &rest[at + 1..]);
            format!("{before}{after}\n[recording]\n{recording}")
        });
    }

    /// A session that goes on until its input ends, once it has shown `word`.
    fn live(&self, word: &str) -> Child {
        let mut ssh = self.tech.ssh_command();
        ssh.args(["-o", "ControlPath=none", "--", DEVICE, "cat"]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{word}").unwrap();
        let mut shown = vec![0; word.len() + 1];
        child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
        child
    }

    fn sessions(&self) -> Vec<Value> {
        serde_json::from_slice(&self.tech.gw("sessions --json --kind exec").must().stdout).unwrap()
    }

    /// The newest session whose recording is `state`, once there is one that `fits`.
    #[track_caller]
    fn until(&self, state: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&format!("a recording that is {state}"), GENEROUS, || {
            let sessions = self.sessions();
            let found = sessions.iter().find(|row| row["recording"]["state"] == state && fits(row));
            found.cloned().with_context(|| format!("{sessions:#?}"))
        })
        .unwrap()
    }

    fn shown(&self, command: &str) -> String {
        self.tech.ssh(DEVICE, command).must();
        id(&self.until("whole", |row| row["command"] == command))
    }

    fn recording(&self, session: &str) -> Said {
        self.tech.gw(&format!("recording {session}"))
    }

    fn folder(&self, session: &str) -> PathBuf {
        self.world.gateway_dir().join("recordings/acme/web1").join(session)
    }

    fn kinds(&self, kind: &str) -> Vec<Value> {
        self.tech.log("acme").into_iter().filter(|entry| entry["type"] == kind).collect()
    }

    fn found(&self, text: &str) -> Vec<Value> {
        let answer = self.tech.gw(&format!("search {text} --json")).must();
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
        answer["found"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn until_found(&self, text: &str) -> Value {
        until("a line that was shown", GENEROUS, || self.found(text).into_iter().next().context("nothing is found"))
            .unwrap()
    }
}

fn id(row: &Value) -> String {
    row["id"].as_str().unwrap().to_owned()
}

/// The files of an archive.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for file in tar::Archive::new(archive).entries().unwrap() {
        let mut file = file.unwrap();
        let name = file.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(files.insert(name, bytes).is_none());
    }
    files
}

/// What a session showed, by its archive: every chunk is checked against its note.
fn output(archive: &[u8]) -> Vec<u8> {
    let files = files(archive);
    let about: Value = serde_json::from_slice(&files["recording.json"]).unwrap();
    let mut chain = Chain::new(about["session"].as_str().unwrap().parse().unwrap());
    let (mut reader, mut shown) = (cast::Reader::default(), Vec::new());
    for number in 0..about["chunks"].as_u64().unwrap() {
        let note = String::from_utf8(files[&format!("{number:08}.note")].clone()).unwrap();
        let bytes = &files[&format!("{number:08}.cast.zst")];
        chain.take(&note, bytes).unwrap();
        for event in reader.read(&blob::open(bytes, None).unwrap()).unwrap() {
            if let cast::EventKind::Output(bytes) = event.kind {
                shown.extend(bytes);
            }
        }
    }
    if let Some(head) = about["head"].as_str() {
        chain.check_end(head.parse().unwrap()).unwrap();
    }
    shown
}

#[test]
fn chunks_survive_a_kill_of_the_gateway_and_the_rest_comes_after_it() {
    let bench = Bench::new();
    let mut live = bench.live("before the kill");
    let session = id(&bench.until("live", |row| row["recording"]["chunks"].as_u64() > Some(0)));
    let before = output(&bench.recording(&session).must().stdout);
    assert_eq!(String::from_utf8_lossy(&before), "before the kill\n");
    bench.world.kill_gateway();
    bench.world.start_gateway().unwrap();
    bench.world.until_state(DEVICE, "online").unwrap();
    drop(live.stdin.take());
    live.wait().unwrap();
    let row = bench.until("whole", |row| id(row) == session);
    assert!(!row["ended"].is_null(), "{row:#}");
    let after = output(&bench.recording(&session).must().stdout);
    assert!(after.starts_with(&before), "{}", String::from_utf8_lossy(&after));
    assert!(bench.kinds("recording.read").len() >= 2, "every look is in the log");
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn an_altered_or_missing_file_is_named_by_its_chunk() {
    let bench = Bench::new();
    let session = bench.shown("echo what was shown");
    let file = bench.folder(&session).join("00000000.cast.zst");
    let right = fs::read(&file).unwrap();
    let mut wrong = right.clone();
    wrong[right.len() / 2] ^= 1;
    fs::write(&file, &wrong).unwrap();
    bench.recording(&session).must_refuse(1, &["chunk 0 of the recording", "changed or cut off"]);
    fs::write(&file, &right[..right.len() - 1]).unwrap();
    bench.recording(&session).must_refuse(1, &["chunk 0 of the recording"]);
    fs::remove_file(&file).unwrap();
    bench.recording(&session).must_refuse(1, &["chunk 0 of the recording", "not here any more"]);
    fs::write(&file, &right).unwrap();
    assert_eq!(output(&bench.recording(&session).must().stdout), b"what was shown\n");
    let nobody = "0".repeat(32);
    bench.recording(&nobody).must_refuse(1, &["has no recording that you may see"]);
}

#[test]
fn what_is_due_is_deleted_with_an_event_and_a_hold_wins() {
    let bench = Bench::new();
    let [due, held] = ["echo due", "echo held"].map(|command| bench.shown(command));
    let listed = bench.tech.belay(["sessions", "--kind", "exec", "--person", "tech", "--since", "24h", "--json"]);
    assert!(listed.unwrap().must().out().contains(&due));
    bench.tech.belay(["hold", held.as_str(), "--reason", "case 7"]).unwrap().must();
    bench.tech.gw(&format!("hold {held} --reason again")).must_refuse(1, &["is held"]);
    bench.until_found("due");
    bench.policy("readable_by_gateway = true\nkeep = \"1d\"\n");
    let age = |table: &str, column: &str, key: &str| {
        let statement = format!("UPDATE {table} SET {column} = {column} - {LONG_AGO} WHERE {key} IN (?, ?)");
        assert_eq!(edited::edit(&bench.world, &statement, &[&due, &held]), 2);
    };
    bench.world.stop_gateway().unwrap();
    age("recording", "kept_us", "session");
    age("session", "ended_us", "id");
    bench.world.start_gateway().unwrap();
    let gone = bench.until("deleted", |row| id(row) == due);
    assert_eq!(gone["recording"]["chunks"], 1);
    let deleted = bench.kinds("recording.deleted");
    assert_eq!(deleted.len(), 1, "{deleted:#?}");
    assert_eq!(deleted[0]["session"], due.as_str());
    until("the files of what was deleted to be gone", GENEROUS, || {
        ensure!(fs::read_dir(bench.folder(&due)).map_or(0, Iterator::count) == 0);
        Ok(())
    })
    .unwrap();
    // The notes stay, and what is held.
    let files = files(&bench.recording(&due).must().stdout);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["00000000.note", "00000000.note.sig", "recording.json"]);
    assert_eq!(output(&bench.recording(&held).must().stdout), b"held\n");
    until("the index to forget what was deleted", GENEROUS, || {
        ensure!(bench.found("due").is_empty());
        Ok(())
    })
    .unwrap();
    bench.tech.belay(["release", held.as_str(), "--reason", "closed"]).unwrap().must();
    bench.world.stop_gateway().unwrap();
    bench.world.start_gateway().unwrap();
    bench.until("deleted", |row| id(row) == held);
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn without_room_on_the_disk_no_session_begins_and_no_index_grows_and_both_say_so() {
    let bench = Bench::new();
    bench.shown("echo room");
    bench.until_found("room");
    bench.world.stop_gateway().unwrap();
    bench.world.keep_free(1 << 40, 0).unwrap();
    // An index would take what is left.
    fs::remove_file(bench.world.gateway_dir().join("index/acme.db")).unwrap();
    bench.world.start_gateway().unwrap();
    bench.world.until_state(DEVICE, "online").unwrap();
    let answer = bench.tech.gw("search room --json").must().json();
    assert!(answer["no_room"].to_string().contains("less than it needs") && answer["waiting"] == 1, "{answer}");
    let said = bench.tech.gw("search room").must().out();
    assert!(said.contains("must make room; recordings that are not searched: 1"), "{said}");
    let said = bench.tech.belay(["search", "room"]).unwrap().must();
    assert!(said.err().contains("recordings that are not searched: 1"), "{}", said.story());
    let mut ssh = bench.tech.ssh_command();
    let said = belay_tests::run(ssh.args(["-o", "ControlPath=none", "--", DEVICE, "true"]), b"").unwrap();
    assert!(said.code() == Some(255) && said.err().contains("less than it needs"), "{}", said.story());
    assert!(bench.kinds("access.refused").iter().any(|entry| entry["sentence"].to_string().contains("MiB left")));
    bench.world.stop_gateway().unwrap();
    bench.world.keep_free(0, 0).unwrap();
    bench.world.start_gateway().unwrap();
    bench.world.until_state(DEVICE, "online").unwrap();
    bench.until_found("room");
    bench.shown("echo room again");
}

#[test]
fn the_list_of_sessions_names_each_and_goes_on_where_it_ended() {
    let bench = Bench::new();
    let ids: Vec<String> = ["echo one", "echo two", "echo three"].map(|command| bench.shown(command)).into();
    let all = bench.tech.gw("sessions --kind exec").must().out();
    for (id, line) in ids.iter().rev().zip(all.lines().skip(1)) {
        assert!(line.starts_with(id.as_str()) && line.contains("  whole  "), "{all}");
    }
    assert!(!all.contains("older"), "{all}");
    // Page by page, each where the one before says.
    let (mut pages, mut until) = (Vec::new(), String::new());
    loop {
        let page = bench.tech.gw(&format!("sessions --kind exec --limit 1{until}")).must().out();
        pages.extend(page.lines().nth(1).and_then(|line| line.split(' ').next()).map(str::to_owned));
        let Some((_, rest)) = page.split_once("go on with --until ") else { break };
        until = format!(" --until {}", rest.split(',').next().unwrap());
    }
    pages.reverse();
    assert!(pages.ends_with(&ids), "{pages:?} {ids:?}");
    let own = bench.tech.belay(["sessions", "--kind", "exec", "--limit", "2"]).unwrap().must();
    assert!(
        own.out().contains(&ids[2]) && own.out().contains("whole") && !own.out().contains(&ids[0]),
        "{}",
        own.story()
    );
    let (_, rest) = own.err().split_once("go on with --until ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let more = ["sessions", "--kind", "exec", "--until", rest.split(',').next().unwrap()];
    let more = bench.tech.belay(more).unwrap().must();
    assert!(more.out().contains(&ids[0]) && !more.out().contains(&ids[1]), "{}", more.story());
}

#[test]
fn a_search_finds_what_was_shown_with_every_filter_and_a_damaged_index_is_made_anew() {
    let bench = Bench::new();
    let session = bench.shown("printf 'a \\033[1mneedle\\033[0m in Heu\\n'");
    let found = bench.until_found("needle");
    assert_eq!((found["session"].as_str(), found["line"].as_str()), (Some(session.as_str()), Some("a needle in Heu")));
    assert_eq!((found["device"].as_str(), found["person"].as_str()), (Some(DEVICE), Some("tech")));
    assert!(bench.kinds("recording.read").iter().any(|entry| entry["session"] == session && entry["kind"] == "search"));
    for (options, count) in [
        ("--tenant acme", 1),
        ("--device web1.acme --person tech --kind exec --since 24h", 1),
        ("--kind shell", 0),
        ("--person nobody", 0),
        ("--since 2099-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(bench.found(&format!("needle {options}")).len(), count, "{options}");
    }
    bench.world.stop_gateway().unwrap();
    let index = bench.world.gateway_dir().join("index/acme.db");
    fs::write(&index, vec![7; 10_000]).unwrap();
    bench.world.start_gateway().unwrap();
    assert_eq!(bench.until_found("needle")["session"], session.as_str());
    // Encrypted to the auditors: the gateway says how many it cannot look into.
    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    bench.policy(&format!("to = [\"{key}\"]\n"));
    let counts = || {
        let answer: Value = serde_json::from_slice(&bench.tech.gw("search needle --json").must().stdout).unwrap();
        (answer["found"].as_array().unwrap().len(), answer["unreadable"].as_u64().unwrap())
    };
    // The world came up under a policy with recipients.
    let (_, before) = counts();
    let sealed = bench.shown("echo another needle");
    assert_eq!(counts(), (1, before + 1));
    let files = files(&bench.recording(&sealed).must().stdout);
    assert!(files["00000000.cast.zst.age"].starts_with(b"age-encryption.org/v1"), "{:?}", files.keys());
}
