//! The newest durable head of every log, in memory: what receipts are made from and what the next batch grows on.
//!
//! A head is replaced only after the commit that wrote it, so nothing is ever proved that could still be lost.

use super::broken::Broken;
use super::database::Database;
use super::keys::LogKeys;
use super::limits::TILES_HELD_MAX;
use super::sql;
use belay_certs::policy::LogIdentity;
use belay_certs::tlog::tile::decode_hashes;
use belay_certs::tlog::{
    Checkpoint, CompletedTile, Edge, Hash, NoteSigner, TILE_WIDTH, Tile, TileReader, Tiles, tiles_for_root,
};
use belay_rules::LogName;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The head of one log.
#[derive(Debug)]
pub(super) struct Head {
    /// The log's number in the tables.
    pub(super) id: i64,
    /// Its origin and verifier key.
    pub(super) identity: LogIdentity,
    /// Signs its checkpoints; the writer alone uses it. None for an earlier life of a log, which never grows again.
    pub(super) signer: Option<Arc<NoteSigner>>,
    /// The right edge of its tree.
    pub(super) edge: Edge,
    /// The signed note over that tree.
    pub(super) checkpoint: Vec<u8>,
}

/// The heads of all logs. Locked for look-ups only, never across an `.await`.
#[derive(Debug, Default)]
pub(super) struct Heads(RwLock<HashMap<LogName, Arc<Head>>>, Bell);

/// Rung when a log grew, for whoever follows one.
#[derive(Debug)]
pub(super) struct Bell(watch::Sender<u64>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Heads {
    /// The head of a log.
    pub(super) fn get(&self, log: &LogName) -> Option<Arc<Head>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(log).cloned()
    }

    /// How many tenants have a log.
    pub(super) fn tenants(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().filter(|log| log.tenant().is_some()).count()
    }

    /// Puts heads that are durable now in place.
    pub(super) fn publish(&self, grown: impl IntoIterator<Item = (LogName, Arc<Head>)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(grown);
        self.1.0.send_modify(|count| *count += 1);
    }

    /// Tells whenever a log grew.
    pub(super) fn grown(&self) -> watch::Receiver<u64> {
        self.1.0.subscribe()
    }

    /// Reads every head from the database, checks each against its key and its tree, and puts them in place.
    ///
    /// # Errors
    /// When one does not fit: then nothing may be recorded.
    pub(super) async fn reload(&self, connection: &mut AnyConnection, keys: &LogKeys) -> Result<(), Broken> {
        let mut heads = HashMap::new();
        for row in sqlx::query(sql::LOGS).fetch_all(&mut *connection).await? {
            let name: LogName = row.try_get::<&str, _>(1)?.parse()?;
            let vkey: &str = row.try_get(3)?;
            let held = self.get(&name).filter(|held| held.identity.vkey == vkey);
            let signer = match held.and_then(|held| held.signer.clone()) {
                Some(signer) => signer,
                None => Arc::new(keys.load(&name, vkey).map_err(|broken| broken.of(format!("log {name}")))?),
            };
            let head = load(connection, &row, Some(signer)).await.map_err(|broken| broken.of(format!("log {name}")))?;
            heads.insert(name, Arc::new(head));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = heads;
        self.1.0.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// One head, read and checked: the checkpoint verifies under the log's key, and is of the tree that the rows make.
pub(super) async fn load(
    connection: &mut AnyConnection,
    row: &AnyRow,
    signer: Option<Arc<NoteSigner>>,
) -> Result<Head, Broken> {
    let id: i64 = row.try_get(0)?;
    let identity = LogIdentity { origin: row.try_get(2)?, vkey: row.try_get(3)? };
    let last = sqlx::query(sql::HEAD).bind(id).fetch_optional(&mut *connection).await?;
    let last = last.ok_or_else(|| Broken::new("it has no entries, not even its first; restore a whole backup"))?;
    let size = unsigned(last.try_get(0)?)?.saturating_add(1);
    let checkpoint: Option<Vec<u8>> = last.try_get(1)?;
    let checkpoint =
        checkpoint.ok_or_else(|| Broken::new("its last entry has no signed head; restore a whole backup"))?;
    let mut tiles = Tiles::new();
    for tile in tiles_for_root(size) {
        tiles.insert(tile.level, tile.index, &partial(connection, id, tile).await?);
    }
    let edge = Edge::load(size, &tiles)?;
    let signed = Checkpoint::open(&checkpoint, &identity.origin, &identity.vkey)?;
    if signed.size != size || signed.root != edge.root() {
        return Err(Broken::new(format!(
            "the signed head of {} entries is not that of the {size} entries stored; restore a whole backup",
            signed.size
        )));
    }
    Ok(Head { id, identity, signer, edge, checkpoint })
}

/// The hashes of a tile at the right edge, from the rows one level below.
async fn partial(connection: &mut AnyConnection, log: i64, tile: Tile) -> Result<Vec<Hash>, Broken> {
    let first = tile.index.saturating_mul(u64::from(TILE_WIDTH));
    let (first, end) = (signed(first)?, signed(first.saturating_add(u64::from(tile.width)))?);
    let rows = match tile.level.checked_sub(1) {
        None => sqlx::query(sql::LEAVES).bind(log).bind(first).bind(end).fetch_all(connection).await?,
        Some(below) => {
            sqlx::query(sql::TILE_ROOTS)
                .bind(log)
                .bind(i64::from(below))
                .bind(first)
                .bind(end)
                .fetch_all(connection)
                .await?
        }
    };
    rows.iter().map(|row| hash(row.try_get(0)?)).collect()
}

/// 32 bytes as a hash.
pub(super) fn hash(bytes: &[u8]) -> Result<Hash, Broken> {
    bytes.try_into().map_err(|_| Broken::new(format!("database holds a hash of {} bytes", bytes.len())))
}

/// A count as the database has it.
pub(super) fn signed(count: u64) -> Result<i64, Broken> {
    i64::try_from(count).map_err(|_| Broken::new(format!("{count} is more than the database can count")))
}

/// A count from the database.
pub(super) fn unsigned(count: i64) -> Result<u64, Broken> {
    u64::try_from(count).map_err(|_| Broken::new(format!("database holds the negative count {count}")))
}

/// Which full tile: the log's number, level, index.
type Place = (i64, u8, u64);

/// Full tiles that proofs needed or commits completed lately, each with the nodes inside, so that a proof hashes little.
#[derive(Debug, Default)]
pub(super) struct FullTiles(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    tiles: HashMap<Place, Arc<Tiles>>,
    /// The same places, the oldest first.
    order: VecDeque<Place>,
}

impl FullTiles {
    /// The tile, from memory or else from the database. Full tiles never change once they are committed.
    pub(super) async fn fetch(&self, connection: &mut AnyConnection, place: Place) -> Result<Arc<Tiles>, Broken> {
        let (log, level, index) = place;
        let row =
            sqlx::query(sql::TILE).bind(log).bind(i64::from(level)).bind(signed(index)?).fetch_optional(connection);
        let row = row.await?.ok_or_else(|| Broken::new(format!("database has no tile {index} of level {level}")))?;
        let hashes = decode_hashes(row.try_get(0)?)?;
        Ok(self.keep(place, &hashes))
    }

    /// The tile, when it is in memory.
    pub(super) fn held(&self, place: Place) -> Option<Arc<Tiles>> {
        self.lock().tiles.get(&place).cloned()
    }

    /// Keeps a tile that is durable.
    pub(super) fn completed(&self, log: i64, tile: &CompletedTile) {
        self.keep((log, tile.level, tile.index), &tile.hashes);
    }

    /// Forgets everything: after a commit of which nobody knows whether it happened.
    pub(super) fn clear(&self) {
        *self.lock() = Held::default();
    }

    fn keep(&self, place: Place, hashes: &[Hash]) -> Arc<Tiles> {
        let (_, level, index) = place;
        let mut tiles = Tiles::new();
        tiles.insert(level, index, hashes);
        let tiles = Arc::new(tiles);
        let mut held = self.lock();
        if held.tiles.insert(place, tiles.clone()).is_none() {
            held.order.push_back(place);
        }
        if held.order.len() > TILES_HELD_MAX
            && let Some(oldest) = held.order.pop_front()
        {
            held.tiles.remove(&oldest);
        }
        tiles
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The full tiles gathered for one proof.
#[derive(Debug, Default)]
pub(super) struct Gathered(Vec<((u8, u64), Arc<Tiles>)>);

impl Gathered {
    pub(super) fn add(&mut self, level: u8, index: u64, tiles: Arc<Tiles>) {
        self.0.push(((level, index), tiles));
    }

    fn find(&self, level: u8, index: u64) -> Option<&Tiles> {
        self.0.iter().find(|(place, _)| *place == (level, index)).map(|(_, tiles)| tiles.as_ref())
    }
}

impl TileReader for Gathered {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<&[Hash]> {
        self.find(level, index)?.tile(level, index, width)
    }

    fn node(&self, tile: Tile, height: u8, place: usize) -> Option<Hash> {
        self.find(tile.level, tile.index)?.node(tile, height, place)
    }
}

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Where the database is.
    pub(super) database: Database,
    /// Every log's newest durable head.
    pub(super) heads: Heads,
    /// Full tiles for proofs.
    pub(super) tiles: FullTiles,
    /// The freezes in force.
    pub(super) freezes: super::freezes::Durable,
    /// Cancelled when nothing is recorded any more.
    pub(super) over: CancellationToken,
}
