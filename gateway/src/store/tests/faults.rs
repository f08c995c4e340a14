//! Every write fails in two ways: it did not happen, and it happened although it was reported as failed.

use super::*;
use crate::store::Inner;
use crate::store::RecordError;
use crate::store::database::Database;
use crate::store::record::Job;
use sqlx::{AnyConnection, Executor};
use std::pin::pin;
use tokio::sync::mpsc;

/// Somebody else at the same database: makes inserts of some entries fail, as a full disk does.
pub(super) async fn saboteur(world: &World) -> AnyConnection {
    let mut connection = Database::open(world.directory.path()).await.unwrap().writer().await.unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    connection.execute(trigger).await.unwrap();
    connection
}

pub(super) fn is_broken(answer: &Result<Recorded, RecordError>) -> bool {
    matches!(answer, Err(RecordError::Broken(_)))
}

#[tokio::test]
async fn a_failed_transaction_leaves_nothing_and_the_store_goes_on() {
    let (world, acme, chain) = World::with_acme().await;
    let (before, _) = world.store.checkpoint(&acme_log()).unwrap();
    let mut saboteur = saboteur(&world).await;
    let (document, token) = acme.token(&chain, Id([1; 16]), 1);
    let issue = || Ask::IssueToken { signed: document.clone(), token: Box::new(token.clone()), by: ann() };
    let asks = tokio::join!(
        world.store.record(ran(acme_log(), "a"), now()),
        world.store.record(issue(), now()),
        world.store.record(Ask::AddTenant { tenant: "beta".parse().unwrap() }, now()),
    );
    assert!(is_broken(&asks.0) && is_broken(&asks.1) && is_broken(&asks.2), "{asks:?}");
    assert_eq!(world.store.checkpoint(&acme_log()).unwrap().0, before);
    assert!(world.store.tenant(&"beta".parse().unwrap()).is_none());
    saboteur.execute("DROP TRIGGER full").await.unwrap();
    assert_eq!(world.record(ran(acme_log(), "b")).await.index, before);
    assert_eq!(world.record(issue()).await.outcome, Outcome::Recorded);
    world.record(Ask::AddTenant { tenant: "beta".parse().unwrap() }).await;
    // The first key signed nothing that anyone saw, so the log's life is its first.
    assert_eq!(world.store.log_identity(&"beta".parse().unwrap()).unwrap().origin, "gw.example/beta");
    assert_eq!(world.check().await.entries, before + 2);
    let world = world.reopen().await;
    assert_eq!(world.store.tenants().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_commit_that_happened_and_was_reported_as_failed_is_taken_up() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, token) = acme.token(&chain, Id([1; 16]), 1);
    let issue = || Ask::IssueToken { signed: document.clone(), token: Box::new(token.clone()), by: ann() };
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(is_broken(&world.store.record(issue(), now()).await));
    // It happened: asking the same again finds it, and the log goes on behind it.
    let again = world.record(issue()).await;
    assert_eq!((again.outcome, again.index), (Outcome::Again, 2));
    assert_eq!(world.record(ran(acme_log(), "next")).await.index, 3);
    assert_eq!(world.check().await.entries, 4);
}

#[tokio::test]
async fn a_tenant_whose_adding_was_reported_as_failed_is_there_with_its_key() {
    let world = World::new().await;
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(is_broken(&world.store.record(Ask::AddTenant { tenant: tenant() }, now()).await));
    let refused = world.store.record(Ask::AddTenant { tenant: tenant() }, now()).await;
    assert!(matches!(refused, Err(RecordError::Refused(_))), "{refused:?}");
    assert_eq!(world.record(ran(acme_log(), "x")).await.index, 1);
    assert_eq!(world.reopen().await.check().await.entries, 2);
}

#[tokio::test]
async fn a_changed_database_or_key_is_not_served() {
    let world = World::new().await;
    world.record(ran(LogName::System, "x")).await;
    world.store.close().await;
    let mut connection = Database::open(world.directory.path()).await.unwrap().writer().await.unwrap();
    connection.execute("UPDATE entry SET leaf = zeroblob(32) WHERE seq = 0").await.unwrap();
    let broken = open(&world.directory).await.unwrap_err().to_string();
    assert!(broken.contains("log system") && broken.contains("restore a whole backup"), "{broken}");
    connection.execute("UPDATE entry SET head = NULL").await.unwrap();
    assert!(open(&world.directory).await.unwrap_err().to_string().contains("no signed head"));
    connection.execute("DELETE FROM entry").await.unwrap();
    assert!(open(&world.directory).await.unwrap_err().to_string().contains("no entries"));
    let key = world.directory.path().join("keys/log-system.key");
    std::fs::remove_file(&key).unwrap();
    assert!(open(&world.directory).await.unwrap_err().to_string().contains("log-system.key"));
    LogKeys::new(world.directory.path().join("keys"), "gw.example").make(&LogName::System).unwrap();
    assert!(open(&world.directory).await.unwrap_err().to_string().contains("another key"));
}

#[tokio::test]
async fn whoever_loses_the_database_twice_is_told_to_keep_the_key_of_either_life() {
    let (directory, mut origins) = (tempfile::tempdir().unwrap(), Vec::new());
    let keys = || LogKeys::new(directory.path().join("keys"), "gw.example");
    for life in 1..=3 {
        let store = Store::open(directory.path(), keys(), now()).await.unwrap();
        origins.push(store.log_identity(&LogName::System).unwrap().origin);
        store.close().await;
        std::fs::remove_file(directory.path().join("belay.db")).unwrap();
        let told = Store::open(directory.path(), keys(), now()).await.unwrap_err().to_string();
        let aside = format!("keys/log-system.key.{life}");
        assert!(told.contains(&format!("to {aside} and")) && !directory.path().join(&aside).exists(), "{told}");
        std::fs::rename(directory.path().join("keys/log-system.key"), directory.path().join(aside)).unwrap();
    }
    assert_eq!(origins, ["gw.example/system", "gw.example/system/2", "gw.example/system/3"]);
}

#[tokio::test]
async fn a_lost_database_is_not_taken_for_a_new_one() {
    let world = World::with_acme().await.0;
    world.store.close().await;
    let (path, keys) = (world.directory.path(), || LogKeys::new(world.directory.path().join("keys"), "gw.example"));
    let whole = std::fs::read(path.join("belay.db")).unwrap();
    let mut flipped = whole.clone();
    flipped.iter_mut().skip(4096).step_by(97).for_each(|byte| *byte ^= 1);
    let refused = async |bytes: Option<&[u8]>| {
        match bytes {
            Some(bytes) => std::fs::write(path.join("belay.db"), bytes).unwrap(),
            None => std::fs::remove_file(path.join("belay.db")).unwrap(),
        }
        Store::open(path, keys(), now()).await.unwrap_err().to_string()
    };
    assert!(refused(None).await.contains("it was lost. Restore it from a backup"));
    assert!(refused(Some(b"")).await.contains("it was lost. Restore it from a backup"));
    let names = |sentence: String| assert!(sentence.contains("database") || sentence.contains("log "), "{sentence}");
    names(refused(Some(b"not a database at all, but longer than nothing")).await);
    names(refused(Some(&flipped)).await);
    names(refused(Some(&whole[..whole.len() / 2])).await);
    std::fs::write(path.join("belay.db"), &whole).unwrap();
    Store::open(path, keys(), now()).await.unwrap().close().await;
    assert_eq!(std::fs::read_dir(path.join("keys")).unwrap().count(), 2, "no key was put aside");
}

/// A store whose writer never takes anything: one ask fits its queue.
fn stuck(world: &World) -> (Store, mpsc::Receiver<Job>) {
    let (queue, asks) = mpsc::channel(1);
    let inner = &world.store.0;
    let store = Store(Arc::new(Inner {
        queue,
        shared: inner.shared.clone(),
        readers: inner.readers.clone(),
        objects: super::super::Objects::open(&inner.directory).unwrap(),
        directory: inner.directory.clone(),
        stop: inner.stop.clone(),
        tasks: inner.tasks.clone(),
    }));
    (store, asks)
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_then_said_to_be_busy() {
    let world = World::new().await;
    let (store, mut asks) = stuck(&world);
    tokio::time::pause();
    let mut first = pin!(store.record(ran(LogName::System, "first"), now()));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    let busy = store.record(ran(LogName::System, "late"), now()).await.unwrap_err();
    assert!(busy.to_string().contains("busy"), "{busy}");
    // A place that comes free in time is taken.
    let mut third = pin!(store.record(ran(LogName::System, "third"), now()));
    assert!(futures_util::poll!(third.as_mut()).is_pending());
    assert!(asks.recv().await.is_some());
    assert!(futures_util::poll!(third.as_mut()).is_pending());
    assert!(asks.recv().await.is_some(), "the third is queued");
}
