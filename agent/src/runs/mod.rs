//! Runs: signed orders to run a signed script here, each carried from its offer to its proved end (P1, P2, P5).
//!
//! | file | what |
//! |---|---|
//! | `offered` | may it be taken: judged, and noted, refused or declined |
//! | `carry` | one run from its note to the moment it is forgotten |
//! | `start` | everything that must be right before the script starts |
//! | `process` | the running script: its time, its grant, its end |
//! | `output` | what it writes, into a file of a limited size |
//! | `upload` | how far that file is at the gateway |
//!
//! Not here: what the marks mean (`belay_agent_rules::run_ledger`), statements (`recorder`), streams (`quic`), files (`state`).

mod carry;
mod offered;
mod output;
mod process;
mod start;
pub(crate) mod upload;

use crate::{
    authority::Authority,
    limits::RUNS_OFFERED_MAX,
    recorder::Recorder,
    state::{
        Broken, StateDir, identity,
        runs::{Kept, RunFiles, remembers_since},
    },
    words::heard,
};
use belay_agent_rules::run_ledger::Found;
use belay_certs::{Id, PrivateKey, Timestamp};
use belay_protocol::ToGateway;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use upload::Progress;

/// The runs of this machine. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    /// Offers, in the order they came.
    offers: mpsc::Sender<Offered>,
    shared: Arc<Shared>,
}

/// An offer, and where a word that is no statement goes.
struct Offered {
    kept: Kept,
    answers: mpsc::Sender<ToGateway>,
}

/// What every run needs.
struct Shared {
    /// Says yes or no.
    authority: Arc<Authority>,
    /// Makes the marks, says intents and ends.
    recorder: Recorder,
    /// Every task is spawned here, so that stopping waits for it.
    tracker: TaskTracker,
    /// Cancelled when the agent stops.
    stop: CancellationToken,
    /// What is kept of each run.
    files: RunFiles,
    /// Opens the secrets that are encrypted to this machine.
    host_key: PrivateKey,
    /// Since when this machine remembers which orders it has seen.
    since: Timestamp,
    /// Every run that is not forgotten.
    runs: Mutex<BTreeMap<Id, Arc<Run>>>,
    /// Rises when a run is added.
    added: watch::Sender<u64>,
}

/// One run, as others see it.
pub(crate) struct Run {
    /// The order's id.
    pub(crate) order: Id,
    /// Why it was called off, once it was.
    called_off: watch::Sender<Option<String>>,
    /// How far its output is.
    pub(crate) progress: Progress,
}

impl Runs {
    /// Reads what the last run of the agent left, and starts the task that takes offers. Runs that were noted go on to wait for
    /// their proof; those that had started are said to be interrupted, and are never run again; the results of those that had
    /// ended are delivered.
    ///
    /// # Errors
    /// When the state directory cannot be read or written.
    pub async fn start(
        dir: &StateDir,
        authority: Arc<Authority>,
        recorder: Recorder,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, Broken> {
        let now = authority.clock().now();
        let (files, since) = (RunFiles::open(dir)?, remembers_since(dir, now)?);
        let host_key = identity::kept_host_key(dir)?;
        let found = recorder.runs_found(now).await;
        let known: Vec<Id> = found.iter().map(|(order, _)| *order).collect();
        files.sweep(&known)?;
        let (runs, added) = (Mutex::default(), watch::Sender::new(0));
        let shared = Arc::new(Shared { authority, recorder, tracker, stop, files, host_key, since, runs, added });
        for (order, found) in found {
            shared.resume(order, found).await;
        }
        let (offers, offered) = mpsc::channel(RUNS_OFFERED_MAX);
        shared.tracker.spawn(offered::attend(shared.clone(), offered));
        Ok(Self { offers, shared })
    }

    /// The gateway offers a run. Waits while too many offers wait.
    pub(crate) async fn offered(&self, offer: impl Into<Kept>, answers: mpsc::Sender<ToGateway>) {
        let _ = self.offers.send(Offered { kept: offer.into(), answers }).await;
    }

    /// The gateway calls a run off. One that is not known, or is over, is none to call off.
    pub(crate) fn cancelled(&self, order: Id, sentence: &str) {
        if let Some(run) = self.shared.run(order) {
            run.called_off.send_if_modified(|why| why.is_none() && why.replace(heard(sentence)).is_none());
        }
    }

    /// The gateway keeps so many bytes of a run's output.
    pub(crate) fn kept(&self, order: Id, offset: u64) {
        let Some(run) = self.shared.run(order) else { return };
        if let Err(ahead) = run.progress.keep(offset) {
            tracing::warn!(%order, "{ahead}");
        }
    }

    /// Every run that is not forgotten.
    pub(crate) fn all(&self) -> Vec<Arc<Run>> {
        self.shared.runs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Rises when a run is added.
    pub(crate) fn added(&self) -> watch::Receiver<u64> {
        self.shared.added.subscribe()
    }
}

impl Shared {
    fn run(&self, order: Id) -> Option<Arc<Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(&order).cloned()
    }

    /// Makes a run known to others.
    fn add(&self, order: Id) -> Arc<Run> {
        let run = Arc::new(Run { order, called_off: watch::Sender::new(None), progress: Progress::default() });
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(order, run.clone());
        self.added.send_modify(|count| *count += 1);
        run
    }

    /// The run is forgotten, or never was.
    fn remove(&self, order: Id) {
        if let Some(run) = self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&order) {
            run.progress.forget();
        }
        self.files.remove(order);
    }

    /// Goes on with a run that the last run of the agent left.
    async fn resume(self: &Arc<Self>, order: Id, found: Found) {
        let run = self.add(order);
        let shared = self.clone();
        match found {
            Found::Noted | Found::Expired => {
                let word = self.recorder.await_word(order).await;
                let kept: Result<Kept, Broken> = self.files.load(order);
                self.tracker.spawn(carry::noted(shared, run, kept, word));
            }
            Found::Interrupted => _ = self.tracker.spawn(carry::interrupted(shared, run)),
            Found::Ended { .. } => {
                carry::reopen(self, &run).await;
                let proved = self.recorder.await_end(order).await;
                self.tracker.spawn(carry::deliver(shared, run, proved));
            }
        }
    }
}

impl Run {
    /// Waits until it is called off, and returns why. Cancel-safe.
    async fn is_called_off(&self) -> String {
        let mut called_off = self.called_off.subscribe();
        let why = called_off.wait_for(Option::is_some).await.map(|why| why.clone());
        match why {
            Ok(why) => why.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
