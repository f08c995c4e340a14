//! The log itself: group commit, receipts, export, opening again.

use super::*;
use crate::store::{RecordError, limits};
use belay_certs::tlog::{Checkpoint, leaf_hash, verify_consistency, verify_inclusion};
use belay_rules::Refusal;
use std::collections::BTreeSet;
use tokio::task::JoinSet;

async fn record_many(world: &World, count: usize) -> Vec<Recorded> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let store = world.store.clone();
        tasks.spawn(async move { store.record(ran(acme_log(), &number.to_string()), now()).await.unwrap() });
    }
    tasks.join_all().await
}

fn head(world: &World) -> Checkpoint {
    let (_, note) = world.store.checkpoint(&acme_log()).unwrap();
    let identity = world.store.log_identity(&acme_log()).unwrap();
    Checkpoint::open(&note, &identity.origin, &identity.vkey).unwrap()
}

/// The receipt leads from the entry to the newest head, and that continues `kept`.
async fn assert_proved(world: &World, recorded: &Recorded, kept: &Checkpoint) {
    let receipt = world.store.receipt_of(recorded, kept.size).await.unwrap();
    assert_eq!(receipt, world.store.receipt(&recorded.log, recorded.index, kept.size).await.unwrap());
    let head = head(world);
    let leaf = leaf_hash(&receipt.entry);
    verify_inclusion(&leaf, receipt.index, head.size, &receipt.inclusion, &head.root).unwrap();
    verify_consistency(kept.size, &kept.root, head.size, &head.root, &receipt.consistency).unwrap();
}

#[tokio::test]
async fn a_thousand_at_once_become_one_log_that_verifies() {
    let world = World::new().await;
    world.record(Ask::AddTenant { tenant: tenant() }).await;
    let first = head(&world);
    let recorded = record_many(&world, 1_000).await;
    let indices: BTreeSet<u64> = recorded.iter().map(|recorded| recorded.index).collect();
    assert_eq!(indices, (1..=1_000).collect());
    let report = world.check().await;
    assert_eq!((report.entries, report.checkpoint.clone()), (1_001, head(&world)));
    for (size, place) in [(1, 0), (1, 255), (17, 256), (255, 257), (256, 511), (257, 998), (1_001, 999)] {
        let root = world.store.root_at(&acme_log(), size).await.unwrap().unwrap();
        assert_proved(&world, &recorded[place], &Checkpoint { origin: first.origin.clone(), size, root }).await;
    }
    assert_eq!(world.store.root_at(&acme_log(), first.size).await.unwrap(), Some(first.root));
    assert_eq!(world.store.root_at(&acme_log(), 1_002).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_opened_again_goes_on_where_it_was() {
    let world = World::new().await;
    world.record(Ask::AddTenant { tenant: tenant() }).await;
    let recorded = record_many(&world, 600).await;
    let before = head(&world);
    let world = world.reopen().await;
    assert_eq!(head(&world), before);
    let next = world.record(ran(acme_log(), "later")).await;
    assert_eq!(next.index, 601);
    for recorded in [&recorded[0], &recorded[599], &next] {
        assert_proved(&world, recorded, &before).await;
    }
    assert_eq!(world.check().await.entries, 602);
    assert_eq!(world.types(&LogName::System).await, ["log.started", "tenant.added"]);
}

#[tokio::test]
async fn an_older_head_and_an_entry_that_never_was_have_no_receipt() {
    let world = World::new().await;
    world.record(Ask::AddTenant { tenant: tenant() }).await;
    let lost = world.store.receipt(&acme_log(), 0, 2).await.unwrap_err();
    assert!(lost.to_string().contains("entries were lost"), "{lost}");
    assert!(world.store.receipt(&acme_log(), 1, 0).await.is_err());
    assert!(world.store.receipt(&"beta".parse().unwrap(), 0, 0).await.is_err());
}

#[tokio::test]
async fn an_archive_is_of_one_size_and_the_same_each_time() {
    let (world, _, chain) = World::with_acme().await;
    record_many(&world, 300).await;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let exported = world.store.export(&acme_log(), &mut one).await.unwrap();
    world.store.export(&acme_log(), &mut two).await.unwrap();
    assert_eq!((exported.entries, exported.objects), (302, 2));
    assert_eq!(one, two);
    let files = Export::read(&one).0;
    for path in ["checkpoint", "log.vkey", "tile/0/000", "tile/0/001.p/46", "tile/1/000.p/1", "tile/entries/001.p/46"] {
        assert!(files.contains_key(path), "{path} is missing");
    }
    assert!(files.contains_key(&format!("objects/{}", chain.digest().hex())));
    assert_eq!(world.check().await.objects, 2);
}

#[tokio::test]
async fn nothing_is_recorded_for_a_tenant_that_is_not_there() {
    let world = World::new().await;
    let refused = world.store.record(ran(acme_log(), "x"), now()).await.unwrap_err();
    assert_eq!(refused, RecordError::Refused(Refusal::TenantUnknown(tenant())));
    assert_eq!(world.types(&LogName::System).await, ["log.started"]);
}

#[tokio::test]
async fn a_tenant_is_added_once_and_both_logs_say_so() {
    let world = World::new().await;
    let (one, two) = tokio::join!(
        world.store.record(Ask::AddTenant { tenant: tenant() }, now()),
        world.store.record(Ask::AddTenant { tenant: tenant() }, now()),
    );
    assert_eq!(one.unwrap().log, acme_log());
    assert_eq!(two.unwrap_err(), RecordError::Refused(Refusal::TenantExists(tenant())));
    world.record(Ask::AddTenant { tenant: "beta".parse().unwrap() }).await;
    assert_eq!(world.types(&acme_log()).await, ["log.started"]);
    let system = ["log.started", "tenant.added", "tenant.added"];
    assert_eq!(world.types(&LogName::System).await, system);
    let names: Vec<String> = world.store.tenants().await.unwrap().iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names, ["acme", "beta"]);
    world.check_log(&LogName::System).await.unwrap();
}

#[tokio::test]
async fn an_entry_too_long_is_refused_alone() {
    let world = World::new().await;
    let long = "x".repeat(belay_certs::limits::ENTRY_BYTES_MAX);
    let refused = world.store.record(ran(LogName::System, &long), now()).await.unwrap_err();
    assert!(matches!(refused, RecordError::Refused(Refusal::EntryInvalid(_))), "{refused:?}");
    let read = world.store.entries(&LogName::System, 0, limits::ENTRIES_READ_MAX).await.unwrap();
    assert_eq!(read.len(), 1);
}

#[tokio::test]
async fn a_closed_store_says_so_and_what_was_queued_is_recorded() {
    let world = World::new().await;
    let queued = world.store.record(ran(LogName::System, "last"), now());
    let (queued, ()) = tokio::join!(queued, world.store.close());
    assert_eq!(queued.unwrap().index, 1);
    let closed = world.store.record(ran(LogName::System, "late"), now()).await.unwrap_err();
    assert_eq!(closed.to_string(), "the store is closed");
}

#[tokio::test]
async fn everything_can_be_asked_from_a_task_of_its_own() {
    let (World { directory, store, .. }, ..) = World::with_acme().await;
    let task = tokio_util::task::TaskTracker::new().spawn(async move {
        let (log, mut archive) = (acme_log(), Vec::new());
        let recorded = store.record(ran(log.clone(), "x"), now()).await.unwrap();
        store.receipt_of(&recorded, 1).await.unwrap();
        store.receipt(&log, 0, 1).await.unwrap();
        store.export(&log, &mut archive).await.unwrap();
        store.tenant(&tenant()).unwrap().devices("", 1).await.unwrap();
        store.close().await;
        Store::open(directory.path(), LogKeys::new(directory.path().join("keys"), "gw.example"), now()).await.unwrap();
    });
    task.await.unwrap();
}
