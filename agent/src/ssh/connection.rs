//! One person's SSH connection: login by key, channels, and everything that is refused on it.
//!
//! Wiring only: russh calls come in, sessions and refusals go out.

use crate::{
    device::Device,
    limits::{
        CHANNELS_EVER_MAX, CHANNELS_MAX, DRIP, FORWARDS_REFUSED_MAX, LAST_WORDS, LOGIN_WAIT, USER_CHARACTERS_MAX,
    },
    session::{self, Caller, Opened},
};
use belay_certs::{Id, PublicKey};
use belay_protocol::{
    flow::{PARKED_BYTES, WINDOW_BYTES, Waiting},
    session::Open,
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty,
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether the login was made, for its deadline.
pub(crate) struct Login(watch::Receiver<bool>);

impl Login {
    /// Returns when no login was made within [`LOGIN_WAIT`]; never when there was one.
    pub(crate) async fn missed(mut self) {
        let done = tokio::time::timeout(LOGIN_WAIT, self.0.wait_for(|done| *done)).await.is_ok();
        if done {
            std::future::pending::<()>().await;
        }
    }
}

/// The state of one connection; lives in russh's own task.
pub(crate) struct Connection {
    device: Arc<Device>,
    access: Id,
    /// Cancelled when the connection is gone.
    gone: CancellationToken,
    /// Cancelled when somebody ended it at the gateway.
    ended: CancellationToken,
    /// Who logged in.
    caller: Option<Caller>,
    /// Told once.
    logged_in: watch::Sender<bool>,
    /// Channels whose task has not ended, with their input that waits.
    channels: Channels,
    /// Channels opened so far: russh remembers a little of each for as long as the connection lives.
    opened: usize,
    /// Refused forwards so far.
    forwards_refused: usize,
}

/// The channels of a connection: removed by their own tasks.
type Channels = Arc<Mutex<HashMap<ChannelId, Running>>>;

/// One channel.
struct Running {
    /// Whether it asked for a program; it gets one.
    started: bool,
    /// Its input that waits.
    waiting: Arc<Waiting>,
}

impl Connection {
    pub(crate) fn new(
        device: Arc<Device>,
        open: &Open,
        (gone, ended): (CancellationToken, CancellationToken),
    ) -> (Self, Login) {
        let (logged_in, login) = watch::channel(false);
        let (access, channels) = (Id(open.access), Channels::default());
        let connection =
            Self { device, access, gone, ended, caller: None, logged_in, channels, opened: 0, forwards_refused: 0 };
        (connection, Login(login))
    }

    /// Ends the whole connection when the person has nothing left on this machine.
    fn watch_person(&self, caller: &Caller, session: &Session) {
        let (device, key) = (Arc::clone(&self.device), caller.key.clone());
        let (gone, handle) = (self.gone.clone(), session.handle());
        let mut changes = device.authority.changes();
        self.device.tracker.spawn(async move {
            let refusal = loop {
                if let Err(refusal) = device.authority.knows(&key) {
                    break refusal;
                }
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(device.authority.clock().to_next_minute()) => {}
                }
            };
            // The sessions say their own last words first; a client that does not listen is cut off all the same.
            tokio::time::sleep(LAST_WORDS).await;
            let sentence = format!("belay: {refusal}");
            let saying = handle.disconnect(russh::Disconnect::ByApplication, sentence, String::new());
            let _ = tokio::time::timeout(LAST_WORDS, saying).await;
            tokio::time::sleep(LAST_WORDS).await;
            gone.cancel();
        });
    }

    /// A second program on one channel, or one before login, is refused.
    fn begin(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let first = match self.channels().get_mut(&channel) {
            Some(running) => !std::mem::replace(&mut running.started, true),
            None => false,
        };
        if first { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    /// Recorded like any refusal, off the connection's loop; a client that goes on asking is not worth a record each.
    fn refuse_forward(&mut self, target: String) {
        let Some(caller) = self.caller.clone() else { return };
        self.forwards_refused += 1;
        if self.forwards_refused > FORWARDS_REFUSED_MAX {
            return;
        }
        let device = Arc::clone(&self.device);
        self.device.tracker.spawn(async move {
            session::refused_forward(&device, &caller, &target, "forwards are not supported yet").await;
        });
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<ChannelId, Running>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(match self.identify(user, offer.public_key) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(&mut self, user: &str, verified: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.caller = self.identify(user, verified.public_key);
        Ok(if self.caller.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        self.logged_in.send_replace(true);
        if let Some(caller) = &self.caller {
            tracing::info!(person = %caller.person, account = %caller.account, access = %caller.access, "login");
            self.watch_person(caller, session);
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(caller) = self.caller.clone() else { return Ok(()) };
        self.opened += 1;
        if self.channels().len() >= CHANNELS_MAX || self.opened > CHANNELS_EVER_MAX {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        reply.accept().await;
        let (id, waiting) = (channel.id(), Arc::new(Waiting::default()));
        self.channels().insert(id, Running { started: false, waiting: Arc::clone(&waiting) });
        let opened = Opened { channel, connection: session.handle(), waiting, gone: self.gone.clone() };
        let (serving, channels) =
            (session::serve(Arc::clone(&self.device), caller, opened), Arc::clone(&self.channels));
        self.device.tracker.spawn(async move {
            serving.await;
            channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        self.refuse_forward(format!("{}:{port}", host.escape_debug()));
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        self.refuse_forward(path.escape_debug().to_string());
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, russh::Error> {
        self.refuse_forward(format!("listen on {}:{port}", address.escape_debug()));
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, path: &str, _: &mut Session) -> Result<bool, russh::Error> {
        self.refuse_forward(format!("listen on {}", path.escape_debug()));
        Ok(false)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, russh::Error> {
        self.refuse_forward("ssh-agent".to_owned());
        Ok(false)
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
        self.refuse_forward("X11".to_owned());
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if session::accepts_variable(name, value) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.begin(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.begin(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.begin(channel, session)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), russh::Error> {
        let waiting = self.channels().get(&channel).map(|running| Arc::clone(&running.waiting));
        let Some(waiting) = waiting else { return Ok(()) };
        waiting.arrived(data.len());
        if data.len() <= PARKED_BYTES as usize && waiting.credit() == PARKED_BYTES {
            // A parked client drips as fast as the network goes round; this is fast enough.
            tokio::time::sleep(DRIP).await;
        }
        Ok(())
    }

    /// The credit that the next channel gets; see `belay_protocol::flow`.
    fn adjust_window(&mut self, channel: ChannelId, _current: u32) -> u32 {
        self.channels().get(&channel).map_or(WINDOW_BYTES, |running| running.waiting.credit())
    }
}

impl Connection {
    /// Whose key this is; `None` lets the client try its next one. What they may do is asked for each channel, so that a
    /// no can be said and recorded.
    fn identify(&self, user: &str, key: &russh::keys::PublicKey) -> Option<Caller> {
        let key = PublicKey::from_ssh(key).ok()?;
        let person = self.device.authority.person(&key)?;
        let account = user.chars().take(USER_CHARACTERS_MAX).collect();
        Some(Caller { key, person, account, access: self.access, ended: self.ended.clone() })
    }
}
