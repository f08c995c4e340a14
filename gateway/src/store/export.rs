//! A whole log as a tar archive in the layout of C2SP `tlog-tiles`, with the objects beside it: what auditors take home.
//!
//! The archive is of one size, the log's when it was begun; entries that come meanwhile are left to the next one. In
//! memory there is one bundle of entries or one object at a time.

use super::Store;
use super::broken::Broken;
use super::heads::{self, Head, signed};
use super::sql;
use crate::archive::{END, append};
use belay_certs::tlog::tile::{encode_hashes, tiles_of};
use belay_certs::tlog::{TILE_WIDTH, Tile, TileReader, encode_bundle, entries_path};
use belay_rules::LogName;
use sqlx::Row;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Entries: the size of the checkpoint in it.
    pub entries: u64,
    /// Objects that they refer to.
    pub objects: u64,
}

impl Store {
    /// Writes `log` to `out` as an archive: `log.vkey`, `checkpoint`, `tile/…` and `objects/…`. What `out` does not take
    /// yet is not read yet.
    ///
    /// # Errors
    /// When the log is not there or cannot be read, or `out` ends: the archive is cut off then.
    pub async fn export<W: AsyncWrite + Unpin + Send>(&self, log: &LogName, out: &mut W) -> Result<Exported, Broken> {
        self.export_head(&*self.head(log)?, out).await
    }

    /// As [`Store::export`], for an earlier life of the log.
    ///
    /// # Errors
    /// As [`Store::export`].
    pub async fn export_earlier<W: AsyncWrite + Unpin + Send>(
        &self,
        log: &LogName,
        life: u32,
        out: &mut W,
    ) -> Result<Exported, Broken> {
        let mut connection = self.readers().acquire().await?;
        let query = sqlx::query(sql::LOG_EARLIER).bind(format!("{log}/{life}"));
        let row = query.fetch_optional(&mut *connection).await?;
        let row = row.ok_or_else(|| Broken::new(format!("log {log} has no earlier life {life} here")))?;
        let head = heads::load(&mut connection, &row, None).await?;
        drop(connection);
        self.export_head(&head, out).await
    }

    async fn export_head<W: AsyncWrite + Unpin + Send>(&self, head: &Head, out: &mut W) -> Result<Exported, Broken> {
        let size = head.edge.size();
        append(out, "log.vkey", format!("{}\n", head.identity.vkey).as_bytes()).await?;
        append(out, "checkpoint", &head.checkpoint).await?;
        // 24 bytes for 256 entries: an iterator held across the awaits below could not go to another thread.
        let tiles: Vec<Tile> = tiles_of(size).collect();
        for tile in tiles {
            if tile.level == 0 {
                let bundle = self.bundle(head, tile).await?;
                append(out, &entries_path(tile.index, tile.width), &bundle).await?;
            }
            append(out, &tile.path(), &self.hashes(head, tile).await?).await?;
        }
        let objects = self.export_objects(head, out).await?;
        out.write_all(&END).await?;
        out.flush().await?;
        Ok(Exported { entries: size, objects })
    }

    /// The entries under a tile of level 0.
    async fn bundle(&self, head: &Head, tile: Tile) -> Result<Vec<u8>, Broken> {
        let first = tile.index.saturating_mul(u64::from(TILE_WIDTH));
        let end = first.saturating_add(u64::from(tile.width));
        let query = sqlx::query(sql::ENTRIES).bind(head.id).bind(signed(first)?).bind(signed(end)?);
        let rows = query.fetch_all(self.readers()).await?;
        if rows.len() != usize::from(tile.width) {
            return Err(Broken::new(format!("entries {first} to {end} of {} are not all here", head.identity.origin)));
        }
        let entries = rows.iter().map(|row| row.try_get::<&[u8], _>(0)).collect::<Result<Vec<_>, _>>()?;
        Ok(encode_bundle(&entries)?)
    }

    /// A tile's bytes: from the right edge, or a full one from the database.
    async fn hashes(&self, head: &Head, tile: Tile) -> Result<Vec<u8>, Broken> {
        if let Some(hashes) = head.edge.tile(tile.level, tile.index, tile.width) {
            return Ok(encode_hashes(hashes));
        }
        let query = sqlx::query(sql::TILE).bind(head.id).bind(i64::from(tile.level)).bind(signed(tile.index)?);
        let row = query.fetch_optional(self.readers()).await?;
        let row = row.ok_or_else(|| Broken::new(format!("{} of {} is not here", tile.path(), head.identity.origin)))?;
        Ok(row.try_get(0)?)
    }

    async fn export_objects<W: AsyncWrite + Unpin + Send>(&self, head: &Head, out: &mut W) -> Result<u64, Broken> {
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let query =
                sqlx::query(sql::OBJECT_NEXT).bind(head.id).bind(after.as_str()).bind(signed(head.edge.size())?);
            let Some(row) = query.fetch_optional(self.readers()).await? else { return Ok(count) };
            after = row.try_get(0)?;
            append(out, &format!("objects/{after}"), row.try_get(1)?).await?;
            count += 1;
        }
    }
}
