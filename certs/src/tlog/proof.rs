//! Inclusion and consistency proofs, verified as RFC 9162 sections 2.1.3.2 and 2.1.4.2 say.
//!
//! Not here: making them, see `tree.rs`.

use super::hash::{Hash, empty_root, node_hash};
use crate::invalid::{Fault, Invalid};
use crate::limits::PROOF_HASHES_MAX;

/// Leaf `index` of the tree of `size` leaves with this `root` is `leaf`.
///
/// # Errors
/// [`Fault::BadProof`] when the path does not lead from the leaf to the root.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), Invalid> {
    if index >= size {
        return Err(bad(format!("a tree of {size} entries has no entry {index}")));
    }
    check_length(path)?;
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in path {
        let side = walk.climb().ok_or_else(|| bad(format!("the inclusion proof of entry {index} is too long")))?;
        hash = match side {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    if !walk.at_root() {
        return Err(bad(format!("the inclusion proof of entry {index} is too short")));
    }
    if hash != *root {
        return Err(bad(format!("the inclusion proof does not show entry {index} in the tree of {size} entries")));
    }
    Ok(())
}

/// The tree of `new_size` leaves with `new_root` begins with the whole tree of `old_size` leaves with `old_root`.
///
/// # Errors
/// [`Fault::BadProof`] when the new tree is smaller, or the path does not lead to both roots.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), Invalid> {
    check_length(path)?;
    if old_size > new_size {
        return Err(bad(format!("the log shrank from {old_size} to {new_size} entries")));
    }
    if old_size == 0 || old_size == new_size {
        return verify_trivial(old_size, old_root, new_size, new_root, path);
    }
    let too_short = || bad(format!("the consistency proof from {old_size} to {new_size} entries is too short"));
    // A complete old tree is itself the first hash, so the proof leaves it out.
    let (seed, rest) = match path.split_first() {
        _ if old_size.is_power_of_two() => (old_root, path),
        Some((first, rest)) => (first, rest),
        None => return Err(too_short()),
    };
    let mut walk = Walk { node: old_size - 1, last: new_size - 1 };
    walk.skip_complete();
    let (mut old, mut new) = (*seed, *seed);
    for sibling in rest {
        let side = walk
            .climb()
            .ok_or_else(|| bad(format!("the consistency proof from {old_size} to {new_size} entries is too long")))?;
        match side {
            Side::Left => (old, new) = (node_hash(sibling, &old), node_hash(sibling, &new)),
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    if !walk.at_root() {
        return Err(too_short());
    }
    if old != *old_root || new != *new_root {
        return Err(inconsistent(old_size, new_size));
    }
    Ok(())
}

/// From the empty tree, or to the same tree: no path, and the roots speak for themselves.
fn verify_trivial(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), Invalid> {
    if !path.is_empty() {
        return Err(bad(format!("the consistency proof from {old_size} to {new_size} entries must be empty")));
    }
    let empty_agrees = old_size > 0 || *old_root == empty_root();
    let same_agrees = old_size != new_size || old_root == new_root;
    if !empty_agrees || !same_agrees {
        return Err(inconsistent(old_size, new_size));
    }
    Ok(())
}

/// On which side of the walked node its sibling stands.
enum Side {
    Left,
    Right,
}

/// A walk from a node up to the root, level by level: numbers of the node and of the last node at the level.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    fn at_root(&self) -> bool {
        self.last == 0
    }

    /// To the level where the node is a left child: the top of the complete subtree that ends with it.
    fn skip_complete(&mut self) {
        let levels = self.node.trailing_ones();
        self.node >>= levels;
        self.last >>= levels;
    }

    /// One sibling up; `None` above the root. A last node without sibling rises until it has one on its left.
    fn climb(&mut self) -> Option<Side> {
        if self.at_root() {
            return None;
        }
        if self.node == self.last && self.node.is_multiple_of(2) {
            let levels = self.node.trailing_zeros();
            self.node >>= levels;
            self.last >>= levels;
        }
        let side = if self.node.is_multiple_of(2) { Side::Right } else { Side::Left };
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }
}

fn check_length(path: &[Hash]) -> Result<(), Invalid> {
    if path.len() > PROOF_HASHES_MAX {
        let sentence = format!("a proof of {} hashes is refused: at most {PROOF_HASHES_MAX}", path.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(())
}

fn inconsistent(old_size: u64, new_size: u64) -> Invalid {
    bad(format!("the log of {new_size} entries does not continue the log of {old_size}: history was changed"))
}

fn bad(sentence: String) -> Invalid {
    Invalid::new(Fault::BadProof, sentence)
}
