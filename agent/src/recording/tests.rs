//! Recordings without a network: what is sealed, what is held, and what is left when a session dies.

use super::*;
use crate::testbed::{Machine, Tenant};
use belay_certs::{
    Digest, PublicKey,
    recording::{
        Chain, blob,
        cast::{Event, EventKind, Reader},
    },
};
use std::time::Duration;

pub(crate) const READABLE: &str = r#"
[recording]
readable_by_gateway = true
input = true

[[grants]]
who = ["alice"]
on = ["*"]
do = ["shell", "files", "enrol"]
as = ["root"]
"#;

fn bench(policy: &'static str) -> (Machine, Recordings) {
    let mut tenant = Tenant::new("acme");
    tenant.found(|draft| draft.grants = policy);
    let machine = Machine::joined(&tenant);
    let recordings = Recordings::new(machine.approved(&tenant), machine.host_key.clone());
    (machine, recordings)
}

fn about(n: u8) -> About {
    About {
        session: Id([n; 16]),
        tenant: "acme".parse().unwrap(),
        device: "web1.acme".parse().unwrap(),
        person: "alice".parse().unwrap(),
        account: "root".to_owned(),
        kind: Kind::Shell,
        command: None,
        ticket: None,
    }
}

fn begin(recordings: &Recordings, n: u8) -> Take {
    recordings.begin(about(n), None).unwrap().unwrap()
}

/// The events of all chunks that are there, checked as a reader would.
fn read(recording: &Recording, host_key: &PublicKey) -> (Vec<Event>, Chain) {
    let (mut chain, mut reader, mut events) = (Chain::new(recording.session), Reader::default(), Vec::new());
    while let Some(chunk) = recording.chunk(chain.chunks()) {
        chunk.note.verify(host_key).unwrap();
        chain.take(&chunk.note.text, &chunk.blob).unwrap();
        events.extend(reader.read(&blob::open(&chunk.blob, None).unwrap()).unwrap());
    }
    (events, chain)
}

fn output(events: &[Event]) -> Vec<u8> {
    let bytes = events.iter().filter_map(|event| match &event.kind {
        EventKind::Output(bytes) => Some(bytes.clone()),
        _ => None,
    });
    bytes.flatten().collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_sealed_in_chunks_and_the_end_names_the_last_note() {
    let (machine, recordings) = bench(READABLE);
    let take = begin(&recordings, 1);
    let recording = take.recording().clone();
    recording.shown(b"hello ");
    recording.typed(b"ls\r");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    recording.watch().wait_for(|at| at.sealed == 1).await.unwrap();
    recording.shown(&[0xff; 100_000]);
    recording.resized(100, 30);
    let head = take.finish().await.unwrap();
    recording.shown(b"nothing is added to an end");
    let (events, chain) = read(&recording, machine.host_key.public());
    assert_eq!(output(&events), [b"hello ".as_slice(), &[0xff; 100_000]].concat());
    assert!(events.iter().any(|event| event.kind == EventKind::Input(b"ls\r".to_vec())));
    chain.check_end(head).unwrap();
    assert!(chain.chunks() > 5, "{}", chain.chunks());
    recordings.kept(Id([1; 16]), chain.chunks() + 1);
    assert_eq!(recordings.all().len(), 1, "a gateway that keeps more than there is keeps nothing");
    recordings.kept(Id([1; 16]), chain.chunks());
    recordings.settled().await;
    assert!(recording.watch().borrow().forgotten);
}

#[tokio::test(start_paused = true)]
async fn output_waits_for_the_gateway_and_the_session_ends_when_it_never_comes() {
    let (_machine, recordings) = bench(READABLE);
    let take = begin(&recordings, 1);
    let recording = take.recording().clone();
    recording.clear().await;
    recording.shown(&vec![b'x'; 300_000]);
    let held = tokio::time::timeout(Duration::from_secs(3), recording.clear());
    assert!(held.await.is_err(), "too much is not at the gateway");
    let sealed = recording.watch().wait_for(|at| at.sealed > 3).await.unwrap().sealed;
    recordings.kept(Id([1; 16]), sealed);
    recording.clear().await;
    recording.shown(b"x");
    let began = tokio::time::Instant::now();
    let why = recording.impossible().await;
    assert_eq!(why, "the recording could not be kept: the gateway has not taken it for 30 seconds");
    let seconds = began.elapsed().as_secs();
    assert!((33..=36).contains(&seconds), "{seconds}");
    assert!(take.finish().await.is_some(), "it is sealed all the same");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_dies_leaves_a_prefix_and_one_that_is_refused_leaves_nothing() {
    let (machine, recordings) = bench(READABLE);
    let take = begin(&recordings, 1);
    let recording = take.recording().clone();
    recording.shown(b"so far");
    drop(take);
    recording.watch().wait_for(|at| at.ended).await.unwrap();
    let (events, chain) = read(&recording, machine.host_key.public());
    assert_eq!((output(&events).as_slice(), chain.is_whole()), (b"so far".as_slice(), false));
    let take = begin(&recordings, 2);
    recordings.refused(Id([2; 16]), "the disk\nis full");
    let why = take.recording().impossible().await;
    assert_eq!(why, "the recording could not be kept: the disk is full");
    assert!(take.finish().await.is_some());
    recordings.kept(Id([1; 16]), 1);
    recordings.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_begins_only_where_its_recording_can_be_kept() {
    let (_machine, recordings) = bench(READABLE);
    assert!(recordings.ready().unwrap_err().contains("too old"));
    recordings.connected(true);
    recordings.ready().unwrap();
    let noise: Vec<u8> = (0..250_000_u32).map(|at| b' ' + Digest::of(&at.to_le_bytes()).0[0] % 90).collect();
    for n in 0..60 {
        let take = begin(&recordings, n);
        take.recording().shown(&noise);
        take.finish().await.unwrap();
    }
    let full = recordings.ready().unwrap_err();
    assert!(full.contains("no room"), "{full}");
    for one in recordings.all() {
        let sealed = one.watch().borrow().sealed;
        recordings.kept(one.session, sealed);
    }
    recordings.ready().unwrap();
}

#[tokio::test]
async fn without_the_section_nothing_is_recorded() {
    let mut tenant = Tenant::new("acme");
    tenant.found(|_| {});
    let machine = Machine::joined(&tenant);
    let recordings = Recordings::new(machine.approved(&tenant), machine.host_key.clone());
    assert!(recordings.begin(about(1), None).unwrap().is_none());
    recordings.ready().unwrap();
    assert!(recordings.all().is_empty());
}
