//! A gateway whose database is yesterday's: machines and laptops that know more refuse it, its operator begins the log anew
//! under the next name, and with a policy that names it everything goes on and verifies.

#[path = "parts/appended.rs"]
mod appended;
#[path = "parts/policies.rs"]
mod policies;

use anyhow::ensure;
use appended::{Bench, DEVICE};
use belay_tests::{
    call::run,
    export,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

impl Bench {
    fn work(&self, words: &[&str]) {
        for word in words {
            until("a command to run", GENEROUS, || {
                let said = run(self.tech.ssh_command().args(["--", DEVICE, &self.command(word)]), b"")?;
                ensure!(said.status.success(), "{}", said.story());
                Ok(())
            })
            .unwrap();
        }
    }

    /// Nothing starts, and the person hears why, sooner or later: first the machine must be back.
    fn is_refused(&self, word: &str, why: &str) {
        until(&format!("a refusal with {why:?}"), GENEROUS, || {
            let said = run(self.tech.ssh_command().args(["--", DEVICE, &self.command(word)]), b"")?;
            ensure!(said.err().contains(why) && said.err().contains("nothing was started"), "{}", said.story());
            Ok(())
        })
        .unwrap();
        assert!(!self.ran().iter().any(|ran| ran == word), "{word} ran");
    }

    fn copy(&self, from: &PathBuf, to: &PathBuf) {
        let _ = fs::remove_dir_all(to);
        run(Command::new("cp").arg("-a").arg(from).arg(to), b"").unwrap().must();
    }

    fn push(&self, text: &str) {
        let signed = policies::signed(text, &self.world.root_key("acme"));
        self.tech.gw_with_input("policy push acme", &signed).must();
    }

    /// An export verified by somebody else's code.
    fn independent(&self, name: &str, log: &Value) -> Vec<Value> {
        let tar = self.world.dir().join(format!("{}.tar", name.replace('/', "-")));
        let exported = self.tech.gw(&format!("log export {name}")).must();
        fs::write(&tar, &exported.stdout).unwrap();
        export::independent(&tar, log["vkey"].as_str().unwrap(), None).unwrap().must();
        export::events(&export::unpack(&exported.stdout).unwrap())
    }
}

/// The line that replaces `logs` in a policy, from what the operator was told.
fn logs_line(told: &str) -> &str {
    told.lines().find(|line| line.starts_with("logs = ")).unwrap_or_else(|| panic!("no line to add: {told}"))
}

#[test]
fn a_restored_database_is_refused_until_a_policy_names_the_next_life_of_the_log() {
    let bench = Bench::new();
    let (gateway, backup) = (bench.world.gateway_dir(), bench.world.dir().join("yesterday"));
    bench.work(&["one", "two"]);
    bench.world.stop_gateway().unwrap();
    bench.copy(&gateway, &backup);
    bench.world.start_gateway().unwrap();
    bench.work(&["three", "four", "five"]);
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();

    // The disk is lost, and yesterday's copy comes into its place.
    bench.world.kill_gateway();
    bench.copy(&backup, &gateway);
    bench.world.start_gateway().unwrap();
    bench.is_refused("six", "has a gap");
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must_refuse(1, &["does not verify"]);

    let told = bench.world.operator(&["log", "restart", "acme"]).unwrap().must().out();
    assert!(told.contains("goes on as gw.example/acme/2"), "{told}");
    bench.is_refused("seven", "only a new policy changes the log");
    assert_eq!(bench.ran(), ["one", "two", "three", "four", "five"]);

    let newest = policies::newest(&bench.tech, "acme");
    let old = newest.lines().find(|line| line.starts_with("logs = ")).unwrap();
    bench.push(&policies::next(&newest).replace(old, logs_line(&told)));
    bench.work(&["eight"]);

    // The new key is in its place also after a crash.
    bench.world.kill_gateway();
    bench.world.start_gateway().unwrap();
    bench.work(&["nine"]);
    let verified = bench.tech.belay(["log", "verify", "acme"]).unwrap().must().out();
    for words in ["gw.example/acme/2 is whole", "gw.example/acme is whole", "not all here: the gateway lost some"] {
        assert!(verified.contains(words), "no {words:?}: {verified}");
    }
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
    bench.world.operator(&["log", "verify", "acme"]).unwrap().must();

    let started = |events: &[Value]| events[0].clone();
    let policy = policies::newest(&bench.tech, "acme");
    let later = bench.independent("acme", &log_of(&policy, 1));
    assert_eq!(started(&later)["type"], "log.started");
    assert_eq!(started(&later)["continues"]["origin"], "gw.example/acme");
    let first = bench.independent("acme/1", &log_of(&policy, 0));
    assert!(first.iter().any(|event| event["command"] == bench.command("two").as_str()));
    let opened: Vec<&Value> = later.iter().filter(|event| event["type"] == "session.opened").collect();
    assert!(opened.iter().any(|event| event["command"] == bench.command("nine").as_str()));
    let numbers: Vec<u64> = later
        .iter()
        .filter(|event| !event["statement"].is_null())
        .map(|event| export::statement(event)["seq"].as_u64().unwrap())
        .collect();
    assert!(numbers[0] > 1, "the machine's statements go on where they were: {numbers:?}");
}

/// One of the logs that a policy names.
fn log_of(policy: &str, number: usize) -> Value {
    let line = policy.lines().find(|line| line.starts_with("logs = ")).unwrap();
    let origin_and_vkey: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    let [origin, vkey] = origin_and_vkey.chunks(2).nth(number).unwrap() else { panic!("{line}") };
    serde_json::json!({ "origin": origin, "vkey": vkey })
}
