//! What sessions showed: chunk by chunk, over restarts and lost answers; held, cut off and deleted.

use super::fixtures::ended;
use super::live::{opened, outer, session, statement, with_device};
use super::*;
use crate::store::{Chunk, RecordError, RecordingRow};
use belay_certs::recording::Note;
use belay_certs::statement::Body;
use belay_certs::{Digest, Timestamp};
use belay_rules::{RecordingName, RecordingState, Refusal};
use bytes::Bytes;

fn name(number: u8) -> RecordingName {
    RecordingName { tenant: tenant(), device: "web1".parse().unwrap(), session: session(number) }
}

/// The chunks of a recording as a device makes them, unsigned: the door checks signatures.
struct Device {
    name: RecordingName,
    next: u64,
    head: Option<Digest>,
}

impl Device {
    fn new(number: u8) -> Self {
        Self { name: name(number), next: 0, head: None }
    }

    fn cut(&mut self, blob: &[u8], is_last: bool) -> (Chunk, Bytes) {
        let note = Note {
            device: "web1.acme".parse().unwrap(),
            serial: 1,
            session: self.name.session,
            chunk: self.next,
            from_ms: self.next,
            to_ms: self.next,
            blob_bytes: blob.len() as u64,
            blob: Digest::of(blob),
            previous: self.head,
            last: is_last,
        };
        let chunk = Chunk {
            name: self.name.clone(),
            number: self.next,
            previous: self.head,
            is_last,
            is_sealed: false,
            note: note.to_text(),
            signature: "signature".to_owned(),
            bytes: blob.len() as u64,
            at: now(),
        };
        self.next += 1;
        self.head = Some(Digest::of(chunk.note.as_bytes()));
        (chunk, Bytes::copy_from_slice(blob))
    }
}

fn ends(number: u8, named: Option<Digest>) -> Body {
    match ended(session(number)) {
        Body::SessionEnded { session, exit, signal, reason, bytes_in, bytes_out, files, .. } => {
            Body::SessionEnded { session, exit, signal, reason, bytes_in, bytes_out, recording: named, files }
        }
        other => other,
    }
}

async fn keep(world: &World, (chunk, blob): (Chunk, Bytes)) -> u64 {
    world.store.keep_chunk(chunk, blob).await.unwrap()
}

async fn row(world: &World, number: u8) -> RecordingRow {
    world.store.tenant(&tenant()).unwrap().recording(&name(number)).await.unwrap().unwrap()
}

async fn refused(world: &World, ask: Ask) -> Refusal {
    match world.store.record(ask, now()).await.unwrap_err() {
        RecordError::Refused(refusal) => refusal,
        RecordError::Broken(broken) => panic!("{broken}"),
    }
}

fn delete(number: u8) -> Ask {
    Ask::DeleteRecording { name: name(number), why: "keep = 1d".to_owned() }
}

#[tokio::test]
async fn chunks_are_kept_in_order_once_and_over_a_restart_and_the_end_makes_them_whole() {
    let (world, mut device, join) = with_device().await;
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    let mut made = Device::new(1);
    let (first, second, third) = (made.cut(b"one", false), made.cut(b"two", false), made.cut(b"three", true));
    assert_eq!(keep(&world, first.clone()).await, 1);
    assert_eq!(keep(&world, third.clone()).await, 1, "a gap");
    let world = world.reopen().await;
    assert_eq!(keep(&world, first).await, 1, "again");
    assert_eq!(keep(&world, second).await, 2);
    assert_eq!(row(&world, 1).await.state(), RecordingState::Live);
    world.record(statement(join, device.say(ends(1, made.head)), None)).await;
    assert_eq!(row(&world, 1).await.state(), RecordingState::Missing);
    assert_eq!(keep(&world, third).await, 3);
    let world = world.reopen().await;
    let row = row(&world, 1).await;
    assert_eq!((row.state(), row.kept.bytes, row.kept.is_readable), (RecordingState::Whole, 11, true));
    for (number, bytes) in [b"one".as_slice(), b"two", b"three"].into_iter().enumerate() {
        assert_eq!(world.store.blob(&name(1), number as u64, false).await.unwrap().unwrap(), bytes);
    }
    let notes = world.store.tenant(&tenant()).unwrap().chunks(&name(1), 1).await.unwrap();
    assert_eq!(notes.iter().map(|note| note.number).collect::<Vec<_>>(), [1, 2]);
    assert!(!world.types(&acme_log()).await.contains(&"recording.cut".to_owned()));
    world.check().await;
}

#[tokio::test]
async fn a_chunk_that_does_not_follow_is_refused_and_what_was_kept_is_never_written_again() {
    let (world, mut device, join) = with_device().await;
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    let mut made = Device::new(1);
    keep(&world, made.cut(b"one", false)).await;
    let (mut other, blob) = made.cut(b"two", false);
    other.previous = Some(Digest::of(b"another"));
    let refused = world.store.keep_chunk(other, blob).await.unwrap_err();
    assert!(matches!(refused, RecordError::Refused(Refusal::RecordingForked { chunk: 1, .. })), "{refused}");
    let mut again = Device::new(1);
    assert_eq!(keep(&world, again.cut(b"another one", false)).await, 1);
    assert_eq!(world.store.blob(&name(1), 0, false).await.unwrap().unwrap(), b"one".as_slice());
}

#[tokio::test]
async fn a_chunk_whose_bytes_cannot_be_written_is_not_acknowledged_and_is_taken_later() {
    let (world, mut device, join) = with_device().await;
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    let chunk = Device::new(1).cut(b"one", false);
    // A file where its folder should be.
    let blocked = world.directory.path().join("recordings/acme");
    std::fs::write(&blocked, "").unwrap();
    let broken = world.store.keep_chunk(chunk.0.clone(), chunk.1.clone()).await.unwrap_err();
    assert!(matches!(broken, RecordError::Broken(_)), "{broken}");
    assert_eq!(world.store.tenant(&tenant()).unwrap().recording(&name(1)).await.unwrap(), None);
    std::fs::remove_file(&blocked).unwrap();
    assert_eq!(keep(&world, chunk).await, 1);
}

#[tokio::test]
async fn a_chunk_whose_answer_was_lost_is_there_and_bytes_without_a_row_are_written_anew() {
    let (world, mut device, join) = with_device().await;
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    let chunk = Device::new(1).cut(b"one", false);
    // The gateway died between the bytes and the row, once with half of them.
    let folder = world.directory.path().join("recordings/acme/web1").join(session(1).to_string());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("00000000.cast.zst"), "o").unwrap();
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(world.store.keep_chunk(chunk.0.clone(), chunk.1.clone()).await.is_err());
    assert_eq!(keep(&world, chunk).await, 1);
    assert_eq!(world.store.blob(&name(1), 0, false).await.unwrap().unwrap(), b"one".as_slice());
}

#[tokio::test]
async fn an_end_without_a_recording_cuts_it_off_and_the_log_says_so_once() {
    let (world, mut device, join) = with_device().await;
    for number in [1, 2] {
        world.record(statement(join, device.say(opened(number)), Some(outer()))).await;
    }
    let mut made = Device::new(1);
    keep(&world, made.cut(b"one", false)).await;
    for number in [1, 2, 1] {
        world.record(statement(join, device.say(ends(number, None)), None)).await;
    }
    let row = row(&world, 1).await;
    assert!(row.state() == RecordingState::Cut && row.kept.is_cut, "{row:?}");
    let cut = world.types(&acme_log()).await.iter().filter(|kind| *kind == "recording.cut").count();
    assert_eq!(cut, 1, "session 2 had nothing that could be cut off");
    let (more, blob) = made.cut(b"two", true);
    let refused = world.store.keep_chunk(more, blob).await.unwrap_err();
    assert!(matches!(refused, RecordError::Refused(Refusal::RecordingOver(_))), "{refused}");
    world.check().await;
}

fn through_access(what: What) -> Ask {
    Ask::Note(Draft::new(acme_log(), what).on("web1".parse().unwrap()).by(ann()))
}

fn give_up(number: u8, before: Timestamp) -> Ask {
    Ask::GiveUpRecording { name: name(number), before }
}

#[tokio::test]
async fn what_nobody_ends_is_given_up_once_and_whatever_comes_later_counts_more() {
    let (world, mut device, join) = with_device().await;
    let (access, key, address) = (outer().access, "SHA256:ann".to_owned(), "192.0.2.9:1".to_owned());
    world.record(through_access(What::AccessOpened { access, key, address })).await;
    for number in [1, 2, 3] {
        world.record(statement(join, device.say(opened(number)), Some(outer()))).await;
    }
    let (mut first, mut third) = (Device::new(1), Device::new(3));
    keep(&world, first.cut(b"one", false)).await;
    keep(&world, third.cut(b"three", false)).await;
    let (store, later) = (world.store.tenant(&tenant()).unwrap(), now().plus(1));
    let unheard = async |before| {
        let rows = store.recordings_unheard(before).await.unwrap();
        rows.iter().map(|row| row.name.session).collect::<Vec<_>>()
    };
    assert!(unheard(later).await.is_empty(), "the way is there");
    let reason = "timed out".to_owned();
    world.record(through_access(What::AccessEnded { access, bytes_up: 1, bytes_down: 1, reason })).await;
    assert!(unheard(now()).await.is_empty(), "not yet");
    assert_eq!(unheard(later).await, [session(1), session(3)]);
    assert_eq!(refused(&world, give_up(1, now())).await, Refusal::RecordingLive(session(1)), "more came meanwhile");
    world.record(give_up(1, later)).await;
    assert_eq!(refused(&world, give_up(1, later)).await, Refusal::RecordingSettled(session(1)));
    assert_eq!(row(&world, 1).await.state(), RecordingState::Unterminated);
    assert_eq!(unheard(later).await, [session(3)]);
    let state = async |number| store.session(session(number)).await.unwrap().unwrap().state(later);
    use belay_rules::SessionState::{Ended, Live, Unterminated};
    // The second has no recording: of it the time alone decides.
    assert_eq!((state(1).await, state(2).await, state(3).await), (Unterminated, Unterminated, Live));
    let named = |rows: Vec<RecordingRow>| rows.iter().map(|row| row.name.session).collect::<Vec<_>>();
    assert_eq!(named(store.recordings_due(later).await.unwrap()), [session(1)], "its time is over one day too");
    assert_eq!(named(store.recordings_changed(now()).await.unwrap()), [session(1)], "it is searched");
    // The machine comes back.
    assert_eq!(keep(&world, first.cut(b"two", true)).await, 2);
    assert_eq!((row(&world, 1).await.state(), state(1).await), (RecordingState::Live, Live));
    world.record(statement(join, device.say(ends(1, first.head)), None)).await;
    assert_eq!((row(&world, 1).await.state(), state(1).await), (RecordingState::Whole, Ended));
    // This one says only that it is over.
    world.record(give_up(3, later)).await;
    world.record(statement(join, device.say(ends(3, None)), None)).await;
    assert_eq!((row(&world, 3).await.state(), state(3).await), (RecordingState::Cut, Ended));
    let cut = world.types(&acme_log()).await.iter().filter(|kind| *kind == "recording.cut").count();
    assert_eq!(cut, 2, "one each");
    world.check().await;
}

#[tokio::test]
async fn what_is_due_is_deleted_with_a_record_unless_it_is_held_and_its_notes_stay() {
    let (world, mut device, join) = with_device().await;
    for number in [1, 2, 3] {
        world.record(statement(join, device.say(opened(number)), Some(outer()))).await;
        let mut made = Device::new(number);
        keep(&world, made.cut(b"one", true)).await;
        if number != 3 {
            world.record(statement(join, device.say(ends(number, made.head)), None)).await;
        }
    }
    let hold = |reason: &str| Ask::HoldRecording { name: name(2), by: ann(), reason: reason.to_owned() };
    world.record(hold("case 7")).await;
    assert_eq!(refused(&world, hold("case 8")).await, Refusal::RecordingHeld(session(2)));
    let store = world.store.tenant(&tenant()).unwrap();
    let due = store.recordings_due(now().plus(1)).await.unwrap();
    assert_eq!(due.iter().map(|row| row.name.session).collect::<Vec<_>>(), [session(1)]);
    assert!(store.recordings_due(now()).await.unwrap().is_empty());
    assert_eq!(refused(&world, delete(2)).await, Refusal::RecordingHeld(session(2)));
    assert_eq!(refused(&world, delete(3)).await, Refusal::RecordingLive(session(3)));
    world.record(delete(1)).await;
    // The gateway died before it removed anything: the next start does.
    let world = world.reopen().await;
    assert!(world.store.blob(&name(1), 0, false).await.unwrap().is_some());
    assert_eq!(world.store.sweep_chunks().await.unwrap(), 1);
    assert_eq!(world.store.blob(&name(1), 0, false).await.unwrap(), None);
    for number in [2, 3] {
        assert!(world.store.blob(&name(number), 0, false).await.unwrap().is_some(), "session {number}");
    }
    assert_eq!(row(&world, 1).await.state(), RecordingState::Deleted);
    let notes = world.store.tenant(&tenant()).unwrap().chunks(&name(1), 0).await.unwrap();
    assert_eq!(Digest::of(notes[0].note.as_bytes()), row(&world, 1).await.kept.head);
    assert_eq!(refused(&world, delete(1)).await, Refusal::RecordingGone(session(1)));
    world.record(Ask::ReleaseRecording { name: name(2), by: ann(), reason: "closed".to_owned() }).await;
    world.record(delete(2)).await;
    let types = world.types(&acme_log()).await;
    let said: Vec<&str> = types.iter().map(String::as_str).filter(|kind| kind.starts_with("recording.")).collect();
    assert_eq!(said, ["recording.held", "recording.deleted", "recording.released", "recording.deleted"]);
    world.check().await;
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_has_happened() {
    let (world, mut device, join) = with_device().await;
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    let mut made = Device::new(1);
    keep(&world, made.cut(b"one", true)).await;
    world.record(statement(join, device.say(ends(1, made.head)), None)).await;
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(world.store.record(delete(1), now()).await.is_err());
    assert_eq!(refused(&world, delete(1)).await, Refusal::RecordingGone(session(1)));
    assert_eq!(world.store.remove_chunks(&name(1)).await.unwrap(), 1);
    assert_eq!(world.store.remove_chunks(&name(1)).await.unwrap(), 0);
    let deleted = world.types(&acme_log()).await.iter().filter(|kind| *kind == "recording.deleted").count();
    assert_eq!(deleted, 1);
    let _: Timestamp = row(&world, 1).await.kept.deleted.unwrap();
}

#[tokio::test]
async fn what_only_auditors_read_is_listed_in_the_order_of_its_changes_and_from_a_moment_on() {
    let (world, mut device, join) = with_device().await;
    let store = world.store.tenant(&tenant()).unwrap();
    let listed = async |since: Timestamp, limit| {
        let rows = store.sealed_changed(since, limit).await.unwrap();
        rows.into_iter().map(|row| row.session.0[0]).collect::<Vec<_>>()
    };
    // Each begins a second after the one before; the third one can be read by the gateway.
    for number in 1..=3 {
        world.record(statement(join, device.say(opened(number)), Some(outer()))).await;
        let (mut chunk, blob) = Device::new(number).cut(b"one", true);
        chunk.at = now().plus(i64::from(number));
        chunk.is_sealed = number < 3;
        keep(&world, (chunk, blob)).await;
    }
    let all = Timestamp::from_micros(0);
    assert_eq!(listed(all, 10).await, [1, 2]);
    assert_eq!(listed(all, 1).await, [1], "no more than were asked for");
    assert_eq!(listed(now().plus(2), 10).await, [2]);
    assert!(listed(now().plus(3), 10).await.is_empty());
    // A deletion is a change; who never knew of it is not told.
    world.record(statement(join, device.say(ends(1, None)), None)).await;
    world.store.record(delete(1), now().plus(9)).await.unwrap();
    assert_eq!(listed(now().plus(2), 10).await, [2, 1]);
    assert_eq!(listed(all, 10).await, [2]);
    assert!(store.sealed_changed(now().plus(9), 10).await.unwrap()[0].recording.as_ref().unwrap().deleted.is_some());
}
