//! The transport CA in force, and the certificates it gives to this gateway and to devices.
//!
//! They carry no authority: a certificate only says which device is calling. Where the CA is kept: `admin/directory`.

use anyhow::Context;
use belay_certs::{
    Digest, Id, Invalid, Timestamp,
    transport::{Issued, TransportCa},
};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// The transport's certificates.
pub(crate) struct Transport {
    /// The name that devices see.
    name: String,
    /// How long a certificate lives, in the unit of [`Timestamp`].
    life: i64,
    /// The CA; replaced whole.
    ca: RwLock<Arc<TransportCa>>,
    /// Held while the CA is exchanged: one at a time.
    changing: Mutex<()>,
    /// Counts the exchanges.
    changed: watch::Sender<u64>,
}

impl Transport {
    /// The transport of the gateway called `name`, whose certificates live as long as `life`.
    pub(crate) fn new(ca: TransportCa, name: &str, life: i64) -> Self {
        Self {
            name: name.to_owned(),
            life,
            ca: RwLock::new(Arc::new(ca)),
            changing: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// The CA in force.
    pub(crate) fn ca(&self) -> Arc<TransportCa> {
        Arc::clone(&self.ca.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The fingerprints by which devices may know the gateway: the CA's, and until it is retired the one's before it.
    pub(crate) fn fingerprints(&self) -> Vec<Digest> {
        let ca = self.ca();
        std::iter::once(ca.digest()).chain(ca.previous()).collect()
    }

    /// Exchanges the CA for what `change` makes durable; a failure leaves the one in force.
    pub(crate) fn exchange(&self, change: impl FnOnce() -> anyhow::Result<TransportCa>) -> anyhow::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let ca = change().context("the transport CA stays as it was")?;
        *self.ca.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ca);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Tells whenever the CA was exchanged.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The gateway's own certificate, with a new key.
    pub(crate) fn for_gateway(&self, now: Timestamp) -> Result<Issued, Invalid> {
        self.ca().issue_server(&self.name, now, self.life)
    }

    /// A certificate for the device that joined as `join`, for the key of its request.
    pub(crate) fn for_device(&self, csr: &[u8], join: Id, now: Timestamp) -> Result<Vec<Vec<u8>>, Invalid> {
        self.ca().issue_client(csr, join, now, self.life)
    }
}
