//! A pack is believed whole or not at all, by us and by stock tools.

use super::*;
use crate::testing::{
    packed::{files, made_anew, refuses_changes, refuses_mutations, stock_tools},
    recorded::Recorded,
    stage::Stage,
};
use belay_certs::recording::blob::Readers;
use std::{fs, path::PathBuf};

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

/// How far the recording of a session goes.
fn extent(judged: &Judged) -> Extent {
    match &judged.proved {
        Proved::Session { extent, .. } => *extent,
        Proved::Job(_) => panic!("this is the pack of a job"),
    }
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
    assert_eq!((extent(&judged), judged.entries, judged.head.size), (Extent::Whole(3), 3, 4));
}

#[test]
fn none_of_2000_mutations_of_a_pack_is_believed_and_the_broken_piece_is_named() {
    let (_stage, _, pack) = packed();
    refuses_mutations(&fs::read(pack).unwrap(), 2_000);
}

#[test]
fn a_changed_file_is_found_even_where_the_manifest_was_made_to_fit() {
    let (_stage, _, pack) = packed();
    let pack = fs::read(pack).unwrap();
    assert_eq!(extent(&judge(pack.as_slice()).unwrap()), Extent::Whole(3));
    refuses_changes(&pack);
}

#[test]
fn stock_tools_verify_what_the_readme_says() {
    let (stage, _, pack) = packed();
    stock_tools(
        &stage,
        &pack,
        "check root policy.v1 policies/acme/0.toml; check approver device.v1 devices/7/batch\n\
         for s in log/*.statement; do check device statement.v1 $s; done\n\
         for n in recording/*.note; do check device recording.v1 $n; done\n\
         ssh-keygen -L -f devices/7/certificate | grep -q web1.acme\n\
         python README.md base64 'assert check(0) and check(1) and check(3)'",
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
    assert_eq!(extent(&judge(fs::read(pack).unwrap().as_slice()).unwrap()), Extent::Beginning(2));
}

#[test]
fn a_session_that_nobody_recorded_is_packed_without_a_recording_and_says_so() {
    for refused in [None, Some("no grant says so")] {
        let stage = Stage::new();
        let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
        recorded.unrecorded(&stage, refused).on_without(&stage);
        let path = stage.path().join("pack.tar");
        stage.belay(&["evidence", &recorded.session.to_string(), "-o", path.to_str().unwrap()]).unwrap();
        let pack = fs::read(&path).unwrap();
        let judged = judge(pack.as_slice()).unwrap();
        assert_eq!((extent(&judged), judged.entries), (Extent::Beginning(0), if refused.is_some() { 2 } else { 3 }));
        let Proved::Session { said, .. } = &judged.proved else { panic!("this is the pack of a job") };
        assert!(said.is_over && said.refused.as_deref() == refused);
        assert!(String::from_utf8_lossy(&pack).contains("\"recording\": false"));
        refuses_changes(&pack);
        let refused = stage.belay(&["recording", &recorded.session.to_string(), "-o", "/dev/null"]).unwrap_err();
        assert!(refused.sentence().contains("no answer to recording"), "{}", refused.sentence());
    }
}

#[test]
fn an_end_that_names_a_recording_is_not_packed_without_it() {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.end().on_without(&stage);
    let pack = stage.path().join("pack.tar");
    let refused = stage.belay(&["evidence", &recorded.session.to_string(), "-o", pack.to_str().unwrap()]).unwrap_err();
    assert!(refused.sentence().contains("chunk 0 of the recording is missing"), "{}", refused.sentence());
    assert!(!pack.exists());
    let unknown = stage.belay(&["evidence", &"7".repeat(32), "-o", pack.to_str().unwrap()]).unwrap_err();
    assert!(unknown.sentence().contains("no gateway shows you a session or a job"), "{}", unknown.sentence());
}

#[test]
fn a_recording_that_was_deleted_is_proved_by_its_notes_and_the_log_says_when_and_why() {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.end().delete().on(&stage);
    let path = stage.path().join("pack.tar");
    let session = recorded.session.to_string();
    for words in [&["replay", &session][..], &["recording", &session, "-o", "/dev/null"]] {
        let refused = stage.belay(words).unwrap_err();
        let sentence = refused.sentence();
        assert!(sentence.contains("was deleted at ") && sentence.contains("`keep = \"30d\"` (entry 4"), "{sentence}");
    }
    stage.belay(&["evidence", &session, "-o", path.to_str().unwrap()]).unwrap();
    let pack = fs::read(&path).unwrap();
    let judged = judge(pack.as_slice()).unwrap();
    assert_eq!((extent(&judged), judged.entries), (Extent::Whole(3), 4));
    let Proved::Session { removed: Some(removed), .. } = &judged.proved else { panic!("nothing was deleted") };
    assert_eq!((removed.deleted.index, removed.noted.chunks, removed.rule), (4, 3, None));
    assert!(!files(&pack).iter().any(|(name, _)| name.contains(".cast")));
    refuses_changes(&pack);
    refuses_mutations(&pack, 200);
    // Without the entry nothing says that chunks may be missing.
    let hidden: Vec<_> = files(&pack).into_iter().filter(|(name, _)| !name.starts_with("log/4.")).collect();
    let refused = judge(made_anew(&hidden).as_slice()).unwrap_err();
    assert!(refused.sentence().contains("recording/00000001.note") && refused.sentence().contains("00000000.cast"));
}

#[test]
fn a_deletion_that_the_log_does_not_tell_or_tells_of_another_recording_is_refused() {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.end().delete();
    let pack = stage.path().join("pack.tar");
    let words = ["evidence", &recorded.session.to_string(), "-o", pack.to_str().unwrap()];
    let last = recorded.chunks.pop().unwrap();
    recorded.on(&stage);
    let refused = stage.belay(&words).unwrap_err();
    assert!(refused.sentence().contains("chunk 2 of the recording is missing"), "{}", refused.sentence());
    recorded.chunks.push(last);
    let entry = String::from_utf8(recorded.entries.pop().unwrap()).unwrap();
    recorded.entries.push(entry.replace("\"chunks\":3", "\"chunks\":4").into_bytes());
    recorded.on(&stage);
    let refused = stage.belay(&words).unwrap_err();
    assert!(refused.sentence().contains("entry 4 says were deleted"), "{}", refused.sentence());
    recorded.entries.pop();
    recorded.on(&stage);
    let refused = stage.belay(&["replay", words[1]]).unwrap_err();
    assert!(refused.sentence().contains("no entry of the log of acme says so"), "{}", refused.sentence());
    assert!(stage.belay(&words).is_err() && !pack.exists());
}

#[test]
fn packs_of_earlier_versions_stay_good() {
    // When a text changes, what stands here goes into `README_EARLIER` of its kind, and the new one here.
    let today = [README, job::README].map(|text| Digest::of(text.as_bytes()).hex());
    assert_eq!(
        today,
        [
            "0c3bb400c6972a280fd9c975abe99a3c972cba38c22ddd699d9f3d4ce2ab5aa2",
            "1a3b4140540e5b31a2b99b422bc8f427c330127744d967fcb14fb056f9ea33d8",
        ]
    );
    let earlier = Digest::of(b"of last year").hex();
    assert!(is_one(b"of last year", README, &[&earlier]) && is_one(README.as_bytes(), README, &[&earlier]));
    assert!(!is_one(b"of next year", README, &[&earlier]));
}
