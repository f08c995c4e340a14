//! `log proof`: one session's entries taken out of a real log, each with a proof that another reader follows.

use belay_tests::{World, run};
use serde_json::Value;
use std::{fs, process::Command};

/// RFC 9162, 2.1.3.2, on a proof file, with nothing of ours.
const READER: &str = r#"
import base64, hashlib, sys
proof, head = open(sys.argv[2]).read().split("\n\n", 1)
lines = proof.split("\n")
assert lines[0] == "c2sp.org/tlog-proof@v1"
index = int(lines[1].split()[1]); path = [base64.b64decode(l) for l in lines[2:]]
size, root = int(head.split("\n")[1]), base64.b64decode(head.split("\n")[2])
h = hashlib.sha256(b"\0" + open(sys.argv[1], "rb").read()).digest(); fn, sn = index, size - 1
for p in path:
    if fn & 1 or fn == sn:
        h = hashlib.sha256(b"\1" + p + h).digest()
        while not fn & 1 and fn: fn >>= 1; sn >>= 1
    else: h = hashlib.sha256(b"\1" + h + p).digest()
    fn >>= 1; sn >>= 1
assert h == root and sn == 0, "it is not in the log"
"#;

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
    let reader = world.dir().join("reader.py");
    fs::write(&reader, READER).unwrap();
    for proof in proofs["proofs"].as_array().unwrap() {
        let (entry, path) =
            (dir.join(format!("{}.json", proof["index"])), dir.join(format!("{}.proof", proof["index"])));
        run(Command::new("python3").arg(&reader).args([&entry, &path]), b"").unwrap().must();
        let mut changed = fs::read(&entry).unwrap();
        changed[20] ^= 1;
        fs::write(&entry, changed).unwrap();
        run(Command::new("python3").arg(&reader).args([&entry, &path]), b"")
            .unwrap()
            .must_refuse(1, &["it is not in the log"]);
    }

    let (index, entry) = (proofs["proofs"][0]["index"].to_string(), proofs["proofs"][0]["entry"].as_str().unwrap());
    let event = serde_json::from_str::<Value>(entry).unwrap()["id"].as_str().unwrap().to_owned();
    for which in [index, event] {
        assert!(auditor.belay(["log", "proof", "acme", &which]).unwrap().must().out().contains(entry), "{which}");
    }
    auditor.gw("log proof acme 99999999").must_refuse(1, &["there is no entry 99999999"]);
    tech.gw("log proof globex 0").must_refuse(1, &["nothing there is granted to you"]);
}

fn kind(proof: &Value) -> String {
    let entry: Value = serde_json::from_str(proof["entry"].as_str().unwrap()).unwrap();
    entry["type"].as_str().unwrap().to_owned()
}
