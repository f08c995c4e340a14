//! The agent while it serves: puts the parts together, keeps the clock's mark, and takes them apart in order.

use crate::{
    accounts,
    authority::Authority,
    device::Device,
    limits::{CLOCK_MARK_EVERY, FILE_SESSIONS_MAX, STOP_WAIT},
    quic::tunnel,
    recorder::Recorder,
    recording::Recordings,
    runs::Runs,
    service,
    state::{
        Broken, StateDir,
        clock::Clock,
        forgetting,
        identity::{self, Identity, Pin},
    },
};
use std::{path::Path, sync::Arc};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// It never joined.
    #[error("this machine has not joined: get a token from `belay token` and run `belay-agent join --token-file FILE`")]
    NotJoined,
    /// The state directory was made on another machine.
    #[error(
        "the state was made on another machine (the machine id differs), so this one must ask anew: get a token for {0} and \
         run `belay-agent join --token-file FILE`"
    )]
    Cloned(belay_certs::TenantName),
    /// The machine failed us.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The system gives no signals.
    #[error("the agent cannot hear when it is told to stop: {0}")]
    Deaf(#[from] std::io::Error),
}

/// Everything that runs, opened and not yet connected.
pub struct Agent {
    /// What sessions need.
    pub device: Arc<Device>,
    /// What the gateway is shown.
    identity: Arc<Identity>,
    /// The recorder's task, which outlives the sessions.
    recording: TaskTracker,
    /// Kept open: it holds the lock.
    _dir: StateDir,
}

impl Agent {
    /// Opens the state directory at `state`, verifies it, and starts the recorder and what carries runs.
    ///
    /// # Errors
    /// [`CannotRun`].
    pub async fn open(state: &Path) -> Result<Self, CannotRun> {
        let dir = StateDir::open(state)?;
        forgetting::finish(&dir)?;
        let pin = Pin::load(&dir)?.ok_or(CannotRun::NotJoined)?;
        if pin.machine != identity::machine_id() {
            return Err(CannotRun::Cloned(pin.tenant));
        }
        let host_key = identity::kept_host_key(&dir)?;
        let identity = Arc::new(Identity::open(&dir, pin.join)?);
        let clock = Arc::new(Clock::open(dir.at("clock"))?);
        let authority = Arc::new(Authority::open(&dir, pin, host_key.public().clone(), clock)?);
        let recording = TaskTracker::new();
        let recorder = Recorder::start(&dir, authority.clone(), host_key.clone(), &recording)?;
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let file_sessions = Arc::new(Semaphore::new(FILE_SESSIONS_MAX));
        let runs = Runs::start(&dir, authority.clone(), recorder.clone(), tracker.clone(), stop.clone()).await?;
        let recordings = Recordings::new(authority.clone(), host_key.clone());
        let device = Arc::new(Device { authority, recorder, recordings, runs, host_key, tracker, file_sessions, stop });
        Ok(Self { device, identity, recording, _dir: dir })
    }

    /// Serves until `device.stop` is cancelled; then sessions end, say so, and what they said is durable on return.
    ///
    /// Cut off half-way (`kill -9`): the outbox holds what was said, and the next start ends what was open.
    pub async fn serve(self) {
        let device = self.device;
        tracing::info!(device = %device.authority.address(), version = crate::authority::AGENT_VERSION, "the agent starts");
        for (tenant, version, digest) in device.authority.policies() {
            tracing::info!(%tenant, version, %digest, "holding a policy");
        }
        tokio::join!(tunnel::run(device.clone(), self.identity), keep_clock(&device));
        device.tracker.close();
        if tokio::time::timeout(STOP_WAIT, device.tracker.wait()).await.is_err() {
            tracing::warn!(sessions = device.tracker.len(), "some sessions did not end in time");
        }
        device.recordings.close().await;
        device.recorder.close().await;
        self.recording.close();
        self.recording.wait().await;
        tracing::info!("the agent stopped");
    }
}

/// Serves the machine whose state is at `state` until SIGTERM or SIGINT.
///
/// # Errors
/// [`CannotRun`].
pub async fn run(state: &Path) -> Result<(), CannotRun> {
    let agent = Agent::open(state).await?;
    tracing::info!("serving {}", accounts::what_is_served());
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = agent.device.stop.clone();
    let told = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("told to stop");
        service::stopping();
        stop.cancel();
    };
    service::ready("the state is loaded; connecting to the gateway");
    tokio::select! {
        ((), ()) = async { tokio::join!(agent.serve(), told) } => {}
        () = service::keep_telling() => {}
    }
    Ok(())
}

/// Keeps the clock's high-water mark from the start on and every minute.
async fn keep_clock(device: &Device) {
    loop {
        let clock = device.authority.clock().clone();
        match tokio::task::spawn_blocking(move || clock.keep_mark()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the clock's mark could not be kept: {error}"),
            Err(error) => tracing::error!("the clock's mark could not be kept: {error}"),
        }
        tokio::select! {
            biased;
            () = device.stop.cancelled() => return,
            () = tokio::time::sleep(CLOCK_MARK_EVERY) => {}
        }
    }
}
