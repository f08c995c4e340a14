//! Freezes: what is durable of them, in memory for every door, the turns that begin and lift one, and the names of frozen devices.
//!
//! Replaced only after the commit that changed them, and read back whole after a failure: what counts is what is durable.

use super::Store;
use super::broken::{Broken, RecordError};
use super::sql;
use super::turn::{Answer, Turn};
use belay_certs::{DeviceAddress, PersonRef, Timestamp};
use belay_rules::freeze::{self, Freeze, Freezes, Frozen};
use belay_rules::{DeviceState, Outcome};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The freezes that are durable.
#[derive(Debug)]
pub(super) struct Durable {
    held: RwLock<Arc<Freezes>>,
    /// Rung at every change.
    changed: watch::Sender<u64>,
}

impl Default for Durable {
    fn default() -> Self {
        Self { held: RwLock::default(), changed: watch::Sender::new(0) }
    }
}

impl Durable {
    /// All of them.
    pub(super) fn now(&self) -> Arc<Freezes> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts what is durable now in place.
    pub(super) fn publish(&self, freezes: Arc<Freezes>) {
        {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&held, &freezes) {
                return;
            }
            *held = freezes;
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// Reads them from the database.
    pub(super) async fn reload(&self, connection: &mut AnyConnection) -> Result<(), Broken> {
        let mut freezes = Freezes::default();
        for row in sqlx::query(sql::FREEZES).fetch_all(connection).await? {
            let (freeze, called) = freeze(&row)?;
            let host_key = freeze.host_key.clone();
            freezes.add(freeze);
            if let (Some(address), Some(host_key)) = (called, host_key) {
                freezes.called(&address, &host_key);
            }
        }
        self.publish(Arc::new(freezes));
        Ok(())
    }
}

/// A row of `FREEZES`, with what a frozen device is called now.
fn freeze(row: &AnyRow) -> Result<(Freeze, Option<DeviceAddress>), Broken> {
    let frozen: Frozen = row.try_get::<&str, _>(0)?.parse()?;
    let device = row.try_get::<Option<&str>, _>(5)?.map(str::parse).transpose()?;
    let called = device.map(|device| DeviceAddress { device, tenant: frozen.tenant().clone() });
    let freeze = Freeze {
        frozen,
        host_key: row.try_get(4)?,
        since: Timestamp::from_micros(row.try_get(1)?),
        by: row.try_get::<&str, _>(2)?.parse()?,
        reason: row.try_get(3)?,
    };
    Ok((freeze, called))
}

impl Store {
    /// Every freeze that is durable.
    pub fn freezes(&self) -> Arc<Freezes> {
        self.shared().freezes.now()
    }

    /// Tells whenever one begins or is lifted.
    pub fn freezes_changed(&self) -> watch::Receiver<u64> {
        self.shared().freezes.changed.subscribe()
    }
}

impl Turn<'_> {
    pub(super) async fn freeze(
        &mut self,
        frozen: Frozen,
        said: (&PersonRef, Option<&str>),
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let host_key = self.host_key_of(&frozen).await?;
        let (draft, freeze) = freeze::begin(&self.freezes, frozen, host_key, said, now)?;
        let entered = self.note(draft, now)?;
        let query = sqlx::query(sql::FREEZE_ADD)
            .bind(freeze.frozen.tenant().as_str())
            .bind(freeze.frozen.to_string())
            .bind(freeze.since.micros())
            .bind(freeze.by.to_string())
            .bind(freeze.reason.as_deref())
            .bind(freeze.host_key.as_deref());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Arc::make_mut(&mut self.freezes).add(freeze);
        Ok(Answer::New(entered, Outcome::Recorded))
    }

    pub(super) async fn thaw(&mut self, frozen: Frozen, by: &PersonRef, now: Timestamp) -> Result<Answer, RecordError> {
        let frozen = &self.freezes.meant(frozen);
        let entered = self.note(freeze::lift(&self.freezes, frozen, by)?, now)?;
        let query = sqlx::query(sql::FREEZE_LIFT).bind(frozen.tenant().as_str()).bind(frozen.to_string());
        query.execute(self.transaction.sql().await?).await.map_err(Broken::from)?;
        Arc::make_mut(&mut self.freezes).remove(frozen);
        Ok(Answer::New(entered, Outcome::Recorded))
    }
    /// The host key of the device that has the name, for whatever else it will be called.
    async fn host_key_of(&mut self, frozen: &Frozen) -> Result<Option<String>, Broken> {
        let Frozen::Device(address) = frozen else { return Ok(None) };
        let (tenant, name) = (&address.tenant, address.device.as_str());
        let devices = self.devices_held(sql::DEVICES_HELD_BY_NAME, tenant, name).await?;
        let approved = devices.into_iter().find(|device| device.state == DeviceState::Approved);
        Ok(approved.map(|device| device.fingerprint))
    }

    /// A device was approved under this name: if it is frozen, it is under that too.
    pub(super) fn follow_freezes(&mut self, address: &DeviceAddress, host_key: &str) {
        if self.freezes.holds_key(&address.tenant, host_key) {
            Arc::make_mut(&mut self.freezes).called(address, host_key);
        }
    }
}
