//! The index on its own: what is found, forgotten, damaged, and cut off half-way.

use super::*;
use belay_certs::screen::pages::Pages;

fn session(number: u8, kind: &str) -> IndexedSession {
    let source = if kind == "run" { Source::Run } else { Source::Session };
    let session = ("web1".parse().unwrap(), Id([number; 16]), source);
    let started = Timestamp::from_seconds(i64::from(number));
    IndexedSession {
        session,
        person: "ann".parse().unwrap(),
        kind: kind.to_owned(),
        started,
        chunks: 2,
        is_sealed: false,
    }
}

fn wanted(text: &str) -> Wanted {
    let (person, device, kind) = (None, None, None);
    let words = Phrase::new(text).unwrap().unwrap();
    Wanted { words, person, device, since: Timestamp::from_seconds(0), kind, limit: 10 }
}

fn page(lines: &[&str]) -> Page {
    let mut pages = Pages::default();
    for (at_ms, text) in (0..).zip(lines) {
        assert_eq!(pages.add(&Line { at_ms, text: (*text).to_owned() }).unwrap(), None);
    }
    pages.finish().unwrap().unwrap()
}

async fn add(index: &mut Index, number: u8, kind: &str, lines: &[&str]) {
    let mut adding = index.add(session(number, kind)).await.unwrap();
    adding.page(page(lines)).await.unwrap();
    adding.finish().await.unwrap();
    index.keep().await.unwrap();
}

async fn lines(index: &mut Index, wanted: &Wanted) -> Vec<(u8, String)> {
    let found = index.search(wanted).await.unwrap();
    found.into_iter().map(|found| (found.session.0[0], found.line)).collect()
}

#[tokio::test]
async fn words_are_found_newest_first_with_every_filter_and_forgotten() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::open(&directory.path().join("acme.db")).await.unwrap();
    add(&mut index, 1, "shell", &["rm -rf /var/cache", "Zürich \"quoted\" NEAR OR *"]).await;
    add(&mut index, 2, "exec", &["removed /var/cache/apt"]).await;
    let both = [(2, "removed /var/cache/apt".to_owned()), (1, "rm -rf /var/cache".to_owned())];
    assert_eq!(lines(&mut index, &wanted("VAR cache")).await, both);
    assert_eq!(lines(&mut index, &wanted("cache var")).await, []);
    for odd in ["\"quoted\" NEAR OR *", "zurich"] {
        assert_eq!(lines(&mut index, &wanted(odd)).await.len(), 1, "{odd}");
    }
    for nothing in ["' OR 1=1 --", "words:x", "x*"] {
        assert_eq!(lines(&mut index, &wanted(nothing)).await, [], "{nothing:?}");
    }
    let exec = Wanted { kind: Some(Kind::Exec), ..wanted("cache") };
    assert_eq!(lines(&mut index, &exec).await.len(), 1);
    let later = Wanted { since: Timestamp::from_seconds(2), ..wanted("cache") };
    assert_eq!(lines(&mut index, &later).await.len(), 1);
    let other = Wanted { person: Some("bob".parse().unwrap()), ..wanted("cache") };
    assert_eq!(lines(&mut index, &other).await, []);
    add(&mut index, 1, "shell", &["another"]).await;
    assert_eq!(lines(&mut index, &wanted("cache")).await.len(), 1, "it took the place of what there was");
    index.forget(&session(2, "exec").session).await.unwrap();
    index.keep().await.unwrap();
    assert_eq!(lines(&mut index, &wanted("cache")).await, []);
    assert_eq!(index.seen().await.unwrap(), [(session(1, "shell").session, 2)].into());
}

#[tokio::test]
async fn a_run_is_found_as_one_beside_a_session_of_the_same_id_and_a_sealed_one_is_only_counted() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::open(&directory.path().join("acme.db")).await.unwrap();
    add(&mut index, 1, "exec", &["cache of a session"]).await;
    add(&mut index, 1, "run", &["cache of a run"]).await;
    let sealed = IndexedSession { is_sealed: true, ..session(2, "run") };
    index.add(sealed).await.unwrap().finish().await.unwrap();
    index.keep().await.unwrap();
    assert_eq!(index.seen().await.unwrap().len(), 3);
    assert_eq!(lines(&mut index, &wanted("cache")).await.len(), 2);
    let runs = Wanted { kind: Some(Kind::Run), ..wanted("cache") };
    let found = index.search(&runs).await.unwrap();
    assert_eq!(found.iter().map(|found| (&*found.kind, &*found.line)).collect::<Vec<_>>(), [("run", "cache of a run")]);
    for (wanted, count) in [
        (wanted("cache"), 1),
        (runs.clone(), 1),
        (Wanted { kind: Some(Kind::Exec), ..wanted("cache") }, 0),
        (Wanted { person: Some("bob".parse().unwrap()), ..wanted("cache") }, 0),
        (Wanted { since: Timestamp::from_seconds(3), ..wanted("cache") }, 0),
    ] {
        assert_eq!(index.sealed(&wanted).await.unwrap(), count, "{wanted:?}");
    }
    index.forget(&session(1, "run").session).await.unwrap();
    index.keep().await.unwrap();
    assert_eq!(lines(&mut index, &wanted("cache")).await, [(1, "cache of a session".to_owned())]);
}

#[tokio::test]
async fn a_file_that_is_none_is_damaged_and_not_broken() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.db");
    std::fs::write(&path, vec![7; 9_000]).unwrap();
    assert!(matches!(Index::open(&path).await, Err(IndexError::Damaged(_))));
}

#[tokio::test]
async fn an_index_of_an_earlier_version_is_made_anew() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.db");
    let mut connection = connect(&path, "rwc").await.unwrap();
    connection.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)").await.unwrap();
    connection.close().await.unwrap();
    let Err(IndexError::Damaged(why)) = Index::open(&path).await else { panic!("it was opened") };
    assert_eq!(why, "it is of format 0, and this version writes 3");
}

#[tokio::test]
async fn of_a_giant_recording_the_beginning_is_found_and_a_deleted_one_leaves_nothing_behind() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.db");
    let mut index = Index::open(&path).await.unwrap();
    let mut adding = index.add(session(1, "shell")).await.unwrap();
    adding.page(page(&["the unmistakable beginning"])).await.unwrap();
    adding.pages = INDEXED_PAGES_MAX;
    adding.page(page(&["the end"])).await.unwrap();
    adding.finish().await.unwrap();
    index.keep().await.unwrap();
    assert_eq!(lines(&mut index, &wanted("the")).await.len(), 1);
    index.forget(&session(1, "shell").session).await.unwrap();
    index.keep().await.unwrap();
    index.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    index.close().await;
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(12).any(|window| window == b"unmistakable".as_slice()), "the word is still in the file");
}

#[tokio::test]
async fn a_recording_that_was_half_added_is_not_there() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.db");
    let mut index = Index::open(&path).await.unwrap();
    let mut adding = index.add(session(1, "shell")).await.unwrap();
    adding.page(page(&["half"])).await.unwrap();
    drop(adding);
    drop(index);
    let mut index = Index::open(&path).await.unwrap();
    assert!(index.search(&wanted("half")).await.unwrap().is_empty() && index.seen().await.unwrap().is_empty());
}
