//! Clocks that jump, on a machine and on the gateway: what is refused names both times, what is right again works again, and
//! no log is hurt. Only the time of day is faked; timers are not.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/granted.rs"]
mod granted;
#[path = "parts/policies.rs"]
mod policies;

use belay_certs::{Timestamp, time::SECOND};
use belay_tests::{
    Person, Plan, Terminal, World,
    wait::{GENEROUS, until},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

const DEVICE: &str = "web1.acme";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A world with one program whose time of day a file sets.
struct Bench {
    world: World,
    tech: Person,
    /// Holds how far the clock is off.
    offset: PathBuf,
}

impl Bench {
    /// None, with the reason told, where no clock can be faked.
    fn new() -> Option<Self> {
        if !Path::new(LIBRARY).exists() {
            println!("skipped: faketime is needed to set a program's clock");
            return None;
        }
        let world = World::of(Plan::small());
        let (tech, offset) = (world.person("tech"), world.dir().join("offset"));
        let bench = Self { world, tech, offset };
        bench.set("+0");
        Some(bench)
    }

    fn set(&self, offset: &str) {
        // Whole or not at all: the program may be reading.
        let draft = self.offset.with_extension("new");
        fs::write(&draft, offset).unwrap();
        fs::rename(draft, &self.offset).unwrap();
    }

    fn environment(&self) -> [(&'static str, &OsStr); 4] {
        [
            ("LD_PRELOAD", OsStr::new(LIBRARY)),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.as_os_str()),
            ("FAKETIME_NO_CACHE", OsStr::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
        ]
    }

    /// The agent anew, with a clock that the test sets.
    fn fake_agent(&self) {
        self.world.stop_agent(DEVICE).unwrap();
        self.world.start_agent_with(DEVICE, &self.environment()).unwrap();
        self.until_serving();
    }

    fn until_serving(&self) {
        until("a command to run", GENEROUS, || {
            belay_tests::run(self.tech.ssh_command().args(["--", DEVICE, "true"]), b"")?.succeeded().map(drop)
        })
        .unwrap();
    }

    fn must_refuse(&self, words: &[&str]) {
        until("a refusal", GENEROUS, || {
            let said = belay_tests::run(self.tech.ssh_command().args(["--", DEVICE, "true"]), b"")?;
            // At the login, or in a login that stood before.
            let told = matches!(said.code(), Some(254 | 255)) && words.iter().all(|word| said.err().contains(word));
            anyhow::ensure!(told, "{}", said.story());
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_machine_whose_clock_is_set_back_starts_nothing_until_it_is_right() {
    let Some(bench) = Bench::new() else { return };
    bench.fake_agent();
    bench.set("-2h");
    bench.must_refuse(&["the clock says", "set the clock"]);
    bench.set("+0");
    bench.until_serving();
    // Ahead for a while: it works, and it is not held to that afterwards, also when it starts meanwhile.
    bench.set("+3d");
    bench.until_serving();
    bench.world.stop_agent(DEVICE).unwrap();
    bench.world.start_agent_with(DEVICE, &bench.environment()).unwrap();
    bench.until_serving();
    bench.set("+0");
    bench.until_serving();
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

/// `HH:MM` in UTC, so many minutes from now.
fn clock(minutes: i64) -> String {
    Timestamp::from_system(SystemTime::now()).plus(minutes * 60 * SECOND).to_string()[11..16].to_owned()
}

#[test]
fn a_laptop_that_wakes_after_the_hours_of_a_grant_ends_the_session_that_slept() {
    let Some(bench) = Bench::new() else { return };
    bench.fake_agent();
    let account = bench.world.account().to_owned();
    let guest = bench.world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    let hours = format!("hours = \"Mon-Sun {}-{} UTC\"", clock(-120), clock(120));
    changed::change(&bench.world, DEVICE, |text| granted::add_to_grant(text, "guest", &hours));
    let live = |person: &Person| {
        let mut ssh = person.ssh_command();
        ssh.args(["-tt", "--", DEVICE, "echo begun; read line; echo heard $line"]);
        let shell = Terminal::open(&ssh, 80, 24).unwrap();
        shell.see("begun").unwrap();
        shell
    };
    let (of_guest, mut of_tech) = (live(&guest), live(&bench.tech));
    // Asleep for eight hours: no timer has moved, and nobody says a word.
    bench.set("+8h");
    of_guest.see("this session was ended: the grant at line").unwrap();
    of_guest.see("counts only at Mon-Sun").unwrap();
    of_guest.ended(GENEROUS).unwrap();
    let ran = bench.world.dir().join("ran");
    let touch = format!("touch {}", ran.display());
    let said = belay_tests::run(guest.ssh_command().args(["--", DEVICE, &touch]), b"").unwrap();
    assert!(said.err().contains("counts only at Mon-Sun"), "{}", said.story());
    assert!(!ran.exists(), "it started outside its hours");
    // Whose grant has no hours was not disturbed.
    of_tech.keys("me\r").unwrap();
    of_tech.see("heard me").unwrap();
    assert!(of_tech.ended(GENEROUS).unwrap().success());
    bench.set("+0");
    guest.ssh(DEVICE, &touch).must();
    let entries = bench.tech.log("acme");
    let because =
        |e: &&serde_json::Value| e["reason"].as_str().is_some_and(|why| why.contains("counts only at Mon-Sun"));
    let ended = entries.iter().filter(because).filter(|e| e["type"] == "session.ended").count();
    assert_eq!(ended, 1, "{entries:#?}");
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_mark_in_the_future_is_removed_by_root_as_the_refusal_says() {
    let Some(bench) = Bench::new() else { return };
    let mark = bench.world.agent_dir(DEVICE).join("clock");
    bench.world.stop_agent(DEVICE).unwrap();
    fs::write(&mark, "2099-01-01T00:00:00Z\n").unwrap();
    bench.world.start_agent(DEVICE).unwrap();
    bench.must_refuse(&["the clock says", "high-water mark is 2099-01-01T00:00:00Z", "remove the file `clock`"]);
    bench.world.stop_agent(DEVICE).unwrap();
    fs::remove_file(&mark).unwrap();
    bench.world.start_agent(DEVICE).unwrap();
    bench.until_serving();
}

#[test]
fn a_gateway_whose_clock_jumps_deletes_no_recording_until_the_operator_says_that_it_is_right() {
    let Some(bench) = Bench::new() else { return };
    changed::change(&bench.world, DEVICE, |text| text.replace("[recording]\n", "[recording]\nkeep = \"1d\"\n"));
    bench.tech.ssh(DEVICE, "echo kept").must();
    let state = || {
        let rows: serde_json::Value = serde_json::from_slice(&bench.tech.gw("sessions --json").must().stdout).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["command"] == "echo kept").cloned();
        // None before its first chunk has come.
        row.unwrap()["recording"]["state"].as_str().unwrap_or_default().to_owned()
    };
    until("a whole recording", GENEROUS, || {
        anyhow::ensure!(state() == "whole", "{}", state());
        Ok(())
    })
    .unwrap();
    // It starts with a clock that is three days ahead, twice.
    for _ in 0..2 {
        bench.world.stop_gateway().unwrap();
        bench.set("+3d");
        let mark = bench.world.log("gateway").mark();
        bench.world.start_gateway_with(&bench.environment()).unwrap();
        let said =
            bench.world.log("gateway").wait("a doubt", mark, GENEROUS, |line| line.contains("recordings grow old by"));
        assert!(said.unwrap().contains("remove the file `retention-clock`"));
        assert_eq!(state(), "whole");
    }
    // Right again, and wrong while it serves: a new version of the policy makes it look.
    bench.world.stop_gateway().unwrap();
    bench.set("+0");
    bench.world.start_gateway_with(&bench.environment()).unwrap();
    bench.until_serving();
    bench.set("+3d");
    let mark = bench.world.log("gateway").mark();
    let owner = &bench.tech;
    let text = policies::next(&policies::newest(owner, "acme"));
    owner.gw_with_input("policy push acme", &policies::signed(&text, &bench.world.root_key("acme"))).must();
    bench.world.log("gateway").wait("a doubt", mark, GENEROUS, |line| line.contains("recordings grow old by")).unwrap();
    assert_eq!(state(), "whole");
    // The operator says that this is the time.
    bench.world.stop_gateway().unwrap();
    fs::remove_file(bench.world.gateway_dir().join("retention-clock")).unwrap();
    bench.world.start_gateway_with(&bench.environment()).unwrap();
    until("the deletion", GENEROUS, || {
        anyhow::ensure!(state() == "deleted", "{}", state());
        Ok(())
    })
    .unwrap();
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn a_gateway_whose_clock_jumps_neither_dies_nor_hurts_the_log() {
    let Some(bench) = Bench::new() else { return };
    bench.world.stop_gateway().unwrap();
    bench.world.start_gateway_with(&bench.environment()).unwrap();
    bench.until_serving();
    let pid = bench.world.gateway_pid();
    for offset in ["+2h", "-2h", "+0"] {
        bench.set(offset);
        // Its clock counts at the next welcome.
        bench.world.stop_agent(DEVICE).unwrap();
        bench.world.start_agent(DEVICE).unwrap();
        if offset == "+2h" {
            bench.must_refuse(&["the clock says", "the gateway's", "set the clock that is wrong"]);
        }
    }
    bench.until_serving();
    assert_eq!(bench.world.gateway_pid(), pid, "the same process");
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}
