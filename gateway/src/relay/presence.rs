//! Which devices are connected right now, and the way to each.

use crate::limits::DEVICES_MAX;
use belay_certs::{DeviceAddress, Id, TenantName};
use belay_protocol::{CloseCode, ToAgent};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Notify, mpsc};

/// A connected device.
#[derive(Clone)]
pub(crate) struct Online {
    /// This connection; a later one of the same device has another.
    pub(crate) connection: Id,
    /// The turn in which it was recorded that it connected: of two connections of a device, the later one is the newer.
    pub(crate) turn: u64,
    /// The device it is, in its tenant; pending devices have their wished name.
    pub(crate) address: DeviceAddress,
    /// Whether it is approved: only then sessions are opened to it.
    pub(crate) approved: bool,
    /// The minor version of the protocol that it speaks.
    pub(crate) minor: u16,
    /// Whether what it says over this connection follows from what it said before.
    pub(crate) step: Step,
    /// The newest version of its tenant's policy that it said it holds.
    pub(crate) held: Option<u64>,
    /// Rung when the device's own row changed.
    pub(crate) news: Arc<Notify>,
    /// To its control stream.
    pub(crate) to_agent: mpsc::Sender<Box<ToAgent>>,
    /// Opens streams to it.
    pub(crate) quic: quinn::Connection,
}

/// Whether a device's statements continue those that are in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// Yes, as far as it has said anything.
    #[default]
    In,
    /// No: its state is an older copy, or two machines have its key. Nothing that it says is recorded, so nothing starts there.
    Out,
}

/// All connected devices, by the join id of their transport certificate.
#[derive(Default)]
pub(crate) struct Presence {
    online: Mutex<Devices>,
}

#[derive(Default)]
struct Devices {
    by_join: HashMap<Id, Online>,
    by_address: HashMap<DeviceAddress, Id>,
}

/// Why a connection does not count as its device's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotPresent {
    /// The gateway serves as many devices as it can.
    Full,
    /// A newer connection of the device was faster.
    Older,
}

impl Presence {
    /// A device came; the connection it replaces is closed: the one that was recorded last wins, whoever comes here first.
    pub(crate) fn arrive(&self, join: Id, online: Online) -> Result<(), NotPresent> {
        let mut devices = self.lock();
        match devices.by_join.get(&join) {
            Some(held) if held.turn > online.turn => return Err(NotPresent::Older),
            None if devices.by_join.len() >= DEVICES_MAX => return Err(NotPresent::Full),
            Some(_) | None => {}
        }
        if online.approved {
            devices.by_address.insert(online.address.clone(), join);
        }
        let replaced = devices.by_join.insert(join, online);
        drop(devices);
        if let Some(old) = &replaced {
            close(&old.quic, CloseCode::Replaced);
        }
        Ok(())
    }

    /// A connection ended; nothing happens when a newer one took its place. What it held of its tenant's policy.
    pub(crate) fn leave(&self, join: Id, connection: Id) -> Option<u64> {
        let mut devices = self.lock();
        if devices.by_join.get(&join)?.connection != connection {
            return None;
        }
        let gone = devices.by_join.remove(&join)?;
        if devices.by_address.get(&gone.address) == Some(&join) {
            devices.by_address.remove(&gone.address);
        }
        gone.held
    }

    /// The device says that it holds a version of its tenant's policy.
    pub(crate) fn took(&self, join: Id, version: u64) {
        if let Some(online) = self.lock().by_join.get_mut(&join) {
            online.held = online.held.max(Some(version));
        }
    }

    /// The newest version of its tenant's policy that a connected device said it holds.
    pub(crate) fn held(&self, join: Id) -> Option<u64> {
        self.lock().by_join.get(&join)?.held
    }

    /// A device was approved under `address`, for the first time or under another name: the old one leads nowhere.
    pub(crate) fn approve(&self, join: Id, address: DeviceAddress) {
        let mut devices = self.lock();
        let Some(online) = devices.by_join.get_mut(&join) else { return };
        online.approved = true;
        let old = std::mem::replace(&mut online.address, address.clone());
        if old != address && devices.by_address.get(&old) == Some(&join) {
            devices.by_address.remove(&old);
        }
        devices.by_address.insert(address, join);
    }

    /// A connected device's statements continue the log, or do not. Its name, when that is news and it is approved.
    pub(crate) fn step(&self, join: Id, step: Step) -> Option<DeviceAddress> {
        let mut devices = self.lock();
        let online = devices.by_join.get_mut(&join)?;
        let before = std::mem::replace(&mut online.step, step);
        (before != step && online.approved).then(|| online.address.clone())
    }

    /// What a connected device is called now.
    pub(crate) fn called(&self, join: Id) -> Option<DeviceAddress> {
        self.lock().by_join.get(&join).map(|online| online.address.clone())
    }

    /// The device has news: it looks at its own row again.
    pub(crate) fn wake(&self, join: Id) {
        if let Some(online) = self.lock().by_join.get(&join) {
            online.news.notify_one();
        }
    }

    /// Every device of a tenant looks at its own row again.
    pub(crate) fn wake_tenant(&self, tenant: &TenantName) {
        for online in self.lock().by_join.values().filter(|online| online.address.tenant == *tenant) {
            online.news.notify_one();
        }
    }

    /// The approved device of that name, if it is connected.
    pub(crate) fn find(&self, address: &DeviceAddress) -> Option<Online> {
        let devices = self.lock();
        devices.by_address.get(address).and_then(|join| devices.by_join.get(join)).cloned()
    }

    /// How many devices are connected.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_join.len()
    }

    /// Whether the device that joined so is connected.
    pub(crate) fn is_present(&self, join: Id) -> bool {
        self.lock().by_join.contains_key(&join)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Devices> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a connection with a code the other side understands.
pub(crate) fn close(quic: &quinn::Connection, code: CloseCode) {
    quic.close(quinn::VarInt::from_u32(code.code()), code.name().as_bytes());
}
