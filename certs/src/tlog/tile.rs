//! Tiles and entry bundles of C2SP `tlog-tiles`: their paths and their bytes.
//!
//! Not here: what the hashes in a tile mean, see `tree.rs`.

use super::hash::Hash;
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::ENTRY_BYTES_MAX;

/// Hashes in a full tile, and entries in a full bundle (C2SP tlog-tiles).
pub const TILE_WIDTH: u16 = 256;
/// The highest tile level a path may name (C2SP tlog-tiles).
const LEVEL_MAX: u8 = 63;
/// Leaves of a full tile of level l, as a power of two, are this many times l+1.
pub(crate) const TILE_HEIGHT: u8 = 8;

/// The place of one tile: `width` hashes from number `index * 256` of tile level `level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// 0 holds leaf hashes; each hash of level l+1 is the root of a full tile of level l.
    pub level: u8,
    /// Which tile of its level, from 0 at the left.
    pub index: u64,
    /// Hashes held: 1 to 256; below 256 the tile is partial.
    pub width: u16,
}

impl Tile {
    /// The C2SP path: `tile/0/x001/x234/067`, or `tile/0/x001/x234/067.p/5` for a partial tile.
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, place(self.index, self.width))
    }

    /// The tile that a C2SP path names; only the one canonical spelling is accepted.
    ///
    /// # Errors
    /// When `path` is no tile path: other level, width or spelling.
    pub fn parse_path(path: &str) -> Result<Self, Invalid> {
        let tile = path
            .strip_prefix("tile/")
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(level, place)| Some((level.parse().ok()?, parse_place(place)?)))
            .map(|(level, (index, width))| Self { level, index, width });
        tile.filter(|tile| tile.level <= LEVEL_MAX && tile.path() == path)
            .ok_or_else(|| malformed(format!("{path:?} is not a tile's path: write tile/LEVEL/INDEX[.p/WIDTH]")))
    }

    /// The tile numbered `index` of `level` in a tree of `size` leaves; `None` when that tree has no such tile.
    pub fn of_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let before = index.checked_mul(u64::from(TILE_WIDTH))?;
        let hashes = hashes_at(level, size).checked_sub(before)?.min(u64::from(TILE_WIDTH));
        let width = u16::try_from(hashes).ok().filter(|width| *width > 0)?;
        Some(Self { level, index, width })
    }
}

/// Hashes that all tiles of `level` hold together in a tree of `size` leaves.
pub(crate) fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
}

/// Every tile of a tree of `size` leaves, level by level from the leaves, each from left to right: what an export holds.
pub fn tiles_of(size: u64) -> impl Iterator<Item = Tile> {
    (0..TILE_HEIGHT).flat_map(move |level| (0..).map_while(move |index| Tile::of_tree(level, index, size)))
}

/// The C2SP path of an entry bundle: `tile/entries/x001/234`, or `tile/entries/x001/234.p/5` for a partial one.
pub fn entries_path(index: u64, width: u16) -> String {
    format!("tile/entries/{}", place(index, width))
}

/// `x001/x234/067`, and `.p/WIDTH` behind it when partial.
fn place(index: u64, width: u16) -> String {
    let mut out = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        out = format!("x{:03}/{out}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        out.push_str(&format!(".p/{width}"));
    }
    out
}

/// Lenient: the caller compares with the canonical spelling.
fn parse_place(text: &str) -> Option<(u64, u16)> {
    let (index, width) = match text.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        None => (text, TILE_WIDTH),
    };
    let index = index.split('/').try_fold(0u64, |number, part| {
        let digits: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok()?;
        number.checked_mul(1000)?.checked_add(digits)
    })?;
    Some((index, width))
}

/// A tile's bytes: its hashes one after the other.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// The hashes in a tile's bytes.
///
/// # Errors
/// When the bytes are not 1 to 256 whole hashes.
pub fn decode_hashes(bytes: &[u8]) -> Result<Vec<Hash>, Invalid> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.is_empty() || hashes.len() > usize::from(TILE_WIDTH) {
        return Err(malformed(format!("{} bytes are not 1 to 256 hashes of 32 bytes", bytes.len())));
    }
    Ok(hashes.to_vec())
}

/// An entry bundle: each entry behind its length in two bytes, big-endian.
///
/// # Errors
/// When an entry is longer than [`ENTRY_BYTES_MAX`] or there are more than 256.
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, Invalid> {
    check_width(entries.len())?;
    let mut out = Vec::new();
    for (number, entry) in entries.iter().map(AsRef::as_ref).enumerate() {
        let length = u16::try_from(entry.len()).map_err(|_| {
            let sentence =
                format!("entry {number} has {} bytes: an entry holds at most {ENTRY_BYTES_MAX}", entry.len());
            Invalid::new(Fault::TooLarge, sentence)
        })?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The entries of a bundle, in order.
///
/// # Errors
/// When the bytes end inside an entry, or hold more than 256.
pub fn decode_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, Invalid> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (entry, behind) = rest
            .split_first_chunk::<2>()
            .and_then(|(length, behind)| behind.split_at_checked(usize::from(u16::from_be_bytes(*length))))
            .ok_or_else(|| malformed(format!("the bundle ends inside entry {}", entries.len())))?;
        entries.push(entry);
        check_width(entries.len())?;
        rest = behind;
    }
    Ok(entries)
}

fn check_width(entries: usize) -> Result<(), Invalid> {
    if entries > usize::from(TILE_WIDTH) {
        return Err(Invalid::new(Fault::TooLarge, "a bundle holds at most 256 entries"));
    }
    Ok(())
}

const _: () = assert!(ENTRY_BYTES_MAX == u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_standard_and_of_the_oracle() {
        let cases = [
            (0, 0, 256, "tile/0/000"),
            (0, 999, 256, "tile/0/999"),
            (1, 1000, 7, "tile/1/x001/000.p/7"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (63, 5, 1, "tile/63/005.p/1"),
        ];
        for (level, index, width, path) in cases {
            let tile = Tile { level, index, width };
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse_path(path).unwrap(), tile);
            let oracle = tlog_tiles::Tile::new(8, level, index, u32::from(width), false);
            assert_eq!(format!("tile/8/{}", path.trim_start_matches("tile/")), oracle.path());
        }
        assert_eq!(entries_path(1234, 5), "tile/entries/x001/234.p/5");
        let far = Tile { level: 7, index: u64::MAX, width: 256 };
        assert_eq!(Tile::parse_path(&far.path()).unwrap(), far);
    }

    #[test]
    fn other_spellings_of_a_path_are_refused() {
        for path in [
            "tile/0/0",
            "tile/0/x000/000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/05",
            "tile/64/000",
            "tile/0/001/234",
            "tile/0/x001/x234",
            "tile/entries/000",
            "/tile/0/000",
            "tile/0/+01",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "",
        ] {
            assert!(Tile::parse_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_tree_of_70000_has_the_tiles_the_standard_lists() {
        let tiles: Vec<Tile> = tiles_of(70_000).collect();
        let width = |level, index| tiles.iter().find(|t| t.level == level && t.index == index).map(|t| t.width);
        assert_eq!(tiles.len(), 273 + 1 + 1 + 1 + 1);
        assert_eq!((width(0, 272), width(0, 273)), (Some(256), Some(112)));
        assert_eq!((width(1, 0), width(1, 1), width(2, 0)), (Some(256), Some(17), Some(1)));
        assert_eq!(tiles_of(0).count(), 0);
    }

    #[test]
    fn a_bundle_is_read_back_and_never_cut_short() {
        let entries: Vec<&[u8]> = vec![b"one", b"", b"three"];
        let bytes = encode_bundle(&entries).unwrap();
        assert_eq!(bytes, b"\0\x03one\0\0\0\x05three");
        assert_eq!(decode_bundle(&bytes).unwrap(), entries);
        for end in [1, 2, 4, 6, 8, bytes.len() - 1] {
            assert!(decode_bundle(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn bundles_and_tiles_over_their_limits_are_refused() {
        assert!(encode_bundle(&[vec![0; ENTRY_BYTES_MAX]]).is_ok());
        assert_eq!(encode_bundle(&[vec![0; ENTRY_BYTES_MAX + 1]]).unwrap_err().fault, Fault::TooLarge);
        assert!(encode_bundle(&vec![b""; 257]).is_err());
        assert!(decode_bundle(&[0; 514]).is_err());
        assert_eq!(decode_hashes(&encode_hashes(&[[7; 32]; 256])).unwrap(), vec![[7; 32]; 256]);
        for length in [0, 31, 33, 257 * 32] {
            assert!(decode_hashes(&vec![0; length]).is_err(), "{length}");
        }
    }
}
