//! Ctrl-C at a real terminal while a recording is replayed or a log is followed: the terminal is as before, and the exit status is
//! the documented one.

use belay_tests::{Person, Plan, Terminal, World, wait::GENEROUS};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const DEVICE: &str = "web1.acme";
/// A program that leaves a terminal as nobody wants it: the other screen, no cursor, colours, margins, no wrapping.
const UNTIDY: &str = r"printf '\033[?1049h\033[?25l\033[?7l\033[5;10r\033[1;7;31mred'; sleep 3; printf never";
/// What a shell does around a command: it keeps the terminal's settings before and after, and says how the command ended.
const AROUND: &str =
    "trap : INT; stty -a > \"$0/before\"; \"$@\"; echo \"sta\"tus=$?; stty -a > \"$0/after\"; echo \"fin\"ished";

/// A command of the person's at a terminal, started by a shell that outlives it.
struct Shell {
    terminal: Terminal,
    kept: PathBuf,
}

impl Shell {
    fn run(world: &World, person: &Person, words: &[&str]) -> Self {
        let kept = tempfile::tempdir_in(world.dir()).unwrap().keep();
        let belay = person.belay_command().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", AROUND]).arg(&kept).arg(belay.get_program()).args(belay.get_args()).args(words);
        for (name, value) in belay.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Self { terminal: Terminal::open(&shell, 100, 30).unwrap(), kept }
    }

    /// Presses Ctrl-C: what came until the shell said how the command ended, and the status.
    #[track_caller]
    fn interrupt(mut self) -> (String, i32) {
        self.terminal.keys("\u{3}").unwrap();
        let before = self.terminal.see("status=").unwrap();
        let status = self.terminal.see("\r\n").unwrap();
        self.terminal.see("finished").unwrap();
        self.terminal.ended(GENEROUS).unwrap();
        let settings = |name: &str| fs::read_to_string(self.kept.join(name)).unwrap();
        assert!(settings("before").contains(" icanon") && settings("before").contains(" echo "));
        assert_eq!(settings("before"), settings("after"), "the terminal's settings were changed");
        (before, status.trim().parse().unwrap())
    }
}

fn newest(person: &Person) -> String {
    let rows: Value = serde_json::from_slice(&person.gw("sessions --json").must().stdout).unwrap();
    rows[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_replay_that_is_interrupted_gives_the_terminal_back() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    tech.ssh(DEVICE, UNTIDY).must();
    let (session, identity) = (newest(&tech), world.tenant_dir("acme").join("auditor.age"));
    // At a tenth of its pace it would take half a minute.
    let words = ["replay", &session, "--speed", "0.1", "--age-identity", identity.to_str().unwrap()];
    let shell = Shell::run(&world, &tech, &words);
    shell.terminal.see("\u{1b}[?1049h").unwrap();
    shell.terminal.see("red").unwrap();
    let (rest, status) = shell.interrupt();
    assert_eq!(status, 0);
    assert!(!rest.contains("never"), "{rest:?}");
    for back in ["\u{1b}[r", "\u{1b}[?7h", "\u{1b}[?25h", "\u{1b}[0m", "\u{1b}[?1049l"] {
        assert!(rest.contains(back), "{back:?} is not in {rest:?}");
    }
    // What is drawn to give it back comes last: nothing changes the terminal behind it.
    let behind = rest.rsplit("\u{1b}[?1049l").next().unwrap();
    assert!(!behind.contains('\u{1b}'), "{rest:?}");
}

/// How many events the file's whole lines are, and that none is missing: whoever is ended between the file and its cursor says some
/// again (at least once, in order).
#[track_caller]
fn events(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut next = 0;
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let sequence = event["metadata"]["sequence"].as_u64().unwrap();
        assert!(sequence <= next, "event {next} is missing before {line}");
        next = next.max(sequence + 1);
    }
    next
}

#[test]
fn a_log_that_is_followed_until_ctrl_c_ends_with_the_signal_and_its_file_goes_on_without_a_gap() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    tech.ssh(DEVICE, "true").must();
    for options in [["--from", "0"].as_slice(), &["--json"], &[]] {
        let words = [&["log", "tail", "acme", "--follow"], options].concat();
        let shell = Shell::run(&world, &tech, &words);
        shell.terminal.see("session.").unwrap();
        let (rest, status) = shell.interrupt();
        assert_eq!(status, 130, "{options:?}: {rest}");
        assert!(!rest.contains('\u{1b}'), "{rest:?}");
    }
    let (to, cursor) = (world.dir().join("events.jsonl"), world.dir().join("events.cursor"));
    let files = ["--to", to.to_str().unwrap(), "--cursor", cursor.to_str().unwrap()];
    let words = [&["log", "tail", "acme", "--follow"], files.as_slice()].concat();
    let mut before = 0;
    for _ in 0..2 {
        let shell = Shell::run(&world, &tech, &words);
        belay_tests::wait::until("new events in the file", GENEROUS, || {
            anyhow::ensure!(events(&to) > before, "{before} events");
            Ok(())
        })
        .unwrap();
        let (rest, status) = shell.interrupt();
        assert_eq!(status, 130, "{rest}");
        before = events(&to);
        tech.ssh(DEVICE, "true").must();
    }
    tech.belay([&["log", "tail", "acme"], files.as_slice()].concat()).unwrap().must();
    assert!(events(&to) > before, "what came later is behind it");
}
