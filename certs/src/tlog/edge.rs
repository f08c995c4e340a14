//! The right edge of a growing tree: the partial tile of every level, in memory, with the nodes inside.
//!
//! Appending costs one hash on average, the root a hash for each bit of the size, a new leaf's proof nothing but look-ups.
//! Not here: writing completed tiles (the store does).

use super::hash::{Hash, empty_root, node_hash};
use super::tile::{TILE_HEIGHT, Tile, hashes_at};
use super::tree::{TileNodes, TileReader, missing, tiles_for_root};
use crate::invalid::Invalid;

/// Tile levels a tree can have: 256^8 leaves are all a `u64` counts.
const LEVELS: usize = u64::BITS as usize / TILE_HEIGHT as usize;

/// The partial tiles of a tree. Clone it before a commit, and throw the copy away when the commit fails.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Leaves in the tree.
    size: u64,
    /// The partial tile of each level: 0 to 255 hashes.
    levels: [TileNodes; LEVELS],
}

/// A tile that an appended leaf made full; it never changes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedTile {
    /// The tile's level.
    pub level: u8,
    /// Which tile of its level.
    pub index: u64,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

impl Edge {
    /// The edge of the tree without leaves.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The edge of a tree of `size` leaves, from its partial tiles: those that `tiles_for_root(size)` lists.
    ///
    /// # Errors
    /// When one is missing. Whether the hashes are right, only [`Edge::root`] compared with a checkpoint tells.
    pub fn load(size: u64, tiles: &impl TileReader) -> Result<Self, Invalid> {
        let mut edge = Self { size, ..Self::default() };
        for tile in tiles_for_root(size) {
            let hashes = tiles.tile(tile.level, tile.index, tile.width);
            let partial = hashes.and_then(|hashes| hashes.get(..usize::from(tile.width)));
            let level = edge.levels.get_mut(usize::from(tile.level));
            let (Some(partial), Some(level)) = (partial, level) else { return Err(missing(tile)) };
            *level = TileNodes::of(partial);
        }
        Ok(edge)
    }

    /// Adds one leaf hash; the tiles this completed, from the leaves upwards: none for 255 leaves of 256.
    pub fn append(&mut self, leaf: Hash) -> Vec<CompletedTile> {
        let mut completed = Vec::new();
        let mut hash = leaf;
        for (level, nodes) in (0u8..).zip(&mut self.levels) {
            let Some(root) = nodes.push(hash) else { break };
            let hashes = std::mem::take(nodes).into_hashes();
            completed.push(CompletedTile { level, index: hashes_at(level + 1, self.size), hashes });
            hash = root;
        }
        self.size += 1;
        completed
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let subtrees = self.levels.iter().flat_map(TileNodes::unpaired).copied();
        subtrees.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }

    /// The hashes of the partial tile of `level`: 0 to 255.
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map(TileNodes::hashes).unwrap_or_default()
    }

    /// The partial tiles that are not empty, with their hashes, from the leaves upwards: what a commit writes.
    pub fn partials(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        let tiles = (0u8..).zip(&self.levels).map(|(level, nodes)| {
            let tile = Tile::of_tree(level, hashes_at(level + 1, self.size), self.size)?;
            Some((tile, nodes.hashes()))
        });
        tiles.flatten()
    }

    fn held(&self, level: u8, index: u64) -> Option<&TileNodes> {
        self.levels.get(usize::from(level)).filter(|_| index == hashes_at(level + 1, self.size))
    }
}

impl TileReader for Edge {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<&[Hash]> {
        self.held(level, index).map(TileNodes::hashes).filter(|hashes| hashes.len() >= usize::from(width))
    }

    fn node(&self, tile: Tile, height: u8, place: usize) -> Option<Hash> {
        self.held(tile.level, tile.index)?.node(height, place)
    }
}
