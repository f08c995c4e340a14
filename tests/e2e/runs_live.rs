//! What runbooks print is seen while they run: by `belay`, which opens it where it is encrypted, and by a robot with `ssh` alone;
//! across a gateway that is killed meanwhile, each line once.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/readable.rs"]
mod readable;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{Person, Plan, World, wait::GENEROUS};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
};

/// More lines than any test waits for.
const LINES_MAX: usize = 1_024;

/// A command under way, and the lines that it prints.
struct Live {
    child: Child,
    lines: Receiver<String>,
    /// What was printed so far.
    seen: Vec<String>,
}

impl Live {
    fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(LINES_MAX);
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until it has printed a line of which `is_it` holds.
    #[track_caller]
    fn see(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(GENEROUS) {
                Ok(line) => self.seen.push(line.clone()),
                Err(why) => panic!("{why}; printed so far: {:#?}", self.seen),
            }
            let last = self.seen.last().unwrap();
            if is_it(last) {
                return last.clone();
            }
        }
    }

    /// Its exit status, and all that it printed.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        loop {
            match self.lines.recv_timeout(GENEROUS) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; printed so far: {:#?}", self.seen),
            }
        }
        (self.child.wait().unwrap().code(), self.seen)
    }
}

/// The last words of a runbook, without a line end.
const LAST: &str = "printf last";
/// A line as long as several parts of what is handed over at once.
const LONG: &str = "head -c 700000 /dev/zero | tr '\\0' x; echo";
/// What is handed over in one line at most, in bytes.
const PART_BYTES_MAX: usize = 256 << 10;

/// A runbook that prints a line, and its last words only when it is let go.
struct Scene {
    world: World,
    tech: Person,
    go: PathBuf,
}

impl Scene {
    fn new(last: &str) -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, "web1.acme");
        let (tech, go) = (world.person("tech"), world.dir().join("go"));
        let body = format!("echo first; echo oh >&2\nuntil [ -e {} ]; do sleep 0.05; done\n{last}", go.display());
        runs::push(&world, &author, "slow", "", &body);
        Self { world, tech, go }
    }

    fn order(&self, words: &[&str]) -> Live {
        Live::of(self.tech.belay_command().unwrap().args(["run", "slow", "--yes"]).args(words))
    }

    fn follow(&self, command: &str) -> Live {
        Live::of(self.tech.ssh_command().args(["gw", command]))
    }
}

fn printed(lines: &[String]) -> Vec<&str> {
    let of_scripts = lines.iter().filter(|line| line.contains(".acme | ") || line.contains(".acme ! "));
    let mut lines: Vec<&str> = of_scripts.map(String::as_str).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_devices_print_is_shown_while_they_run_and_once_though_the_gateway_is_killed_meanwhile() {
    let scene = Scene::new(LAST);
    let mut live = scene.order(&["--on", "acme/*", "--output"]);
    let mut first: BTreeSet<String> = ["web1", "web2", "web3"].map(|name| format!("{name}.acme | first")).into();
    while !first.is_empty() {
        let line = live.see(|line| line.ends_with(".acme | first"));
        assert!(first.remove(&line), "{line} a second time");
    }
    let id = jobs::newest(&scene.tech);
    assert!(jobs::states(&jobs::job(&scene.tech, &id)).iter().all(|(_, state)| state == "started"));
    scene.world.kill_gateway();
    scene.world.start_gateway().unwrap();
    fs::write(&scene.go, "").unwrap();
    let (status, lines) = live.end();
    assert_eq!(status, Some(0), "{lines:#?}");
    let expected: Vec<String> = ["web1", "web2", "web3"]
        .iter()
        .flat_map(|name| ["! oh", "| first", "| last"].map(|words| format!("{name}.acme {words}")))
        .collect();
    assert_eq!(printed(&lines), expected);
}

#[test]
fn a_robot_follows_one_device_as_its_file_grows_and_all_as_lines_of_json() {
    let scene = Scene::new(LONG);
    readable::readable(&scene.world, "web1.acme");
    assert_eq!(jobs::order(&scene.tech, &["slow", "--on", "web1.acme", "--detach"]).code(), Some(4));
    let id = jobs::newest(&scene.tech);
    let mut one = scene.follow(&format!("job {id} --device web1 --output --follow"));
    let mut all = scene.follow(&format!("job {id} --output --follow --json"));
    one.see(|line| line.ends_with(" o Zmlyc3QK"));
    all.see(|line| line.contains("\"output\":") && line.contains(" o Zmlyc3QK"));
    scene.tech.gw(&format!("job {id} --output --follow")).must_refuse(2, &["one device's"]);
    fs::write(&scene.go, "").unwrap();
    let (status, lines) = one.end();
    let file = scene.tech.gw(&format!("job {id} --device web1 --output")).must().out();
    assert_eq!((status, lines.join("\n") + "\n"), (Some(0), file.clone()), "the file's own bytes");
    let (status, lines) = all.end();
    assert_eq!(status, Some(0), "{lines:#?}");
    let parts = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut come = String::new();
    for part in parts.filter(|part| part["output"].is_string()) {
        assert_eq!(part["at"].as_u64(), Some(come.len() as u64), "in order and without a gap");
        let output = part["output"].as_str().unwrap();
        assert!(output.len() <= PART_BYTES_MAX, "{}", output.len());
        come.push_str(output);
    }
    assert_eq!(come, file);
}

#[test]
fn who_may_look_no_more_follows_no_more() {
    let scene = Scene::new(LAST);
    assert_eq!(jobs::order(&scene.tech, &["slow", "--on", "web1.acme", "--detach"]).code(), Some(4));
    let id = jobs::newest(&scene.tech);
    let mut follower = scene.follow(&format!("job {id} --output --follow --json"));
    follower.see(|line| line.contains("\"output\":"));
    // Still a person of the tenant, whose key opens the gateway's door.
    changed::change(&scene.world, "web1.acme", |text| text.replace("who = [\"tech\"]", "who = [\"author\"]"));
    fs::write(&scene.go, "").unwrap();
    let (status, lines) = follower.end();
    assert_eq!(status, Some(1), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("\"over\":true")), "{lines:#?}");
}
