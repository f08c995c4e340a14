//! A log of `acme` that a test fills, and what its gateway proves of it.

use super::stage::{Stage, earlier};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Digest, Id,
    device::DeviceRecord,
    entry::Entry,
    statement::{SignedStatement, Statement},
    time::DAY,
    tlog::{Checkpoint, Edge, Tiles, inclusion_path, leaf_hash},
};
use serde_json::{Map, Value, json};

/// The answer to `log proof --records`: all entries that name the session or job and those that approve devices, and what
/// these name.
pub fn proofs(stage: &Stage, entries: &[Vec<u8>], objects: &[String], id: &Id) -> Value {
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
        .filter(|(_, entry)| {
            let text = String::from_utf8_lossy(entry);
            text.contains(&id) || text.contains("\"type\":\"device.approved\"")
        })
        .map(|(index, entry)| {
            let path = inclusion_path(index, edge.size(), &(&edge, &tiles)).unwrap();
            let path: Vec<String> = path.iter().map(|hash| STANDARD.encode(hash)).collect();
            json!({"index": index, "entry": String::from_utf8_lossy(entry), "inclusion": path})
        })
        .collect();
    let objects: Vec<String> = objects.iter().map(|object| STANDARD.encode(object)).collect();
    json!({"tenant": "acme", "checkpoint": head.sign(&stage.acme.log).unwrap(), "proofs": proofs, "objects": objects})
}

/// An entry that approves a device as this row of `records` says, and what it names by digest.
pub fn approved(row: &Value) -> (Vec<u8>, Vec<String>) {
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let digest = |name: &str| Digest::of(text(name).as_bytes());
    let record = DeviceRecord::parse(text("record").as_bytes()).unwrap();
    let Value::Object(detail) = json!({
        "join": Id::random().unwrap(), "record": text("record"), "serial": record.serial, "host_key": record.host_key.line(),
        "labels": record.labels, "batch": digest("batch"), "batch_signature": digest("signature"), "place": row["index"],
        "path": row["path"], "certificate": digest("certificate"),
    }) else {
        panic!("no object")
    };
    let entry = Entry { device: Some(record.address.device), ..entry("device.approved", detail) };
    (entry.to_bytes().unwrap(), ["batch", "signature", "certificate"].map(text).to_vec())
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

/// The same about a device.
pub fn told_of(device: &str, kind: &str, detail: Value) -> Vec<u8> {
    let Value::Object(detail) = detail else { panic!("{detail} is no object") };
    Entry { device: Some(device.parse().unwrap()), ..entry(kind, detail) }.to_bytes().unwrap()
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
