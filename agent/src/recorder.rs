//! What this machine says is signed, durable here, and in the tenant's log before anything starts (P1).
//!
//! [`Recorder`] is how sessions and the tunnel speak with the one task that owns the outbox (`desk`). Not here: who may
//! (`authority`), the connection (`quic`).

mod desk;
mod owed;
mod proof;
pub(crate) mod runs;

use crate::{
    authority::Authority,
    limits::{PROVES_MAX, RECEIPT_WAIT, RECORDER_BATCH_MAX, RECORDER_CALLS_MAX},
    state::{Broken, StateDir, outbox::Outbox},
};
use belay_certs::{
    Id, PrivateKey,
    receipt::Permission,
    statement::{Body, Intent},
};
use belay_protocol::{ReceiptGiven, StatementRefused, ToGateway};
use desk::Desk;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// Signs, keeps and proves statements. Cheap to clone; all clones speak with one task.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Questions and news, in order.
    calls: mpsc::Sender<Call>,
    /// Intents that nobody waits for any more. A place is reserved before an intent is signed, so that its end is never lost.
    abandoned: mpsc::Sender<Abandoned>,
}

/// Why an action must not start. Nothing was started; where an intent was signed, its end follows in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// There is no connection to the gateway.
    #[error("the gateway is not connected, so nothing can be recorded; nothing was started")]
    Offline,
    /// The device has no record yet.
    #[error("this machine is not approved yet, so it cannot say anything that counts; nothing was started")]
    Pending,
    /// Too much waits for the gateway already.
    #[error("too many statements wait to be recorded by the gateway; nothing was started")]
    Full,
    /// No answer came in time.
    #[error("the gateway did not prove within {} s that this session is recorded; nothing was started", RECEIPT_WAIT.as_secs())]
    Late,
    /// An answer came and proves nothing: the sentence says what is wrong with it.
    #[error("the gateway's proof that this session is recorded does not hold; nothing was started: {0}")]
    Unproved(String),
    /// The gateway said no, in its own words.
    #[error("the gateway did not record this session; nothing was started: {0}")]
    Refused(String),
    /// It is in the log as withheld: the gateway knows somebody else at the outer door.
    #[error("the gateway withheld this session; nothing was started: {0}")]
    Withheld(String),
    /// It could not be signed or kept here.
    #[error("this machine could not record this session; nothing was started: {0}")]
    Broken(String),
}

/// Why a report is not in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// The device has no record yet.
    #[error("this machine is not approved yet, so it cannot say anything that counts")]
    Pending,
    /// Too much waits for the gateway already.
    #[error("too many statements wait to be recorded by the gateway")]
    Full,
    /// It could not be signed or kept here.
    #[error("this machine could not keep it: {0}")]
    Broken(String),
}

/// What the desk is told or asked.
#[derive(Debug)]
enum Call {
    /// Record this intent and prove it.
    Prove { intent: Box<Intent>, answer: oneshot::Sender<Result<Permission, NoProof>> },
    /// Record this, whenever the gateway is there.
    Report { body: Box<Body>, answer: oneshot::Sender<Result<(), NotKept>> },
    /// Statements go here from now on.
    Connected(mpsc::Sender<ToGateway>),
    /// They go nowhere.
    Disconnected,
    /// The gateway proved a statement.
    Receipt(Box<ReceiptGiven>),
    /// The gateway did not record a statement.
    Refused(StatementRefused),
    /// Something about a run.
    Run(runs::RunCall),
    /// What is the number of the last statement made?
    LastSeq(oneshot::Sender<u64>),
    /// Say when everything is in the log.
    Settled(oneshot::Sender<()>),
    /// Finish what was said before, and stop.
    Close(oneshot::Sender<()>),
}

/// A session whose intent was, or may have been, signed, and which does not start.
#[derive(Debug)]
struct Abandoned {
    session: Id,
    /// Why, as the log will say.
    reason: String,
}

impl Recorder {
    /// Opens the outbox and starts the task that owns it, on `tracker`.
    ///
    /// Sessions that the last run left without an end get one: not started if their intent was never proved here.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub fn start(
        dir: &StateDir,
        authority: Arc<Authority>,
        host_key: PrivateKey,
        tracker: &TaskTracker,
    ) -> Result<Self, Broken> {
        let desk = Desk::new(Outbox::open(dir.at("outbox"))?, authority, host_key);
        let (calls, called) = mpsc::channel(RECORDER_CALLS_MAX);
        let (abandoned, left) = mpsc::channel(PROVES_MAX);
        tracker.spawn(attend(desk, called, left));
        Ok(Self { calls, abandoned })
    }

    /// Records that a session is about to start and waits for the proof; only then may it start.
    ///
    /// Cut off half-way (the future is dropped): the intent may be in the log; its end, `not started`, follows by itself.
    ///
    /// # Errors
    /// [`NoProof`]: nothing may start. The end follows by itself here too.
    pub async fn prove(&self, intent: Intent) -> Result<Permission, NoProof> {
        let place = self.abandoned.clone().reserve_owned().await.map_err(|_| closed())?;
        let reason = "nobody waited for the proof any more".to_owned();
        let mut unclaimed = Unclaimed { place: Some(place), left: Abandoned { session: intent.session, reason } };
        let proved = tokio::time::timeout(RECEIPT_WAIT, self.ask(intent)).await.unwrap_or(Err(NoProof::Late));
        match &proved {
            Ok(_) => unclaimed.place = None,
            Err(no_proof) => unclaimed.left.reason = no_proof.to_string(),
        }
        proved
    }

    /// Records something that happened. It is durable here on return, and reaches the log in order, whenever that is.
    ///
    /// Cut off half-way: it is recorded or it is not.
    ///
    /// # Errors
    /// [`NotKept`]: it will not be in the log; only the end of an open session is kept in memory and tried again.
    pub async fn report(&self, body: Body) -> Result<(), NotKept> {
        let gone = || NotKept::Broken("the agent is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call::Report { body: Box::new(body), answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// There is a connection: everything that waits is sent again, in order. `to_gateway` must have room for
    /// [`belay_agent_rules::limits::IN_FLIGHT_MAX`] messages and carry nothing else.
    pub async fn connected(&self, to_gateway: mpsc::Sender<ToGateway>) {
        self.tell(Call::Connected(to_gateway)).await;
    }

    /// The connection is gone: who waits for a proof hears so at once.
    pub async fn disconnected(&self) {
        self.tell(Call::Disconnected).await;
    }

    /// The gateway sent a receipt; it is believed only as far as it proves itself.
    pub async fn receipt(&self, receipt: ReceiptGiven) {
        self.tell(Call::Receipt(Box::new(receipt))).await;
    }

    /// The gateway refused a statement.
    pub async fn refused(&self, refused: StatementRefused) {
        self.tell(Call::Refused(refused)).await;
    }

    /// The number of the last statement made; 0 for none.
    pub async fn last_seq(&self) -> u64 {
        let (answer, answered) = oneshot::channel();
        self.tell(Call::LastSeq(answer)).await;
        answered.await.unwrap_or(0)
    }

    /// Returns when nothing waits for a receipt any more, which may be never.
    pub async fn settled(&self) {
        let (answer, answered) = oneshot::channel();
        self.tell(Call::Settled(answer)).await;
        let _ = answered.await;
    }

    /// Returns when everything that was said before is durable; nothing is taken after it.
    pub async fn close(&self) {
        let (done, finished) = oneshot::channel();
        self.tell(Call::Close(done)).await;
        let _ = finished.await;
    }

    async fn ask(&self, intent: Intent) -> Result<Permission, NoProof> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call::Prove { intent: Box::new(intent), answer }).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// A desk that is gone needs no news.
    async fn tell(&self, call: Call) {
        let _ = self.calls.send(call).await;
    }
}

fn closed() -> NoProof {
    NoProof::Broken("the agent is stopping".to_owned())
}

/// While it lives, an intent may be signed whose proof nobody has taken; dropped with its place, the desk says so.
struct Unclaimed {
    place: Option<mpsc::OwnedPermit<Abandoned>>,
    left: Abandoned,
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let reason = std::mem::take(&mut self.left.reason);
            place.send(Abandoned { session: self.left.session, reason });
        }
    }
}

/// The task that owns the desk. Each round takes what is there into one durable write, off the runtime's threads.
///
/// It ends when it is told to close or nobody can speak to it any more; cut off between rounds nothing is lost.
async fn attend(mut desk: Desk, mut calls: mpsc::Receiver<Call>, mut abandoned: mpsc::Receiver<Abandoned>) {
    loop {
        let (mut said, mut left) = (Vec::new(), Vec::new());
        let (wake, sessions) = (desk.wake_at(), !abandoned.is_closed() || !abandoned.is_empty());
        tokio::select! {
            biased;
            _ = abandoned.recv_many(&mut left, PROVES_MAX), if sessions => {}
            taken = calls.recv_many(&mut said, RECORDER_BATCH_MAX) => if taken == 0 { return },
            () = sleep_until(wake), if wake.is_some() => {}
        }
        let round = tokio::task::spawn_blocking(move || {
            let closing = desk.round(said, left);
            (desk, closing)
        });
        match round.await {
            Ok((_, Some(done))) => {
                let _ = done.send(());
                return;
            }
            Ok((next, None)) => desk = next,
            Err(error) => {
                return tracing::error!("the recorder failed and nothing starts until the agent is restarted: {error}");
            }
        }
    }
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
