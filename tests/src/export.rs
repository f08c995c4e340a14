//! A log as its auditor takes it home: the files of an export, in memory, to be read, damaged and put together again.
//!
//! What the files mean is left to the verifiers; here they are names and bytes, and bundles of entries.

use crate::{
    call::{Said, run},
    person::Person,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, process::Command, str};

/// A tar is made of blocks of this size (POSIX ustar).
const BLOCK_BYTES: usize = 512;
/// Where a ustar header keeps a name, a size and what kind of file it is.
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const KIND: usize = 156;
/// Where it keeps the sum of its bytes.
const SUM: std::ops::Range<usize> = 148..156;
/// The verifier that shares no code with Belay.
const INDEPENDENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/independent/verify_log.py");

/// The files of an export by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Exports a tenant's log as `person` would: `ssh gw log export TENANT`.
///
/// # Errors
/// The gateway refuses, or what it sends is no archive.
pub fn fetch(person: &Person, tenant: &str) -> Result<Files> {
    let said = run(person.ssh_command().args(["--", "gw", &format!("log export {tenant}")]), b"")?.succeeded()?;
    unpack(&said.stdout)
}

/// The files of a tar.
///
/// # Errors
/// It is cut off, or holds something but plain files.
pub fn unpack(tar: &[u8]) -> Result<Files> {
    let (mut files, mut at) = (Files::new(), 0);
    loop {
        let header = tar.get(at..at + BLOCK_BYTES).context("the archive is cut off inside a header")?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        let text =
            |range: std::ops::Range<usize>| str::from_utf8(&header[range]).map(|text| text.trim_matches(['\0', ' ']));
        let (name, size) = (text(NAME)?.to_owned(), usize::from_str_radix(text(SIZE)?, 8)?);
        ensure!(matches!(header[KIND], b'0' | 0), "{name} is no plain file");
        at += BLOCK_BYTES;
        let bytes = tar.get(at..at + size).with_context(|| format!("the archive is cut off inside {name}"))?;
        at += size.next_multiple_of(BLOCK_BYTES);
        if files.insert(name.clone(), bytes.to_vec()).is_some() {
            bail!("{name} is twice in the archive");
        }
    }
}

/// The files as a tar.
pub fn pack(files: &Files) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in files {
        let mut header = [0; BLOCK_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[SIZE].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[SUM].fill(b' ');
        header[KIND] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
    tar
}

/// The entries of a bundle: each behind its length in two bytes (C2SP tlog-tiles).
///
/// # Panics
/// It ends inside an entry.
#[track_caller]
pub fn bundle(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut entries, mut rest) = (Vec::new(), bytes);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
        entries.push(entry.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "a bundle ends inside an entry");
    entries
}

/// Every entry of an export, in order. Export paths sort as their indexes do below 256,000 entries.
pub fn entries(files: &Files) -> Vec<Vec<u8>> {
    let bundles = files.iter().filter(|(path, _)| path.starts_with("tile/entries/"));
    bundles.flat_map(|(_, bytes)| bundle(bytes)).collect()
}

/// Every event of an export, in order.
///
/// # Panics
/// An entry is not JSON.
#[track_caller]
pub fn events(files: &Files) -> Vec<Value> {
    let parse =
        |entry: Vec<u8>| serde_json::from_slice(&entry).unwrap_or_else(|error| panic!("not JSON ({error}): {entry:?}"));
    entries(files).into_iter().map(parse).collect()
}

/// What the device said in an event: the text of its statement, as JSON; null where there is none.
pub fn statement(event: &Value) -> Value {
    let text = event["statement"]["text"].as_str().unwrap_or("null");
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// The verifier in `tests/independent`, on an archive or a directory, with the key given by hand.
///
/// # Errors
/// It cannot be run.
pub fn independent(export: &Path, vkey: &str, since: Option<&Path>) -> Result<Said> {
    let mut python = Command::new("python3");
    python.arg(INDEPENDENT).arg(export).arg(vkey);
    if let Some(since) = since {
        python.arg("--since").arg(since);
    }
    run(&mut python, b"")
}

/// The key of a tenant's log as the policy in `file` names it.
///
/// # Errors
/// It names none.
pub fn vkey_of_policy(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let found = text.rsplit_once("vkey = \"").and_then(|(_, rest)| rest.split_once('"'));
    found.map(|(vkey, _)| vkey.to_owned()).with_context(|| format!("{} names no log", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_back_here_and_by_tar() {
        let files = Files::from([("a".to_owned(), vec![7; 513]), ("tile/0/000.p/1".to_owned(), b"".to_vec())]);
        let tar = pack(&files);
        assert_eq!(unpack(&tar).unwrap(), files);
        assert!(unpack(&tar[..700]).is_err());
        let listed = run(Command::new("tar").arg("-t"), &tar).unwrap().must().out();
        assert_eq!(listed, "a\ntile/0/000.p/1\n");
    }

    #[test]
    fn a_bundle_is_cut_where_its_lengths_say() {
        assert_eq!(bundle(b"\0\x03one\0\0\0\x01x"), [&b"one"[..], b"", b"x"]);
    }
}
