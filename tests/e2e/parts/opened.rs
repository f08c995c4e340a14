//! What runs printed, opened as an auditor of acme opens it.

use belay_certs::{
    output::{Line, open, read, read_cut_off},
    recording::blob::Identities,
};
use belay_tests::World;
use std::fs;

/// The lines of a whole output file.
#[track_caller]
pub fn opened(world: &World, file: &[u8]) -> Vec<Line> {
    read(file).unwrap();
    let key = fs::read_to_string(world.tenant_dir("acme").join("auditor.age")).unwrap();
    open(read_cut_off(file).unwrap(), Some(&Identities::parse(&key).unwrap())).unwrap().lines
}
