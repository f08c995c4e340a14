//! The Merkle tree hashes of RFC 6962, section 2.1, with SHA-256.
//!
//! Not here: trees larger than memory, see `tree.rs` and `edge.rs`.

use ring::digest::{Context, SHA256, digest};

/// One SHA-256 hash of the tree: of a leaf, of a node, or a root.
pub type Hash = [u8; 32];

/// The byte before an entry when it is hashed, so that no entry can be taken for a node.
const LEAF: u8 = 0;
/// The byte before two hashes when they are joined.
const NODE: u8 = 1;

fn hash(digest: &ring::digest::Digest) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// The hash of one entry's bytes.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[LEAF]);
    context.update(entry);
    hash(&context.finish())
}

/// The hash of two subtrees, the left one first.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[NODE]);
    context.update(left);
    context.update(right);
    hash(&context.finish())
}

/// The root of the tree without leaves.
pub fn empty_root() -> Hash {
    hash(&digest(&SHA256, b""))
}

/// The root over `leaves` in order; leaves are leaf hashes, or the roots of complete subtrees of one size.
pub fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(left_leaves(leaves.len()));
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// How many of `leaves` (at least two) are in the left subtree: the largest power of two below it.
fn left_leaves(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    #[test]
    fn the_roots_are_those_of_the_published_test_tree() {
        // The eight inputs and roots that certificate-transparency implementations share as their reference tree.
        let leaves: Vec<Hash> = [
            &[][..],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ]
        .map(leaf_hash)
        .to_vec();
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (count, root) in (1..).zip(roots) {
            assert_eq!(hex(&root_of(&leaves[..count])), root, "{count} leaves");
        }
        assert_eq!(hex(&empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn the_hashes_are_those_of_the_oracle() {
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        assert_eq!(a, tlog_tiles::record_hash(b"a").0);
        assert_eq!(node_hash(&a, &b), tlog_tiles::node_hash(tlog_tiles::Hash(a), tlog_tiles::Hash(b)).0);
        assert_eq!(empty_root(), tlog_tiles::EMPTY_HASH.0);
    }
}
