//! Bytes that are no message, or not one for that moment: the agent closes the connection and says why, and nothing starts.

use super::{DEVICE, Scene, ledger::Lie, rogue::now};
use belay_protocol::{
    CloseCode, Drain, Extensions, MINOR, Message, Open, PolicyOffered, ReceiptGiven, StatementMade, Welcome,
    encode_frame,
};
use belay_tests::World;
use std::fs;

#[test]
fn bytes_that_are_no_answer_end_the_connection_and_start_nothing() {
    let scene = Scene::new();
    let receipt = ReceiptGiven::KIND;
    let unknown = frame(999, 1, b"").repeat(1001);
    let cases = [
        ("garbage", vec![0xff; 64], CloseCode::OverLimit, "is larger than"),
        ("no-head", vec![0; 16], CloseCode::Malformed, "too few for its own head"),
        ("oversized", head(receipt, 1, 100 << 20), CloseCode::OverLimit, "is larger than"),
        ("unreadable", frame(receipt, 1, &[0xfd; 40]), CloseCode::Malformed, "could not be read"),
        ("trailing", frame(Drain::KIND, 1, &[1, 0]), CloseCode::Malformed, "bytes after its end"),
        ("version", frame(receipt, 9, b""), CloseCode::Incompatible, "came in version 9"),
        ("misdirected", frame(StatementMade::KIND, 1, b""), CloseCode::OutOfPhase, "came while the agent is ready"),
        ("open", encode_frame(&open()).unwrap(), CloseCode::OutOfPhase, "came while the agent is ready"),
        ("welcome", encode_frame(&welcome(0)).unwrap(), CloseCode::OutOfPhase, "came while the agent is ready"),
        ("over-bound", encode_unchecked_drain(), CloseCode::OverLimit, "breaks a limit"),
        ("unknown", unknown, CloseCode::TooManyUnknown, "frames of unknown kinds"),
    ];
    for (case, bytes, code, words) in &cases {
        let (mark, ends) = (scene.world.log(DEVICE).mark(), scene.rogue.ends());
        scene.rogue.will_say(Lie::Bytes(bytes.clone()));
        scene.must_break(case);
        scene.rogue.is_left_with(ends, *code);
        let line = scene.logged(mark, "the gateway broke the protocol");
        assert!(line.contains(words), "{case}: {line}");
        scene.restart_agent();
    }
    // What was unproved then is in the log by now, with the word that nothing came of it.
    scene.serves_the_truth("after");
    cases.iter().for_each(|(case, ..)| scene.has_not_run(case));
}

#[test]
fn a_session_stream_that_begins_with_anything_else_than_an_open_starts_nothing() {
    let scene = Scene::new();
    let cases = [
        (
            "ssh-at-once",
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            CloseCode::OutOfPhase,
            "came while the agent awaits an open",
        ),
        ("welcome", encode_frame(&welcome(0)).unwrap(), CloseCode::OutOfPhase, "came while the agent awaits an open"),
        ("oversized", head(Open::KIND, 1, 1 << 20), CloseCode::OverLimit, "is larger than"),
        ("unreadable", frame(Open::KIND, 1, &[0xff; 9]), CloseCode::Malformed, "could not be read"),
    ];
    for (case, bytes, code, words) in cases {
        let (mark, ends) = (scene.world.log(DEVICE).mark(), scene.rogue.ends());
        scene.rogue.will_open_with(Some(bytes));
        scene.must_break(case);
        scene.rogue.is_left_with(ends, code);
        let line = scene.logged(mark, "the gateway broke the protocol on a session stream");
        assert!(line.contains(words), "{case}: {line}");
        scene.rogue.will_open_with(None);
        scene.restart_agent();
    }
    scene.serves_the_truth("after");
}

#[test]
fn whoever_greets_with_anything_else_than_a_welcome_is_left() {
    let scene = Scene::new();
    let older = format!("this side speaks minor version {MINOR} and the other 7");
    let cases = [
        (vec![0xff; 64], CloseCode::OutOfPhase, "came while the agent awaits a welcome"),
        (
            encode_frame(&policy_zero(&scene.world)).unwrap(),
            CloseCode::OutOfPhase,
            "came while the agent awaits a welcome",
        ),
        (encode_frame(&welcome(7)).unwrap(), CloseCode::Incompatible, older.as_str()),
        (head(Welcome::KIND, 1, 1 << 30), CloseCode::OverLimit, "is larger than"),
    ];
    for (bytes, code, words) in cases {
        scene.world.kill_agent(DEVICE);
        scene.rogue.will_greet_with(Some(bytes));
        let (mark, ends) = (scene.world.log(DEVICE).mark(), scene.rogue.ends());
        scene.world.start_agent(DEVICE).unwrap();
        let line = scene.logged(mark, "the gateway broke the protocol");
        assert!(line.contains(words), "{line}");
        scene.rogue.is_left_with(ends, code);
    }
    scene.rogue.will_greet_with(None);
    scene.restart_agent();
    scene.serves_the_truth("after");
}

fn head(kind: u16, version: u8, body_bytes: u32) -> Vec<u8> {
    [&(body_bytes + 3).to_be_bytes()[..], &kind.to_be_bytes(), &[version]].concat()
}

fn frame(kind: u16, version: u8, body: &[u8]) -> Vec<u8> {
    [head(kind, version, u32::try_from(body.len()).unwrap()), body.to_vec()].concat()
}

/// A drain of 300,001 ms, which no sender of ours lets out.
fn encode_unchecked_drain() -> Vec<u8> {
    let most = encode_frame(&Drain { within_ms: 300_000 }).unwrap();
    let (head, body) = most.split_at(7);
    [head, &body[..1], &(300_001_u32).to_le_bytes()].concat()
}

fn open() -> Open {
    Open { access: [1; 16], person: "tech".to_owned(), key: String::new() }
}

fn welcome(minor: u16) -> Welcome {
    let (state, now_micros, extensions) = (Welcome::APPROVED, now().micros(), Extensions::default());
    Welcome { minor, gateway_version: "0.1.0".to_owned(), state, now_micros, extensions }
}

fn policy_zero(world: &World) -> PolicyOffered {
    let bytes = fs::read(world.tenant_dir("acme").join("policy-0.toml")).unwrap();
    PolicyOffered { tenant: "acme".to_owned(), version: 0, bytes, signatures: Vec::new() }
}
