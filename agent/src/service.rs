//! What the service manager is told: that we serve, that we live, what we do, that we stop (sd_notify(3)).
//!
//! Without a service manager (`NOTIFY_SOCKET` is not set) nothing is said. The unit is `belay-agent.service`.

use sd_notify::NotifyState;

/// We serve from now on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// We are about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// What we do now, in one line, for whoever asks the service manager.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Tells as often as the service manager's watchdog asks for that we live; does not come back. This runs where everything else
/// runs: when nothing is carried any more, neither is this, and we are started anew.
pub async fn keep_telling() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager could not be told anything: {error}");
    }
}
