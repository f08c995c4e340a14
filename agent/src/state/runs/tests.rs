//! What is there after a crash or a failed write: the offer whole or not at all, of the output what was synced.

use super::*;

fn state() -> (tempfile::TempDir, StateDir, RunFiles) {
    let keep = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&keep.path().join("state")).unwrap();
    let files = RunFiles::open(&dir).unwrap();
    (keep, dir, files)
}

fn kept() -> Kept {
    let signed = |text: &str| Signed { bytes: text.into(), signatures: vec![format!("signature of {text}")] };
    let sealed = Some("YWdl".parse().unwrap());
    Kept { order: signed("order"), runbook: signed("#!/bin/sh\n"), index: 3, path: vec![[1; 32], [2; 32]], sealed }
}

const ONE: Id = Id([1; 16]);
const TWO: Id = Id([2; 16]);

#[test]
fn an_offer_is_kept_and_read_back_and_swept_away_when_nobody_knows_it() {
    let (_keep, dir, files) = state();
    files.keep(ONE, &kept()).unwrap();
    files.keep(TWO, &kept()).unwrap();
    // As after a crash in the middle of keeping: again is the same.
    files.keep(ONE, &kept()).unwrap();
    assert_eq!(RunFiles::open(&dir).unwrap().load(ONE).unwrap(), kept());
    assert_eq!(files.held_bytes(), 2 * 7 * RUN_BLOCK_BYTES);
    fs::write(dir.at("runs/rubbish"), b"").unwrap();
    files.sweep(&[TWO]).unwrap();
    assert!(files.load(ONE).unwrap_err().to_string().contains("missing"));
    assert_eq!(fs::read_dir(dir.at("runs")).unwrap().count(), 1);
    files.remove(TWO);
    assert_eq!(files.held_bytes(), 0);
}

#[test]
fn an_offer_that_cannot_be_written_is_not_kept() {
    let (_keep, dir, files) = state();
    fs::write(dir.at("runs").join(ONE.to_string()), b"in the way").unwrap();
    assert!(files.keep(ONE, &kept()).is_err());
    files.sweep(&[]).unwrap();
    fs::create_dir(dir.at("runs").join(TWO.to_string())).unwrap();
    // Writing to /dev/full fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", dir.at("runs").join(TWO.to_string()).join("runbook.new")).unwrap();
    assert!(files.keep(TWO, &kept()).is_err());
}

#[test]
fn lines_that_cannot_be_written_are_not_in_the_output() {
    let (_keep, dir, files) = state();
    files.keep(ONE, &kept()).unwrap();
    let output = files.output(ONE).unwrap();
    output.append(0, b"0 o YQ==\n").unwrap();
    let path = dir.at("runs").join(ONE.to_string()).join("output");
    let unwritable = OutputFile { file: File::open(&path).unwrap(), path };
    assert!(unwritable.append(9, b"1 o Yg==\n").unwrap_err().to_string().contains("cannot be written"));
    assert!(unwritable.trim(0).is_err());
    assert_eq!(output.read().unwrap(), b"0 o YQ==\n");
}

#[test]
fn what_was_written_and_never_said_is_cut_off_after_a_crash() {
    let (_keep, _dir, files) = state();
    files.keep(ONE, &kept()).unwrap();
    let output = files.output(ONE).unwrap();
    output.append(0, b"0 o YQ==\n1 o Y").unwrap();
    let output = files.output(ONE).unwrap();
    output.trim(9).unwrap();
    assert_eq!((output.read().unwrap().as_slice(), output.slice(2, 1).unwrap()), (&b"0 o YQ==\n"[..], b"o".to_vec()));
    assert!(output.slice(9, 1).is_err());
}

#[test]
fn the_stamp_is_made_once_and_a_failed_one_is_made_later() {
    let (_keep, dir, _files) = state();
    let (first, later): (Timestamp, Timestamp) =
        ("2026-11-21T09:00:00Z".parse().unwrap(), "2026-11-22T09:00:00Z".parse().unwrap());
    fs::create_dir(dir.at("since.new")).unwrap();
    assert!(remembers_since(&dir, first).is_err());
    fs::remove_dir(dir.at("since.new")).unwrap();
    assert_eq!(remembers_since(&dir, first).unwrap(), first);
    assert_eq!(remembers_since(&dir, later).unwrap(), first);
    fs::write(dir.at("since"), b"yesterday\n").unwrap();
    assert!(remembers_since(&dir, later).is_err());
}
