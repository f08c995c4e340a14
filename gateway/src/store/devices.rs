//! The devices that the writer remembers: state, connection and newest statement, so that most asks need no SELECT.
//!
//! Read from the tables when first asked for; changed together with what the transaction writes; thrown away whole when
//! a transaction fails.

use super::broken::{Broken, RecordError};
use super::heads::unsigned;
use super::limits::{DEVICES_HELD_MAX, RECORDS_HELD_MAX};
use super::sql;
use super::transaction::Transaction;
use belay_certs::{Id, TenantName};
use belay_rules::presence::{Caller, Line, RecordNamed};
use belay_rules::statement::StatementHead;
use belay_rules::{DeviceState, Refusal};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A device as the writer remembers it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) caller: Caller,
    pub(super) said: StatementHead,
}

/// The remembered devices, by join id.
#[derive(Debug, Default)]
pub(super) struct Devices(HashMap<Id, Known>);

impl Devices {
    /// The device that joined as `join`.
    ///
    /// # Errors
    /// [`Refusal::DeviceUnknown`] when there is none.
    pub(super) async fn get(&mut self, transaction: &mut Transaction<'_>, join: Id) -> Result<&mut Known, RecordError> {
        match self.0.entry(join) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let known = read(transaction.sql().await?, join).await?.ok_or(Refusal::DeviceUnknown(join))?;
                Ok(place.insert(known))
            }
        }
    }

    /// The device, if it is remembered; what the tables say of others is read when it is asked for.
    pub(super) fn remembered(&mut self, join: Id) -> Option<&mut Known> {
        self.0.get_mut(&join)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets some when there are too many. Only between transactions: inside one, the tables lag behind.
    pub(super) fn trim(&mut self) {
        let surplus = self.0.len().saturating_sub(DEVICES_HELD_MAX);
        let some: Vec<Id> = self.0.keys().take(surplus).copied().collect();
        for join in some {
            self.0.remove(&join);
        }
    }
}

async fn read(connection: &mut AnyConnection, join: Id) -> Result<Option<Known>, Broken> {
    let row = sqlx::query(sql::CALLER).bind(join.to_string()).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let mut known = known(&row, join)?;
    if known.caller.state != DeviceState::Pending {
        let query = sqlx::query(sql::CALLER_RECORDS).bind(join.to_string()).bind(RECORDS_HELD_MAX);
        for row in query.fetch_all(connection).await? {
            let (serial, name) = (unsigned(row.try_get(0)?)?, row.try_get::<&str, _>(1)?.parse()?);
            known.caller.records.push(RecordNamed { serial, name });
        }
    }
    Ok(Some(known))
}

/// A row of `CALLER`.
fn known(row: &AnyRow, join: Id) -> Result<Known, Broken> {
    let said = match (
        row.try_get::<Option<i64>, _>(6)?,
        row.try_get::<Option<&str>, _>(7)?,
        row.try_get::<Option<i64>, _>(8)?,
    ) {
        (Some(seq), Some(digest), Some(index)) => {
            StatementHead { seq: unsigned(seq)?, digest: digest.parse()?, index: unsigned(index)? }
        }
        _ => StatementHead::NONE,
    };
    let tenant: TenantName = row.try_get::<&str, _>(0)?.parse()?;
    let (name, state) = (row.try_get::<&str, _>(1)?.parse()?, row.try_get::<&str, _>(2)?.parse()?);
    Ok(Known { caller: Caller { join, tenant, name, state, records: Vec::new(), line: line(row)? }, said })
}

/// The connection in a row of `CALLER`; a device that never connected has no row of its own there.
fn line(row: &AnyRow) -> Result<Option<Line>, Broken> {
    let Some(connection) = row.try_get::<Option<&str>, _>(3)? else { return Ok(None) };
    Ok(Some(Line { connection: connection.parse()?, address: row.try_get(4)?, version: row.try_get(5)? }))
}
