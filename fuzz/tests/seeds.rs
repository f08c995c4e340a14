//! The committed corpus and thousands of seeded mutations of it, through every target, in seconds.

use belay_fuzz::{Seeded, TARGETS, Target};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Mutations for each target, shared by the files of its corpus.
const MUTATIONS: usize = 2_000;
/// All files of the corpus together, in bytes: it is committed.
const CORPUS_BYTES_MAX: u64 = 200 << 10;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &Target) -> Vec<PathBuf> {
    let dir = here().join("corpus").join(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn no_mutation_of_the_corpus_breaks_a_target() {
    for target in TARGETS {
        let files = corpus(target);
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for (number, file) in files.iter().enumerate() {
            let sample = fs::read(file).unwrap();
            (target.feed)(&sample);
            let mut seeded = Seeded::new(number as u64 + 1);
            for round in 0..MUTATIONS / files.len() {
                let input = seeded.mutate(&sample);
                let fed = std::panic::catch_unwind(|| (target.feed)(&input));
                assert!(fed.is_ok(), "{} round {round}: {:?}", file.display(), String::from_utf8_lossy(&input));
            }
        }
    }
}

#[test]
fn every_target_withstands_every_other_ones_corpus() {
    for file in TARGETS.iter().flat_map(corpus) {
        let sample = fs::read(&file).unwrap();
        TARGETS.iter().for_each(|target| (target.feed)(&sample));
    }
}

#[test]
fn every_target_can_be_run_by_cargo_fuzz_and_the_corpus_is_small() {
    let manifest = fs::read_to_string(here().join("Cargo.toml")).unwrap();
    for target in TARGETS {
        let path = format!("targets/{}.rs", target.name);
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{path} is no target of cargo");
        let source = fs::read_to_string(here().join(&path)).unwrap();
        assert!(source.contains(&format!("feed(\"{}\", input)", target.name)), "{path} feeds another target");
    }
    let bytes: u64 = TARGETS.iter().flat_map(corpus).map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
}

#[test]
fn the_same_seed_gives_the_same_inputs() {
    let (mut a, mut b) = (Seeded::new(7), Seeded::new(7));
    for _ in 0..100 {
        assert_eq!(a.mutate(b"tenant = \"acme\"\n"), b.mutate(b"tenant = \"acme\"\n"));
    }
    assert_ne!(Seeded::new(1).mutate(&[7; 64]), Seeded::new(2).mutate(&[7; 64]));
}
