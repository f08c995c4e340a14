//! Proofs made from tiles: which tiles a proof needs, and the path read out of them.
//!
//! A proof is a list of ranges of leaves; a range is a few complete subtrees; a complete subtree lies inside one tile.
//! Not here: fetching the tiles (the caller does, beforehand) and verifying a proof (`proof.rs`).

use super::hash::{Hash, empty_root, node_hash, root_of};
use super::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::invalid::{Fault, Invalid};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Tiles at hand: fetched beforehand, or the right edge in memory.
pub trait TileReader {
    /// The tile's hashes: at least the first `width` of them. `None` when it is not held.
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<&[Hash]>;

    /// The root of the `2^height` hashes from number `place * 2^height` of the tile. `None` when they are not held.
    ///
    /// Readers that keep the nodes inside a tile answer without hashing.
    fn node(&self, tile: Tile, height: u8, place: usize) -> Option<Hash> {
        let hashes = self.tile(tile.level, tile.index, tile.width)?;
        let start = place << height;
        hashes.get(start..start + (1 << height)).map(root_of)
    }
}

/// Reads the first reader, and what that does not hold from the second: the edge, then the tiles it completed.
impl<A: TileReader, B: TileReader> TileReader for (&A, &B) {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<&[Hash]> {
        self.0.tile(level, index, width).or_else(|| self.1.tile(level, index, width))
    }

    fn node(&self, tile: Tile, height: u8, place: usize) -> Option<Hash> {
        self.0.node(tile, height, place).or_else(|| self.1.node(tile, height, place))
    }
}

/// Tiles fetched beforehand. The nodes inside are hashed once, when a tile is put in: many proofs, little work.
#[derive(Debug, Clone, Default)]
pub struct Tiles {
    tiles: BTreeMap<(u8, u64), TileNodes>,
}

impl Tiles {
    /// No tiles.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds a tile; the wider of two with the same place stays. Hashes beyond 256 are ignored.
    pub fn insert(&mut self, level: u8, index: u64, hashes: &[Hash]) {
        let held = self.tiles.entry((level, index)).or_default();
        if held.hashes().len() < hashes.len() {
            *held = TileNodes::of(hashes);
        }
    }
}

impl TileReader for Tiles {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<&[Hash]> {
        self.tiles.get(&(level, index)).map(TileNodes::hashes).filter(|hashes| hashes.len() >= usize::from(width))
    }

    fn node(&self, tile: Tile, height: u8, place: usize) -> Option<Hash> {
        self.tiles.get(&(tile.level, tile.index))?.node(height, place)
    }
}

/// One tile with the nodes inside it: row h holds the roots of every complete `2^h` hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct TileNodes {
    rows: [Vec<Hash>; TILE_HEIGHT as usize],
}

impl TileNodes {
    pub(super) fn of(hashes: &[Hash]) -> Self {
        let mut nodes = Self::default();
        for hash in hashes.iter().take(usize::from(TILE_WIDTH)) {
            let _ = nodes.push(*hash);
        }
        nodes
    }

    /// Adds one hash at the right; the tile's root when this made it full. A full tile takes no more: begin a new one.
    pub(super) fn push(&mut self, hash: Hash) -> Option<Hash> {
        let mut node = hash;
        for row in &mut self.rows {
            row.push(node);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => node = node_hash(left, right),
                _ => return None,
            }
        }
        Some(node)
    }

    pub(super) fn hashes(&self) -> &[Hash] {
        let [hashes, ..] = &self.rows;
        hashes
    }

    pub(super) fn node(&self, height: u8, place: usize) -> Option<Hash> {
        self.rows.get(usize::from(height))?.get(place).copied()
    }

    /// The complete subtrees that have no right sibling yet, the smallest and rightmost first.
    pub(super) fn unpaired(&self) -> impl Iterator<Item = &Hash> {
        self.rows.iter().filter(|row| !row.len().is_multiple_of(2)).filter_map(|row| row.last())
    }

    pub(super) fn into_hashes(self) -> Vec<Hash> {
        let [hashes, ..] = self.rows;
        hashes
    }
}

/// The tiles that [`inclusion_path`] reads; none when there is no such leaf.
pub fn tiles_for_inclusion(index: u64, size: u64) -> Vec<Tile> {
    tiles_for(&inclusion_ranges(index, size), size)
}

/// The tiles that [`consistency_path`] reads; none when there is no such proof.
pub fn tiles_for_consistency(old: u64, new: u64) -> Vec<Tile> {
    tiles_for(&consistency_ranges(old, new), new)
}

/// The tiles that [`root`] and `Edge::load` read: exactly the partial tiles of the tree.
pub fn tiles_for_root(size: u64) -> Vec<Tile> {
    tiles_for(std::slice::from_ref(&(0..size)), size)
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves (RFC 6962, section 2.1.1), from the leaf upwards.
///
/// # Errors
/// When there is no such leaf, or a tile of [`tiles_for_inclusion`] is missing.
pub fn inclusion_path(index: u64, size: u64, tiles: &impl TileReader) -> Result<Vec<Hash>, Invalid> {
    if index >= size {
        return Err(Invalid::new(Fault::BadProof, format!("a tree of {size} entries has no entry {index}")));
    }
    hash_ranges(&inclusion_ranges(index, size), size, tiles)
}

/// The proof that the tree of `new` leaves begins with the tree of `old` (RFC 6962, section 2.1.2).
///
/// # Errors
/// When `old` is larger than `new`, or a tile of [`tiles_for_consistency`] is missing.
pub fn consistency_path(old: u64, new: u64, tiles: &impl TileReader) -> Result<Vec<Hash>, Invalid> {
    if old > new {
        let sentence = format!("a tree of {new} entries cannot continue one of {old}");
        return Err(Invalid::new(Fault::BadProof, sentence));
    }
    hash_ranges(&consistency_ranges(old, new), new, tiles)
}

/// The root of the tree of `size` leaves.
///
/// # Errors
/// When a tile of [`tiles_for_root`] is missing.
pub fn root(size: u64, tiles: &impl TileReader) -> Result<Hash, Invalid> {
    if size == 0 {
        return Ok(empty_root());
    }
    range_hash(&(0..size), size, tiles)
}

/// The error for a tile that a proof needs and the caller did not fetch.
pub(super) fn missing(tile: Tile) -> Invalid {
    Invalid::new(Fault::Mismatch, format!("{} is missing: the proof cannot be made without it", tile.path()))
}

/// Leaves in the left subtree of a tree of `size`, at least 2: the largest power of two below it.
fn left_leaves(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The sibling ranges of leaf `index`, from the leaf upwards.
fn inclusion_ranges(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if index >= size {
        return ranges;
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + left_leaves(end - start);
        if index < middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    ranges.reverse();
    ranges
}

/// The ranges of a consistency proof, in the order of the proof. A range left of `old`'s edge is part of the old tree.
fn consistency_ranges(old: u64, new: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if old == 0 || old >= new {
        return ranges;
    }
    let (mut start, mut end) = (0, new);
    while old < end {
        let middle = start + left_leaves(end - start);
        if old <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    // From leaf 0 it is the old tree itself, whose root the verifier has.
    if start > 0 {
        ranges.push(start..end);
    }
    ranges.reverse();
    ranges
}

/// A complete subtree: `2^height` leaves from number `place * 2^height`.
#[derive(Clone, Copy)]
struct Subtree {
    height: u8,
    place: u64,
}

/// The complete subtrees that make up `range`, from left to right, each smaller than the one before.
fn subtrees(range: &Range<u64>) -> impl Iterator<Item = Subtree> {
    let (mut start, end) = (range.start, range.end);
    std::iter::from_fn(move || {
        let height = (end - start).checked_ilog2()?;
        let subtree = Subtree { height: u8::try_from(height).ok()?, place: start >> height };
        start += 1 << height;
        Some(subtree)
    })
}

impl Subtree {
    /// The tile it lies in, in a tree of `size` leaves.
    fn tile(self, size: u64) -> Option<Tile> {
        Tile::of_tree(self.height / TILE_HEIGHT, self.place >> self.bits_inside(), size)
    }

    /// Bits of `place` that count inside the tile.
    fn bits_inside(self) -> u8 {
        TILE_HEIGHT - self.height % TILE_HEIGHT
    }

    fn hash(self, size: u64, tiles: &impl TileReader) -> Result<Hash, Invalid> {
        let no_tile = || Invalid::new(Fault::BadProof, format!("a tree of {size} entries has no such subtree"));
        let tile = self.tile(size).ok_or_else(no_tile)?;
        let inside = self.place & ((1 << self.bits_inside()) - 1);
        let place = usize::try_from(inside).map_err(|_| no_tile())?;
        tiles.node(tile, self.height % TILE_HEIGHT, place).ok_or_else(|| missing(tile))
    }
}

fn tiles_for(ranges: &[Range<u64>], size: u64) -> Vec<Tile> {
    let tiles: BTreeSet<Tile> = ranges.iter().flat_map(subtrees).filter_map(|subtree| subtree.tile(size)).collect();
    tiles.into_iter().collect()
}

fn hash_ranges(ranges: &[Range<u64>], size: u64, tiles: &impl TileReader) -> Result<Vec<Hash>, Invalid> {
    ranges.iter().map(|range| range_hash(range, size, tiles)).collect()
}

/// The hash over a range that RFC 6962 splits off: its subtrees joined from the right.
fn range_hash(range: &Range<u64>, size: u64, tiles: &impl TileReader) -> Result<Hash, Invalid> {
    let hashes = subtrees(range).map(|subtree| subtree.hash(size, tiles)).collect::<Result<Vec<_>, _>>()?;
    Ok(hashes.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
}
