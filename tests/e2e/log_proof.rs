//! `log proof`: one session's entries taken out of a real log, each with a proof that another reader follows.

use belay_tests::{World, run};
use serde_json::Value;
use std::{fs, process::Command};

#[test]
fn what_a_session_left_is_proved_to_be_in_the_log() {
    let world = World::shared();
    let (tech, auditor) = (world.person("tech"), world.person("auditor"));
    tech.ssh("web1.acme", "echo to be proved").must();
    let sessions = auditor.gw("sessions --device web1.acme --json").json();
    let row = sessions.as_array().unwrap().iter().find(|row| row["command"] == "echo to be proved").unwrap();
    let session = row["id"].as_str().unwrap();

    let dir = world.dir().join("proofs");
    let said = auditor.belay(["log", "proof", "acme", session, "--json", "-o", dir.to_str().unwrap()]).unwrap();
    let proofs = said.must().json();
    let kinds: Vec<String> = proofs["proofs"].as_array().unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["session.opened", "session.ended"]);
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/independent/verify_proof.py");
    for proof in proofs["proofs"].as_array().unwrap() {
        let (entry, path) =
            (dir.join(format!("{}.json", proof["index"])), dir.join(format!("{}.proof", proof["index"])));
        run(Command::new("python3").arg(reader).args([&entry, &path]), b"").unwrap().must();
        let mut changed = fs::read(&entry).unwrap();
        changed[20] ^= 1;
        fs::write(&entry, changed).unwrap();
        run(Command::new("python3").arg(reader).args([&entry, &path]), b"")
            .unwrap()
            .must_refuse(1, &["it is not in the log"]);
    }

    let (index, entry) = (proofs["proofs"][0]["index"].to_string(), proofs["proofs"][0]["entry"].as_str().unwrap());
    let event = serde_json::from_str::<Value>(entry).unwrap()["id"].as_str().unwrap().to_owned();
    for which in [vec!["acme", &index], vec!["acme", &event], vec![&event], vec![session]] {
        let said = auditor.belay([vec!["log", "proof"], which].concat()).unwrap().must();
        assert!(said.out().contains(entry), "{}", said.story());
    }
    auditor.belay(["log", "proof", &index]).unwrap().must_refuse(2, &["of which log"]);
    auditor.gw(&format!("log proof {index}")).must_refuse(2, &["of which log"]);
    world.person("other").gw(&format!("log proof {event}")).must_refuse(1, &["any log that you audit"]);
    auditor.gw("log proof acme 99999999").must_refuse(1, &["there is no entry 99999999"]);
    tech.gw("log proof globex 0").must_refuse(1, &["nothing there is granted to you"]);
}

fn kind(proof: &Value) -> String {
    let entry: Value = serde_json::from_str(proof["entry"].as_str().unwrap()).unwrap();
    entry["type"].as_str().unwrap().to_owned()
}
