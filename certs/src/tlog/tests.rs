//! The tree against an oracle (`tlog_tiles`) and against RFC 6962 computed over all leaves.

use super::tile::{Tile, tiles_of};
use super::*;
use crate::Fault;

/// A tree built leaf by leaf, with everything a log would keep of it, and the oracle's own copy.
struct Tree {
    leaves: Vec<Hash>,
    /// The root at every size up to 1023, each over all its leaves.
    roots: Vec<Hash>,
    edge: Edge,
    completed: Tiles,
    oracle: Oracle,
}

/// The oracle's store of node hashes.
#[derive(Default)]
struct Oracle(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Oracle {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

impl Tree {
    fn of(size: u64) -> Self {
        let mut tree = Self {
            leaves: Vec::new(),
            roots: Vec::new(),
            edge: Edge::empty(),
            completed: Tiles::new(),
            oracle: Oracle::default(),
        };
        for number in 0..size {
            let entry = number.to_be_bytes();
            let stored = tlog_tiles::stored_hashes(number, &entry, &tree.oracle).unwrap();
            tree.oracle.0.extend(stored);
            let leaf = leaf_hash(&entry);
            tree.leaves.push(leaf);
            for tile in tree.edge.append(leaf) {
                tree.completed.insert(tile.level, tile.index, &tile.hashes);
            }
        }
        tree.roots = (0..=tree.leaves.len().min(1023)).map(|size| root_of(&tree.leaves[..size])).collect();
        tree
    }

    fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The tiles of the tree when it had `size` leaves, made from the leaves alone.
    fn tiles(&self, size: u64) -> Tiles {
        let mut tiles = Tiles::new();
        let mut level_hashes = self.leaves[..size as usize].to_vec();
        for level in 0.. {
            if level_hashes.is_empty() {
                return tiles;
            }
            for (index, hashes) in (0..).zip(level_hashes.chunks(256)) {
                tiles.insert(level, index, hashes);
            }
            level_hashes = level_hashes.chunks_exact(256).map(root_of).collect();
        }
        tiles
    }

    fn root_at(&self, size: u64) -> Hash {
        self.roots[size as usize]
    }

    fn oracle_hash(&self, size: u64) -> tlog_tiles::Hash {
        tlog_tiles::tree_hash(size, &self.oracle).unwrap()
    }
}

fn plain(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

/// Sizes around every boundary: powers of two, tiles, and two levels of tiles.
const SIZES: [u64; 14] = [1, 2, 3, 7, 8, 100, 255, 256, 257, 511, 512, 513, 700, 1023];

#[test]
fn every_inclusion_proof_is_the_oracles_and_verifies() {
    let tree = Tree::of(1023);
    for size in (1..40).chain(SIZES) {
        let (tiles, root) = (tree.tiles(size), tree.root_at(size));
        assert_eq!(root, tree.oracle_hash(size).0);
        for index in 0..size {
            let path = inclusion_path(index, size, &tiles).unwrap();
            assert_eq!(path, plain(tlog_tiles::prove_record(size, index, &tree.oracle).unwrap()), "{index} of {size}");
            verify_inclusion(&tree.leaves[index as usize], index, size, &path, &root).unwrap();
        }
    }
}

#[test]
fn every_consistency_proof_is_the_oracles_and_verifies() {
    let tree = Tree::of(1023);
    for new in (1..40).chain(SIZES) {
        let (tiles, root) = (tree.tiles(new), tree.root_at(new));
        for old in (1..=new).filter(|old| *old < 40 || old % 7 == 0 || old % 64 < 2 || old + 2 > new) {
            let path = consistency_path(old, new, &tiles).unwrap();
            assert_eq!(path, plain(tlog_tiles::prove_tree(new, old, &tree.oracle).unwrap()), "{old} to {new}");
            verify_consistency(old, &tree.root_at(old), new, &root, &path).unwrap();
        }
        assert!(consistency_path(0, new, &tiles).unwrap().is_empty());
        verify_consistency(0, &empty_root(), new, &root, &[]).unwrap();
    }
}

#[test]
fn proofs_hold_across_three_levels_of_tiles() {
    let tree = Tree::of(66_000);
    let (size, root) = (tree.size(), tree.edge.root());
    assert_eq!(root, tree.oracle_hash(size).0);
    let tiles = (&tree.edge, &tree.completed);
    assert_eq!(super::root(size, &tiles).unwrap(), root);
    for index in [0, 255, 256, 65_535, 65_536, 65_800, 65_999] {
        let path = inclusion_path(index, size, &tiles).unwrap();
        verify_inclusion(&tree.leaves[index as usize], index, size, &path, &root).unwrap();
        let oracle = tlog_tiles::Hash(tree.leaves[index as usize]);
        let theirs = path.iter().map(|hash| tlog_tiles::Hash(*hash)).collect();
        tlog_tiles::check_record(&theirs, size, tlog_tiles::Hash(root), index, oracle).unwrap();
    }
    for old in [1, 256, 300, 65_535, 65_536, 65_537, 65_999] {
        let path = consistency_path(old, size, &tiles).unwrap();
        let theirs = path.iter().map(|hash| tlog_tiles::Hash(*hash)).collect();
        tlog_tiles::check_tree(&theirs, size, tlog_tiles::Hash(root), old, tree.oracle_hash(old)).unwrap();
        verify_consistency(old, &tree.oracle_hash(old).0, size, &root, &path).unwrap();
    }
}

#[test]
fn no_changed_inclusion_proof_verifies() {
    let tree = Tree::of(21);
    for size in 1..=21 {
        let (tiles, root) = (tree.tiles(size), tree.root_at(size));
        for index in 0..size {
            let leaf = tree.leaves[index as usize];
            let path = inclusion_path(index, size, &tiles).unwrap();
            let refused = |leaf: &Hash, index, size, path: &[Hash], root: &Hash| {
                assert_eq!(verify_inclusion(leaf, index, size, path, root).unwrap_err().fault, Fault::BadProof);
            };
            for at in 0..path.len() {
                let mut other = path.clone();
                other[at][31] ^= 1;
                refused(&leaf, index, size, &other, &root);
                other.remove(at);
                refused(&leaf, index, size, &other, &root);
            }
            refused(&leaf, index, size, &[&path[..], &[[0; 32]]].concat(), &root);
            refused(&[9; 32], index, size, &path, &root);
            refused(&leaf, index, size, &path, &[9; 32]);
            refused(&leaf, size, size, &path, &root);
            for other in (0..size).filter(|other| *other != index) {
                refused(&leaf, other, size, &path, &root);
            }
        }
    }
}

#[test]
fn no_changed_consistency_proof_verifies() {
    let tree = Tree::of(21);
    for new in 1..=21 {
        let (tiles, root) = (tree.tiles(new), tree.root_at(new));
        for old in 0..=new {
            let old_root = tree.root_at(old);
            let path = consistency_path(old, new, &tiles).unwrap();
            let refused = |old, old_root: &Hash, new, root: &Hash, path: &[Hash]| {
                let refusal = verify_consistency(old, old_root, new, root, path).unwrap_err();
                assert_eq!(refusal.fault, Fault::BadProof, "{old} to {new}");
            };
            for at in 0..path.len() {
                let mut other = path.clone();
                other[at][0] ^= 1;
                refused(old, &old_root, new, &root, &other);
                other.remove(at);
                refused(old, &old_root, new, &root, &other);
            }
            refused(old, &old_root, new, &root, &[&path[..], &[[0; 32]]].concat());
            refused(old, &[9; 32], new, &root, &path);
            refused(new + 1, &old_root, new, &root, &path);
            if old > 0 {
                refused(old, &old_root, new, &[9; 32], &path);
            }
        }
    }
}

#[test]
fn endless_proofs_are_refused_before_hashing() {
    let path = vec![[0; 32]; crate::limits::PROOF_HASHES_MAX + 1];
    assert_eq!(verify_inclusion(&[0; 32], 0, u64::MAX, &path, &[0; 32]).unwrap_err().fault, Fault::TooLarge);
    assert_eq!(verify_consistency(1, &[0; 32], u64::MAX, &[0; 32], &path).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn the_edge_completes_each_tile_once_and_as_the_leaves_say() {
    let tree = Tree::of(66_000);
    let (mut edge, mut completed) = (Edge::empty(), Vec::new());
    for leaf in &tree.leaves {
        completed.extend(edge.append(*leaf));
    }
    let full: Vec<Tile> = tiles_of(66_000).filter(|tile| tile.width == TILE_WIDTH).collect();
    let whole = tree.tiles(66_000);
    let mut places: Vec<Tile> = Vec::new();
    for tile in &completed {
        assert_eq!(whole.tile(tile.level, tile.index, 256).unwrap(), tile.hashes);
        places.push(Tile { level: tile.level, index: tile.index, width: 256 });
    }
    places.sort();
    assert_eq!(places, full);
    let partial: Vec<Tile> = edge.partials().map(|(tile, _)| tile).collect();
    assert_eq!(partial, tiles_for_root(66_000));
    assert_eq!(partial, tiles_of(66_000).filter(|tile| tile.width < TILE_WIDTH).collect::<Vec<_>>());
    for (tile, hashes) in edge.partials() {
        assert_eq!(whole.tile(tile.level, tile.index, tile.width).unwrap(), hashes);
        assert_eq!(edge.partial(tile.level), hashes);
    }
}

#[test]
fn the_edge_proves_its_newest_leaves_from_memory_alone() {
    let tree = Tree::of(600);
    let mut edge = Edge::empty();
    for (leaf, size) in tree.leaves.iter().zip(1..) {
        let _ = edge.append(*leaf);
        assert_eq!((edge.size(), edge.root()), (size, tree.root_at(size)));
        assert_eq!(root(size, &edge).unwrap(), edge.root());
        let tile_start = size / 256 * 256;
        for index in tile_start..size {
            let path = inclusion_path(index, size, &edge).unwrap();
            verify_inclusion(&tree.leaves[index as usize], index, size, &path, &edge.root()).unwrap();
        }
        for old in tile_start.max(1)..=size {
            let path = consistency_path(old, size, &edge).unwrap();
            verify_consistency(old, &tree.root_at(old), size, &edge.root(), &path).unwrap();
        }
    }
    assert_eq!(inclusion_path(511, 600, &edge).unwrap_err().sentence.split(' ').next(), Some("tile/0/001"));
}

#[test]
fn an_edge_loaded_from_its_tiles_goes_on_as_if_it_had_never_stopped() {
    let tree = Tree::of(1023);
    for size in (0..20).chain(SIZES) {
        let mut edge = Edge::load(size, &tree.tiles(size)).unwrap();
        assert_eq!((edge.size(), edge.root()), (size, tree.root_at(size)));
        let mut copy = edge.clone();
        for leaf in &tree.leaves[size as usize..] {
            let _ = copy.append(*leaf);
        }
        assert_eq!(copy.root(), tree.edge.root());
        assert_eq!(edge.root(), tree.root_at(size), "the copy thrown away left no trace");
        let _ = edge.append([1; 32]);
        assert_eq!(edge.size(), size + 1);
    }
    let refusal = Edge::load(300, &Tiles::new()).unwrap_err();
    assert_eq!(refusal.sentence, "tile/0/001.p/44 is missing: the proof cannot be made without it");
}

#[test]
fn a_proof_reads_exactly_the_tiles_it_asked_for() {
    let tree = Tree::of(1023);
    for size in [1, 255, 256, 257, 513, 1023] {
        let all = tree.tiles(size);
        for index in [0, size / 2, size - 1] {
            let asked = tiles_for_inclusion(index, size);
            let without = |left_out: Option<&Tile>| {
                let mut tiles = Tiles::new();
                for tile in asked.iter().filter(|tile| Some(*tile) != left_out) {
                    tiles.insert(tile.level, tile.index, all.tile(tile.level, tile.index, tile.width).unwrap());
                }
                tiles
            };
            assert!(inclusion_path(index, size, &without(None)).is_ok());
            for tile in &asked {
                let refusal = inclusion_path(index, size, &without(Some(tile))).unwrap_err();
                assert!(refusal.sentence.starts_with(&tile.path()), "{refusal}");
            }
        }
    }
    assert_eq!(tiles_for_inclusion(3, 3), vec![]);
    assert_eq!(tiles_for_consistency(0, 9), vec![]);
    assert_eq!(tiles_for_root(0), vec![]);
    assert!(inclusion_path(3, 3, &tree.completed).is_err());
    assert!(consistency_path(4, 3, &tree.completed).is_err());
}

#[test]
fn the_largest_sizes_plan_without_overflow() {
    for size in [u64::MAX, i64::MAX as u64, 1 << 63] {
        assert!(tiles_for_inclusion(size - 1, size).len() <= 16);
        assert!(tiles_for_inclusion(0, size).len() <= 32);
        assert!(!tiles_for_consistency(size / 3, size).is_empty());
        assert!(!tiles_for_root(size).is_empty());
    }
}
