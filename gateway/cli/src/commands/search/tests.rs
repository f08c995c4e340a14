//! Searches where only the auditor may read.

use super::*;
use crate::testing::{recorded::Recorded, stage::Stage};
use age::secrecy::ExposeSecret;
use belay_certs::recording::blob::Readers;
use std::fs;

const OUTPUTS: [&[u8]; 2] = [b"$ \x1b[31mcat\x1b[0m /etc/sha", b"dow\r\nroot:*:\r\n"];

/// A stage with an ended session that only the auditor can read, and the lines that a search of it gives.
fn encrypted() -> (Stage, Recorded, PathBuf) {
    let stage = Stage::new();
    let auditor = age::x25519::Identity::generate();
    let mut recorded = Recorded::new(&stage, Readers::Only(vec![auditor.to_public()]), &OUTPUTS);
    recorded.end().on(&stage);
    let key = stage.path().join("auditor.age");
    fs::write(&key, auditor.to_string().expose_secret()).unwrap();
    (stage, recorded, key)
}

fn found(stage: &Stage, recorded: &Recorded, text: &str, key: Option<PathBuf>) -> Vec<(u64, String)> {
    let row = json!({
        "id": recorded.session, "device": "web1.acme", "person": "alice", "kind": "exec", "started": "x",
        "recording": {"state": "whole", "chunks": recorded.chunks.len(), "bytes": 1, "readable": false, "held": false},
    });
    let args = Args {
        text: text.to_owned(),
        tenant: None,
        person: None,
        device: None,
        since: None,
        kind: None,
        limit: 10,
        age_identity: key,
        json: true,
    };
    let trusted = Trusted::load(&stage.home).unwrap();
    let gateway = trusted.gateways(&stage.home).unwrap().remove(0);
    let words = Phrase::new(text).unwrap().unwrap();
    let lines = here(&stage.home, &trusted, (&args, &words), &gateway, &[row], 10).unwrap();
    lines.iter().map(|line| (line["at_ms"].as_u64().unwrap(), cell(line, "line"))).collect()
}

#[test]
fn what_only_the_auditor_may_read_is_fetched_once_and_found() {
    let (stage, recorded, key) = encrypted();
    assert!(found(&stage, &recorded, "shadow", None).is_empty(), "without the key");
    let expected = [(1_000, "$ cat /etc/shadow".to_owned())];
    assert_eq!(found(&stage, &recorded, "/etc/shadow", Some(key)), expected);
    fs::remove_file(stage.home.dir().join("ssh")).unwrap();
    assert_eq!(found(&stage, &recorded, "CAT /etc", None), expected, "it is in the index of the home");
    assert_eq!(found(&stage, &recorded, "root:*", None), [(1_000, "root:*:".to_owned())]);
}

#[test]
fn a_recording_that_does_not_verify_is_not_indexed() {
    let (stage, mut recorded, key) = encrypted();
    recorded.chunks[1].1[200] ^= 1;
    recorded.on(&stage);
    assert!(found(&stage, &recorded, "shadow", Some(key.clone())).is_empty());
    assert!(found(&stage, &recorded, "cat", Some(key)).is_empty(), "nor its beginning");
}

#[test]
fn the_gateway_is_asked_in_its_words() {
    let (stage, ..) = encrypted();
    let _ = stage.belay(&["search", "load average", "--tenant", "acme", "--since", "7d"]);
    let asked = stage.asked();
    assert!(asked.contains("search 'load average' --limit 100 --json --tenant acme --since 7d"), "{asked}");
    assert_eq!(stage.status(&["search", ""]), 2);
    assert_eq!(stage.status(&["search", "--", "--- ***"]), 2);
    assert_eq!(stage.status(&["search", "a\u{1b}b"]), 2);
}

#[test]
fn an_offset_is_one_that_replay_takes() {
    let all = [(0, "0s"), (59_999, "59s"), (200_000, "3m20s"), (3_723_000, "1h2m3s")];
    for (ms, text) in all {
        assert_eq!(offset_words(ms), text);
        assert_eq!(crate::commands::desk::play::offset(text).map(|at| at.as_secs()), Ok(ms / 1_000));
    }
}
