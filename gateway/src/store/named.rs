//! Sessions by their id, as somebody names one who wants to end it or has looked at it.

use super::broken::Broken;
use super::heads::unsigned;
use super::limits::NAMESAKES_READ_MAX;
use super::read::TenantStore;
use super::sql;
use belay_certs::{DeviceName, Id, PersonRef, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A session that somebody named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionNamed {
    /// The device.
    pub device: DeviceName,
    /// The outer connection it came through.
    pub access: Id,
    /// Whose it is.
    pub person: PersonRef,
    /// When its end was recorded.
    pub ended: Option<Timestamp>,
    /// When the end of its outer connection was recorded: it carries nothing since, whatever the device says later.
    pub access_ended: Option<Timestamp>,
}

impl TenantStore {
    /// The sessions with this id, by device: ids are the devices' own, so two may have given one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions_called(&self, id: Id) -> Result<Vec<SessionNamed>, Broken> {
        let query = sqlx::query(sql::SESSIONS_CALLED).bind(self.name().as_str()).bind(id.to_string());
        query.bind(NAMESAKES_READ_MAX).fetch_all(self.store().readers()).await?.iter().map(named).collect()
    }

    /// How many sessions on a device an access carries that have not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions_carried(&self, device: &DeviceName, access: Id) -> Result<u64, Broken> {
        let query = sqlx::query(sql::SESSIONS_CARRIED).bind(self.name().as_str()).bind(device.as_str());
        unsigned(query.bind(access.to_string()).fetch_one(self.store().readers()).await?.try_get(0)?)
    }
}

/// A row of `SESSIONS_CALLED`.
pub(super) fn named(row: &AnyRow) -> Result<SessionNamed, Broken> {
    let moment = |at: Option<i64>| at.map(Timestamp::from_micros);
    Ok(SessionNamed {
        device: row.try_get::<&str, _>(0)?.parse()?,
        access: row.try_get::<&str, _>(1)?.parse()?,
        person: row.try_get::<&str, _>(2)?.parse()?,
        ended: moment(row.try_get(3)?),
        access_ended: moment(row.try_get(4)?),
    })
}
