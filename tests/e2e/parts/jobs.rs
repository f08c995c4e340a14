//! Orders as people give them, and what became of them as the gateway tells.

use belay_tests::{Person, Said, run};
use serde_json::Value;

/// `belay run` without questions.
pub fn order(person: &Person, words: &[&str]) -> Said {
    let mut belay = person.belay_command().unwrap();
    run(belay.arg("run").args(words).arg("--yes"), b"").unwrap()
}

/// The job as the gateway shows it.
#[track_caller]
pub fn job(person: &Person, id: &str) -> Value {
    person.gw(&format!("job {id} --json")).must().json()
}

/// How each device's run ended, or where it stands.
pub fn states(job: &Value) -> Vec<(String, String)> {
    let runs = job["runs"].as_array().unwrap();
    runs.iter()
        .map(|run| (run["device"].as_str().unwrap().to_owned(), run["state"].as_str().unwrap().to_owned()))
        .collect()
}

/// The id of the newest job.
#[track_caller]
pub fn newest(person: &Person) -> String {
    person.gw("jobs --json").must().json()[0]["job"].as_str().unwrap().to_owned()
}
