//! What the service manager is told: that we serve, that we live, what we do, that we stop (sd_notify(3)).
//!
//! Without a service manager (`NOTIFY_SOCKET` is not set) nothing is said. The unit is `belay-gateway.service`.

use sd_notify::NotifyState;
use std::time::Duration;

/// How often the status is looked at when no watchdog is set: a person who reads it waits no longer.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// We serve from now on.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// We are about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells `status` whenever it changed and, as often as the service manager's watchdog asks for, that we live. This runs where
/// everything else runs: when nothing is carried any more, neither is this, and we are started anew.
pub async fn keep_telling(status: impl Fn() -> String) {
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(STATUS_EVERY, |limit| (limit / 3).min(STATUS_EVERY));
    let mut told = String::new();
    loop {
        let now = status();
        if now != told {
            tell(&[NotifyState::Status(&now)]);
            told = now;
        }
        if watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(every).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager could not be told anything: {error}");
    }
}
