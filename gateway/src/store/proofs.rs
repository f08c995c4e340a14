//! Receipts: the proof that an entry is in a log, made from the newest durable head, from memory where possible.

use super::broken::Broken;
use super::heads::{Gathered, Head, signed, unsigned};
use super::record::Recorded;
use super::sql;
use super::{Store, TenantStore};
use belay_certs::receipt::Receipt;
use belay_certs::tlog::{
    Hash, Tile, TileReader, consistency_path, inclusion_path, root, tiles_for_consistency, tiles_for_inclusion,
    tiles_for_root,
};
use belay_rules::LogName;
use sqlx::Row;
use std::sync::Arc;

/// Where it stands that a device record was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovedAt {
    /// At this place of the log.
    Entry(u64),
    /// In an earlier life of the log; this one may have carried it over.
    EarlierLife,
}

impl TenantStore {
    /// Where the log says that the record of this serial was approved, whatever became of the device since; none when no
    /// device ever had it.
    pub async fn record_entry(&self, serial: u64) -> Result<Option<ApprovedAt>, Broken> {
        // A serial that the table cannot hold is nobody's.
        let Ok(serial) = i64::try_from(serial) else { return Ok(None) };
        let query = sqlx::query(sql::RECORD_ENTRY).bind(self.name().as_str()).bind(serial);
        let row = query.fetch_optional(self.store().readers()).await?;
        let entry = row.map(|row| unsigned(row.try_get(0)?)).transpose()?;
        Ok(entry.map(|entry| if entry == 0 { ApprovedAt::EarlierLife } else { ApprovedAt::Entry(entry) }))
    }
}

impl Store {
    /// The receipt for entry `index` of `log` against its newest durable head, with the proof that this head continues
    /// the one of `consistency_from` entries (0: none is wanted).
    ///
    /// # Errors
    /// When there is no such log or entry, or the head to continue has more entries than the log: then entries were
    /// lost here, or the asker knows another log.
    pub async fn receipt(&self, log: &LogName, index: u64, consistency_from: u64) -> Result<Receipt, Broken> {
        let head = self.head(log)?;
        let mut connection = self.readers().acquire().await?;
        let row = sqlx::query(sql::ENTRY).bind(head.id).bind(signed(index)?).fetch_optional(&mut *connection).await?;
        drop(connection);
        let row = row.ok_or_else(|| Broken::new(format!("log {log} has no entry {index}")))?;
        self.prove(&head, index, row.try_get(0)?, consistency_from).await
    }

    /// The receipts for several entries of `log`, all against one head; no consistency proof.
    ///
    /// # Errors
    /// As [`Store::receipt`].
    pub async fn receipts(&self, log: &LogName, indices: &[u64]) -> Result<Vec<Receipt>, Broken> {
        let head = self.head(log)?;
        let mut receipts = Vec::with_capacity(indices.len());
        for index in indices {
            let query = sqlx::query(sql::ENTRY).bind(head.id).bind(signed(*index)?);
            let row = query.fetch_optional(self.readers()).await?;
            let row = row.ok_or_else(|| Broken::new(format!("log {log} has no entry {index}")))?;
            receipts.push(self.prove(&head, *index, row.try_get(0)?, 0).await?);
        }
        Ok(receipts)
    }

    /// The receipt for what was just recorded: as [`Store::receipt`], without reading the entry again.
    ///
    /// # Errors
    /// As [`Store::receipt`].
    pub async fn receipt_of(&self, recorded: &Recorded, consistency_from: u64) -> Result<Receipt, Broken> {
        let head = self.head(&recorded.log)?;
        self.prove(&head, recorded.index, recorded.entry.clone(), consistency_from).await
    }

    pub(super) fn head(&self, log: &LogName) -> Result<Arc<Head>, Broken> {
        self.shared().heads.get(log).ok_or_else(|| Broken::new(format!("there is no log {log}")))
    }

    async fn prove(&self, head: &Head, index: u64, entry: Vec<u8>, from: u64) -> Result<Receipt, Broken> {
        let size = head.edge.size();
        if from > size {
            return Err(Broken::new(format!(
                "a device has verified {from} entries of {}, of which only {size} are here: entries were lost",
                head.identity.origin
            )));
        }
        let mut tiles = tiles_for_inclusion(index, size);
        tiles.extend(tiles_for_consistency(from, size));
        let gathered = self.gather(head, &tiles).await?;
        let reader = (&head.edge, &gathered);
        Ok(Receipt {
            entry,
            index,
            inclusion: inclusion_path(index, size, &reader)?,
            checkpoint: head.checkpoint.clone(),
            consistency: consistency_path(from, size, &reader)?,
            consistency_from: from,
        })
    }

    /// The root that `log` had when it had `size` entries; none when it never had so many.
    ///
    /// # Errors
    /// When there is no such log, or tiles cannot be read.
    pub(super) async fn root_at(&self, log: &LogName, size: u64) -> Result<Option<Hash>, Broken> {
        let head = self.head(log)?;
        if size > head.edge.size() {
            return Ok(None);
        }
        let gathered = self.gather(&head, &tiles_for_root(size)).await?;
        Ok(Some(root(size, &(&head.edge, &gathered))?))
    }

    /// The tiles of a list that are not at the right edge: from memory, or else read and kept.
    async fn gather(&self, head: &Head, tiles: &[Tile]) -> Result<Gathered, Broken> {
        let mut gathered = Gathered::default();
        let mut connection = None;
        for tile in tiles {
            if head.edge.tile(tile.level, tile.index, tile.width).is_some() {
                continue;
            }
            let place = (head.id, tile.level, tile.index);
            let held = match self.shared().tiles.held(place) {
                Some(held) => held,
                None => {
                    let connection = match &mut connection {
                        Some(connection) => connection,
                        none => none.insert(self.readers().acquire().await?),
                    };
                    self.shared().tiles.fetch(connection, place).await?
                }
            };
            gathered.add(tile.level, tile.index, held);
        }
        Ok(gathered)
    }
}
