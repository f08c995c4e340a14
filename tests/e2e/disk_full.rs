//! A full disk, on the gateway and on a machine: new actions are refused with a clear word, nothing runs unlogged, what
//! ended meanwhile is told later, and all goes on without a restart once there is space.

#[path = "parts/disk.rs"]
mod disk;

use anyhow::{Result, ensure};
use belay_tests::{
    Person, Plan, Said, World,
    export::{self, Files},
    run,
    wait::{GENEROUS, end_of, until},
};
use disk::Disk;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Stdio},
    time::Instant,
};
use tempfile::TempDir;

const DEVICE: &str = "web1.acme";
/// Room for a young gateway: some MiB of database and write-ahead log.
const GATEWAY_SIZE: &str = "12m";
/// Room for a machine's keys, policies and journal.
const AGENT_SIZE: &str = "1m";
/// Refused commands that are asked for before the disk is believed to be full.
const REFUSALS: usize = 6;
/// Commands tried for that: some still fit into pages that were allocated before.
const ATTEMPTS: usize = 60;
/// Sessions that end while the disk is full: the first ends may still fit into a page that was allocated before.
const LIVE: usize = 5;

/// An installation with one directory on a small disk. Fields end in this order: programs, disk, directories.
struct Bench {
    world: World,
    disk: Disk,
    scratch: TempDir,
    tech: Person,
}

/// What was tried while the disk was full.
#[derive(Default)]
struct Tried {
    refused: Vec<Said>,
    /// Commands that ran all the same, because their record still had a place.
    ran: Vec<String>,
}

impl Bench {
    fn new(part: impl Fn(&World) -> PathBuf, size: &str) -> Option<Self> {
        let scratch = TempDir::with_prefix("belay-").unwrap();
        let world = World::prepare(scratch.path(), Plan::small()).unwrap();
        let disk = Disk::mount(&part(&world), size)?;
        world.bring_up(&|_| {}).unwrap();
        let tech = world.person("tech");
        Some(Self { world, disk, scratch, tech })
    }

    fn mark(&self, number: usize) -> PathBuf {
        self.scratch.path().join(format!("mark-{number}"))
    }

    fn command(&self, number: usize) -> String {
        format!("touch {}", self.mark(number).display())
    }

    /// Tries commands, by turns over the shared login and over one of their own, until enough were refused.
    fn try_while_full(&self) -> Tried {
        let mut tried = Tried::default();
        for number in 0..ATTEMPTS {
            self.disk.fill();
            let mut ssh = self.tech.ssh_command();
            if number % 2 == 0 {
                ssh.args(["-o", "ControlPath=none"]);
            }
            let said = run(ssh.args(["--", DEVICE, &self.command(number)]), b"").unwrap();
            if said.status.success() {
                tried.ran.push(self.command(number));
            } else {
                assert!(!self.mark(number).exists(), "it was refused and ran: {}", said.story());
                tried.refused.push(said);
            }
            if tried.refused.len() == REFUSALS {
                return tried;
            }
        }
        panic!("the disk is full, and {} of {ATTEMPTS} commands ran", tried.ran.len());
    }

    /// Frees the disk, and waits until a command runs again.
    fn recover(&self, what: &str) {
        let pids = (self.world.gateway_pid(), self.world.agent_pid(DEVICE));
        self.disk.free();
        let begun = Instant::now();
        until("commands to run again", GENEROUS, || {
            run(self.tech.ssh_command().args(["-o", "ControlPath=none", "--", DEVICE, "true"]), b"")?
                .succeeded()
                .map(drop)
        })
        .unwrap();
        println!("measured: {what} works again {} ms after there is space", begun.elapsed().as_millis());
        assert_eq!(pids, (self.world.gateway_pid(), self.world.agent_pid(DEVICE)));
        self.world.until_state(DEVICE, "online").unwrap();
    }

    fn export(&self) -> Files {
        export::fetch(&self.tech, "acme").unwrap()
    }

    /// Every command that ran has its intent, and both verifiers find the log whole.
    fn must_be_whole(&self, tried: &Tried) {
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
        let files = self.export();
        let tar = self.scratch.path().join("export.tar");
        fs::write(&tar, export::pack(&files)).unwrap();
        let vkey = export::vkey_of_policy(&self.world.tenant_dir("acme").join("policy-0.toml")).unwrap();
        export::independent(&tar, &vkey, None).unwrap().must();
        let events = export::events(&files);
        let opened: Vec<&Value> = events.iter().filter(|event| event["type"] == "session.opened").collect();
        for command in &tried.ran {
            assert!(
                opened.iter().any(|event| event["command"] == command.as_str()),
                "{command} ran and is not in the log"
            );
        }
        for number in (0..ATTEMPTS).filter(|number| self.mark(*number).exists()) {
            assert!(
                tried.ran.contains(&self.command(number)),
                "{} is there, and nobody was told",
                self.mark(number).display()
            );
        }
    }

    /// The end of the session with this command is in the log.
    fn end_of(&self, command: &str) -> Result<Value> {
        let events = export::events(&export::fetch(&self.tech, "acme")?);
        let opened = events.iter().find(|event| event["type"] == "session.opened" && event["command"] == command);
        let session = opened.map(|event| event["session"].clone()).unwrap_or_default();
        let ended = events.into_iter().find(|event| event["type"] == "session.ended" && event["session"] == session);
        ensure!(ended.is_some(), "the session of {command:?} has no end in the log");
        Ok(ended.unwrap_or_default())
    }

    /// Sessions that each wait for a line of input and then exit with 5.
    fn begin(&self) -> Vec<Child> {
        let begin = |number: usize| {
            let mut ssh = self.tech.ssh_command();
            ssh.args(["-o", "ControlPath=none", "--", DEVICE, &live(number)]);
            ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let sessions = (0..LIVE).map(begin).collect();
        until("the sessions in the log", GENEROUS, || {
            let events = self.tech.log("acme");
            let missing = (0..LIVE).find(|number| !events.iter().any(|event| event["command"] == live(*number)));
            ensure!(missing.is_none(), "no session.opened of session {missing:?}");
            Ok(())
        })
        .unwrap();
        sessions
    }

    /// Lets the sessions of [`Bench::begin`] end on a disk without a page to spare.
    fn finish(&self, sessions: Vec<Child>) {
        for mut session in sessions {
            self.disk.fill();
            session.stdin.take().unwrap().write_all(b"go\n").unwrap();
            let status = end_of(&mut session, GENEROUS).unwrap();
            if status.is_none() {
                session.kill().unwrap();
                session.wait().unwrap();
            }
            let code = status.and_then(|status| status.code());
            assert_eq!(code, Some(5), "a session that stood before the disk was full");
        }
    }

    /// The ends of those sessions are in the log, as they were.
    fn ends_must_be_told(&self) {
        for number in 0..LIVE {
            let ended = until("the end of the session", GENEROUS, || self.end_of(&live(number))).unwrap();
            assert_eq!(ended["exit"], 5, "{ended}");
        }
    }
}

fn live(number: usize) -> String {
    format!("read line; exit 5 # {number}")
}

#[test]
fn a_full_gateway_refuses_what_is_new_and_goes_on_when_there_is_space() {
    let Some(bench) = Bench::new(World::gateway_dir, GATEWAY_SIZE) else { return };
    let live_sessions = bench.begin();
    let tried = bench.try_while_full();
    for said in &tried.refused {
        let (code, words) = (said.code(), said.err());
        // At the door, before the device hears of it; or on the device, which gets no proof.
        let at_the_door =
            code == Some(255) && words.contains("the gateway cannot record just now, so nothing was started");
        let on_the_device = code == Some(254) && words.contains("nothing was started");
        assert!(at_the_door || on_the_device, "{}", said.story());
    }
    // What the gateway itself is asked for is recorded before it is answered, so it is refused too.
    bench.tech.gw("devices").must_refuse(1, &["nothing was done"]);
    let token = bench.scratch.path().join("no.token");
    let error = bench.world.make_token("acme", &token, &[]).unwrap_err().to_string();
    assert!(error.contains("nothing was done"), "{error}");
    assert!(!token.exists(), "a token that the gateway did not take is of no use");
    bench.finish(live_sessions);
    bench.recover("a full gateway");
    bench.ends_must_be_told();
    bench.must_be_whole(&tried);
}

#[test]
fn a_full_machine_refuses_what_is_new_and_goes_on_when_there_is_space() {
    let Some(bench) = Bench::new(|world| world.agent_dir(DEVICE), AGENT_SIZE) else { return };
    let live_sessions = bench.begin();
    let tried = bench.try_while_full();
    for said in &tried.refused {
        assert_eq!(said.code(), Some(254), "{}", said.story());
        assert!(
            said.err().contains("this machine could not record this session; nothing was started"),
            "{}",
            said.story()
        );
    }
    bench.finish(live_sessions);
    assert!((0..LIVE).any(|number| bench.end_of(&live(number)).is_err()), "every end still fitted on the full disk");
    bench.recover("a full machine");
    bench.ends_must_be_told();
    bench.must_be_whole(&tried);
}
