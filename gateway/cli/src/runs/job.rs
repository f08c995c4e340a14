//! A job as its gateway tells of it: the JSON of `job`, `jobs` and of each change, and how well it ended.
//!
//! It is the gateway's word. What devices signed about their runs stands in the log: `belay log verify`.

use crate::failure::{Failure, Outcome, While, refused};
use belay_certs::{DeviceName, Digest, Id, TenantName, Timestamp, order, secrets::Sealed};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// How far one device's part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum State {
    /// It was not offered yet.
    Waiting,
    /// The device was told.
    Offered,
    /// It runs.
    Started,
    /// It is over.
    Ended(order::Outcome),
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "waiting" => Ok(Self::Waiting),
            "offered" => Ok(Self::Offered),
            "started" => Ok(Self::Started),
            other => other.parse().map(Self::Ended).map_err(|invalid: belay_certs::Invalid| invalid.to_string()),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Offered => f.write_str("offered"),
            Self::Started => f.write_str("started"),
            Self::Ended(outcome) => write!(f, "{outcome}"),
        }
    }
}

/// What becomes of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Devices may begin.
    Open,
    /// Too many did not succeed.
    Stopped,
    /// Somebody called it off.
    Cancelled,
    /// The window is over, or everything is done.
    Over,
}

/// The member of a run that a change does not repeat.
const SEALED: &str = "sealed";

/// One device's part.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Run {
    /// Its name inside the tenant.
    pub device: DeviceName,
    /// The serial of the record that was meant.
    pub serial: u64,
    /// How far it is.
    pub state: State,
    /// The script's exit status.
    #[serde(default)]
    pub exit: Option<i64>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<Value>,
    /// Why it ended so.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it began.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// The digest of the output file, as the device's statement of the end has it.
    #[serde(default)]
    pub output: Option<Digest>,
    /// The length of the output file, in bytes, as the same statement has it.
    #[serde(default)]
    pub output_bytes: Option<u64>,
    /// When it was deleted.
    #[serde(default)]
    pub output_deleted: Option<Timestamp>,
    /// The secrets in its line of the order's list.
    #[serde(default)]
    pub sealed: Option<Sealed>,
}

impl Run {
    /// Its line in the order's list.
    pub fn line(&self) -> order::DeviceLine {
        order::DeviceLine { name: self.device.clone(), serial: self.serial, sealed: self.sealed.clone() }
    }
}

/// What changes in a job, and the beginning of its first line.
#[derive(Debug, Clone, Deserialize)]
pub struct Change {
    /// The order's id.
    pub job: Id,
    /// What becomes of it.
    pub phase: Phase,
    /// Why it was stopped or cancelled.
    #[serde(default)]
    pub reason: Option<String>,
    /// Nothing changes any more.
    pub over: bool,
    /// The devices whose part has changed.
    pub runs: Vec<Run>,
}

/// What does not change in a job.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    /// Whose devices.
    pub tenant: TenantName,
    /// The runbook's name.
    pub runbook: String,
    /// Who ordered it.
    pub person: String,
    /// From when on devices may begin.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The order's text.
    #[serde(default)]
    pub order: Option<String>,
    /// Its signature.
    #[serde(default)]
    pub signature: Option<String>,
}

/// A job as far as it was told.
#[derive(Debug, Clone)]
pub struct Job {
    /// What stays.
    pub head: Head,
    /// The order's id.
    pub id: Id,
    /// What becomes of it.
    pub phase: Phase,
    /// Why it was stopped or cancelled.
    pub reason: Option<String>,
    /// Nothing changes any more.
    pub over: bool,
    /// Every device's part.
    pub runs: BTreeMap<DeviceName, Run>,
    /// The JSON with all changes in it.
    pub raw: Value,
    /// Where each device stands in the JSON.
    places: BTreeMap<String, usize>,
}

impl Job {
    /// Reads the whole of a job.
    ///
    /// # Errors
    /// It is not the job that was asked for, or not understood.
    pub fn read(json: &[u8], id: &Id) -> Outcome<Self> {
        let raw: Value = understand(json)?;
        let head: Head = serde_json::from_value(raw.clone()).during(not_understood)?;
        let change: Change = serde_json::from_value(raw.clone()).during(not_understood)?;
        if change.job != *id {
            return Err(refused(format!("the gateway shows the job {} where {id} was asked for", change.job)));
        }
        let runs = change.runs.iter().map(|run| (run.device.clone(), run.clone())).collect();
        let listed = raw.get("runs").and_then(Value::as_array).into_iter().flatten();
        let places = listed.enumerate().map(|(place, run)| (name(run), place)).collect();
        let Change { phase, reason, over, .. } = change;
        Ok(Self { head, id: *id, phase, reason, over, runs, raw, places })
    }

    /// Takes one line of `--follow`: the whole again, or a change. The devices whose part is another now, in order.
    ///
    /// # Errors
    /// As [`Job::read`]; or it tells of a device that the job has not.
    pub fn take(&mut self, line: &[u8]) -> Outcome<Vec<Run>> {
        let raw: Value = understand(line)?;
        let change: Change = serde_json::from_value(raw.clone()).during(not_understood)?;
        if change.job != self.id {
            return Err(refused(format!("the gateway tells of the job {} where {} is followed", change.job, self.id)));
        }
        let mut changed = Vec::new();
        for mut run in change.runs {
            let Some(held) = self.runs.get_mut(&run.device) else {
                return Err(refused(format!("the gateway tells of {}, which the job has not", run.device)));
            };
            run.sealed = run.sealed.or_else(|| held.sealed.clone());
            if *held != run {
                held.clone_from(&run);
                changed.push(run);
            }
        }
        (self.phase, self.reason, self.over) = (change.phase, change.reason, change.over);
        self.merge(raw);
        Ok(changed)
    }

    /// Puts the members of a change into the JSON; of `runs` those that are in it.
    fn merge(&mut self, change: Value) {
        let (Value::Object(whole), Value::Object(change)) = (&mut self.raw, change) else { return };
        for (member, value) in change {
            match (whole.get_mut(&member), value) {
                (Some(Value::Array(runs)), Value::Array(changed)) if member == "runs" => {
                    for mut run in changed {
                        if let Some(held) = self.places.get(&name(&run)).and_then(|place| runs.get_mut(*place)) {
                            if let (Some(run), Some(sealed)) = (run.as_object_mut(), held.get_mut(SEALED)) {
                                run.entry(SEALED).or_insert_with(|| sealed.take());
                            }
                            *held = run;
                        }
                    }
                }
                (_, value) => {
                    whole.insert(member, value);
                }
            }
        }
    }

    /// How many devices are in each state, in the order of the states.
    pub fn counts(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        for run in self.runs.values() {
            *counts.entry(run.state).or_default() += 1;
        }
        counts
    }

    /// `3 succeeded, 1 failed`.
    pub fn tally(&self) -> String {
        let counts: Vec<String> = self.counts().iter().map(|(state, count)| format!("{count} {state}")).collect();
        counts.join(", ")
    }

    /// Devices whose part is over.
    pub fn ended(&self) -> usize {
        self.runs.values().filter(|run| matches!(run.state, State::Ended(_))).count()
    }

    /// How well it ended.
    pub fn end(&self) -> End {
        let outcome = |run: &Run| match run.state {
            State::Ended(outcome) => Some(outcome),
            State::Waiting | State::Offered | State::Started => None,
        };
        let succeeded = |run: &Run| outcome(run) == Some(order::Outcome::Succeeded);
        let begun = |run: &Run| run.state == State::Started || outcome(run).is_some_and(order::Outcome::has_begun);
        match (self.over, self.phase) {
            (false, _) => End::Open,
            (true, Phase::Cancelled) => End::Cancelled,
            (true, Phase::Open | Phase::Stopped | Phase::Over) if self.runs.values().all(succeeded) => End::Succeeded,
            (true, _) if self.runs.values().any(begun) => End::Partly,
            (true, _) => End::Nothing,
        }
    }
}

/// How a command about jobs ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Everywhere with success.
    Succeeded,
    /// No device has begun.
    Nothing,
    /// Some devices did not succeed.
    Partly,
    /// It goes on.
    Open,
    /// It was cancelled.
    Cancelled,
}

impl End {
    /// The end of two jobs together.
    pub fn and(self, other: Self) -> Self {
        match self.max(other) {
            Self::Nothing if self != other => Self::Partly,
            end => end,
        }
    }

    /// The exit status, as a failure with a sentence unless all succeeded.
    ///
    /// # Errors
    /// Not everything succeeded.
    pub fn verdict(self) -> Outcome {
        let (status, sentence) = match self {
            Self::Succeeded => return Ok(()),
            Self::Nothing => (1, "no device has begun"),
            Self::Partly => (3, "some devices did not succeed: `belay retry` orders it again for them"),
            Self::Open => (4, "it is not over: `belay job ID --follow` shows how it goes on"),
            Self::Cancelled => (130, "it was cancelled"),
        };
        Err(Failure::Job { status, sentence: sentence.to_owned() })
    }
}

fn understand(json: &[u8]) -> Outcome<Value> {
    serde_json::from_slice(json).during(not_understood)
}

fn not_understood() -> String {
    "the gateway's answer about the job is not understood".to_owned()
}

fn name(run: &Value) -> String {
    run.get("device").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "job/tests.rs"]
mod tests;
