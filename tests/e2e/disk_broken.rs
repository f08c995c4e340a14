//! A disk that fails, on the gateway and on a machine: what was not kept was not acknowledged and did not run, whoever cannot
//! believe the disk any more stops, and the next start goes on from what is there.

#[path = "parts/appended.rs"]
mod appended;
#[path = "parts/policies.rs"]
mod policies;

use anyhow::ensure;
use appended::{Bench, DEVICE};
use belay_tests::{
    Said,
    call::run,
    export,
    strace::Injected,
    wait::{GENEROUS, until},
};
use std::fs;

/// Every sync fails, from the first on.
const NO_SYNC: &str = "fsync,fdatasync:error=EIO";

impl Bench {
    fn attempt(&self, id: &str) -> Said {
        let mut ssh = self.tech.ssh_command();
        run(ssh.args(["-o", "ControlPath=none", "--", DEVICE, &self.command(id)]), b"").unwrap()
    }

    fn until_back(&self) {
        until("commands to run again", GENEROUS, || {
            run(self.tech.ssh_command().args(["-o", "ControlPath=none", "--", DEVICE, "true"]), b"")?
                .succeeded()
                .map(drop)
        })
        .unwrap();
    }

    /// The log is whole by both verifiers, and every command that ran has its intent in it.
    fn must_be_whole(&self) {
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
        let files = until("the export", GENEROUS, || export::fetch(&self.tech, "acme")).unwrap();
        let tar = self.world.dir().join("export.tar");
        fs::write(&tar, export::pack(&files)).unwrap();
        let vkey = export::vkey_of_policy(&self.world.tenant_dir("acme").join("policy-0.toml")).unwrap();
        export::independent(&tar, &vkey, None).unwrap().must();
        let events = export::events(&files);
        for id in self.ran() {
            let intent = |event: &&serde_json::Value| {
                event["type"] == "session.opened" && event["command"] == self.command(&id).as_str()
            };
            assert!(events.iter().any(|event| intent(&event)), "{id} ran and no session.opened says so");
        }
    }
}

#[test]
fn a_gateway_whose_disk_does_not_keep_a_write_stops_and_its_next_start_goes_on() {
    let bench = Bench::new();
    for when in 1..=3 {
        let pid = bench.world.gateway_pid().unwrap();
        let inject = format!("{NO_SYNC}:when={when}");
        let Some(injected) = Injected::into(pid, &inject, None).unwrap() else { return };
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let id = format!("s{when}n{number}");
            let said = bench.attempt(&id);
            if !said.status.success() {
                // A command whose intent was kept runs; its answer is lost with the gateway.
                let refused = said.err().contains("nothing was started");
                assert!(!refused || !bench.ran().contains(&id), "{id} ran: {}", said.story());
                break;
            }
            acknowledged.push(id);
        }
        // A parent is told of an end only after strace was.
        drop(injected);
        let status = bench.world.gateway_ended().unwrap();
        assert_eq!(status.code(), Some(1), "{}", bench.world.log("gateway").tail());
        let told = bench.world.log("gateway").since(0).join("\n");
        assert!(told.contains("the disk did not keep what was written"), "{told}");
        bench.world.start_gateway().unwrap();
        bench.until_back();
        bench.must_be_whole();
        let ran = bench.ran();
        assert!(acknowledged.iter().all(|id| ran.contains(id)), "{acknowledged:?} of {ran:?}");
    }
}

#[test]
fn a_gateway_that_cannot_write_for_a_while_refuses_and_goes_on_without_a_restart() {
    let bench = Bench::new();
    let pid = bench.world.gateway_pid().unwrap();
    for error in ["EIO", "ENOSPC"] {
        let inject = format!("write,pwrite64,pwritev:error={error}");
        let database = bench.world.gateway_dir().join("belay.db-wal");
        let Some(injected) = Injected::into(pid, &inject, Some(&database)).unwrap() else { return };
        let refused = bench.attempt(error);
        assert!(!refused.status.success() && refused.err().contains("nothing was"), "{}", refused.story());
        drop(injected);
        bench.until_back();
        assert_eq!((bench.ran(), bench.world.gateway_pid()), (vec![], Some(pid)));
    }
    bench.must_be_whole();
}

#[test]
fn a_machine_whose_disk_fails_starts_nothing_and_goes_on_when_it_works_again() {
    let bench = Bench::new();
    let journal = bench.world.agent_dir(DEVICE).join("outbox");
    let write = |error| format!("write:error={error}");
    for (name, inject, path) in [
        ("unsynced", NO_SYNC.to_owned(), None),
        ("unwritten", write("EIO"), Some(journal.as_path())),
        ("full", write("ENOSPC"), Some(journal.as_path())),
    ] {
        let pid = bench.world.agent_pid(DEVICE).unwrap();
        let Some(injected) = Injected::into(pid, &inject, path).unwrap() else { return };
        let refused = bench.attempt(name);
        let told = refused.err().contains("this machine could not record this session; nothing was started");
        assert!(refused.code() == Some(254) && told, "{}", refused.story());
        assert!(bench.ran().is_empty());
        if name == "unsynced" {
            // What it could not sync may be there, or not: whatever a start finds, it can go on from.
            bench.world.kill_agent(DEVICE);
            drop(injected);
            bench.world.start_agent(DEVICE).unwrap();
            bench.until_back();
            return_to_work(&bench, "after a kill");
            continue;
        }
        drop(injected);
        bench.until_back();
    }
    bench.must_be_whole();
}

fn return_to_work(bench: &Bench, id: &str) {
    bench.attempt(id).must();
    fs::write(&bench.file, "").unwrap();
}

#[test]
fn a_policy_that_a_machine_cannot_keep_comes_into_force_when_it_can() {
    let bench = Bench::new();
    let pid = bench.world.agent_pid(DEVICE).unwrap();
    let Some(injected) = Injected::into(pid, "rename,renameat,renameat2:error=EIO", None).unwrap() else { return };
    let (log, push) = (bench.world.log(DEVICE), |text: &str| {
        bench.tech.gw_with_input("policy push acme", &policies::signed(text, &bench.world.root_key("acme"))).must()
    });
    let mark = log.mark();
    let second = policies::next(&policies::newest(&bench.tech, "acme"));
    push(&second);
    log.wait("a policy not kept", mark, GENEROUS, |line| line.contains("this machine could not keep it")).unwrap();
    // The next one must not overtake it.
    push(&policies::next(&second));
    drop(injected);
    let versions = log.since(mark);
    ensure_none(&versions, "is in force").unwrap();
    let third = log.wait("the second of them", mark, GENEROUS, |line| {
        line.contains("a new policy is in force") && line.contains("version=2")
    });
    third.unwrap();
    assert_eq!(bench.world.agent_pid(DEVICE), Some(pid), "without a restart");
    bench.must_be_whole();
}

fn ensure_none(lines: &[String], word: &str) -> anyhow::Result<()> {
    ensure!(!lines.iter().any(|line| line.contains(word)), "{lines:#?}");
    Ok(())
}
