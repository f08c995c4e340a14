//! A technician who is root on the machine tries to escape the recording: kills the agent, stops and traces it, wipes its files,
//! fills its disk, removes its key, leaves programs behind. What the client received is recorded, or the recording says that it is a prefix,
//! and then it lacks no more than what may be shown ahead of the gateway's word.
//!
//! Not here: who reads the agent's memory has its key. Every agent is ended by its own number, which the commands are told.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/disk.rs"]
mod disk;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/recorded.rs"]
mod recorded;
#[path = "escape/traced.rs"]
mod traced;
#[path = "escape/unterminated.rs"]
mod unterminated;

use anyhow::{Context, Result, ensure};
use belay_tests::{
    Person, Plan, World,
    call::words,
    wait::{GENEROUS, Watched, end_of, until},
    world::Held,
};
use disk::Disk;
use recorded::{Recorded, newest};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const DEVICE: &str = "web1.acme";
/// What may be shown ahead of the gateway's word, in bytes.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// The same in time, and what a byte may take to the client on a busy machine.
const AHEAD_MAX: Duration = Duration::from_secs(5 + 3);
/// Until the gateway gives up an agent that says nothing (65 s), and the client hears of it.
const SILENCE: Duration = Duration::from_secs(150);
/// Room for a machine's keys, policies and journal.
const AGENT_SIZE: &str = "1m";
/// A number every fifth of a second for twelve seconds.
const TICKS: &str = "i=0; while [ $i -lt 40 ]; do echo tick $i; i=$((i+1)); sleep 0.2; done";

/// A world with one machine. Fields end in this order: programs, disk, directories.
struct Bench {
    world: World,
    disk: Option<Disk>,
    /// The machine's key, which judges need when the machine has it no more.
    host_key: Vec<u8>,
    tech: Person,
    _scratch: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| None)
    }

    fn with(disk: impl FnOnce(&Path) -> Option<Disk>) -> Self {
        let scratch = TempDir::with_prefix("belay-").unwrap();
        let world = World::prepare(scratch.path(), Plan::small()).unwrap();
        let disk = disk(&world.agent_dir(DEVICE));
        world.bring_up(&|_| {}).unwrap();
        let (tech, host_key) = (world.person("tech"), fs::read(key_of(&world)).unwrap());
        Self { world, disk, host_key, tech, _scratch: scratch }
    }

    fn agent(&self) -> u32 {
        self.world.agent_pid(DEVICE).unwrap()
    }

    fn state(&self) -> String {
        self.world.agent_dir(DEVICE).display().to_string()
    }

    /// A session of its own login, with a terminal or without.
    fn session(&self, options: &[&str], command: &str) -> Live {
        let mut ssh = self.tech.ssh_command();
        ssh.args(["-o", "ControlPath=none"]).args(options).args(["--", DEVICE, command]);
        Live::start(ssh)
    }

    /// The id of the session that was begun last, once the log has it.
    #[track_caller]
    fn id_of(&self, command: &str) -> String {
        until("the session in the log", GENEROUS, || {
            let log = self.tech.log("acme");
            let is_this = |entry: &Value| entry["type"] == "session.opened" && entry["command"] == command;
            ensure!(log.iter().any(is_this), "no session.opened of {command}");
            Ok(())
        })
        .unwrap();
        newest(&self.tech, "acme")
    }

    /// What the gateway says of a recording; an error when it has none.
    fn about(&self, session: &str) -> Result<Value> {
        let said = self.tech.gw(&format!("recording {session} --json")).succeeded()?;
        Ok(serde_json::from_slice(&said.stdout)?)
    }

    /// Waits until the gateway says so of a recording.
    #[track_caller]
    fn until_state(&self, session: &str, state: &str) -> Value {
        until(&format!("a recording that is {state}"), GENEROUS, || {
            let about = self.about(session)?;
            ensure!(about["state"] == state, "{about}");
            Ok(about)
        })
        .unwrap()
    }

    fn ended(&self, session: &str) -> Option<Value> {
        self.tech.log("acme").into_iter().find(|entry| entry["type"] == "session.ended" && entry["session"] == session)
    }

    /// Waits for the end of the agent that the technician brought about.
    #[track_caller]
    fn killed(&self) {
        assert_eq!(self.world.agent_ended(DEVICE).unwrap().signal(), Some(9));
    }

    /// The agent begins again, as the service manager would have it.
    fn restart(&self) {
        self.world.start_agent(DEVICE).unwrap();
        self.world.until_online(DEVICE).unwrap();
    }

    /// Nothing is started on a machine whose statements do not continue what it said before.
    #[track_caller]
    fn must_refuse_all(&self) {
        self.world.until_state(DEVICE, "online").unwrap();
        let said = belay_tests::run(self.tech.ssh_command().args(["--", DEVICE, "echo started"]), b"").unwrap();
        println!("{}", said.story());
        assert!(!said.status.success() && said.stdout.is_empty(), "{}", said.story());
    }

    /// The machine has its key again, readable for nobody else.
    fn put_back_key(&self) {
        let path = key_of(&self.world);
        fs::write(&path, &self.host_key).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Every note verifies, and what was received is there; of a prefix all but what may be shown ahead.
    #[track_caller]
    fn judge(&self, session: &str, received: &Received) -> Recorded {
        let recorded = Recorded::fetch(&self.world, "tech", session).unwrap();
        let (shown, bytes) = (recorded.asciinema_cat(), &received.bytes);
        let missing = bytes.len().saturating_sub(shown.len());
        println!("measured: {} recording, {} bytes received, {missing} not in it", recorded.state(), bytes.len());
        assert!(shown.starts_with(bytes) || bytes.starts_with(&shown), "what is recorded is not what was received");
        if recorded.state() == "whole" {
            assert_eq!(missing, 0, "a recording that calls itself whole lacks bytes");
        }
        assert_eq!(recorded.header()["belay"]["session"], session);
        assert!(missing <= AHEAD_BYTES_MAX, "{missing} bytes were shown ahead");
        let old = received.older_than(AHEAD_MAX);
        assert!(shown.len() >= old, "{old} bytes are older than may be, {} are recorded", shown.len());
        recorded
    }
}

fn key_of(world: &World) -> PathBuf {
    world.agent_dir(DEVICE).join("host_key")
}

/// What a client received, and when.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    /// How many bytes there were when.
    pieces: Vec<(Instant, usize)>,
}

impl Received {
    /// How many bytes came so long before the last one.
    fn older_than(&self, age: Duration) -> usize {
        let last = self.pieces.last().map(|(at, _)| *at);
        let is_old = |(at, _): &&(Instant, usize)| last.is_some_and(|last| last.duration_since(*at) > age);
        self.pieces.iter().rev().find(is_old).map_or(0, |(_, count)| *count)
    }
}

/// A session with its input at hand.
struct Live {
    ssh: Child,
    words: String,
    received: Arc<Watched<Received>>,
}

impl Live {
    fn start(mut ssh: Command) -> Self {
        let words = words(&ssh);
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let received = Arc::new(Watched::new(Received::default()));
        let (mut stdout, kept) = (ssh.stdout.take().unwrap(), Arc::clone(&received));
        thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stdout.read(&mut piece) {
                kept.change(|kept| {
                    kept.bytes.extend_from_slice(&piece[..count]);
                    kept.pieces.push((Instant::now(), kept.bytes.len()));
                });
            }
        });
        Self { ssh, words, received }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.ssh.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        let seen = self.received.wait(GENEROUS, |received| {
            received.bytes.windows(text.len()).any(|window| window == text.as_bytes()).then_some(())
        });
        assert!(seen.is_some(), "{}: {text:?} was not shown: {}", self.words, self.text());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().bytes).into_owned()
    }

    /// No more input, the client's end, and all that it received.
    #[track_caller]
    fn end(mut self, within: Duration) -> Received {
        drop(self.ssh.stdin.take());
        let ended = end_of(&mut self.ssh, within).unwrap();
        assert!(ended.is_some(), "{} goes on: {}", self.words, self.text());
        // Its output is at its end too, as soon as the reader has seen it.
        until("the end of the output", GENEROUS, || {
            ensure!(Arc::strong_count(&self.received) == 1, "the reader goes on");
            Ok(())
        })
        .unwrap();
        std::mem::take(&mut *self.received.lock())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !matches!(self.ssh.try_wait(), Ok(Some(_))) {
            let _ = self.ssh.kill();
            let _ = self.ssh.wait();
        }
    }
}

#[test]
fn a_killed_agent_leaves_a_sealed_prefix() {
    let bench = Bench::new();
    let flood = "yes recorded & sleep 4; kill -9 PID; wait";
    let slow = format!("{TICKS}; kill -9 PID; echo after");
    for (options, command) in [("-T", slow.as_str()), ("-tt", flood), ("-T", flood)] {
        let command = command.replace("PID", &bench.agent().to_string());
        let live = bench.session(&[options], &command);
        bench.killed();
        let session = bench.id_of(&command);
        assert_eq!(bench.about(&session).unwrap()["state"], "live", "nobody said that it ended");
        bench.restart();
        let received = live.end(GENEROUS);
        let about = bench.until_state(&session, "cut off");
        assert!(about["head"].is_null() && about["chunks"].as_u64() > Some(0), "{about}");
        let ended = bench.ended(&session).unwrap();
        assert_eq!(ended["reason"], "the agent stopped while the session was open", "{ended}");
        bench.judge(&session, &received);
        let log = bench.tech.log("acme");
        assert!(log.iter().any(|entry| entry["type"] == "recording.cut" && entry["session"] == session.as_str()));
    }
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn an_agent_killed_at_once_leaves_its_session_in_the_log() {
    let bench = Bench::new();
    let command = format!("echo quick; kill -9 {}", bench.agent());
    let live = bench.session(&["-T"], &command);
    bench.killed();
    let session = bench.id_of(&command);
    bench.restart();
    let received = live.end(GENEROUS);
    assert!(received.bytes.len() <= "quick\n".len());
    let ended = until("its end", GENEROUS, || bench.ended(&session).context("no end")).unwrap();
    assert_eq!(ended["reason"], "the agent stopped while the session was open", "{ended}");
    // Two seconds may not be at the gateway; what is there is a prefix.
    if let Ok(about) = bench.about(&session) {
        assert_eq!(about["state"], "cut off");
        bench.judge(&session, &received);
    }
}

#[test]
fn a_stopped_agent_shows_nothing_and_its_recording_is_whole_or_open() {
    if std::env::var_os("BELAY_LONG").is_none() {
        println!("skipped: an agent that is stopped for a minute, without BELAY_LONG=1");
        return;
    }
    let bench = Bench::new();
    // Each of its threads comes to a stop by itself.
    let stopped = "cat /proc/PID/task/*/status | grep -c '^State:.T'";
    let until_stopped = format!("until [ $({stopped}) = $(ls /proc/PID/task | wc -l) ]; do :; done");
    let command = format!("{TICKS}; kill -STOP PID; {until_stopped}; for i in 1 2 3; do echo unseen; sleep 0.2; done");
    let command = command.replace("PID", &bench.agent().to_string());
    let live = bench.session(&["-tt"], &command);
    let session = bench.id_of(&command);
    // The gateway gives the agent up, and with it the session: until then nothing more is shown.
    live.sees("tick 39");
    let received = live.end(SILENCE);
    assert!(!String::from_utf8_lossy(&received.bytes).contains("unseen"));
    let about = bench.about(&session).unwrap();
    assert!(about["state"] == "live" && about["ended"].is_null(), "unterminated: {about}");
    bench.judge(&session, &received);
    bench.world.hold_agent(DEVICE, Held::Running);
    bench.world.until_online(DEVICE).unwrap();
    bench.until_state(&session, "whole");
    bench.judge(&session, &received);
}

/// What a technician does to the files of the agent, and whether it begins again afterwards.
const WIPES: [(&str, bool); 3] =
    [("rm -f outbox", true), ("for f in $(find . -type f); do : > $f; done", false), ("find . -type f -delete", false)];

#[test]
fn wiped_files_change_nothing_while_the_agent_runs_and_a_kill_leaves_the_session_open() {
    for (wipe, begins) in WIPES {
        let bench = Bench::new();
        let command = "exec sh";
        let mut live = bench.session(&["-T"], command);
        let session = bench.id_of(command);
        live.types(&format!("cd {} && {{ {wipe}; }}; echo wiped", bench.state()));
        live.sees("wiped");
        live.types("seq 1000; echo done");
        live.sees("1000\ndone\n");
        let received = live.end(GENEROUS);
        bench.until_state(&session, "whole");
        bench.put_back_key();
        assert_eq!(bench.judge(&session, &received).state(), "whole", "{wipe}");

        // The next one is recorded too; then nobody is left who knows how it ended.
        let command = "exec sh # again";
        let mut live = bench.session(&["-T"], command);
        live.types("echo once more");
        live.sees("once more");
        let session = bench.id_of(command);
        until("its first chunk", GENEROUS, || bench.about(&session)).unwrap();
        live.types(&format!("cd {} && {{ {wipe}; }}; kill -9 {}", bench.state(), bench.agent()));
        bench.killed();
        bench.put_back_key();
        bench.world.start_agent(DEVICE).unwrap();
        if begins {
            bench.must_refuse_all();
        } else {
            assert_eq!(bench.world.agent_ended(DEVICE).unwrap().code(), Some(1), "{wipe}");
        }
        let about = bench.about(&session).unwrap();
        assert!(about["state"] == "live" && about["ended"].is_null(), "unterminated: {about}");
        // The gateway would give it up after a minute.
        live.ssh.kill().unwrap();
        bench.judge(&session, &live.end(GENEROUS));
        bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
    }
}

#[test]
fn a_full_disk_stops_no_recording_and_the_end_is_told_when_there_is_room() {
    let bench = Bench::with(|at| Disk::mount(at, AGENT_SIZE));
    let Some(disk) = &bench.disk else { return };
    let ballast = format!("{}/ballast", bench.state());
    let fill = format!("cat /dev/zero 2>/dev/null > {ballast}; echo full");
    let command = "exec sh";
    let mut live = bench.session(&["-T"], command);
    let session = bench.id_of(command);
    live.types(&fill);
    live.sees("full");
    // To the last page: its journal may have had one.
    disk.fill();
    live.types("seq 20000; echo done");
    live.sees("20000\ndone\n");
    let received = live.end(GENEROUS);
    println!("measured: on the full disk the end is {:?}", bench.ended(&session).map(|ended| ended["type"].clone()));
    disk.free();
    bench.until_state(&session, "whole");
    bench.judge(&session, &received);

    let command = format!("{fill}; {TICKS}; kill -9 {}", bench.agent());
    let live = bench.session(&["-T"], &command);
    bench.killed();
    let session = bench.id_of(&command);
    assert_eq!(bench.about(&session).unwrap()["state"], "live");
    disk.free();
    bench.restart();
    bench.until_state(&session, "cut off");
    bench.judge(&session, &live.end(GENEROUS));
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn without_its_keys_file_the_agent_records_on_and_begins_never_again_under_another_key() {
    let bench = Bench::new();
    let key = key_of(&bench.world);
    let command = format!("rm {}; echo removed", key.display());
    let received = bench.session(&["-T"], &command).end(GENEROUS);
    let session = bench.id_of(&command);
    assert!(!key.exists());
    bench.until_state(&session, "whole");

    let second = format!("{TICKS}; kill -9 {}", bench.agent());
    let live = bench.session(&["-tt"], &second);
    bench.killed();
    let open = bench.id_of(&second);
    let mark = bench.world.log(DEVICE).mark();
    bench.world.start_agent(DEVICE).unwrap();
    let said = bench.world.log(DEVICE).wait("a refusal", mark, GENEROUS, |line| line.contains("host_key")).unwrap();
    assert!(said.contains("is missing") && said.contains("restore it"), "{said}");
    assert!(!key.exists(), "another key was made");
    assert_eq!(bench.about(&open).unwrap()["state"], "live", "unterminated");
    bench.put_back_key();
    let status = bench.world.agent_ended(DEVICE).unwrap();
    assert_eq!(status.code(), Some(1));
    bench.restart();
    bench.until_state(&open, "cut off");
    bench.judge(&session, &received);
    bench.judge(&open, &live.end(GENEROUS));
}

#[test]
fn what_is_left_behind_is_recorded_where_it_is_seen_or_is_not_seen() {
    let bench = Bench::new();
    let ghost = "setsid sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do echo ghost $i || exit; sleep 0.6; done' & echo main; sleep 0.3";
    for options in ["-T", "-tt"] {
        let received = bench.session(&[options], ghost).end(GENEROUS);
        let session = bench.id_of(ghost);
        assert_eq!(Recorded::of(&bench.world, "tech", &session).state(), "whole");
        let shown = bench.judge(&session, &received).asciinema_cat();
        // Without a terminal it holds the session open, as everywhere; with one it writes to nobody.
        assert_eq!(String::from_utf8_lossy(&shown).contains("ghost 10"), options == "-T", "{options}");
    }
    // To a terminal of somebody else.
    let command = "tty; echo there; read -r line";
    let mut other = bench.session(&["-tt"], command);
    other.sees("there");
    let session = bench.id_of(command);
    let terminal = other.text().lines().next().unwrap().trim().to_owned();
    bench
        .tech
        .ssh(DEVICE, &format!("setsid sh -c 'sleep 0.5; echo ghost > {terminal}' >/dev/null 2>&1 </dev/null &"))
        .must();
    other.sees("ghost");
    other.types("on");
    let received = other.end(GENEROUS);
    bench.until_state(&session, "whole");
    bench.judge(&session, &received);
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}
