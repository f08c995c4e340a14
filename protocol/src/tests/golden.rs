//! The bytes of every message, kept in `golden/`: a build that writes or reads them otherwise is not compatible.
//! `BELAY_BLESS=1 cargo test -p belay-protocol golden` writes them anew; a changed file is a broken protocol, a new one is not.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::samples::{ForEach, for_each};
use crate::kinds::KINDS;
use crate::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn file<M: Message>() -> String {
    format!("{:03}-{}-v{}.hex", M::KIND, M::NAME, M::VERSION)
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[derive(Default)]
struct Compare {
    files: BTreeSet<String>,
}

impl ForEach for Compare {
    fn message<M: Message + Clone + PartialEq + std::fmt::Debug>(&mut self, sample: M) {
        let frame = encode_frame(&sample).unwrap();
        let path = folder().join(file::<M>());
        if std::env::var_os("BELAY_BLESS").is_some() {
            std::fs::write(&path, to_hex(&frame)).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(to_hex(&frame), golden, "{} is written otherwise than its golden vector", M::NAME);

        let bytes = from_hex(&golden);
        let length = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
        assert_eq!(length, bytes.len() - 4, "{}", M::NAME);
        let raw = RawFrame { kind: M::KIND, version: M::VERSION, body: bytes[7..].to_vec() };
        assert_eq!(decode_frame::<M>(&raw).as_ref(), Ok(&sample), "{} is read otherwise", M::NAME);
        self.files.insert(file::<M>());
    }
}

#[test]
fn the_nudge_is_as_the_document_says() {
    let document = include_str!("../../PROTOCOL.md");
    let shown = format!("`{}`", to_hex(&nudge::NUDGE).trim());
    assert!(document.contains(&shown), "PROTOCOL.md lacks {shown}");
    assert_eq!(shown, "`0b62656c61790001`");
}

#[test]
fn golden_vectors_are_written_and_read_as_ever() {
    let mut compare = Compare::default();
    for_each(&mut compare);
    assert_eq!(compare.files.len(), KINDS.len(), "every kind has a sample");
    let found = std::fs::read_dir(folder()).unwrap();
    let found: BTreeSet<String> = found.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, compare.files, "no vector is missing or left over");
}

#[test]
fn golden_layout_is_the_one_in_the_document() {
    let drain = encode_frame(&Drain { within_ms: 20_000 }).unwrap();
    assert_eq!(drain, [0, 0, 0, 6, 0, 69, 1, 0xfb, 0x20, 0x4e]);
    let taken = encode_frame(&RecordTaken { serial: 2 }).unwrap();
    assert_eq!(taken, [0, 0, 0, 4, 0, 5, 1, 2]);
    let asked = encode_frame(&JoinRefused { sentence: "No".into() }).unwrap();
    assert_eq!(asked, [0, 0, 0, 6, 0, 97, 1, 2, b'N', b'o']);
}
