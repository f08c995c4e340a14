//! The loop that keeps one connection to the gateway: dial, hello, serve, and again with growing waits.
//!
//! It ends when the agent stops, after the sessions on it have ended and said so.

use super::{
    control::{self, Control, random},
    endpoint::{Dial, Dialled, dial},
    frames::Ended,
    output, recording, renewal, stream,
};
use crate::{device::Device, limits::*, service, state::identity::Identity};
use belay_agent_rules::{Backoff, backoff::share};
use belay_protocol::{ALPN, CloseCode, MINOR_OF_RECORDINGS, Welcome};
use quinn::{Connection, ConnectionError, VarInt};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How one connection ended, and so how long to wait.
#[derive(Debug)]
enum Outcome {
    /// The agent stops.
    Stopped,
    /// No gateway was reached at any address.
    Unreached,
    /// The gateway at this place in the policy's list was reached and gave no welcome.
    Unwelcome(usize),
    /// The gateway at this place did not take our certificate.
    CertificateRefused(usize),
    /// The connection was lost; it had lasted this long.
    Lost(Duration),
    /// The gateway asked to come back at a random moment within a time.
    Drained {
        /// How long the connection had lasted.
        lasted: Duration,
        /// The time.
        within: Duration,
    },
    /// Another agent with this machine's identity took the place.
    Replaced,
    /// The gateway proved that it does not know the connection: it was restarted.
    Restarted,
}

/// What the loop remembers from one connection to the next.
struct Course {
    /// The waits.
    backoff: Backoff,
    /// Where in the policy's list of addresses the next round begins.
    first: usize,
}

/// Keeps the tunnel until `device.stop` is cancelled and the sessions have ended.
pub async fn run(device: Arc<Device>, identity: Arc<Identity>) {
    let mut course = Course::new();
    loop {
        let outcome = once(&device, &identity, course.first).await;
        if let Outcome::CertificateRefused(at) = outcome {
            tokio::select! {
                biased;
                () = device.stop.cancelled() => return,
                () = come_back(&device, &identity, at) => {}
            }
        }
        let Some(wait) = course.after(outcome, random()) else { return };
        service::status(&format!("not connected to the gateway; the next try is in {} s", wait.as_secs() + 1));
        tokio::select! {
            biased;
            () = device.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Gets the next certificate in time from the gateway at place `at` of the policy's list.
async fn keep_fresh(device: &Device, identity: &Identity, at: usize) -> Ended {
    match device.authority.gateway().addresses.get(at) {
        Some(address) => renewal::keep_fresh(device, identity, address).await,
        None => std::future::pending().await,
    }
}

/// Gets a certificate that the gateway takes, proven by the host key. The next connection shows it.
async fn come_back(device: &Device, identity: &Identity, at: usize) {
    let gateway = device.authority.gateway();
    let Some(address) = gateway.addresses.get(at) else { return };
    match renewal::renew(device, identity, address).await {
        Ok(()) => {
            tracing::info!("the gateway did not take the old transport certificate; it gave a new one to the host key")
        }
        Err(why) => tracing::warn!("{address} did not take the transport certificate, and gave no new one: {why}"),
    }
}

impl Course {
    fn new() -> Self {
        Self { backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_MAX), first: 0 }
    }

    /// How long to wait after a connection that ended so; `None` to stop. Only one that lasted ends the backing off, or a
    /// gateway that drains at once would be called again at once, for ever.
    fn after(&mut self, outcome: Outcome, random: u64) -> Option<Duration> {
        self.first = match outcome {
            Outcome::Unwelcome(at) => at.saturating_add(1),
            Outcome::CertificateRefused(at) => at,
            Outcome::Stopped | Outcome::Unreached | Outcome::Lost(_) | Outcome::Drained { .. } => 0,
            Outcome::Replaced | Outcome::Restarted => 0,
        };
        match outcome {
            Outcome::Stopped => None,
            Outcome::Unreached | Outcome::Unwelcome(_) | Outcome::CertificateRefused(_) => {
                Some(self.backoff.next(random))
            }
            Outcome::Replaced => {
                tracing::error!("another agent with this machine's identity took its place: is the machine a clone?");
                Some(REPLACED_WAIT + share(REPLACED_WAIT, random))
            }
            // Once for each start of the gateway, however short it was.
            Outcome::Restarted => {
                self.backoff.reset();
                Some(self.backoff.next(random))
            }
            Outcome::Lost(lasted) => {
                self.lasted(lasted);
                Some(self.backoff.next(random))
            }
            Outcome::Drained { lasted, within } => match self.lasted(lasted) {
                true => Some(share(within, random)),
                false => Some(share(within, random).max(self.backoff.next(random))),
            },
        }
    }

    /// Whether a connection lasted long enough to end the backing off.
    fn lasted(&mut self, lasted: Duration) -> bool {
        let long = lasted >= BACKOFF_RESET;
        if long {
            self.backoff.reset();
        }
        long
    }
}

/// One connection from dial to end; the addresses are tried from `first` on.
async fn once(device: &Arc<Device>, identity: &Identity, first: usize) -> Outcome {
    let (dialled, at) = tokio::select! {
        biased;
        () = device.stop.cancelled() => return Outcome::Stopped,
        reached = reach(device, identity, first) => match reached {
            Some(reached) => reached,
            None => return Outcome::Unreached,
        },
    };
    let greeted = tokio::select! {
        biased;
        () = device.stop.cancelled() => None,
        greeted = control::greet(&dialled.connection, device) => Some(greeted),
    };
    let (outcome, code) = match greeted {
        None => (Outcome::Stopped, CloseCode::Finished),
        Some(Err(ended)) if renewal::certificate_refused(&dialled.connection) => {
            tracing::debug!("the certificate was refused: {ended}");
            (Outcome::CertificateRefused(at), CloseCode::Finished)
        }
        Some(Err(ended)) => (judge(&dialled.connection, &ended, Outcome::Unwelcome(at)), ended.close_code()),
        Some(Ok((control, welcome))) => {
            announce(device, &dialled.connection, &welcome);
            device.recordings.connected(welcome.minor >= MINOR_OF_RECORDINGS);
            serve(device, identity, &dialled, at, control).await
        }
    };
    // Before the closing words, which may take a moment: who waits for a proof hears at once that none will come.
    device.recorder.disconnected().await;
    dialled.close(code).await;
    outcome
}

/// Tries every gateway address that the policy names, in order from `first` on. Returns which one it was.
async fn reach(device: &Device, identity: &Identity, first: usize) -> Option<(Dialled, usize)> {
    let gateway = device.authority.gateway();
    let shown = identity.transport();
    let count = gateway.addresses.len();
    for at in (0..count).map(|step| (first % count + step) % count) {
        let Some(address) = gateway.addresses.get(at) else { continue };
        let with = Dial { address, transport_ca: &gateway.transport_ca, alpn: ALPN, shown: Some(&shown) };
        match dial(&with).await {
            Ok(dialled) => return Some((dialled, at)),
            Err(unreached) => tracing::warn!("{unreached}"),
        }
    }
    None
}

/// Serves the connection until it ends by itself or is to be given up.
async fn serve(
    device: &Arc<Device>,
    identity: &Identity,
    Dialled { connection, nudged, .. }: &Dialled,
    at: usize,
    control: Control,
) -> (Outcome, CloseCode) {
    let (began, sessions) = (Instant::now(), Sessions::new(connection.clone()));
    let (drain, drained) = watch::channel(None);
    let ended = tokio::select! {
        biased;
        // A stop waits for the ends of sessions; those still need the control stream, so `leave` comes back only after them.
        left = leave(device, &sessions, drained) => {
            let lasted = began.elapsed();
            let outcome = left.map_or(Outcome::Stopped, |within| Outcome::Drained { lasted, within });
            return (outcome, CloseCode::Finished);
        }
        ended = control.run(device, drain, nudged) => ended,
        ended = keep_fresh(device, identity, at) => ended,
        ended = sessions.accept(device) => ended,
        ended = output::upload(connection, device) => ended,
        ended = recording::upload(connection, &device.recordings) => ended,
    };
    (judge(connection, &ended, Outcome::Lost(began.elapsed())), ended.close_code())
}

fn announce(device: &Device, connection: &Connection, welcome: &Welcome) {
    let (address, gateway) = (device.authority.address(), connection.remote_address());
    tracing::info!(device = %address, %gateway, gateway_version = welcome.gateway_version, "connected to the gateway");
    service::status(&format!("connected to the gateway at {gateway} as {address}"));
    if welcome.state == Welcome::PENDING && !device.authority.approved() {
        tracing::info!(device = %address, "pending: someone with `enrol` runs `belay approve {address}`");
    }
    for warning in device.authority.warnings() {
        tracing::warn!("{warning}");
    }
}

/// Comes back when the connection is to be given up from this side, after the sessions had time to end: the agent stops, or the
/// gateway drains, and is to be called again within the time returned.
async fn leave(
    device: &Device,
    sessions: &Sessions,
    mut drained: watch::Receiver<Option<Duration>>,
) -> Option<Duration> {
    tokio::select! {
        biased;
        () = device.stop.cancelled() => {
            device.tracker.close();
            let _ = tokio::time::timeout(STOP_WAIT, device.tracker.wait()).await;
            let settled = async { tokio::join!(device.recorder.settled(), device.recordings.settled()) };
            let _ = tokio::time::timeout(SETTLE_WAIT, settled).await;
            None
        }
        within = drain_asked(&mut drained) => {
            tracing::info!(within_ms = within.as_millis() as u64, "the gateway is about to stop");
            let _ = tokio::time::timeout(within.min(DRAIN_WAIT_MAX), sessions.idle()).await;
            Some(within)
        }
    }
}

async fn drain_asked(drained: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match drained.wait_for(Option::is_some).await.map(|within| *within) {
        Ok(Some(within)) => within,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Why the connection ended, in the gateway's words where it gave any.
fn judge(connection: &Connection, ended: &Ended, otherwise: Outcome) -> Outcome {
    let code = match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(close)) => CloseCode::from_code(close.error_code.into_inner()),
        Some(ConnectionError::Reset) => {
            tracing::warn!("the gateway was restarted");
            return Outcome::Restarted;
        }
        Some(_) | None => None,
    };
    match code {
        Some(CloseCode::Replaced) => return Outcome::Replaced,
        Some(code) => tracing::warn!(code = code.name(), "the gateway closed the connection: {code}"),
        None => tracing::warn!("the connection to the gateway ended: {ended}"),
    }
    otherwise
}

/// The session streams of one connection.
struct Sessions {
    connection: Connection,
    /// How many are open.
    open: watch::Sender<u32>,
}

impl Sessions {
    fn new(connection: Connection) -> Self {
        Self { connection, open: watch::Sender::new(0) }
    }

    /// Hands every stream that the gateway opens to a task of its own.
    async fn accept(&self, device: &Arc<Device>) -> Ended {
        loop {
            let (send, recv) = match self.connection.accept_bi().await {
                Ok(stream) => stream,
                Err(error) => return Ended::lost(error),
            };
            let counted = Counted::new(self);
            let (device, connection) = (device.clone(), self.connection.clone());
            device.tracker.clone().spawn(async move {
                if let Err(misbehaved) = stream::serve(device, send, recv).await {
                    tracing::warn!("the gateway broke the protocol on a session stream: {misbehaved}");
                    let code = misbehaved.close_code();
                    connection.close(VarInt::from_u32(code.code()), code.meaning().as_bytes());
                }
                drop(counted);
            });
        }
    }

    /// Waits until no session is open.
    async fn idle(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// One open session stream. The gateway may open twice as many as are open, within the limits: quinn announces a new number
/// only when it is an eighth higher, so small steps would stop short.
struct Counted {
    connection: Connection,
    open: watch::Sender<u32>,
}

impl Counted {
    fn new(sessions: &Sessions) -> Self {
        let counted = Self { connection: sessions.connection.clone(), open: sessions.open.clone() };
        counted.open.send_modify(|open| *open = open.saturating_add(1));
        counted.allow();
        counted
    }

    fn allow(&self) {
        let twice = self.open.borrow().saturating_mul(2).next_power_of_two();
        let streams = twice.clamp(SESSIONS_IDLE, SESSIONS_MAX);
        self.connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
        self.allow();
    }
}

#[cfg(test)]
mod tests;
