//! A tenant's log that lives again, and the two faults of its beginning.

use super::faults::{is_broken, saboteur};
use super::fixtures::ended;
use super::live::{opened, outer, session, statement, with_device};
use super::*;
use crate::store::RecordError;
use belay_certs::policy::LogIdentity;
use belay_rules::Refusal;
use sqlx::Executor;

fn restart() -> Ask {
    Ask::RestartLog { tenant: tenant() }
}

fn identity(world: &World) -> LogIdentity {
    world.store.log_identity(&acme_log()).unwrap()
}

/// Checks the first life of acme's log.
async fn check_first(world: &World, first: &LogIdentity) -> Report {
    let mut archive = Vec::new();
    world.store.export_earlier(&acme_log(), 1, &mut archive).await.unwrap();
    check_log(&Export::read(&archive), &first.origin, &first.vkey, None, &mut |_, _| {}).unwrap()
}

#[tokio::test]
async fn a_restarted_log_verifies_by_itself_and_its_first_life_stays_as_it_was() {
    let (world, mut device, join) = with_device().await;
    world.record(statement(join, device.say(opened(1)), Some(outer()))).await;
    let (first, entries) = (identity(&world), world.store.checkpoint(&acme_log()).unwrap().0);
    // What a restored database does not know.
    let _lost = device.say(ended(session(1)));
    let third = device.say(opened(2));
    let gap = world.record(statement(join, third.clone(), Some(outer()))).await;
    assert!(matches!(gap.outcome, Outcome::Rejected(Refusal::StatementGap { .. })), "{gap:?}");
    assert_eq!(world.record(restart()).await.index, 0);
    assert_eq!(identity(&world).origin, "gw.example/acme/2");
    assert_eq!(world.types(&acme_log()).await, ["log.started", "device.carried"]);
    assert_eq!(world.record(statement(join, third.clone(), Some(outer()))).await.outcome, Outcome::Recorded);
    let world = world.reopen().await;
    assert_eq!(world.record(statement(join, third, Some(outer()))).await.outcome, Outcome::Again);
    world.record(statement(join, device.say(ended(session(2))), None)).await;
    assert_eq!(world.check().await.statements, 2);
    assert_eq!(check_first(&world, &first).await.entries, entries + 1);
    // Once more, as often as databases are lost.
    world.record(restart()).await;
    assert_eq!(identity(&world.reopen().await).origin, "gw.example/acme/3");
}

#[tokio::test]
async fn what_was_recorded_in_an_earlier_life_is_known_in_the_next() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, token) = world.issue(&acme, &chain, 1).await;
    world.record(restart()).await;
    let ask = Ask::IssueToken { signed: document, token: Box::new(token), by: ann() };
    let again = world.record(ask).await;
    assert_eq!((again.outcome, again.index), (Outcome::Again, 0));
    assert!(matches!(
        world.store.record(Ask::RestartLog { tenant: "beta".parse().unwrap() }, now()).await,
        Err(RecordError::Refused(Refusal::TenantUnknown(_)))
    ));
}

#[tokio::test]
async fn a_restart_that_failed_leaves_the_log_as_it_was() {
    let (world, _, _) = World::with_acme().await;
    let (first, before) = (identity(&world), world.check().await.entries);
    let mut saboteur = saboteur(&world).await;
    assert!(is_broken(&world.store.record(restart(), now()).await));
    saboteur.execute("DROP TRIGGER full").await.unwrap();
    assert_eq!(identity(&world), first);
    assert_eq!(world.record(ran(acme_log(), "on")).await.index, before);
    let world = world.reopen().await;
    assert_eq!(world.check().await.entries, before + 1);
    world.record(restart()).await;
    assert_eq!(identity(&world).origin, "gw.example/acme/2");
}

#[tokio::test]
async fn a_restart_that_happened_and_was_reported_as_failed_is_taken_up() {
    let (world, _, _) = World::with_acme().await;
    let first = identity(&world);
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(is_broken(&world.store.record(restart(), now()).await));
    assert_eq!(identity(&world).origin, "gw.example/acme/2");
    assert_eq!(world.record(ran(acme_log(), "on")).await.index, 1);
    let world = world.reopen().await;
    assert_eq!(world.check().await.entries, 2);
    check_first(&world, &first).await;
}
