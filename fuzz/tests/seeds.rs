//! The committed corpus and thousands of seeded mutations of it, through every parser, in seconds.

use belay_fuzz::{Seeded, every_parser};
use std::path::Path;

/// Mutations of each file of the corpus.
const MUTATIONS: u64 = 2_000;

#[test]
fn no_mutation_of_the_corpus_makes_a_parser_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the corpus has {} files; one for each kind of document is expected", files.len());
    for (number, file) in files.iter().enumerate() {
        let sample = std::fs::read(file).unwrap();
        every_parser(&sample);
        let mut seeded = Seeded::new(number as u64 + 1);
        for round in 0..MUTATIONS {
            let input = seeded.mutate(&sample);
            let fed = std::panic::catch_unwind(|| every_parser(&input));
            if fed.is_err() {
                panic!("{} round {round}: a parser panicked on {:?}", file.display(), String::from_utf8_lossy(&input));
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_inputs() {
    let (mut a, mut b) = (Seeded::new(7), Seeded::new(7));
    for _ in 0..100 {
        assert_eq!(a.mutate(b"tenant = \"acme\"\n"), b.mutate(b"tenant = \"acme\"\n"));
    }
    assert_ne!(Seeded::new(1).mutate(&[7; 64]), Seeded::new(2).mutate(&[7; 64]));
}
