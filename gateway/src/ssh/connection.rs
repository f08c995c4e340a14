//! One person's outer connection: login by key, jumps, commands, and everything that is refused on it.
//!
//! Wiring only: russh calls come in, acts and refusals go out.

use super::{
    execute,
    guard::Progress,
    jump::{self, Jump},
};
use crate::{
    Gateway,
    act::{
        access::{self, Caller, Target},
        shares::Counted,
        strangers,
    },
    limits,
    threshold::places::Place as WaitingPlace,
};
use belay_certs::PublicKey;
use belay_protocol::flow::{PARKED_BYTES, Pool, WINDOW_BYTES, Waiting};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet,
    server::{Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

/// What a person reads whose keys nobody here knows; a client shows it when it asks for an answer by keyboard.
const UNKNOWN: &str =
    "belay: none of your keys is known here. Ask for yours to be added to a person: `belay person add`.\n";

/// What a person reads when everybody's places are taken.
const FULL: &str = "belay: the gateway serves as many people as it may; try again later, or tell its operator";

/// What a person reads who has too many connections open.
const TOO_MANY: &str =
    "belay: you have as many connections open as one person may; end some, or let them share one (ControlMaster)";

/// Why nothing is forwarded here.
const NO_FORWARDS: &str = "the gateway forwards nothing but the way to a device";

/// Whether the login was made, for whoever would end the connection before.
pub(super) struct Login(watch::Receiver<bool>);

impl Login {
    /// Returns when no login was made until `deadline`; never when there was one.
    pub(super) async fn missed(&self, deadline: tokio::time::Instant) {
        let mut done = self.0.clone();
        if tokio::time::timeout_at(deadline, done.wait_for(|done| *done)).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when somebody else got the place before a login was made; never after one.
    pub(super) async fn displaced(&self, displaced: CancellationToken) {
        displaced.cancelled().await;
        if *self.0.borrow() {
            std::future::pending::<()>().await;
        }
    }
}

/// The state of one connection; lives in russh's own task.
pub(super) struct Connection {
    gateway: Arc<Gateway>,
    from: SocketAddr,
    /// Who logged in.
    caller: Option<Caller>,
    logged_in: watch::Sender<bool>,
    /// Its place among those that have not logged in.
    waits: Option<WaitingPlace>,
    /// Its place among those that have.
    stays: Option<(OwnedSemaphorePermit, Counted<String>)>,
    /// How far the login is.
    progress: Arc<Progress>,
    /// Whether the words for unknown keys were said.
    told: bool,
    /// Refusals recorded so far.
    refused: usize,
    /// Jumps and commands under way, with their input that waits.
    open: Places,
    /// What all its channels' bytes count in, with those of the person's other connections.
    pool: Arc<Pool>,
    /// Channels opened so far.
    opened: usize,
    /// Cancelled when the connection is gone.
    gone: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Connection {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        from: SocketAddr,
        (place, progress): (WaitingPlace, Arc<Progress>),
    ) -> (Self, Login) {
        let (logged_in, login) = watch::channel(false);
        let connection = Self {
            gateway,
            from,
            caller: None,
            logged_in,
            waits: Some(place),
            stays: None,
            progress,
            told: false,
            refused: 0,
            open: Places::default(),
            pool: Arc::default(),
            opened: 0,
            gone: CancellationToken::new(),
        };
        (connection, Login(login))
    }

    /// A key that some tenant's policy knows. Other keys are not accepted, so that a client goes on to its next one.
    fn known(&self, key: &russh::keys::PublicKey) -> Option<PublicKey> {
        let key = PublicKey::from_ssh(key).ok()?;
        (!self.gateway.book.tenants_of(&key).is_empty()).then_some(key)
    }

    /// One more jump or command; none when there are too many.
    fn enter(&mut self, channel: ChannelId) -> Option<Place> {
        self.opened += 1;
        let share = self.gateway.shares.channel(&self.caller.as_ref()?.key)?;
        let mut open = lock(&self.open);
        if open.len() >= limits::CHANNELS_PER_CONNECTION_MAX || self.opened > limits::CHANNELS_EVER_MAX {
            return None;
        }
        let waiting = Arc::new(Waiting::within(Arc::clone(&self.pool)));
        let answered = Arc::new(Notify::new());
        let running = Running { asked: false, answered: Arc::clone(&answered), waiting: Arc::clone(&waiting) };
        open.insert(channel, running);
        Some(Place { open: Arc::clone(&self.open), channel, answered, waiting, _share: share })
    }

    /// Cancelled when the connection is over; cancel it to end the connection.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// A channel's first request is carried out by its task, which speaks only after this answer; it gets no second one.
    fn begin(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let first = match lock(&self.open).get_mut(&channel) {
            Some(running) if !running.asked => {
                running.asked = true;
                Some(Arc::clone(&running.answered))
            }
            Some(_) | None => None,
        };
        let Some(answered) = first else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        answered.notify_one();
        Ok(())
    }

    /// Ends the connection when no tenant knows the key any more.
    fn watch_key(&self, caller: &Caller, handle: Handle) {
        let (gateway, key, gone) = (Arc::clone(&self.gateway), caller.key.clone(), self.gone.clone());
        self.gateway.tracker.spawn(async move {
            let mut changes = gateway.book.changes();
            loop {
                if gateway.book.tenants_of(&key).is_empty() {
                    // Devices end their sessions with words first.
                    tokio::time::sleep(limits::WITHDRAWAL_GRACE).await;
                    let sentence = "belay: no policy knows your key any more".to_owned();
                    let saying = handle.disconnect(russh::Disconnect::ByApplication, sentence, String::new());
                    let _ = tokio::time::timeout(limits::FAREWELL_WAIT, saying).await;
                    tokio::time::sleep(limits::FAREWELL_WAIT).await;
                    gone.cancel();
                    return;
                }
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    /// Something that this door never does was asked for: recorded, off the connection's loop, a bounded number of times.
    fn note_refused(&mut self, target: String, sentence: &'static str) {
        let Some(caller) = self.caller.clone() else { return };
        self.refused += 1;
        if self.refused > limits::REFUSALS_PER_CONNECTION_MAX {
            return;
        }
        let gateway = Arc::clone(&self.gateway);
        self.gateway
            .tracker
            .spawn(async move { access::note_refused_here(&gateway, &caller, &target, sentence).await });
    }
}

/// Channels under way, each with its input that waits.
type Places = Arc<Mutex<HashMap<ChannelId, Running>>>;

/// One channel.
struct Running {
    /// Whether it asked for something to run.
    asked: bool,
    /// Rung when that request was answered.
    answered: Arc<Notify>,
    /// Its input that waits.
    waiting: Arc<Waiting>,
}

fn lock(places: &Places) -> MutexGuard<'_, HashMap<ChannelId, Running>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A counted jump or command; dropped with its task.
struct Place {
    open: Places,
    channel: ChannelId,
    answered: Arc<Notify>,
    waiting: Arc<Waiting>,
    _share: Counted<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.channel);
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        if self.known(offer.public_key).is_some() {
            return Ok(Auth::Accept);
        }
        self.progress.refuse();
        let methods = MethodSet::from([MethodKind::PublicKey, MethodKind::KeyboardInteractive].as_slice());
        Ok(Auth::Reject { proceed_with_methods: Some(methods), partial_success: false })
    }

    async fn auth_publickey(&mut self, _user: &str, verified: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        match self.known(verified.public_key) {
            Some(key) => {
                self.caller = Some(Caller { key, address: self.from.to_string() });
                Ok(Auth::Accept)
            }
            None => Ok(Auth::reject()),
        }
    }

    /// No password is ever asked for: this only shows one sentence to a person whose keys are unknown.
    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        self.progress.refuse();
        if response.is_some() || self.told {
            return Ok(Auth::reject());
        }
        self.told = true;
        let asked = Instant::now();
        strangers::turn_away(&self.gateway, asked, format!("{} unknown keys", self.from)).await;
        Ok(Auth::Partial { name: Cow::Borrowed(""), instructions: Cow::Borrowed(UNKNOWN), prompts: Cow::Borrowed(&[]) })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        let Ok(stays) = Arc::clone(&self.gateway.people).try_acquire_owned() else {
            return session.disconnect(russh::Disconnect::TooManyConnections, FULL, "");
        };
        let Some(share) = self.caller.as_ref().and_then(|caller| self.gateway.shares.connection(&caller.key)) else {
            return session.disconnect(russh::Disconnect::TooManyConnections, TOO_MANY, "");
        };
        self.stays = Some((stays, share));
        self.pool = self.caller.as_ref().map(|caller| self.gateway.shares.pool(&caller.key)).unwrap_or_default();
        self.progress.log_in();
        self.logged_in.send_replace(true);
        self.waits = None;
        self.gateway.threshold.welcome(self.from.ip(), Instant::now());
        if let Some(caller) = &self.caller {
            let (from, key) = (self.from, caller.key.fingerprint());
            if self.gateway.shares.login_line(&caller.key) {
                tracing::info!(%from, %key, "login");
            } else {
                tracing::debug!(%from, %key, "login");
            }
            self.watch_key(caller, session.handle());
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (Some(caller), Some(place)) = (self.caller.clone(), self.enter(channel.id())) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        // Accepted even when it will be refused: only then can the person be told why.
        reply.accept().await;
        let target = Target { host: host.to_owned(), port };
        let (gateway, gone) = (Arc::clone(&self.gateway), self.gone.clone());
        self.gateway.tracker.spawn(async move {
            let jump = Jump { channel, waiting: Arc::clone(&place.waiting), target };
            jump::serve(gateway, caller, jump, gone).await;
            drop(place);
        });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (Some(caller), Some(place)) = (self.caller.clone(), self.enter(channel.id())) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        reply.accept().await;
        let (gateway, gone) = (Arc::clone(&self.gateway), self.gone.clone());
        self.gateway.tracker.spawn(async move {
            tokio::select! {
                () = execute::serve(gateway, caller, channel, (&place.answered, &place.waiting)) => {}
                () = gone.cancelled() => {}
            }
            drop(place);
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.begin(channel, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.note_refused("a shell on the gateway".to_owned(), execute::NO_SHELL);
        self.begin(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let target = format!("subsystem {} on the gateway", name.escape_debug());
        self.note_refused(target, execute::NO_SUBSYSTEM);
        self.begin(channel, session)
    }

    /// A terminal is of no use here, and refusing it would only hide the words that follow.
    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.note_refused("X11 on the gateway".to_owned(), NO_FORWARDS);
        session.channel_failure(channel)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, russh::Error> {
        self.note_refused("ssh-agent on the gateway".to_owned(), NO_FORWARDS);
        Ok(false)
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, russh::Error> {
        self.note_refused(format!("listen on the gateway, {}:{port}", address.escape_debug()), NO_FORWARDS);
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, path: &str, _: &mut Session) -> Result<bool, russh::Error> {
        self.note_refused(format!("listen on the gateway, {}", path.escape_debug()), NO_FORWARDS);
        Ok(false)
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        self.note_refused(format!("a socket of the gateway, {}", path.escape_debug()), NO_FORWARDS);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), russh::Error> {
        let waiting = lock(&self.open).get(&channel).map(|running| Arc::clone(&running.waiting));
        let Some(waiting) = waiting else { return Ok(()) };
        waiting.arrived(data.len());
        if data.len() <= PARKED_BYTES as usize && waiting.credit() == PARKED_BYTES {
            // A parked client drips as fast as the network goes round; this is fast enough.
            tokio::time::sleep(limits::DRIP).await;
        }
        Ok(())
    }

    /// The credit that the next channel gets; see `belay_protocol::flow`.
    fn adjust_window(&mut self, channel: ChannelId, _current: u32) -> u32 {
        lock(&self.open).get(&channel).map_or(WINDOW_BYTES, |running| running.waiting.credit())
    }
}
