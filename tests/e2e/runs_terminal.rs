//! `belay run` where a person looks: a bar for the job, a line for a device that did not succeed, and Ctrl-C that asks: whoever
//! detaches leaves the job going, whoever cancels ends it. Without a terminal there are plain lines.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{
    Person, Plan, Terminal, World,
    wait::{GENEROUS, until},
};
use std::{fs, path::PathBuf};

const CTRL_C: &str = "\u{3}";
/// The statuses of README.
const SOME_DID_NOT: i32 = 3;
const GOES_ON: i32 = 4;
const CANCELLED: i32 = 130;
const QUESTION: &str = "The job goes on without this terminal. Detach (d), cancel it (c), or go on watching (Enter)?";
const FAILED: &str = "web1.acme failed with exit status 3";

struct Scene {
    /// Ends with the test.
    _world: World,
    tech: Person,
    /// The other two devices wait for it.
    go: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, "web1.acme");
        let (tech, go) = (world.person("tech"), world.dir().join("go"));
        let body = format!(
            "case $BELAY_DEVICE in web1.acme) exit 3 ;; esac\nuntil [ -e {} ]; do sleep 0.1; done",
            go.display()
        );
        runs::push(&world, &author, "mixed", "", &body);
        Self { _world: world, tech, go }
    }

    /// A person orders it at a terminal and has seen that web1 failed and the others run.
    fn order(&self) -> (Terminal, String) {
        let mut command = self.tech.belay_command().unwrap();
        command.args(["run", "mixed", "--on", "acme/*"]);
        let mut terminal = Terminal::open(&command, 200, 40).unwrap();
        terminal.see("Sign the order for these 3 devices, until").unwrap();
        terminal.keys("y\r").unwrap();
        terminal.see("acme mixed [").unwrap();
        terminal.see(FAILED).unwrap();
        let before = terminal.see("] 1/3 ").unwrap();
        assert!(before.contains("acme mixed ["), "the bar is drawn again below the line: {before:?}");
        let id = jobs::newest(&self.tech);
        until("the others to run", GENEROUS, || {
            anyhow::ensure!(self.states(&id) == ["failed", "started", "started"], "{:?}", self.states(&id));
            Ok(())
        })
        .unwrap();
        (terminal, id)
    }

    fn states(&self, id: &str) -> Vec<String> {
        jobs::states(&jobs::job(&self.tech, id)).into_iter().map(|(_, state)| state).collect()
    }

    fn until_over(&self, id: &str, ended: &[&str]) {
        until("the end of the job", GENEROUS, || {
            let job = jobs::job(&self.tech, id);
            anyhow::ensure!(job["over"] == true && self.states(id) == ended, "{job:#}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn who_presses_ctrl_c_is_asked_and_detaching_leaves_the_job_going() {
    let scene = Scene::new();
    let (mut terminal, id) = scene.order();
    terminal.keys(CTRL_C).unwrap();
    terminal.see(QUESTION).unwrap();
    terminal.keys("\r").unwrap();
    terminal.see("going on; Ctrl-C asks again").unwrap();
    terminal.keys(CTRL_C).unwrap();
    terminal.see(QUESTION).unwrap();
    terminal.keys("d\r").unwrap();
    terminal.see(&format!("the job {id} goes on: `belay job {id} --follow` or `belay cancel {id}`")).unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(GOES_ON));
    assert_eq!(scene.states(&id), ["failed", "started", "started"]);
    // Who comes back sees the rest of it.
    let mut command = scene.tech.belay_command().unwrap();
    command.args(["job", &id, "--follow"]);
    let terminal = Terminal::open(&command, 200, 40).unwrap();
    terminal.see("] 1/3 ").unwrap();
    fs::write(&scene.go, b"").unwrap();
    terminal.see("] 3/3 ").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(SOME_DID_NOT));
    scene.until_over(&id, &["failed", "succeeded", "succeeded"]);
}

#[test]
fn who_answers_cancel_ends_it_and_a_second_ctrl_c_leaves() {
    let scene = Scene::new();
    let (mut terminal, id) = scene.order();
    terminal.keys(CTRL_C).unwrap();
    terminal.see(QUESTION).unwrap();
    terminal.keys("c\r").unwrap();
    terminal.see(&format!("job {id} is cancelled")).unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(CANCELLED));
    scene.until_over(&id, &["failed", "cancelled", "cancelled"]);
    // Without an answer, the key again is one.
    let (mut terminal, id) = scene.order();
    terminal.keys(CTRL_C).unwrap();
    terminal.see(QUESTION).unwrap();
    terminal.keys(CTRL_C).unwrap();
    terminal.see(&format!("the job {id} goes on")).unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(GOES_ON));
    assert_eq!(scene.states(&id), ["failed", "started", "started"]);
    scene.tech.belay(["cancel", &id]).unwrap().must();
    scene.until_over(&id, &["failed", "cancelled", "cancelled"]);
    scene.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn without_a_terminal_each_device_gets_a_plain_line() {
    let scene = Scene::new();
    fs::write(&scene.go, b"").unwrap();
    let said = jobs::order(&scene.tech, &["mixed", "--on", "acme/*"]);
    assert_eq!(said.code(), Some(SOME_DID_NOT), "{}", said.story());
    let err = said.err();
    for line in [FAILED, "web2.acme succeeded", "web3.acme succeeded"] {
        assert_eq!(err.lines().filter(|found| found.starts_with(line)).count(), 1, "{line}: {err}");
    }
    assert!(!err.contains('\u{1b}') && !err.contains('\r') && !err.contains("] 1/3"), "{err:?}");
}
