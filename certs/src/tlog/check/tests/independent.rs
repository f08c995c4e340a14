//! The verifier in Python, which shares nothing with this crate, says the same of the same exports (P8).

use super::*;
use std::path::Path;
use std::process::Command;

const VERIFIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/independent/verify_log.py");

fn write(export: &Export, directory: &Path) {
    for (path, bytes) in export {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Whether the Python verifier accepts, and its one line.
fn python(export: &Path, log: &Log, since: Option<&Checkpoint>) -> (bool, String) {
    let mut command = Command::new("python3");
    command.arg(VERIFIER).arg(export).arg(log.signer.vkey());
    let folder = tempfile::tempdir().unwrap();
    if let Some(since) = since {
        let file = folder.path().join("old");
        std::fs::write(&file, since.sign(&log.signer).unwrap()).unwrap();
        command.arg("--since").arg(file);
    }
    let output = command.output().expect("python3 runs");
    let line = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    (output.status.code() == Some(0), line.trim_end().to_owned())
}

fn python_on(export: &Export, log: &Log, since: Option<&Checkpoint>) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    write(export, folder.path());
    python(folder.path(), log, since)
}

#[test]
fn both_accept_whole_logs() {
    for log in [Log::of(vec![]), Log::sample(), Log::of((0..600).map(plain).collect())] {
        let size = log.entries.len();
        let (accepted, line) = python_on(&log.export(), &log, Some(&log.checkpoint(size / 2)));
        assert!(accepted, "{line}");
        assert!(line.starts_with(&format!("ok: {ORIGIN}: {size} entries")), "{line}");
        assert!(log.check_since(&log.export(), Some(&log.checkpoint(size / 2))).is_ok());
    }
}

#[test]
fn the_archive_says_what_the_directory_says() {
    let log = Log::sample();
    let folder = tempfile::tempdir().unwrap();
    write(&log.export(), folder.path());
    let archive = folder.path().join("export.tar");
    let files = ["checkpoint", "log.vkey", "tile", "objects"];
    let made = Command::new("python3")
        .args(["-m", "tarfile", "-c"])
        .arg(&archive)
        .args(files)
        .current_dir(folder.path())
        .status();
    assert!(made.unwrap().success());
    let (accepted, line) = python(&archive, &log, None);
    assert!(accepted, "{line}");
    assert_eq!(line, python_on(&log.export(), &log, None).1);
}

#[test]
fn both_name_the_same_broken_piece() {
    let log = Log::of((0..600).map(plain).collect());
    let export = log.export();
    let pieces = ["checkpoint", "log.vkey", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"];
    for piece in pieces {
        let mut changed = export.clone();
        changed.get_mut(piece).unwrap()[7] ^= 1;
        let (accepted, line) = python_on(&changed, &log, None);
        assert!(!accepted && line.starts_with(&format!("broken: {piece}: ")), "{piece}: {line}");
        let ours = log.check(&changed).unwrap_err();
        assert!(ours.sentence.starts_with(&format!("{piece}: ")), "{piece}: {ours}");
    }
}

#[test]
fn both_refuse_missing_pieces_changed_entries_and_rewritten_history() {
    let log = Log::of((0..600).map(plain).collect());
    let export = log.export();
    let mut dropped = export.clone();
    dropped.remove("tile/entries/001");
    let mut changed = export.clone();
    changed.get_mut("tile/entries/001").unwrap()[40] ^= 1;
    for other in [dropped, changed] {
        let (accepted, line) = python_on(&other, &log, None);
        assert!(!accepted, "{line}");
        assert!(log.check(&other).is_err());
    }
    let rewritten = Checkpoint { root: [9; 32], ..log.checkpoint(300) };
    let ahead = Checkpoint { size: 700, ..log.checkpoint(600) };
    for since in [rewritten, ahead] {
        let (accepted, line) = python_on(&export, &log, Some(&since));
        assert!(!accepted && line.starts_with("broken: checkpoint: "), "{line}");
        assert!(log.check_since(&export, Some(&since)).is_err());
    }
}

#[test]
fn the_independent_verifier_refuses_stray_tiles_and_objects() {
    let log = Log::sample();
    let strays = ["tile/0/001", "tile/0/000.p/9", "tile/entries/000.p/2", "tile/x", "tile/9/000", "objects/00"];
    for stray in strays {
        let mut export = log.export();
        export.insert(stray.to_owned(), vec![0; 64]);
        let (accepted, line) = python_on(&export, &log, None);
        assert!(!accepted && line.starts_with(&format!("broken: {stray}: ")), "{stray}: {line}");
    }
}
