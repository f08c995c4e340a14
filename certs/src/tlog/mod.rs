//! The transparency log as mathematics: RFC 6962 hashes, C2SP tiles, proofs, signed checkpoints, and the check of a whole log.
//!
//! Not here: where tiles are stored and when a checkpoint is signed (the gateway's store), what an entry says (`entry.rs`).
//!
//! | file | what it knows |
//! |---|---|
//! | `hash.rs` | leaf, node and root hashes |
//! | `tile.rs` | the names and the bytes of tiles and entry bundles |
//! | `tree.rs` | which tiles a proof needs, and the proof made from them |
//! | `edge.rs` | the right edge of a growing tree, in memory |
//! | `proof.rs` | inclusion and consistency proofs, verified |
//! | `note.rs`, `checkpoint.rs` | signed notes, and the log's signed head |
//! | `check.rs`, `chains.rs` | an exported log, checked from its key alone; the devices' statement chains inside it |

mod chains;
pub mod check;
pub mod checkpoint;
pub mod edge;
pub mod hash;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tree;

pub use chains::life;
pub use check::{Report, Source, check_log};
pub use checkpoint::Checkpoint;
pub use edge::{CompletedTile, Edge};
pub use hash::{Hash, empty_root, leaf_hash, node_hash, root_of};
pub use note::{NoteSigner, NoteVerifier};
pub use proof::{verify_consistency, verify_inclusion};
pub use tile::{TILE_WIDTH, Tile, decode_bundle, decode_hashes, encode_bundle, encode_hashes, entries_path, tiles_of};
pub use tree::{
    TileReader, Tiles, consistency_path, inclusion_path, root, tiles_for_consistency, tiles_for_inclusion,
    tiles_for_root,
};

#[cfg(test)]
mod tests;
