//! What runs printed: found as it changes, held, deleted when it is due, and what a device hears that still sends it.

use super::jobs::{JOB, offer, piece, refused, starts, submit, web1};
use super::live::{statement, with_device};
use super::*;
use crate::store::{OutputRow, OutputsFrom};
use belay_certs::order::{DeviceLine, Outcome as How};
use belay_certs::statement::{Body, RunEnd};
use belay_certs::{Digest, Timestamp};
use belay_rules::{OutputName, Refusal};

const PRINTED: &[u8] = b"1 o YQ==\n";

fn name() -> OutputName {
    OutputName { tenant: tenant(), job: JOB, device: web1() }
}

fn ends() -> Body {
    Body::RunEnded(RunEnd {
        order: JOB,
        outcome: How::Succeeded,
        exit: Some(0),
        signal: None,
        reason: None,
        duration_ms: 0,
        output: Some(Digest::of(PRINTED)),
        output_bytes: PRINTED.len() as u64,
        output_dropped: 0,
    })
}

fn later() -> Timestamp {
    now().plus(1)
}

fn delete() -> Ask {
    Ask::DeleteOutput { name: name(), before: later(), why: "keep = 1d".to_owned() }
}

fn hold(reason: &str) -> Ask {
    Ask::HoldOutput { name: name(), by: ann(), reason: reason.to_owned() }
}

fn end_job() -> Ask {
    Ask::EndJob { tenant: tenant(), job: JOB, runs: Default::default(), unanswered: 1 }
}

impl World {
    /// A run that has started.
    async fn running() -> (Self, super::fixtures::Speaker, Id) {
        let (world, mut device, join) = with_device().await;
        world.record(submit()).await;
        world.record(offer()).await;
        world.record(statement(join, device.say(starts()), None)).await;
        (world, device, join)
    }

    /// A run that is over, all of its output here.
    async fn printed() -> Self {
        let (world, mut device, join) = Self::running().await;
        world.store.keep(piece(0, PRINTED)).await.unwrap();
        world.record(statement(join, device.say(ends()), None)).await;
        world
    }

    async fn due(&self, before: Timestamp) -> Vec<OutputRow> {
        self.store.tenant(&tenant()).unwrap().outputs_due(before).await.unwrap()
    }

    async fn output(&self) -> Vec<u8> {
        self.store.tenant(&tenant()).unwrap().output(JOB, &web1(), 0).await.unwrap()
    }

    async fn output_events(&self) -> Vec<String> {
        self.types(&acme_log()).await.into_iter().filter(|kind| kind.starts_with("output.")).collect()
    }
}

#[tokio::test]
async fn an_output_is_found_when_it_changes_and_is_whole_once_the_end_and_all_bytes_are_here() {
    let (world, mut device, join) = World::running().await;
    let store = world.store.tenant(&tenant()).unwrap();
    let changed = async |from: OutputsFrom| store.outputs_changed(&from).await.unwrap();
    let all = || OutputsFrom::since(Timestamp::from_micros(0));
    assert!(changed(all()).await.is_empty(), "nothing was printed");
    world.store.keep(piece(0, &PRINTED[..4])).await.unwrap();
    let rows = changed(all()).await;
    assert_eq!(rows.iter().map(|row| (row.whole(), row.kept, row.ended)).collect::<Vec<_>>(), [(None, 4, None)]);
    world.record(statement(join, device.say(ends()), None)).await;
    assert_eq!(changed(all()).await[0].whole(), None, "the rest is with the device");
    world.store.keep(piece(4, &PRINTED[4..])).await.unwrap();
    let row = changed(OutputsFrom::since(now())).await.remove(0);
    assert_eq!((row.whole(), row.person.clone()), (Some(Digest::of(PRINTED)), ann()));
    assert!(
        changed(OutputsFrom::behind(&row)).await.is_empty() && changed(OutputsFrom::since(later())).await.is_empty()
    );
}

#[tokio::test]
async fn more_outputs_than_one_read_answers_with_are_gone_through_once_each() {
    let (world, ..) = with_device().await;
    world.record(submit()).await;
    let count = crate::store::limits::OUTPUTS_READ_MAX + 3;
    let lines: Vec<(u64, DeviceLine)> = (0..u64::try_from(count).unwrap())
        .map(|place| (place, DeviceLine { name: format!("m{place}").parse().unwrap(), serial: 1, sealed: None }))
        .collect();
    for some in lines.chunks(belay_rules::limits::OFFERS_PER_ASK_MAX) {
        world.record(Ask::OfferRuns { tenant: tenant(), job: JOB, devices: some.to_vec() }).await;
    }
    // All at one moment: the place in the list says where to go on.
    for (_, line) in &lines {
        world.store.keep(crate::store::Piece { device: line.name.clone(), ..piece(0, b"x") }).await.unwrap();
    }
    let store = world.store.tenant(&tenant()).unwrap();
    let (mut from, mut parts) = (OutputsFrom::since(now()), Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let rows = store.outputs_changed(&from).await.unwrap();
        let Some(last) = rows.last() else { break };
        from = OutputsFrom::behind(last);
        parts.push(rows.len());
        assert!(rows.iter().all(|row| seen.insert(row.name.clone())));
    }
    assert_eq!((parts, seen.len()), (vec![lines.len() - 3, 3], lines.len()));
}

#[tokio::test]
async fn what_a_run_printed_is_deleted_with_a_record_unless_it_is_held_and_its_digest_stays() {
    let world = World::printed().await;
    world.record(hold("case 7")).await;
    assert!(world.due(later()).await.is_empty());
    assert_eq!(refused(&world, delete()).await, Refusal::OutputHeld(name().to_string()));
    assert_eq!(refused(&world, hold("case 8")).await, Refusal::OutputHeld(name().to_string()));
    world.record(Ask::ReleaseOutput { name: name(), by: ann(), reason: "closed".to_owned() }).await;
    assert!(world.due(now()).await.is_empty(), "not yet");
    assert_eq!(world.due(later()).await.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), [name()]);
    let early = Ask::DeleteOutput { name: name(), before: now(), why: "keep = 1d".to_owned() };
    assert_eq!(refused(&world, early).await, Refusal::OutputLive(name().to_string()), "it ended meanwhile");
    world.record(delete()).await;
    let world = world.reopen().await;
    assert_eq!((world.output().await.len(), world.due(later()).await.len()), (0, 0));
    let run = world.store.tenant(&tenant()).unwrap().run(JOB, &web1()).await.unwrap().unwrap();
    let ended = run.ended.unwrap();
    assert_eq!((ended.output, ended.output_bytes), (Some(Digest::of(PRINTED)), PRINTED.len() as u64));
    assert_eq!(run.output_deleted, Some(now()));
    let gone = Refusal::OutputGone { name: name().to_string(), at: now() };
    assert_eq!((refused(&world, delete()).await, refused(&world, hold("late")).await), (gone.clone(), gone));
    assert_eq!(world.output_events().await, ["output.held", "output.released", "output.deleted"]);
    let other = OutputName { device: "web2".parse().unwrap(), ..name() };
    let unknown = Ask::HoldOutput { name: other.clone(), by: ann(), reason: "x".to_owned() };
    assert_eq!(refused(&world, unknown).await, Refusal::OutputUnknown(other.to_string()));
    world.check().await;
}

#[tokio::test]
async fn what_was_deleted_is_not_left_in_the_file() {
    let (world, mut device, join) = World::running().await;
    let mut long = vec![b'x'; 9_000];
    long.extend(b"unmistakable");
    world.store.keep(piece(0, &long)).await.unwrap();
    world.record(statement(join, device.say(ends()), None)).await;
    let has = |world: &World| {
        let bytes = std::fs::read(world.directory.path().join("belay.db")).unwrap();
        bytes.windows(12).any(|window| window == b"unmistakable".as_slice())
    };
    let world = world.reopen().await;
    assert!(has(&world));
    world.record(delete()).await;
    let world = world.reopen().await;
    assert!(!has(&world), "it is still in the file");
}

#[tokio::test]
async fn a_deletion_of_an_output_whose_answer_was_lost_has_happened_and_one_that_failed_has_not() {
    let world = World::printed().await;
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(world.store.record(delete(), now()).await.is_err());
    assert!(matches!(refused(&world, delete()).await, Refusal::OutputGone { .. }));
    assert!(world.output().await.is_empty() && world.output_events().await == ["output.deleted"]);
    // With a store that takes nothing more, neither the entry nor the bytes change.
    let world = World::printed().await;
    let blocked = world.store.clone();
    blocked.close().await;
    assert!(blocked.record(delete(), now()).await.is_err());
    let world = world.reopen().await;
    assert!(world.output_events().await.is_empty());
    assert_eq!(world.output().await, PRINTED);
}

#[tokio::test]
async fn a_device_that_still_sends_what_was_deleted_hears_that_all_of_it_is_kept_and_nothing_is() {
    let world = World::printed().await;
    let more = world.store.keep(piece(0, b"")).await.unwrap();
    assert_eq!(more, PRINTED.len() as u64);
    // A piece of the same transaction is gone too.
    let both = tokio::join!(world.store.keep(piece(more, b"x")), world.store.record(delete(), now()));
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    assert!(world.output().await.is_empty());
    let world = world.reopen().await;
    for (offset, bytes, kept) in [(0, &b""[..], 9), (0, PRINTED, 9), (4, b"", 9), (9, b"more", 13)] {
        assert_eq!(world.store.keep(piece(offset, bytes)).await.unwrap(), kept, "{offset}");
    }
    assert!(world.output().await.is_empty());
}

#[tokio::test]
async fn a_run_that_nobody_ended_grows_old_with_its_job_and_its_late_end_is_still_recorded() {
    let (world, mut device, join) = World::running().await;
    world.store.keep(piece(0, &PRINTED[..4])).await.unwrap();
    assert!(world.due(later()).await.is_empty(), "its job goes on");
    assert_eq!(refused(&world, delete()).await, Refusal::OutputLive(name().to_string()));
    world.record(end_job()).await;
    assert_eq!(world.due(later()).await.len(), 1);
    world.record(delete()).await;
    assert!(world.output().await.is_empty() && world.due(later()).await.is_empty());
    // Its device comes after all: it has the only whole copy, begins anew, and nothing of it is lost.
    assert_eq!(world.store.keep(piece(4, &PRINTED[4..])).await.unwrap(), 0);
    assert_eq!(world.store.keep(piece(0, PRINTED)).await.unwrap(), PRINTED.len() as u64);
    world.record(statement(join, device.say(ends()), None)).await;
    let run = world.store.tenant(&tenant()).unwrap().run(JOB, &web1()).await.unwrap().unwrap();
    assert!(run.ended.is_some_and(|ended| ended.output == Some(Digest::of(PRINTED))) && run.output_deleted.is_none());
    assert_eq!(world.output().await, PRINTED);
    world.check().await;
}
