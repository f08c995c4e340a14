//! The log: statements, entries, checkpoints, tiles and proofs, and whole exports.

use crate::read_again;
use belay_certs::{
    Invalid,
    entry::Entry,
    statement::{self as said, Statement},
    tlog::{
        Checkpoint, Edge, Hash, NoteSigner, NoteVerifier, Source, TILE_WIDTH, Tile, TileReader, Tiles, check_log,
        consistency_path, decode_bundle, decode_hashes, encode_bundle, encode_hashes, entries_path, inclusion_path,
        leaf_hash, root, tiles_of, verify_consistency, verify_inclusion,
    },
};
use std::{collections::BTreeMap, sync::OnceLock};

/// The log that is made here.
const ORIGIN: &str = "gw.example/acme";
/// Entries of the logs that are made here: enough for a full tile, a partial one and two levels.
const ENTRIES_MAX: usize = 600;

/// A statement's text, and the words of strangers in it.
pub(crate) fn statement(input: &[u8]) {
    if let Ok(statement) = Statement::parse(input) {
        let again = statement.to_text().and_then(|text| Statement::parse(text.as_bytes()));
        read_again(&statement, again);
    }
    let word = said::word(&String::from_utf8_lossy(input));
    assert_eq!(said::word(&word), word, "a readable word stays as it is");
}

pub(crate) fn entry(input: &[u8]) {
    if let Ok(entry) = Entry::parse(input) {
        let _ = entry.check_envelope(None);
        read_again(&entry, entry.to_bytes().and_then(|bytes| Entry::parse(&bytes)));
    }
}

/// A checkpoint's text, a signed note, a log's key. Nothing that a fuzzer writes is signed by our key.
pub(crate) fn checkpoint(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(checkpoint) = Checkpoint::parse(&text) {
        read_again(&checkpoint, Checkpoint::parse(&checkpoint.to_text()));
    }
    if let Ok(key) = NoteVerifier::parse(&text) {
        read_again(&key, NoteVerifier::parse(&key.to_string()));
    }
    let Some(signer) = signer() else { return };
    if let Ok(opened) = Checkpoint::open(input, ORIGIN, &signer.vkey()) {
        assert_eq!(opened.sign(signer).ok().map(String::into_bytes).as_deref(), Some(input), "signed by nobody");
    }
}

/// An honest proof holds, and no other does.
pub(crate) fn proofs(input: &[u8]) {
    let [a, b, c, d, which, at, flip, ..] = *input else { return };
    let new = u64::from(u16::from_be_bytes([a, b])) % (ENTRIES_MAX as u64) + 1;
    let old = u64::from(u16::from_be_bytes([c, d])) % new;
    let tree = Grown::of((0..new).map(|number| leaf_hash(&number.to_be_bytes())));
    let reader = (&tree.edge, &tree.full);
    let (leaf, new_root) = (leaf_hash(&old.to_be_bytes()), tree.edge.root());
    let inclusion = inclusion_path(old, new, &reader).unwrap_or_default();
    assert!(verify_inclusion(&leaf, old, new, &inclusion, &new_root).is_ok(), "{old} of {new}");
    let old_root = root(old, &reader).unwrap_or_default();
    let consistency = consistency_path(old, new, &reader).unwrap_or_default();
    assert!(verify_consistency(old, &old_root, new, &new_root, &consistency).is_ok(), "{old} to {new}");
    let other = spoilt(&inclusion, which, at, flip, input);
    let believed = verify_inclusion(&leaf, old, new, &other, &new_root).is_ok();
    assert_eq!(believed, other == inclusion, "only the one path includes");
    let other = spoilt(&consistency, which, at, flip, input);
    let believed = verify_consistency(old, &old_root, new, &new_root, &other).is_ok();
    assert_eq!(believed, other == consistency, "only the one path is consistent");
    // Any sizes at all: no panic, no overflow.
    let far = input.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let _ = verify_inclusion(&leaf, old, far, &other, &new_root);
    let _ = verify_inclusion(&leaf, far, u64::MAX, &other, &new_root);
    let _ = verify_consistency(old, &old_root, far, &new_root, &other);
    let _ = verify_consistency(far, &old_root, u64::MAX, &new_root, &other);
}

/// The path with one hash changed, removed, doubled, swapped or taken from the input.
fn spoilt(path: &[Hash], which: u8, at: u8, flip: u8, input: &[u8]) -> Vec<Hash> {
    let mut path = path.to_vec();
    let at = usize::from(at) % (path.len() + 1);
    let given = input.last_chunk::<32>().copied().unwrap_or([flip; 32]);
    match which % 5 {
        0 => path.insert(at, given),
        1 if at < path.len() => drop(path.remove(at)),
        2 if at < path.len() => path[at][usize::from(flip) % 32] ^= flip,
        3 if at < path.len() => path[at] = given,
        4 if at < path.len() => {
            let other = usize::from(flip) % path.len();
            path.swap(at, other);
        }
        _ => {}
    }
    path
}

/// The names and the bytes of tiles and bundles.
pub(crate) fn tiles(input: &[u8]) {
    if let Ok(tile) = Tile::parse_path(&String::from_utf8_lossy(input)) {
        read_again(&tile, Tile::parse_path(&tile.path()));
    }
    if let Ok(entries) = decode_bundle(input) {
        assert_eq!(encode_bundle(&entries).ok().as_deref(), Some(input), "a bundle has one spelling");
    }
    if let Ok(hashes) = decode_hashes(input) {
        assert_eq!(encode_hashes(&hashes), input, "a tile has one spelling");
    }
}

/// A tree with everything that proofs and exports are made of.
struct Grown {
    edge: Edge,
    full: Tiles,
}

impl Grown {
    fn of(leaves: impl Iterator<Item = Hash>) -> Self {
        let (mut edge, mut full) = (Edge::empty(), Tiles::new());
        for leaf in leaves {
            for tile in edge.append(leaf) {
                full.insert(tile.level, tile.index, &tile.hashes);
            }
        }
        Self { edge, full }
    }
}

/// An export in memory.
#[derive(Clone)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Source for Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Invalid> {
        Ok(self.0.get(path).cloned())
    }
}

fn signer() -> Option<&'static NoteSigner> {
    static SIGNER: OnceLock<Option<NoteSigner>> = OnceLock::new();
    SIGNER.get_or_init(|| NoteSigner::generate(ORIGIN).ok()).as_ref()
}

/// The honest export of a log with these entries.
fn exported(entries: &[&[u8]], signer: &NoteSigner) -> Option<Files> {
    let tree = Grown::of(entries.iter().map(|entry| leaf_hash(entry)));
    let size = tree.edge.size();
    let head = Checkpoint { origin: ORIGIN.to_owned(), size, root: tree.edge.root() };
    let mut files = BTreeMap::from([("checkpoint".to_owned(), head.sign(signer).ok()?.into_bytes())]);
    let reader = (&tree.edge, &tree.full);
    for tile in tiles_of(size) {
        files.insert(tile.path(), encode_hashes(reader.tile(tile.level, tile.index, tile.width)?));
    }
    for (index, bundle) in (0..).zip(entries.chunks(usize::from(TILE_WIDTH))) {
        let path = entries_path(index, u16::try_from(bundle.len()).ok()?);
        files.insert(path, encode_bundle(bundle).ok()?);
    }
    Some(Files(files))
}

/// A whole log: with any entries under an honest tree, or an honest log with one file changed.
pub(crate) fn export(input: &[u8]) {
    let (Some((mode, rest)), Some(signer)) = (input.split_first(), signer()) else { return };
    if mode.is_multiple_of(2) {
        let entries: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').take(ENTRIES_MAX).collect();
        let Some(files) = exported(&entries, signer) else { return };
        let checked = check_log(&files, ORIGIN, &signer.vkey(), None, &mut |_, _| {});
        assert!(checked.is_err() || checked.is_ok_and(|report| report.entries == entries.len() as u64));
        return;
    }
    static HONEST: OnceLock<Option<Files>> = OnceLock::new();
    let Some(honest) = HONEST.get_or_init(|| honest(signer)) else { return };
    let [which, high, low, rest @ ..] = rest else { return };
    let mut files = honest.clone();
    let Some((_, bytes)) = files.0.iter_mut().nth(usize::from(*which) % honest.0.len()) else { return };
    let before = bytes.clone();
    let at = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
    let end = (at + rest.len()).min(bytes.len());
    bytes.splice(at..end, rest.iter().copied());
    let changed = *bytes != before;
    let checked = check_log(&files, ORIGIN, &signer.vkey(), None, &mut |_, _| {});
    assert_eq!(checked.is_err(), changed, "a changed export is refused, and no other");
}

fn honest(signer: &NoteSigner) -> Option<Files> {
    let entries: Vec<String> = (0..300)
        .map(|number: u32| {
            format!(r#"{{"v":1,"id":"{number:032x}","type":"test.made","at":"2026-11-21T09:00:00Z","tenant":"acme","n":{number}}}"#)
        })
        .collect();
    exported(&entries.iter().map(String::as_bytes).collect::<Vec<_>>(), signer)
}
