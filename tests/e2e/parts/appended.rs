//! A part for tests of faults: an installation whose commands leave their word in a file, so that the file says what ran, and how
//! often.

use belay_tests::{Person, Plan, World};
use std::{fs, path::PathBuf};

/// The device that runs them.
pub const DEVICE: &str = "web1.acme";

/// One gateway, one device, one person, and the file.
pub struct Bench {
    pub world: World,
    pub tech: Person,
    /// Every command appends its word here.
    pub file: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let world = World::of(Plan::small());
        let (tech, file) = (world.person("tech"), world.dir().join("ran"));
        fs::write(&file, "").unwrap();
        Self { world, tech, file }
    }

    /// The command that leaves `word`.
    pub fn command(&self, word: &str) -> String {
        format!("echo {word} >> {}", self.file.display())
    }

    /// The words in the order in which they were left.
    pub fn ran(&self) -> Vec<String> {
        fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }
}
