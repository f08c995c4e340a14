//! Recordings of what is hard to record: without room for them, a line of ten megabytes, a flood, a clock that jumps, characters
//! that deceive the eye, a gigabyte. Each is whole, found and harmless, or its session ends with the reason.

#[path = "parts/changed.rs"]
mod changed;
#[path = "hard/gigabyte.rs"]
mod gigabyte;
#[path = "parts/policies.rs"]
mod policies;

use anyhow::{Context, Result, ensure};
use belay_certs::recording::cast::{EventKind, Reader};
use belay_tests::{
    Person, Plan, Terminal, World,
    call::run_within,
    run,
    wait::{BULKY, GENEROUS, until},
};
use serde_json::Value;
use std::{ffi::OsStr, fs, path::Path, process::Command, time::Instant};
use tempfile::TempDir;

const DEVICE: &str = "web1.acme";
/// Room for a young gateway, what it leaves to its log, and some recordings.
const GATEWAY_SIZE: &str = "size=48m,mode=0700";
/// What the gateway's disk must have for a session to begin; half of it for one to go on.
const FREE_MIB: u64 = 16;
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const MIB: usize = 1 << 20;
/// Programs without optimisation index a third of a MiB a second.
const FLOOD_MIB: usize = 3;
const FLOOD_MIB_LONG: usize = 20;

struct Bench {
    world: World,
    tech: Person,
}

impl Bench {
    /// A world whose recordings the gateway can read.
    fn new() -> Self {
        let world = World::of(Plan::small());
        changed::change(&world, DEVICE, |text| {
            let lines = text.lines().map(|line| match line.starts_with("to = [\"age1") {
                true => "readable_by_gateway = true",
                false => line,
            });
            lines.map(|line| format!("{line}\n")).collect()
        });
        Self { tech: world.person("tech"), world }
    }

    /// The newest session with this in its command, once its recording is whole.
    #[track_caller]
    fn whole(&self, command: &str) -> Value {
        until("a whole recording", GENEROUS, || {
            let sessions: Value = serde_json::from_slice(&self.tech.gw("sessions --json").succeeded()?.stdout)?;
            let rows = sessions.as_array().context("no list")?;
            let row = rows
                .iter()
                .find(|row| row["command"].as_str().is_some_and(|words| words.contains(command)))
                .with_context(|| sessions.to_string())?;
            ensure!(row["recording"]["state"] == "whole", "{row}");
            Ok(row.clone())
        })
        .unwrap()
    }

    /// What a session showed and when it was over, in seconds, as `belay recording` verified and wrote it.
    #[track_caller]
    fn shown(&self, session: &Value) -> (Vec<u8>, f64) {
        let file = self.world.dir().join("taken.cast");
        let mut belay = self.tech.belay_command().unwrap();
        belay.args(["recording", session["id"].as_str().unwrap(), "-o"]).arg(&file);
        run_within(&mut belay, b"", BULKY).unwrap().must();
        let (mut reader, mut shown, mut last) = (Reader::default(), Vec::new(), 0);
        for event in reader.read(&fs::read(file).unwrap()).unwrap() {
            assert!(event.at >= last, "the time falls");
            last = event.at;
            if let EventKind::Output(bytes) = event.kind {
                shown.extend(bytes);
            }
        }
        (shown, last as f64 / 1e6)
    }

    fn found(&self, text: &str) -> Result<Vec<Value>> {
        let said = self.tech.gw(&format!("search {text} --json")).succeeded()?;
        let answer: Value = serde_json::from_slice(&said.stdout)?;
        Ok(answer["found"].as_array().context("no list")?.clone())
    }

    /// The line in which a search finds this in a session.
    #[track_caller]
    fn line_with(&self, text: &str, session: &Value) -> String {
        let begun = Instant::now();
        let line = until("a line that was shown", BULKY, || {
            let found = self.found(text)?;
            let line = found.iter().find(|found| found["session"] == session["id"]).context("nothing is found")?;
            Ok(line["line"].as_str().unwrap().to_owned())
        });
        println!("measured: {text:?} is found after {} ms", begun.elapsed().as_millis());
        line.unwrap()
    }

    /// What a replay would bring to the auditor's terminal.
    #[track_caller]
    fn replayed(&self, session: &Value) -> Vec<u8> {
        let mut belay = self.tech.belay_command().unwrap();
        belay.args(["replay", session["id"].as_str().unwrap()]);
        run_within(&mut belay, b"", BULKY).unwrap().must().stdout
    }
}

#[test]
fn a_line_of_ten_megabytes_and_a_flood_are_whole_and_what_follows_is_found() {
    let bench = Bench::new();
    let flood = if std::env::var_os("BELAY_LONG").is_some() { FLOOD_MIB_LONG } else { FLOOD_MIB };
    for (command, filler, count) in [
        ("head -c 10000000 /dev/zero | tr '\\0' l; echo; echo behind the line".to_owned(), b'l', 10_000_000),
        (format!("head -c {flood}M /dev/zero | tr '\\0' x; echo; echo behind the flood"), b'x', flood * MIB),
    ] {
        let said = bench.tech.ssh_with_input(DEVICE, &command, b"", BULKY).must();
        let session = bench.whole(&command);
        let (shown, seconds) = bench.shown(&session);
        println!("measured: {} bytes in {seconds} s, {} as kept", shown.len(), session["recording"]["bytes"]);
        assert_eq!(shown.iter().filter(|byte| **byte == filler).count(), count + command_letters(&command, filler));
        assert!(shown == said.stdout, "{} bytes came, {} are recorded", said.stdout.len(), shown.len());
        let behind = command.rsplit(' ').next().unwrap();
        assert_eq!(bench.line_with(behind, &session), format!("behind the {behind}"));
    }
}

/// How often a letter is in what the command says behind its filler.
fn command_letters(command: &str, letter: u8) -> usize {
    command.rsplit("echo ").next().unwrap().bytes().filter(|byte| *byte == letter).count()
}

#[test]
fn characters_that_deceive_are_recorded_as_they_are_found_and_shown_as_what_they_are() {
    let bench = Bench::new();
    let command =
        "printf 'pay\u{200b}load \u{202e}txt.exe\u{202c}\\n\\033]52;c;c2VjcmV0\\007\\033]0;owned\\007plainly\\n'";
    let said = bench.tech.ssh(DEVICE, command).must();
    // A list shows the command without what deceives.
    let session = bench.whole("c2VjcmV0");
    let (shown, _) = bench.shown(&session);
    assert_eq!(shown, said.stdout);
    assert!(String::from_utf8(shown).unwrap().contains('\u{202e}'));
    let line = bench.line_with("load", &session);
    assert!(line.is_ascii() && line.contains("\\u{202e}txt.exe"), "{line}");
    assert_eq!(bench.line_with("plainly", &session), "plainly");
    let replayed = String::from_utf8(bench.replayed(&session)).unwrap();
    assert!(replayed.contains("plainly") && replayed.contains("\\u{202e}"), "{replayed:?}");
    for hostile in ["\u{202e}", "\u{200b}", "\u{1b}]", "\u{7}", "c2VjcmV0", "owned"] {
        assert!(!replayed.contains(hostile), "{hostile:?} in {replayed:?}");
    }
    let table = bench.tech.gw("sessions").must().out();
    assert!(!table.contains(['\u{202e}', '\u{200b}']), "{table:?}");
}

#[test]
fn a_clock_that_jumps_moves_no_time_in_a_recording() {
    if !Path::new(FAKETIME).exists() {
        return println!("skipped: faketime is needed to set a program's clock");
    }
    let bench = Bench::new();
    let offset = bench.world.dir().join("offset");
    // Whole or not at all: the program may be reading.
    let set = |to: &str| {
        fs::write(offset.with_extension("new"), to).unwrap();
        fs::rename(offset.with_extension("new"), &offset).unwrap();
    };
    set("+0");
    bench.world.stop_agent(DEVICE).unwrap();
    let environment = [
        ("LD_PRELOAD", OsStr::new(FAKETIME)),
        ("FAKETIME_TIMESTAMP_FILE", offset.as_os_str()),
        ("FAKETIME_NO_CACHE", OsStr::new("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
    ];
    bench.world.start_agent_with(DEVICE, &environment).unwrap();
    bench.world.until_online(DEVICE).unwrap();
    let command = "echo begun; while read -r line; do echo \"after $line\"; done";
    let mut ssh = bench.tech.ssh_command();
    ssh.args(["-tt", "--", DEVICE, command]);
    let mut terminal = Terminal::open(&ssh, 80, 24).unwrap();
    terminal.see("begun").unwrap();
    for jump in ["+8h", "-1h", "+0"] {
        set(jump);
        terminal.keys(&format!("{jump}\n")).unwrap();
        terminal.see(&format!("after {jump}")).unwrap();
    }
    terminal.keys("\u{4}").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(0));
    let (shown, seconds) = bench.shown(&bench.whole(command));
    assert!(seconds < 120.0, "{seconds} s");
    for jump in ["begun", "after +8h", "after -1h", "after +0"] {
        assert!(String::from_utf8_lossy(&shown).contains(jump), "{jump}");
    }
}

/// A small disk under the gateway; unmounted when it is dropped.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can mount a small disk to fill");
            return None;
        }
        fs::create_dir_all(at).unwrap();
        let said = run(Command::new("mount").args(["-t", "tmpfs", "-o", GATEWAY_SIZE, "tmpfs"]).arg(at), b"").unwrap();
        if !said.status.success() {
            println!("skipped: no small disk can be mounted here: {}", said.err().trim());
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Leaves so many MiB free.
    fn leave(&self, mib: usize) {
        let said = run(Command::new("df").args(["-B1", "--output=avail"]).arg(&self.0), b"").unwrap().must();
        let free: usize = said.out().lines().last().unwrap().trim().parse().unwrap();
        fs::write(self.0.join("ballast"), vec![0; free - mib * MIB]).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0), b"");
    }
}

#[test]
fn a_session_whose_recording_has_no_room_ends_and_says_why() {
    let scratch = TempDir::with_prefix("belay-").unwrap();
    let world = World::prepare(scratch.path(), Plan::small()).unwrap();
    let Some(disk) = Small::mount(&world.gateway_dir()) else { return };
    world.bring_up(&|_| {}).unwrap();
    world.stop_gateway().unwrap();
    world.keep_free(FREE_MIB, 0).unwrap();
    world.start_gateway().unwrap();
    world.until_state(DEVICE, "online").unwrap();
    let tech = world.person("tech");
    let mut ssh = tech.ssh_command();
    ssh.args([
        "-o",
        "ControlPath=none",
        "-tt",
        "--",
        DEVICE,
        "echo begun; while read -r line; do echo \"after $line\"; done",
    ]);
    let mut terminal = Terminal::open(&ssh, 80, 24).unwrap();
    terminal.see("begun").unwrap();
    until("its first chunk", GENEROUS, || {
        let sessions: Value = serde_json::from_slice(&tech.gw("sessions --json").succeeded()?.stdout)?;
        let live = sessions.as_array().context("no list")?.iter().any(|row| row["recording"]["state"] == "live");
        ensure!(live, "{sessions}");
        Ok(())
    })
    .unwrap();
    disk.leave(5);
    terminal.keys("this\n").unwrap();
    terminal.see("the recording could not be kept: recordings end here: the gateway's disk has").unwrap();
    terminal.see("its operator must make room").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(254));
    let refused = run(tech.ssh_command().args(["-o", "ControlPath=none", "--", DEVICE, "true"]), b"").unwrap();
    assert!(!refused.status.success() && refused.err().contains("less than it needs"), "{}", refused.story());
    disk.free();
    until("sessions to begin again", GENEROUS, || {
        run(tech.ssh_command().args(["-o", "ControlPath=none", "--", DEVICE, "true"]), b"")?.succeeded().map(drop)
    })
    .unwrap();
    let ended = tech.log("acme").into_iter().find(|entry| {
        entry["type"] == "session.ended" && entry["reason"].to_string().contains("the recording could not be kept")
    });
    assert!(ended.is_some(), "the log says why it ended");
    tech.belay(["log", "verify", "acme"]).unwrap().must();
    drop(world);
}
