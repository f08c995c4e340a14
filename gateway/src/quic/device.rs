//! One device's connection: hello, welcome, then what either side has to say, until it ends.
//!
//! Not here: what the device lacks (`offers.rs`) and what it states (`statements.rs`).

use super::{
    frames::{self, Ended, Frames},
    offers::{self, Held},
    outputs,
    recordings::Remembered,
    statements,
};
use crate::{
    Gateway,
    act::jobs::Said,
    limits,
    relay::presence::{NotPresent, Online, Step, close},
    store::{RecordError, Standing},
    threshold::places::Place,
};
use belay_certs::{DeviceAddress, Id, PublicKey, order::Outcome, transport};
use belay_protocol::{
    CloseCode, GatewayPhase, Hello, RunDeclined, StatementMade, ToAgent, ToGateway, Welcome, decode_frame, minor_spoken,
};
use belay_rules::{Ask, DeviceState, Draft, LogName, Refusal, What};
use quinn::{Connection, SendStream};
use rustls::pki_types::CertificateDer;
use std::{pin::Pin, sync::Arc, time::Instant};
use tokio::sync::{Notify, mpsc};

/// Why a device is sent away that did too much that must be recorded.
const TOO_LOUD: &str = "too much of what it said was wrong or turned down; it may come back later";

/// Why a connection ends: what the device is told, and what the log says.
pub(super) struct Ending {
    code: CloseCode,
    why: String,
}

impl Ending {
    pub(super) fn new(code: CloseCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    /// Nobody broke a rule: one side just has no more to say.
    pub(super) fn lost(why: impl Into<String>) -> Self {
        Self::new(CloseCode::Finished, why)
    }

    fn broken(error: &dyn std::fmt::Display) -> Self {
        Self::new(CloseCode::Broken, error.to_string())
    }
}

impl From<Ended> for Ending {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Misbehaved(wrong) => Self::new(wrong.close_code(), wrong.to_string()),
            Ended::Lost(why) => Self::lost(why),
        }
    }
}

/// What the connection's tasks share.
pub(super) struct Link {
    pub(super) gateway: Arc<Gateway>,
    /// The join id of the device's transport certificate.
    pub(super) join: Id,
    /// What the device was called at its hello.
    pub(super) address: DeviceAddress,
    /// Its host key: what its statements are signed with.
    pub(super) host_key: PublicKey,
    /// Rung when its row changed.
    pub(super) news: Arc<Notify>,
    /// How far its recordings have come.
    pub(super) recordings: Remembered,
    /// To the control stream.
    to_agent: mpsc::Sender<Box<ToAgent>>,
}

/// Who calls.
struct Caller {
    /// The join id of the device's transport certificate.
    join: Id,
    /// The device as it stood when it called.
    standing: Standing,
    /// Its host key.
    host_key: PublicKey,
}

/// The control stream, once hello was heard on it.
struct Control {
    hello: Hello,
    send: SendStream,
    incoming: Frames<GatewayPhase>,
}

/// Serves a device until its connection ends; then its absence is recorded.
pub(crate) async fn serve(gateway: Arc<Gateway>, quic: Connection, place: Place) {
    // Each stage on the heap: the task of an idle device has room for its last one alone.
    let admitted = Box::pin(place.displaced().run_until_cancelled(admit(&gateway, &quic))).await;
    drop(place);
    let busy = || Err(Ending::new(CloseCode::Busy, "it made room for another before its hello"));
    let arrived = match admitted.unwrap_or_else(busy) {
        Ok((caller, control)) => Box::pin(arrive(&gateway, &quic, caller, control)).await,
        Err(ending) => Err(ending),
    };
    match arrived {
        Ok(visit) => visit.run(&gateway, &quic).await,
        Err(ending) => {
            say_not_admitted(&gateway, &quic, &ending);
            close(&quic, ending.code);
        }
    }
}

/// A line for the first few and then one in a while: a device can call as fast as it likes, and callers without a
/// certificate are one caller here.
fn say_not_admitted(gateway: &Gateway, quic: &Connection, ending: &Ending) {
    let (join, from) = (join_id(quic).unwrap_or(Id([0; 16])), quic.remote_address());
    if gateway.noise.lines.take(join, Instant::now()) {
        tracing::info!(%from, %join, "a device was not admitted: {}", ending.why);
    } else {
        tracing::debug!(%from, %join, "a device was not admitted: {}", ending.why);
    }
}

/// Certificate, row, hello: everything that must be right before the device counts as connected.
async fn admit(gateway: &Gateway, quic: &Connection) -> Result<(Caller, Control), Ending> {
    let join = join_id(quic).ok_or_else(|| Ending::new(CloseCode::NotAdmitted, "no certificate of a device"))?;
    let row = gateway.store.device_by_join(join).await.map_err(|error| Ending::broken(&error))?;
    let row = row.ok_or_else(|| Ending::new(CloseCode::NotAdmitted, format!("no device joined under {join}")))?;
    let host_key = row.host_key().map_err(|error| Ending::broken(&error))?;
    let caller = Caller { join, standing: row.standing(), host_key };
    drop(row);
    if let Some(reason) = gateway.barred(&caller.standing) {
        return Err(turn_away(gateway, quic, &caller, reason).await);
    }
    if gateway.noise.complaints.is_spent(join, Instant::now()) {
        return Err(Ending::new(CloseCode::Busy, TOO_LOUD));
    }
    let hearing = tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, hear_hello(quic));
    let control = match gateway.stop.run_until_cancelled(hearing).await {
        Some(Ok(heard)) => heard?,
        Some(Err(_)) => return Err(Ending::new(CloseCode::TooSlow, "no hello came in time")),
        None => return Err(Ending::new(CloseCode::Draining, "the gateway stopped")),
    };
    minor_spoken(control.hello.minor).map_err(Ended::from)?;
    Ok((caller, control))
}

/// A known device may not come in. One that keeps calling is recorded once in a while.
async fn turn_away(gateway: &Gateway, quic: &Connection, caller: &Caller, reason: String) -> Ending {
    if gateway.noise.turned_away.take(caller.join, Instant::now()) {
        let address = quic.remote_address().to_string();
        let what = What::DeviceRefused { join: caller.join, address, reason: reason.clone() };
        let DeviceAddress { device, tenant } = caller.standing.address.clone();
        gateway.note(Draft::new(LogName::Tenant(tenant), what).on(device)).await;
    }
    Ending::new(CloseCode::NotAdmitted, reason)
}

fn too_loud(join: Id) -> Ending {
    tracing::warn!(%join, "a device did too much that must be recorded as wrong");
    Ending::new(CloseCode::Busy, TOO_LOUD)
}

/// A device's time here, from the record that it connected to the record that it left.
struct Visit {
    join: Id,
    connection: Id,
    /// The version of its tenant's policy that it said it holds when it came.
    held: Option<u64>,
    /// All that is said.
    talking: Talking,
}

/// A conversation, and why it ended.
type Talking = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// The record that it connected, and its place among the devices that are here.
async fn arrive(gateway: &Arc<Gateway>, quic: &Connection, caller: Caller, control: Control) -> Result<Visit, Ending> {
    let (connection, turn) = connect(gateway, quic, &caller, &control.hello).await?;
    let held = held(&caller, &control.hello);
    let Caller { join, standing, host_key } = caller;
    let news = Arc::new(Notify::new());
    let (to_agent, out) = mpsc::channel(limits::TO_AGENT_QUEUE_MAX);
    let online = Online {
        to_agent: to_agent.clone(),
        connection,
        turn,
        address: standing.address.clone(),
        approved: standing.state == DeviceState::Approved,
        minor: control.hello.minor,
        step: Step::In,
        held,
        news: Arc::clone(&news),
        quic: quic.clone(),
    };
    let over = |code, why: &str| -> Talking { Box::pin(std::future::ready(Ending::new(code, why))) };
    let talking = match gateway.presence.arrive(join, online) {
        Ok(()) => {
            let address = standing.address.clone();
            let (gateway, recordings) = (Arc::clone(gateway), Remembered::default());
            let link = Link { gateway, join, address, host_key, news, recordings, to_agent };
            Box::pin(talk(link, quic.clone(), standing, control, out))
        }
        Err(NotPresent::Full) => over(CloseCode::Busy, "the gateway serves as many devices as it can"),
        Err(NotPresent::Older) => over(CloseCode::Replaced, "a newer connection took its place"),
    };
    Ok(Visit { join, connection, held, talking })
}

impl Visit {
    /// Carries it to its end, and records that.
    async fn run(self, gateway: &Gateway, quic: &Connection) {
        let Self { join, connection, held, talking } = self;
        let ending = talking.await;
        close(quic, ending.code);
        let called = gateway.presence.called(join);
        let left = gateway.presence.leave(join, connection);
        if let Some(address) = called {
            gateway.jobs.moved(address).await;
        }
        let held = left.or(held);
        tracing::info!(%join, "a device's connection ended: {}", ending.why);
        match gateway.record(Ask::Disconnect { join, connection, reason: ending.why, held }).await {
            // Its end stands in the log since a newer one came.
            Ok(_) | Err(RecordError::Refused(Refusal::NotConnected { .. })) => {}
            Err(error) => tracing::error!(%join, "a device's end of connection was not recorded: {error}"),
        }
    }
}

/// Records that the device is here: the connection's id, and the turn that says so.
async fn connect(gateway: &Gateway, quic: &Connection, caller: &Caller, hello: &Hello) -> Result<(Id, u64), Ending> {
    if !gateway.noise.visits.take(caller.join, Instant::now()) {
        return Err(Ending::new(CloseCode::Busy, "it connects too often; it may come back later"));
    }
    let connection = Id::random().map_err(|error| Ending::broken(&error))?;
    let ask = Ask::Connect {
        join: caller.join,
        connection,
        address: quic.remote_address().to_string(),
        version: hello.agent_version.clone(),
        held: held(caller, hello),
    };
    match gateway.record(ask).await {
        Ok(recorded) => Ok((connection, recorded.turn)),
        Err(RecordError::Refused(refusal)) => Err(turn_away(gateway, quic, caller, refusal.to_string()).await),
        Err(RecordError::Broken(error)) => Err(Ending::broken(&error)),
    }
}

/// The version of its own tenant's policy that a device says it holds.
fn held(caller: &Caller, hello: &Hello) -> Option<u64> {
    let own = hello.policies.iter().find(|held| held.tenant == caller.standing.address.tenant.as_str())?;
    // A number that no policy has is nothing held.
    i64::try_from(own.version).is_ok().then_some(own.version)
}

async fn hear_hello(quic: &Connection) -> Result<Control, Ended> {
    let (send, recv) = quic.accept_bi().await.map_err(|error| Ended::Lost(error.to_string()))?;
    let mut incoming = Frames::new(recv, GatewayPhase::AwaitingHello);
    let hello = decode_frame(&incoming.next().await?)?;
    Ok(Control { hello, send, incoming })
}

/// The conversation after hello; returns why it ended.
async fn talk(
    link: Link,
    quic: Connection,
    standing: Standing,
    Control { hello, send, incoming }: Control,
    out: mpsc::Receiver<Box<ToAgent>>,
) -> Ending {
    let link = Arc::new(link);
    let held = Held::new(standing, hello);
    let (statements, to_record) = mpsc::channel(limits::STATEMENTS_QUEUE_MAX);
    tokio::select! {
        error = quic.closed() => Ending::lost(error.to_string()),
        ending = say(send, out, &link.gateway) => ending,
        ending = hear(&link, incoming, statements) => ending,
        ending = statements::record_all(Arc::clone(&link), to_record) => ending,
        ending = offers::offer(&link, held) => ending,
        ending = outputs::take_all(&link, &quic) => ending,
        ending = overdue(&link.gateway) => ending,
    }
}

/// A stop waits this long for a device to take its farewell.
async fn overdue(gateway: &Gateway) -> Ending {
    gateway.stop.cancelled().await;
    tokio::time::sleep(limits::FAREWELL_WAIT).await;
    stopped()
}

fn stopped() -> Ending {
    Ending::new(CloseCode::Draining, "the gateway stopped")
}

/// Writes what is queued, in order, and at a stop the farewell.
async fn say(mut send: SendStream, mut out: mpsc::Receiver<Box<ToAgent>>, gateway: &Gateway) -> Ending {
    loop {
        let message = tokio::select! {
            message = out.recv() => message,
            () = gateway.stop.cancelled() => {
                let drain = ToAgent::Drain(belay_protocol::Drain { within_ms: limits::DRAIN_MS });
                if let Ok(frame) = drain.encode() {
                    let _ = frames::write(&mut send, &frame).await;
                    let _ = send.finish();
                    let _ = send.stopped().await;
                }
                return stopped();
            }
        };
        let Some(message) = message else { return Ending::lost("nobody has anything to say") };
        match message.encode() {
            Ok(frame) => {
                if let Err(ended) = frames::write(&mut send, &frame).await {
                    return ended.into();
                }
            }
            Err(error) => tracing::error!("a message to a device could not be written: {error}"),
        }
    }
}

/// Reads what the device says until the stream ends or it misbehaves.
async fn hear(link: &Link, mut incoming: Frames<GatewayPhase>, statements: mpsc::Sender<Box<StatementMade>>) -> Ending {
    loop {
        let heard = match incoming.next().await {
            Ok(frame) => ToGateway::decode(&frame).map_err(Ended::from),
            Err(ended) => Err(ended),
        };
        match heard {
            Ok(Some(message)) => {
                if let Err(ending) = Box::pin(take(link, message, &statements)).await {
                    return ending;
                }
            }
            Ok(None) => tracing::debug!(join = %link.join, "a frame of an unknown kind was skipped"),
            Err(ended) => return ended.into(),
        }
    }
}

async fn take(link: &Link, message: ToGateway, statements: &mpsc::Sender<Box<StatementMade>>) -> Result<(), Ending> {
    match message {
        ToGateway::StatementMade(made) => {
            statements.send(Box::new(made)).await.map_err(|_| Ending::lost("the statements' queue ended"))?;
        }
        ToGateway::PolicyTaken(taken) => {
            tracing::debug!(join = %link.join, tenant = %taken.tenant, version = taken.version, "policy taken");
            if taken.tenant == link.address.tenant.as_str() && i64::try_from(taken.version).is_ok() {
                link.gateway.presence.took(link.join, taken.version);
            }
        }
        ToGateway::PolicyRefused(refused) => {
            link.complain()?;
            let what = What::PolicyRefused {
                version: refused.version,
                digest: belay_certs::Digest(refused.digest),
                sentence: refused.sentence,
            };
            link.gateway.note(link.draft(what)).await;
        }
        ToGateway::RecordTaken(taken) => {
            if link.gateway.noise.lines.take(link.join, Instant::now()) {
                tracing::info!(join = %link.join, serial = taken.serial, "the device holds its record");
            }
        }
        ToGateway::RecordRefused(refused) => {
            link.complain()?;
            tracing::warn!(join = %link.join, serial = refused.serial, "the device refused its record: {}", refused.sentence);
        }
        ToGateway::RunDeclined(declined) => {
            link.complain()?;
            Box::pin(link.declined(declined)).await;
        }
        ToGateway::Hello(_) => return Err(Ending::new(CloseCode::OutOfPhase, "a second hello")),
    }
    Ok(())
}

impl Link {
    fn draft(&self, what: What) -> Draft {
        let now = self.gateway.presence.called(self.join).unwrap_or_else(|| self.address.clone());
        Draft::new(LogName::Tenant(now.tenant), what).on(now.device)
    }

    /// The device takes no order that it was offered: recorded, and its run waits for nothing more.
    async fn declined(&self, declined: RunDeclined) {
        let DeviceAddress { device, tenant } =
            self.gateway.presence.called(self.join).unwrap_or_else(|| self.address.clone());
        let order = Id(declined.order);
        let ask = Ask::DeclineRun {
            tenant: tenant.clone(),
            device: device.clone(),
            order,
            digest: belay_certs::Digest(declined.digest),
            sentence: declined.sentence,
        };
        match self.gateway.record(ask).await {
            Ok(_) => self.gateway.jobs.said(tenant, device, order, Said::Ended(Outcome::Refused)).await,
            Err(error) => tracing::error!(join = %self.join, "a declined order was not recorded: {error}"),
        }
    }

    /// One more thing that the device did wrong or turned down; too many end the connection, so that none fills the disk.
    pub(super) fn complain(&self) -> Result<(), Ending> {
        match self.gateway.noise.complaints.take(self.join, Instant::now()) {
            true => Ok(()),
            false => Err(too_loud(self.join)),
        }
    }

    /// Queues a message, and waits while the queue is full: [`say`] gives up on a device that takes nothing.
    pub(super) async fn send(&self, message: ToAgent) -> Result<(), Ending> {
        self.to_agent.send(Box::new(message)).await.map_err(|_| Ending::lost("the control stream ended"))
    }

    pub(super) async fn welcome(&self, approved: bool) -> Result<(), Ending> {
        let state = if approved { Welcome::APPROVED } else { Welcome::PENDING };
        let welcome = Welcome {
            minor: belay_protocol::MINOR,
            gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            now_micros: self.gateway.now().micros(),
            extensions: belay_protocol::Extensions::default(),
        };
        self.send(ToAgent::Welcome(welcome)).await
    }
}

fn join_id(quic: &Connection) -> Option<Id> {
    let identity = quic.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    transport::client_id(chain.first()?).ok()
}

#[cfg(test)]
pub(super) mod tests;
