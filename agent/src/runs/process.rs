//! A running script: its time, its grant, whoever calls it off, and the one way each of them ends.
//!
//! Not here: starting it (`start`), what it writes (`output`).

use super::{Run, Shared, output::Keeper};
use crate::{
    limits::{RUN_CANCEL_GRACE, RUN_DEAD_WAIT, RUN_DRAIN, RUN_TIMEOUT_GRACE, STANDING_EVERY},
    spawn::{self, Leader, Running},
    state::runs::Kept,
};
use belay_certs::{
    order::{Outcome, Permit},
    statement::{RunEnd, word},
};
use nix::sys::signal::Signal;
use rustix::process::{Pid, kill_process_group};
use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};
use tokio::{process::Child, time::Instant};
use tokio_util::sync::CancellationToken;

/// What the log says of a run that the agent ended because it was told to stop.
const STOPPED: &str = "the agent was told to stop";

/// A script that was started, and what it goes by.
pub(super) struct Process<'a> {
    pub(super) shared: &'a Shared,
    pub(super) run: &'a Run,
    /// What it is judged by as long as it runs.
    pub(super) permit: &'a Permit,
    pub(super) kept: &'a Kept,
}

/// Why a script is over.
enum Fate {
    /// By itself.
    Exited(ExitStatus),
    /// Its time was over; with its end, if that was seen.
    TimedOut(Option<ExitStatus>),
    /// It was called off; with its end, if that was seen.
    CalledOff(String, Option<ExitStatus>),
    /// Nobody can say: the system does not tell.
    Unknown(String),
}

impl Process<'_> {
    /// Follows the script to its end, and keeps what it writes. Of its session nothing is left on return.
    ///
    /// Cut off half-way (the agent dies): the script goes on or not, and the next start says `interrupted`.
    pub(super) async fn follow(&self, running: Running, keeper: Keeper) -> RunEnd {
        let Running { child, stdout, stderr } = running;
        let (began, leader) = (Instant::now(), child.id().unwrap_or_default());
        let (close, drained) = (CancellationToken::new(), CancellationToken::new());
        let (keeper, (fate, took)) = tokio::join!(
            async {
                let keeper = keeper.pump(stdout, stderr, &close).await;
                drained.cancel();
                keeper
            },
            async {
                let fate = self.fate(child, leader).await;
                let took = began.elapsed();
                // What a child still writes is heard for a while; one that stays does not keep the run.
                let _ = tokio::time::timeout(RUN_DRAIN, drained.cancelled()).await;
                end_session(leader, fate.leader()).await;
                close.cancel();
                (fate, took)
            },
        );
        let left = keeper.finish().await;
        self.run.progress.whole();
        let (outcome, status, reason) = fate.into_parts();
        let reasons: Vec<String> = reason.into_iter().chain(left.trouble).collect();
        RunEnd {
            order: self.run.order,
            outcome,
            exit: status.and_then(|status| status.code()).and_then(|code| u32::try_from(code).ok()),
            signal: status.and_then(|status| status.signal()).map(signal_name),
            reason: (!reasons.is_empty()).then(|| word(&reasons.join("; "))),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            output: left.digest,
            output_bytes: left.bytes,
            output_dropped: left.dropped,
        }
    }

    async fn fate(&self, mut child: Child, leader: u32) -> Fate {
        let timeout = Duration::from_secs(self.permit.timeout_seconds());
        let (why, grace) = tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => (Some(STOPPED.to_owned()), RUN_CANCEL_GRACE),
            refusal = self.lost() => (Some(refusal), RUN_CANCEL_GRACE),
            sentence = self.run.is_called_off() => (Some(sentence), RUN_CANCEL_GRACE),
            ended = child.wait() => return match ended {
                Ok(status) => Fate::Exited(status),
                Err(error) => Fate::Unknown(format!("the script's end could not be awaited: {error}")),
            },
            () = tokio::time::sleep(timeout) => (None, RUN_TIMEOUT_GRACE),
        };
        tracing::info!(order = %self.run.order, "a run is ended: {}", why.as_deref().unwrap_or("its time is over"));
        let status = end(&mut child, leader, grace).await;
        match why {
            Some(why) => Fate::CalledOff(why, status),
            None => Fate::TimedOut(status),
        }
    }

    /// Waits until the policies let it go on no more, and returns why.
    async fn lost(&self) -> String {
        let authority = &self.shared.authority;
        let mut changes = authority.changes();
        loop {
            if let Err(refusal) = authority.run_stands(self.permit, &self.kept.runbook) {
                return refusal;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = tokio::time::sleep(authority.clock().to_next_minute().min(STANDING_EVERY)) => {}
            }
        }
    }
}

impl Fate {
    /// Whether the leader was waited for.
    fn leader(&self) -> Leader {
        match self {
            Self::Exited(_) | Self::TimedOut(Some(_)) | Self::CalledOff(_, Some(_)) => Leader::Reaped,
            Self::TimedOut(None) | Self::CalledOff(_, None) | Self::Unknown(_) => Leader::Held,
        }
    }

    fn into_parts(self) -> (Outcome, Option<ExitStatus>, Option<String>) {
        match self {
            Self::Exited(status) if status.success() => (Outcome::Succeeded, Some(status), None),
            Self::Exited(status) => (Outcome::Failed, Some(status), None),
            Self::TimedOut(status) => (Outcome::TimedOut, status, None),
            Self::CalledOff(why, status) => {
                (Outcome::Cancelled, status, Some(if why.is_empty() { "it was called off".to_owned() } else { why }))
            }
            Self::Unknown(why) => (Outcome::Failed, None, Some(why)),
        }
    }
}

/// The word to end for the script's group, then the kill for its session.
async fn end(child: &mut Child, leader: u32, grace: Duration) -> Option<ExitStatus> {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, rustix::process::Signal::TERM);
    }
    if let Ok(ended) = tokio::time::timeout(grace, child.wait()).await {
        return ended.ok();
    }
    end_session(leader, Leader::Held).await;
    tokio::time::timeout(RUN_DEAD_WAIT, child.wait()).await.ok()?.ok()
}

/// Ends whatever is left of the script's session, off the runtime's threads: it looks at every process.
async fn end_session(leader: u32, held: Leader) {
    let _ = tokio::task::spawn_blocking(move || spawn::kill_session(leader, held)).await;
}

/// The name of a signal, without `SIG`.
fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
        Err(_) => number.to_string(),
    }
}
