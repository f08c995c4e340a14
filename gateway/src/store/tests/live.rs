//! Devices that come and go and speak, accesses, sessions, and what a start finds.

use super::fixtures::{Speaker, ended, intent};
use super::*;
use crate::store::{RecordError, SessionFilter};
use belay_certs::receipt;
use belay_certs::statement::{Body, CheckpointSeen, SignedStatement, Statement};
use belay_certs::{Digest, Timestamp};
use belay_rules::{Outer, Refusal};

const ACCESS: Id = Id([0xac; 16]);

pub(super) fn session(number: u8) -> Id {
    Id([number; 16])
}

pub(super) fn opened(number: u8) -> Body {
    Body::SessionOpened(intent(session(number), ACCESS))
}

pub(super) fn outer() -> Outer {
    Outer { access: ACCESS, person: ann(), device: "web1".parse().unwrap() }
}

pub(super) fn statement(join: Id, said: (SignedStatement, Statement), outer: Option<Outer>) -> Ask {
    Ask::Statement { join, signed: said.0, statement: Box::new(said.1), outer }
}

/// A world with one approved device that can speak.
pub(super) async fn with_device() -> (World, Speaker, Id) {
    let (world, acme, chain) = World::with_acme().await;
    let (document, _) = world.issue(&acme, &chain, 1).await;
    let device = Speaker::new("web1", 1);
    let join = world.device(&acme, &document, "web1", &device.host_key, 1).await;
    (world, device, join)
}

fn connect(join: Id, connection: u8) -> Ask {
    let (address, version) = (format!("192.0.2.{connection}:1"), "0.1.0".to_owned());
    Ask::Connect { join, connection: Id([connection; 16]), address, version, held: Some(connection.into()) }
}

fn disconnect(join: Id, connection: u8) -> Ask {
    Ask::Disconnect { join, connection: Id([connection; 16]), reason: "timed out".to_owned(), held: Some(7) }
}

fn filter() -> SessionFilter {
    let (since, until) = (Timestamp::from_seconds(0), now().plus(1));
    SessionFilter { device: None, person: None, kind: None, since, until, limit: 10 }
}

#[tokio::test]
async fn a_statement_is_recorded_and_its_receipt_lets_the_device_act() {
    let (world, mut device, join) = with_device().await;
    let said = device.say(opened(1));
    let recorded = world.record(statement(join, said.clone(), Some(outer()))).await;
    assert_eq!(recorded.outcome, Outcome::Recorded);
    let log = world.store.log_identity(&acme_log()).unwrap();
    let first = world.store.receipt_of(&recorded, 0).await.unwrap();
    let kept = receipt::verify(&first, &log, None, &said.0).unwrap().checkpoint().clone();
    // The next statement names the head that was proved, and its receipt continues it.
    device.checkpoint = Some(CheckpointSeen { origin: kept.origin.clone(), size: kept.size, root: Digest(kept.root) });
    let said = device.say(ended(session(1)));
    let recorded = world.record(statement(join, said.clone(), None)).await;
    let second = world.store.receipt_of(&recorded, kept.size).await.unwrap();
    receipt::verify(&second, &log, Some(&kept), &said.0).unwrap();
    let report = world.check().await;
    assert_eq!((report.statements, report.heads), (2, 1));
}

#[tokio::test]
async fn the_same_statement_again_gets_the_same_entry_even_in_one_batch_and_after_a_restart() {
    let (world, mut device, join) = with_device().await;
    let said = device.say(opened(1));
    let ask = || statement(join, said.clone(), Some(outer()));
    let (one, two) = tokio::join!(world.store.record(ask(), now()), world.store.record(ask(), now()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((two.outcome, two.index, &two.entry), (Outcome::Again, one.index, &one.entry));
    let world = world.reopen().await;
    let three = world.record(ask()).await;
    assert_eq!((three.outcome, three.index, three.entry), (Outcome::Again, one.index, one.entry));
    let next = world.record(statement(join, device.say(ended(session(1))), None)).await;
    assert_eq!(next.outcome, Outcome::Recorded);
    assert_eq!(world.check().await.statements, 2);
}

#[tokio::test]
async fn rejected_statements_leave_the_chain_whole_and_the_log_verifies() {
    let (world, mut device, join) = with_device().await;
    let first = device.say(opened(1));
    world.record(statement(join, first, Some(outer()))).await;
    // A head that this log never had; then a gap.
    device.seq += 1;
    device.checkpoint = Some(CheckpointSeen { origin: "gw.example/acme".to_owned(), size: 3, root: Digest::of(b"x") });
    let denied = world.record(statement(join, device.phrase(ended(session(1))), None)).await;
    assert_eq!(denied.outcome, Outcome::Rejected(Refusal::CheckpointDenied { seq: 2, size: 3 }));
    device.checkpoint = None;
    device.seq += 1;
    let gap = world.record(statement(join, device.phrase(ended(session(1))), None)).await;
    assert_eq!(gap.outcome, Outcome::Rejected(Refusal::StatementGap { seq: 3, expected: 2 }));
    device.seq -= 1;
    let good = world.record(statement(join, device.phrase(ended(session(1))), None)).await;
    assert_eq!(good.outcome, Outcome::Recorded);
    let report = world.check().await;
    assert_eq!(report.statements, 2);
    let types = world.types(&acme_log()).await;
    assert_eq!(types.iter().filter(|kind| *kind == "statement.rejected").count(), 2);
}

#[tokio::test]
async fn a_head_of_another_log_is_none_of_our_business() {
    let (world, mut device, join) = with_device().await;
    let origin = "gw.example/acme/0".to_owned();
    device.checkpoint = Some(CheckpointSeen { origin, size: 1 << 40, root: Digest::of(b"x") });
    let recorded = world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    assert_eq!(recorded.outcome, Outcome::Recorded);
}

#[tokio::test]
async fn a_session_for_somebody_else_is_withheld_and_not_listed() {
    let (world, mut device, join) = with_device().await;
    let bob = Outer { person: "bob".parse().unwrap(), ..outer() };
    let said = device.say(opened(1));
    let withheld = world.record(statement(join, said.clone(), Some(bob))).await;
    assert!(matches!(withheld.outcome, Outcome::Withheld(Refusal::PersonMismatch { .. })));
    let log = world.store.log_identity(&acme_log()).unwrap();
    let proof = world.store.receipt_of(&withheld, 0).await.unwrap();
    // The device learns that its statement is in the log, and by the entry's type that nothing may start.
    assert_eq!(receipt::verify(&proof, &log, None, &said.0).unwrap().entry().kind, "session.withheld");
    let next = world.record(statement(join, device.say(opened(2)), Some(outer()))).await;
    assert_eq!(next.outcome, Outcome::Recorded);
    let listed = world.store.tenant(&tenant()).unwrap().sessions(&filter()).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.session).collect::<Vec<_>>(), [session(2)]);
    assert_eq!(world.check().await.statements, 2);
}

#[tokio::test]
async fn sessions_are_listed_with_who_what_and_how_they_ended() {
    let (world, mut device, join) = with_device().await;
    for number in [1, 2] {
        world.record(statement(join, device.say(opened(number)), Some(outer()))).await;
    }
    // A device that uses an id twice changes nothing that was said before.
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    world.record(statement(join, device.say(ended(session(1))), None)).await;
    let rows = world.store.tenant(&tenant()).unwrap();
    let listed = rows.sessions(&filter()).await.unwrap();
    assert_eq!(listed.len(), 2);
    let first = listed.iter().find(|row| row.session == session(1)).unwrap();
    assert_eq!((first.person.clone(), first.account.as_str(), first.kind.as_str()), (ann(), "root", "shell"));
    let end = first.ended.as_ref().unwrap();
    assert_eq!((end.exit, end.bytes_in, end.bytes_out), (Some(0), 3, 4));
    for (filter, count) in [
        (SessionFilter { device: Some("web1".parse().unwrap()), person: Some(ann()), ..filter() }, 2),
        (SessionFilter { device: Some("web2".parse().unwrap()), ..filter() }, 0),
        (SessionFilter { person: Some("bob".parse().unwrap()), ..filter() }, 0),
        (SessionFilter { until: now(), ..filter() }, 0),
        (SessionFilter { limit: 1, ..filter() }, 1),
    ] {
        assert_eq!(rows.sessions(&filter).await.unwrap().len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn the_newest_connection_wins_and_presence_is_listed() {
    let (world, _, join) = with_device().await;
    let present = async || {
        let row = world.store.device_by_join(join).await.unwrap().unwrap();
        row.presence.map(|presence| (presence.connection, presence.address, presence.version, presence.held))
    };
    assert_eq!(present().await, None);
    world.record(connect(join, 1)).await;
    world.record(connect(join, 2)).await;
    let late = world.store.record(disconnect(join, 1), now()).await.unwrap_err();
    let name = "web1".parse().unwrap();
    assert_eq!(late, RecordError::Refused(Refusal::NotConnected { name, connection: Id([1; 16]) }));
    let here = ("192.0.2.2:1".to_owned(), "0.1.0".to_owned());
    assert_eq!(present().await, Some((Some(Id([2; 16])), here.0.clone(), here.1.clone(), Some(2))));
    world.record(disconnect(join, 2)).await;
    assert_eq!(present().await, Some((None, here.0, here.1, Some(7))));
    let types = world.types(&acme_log()).await;
    let tail = ["device.connected", "device.superseded", "device.connected", "device.disconnected"];
    assert_eq!(types[types.len() - 4..], tail);
    let unknown = world.store.record(connect(Id([0xee; 16]), 1), now()).await.unwrap_err();
    assert_eq!(unknown, RecordError::Refused(Refusal::DeviceUnknown(Id([0xee; 16]))));
}

#[tokio::test]
async fn a_start_says_what_was_cut_off_and_is_not_surprised_by_it_twice() {
    let (world, _, join) = with_device().await;
    world.record(connect(join, 1)).await;
    let through = |what| Ask::Note(Draft::new(acme_log(), what).on("web1".parse().unwrap()).by(ann()));
    let open = What::AccessOpened { access: ACCESS, key: "SHA256:ann".to_owned(), address: "192.0.2.9:1".to_owned() };
    world.record(through(open)).await;
    let world = world.reopen().await;
    for version in ["0.1.1", "0.1.2"] {
        let started = world.record(Ask::StartUp { version: version.to_owned() }).await;
        assert_eq!(started.log, LogName::System);
    }
    let types = world.types(&acme_log()).await;
    assert_eq!(types[types.len() - 3..], ["access.opened", "access.ended", "gateway.started"]);
    let row = world.store.device_by_join(join).await.unwrap().unwrap();
    assert_eq!(row.presence.unwrap().connection, None);
    world.record(connect(join, 2)).await;
    assert_eq!(world.types(&acme_log()).await.last().unwrap(), "device.connected");
    world.check().await;
}

#[tokio::test]
async fn a_statement_that_fits_no_entry_is_rejected_and_the_device_goes_on() {
    let (world, mut device, join) = with_device().await;
    let said = device.say(opened(1));
    // Longer than `statement::verify` lets through; the store does not rely on it.
    let mut long = said.clone();
    long.0.signature = "x".repeat(belay_certs::limits::ENTRY_BYTES_MAX);
    let rejected = world.record(statement(join, long, Some(outer()))).await;
    assert_eq!(rejected.outcome, Outcome::Rejected(Refusal::StatementTooLarge(1)));
    assert_eq!(world.record(statement(join, said, Some(outer()))).await.outcome, Outcome::Recorded);
    assert_eq!(world.check().await.statements, 1);
}
