//! The jobs under way: orders that were recorded, offered to their devices in turn, until nothing more is waited for.
//!
//! One task owns them all (`desk`); everybody else tells it what happened. What may start is judged in the store, with the log;
//! here is only who is asked next, and when to give up waiting. Killed at any moment, the next start reads the same jobs from
//! the tables, and offers again what was offered: a device answers the same twice and runs nothing twice (P5).

mod declined;
mod desk;
mod frozen;
mod offered;
mod pace;
mod printed;
mod turns;
mod under_way;

pub(crate) use offered::Prepared;
pub(crate) use pace::keep_pace;
pub(crate) use printed::Listener;

use crate::{Gateway, limits, store::Recorded};
use belay_certs::{DeviceAddress, DeviceName, Fault, Id, Invalid, PersonRef, TenantName, order::Outcome};
use belay_rules::submission::Submission;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Whose job, and which.
pub(crate) type JobKey = (TenantName, Id);

/// What a device said of a run, once it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It starts.
    Started,
    /// It is over, or never began.
    Ended(Outcome),
}

/// What the desk is told.
enum Told {
    /// An order came, checked.
    Submit { submission: Box<Submission>, prepared: Box<Prepared>, answer: oneshot::Sender<Result<Recorded, Invalid>> },
    /// A person calls a job off.
    Cancel { key: JobKey, by: PersonRef, answer: oneshot::Sender<Result<usize, Invalid>> },
    /// An approved device came, or went.
    Moved(DeviceAddress),
    /// A device said something of its run.
    Said { tenant: TenantName, device: DeviceName, order: Id, said: Said },
}

/// The way to the desk, and what watches it.
pub(crate) struct Jobs {
    told: mpsc::Sender<Told>,
    /// Until the desk takes it.
    inbox: Mutex<Option<mpsc::Receiver<Told>>>,
    /// Rung when something of a job changed; jobs that are over have none.
    watched: Mutex<HashMap<JobKey, watch::Sender<u64>>>,
    /// Who follows what runs print.
    listeners: printed::Listeners,
    /// How many offers may be unanswered.
    pace: pace::Paced,
}

impl Default for Jobs {
    fn default() -> Self {
        let (told, inbox) = mpsc::channel(limits::JOBS_TOLD_MAX);
        Self {
            told,
            inbox: Mutex::new(Some(inbox)),
            watched: Mutex::default(),
            listeners: printed::Listeners::default(),
            pace: pace::Paced::default(),
        }
    }
}

impl Jobs {
    /// Makes a checked order a job, and begins it.
    ///
    /// # Errors
    /// When there are too many jobs, its id is taken, or it could not be recorded.
    pub(crate) async fn submit(&self, submission: Submission, prepared: Prepared) -> Result<Recorded, Invalid> {
        let (answer, answered) = oneshot::channel();
        let (submission, prepared) = (Box::new(submission), Box::new(prepared));
        self.tell(Told::Submit { submission, prepared, answer }).await;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Calls a job off; how many runs had started and were told.
    ///
    /// # Errors
    /// When there is no such job under way, or it could not be recorded.
    pub(crate) async fn cancel(&self, key: JobKey, by: PersonRef) -> Result<usize, Invalid> {
        let (answer, answered) = oneshot::channel();
        self.tell(Told::Cancel { key, by, answer }).await;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// An approved device came, or went, or its statements continue the log no more, or again.
    pub(crate) async fn moved(&self, device: DeviceAddress) {
        self.tell(Told::Moved(device)).await;
    }

    /// A device said something of its run, and that is recorded.
    pub(crate) async fn said(&self, tenant: TenantName, device: DeviceName, order: Id, said: Said) {
        self.tell(Told::Said { tenant, device, order, said }).await;
    }

    /// Rung when something of the job changed; `None` when it is not under way.
    pub(crate) fn watch(&self, key: &JobKey) -> Option<watch::Receiver<u64>> {
        self.watched().get(key).map(watch::Sender::subscribe)
    }

    async fn tell(&self, told: Told) {
        // The desk goes only when the gateway does.
        let _ = self.told.send(told).await;
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<JobKey, watch::Sender<u64>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: JobKey) {
        self.watched().entry(key).or_insert_with(|| watch::Sender::new(0));
    }

    fn ring(&self, key: &JobKey) {
        if let Some(bell) = self.watched().get(key) {
            bell.send_modify(|count| *count += 1);
        }
    }

    fn end(&self, key: &JobKey) {
        self.watched().remove(key);
    }

    fn inbox(&self) -> Option<mpsc::Receiver<Told>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Carries out every job until the gateway stops. When those under way cannot be read it ends, and the gateway with it.
pub(crate) async fn carry_out(gateway: Arc<Gateway>) {
    let Some(inbox) = gateway.jobs.inbox() else { return };
    match desk::Desk::open(Arc::clone(&gateway)).await {
        Ok(desk) => _ = gateway.stop.run_until_cancelled(desk.run(inbox)).await,
        Err(broken) => tracing::error!("the jobs under way cannot be carried on: {broken}"),
    }
}

fn stopping() -> Invalid {
    Invalid::new(
        Fault::Spent,
        "the gateway is stopping; look with `belay jobs` whether the job is there, then try again",
    )
}
