//! A log of `acme` that a test fills, and what its gateway proves of it.

use super::stage::{Stage, earlier};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Id,
    entry::Entry,
    statement::{SignedStatement, Statement},
    time::DAY,
    tlog::{Checkpoint, Edge, Tiles, inclusion_path, leaf_hash},
};
use serde_json::{Map, Value, json};

/// The answer to `log proof`: all entries that name the session or job.
pub fn proofs(stage: &Stage, entries: &[Vec<u8>], id: &Id) -> Value {
    let (mut edge, mut tiles) = (Edge::empty(), Tiles::new());
    for entry in entries {
        for tile in edge.append(leaf_hash(entry)) {
            tiles.insert(tile.level, tile.index, &tile.hashes);
        }
    }
    let head = Checkpoint { origin: "gw.example/acme".to_owned(), size: edge.size(), root: edge.root() };
    let id = id.to_string();
    let proofs: Vec<_> = (0..)
        .zip(entries)
        .filter(|(_, entry)| String::from_utf8_lossy(entry).contains(&id))
        .map(|(index, entry)| {
            let path = inclusion_path(index, edge.size(), &(&edge, &tiles)).unwrap();
            let path: Vec<String> = path.iter().map(|hash| STANDARD.encode(hash)).collect();
            json!({"index": index, "entry": String::from_utf8_lossy(entry), "inclusion": path})
        })
        .collect();
    json!({"tenant": "acme", "checkpoint": head.sign(&stage.acme.log).unwrap(), "proofs": proofs})
}

/// An entry of no matter.
pub fn noise(kind: &str) -> Vec<u8> {
    told(kind, None, json!({}))
}

/// An entry of what the gateway says, by a person.
pub fn told(kind: &str, person: Option<&str>, detail: Value) -> Vec<u8> {
    let Value::Object(detail) = detail else { panic!("{detail} is no object") };
    let person = person.map(|person| person.parse().unwrap());
    Entry { person, ..entry(kind, detail) }.to_bytes().unwrap()
}

/// An entry of what a device says.
pub fn spoken(statement: &Statement, signed: SignedStatement) -> Vec<u8> {
    let entry = Entry {
        device: Some(statement.head.device.device.clone()),
        person: statement.person().cloned(),
        statement: Some(signed),
        ..entry(statement.type_name(), statement.body.members().unwrap())
    };
    entry.to_bytes().unwrap()
}

fn entry(kind: &str, detail: Map<String, Value>) -> Entry {
    Entry {
        v: 1,
        id: Id::random().unwrap(),
        kind: kind.to_owned(),
        at: earlier(DAY / 24),
        tenant: Some("acme".parse().unwrap()),
        device: None,
        person: None,
        detail,
        statement: None,
    }
}
