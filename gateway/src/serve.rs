//! A gateway that serves: store, keys, doors, and the order in which they open and close.
//!
//! Start: lock, store, policies, addresses, `gateway.started`, doors. Stop: doors close, devices are told to drain, what is
//! under way ends, `gateway.stopped`, store. `kill -9` is the same path without its end: the next start reconciles.

use crate::{
    Gateway,
    act::{index, jobs, retention, room::Room, silence, strangers},
    admin::{
        directory::{Directory, Lock},
        {Operator, socket},
    },
    config::Config,
    limits::STOP_WAIT,
    quic, ssh,
    store::{LogKeys, Store},
    transport::Transport,
};
use anyhow::{Context, anyhow};
use belay_certs::{PrivateKey, Timestamp};
use belay_rules::{
    ask::Ask,
    event::What,
    {Draft, LogName},
};
use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{net::TcpListener, sync::Mutex, time::timeout};

/// How long the last packets to devices may take once every task has ended.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// A gateway whose doors are open.
pub struct Serving {
    gateway: Arc<Gateway>,
    ssh: SocketAddr,
    quic: SocketAddr,
    directory: Directory,
    /// Tells when the last packets have left; the door for devices has the rest of it.
    goodbye: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    _lock: Lock,
}

impl Serving {
    /// Opens the gateway in `directory`. When this returns, people and devices can connect.
    ///
    /// # Errors
    /// Another process holds the directory, a key is missing, the database does not fit its logs, or an address is taken.
    pub async fn start(directory: &Path, config: Config) -> anyhow::Result<Self> {
        let directory = Directory::new(directory);
        let lock = directory
            .try_lock()?
            .with_context(|| format!("another belay-gateway works in {}; only one may", directory.path().display()))?;
        crate::files::raise(config.limits.files())?;
        let (operator, host_key) = open(&directory, config).await?;
        let (gateway, config) = (Arc::clone(&operator.gateway), &operator.config);
        // Addresses first: a gateway that cannot be reached does not say that it started.
        let listen = config.ssh.listen;
        let people = TcpListener::bind(listen).await.with_context(|| format!("TCP {listen} cannot be listened on"))?;
        let (devices, socket) =
            quic::open(config.quic.listen, &gateway.transport, Arc::clone(&gateway.bulk), gateway.now())?;
        let commands = socket::open(&directory)?;
        let (ssh, quic) = (people.local_addr()?, devices.local_addr()?);
        // Whom the last run left behind: the record of this start forgets it.
        let sleepers = quic::nudge::sleepers(&gateway, gateway.now()).await?;
        gateway.record(Ask::StartUp { version: env!("CARGO_PKG_VERSION").to_owned() }).await?;
        let endpoint = devices.clone();
        let goodbye = Box::pin(async move { endpoint.wait_idle().await });
        watched(&gateway, ssh::serve(Arc::clone(&gateway), people, host_key));
        watched(&gateway, quic::serve(Arc::clone(&gateway), devices));
        gateway.tracker.spawn(quic::nudge::wake(Arc::clone(&gateway), socket, sleepers));
        watched(&gateway, jobs::carry_out(Arc::clone(&gateway)));
        watched(&gateway, jobs::keep_pace(Arc::clone(&gateway)));
        watched(&gateway, index::keep_up(Arc::clone(&gateway)));
        watched(&gateway, retention::keep_to_it(Arc::clone(&gateway)));
        watched(&gateway, silence::give_up_all(Arc::clone(&gateway)));
        watched(&gateway, socket::serve(operator, commands));
        watched(&gateway, strangers::record_all(Arc::clone(&gateway)));
        watched(&gateway, disk_failed(Arc::clone(&gateway)));
        Ok(Self { gateway, ssh, quic, directory, goodbye, _lock: lock })
    }

    /// Where people come in: the configured address, with the port that was free when none was named.
    pub fn ssh(&self) -> SocketAddr {
        self.ssh
    }

    /// Where devices come in.
    pub fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// What it does, in one line, for the operator who asks the service manager.
    pub fn status(&self) -> String {
        format!(
            "serving people on {} and devices on {}; {} connected",
            self.ssh,
            self.quic,
            self.gateway.presence.count()
        )
    }

    /// Returns when a door has closed although nobody wanted it to.
    pub async fn failed(&self) {
        self.gateway.stop.cancelled().await;
    }

    /// Stops in good order and records why.
    ///
    /// # Errors
    /// When the end could not be recorded; everything is closed all the same.
    pub async fn stop(self, reason: &str) -> anyhow::Result<()> {
        let gateway = &self.gateway;
        gateway.stop.cancel();
        gateway.tracker.close();
        if timeout(STOP_WAIT, gateway.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = gateway.tracker.len(), "something did not end in time and is cut off");
        }
        let _ = timeout(GOODBYE_WAIT, self.goodbye).await;
        // Last, so that what was still said while the doors closed stands before it.
        let what = What::GatewayStopped { reason: reason.to_owned() };
        let recorded = gateway.record(Ask::Note(Draft::new(LogName::System, what))).await;
        gateway.store.close().await;
        let _ = std::fs::remove_file(self.directory.socket());
        recorded.map(|_| ()).context("the end was not recorded")
    }
}

/// The gateway of a directory that this process has locked, with no door open; and its host key.
pub(crate) async fn open(directory: &Directory, config: Config) -> anyhow::Result<(Arc<Operator>, PrivateKey)> {
    let host_key = directory.host_key()?;
    let transport = Transport::new(directory.transport_ca()?, &config.name, config.quic.certificate_life());
    let keys = LogKeys::new(directory.keys(), &config.name);
    let now = Timestamp::from_system(SystemTime::now());
    let store = Store::open(directory.path(), keys, now).await.map_err(|broken| anyhow!("the store: {broken}"))?;
    let room = Room::new(directory.path(), &config.recordings);
    let gateway = Gateway::new(store, transport, &config, room).await?;
    let host_public = host_key.public().clone();
    let directory = directory.clone();
    Ok((Arc::new(Operator { gateway, config, host_key: host_public, directory, keys: Mutex::default() }), host_key))
}

/// Ends when the store records nothing any more, or the gateway stops.
async fn disk_failed(gateway: Arc<Gateway>) {
    gateway.stop.run_until_cancelled(gateway.store.over()).await;
}

/// Runs a part of the gateway. When it ends by itself, or panics, the whole gateway stops: half a gateway would look alive.
fn watched(gateway: &Gateway, part: impl Future<Output = ()> + Send + 'static) {
    let stop_all = gateway.stop.clone().drop_guard();
    gateway.tracker.spawn(async move {
        part.await;
        drop(stop_all);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::entry::Entry;

    fn directory() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::new(temporary.path());
        directory.make(&Config::local(), Timestamp::from_system(SystemTime::now())).unwrap();
        (temporary, directory)
    }

    #[tokio::test]
    async fn a_part_that_ends_or_panics_stops_the_whole_gateway() {
        let parts: [fn(); 2] = [|| {}, || panic!("ordered by the test")];
        for part in parts {
            let (_temporary, directory) = directory();
            let (operator, _) = open(&directory, Config::local()).await.unwrap();
            watched(&operator.gateway, async move { part() });
            operator.gateway.stop.cancelled().await;
        }
    }

    #[tokio::test]
    async fn a_gateway_whose_address_is_taken_does_not_say_that_it_started() {
        let (_temporary, directory) = directory();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::local();
        config.ssh.listen = taken.local_addr().unwrap();
        let error = Serving::start(directory.path(), config).await.err().unwrap();
        assert!(error.to_string().contains("cannot be listened on"), "{error}");
        let (operator, _) = open(&directory, Config::local()).await.unwrap();
        let entries = operator.gateway.store.entries(&LogName::System, 0, u64::MAX).await.unwrap();
        let kinds: Vec<String> = entries.iter().map(|bytes| Entry::parse(bytes).unwrap().kind).collect();
        assert_eq!(kinds, ["log.started"]);
    }

    #[tokio::test]
    async fn what_a_gateway_that_was_killed_left_behind_does_not_keep_the_next_one_away() {
        let (_temporary, directory) = directory();
        std::fs::write(directory.path().join("lock"), "").unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.socket()).unwrap());
        let serving = Serving::start(directory.path(), Config::local()).await.unwrap();
        serving.stop("the test is over").await.unwrap();
    }
}
