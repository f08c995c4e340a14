//! The gateway or an agent held still (SIGSTOP) and let go again: what was asked meanwhile happens once or not at all, nothing
//! that was acknowledged is lost, and the service is back by itself.

#[path = "parts/appended.rs"]
mod appended;

use anyhow::Result;
use appended::{Bench, DEVICE};
use belay_tests::{
    Said,
    call::run_within,
    export,
    wait::{GENEROUS, Watched, until},
    world::Held,
};
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

/// How long somebody is held: past a receipt's wait, and past QUIC's idle time with BELAY_LONG=1.
const HELD: Duration = Duration::from_secs(6);
const HELD_LONG: Duration = Duration::from_secs(75);
/// How long a command of somebody whose gateway stands still may hang.
const HANGING: Duration = Duration::from_secs(180);
/// Commands asked for while somebody is held.
const ASKED: usize = 4;

/// Who is held.
#[derive(Debug, Clone, Copy)]
enum Part {
    Gateway,
    Agent,
}

impl Bench {
    fn attempt(&self, id: &str) -> Result<Said> {
        let mut ssh = self.tech.ssh_command();
        run_within(ssh.args(["-o", "ControlPath=none", "--", DEVICE, &self.command(id)]), b"", HANGING)
    }

    fn hold(&self, part: Part, held: Held) {
        match part {
            Part::Gateway => self.world.hold_gateway(held),
            Part::Agent => self.world.hold_agent(DEVICE, held),
        }
    }

    /// Asks for commands while `part` is held; those that were acknowledged.
    fn ask_while_held(&self, part: Part) -> Vec<String> {
        let held = if std::env::var_os("BELAY_LONG").is_some() { HELD_LONG } else { HELD };
        let done = Watched::new(Vec::new());
        self.hold(part, Held::Still);
        thread::scope(|scope| {
            for number in 0..ASKED {
                let done = &done;
                scope.spawn(move || {
                    let id = format!("{part:?}{number}");
                    if self.attempt(&id).is_ok_and(|said| said.status.success()) {
                        done.change(|done| done.push(id));
                    }
                });
            }
            // Nothing is waited for but the time: it is the test's input.
            let _ = Watched::new(()).wait(held, |()| None::<()>);
            self.hold(part, Held::Running);
            let begun = Instant::now();
            until("the service to be back", GENEROUS, || self.attempt("back")?.succeeded().map(drop)).unwrap();
            println!(
                "measured: back in service {} ms after the {part:?} went on, held for {} s",
                begun.elapsed().as_millis(),
                held.as_secs()
            );
        });
        done.lock().clone()
    }

    fn check(&self, done: &[String]) {
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
        let events = until("the export", GENEROUS, || Ok(export::events(&export::fetch(&self.tech, "acme")?))).unwrap();
        let opened = |id: &str| {
            events
                .iter()
                .any(|event| event["type"] == "session.opened" && event["command"] == self.command(id).as_str())
        };
        let ran = self.ran();
        let mut seen = BTreeSet::new();
        for id in ran.iter().map(String::as_str).filter(|id| *id != "back") {
            assert!(seen.insert(id), "{id} ran twice");
            assert!(opened(id), "{id} ran and no session.opened says so");
        }
        assert!(done.iter().all(|id| seen.contains(id.as_str())), "acknowledged: {done:?}, ran: {seen:?}");
    }
}

#[test]
fn a_gateway_that_stood_still_goes_on_and_nothing_happens_twice() {
    let bench = Bench::new();
    let pid = bench.world.gateway_pid();
    let done = bench.ask_while_held(Part::Gateway);
    bench.check(&done);
    assert_eq!(bench.world.gateway_pid(), pid, "it is the same process");
}

#[test]
fn an_agent_that_stood_still_comes_back_by_itself_and_nothing_happens_twice() {
    let bench = Bench::new();
    let pid = bench.world.agent_pid(DEVICE);
    let done = bench.ask_while_held(Part::Agent);
    bench.check(&done);
    assert_eq!(bench.world.agent_pid(DEVICE), pid, "it is the same process");
}
