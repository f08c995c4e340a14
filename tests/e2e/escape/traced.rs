//! A technician who is root traces the agent: stopped by a tracer it shows nothing, let go it goes on as if nothing had been, and
//! killed there it leaves a prefix. What a tracer can read and change in its memory is not promised against.

use super::{Bench, DEVICE, Live, SILENCE};
use anyhow::ensure;
use belay_tests::{
    run,
    wait::{GENEROUS, until},
};
use std::{fs, path::PathBuf, process::Command, time::Duration};

/// Attaches to every thread of a process, says so in a file and three words to its terminal, and waits for a file to end as told.
const TRACER: &str = r#"
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
ATTACH, DETACH, ALL_THREADS = 16, 17, 0x40000000
pid, place, end = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def say(name, text=""):
    with open(f"{place}/{name}.new", "w") as file:
        file.write(text)
    os.rename(f"{place}/{name}.new", f"{place}/{name}")
held = set()
while True:
    new = {int(thread) for thread in os.listdir(f"/proc/{pid}/task")} - held
    if not new:
        break
    for thread in new:
        if libc.ptrace(ATTACH, thread, None, None) != 0:
            say("held", os.strerror(ctypes.get_errno()))
            sys.exit(0)
        os.waitpid(thread, ALL_THREADS)
        held.add(thread)
for number in range(3):
    print("unseen", number, flush=True)
say("held")
while not os.path.exists(f"{place}/go"):
    time.sleep(0.05)
if end == "kill":
    os.kill(pid, 9)
else:
    for thread in held:
        libc.ptrace(DETACH, thread, None, None)
"#;

/// How long nothing may come from an agent that is held.
const WATCHED: Duration = Duration::from_secs(3);

/// A session whose command holds the agent.
struct Traced {
    live: Live,
    command: String,
    place: PathBuf,
}

impl Traced {
    /// None, with the reason told, where nobody may trace.
    fn begin(bench: &Bench, option: &str, end: &str) -> Option<Self> {
        let place = tempfile::tempdir_in(bench.world.dir()).unwrap().keep();
        fs::write(place.join("tracer.py"), TRACER).unwrap();
        // The session's own PATH may lead to none.
        let python =
            run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]), b"").unwrap().must();
        let (python, at) = (python.out().trim().to_owned(), place.display());
        let command = format!("echo begun; sleep 3; {python} {at}/tracer.py {} {at} {end}; echo after", bench.agent());
        let live = bench.session(&[option], &command);
        let held = place.join("held");
        let said = until("a tracer", GENEROUS, || Ok(fs::read_to_string(&held)?)).unwrap();
        if !said.is_empty() {
            println!("skipped: nobody may trace another process here: {said}");
            return None;
        }
        Some(Self { live, command, place })
    }

    /// Nothing comes while the agent is held, and then it is let go, or killed.
    fn nothing_comes(&self) {
        let came = self
            .live
            .received
            .wait(WATCHED, |seen| String::from_utf8_lossy(&seen.bytes).contains("unseen").then_some(()));
        assert!(came.is_none(), "{}", self.live.text());
    }

    fn go(&self) {
        fs::write(self.place.join("go"), "").unwrap();
    }
}

#[test]
fn an_agent_that_a_tracer_holds_shows_nothing_and_let_go_it_records_on() {
    let bench = Bench::new();
    for option in ["-T", "-tt"] {
        let Some(traced) = Traced::begin(&bench, option, "detach") else { return };
        traced.nothing_comes();
        traced.go();
        traced.live.sees("unseen 2");
        traced.live.sees("after");
        let received = traced.live.end(GENEROUS);
        let session = bench.id_of(&traced.command);
        bench.until_state(&session, "whole");
        let shown = bench.judge(&session, &received).asciinema_cat();
        assert!(String::from_utf8_lossy(&shown).contains("unseen 2"), "what came later is recorded");
    }
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn an_agent_killed_by_its_tracer_leaves_a_sealed_prefix_without_what_was_held() {
    let bench = Bench::new();
    for option in ["-T", "-tt"] {
        let Some(traced) = Traced::begin(&bench, option, "kill") else { return };
        traced.nothing_comes();
        traced.go();
        bench.killed();
        let session = bench.id_of(&traced.command);
        assert_eq!(bench.about(&session).unwrap()["state"], "live", "nobody said that it ended");
        bench.restart();
        let received = traced.live.end(GENEROUS);
        let text = String::from_utf8_lossy(&received.bytes);
        assert!(text.contains("begun") && !text.contains("unseen"), "{text}");
        bench.until_state(&session, "cut off");
        let shown = bench.judge(&session, &received).asciinema_cat();
        assert!(String::from_utf8_lossy(&shown).contains("begun"), "it was sealed before");
    }
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}

#[test]
fn an_agent_whose_system_calls_are_watched_records_all_the_same() {
    if run(Command::new("strace").arg("-V"), b"").is_err() {
        return println!("skipped: strace is not installed");
    }
    let bench = Bench::new();
    let trace = bench.world.dir().join("trace");
    let at = trace.display();
    let command = format!(
        "strace -qq -f -o {at} -p {} & i=0; until [ -s {at} ] || [ $i = 100 ]; do i=$((i+1)); sleep 0.1; done; seq 5000; \
         kill $!; wait; echo after",
        bench.agent()
    );
    let live = bench.session(&["-T"], &command);
    live.sees("after");
    let received = live.end(GENEROUS);
    if fs::metadata(&trace).map_or(0, |trace| trace.len()) == 0 {
        println!("skipped: nobody may trace another process here");
    }
    let session = bench.id_of(&command);
    bench.until_state(&session, "whole");
    bench.judge(&session, &received);
}

#[test]
fn an_agent_held_for_longer_than_the_gateway_waits_loses_the_session_and_says_so_later() {
    if std::env::var_os("BELAY_LONG").is_none() {
        return println!("skipped: an agent that is held for a minute, without BELAY_LONG=1");
    }
    let bench = Bench::new();
    let Some(traced) = Traced::begin(&bench, "-tt", "detach") else { return };
    let (session, command_place) = (bench.id_of(&traced.command), traced.place.clone());
    let received = traced.live.end(SILENCE);
    assert!(!String::from_utf8_lossy(&received.bytes).contains("unseen"));
    let about = bench.about(&session).unwrap();
    assert!(about["state"] == "live" && about["ended"].is_null(), "unterminated: {about}");
    fs::write(command_place.join("go"), "").unwrap();
    bench.world.until_online(DEVICE).unwrap();
    until("its end", GENEROUS, || {
        let state = bench.about(&session)?["state"].clone();
        ensure!(state == "whole" || state == "cut off", "{state}");
        Ok(())
    })
    .unwrap();
    bench.judge(&session, &received);
}
