//! Parts for tests of file sessions: a batch for sftp, and what the log says that moved.

use belay_tests::{Person, Said, run};
use serde_json::Value;

/// Runs a batch of sftp's commands.
#[track_caller]
pub fn sftp(person: &Person, target: &str, batch: &str) -> Said {
    run(person.copier("sftp").args(["-q", "-b", "-", "--", target]), batch.as_bytes()).unwrap()
}

/// The end of the session that `is` names; ends are in the log before the client hears of them.
#[track_caller]
pub fn ended(reader: &Person, is: impl Fn(&Value) -> bool) -> Value {
    let entries = reader.log("acme");
    let mut ends = entries.iter().rev().filter(|entry| entry["type"] == "session.ended");
    let found = ends.find(|entry| is(entry)).cloned();
    found.unwrap_or_else(|| panic!("no such end: {:#?}", entries.iter().rev().take(20).collect::<Vec<_>>()))
}

/// What the file session did that `is` names.
#[track_caller]
pub fn files_of(reader: &Person, is: impl Fn(&Value) -> bool) -> Value {
    ended(reader, |entry| entry["files"].is_object() && is(&entry["files"]))["files"].clone()
}

/// The list as pairs of what was done and to which path.
pub fn deeds(files: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    files["list"].as_array().into_iter().flatten().map(|deed| (text(&deed["did"]), text(&deed["path"]))).collect()
}
