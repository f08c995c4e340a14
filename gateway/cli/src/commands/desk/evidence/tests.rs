//! A pack is believed whole or not at all, by us and by stock tools.

use super::*;
use crate::{
    seeded::Seeded,
    testing::{recorded::Recorded, stage::Stage},
};
use belay_certs::recording::blob::Readers;
use std::{fs, path::PathBuf, process::Command};

const OUTPUTS: [&[u8]; 3] = [b"one\r\n", b"two \xff\xc3\x28\r\n", b"\x1b]0;evil\x07three\r\n"];

/// A stage with a recorded session, and the pack that `belay evidence` makes of it.
fn packed() -> (Stage, Recorded, PathBuf) {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.end().on(&stage);
    let pack = stage.path().join("pack.tar");
    stage.belay(&["evidence", &recorded.session.to_string(), "-o", pack.to_str().unwrap()]).unwrap();
    (stage, recorded, pack)
}

/// The files of a pack.
fn files(pack: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(pack);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    });
    files.collect()
}

/// A pack of these files with a manifest that fits them.
fn made_anew(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    files.iter().filter(|(path, _)| path != MANIFEST).for_each(|(path, bytes)| writer.add(path, bytes).unwrap());
    writer.finish().unwrap()
}

#[test]
fn a_pack_is_verified_without_a_gateway() {
    let (stage, _, pack) = packed();
    fs::remove_file(stage.home.dir().join("ssh")).unwrap();
    let pack = pack.to_str().unwrap();
    stage.belay(&["evidence", "verify", pack]).unwrap();
    stage.belay(&["evidence", "verify", pack, "--policy0", &stage.acme.pin().to_string()]).unwrap();
    let other = stage.belay(&["evidence", "verify", pack, "--policy0", &Digest::of(b"x").to_string()]).unwrap_err();
    assert!(other.sentence().contains("policies/acme/0.toml"), "{}", other.sentence());
    let judged = judge(fs::read(pack).unwrap().as_slice()).unwrap();
    assert_eq!((judged.extent, judged.entries, judged.head.size), (Extent::Whole(3), 2, 4));
}

#[test]
fn none_of_2000_mutations_of_a_pack_is_believed_and_the_broken_piece_is_named() {
    let (_stage, _, pack) = packed();
    let pack = fs::read(pack).unwrap();
    let names: Vec<String> = files(&pack).into_iter().map(|(path, _)| path).collect();
    let mut seeded = Seeded::new(5);
    let mut tried = 0;
    while tried < 2_000 {
        let mutated = seeded.mutate(&pack);
        if mutated == pack {
            continue;
        }
        tried += 1;
        let refused = judge(mutated.as_slice()).unwrap_err();
        let sentence = refused.sentence();
        let named = names.iter().any(|name| sentence.contains(name)) || sentence.contains("chunk ");
        assert!(named || sentence.contains("the pack") || sentence.contains("its beginning"), "{tried}: {sentence}");
    }
}

#[test]
fn a_changed_file_is_found_even_where_the_manifest_was_made_to_fit() {
    let (_stage, _, pack) = packed();
    let original = files(&fs::read(pack).unwrap());
    assert_eq!(judge(made_anew(&original).as_slice()).unwrap().extent, Extent::Whole(3));
    let mut seeded = Seeded::new(7);
    for (place, (path, bytes)) in original.iter().enumerate().filter(|(_, (path, _))| path != MANIFEST) {
        let mut without = original.clone();
        without.remove(place);
        assert!(judge(made_anew(&without).as_slice()).is_err(), "without {path}");
        // An armoured signature can be written in more than one way: of those only the manifest knows.
        for _ in 0..if path.ends_with(".sig") { 0 } else { 20 } {
            let mut changed = original.clone();
            let at = seeded.below(bytes.len());
            changed[place].1[at] ^= 1 << seeded.below(8);
            assert!(judge(made_anew(&changed).as_slice()).is_err(), "{path} byte {at}");
        }
    }
    let mut swapped = original.clone();
    swapped.swap(0, 1);
    assert!(judge(made_anew(&swapped).as_slice()).unwrap_err().sentence().contains("where README.md must be"));
}

#[test]
fn stock_tools_verify_what_the_readme_says() {
    let (stage, _, pack) = packed();
    let dir = stage.path().join("unpacked");
    fs::create_dir(&dir).unwrap();
    let script = format!(
        "set -e; tar -xf {}; sha256sum --quiet -c MANIFEST\n\
         check() {{ ssh-keygen -q -Y verify -f keys/allowed_signers -I $1 -n $2@belay -s $3.sig < $3; }}\n\
         check root policy.v1 policies/acme/0.toml; check approver device.v1 device/batch\n\
         for s in log/*.statement; do check device statement.v1 $s; done\n\
         for n in recording/*.note; do check device recording.v1 $n; done\n\
         ssh-keygen -L -f device/certificate | grep -q web1.acme\n\
         sed -n '/^    import base64/,/^        return/p' README.md | sed 's/^    //' > check.py\n\
         echo 'assert check(1) and check(3)' >> check.py; python3 check.py",
        pack.display()
    );
    let done = Command::new("sh").args(["-c", &script]).current_dir(&dir).output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn a_session_that_has_not_ended_is_packed_as_far_as_it_went() {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.chunks.pop();
    recorded.on(&stage);
    let pack = stage.path().join("pack.tar");
    stage.belay(&["evidence", &recorded.session.to_string(), "-o", pack.to_str().unwrap()]).unwrap();
    assert_eq!(judge(fs::read(pack).unwrap().as_slice()).unwrap().extent, Extent::Beginning(2));
}
