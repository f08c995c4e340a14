//! The relay: lets devices in from outside, lets people through to them, and records every step before it happens.
//!
//! Doors (`quic/`, `ssh/`) turn bytes into an ask, the rules (`belay-rules`) turn an ask into events or a refusal, [`store`]
//! makes the events durable, and only then something is done (`act/`, `relay/`). Doors never call doors; this file alone
//! sees all. The gateway holds no key that a device obeys (P2).
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod act;
pub mod admin;
mod archive;
mod book;
pub mod config;
mod files;
mod limits;
mod quic;
mod relay;
#[cfg(test)]
mod scene;
#[cfg(test)]
#[path = "../../fuzz/src/seeded.rs"]
mod seeded;
pub mod serve;
pub mod service;
mod ssh;
pub mod store;
mod threshold;
mod transport;

use act::access::Accesses;
use belay_certs::{Fault, Invalid, TenantName, Timestamp};
use belay_protocol::PolicyBytes;
use belay_rules::{Ask, DeviceState, Draft};
use book::Book;
use quic::noise::Noise;
use relay::presence::Presence;
use std::{
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};
use store::{Broken, RecordError, Recorded, Standing, Store, Urgency};
use threshold::Threshold;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use transport::Transport;

/// Everything the doors share.
pub struct Gateway {
    /// What is durable.
    store: Store,
    /// The policies in force.
    book: Book,
    /// Which devices are connected.
    presence: Presence,
    /// Whether a session carries much to a device.
    bulk: Arc<relay::bulk::Bulk>,
    /// Which outer connections are open.
    accesses: Accesses,
    /// What each may take of the gateway.
    shares: act::shares::Shares,
    /// How long nothing may be heard of a session to which the way is gone, before nothing is waited for.
    silence: Duration,
    /// Room for recordings.
    room: act::room::Room,
    /// What recordings show, to be searched.
    indexes: act::index::Indexes,
    /// The orders that are carried out.
    jobs: act::jobs::Jobs,
    /// Who was turned away without being known.
    strangers: act::strangers::Strangers,
    /// Makes transport certificates.
    transport: Transport,
    /// What each device may still make us write of its faults.
    noise: Noise,
    /// Who may stand at the door for people, and how often.
    threshold: Threshold,
    /// Places for people who have logged in.
    people: Arc<Semaphore>,
    /// Counts machines that asked to join, for whoever waits for the next.
    joined: watch::Sender<u64>,
    /// Turns of handshakes under way.
    handshakes: Semaphore,
    /// Those of them whose caller has not proved its address.
    unproved: Arc<Semaphore>,
    /// Every task of the gateway.
    tracker: TaskTracker,
    /// The one signal to stop.
    stop: CancellationToken,
    /// This gateway, for tasks that outlive whoever asked for them.
    itself: Weak<Self>,
}

impl Gateway {
    /// A gateway on this store. Every policy is verified again from version 0: the database is not believed.
    ///
    /// # Errors
    /// When the store cannot be read or holds a chain that does not verify.
    pub(crate) async fn new(
        store: Store,
        transport: Transport,
        config: &config::Config,
        room: act::room::Room,
    ) -> anyhow::Result<Arc<Self>> {
        let chains = act::policies::load(&store).await?;
        Ok(Arc::new_cyclic(|itself| Self {
            silence: config.recordings.silence(),
            store,
            book: Book::new(chains),
            presence: Presence::default(),
            bulk: Arc::default(),
            accesses: Accesses::default(),
            shares: act::shares::Shares::default(),
            room,
            indexes: act::index::Indexes::default(),
            jobs: act::jobs::Jobs::default(),
            strangers: act::strangers::Strangers::default(),
            transport,
            noise: Noise::default(),
            threshold: Threshold::new(&config.limits),
            people: Arc::new(Semaphore::new(config.limits.connections)),
            handshakes: Semaphore::new(limits::HANDSHAKES_MAX),
            unproved: Arc::new(Semaphore::new(limits::UNPROVED_MAX)),
            joined: watch::Sender::new(0),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            itself: Weak::clone(itself),
        }))
    }

    /// The gateway's clock: only ever a reason to refuse.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_system(std::time::SystemTime::now())
    }

    /// The one way anything changes. Whoever is too loud waits here.
    ///
    /// On the heap: an ask is large, and the task of every idle device would keep room for one.
    pub(crate) fn record(&self, ask: Ask) -> Pin<Box<impl Future<Output = Result<Recorded, RecordError>> + Send>> {
        self.record_with(ask, Urgency::CanWait)
    }

    /// The same, also for what cannot wait for others.
    pub(crate) fn record_with(
        &self,
        ask: Ask,
        urgency: Urgency,
    ) -> Pin<Box<impl Future<Output = Result<Recorded, RecordError>> + Send>> {
        Box::pin(async move {
            self.shares.event(&ask).await;
            self.store.record_with(ask, urgency, self.now()).await
        })
    }

    /// Records something that permits nothing; a failure is logged here, for nobody waits for it.
    pub(crate) async fn note(&self, draft: Draft) {
        if let Err(error) = self.record(Ask::Note(draft)).await {
            tracing::error!("an event was not recorded: {error}");
        }
    }

    /// Runs `work` to its end even when whoever waits for it goes away halfway: what is durable must come into force.
    pub(crate) async fn carry_through<T, W>(&self, work: impl FnOnce(Arc<Self>) -> W) -> Result<T, Invalid>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Invalid>> + Send + 'static,
    {
        let gateway = self.itself.upgrade().ok_or_else(|| broken(&"the gateway is gone"))?;
        self.tracker.spawn(work(gateway)).await.map_err(|error| broken(&error))?
    }

    /// Why a device may not be connected, if so: it was revoked, or another machine got its name.
    pub(crate) fn barred(&self, Standing { address, state, record }: &Standing) -> Option<String> {
        if *state == DeviceState::Replaced {
            return Some(format!(
                "device {address} was replaced or left behind; let the machine `belay-agent forget --tenant {}` and join again",
                address.tenant
            ));
        }
        let (serial, _) = (*record)?;
        let chain = self.book.chain(&address.tenant)?;
        let version = chain.version();
        let revoked = chain.policy().devices.revoked.contains(&serial);
        revoked.then(|| format!("device {address} (serial {serial}) is revoked by policy version {version}"))
    }

    /// The signed policies of a tenant from a version on, as a device is sent them: one page, empty behind the newest.
    pub(crate) async fn policies_from(&self, tenant: &TenantName, from: u64) -> Result<Vec<PolicyBytes>, Broken> {
        let Some(rows) = self.store.tenant(tenant) else { return Ok(Vec::new()) };
        let policies = act::policies::page(&rows, from).await?;
        let bytes = (from..).zip(policies).map(|(version, signed)| PolicyBytes {
            tenant: tenant.to_string(),
            version,
            bytes: signed.bytes,
            signatures: signed.signatures,
        });
        Ok(bytes.collect())
    }
}

/// A fault of ours that an outsider must not see in detail.
pub(crate) fn broken(error: &dyn std::fmt::Display) -> Invalid {
    tracing::error!("{error}");
    Invalid::new(
        Fault::Malformed,
        "the gateway cannot record or read this just now, so nothing was done; try again later, its operator finds why in the log",
    )
}
