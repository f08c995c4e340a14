//! The home's own key, and what opens with it, with the auditor's, and with none.

use super::*;
use crate::testing::stage::Stage;
use belay_certs::{
    output::{Line, Stream, seal},
    policy::Recording,
    recording::blob::Readers,
};
use std::os::unix::fs::{PermissionsExt, symlink};

fn line() -> Line {
    Line::Piece { at: 1, stream: Stream::Out, bytes: b"words\n".to_vec() }
}

/// What a machine seals for these.
fn sealed(to: &[String]) -> Vec<u8> {
    let recording = Recording { to: to.to_vec(), ..Recording::default() };
    seal(&line().to_text(), &Readers::of_run(&recording, &[]).unwrap()).unwrap().into_bytes()
}

fn read(stage: &Stage, given: Option<PathBuf>, file: &[u8]) -> Outcome<Vec<Line>> {
    Keys::of(&stage.home, given).read(&"web1.acme".parse().unwrap(), file).map(|read| read.lines)
}

#[test]
fn the_home_has_one_key_that_nobody_else_reads_and_that_opens_what_was_sealed_to_it() {
    let stage = Stage::new();
    let path = stage.home.dir().join(OWN);
    assert_eq!(own(&stage.home, Make::Nothing).unwrap(), None);
    assert!(!path.exists(), "nothing is left behind");
    let first = own(&stage.home, Make::Missing).unwrap().unwrap();
    assert_eq!(own(&stage.home, Make::Nothing).unwrap().as_ref(), Some(&first));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let file = sealed(&[first]);
    assert_eq!(read(&stage, None, &file).unwrap(), [line()]);
    // The comment says another one: the key counts.
    let text = fs::read_to_string(&path).unwrap().replace("public key: age1", "public key: age1x");
    fs::write(&path, text).unwrap();
    let again = sealed(&[own(&stage.home, Make::Missing).unwrap().unwrap()]);
    assert_eq!(read(&stage, None, &again).unwrap(), [line()]);
    // A damaged one is named and opens nothing; what is open needs none.
    fs::write(&path, "AGE-SECRET-KEY-1\n").unwrap();
    let said = own(&stage.home, Make::Missing).unwrap_err();
    assert!(said.sentence().contains("output.age: line 1"), "{}", said.sentence());
    assert!(read(&stage, None, &file).unwrap_err().sentence().contains("no key here opens it"));
    assert_eq!(read(&stage, None, line().to_text().as_bytes()).unwrap(), [line()]);
    fs::remove_file(&path).unwrap();
    symlink("/nowhere/at/all", &path).unwrap();
    assert!(own(&stage.home, Make::Missing).unwrap_err().sentence().contains("output.age"));
}

#[test]
fn either_key_opens_it_and_what_is_altered_is_not_called_locked() {
    let stage = Stage::new();
    let auditor = age::x25519::Identity::generate();
    let key = stage.path().join("auditor.age");
    fs::write(&key, auditor.to_string().expose_secret()).unwrap();
    let own = own(&stage.home, Make::Missing).unwrap().unwrap();
    let both = sealed(&[own, auditor.to_public().to_string()]);
    assert_eq!(read(&stage, None, &both).unwrap(), [line()]);
    let theirs = sealed(&[auditor.to_public().to_string()]);
    let closed = read(&stage, None, &theirs).unwrap_err();
    assert!(closed.sentence().starts_with("web1.acme: what it printed is encrypted"), "{}", closed.sentence());
    assert_eq!(read(&stage, Some(key.clone()), &theirs).unwrap(), [line()]);
    fs::write(stage.home.dir().join(OWN), "rubbish\n").unwrap();
    assert_eq!(read(&stage, Some(key.clone()), &both).unwrap(), [line()], "a damaged key does not keep the other out");
    let Line::Sealed { at, mut blob } = read_cut_off(&theirs).unwrap().lines.remove(0) else { panic!("it is sealed") };
    *blob.last_mut().unwrap() ^= 1;
    let altered = read(&stage, Some(key), Line::Sealed { at, blob }.to_text().as_bytes()).unwrap_err();
    assert!(!altered.sentence().contains("no key here"), "{}", altered.sentence());
    assert!(altered.sentence().starts_with("web1.acme: line 1 of the output"), "{}", altered.sentence());
}

#[test]
fn a_file_that_is_none_is_named_with_its_device() {
    let refused = read(&Stage::new(), None, b"hello\n").unwrap_err();
    assert!(refused.sentence().starts_with("web1.acme: line 1"), "{}", refused.sentence());
}
