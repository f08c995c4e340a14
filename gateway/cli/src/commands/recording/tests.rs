//! Recordings that are whole, a beginning, encrypted, cut off and altered, from a gateway that is a script.

use crate::testing::{ordered::Ordered, recorded::Recorded, stage::Stage};
use age::secrecy::ExposeSecret;
use belay_certs::{
    PrivateKey,
    output::{Line, Stream, seal},
    recording::{
        blob::Readers,
        cast::{EventKind, Reader},
    },
};
use std::fs;

const OUTPUTS: [&[u8]; 3] = [b"one\r\n", b"two \xff\r\n", b"three\r\n"];

/// A stage with an ended session, plain.
fn recorded() -> (Stage, Recorded) {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.end().on(&stage);
    (stage, recorded)
}

/// What `belay recording` writes, or why not.
fn written(stage: &Stage, recorded: &Recorded, more: &[&str]) -> Result<String, String> {
    let file = stage.path().join("x.cast");
    let session = recorded.session.to_string();
    let words = [&["recording", &session, "-o", file.to_str().unwrap()], more].concat();
    let done = stage.belay(&words).map_err(|failure| failure.sentence().to_owned());
    assert_eq!(done.is_ok(), file.exists(), "a file is there only when all of it is proved");
    done.map(|()| fs::read_to_string(file).unwrap())
}

#[test]
fn a_recording_is_written_as_it_was_recorded() {
    let (stage, recorded) = recorded();
    assert_eq!(written(&stage, &recorded, &[]).unwrap(), recorded.texts.concat());
    stage.belay(&["replay", &recorded.session.to_string(), "--at", "1s", "--speed", "2", "--idle", "1s"]).unwrap();
    stage.belay(&["log", "proof", "acme", &recorded.session.to_string()]).unwrap();
}

#[test]
fn an_encrypted_one_is_opened_with_the_auditors_key_and_no_other() {
    let stage = Stage::new();
    let auditor = age::x25519::Identity::generate();
    let mut recorded = Recorded::new(&stage, Readers::Only(vec![auditor.to_public()]), &OUTPUTS);
    recorded.end().on(&stage);
    let refused = written(&stage, &recorded, &[]).unwrap_err();
    assert!(refused.contains("chunk 0") && refused.contains("age identity"), "{refused}");
    let key = |name: &str, identity: &age::x25519::Identity| {
        let path = stage.path().join(name);
        fs::write(&path, identity.to_string().expose_secret()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let thief = key("thief.age", &age::x25519::Identity::generate());
    assert!(written(&stage, &recorded, &["--age-identity", &thief]).unwrap_err().contains("chunk 0"));
    let given = key("auditor.age", &auditor);
    assert_eq!(written(&stage, &recorded, &["--age-identity", &given]).unwrap(), recorded.texts.concat());
    let kept = stage.home.keys(&"acme".parse().unwrap());
    fs::create_dir_all(&kept).unwrap();
    fs::copy(given, kept.join("auditor.age")).unwrap();
    fs::remove_file(stage.path().join("x.cast")).unwrap();
    assert_eq!(written(&stage, &recorded, &[]).unwrap(), recorded.texts.concat());
}

#[test]
fn a_recording_that_is_cut_off_or_altered_says_at_which_chunk() {
    let broken = |change: &dyn Fn(&mut Recorded), wanted: &str| {
        let (stage, mut recorded) = recorded();
        change(&mut recorded);
        recorded.on(&stage);
        let refused = written(&stage, &recorded, &[]).unwrap_err();
        assert!(refused.contains(wanted), "{refused} is not {wanted}");
    };
    broken(&|recorded| drop(recorded.chunks.pop()), "chunk 2 of the recording is missing");
    broken(&|recorded| drop(recorded.chunks.remove(1)), "chunk 1 of the recording");
    broken(&|recorded| recorded.chunks.swap(1, 2), "chunk 1 of the recording");
    broken(&|recorded| recorded.chunks[1].1[5] ^= 1, "chunk 1 of the recording");
    broken(&|recorded| _ = recorded.chunks[2].1.pop(), "chunk 2 of the recording");
    broken(&|recorded| recorded.chunks[0].0.signature.clear(), "chunk 0 of the recording");
    broken(&|recorded| recorded.chunks[1].0.text = recorded.chunks[1].0.text.replace("1000", "1001"), "chunk 1");
    broken(&|recorded| recorded.entries[1][9] ^= 1, "entry 1");
}

#[test]
fn a_tar_that_ends_early_says_at_which_chunk() {
    let (stage, recorded) = recorded();
    let answer = stage.home.dir().join("answers/recording_ID");
    let whole = fs::read(&answer).unwrap();
    fs::write(&answer, &whole[..whole.len() - 2_500]).unwrap();
    let refused = written(&stage, &recorded, &[]).unwrap_err();
    assert!(refused.contains("chunk 2 of the recording"), "{refused}");
    fs::write(&answer, b"").unwrap();
    assert!(written(&stage, &recorded, &[]).unwrap_err().contains("no recording"));
}

#[test]
fn another_devices_signatures_are_not_believed() {
    let (stage, mut recorded) = recorded();
    recorded.host_key = PrivateKey::generate_ed25519("other").unwrap();
    recorded.on(&stage);
    let refused = written(&stage, &recorded, &[]).unwrap_err();
    assert!(refused.contains("entry 1"), "{refused}");
}

#[test]
fn a_session_that_goes_on_is_written_as_far_as_it_went() {
    let stage = Stage::new();
    let mut recorded = Recorded::new(&stage, Readers::Anybody, &OUTPUTS);
    recorded.chunks.pop();
    recorded.on(&stage);
    assert_eq!(written(&stage, &recorded, &[]).unwrap(), recorded.texts[..2].concat());
}

#[test]
fn bytes_that_are_no_text_are_told_from_their_letters() {
    for (text, raw) in [
        (r#"[1.0, "o", "a\udcff"]"#, true),
        (r#"[1.0, "o", "\\\udc80"]"#, true),
        (r#"[1.0, "o", "\\udcff and \u001b[0m"]"#, false),
        (r#"[1.0, "o", "\"#, false),
    ] {
        assert_eq!(super::holds_raw(text.as_bytes()), raw, "{text}");
    }
}

/// What `belay recording JOB/web1` writes.
fn run_written(stage: &Stage, job: &Ordered, more: &[&str]) -> Result<String, String> {
    let file = stage.path().join("run.cast");
    let what = format!("{}/web1", job.order.id);
    let words = [&["recording", &what, "-o", file.to_str().unwrap()], more].concat();
    let done = stage.belay(&words).map_err(|failure| failure.sentence().to_owned());
    assert_eq!(done.is_ok(), file.exists(), "a file is there only when all of it is proved");
    done.map(|()| fs::read_to_string(file).unwrap())
}

#[test]
fn what_a_run_printed_is_a_recording_too() {
    let stage = Stage::new();
    let job = Ordered::new(&stage);
    job.on(&stage);
    let text = run_written(&stage, &job, &[]).unwrap();
    let mut reader = Reader::default();
    let events = reader.read(text.as_bytes()).unwrap();
    let about = &reader.header().unwrap().about;
    assert_eq!((about.session, about.command.as_deref()), (job.order.id, Some("restart-service")));
    assert!(matches!(&events[0].kind, EventKind::Output(bytes) if bytes == b"restarted\n"), "{text}");
    // Altered by the gateway: nothing is written.
    fs::remove_file(stage.path().join("run.cast")).unwrap();
    stage.answers("job_ID_--device_web1_--output", b"1 o cmVzdGFydGVkCw==\n".as_slice());
    assert!(run_written(&stage, &job, &[]).unwrap_err().contains("was altered"));
    // Shorter than what the machine signed: whatever it is, it is not proved.
    stage.answers("job_ID_--device_web1_--output", b"1 o Zm9v\n".as_slice());
    let beginning = run_written(&stage, &job, &[]).unwrap_err();
    assert!(beginning.contains("not proved: 12 bytes are still with the device; nothing was written"), "{beginning}");
}

#[test]
fn what_a_run_printed_for_some_is_opened_with_their_keys_and_no_other() {
    let stage = Stage::new();
    let auditor = age::x25519::Identity::generate();
    let line = Line::Piece { at: 1, stream: Stream::Err, bytes: b"failed: 7\n".to_vec() };
    let sealed = seal(&line.to_text(), &Readers::Only(vec![auditor.to_public()])).unwrap();
    let job = Ordered::new(&stage).printing(&stage, sealed.into_bytes());
    job.on(&stage);
    let refused = run_written(&stage, &job, &[]).unwrap_err();
    assert!(refused.starts_with("web1.acme: what it printed is encrypted, and no key here opens it"), "{refused}");
    let key = stage.path().join("auditor.age");
    fs::write(&key, auditor.to_string().expose_secret()).unwrap();
    let given = ["--age-identity", key.to_str().unwrap()];
    assert!(run_written(&stage, &job, &given).unwrap().contains("failed: 7"));
    let what = format!("{}/web1", job.order.id);
    assert!(stage.belay(&["replay", &what]).unwrap_err().sentence().contains("is encrypted"));
    stage.belay(&[&["replay", &what], given.as_slice()].concat()).unwrap();
}
