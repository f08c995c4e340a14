//! The index of a home: what is put in, what is known of the rest, and what a cut or a damage leaves.

use super::*;
use crate::testing;
use belay_certs::{DeviceAddress, Id, TenantName, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

const GATEWAY: &str = "gw.example:2222";
const PLENTY: u64 = 100;

fn row(number: u8, device: &str, chunks: u64) -> Value {
    let started = Timestamp::from_seconds(i64::from(number));
    json!({"session": Id([number; 16]), "device": device, "person": "tech", "kind": "shell", "started": started, "chunks": chunks, "deleted": false})
}

fn list(until: i64, rows: &[Value]) -> Listed {
    let tenants: BTreeSet<&str> = ["acme"].into_iter().chain(rows.iter().filter_map(tenant)).collect();
    let until = Timestamp::from_seconds(until);
    serde_json::from_value(json!({"tenants": tenants, "until": until, "more": false, "recordings": rows})).unwrap()
}

fn tenant(row: &Value) -> Option<&str> {
    Some(row["device"].as_str()?.split_once('.')?.1)
}

fn acme() -> BTreeSet<TenantName> {
    BTreeSet::from(["acme".parse().unwrap()])
}

fn all(tenants: &BTreeSet<TenantName>) -> Filter<'_> {
    Filter { tenants, person: None, device: None, since: Timestamp::from_micros(0), kind: None }
}

fn put(index: &mut Index, session: u8, texts: &[&str]) {
    let missing = index.missing(&all(&acme())).unwrap();
    let known = missing.into_iter().find(|known| known.session == Id([session; 16])).unwrap();
    let lines = |take: &mut dyn FnMut(Line) -> Outcome| {
        (0..).zip(texts).try_for_each(|(at_ms, text)| take(Line { at_ms, text: (*text).to_owned() }))
    };
    index.put(&known, ("alice", "exec"), lines).unwrap();
}

fn texts(index: &Index, text: &str, filter: &Filter<'_>) -> Vec<String> {
    let phrase = Phrase::new(text).unwrap().unwrap();
    index.find(&phrase, filter, 10).unwrap().into_iter().map(|found| found.text).collect()
}

#[test]
fn words_are_found_in_what_is_meant_the_last_put_in_first() {
    let (_dir, home) = testing::home();
    let mut index = Index::open(&home).unwrap();
    index.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 3), row(2, "web2.acme", 1)]), 1, PLENTY).unwrap();
    put(&mut index, 1, &["cat /etc/shadow", "Zürich \"quoted\" 100%"]);
    put(&mut index, 2, &["CAT /ETC/HOSTS", "x OR y NEAR z*"]);
    let (tenants, others) = (acme(), BTreeSet::from(["globex".parse().unwrap()]));
    let (every, web2) = (all(&tenants), "web2.acme".parse::<DeviceAddress>().unwrap());
    assert_eq!(texts(&index, "cat /etc/", &every), ["CAT /ETC/HOSTS", "cat /etc/shadow"]);
    assert_eq!(texts(&index, "cat /etc/", &Filter { device: Some(&web2), ..every }), ["CAT /ETC/HOSTS"]);
    assert_eq!(texts(&index, "cat", &Filter { since: Timestamp::from_seconds(2), ..every }), ["CAT /ETC/HOSTS"]);
    // What the device signed of it counts.
    assert_eq!(texts(&index, "cat", &Filter { person: Some("alice"), kind: Some("exec"), ..every }).len(), 2);
    assert!(texts(&index, "cat", &Filter { person: Some("tech"), ..every }).is_empty());
    assert!(texts(&index, "cat", &Filter { kind: Some("shell"), ..every }).is_empty());
    assert!(texts(&index, "cat", &all(&others)).is_empty(), "a tenant's that is not audited any more");
    assert_eq!(texts(&index, "\"quoted\" 100%", &every), ["Zürich \"quoted\" 100%"]);
    assert_eq!(texts(&index, "OR y NEAR", &every), ["x OR y NEAR z*"]);
    assert_eq!(texts(&index, "z*", &every), ["x OR y NEAR z*"]);
    assert!(texts(&index, "nowhere", &every).is_empty());
    let phrase = Phrase::new("etc").unwrap().unwrap();
    let found = index.find(&phrase, &every, 1).unwrap();
    assert_eq!((found.len(), &found[0].recording.device, found[0].recording.person.as_str()), (1, &web2, "alice"));
}

#[test]
fn what_grew_is_missing_until_it_is_put_in_again_and_what_was_deleted_is_gone() {
    let (_dir, home) = testing::home();
    let mut index = Index::open(&home).unwrap();
    let tenants = acme();
    let every = all(&tenants);
    index.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 3), row(2, "web1.acme", 1)]), 1, PLENTY).unwrap();
    put(&mut index, 1, &["before"]);
    index.learn(GATEWAY, &list(10, &[row(1, "web1.acme", 4)]), 2, PLENTY).unwrap();
    assert!(texts(&index, "before", &every).is_empty(), "it is not all of it any more");
    let missing: Vec<u8> = index.missing(&every).unwrap().iter().map(|known| known.session.0[0]).collect();
    assert_eq!((missing, index.count(&every).unwrap()), (vec![1, 2], 2));
    put(&mut index, 1, &["again"]);
    assert_eq!(texts(&index, "again", &every), ["again"]);
    assert!(texts(&index, "before", &every).is_empty());
    let mut gone = row(1, "web1.acme", 4);
    gone["deleted"] = true.into();
    index.learn(GATEWAY, &list(11, &[gone]), 3, PLENTY).unwrap();
    assert!(texts(&index, "again", &every).is_empty());
    assert_eq!(index.count(&every).unwrap(), 1);
    let words: i64 = index.connection.query_row("SELECT COUNT(*) FROM page", [], |row| row.get(0)).unwrap();
    assert_eq!(words, 0, "its text is not kept");
}

#[test]
fn a_list_is_followed_for_each_tenant_and_what_a_whole_one_does_not_name_is_forgotten() {
    let (_dir, home) = testing::home();
    let mut index = Index::open(&home).unwrap();
    let (acme, globex): (TenantName, TenantName) = ("acme".parse().unwrap(), "globex".parse().unwrap());
    assert_eq!(index.until(GATEWAY, None).unwrap(), None);
    index.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 1), row(1, "web1.globex", 1)]), 1, PLENTY).unwrap();
    index.learn(GATEWAY, &list(20, &[row(2, "web1.acme", 1)]), 2, PLENTY).unwrap();
    let until =
        |index: &Index, tenant: Option<&TenantName>| index.until(GATEWAY, tenant).unwrap().map(|until| until.seconds());
    assert_eq!((until(&index, Some(&acme)), until(&index, Some(&globex))), (Some(20), Some(9)));
    assert_eq!((until(&index, None), index.until("other:1", None).unwrap()), (Some(9), None));
    // Of one that is not listed any more nothing holds the others back.
    index.follow_only(GATEWAY, &BTreeSet::from([acme.clone()])).unwrap();
    assert_eq!((until(&index, None), until(&index, Some(&globex))), (Some(20), None));
    let both = BTreeSet::from([acme.clone(), globex]);
    assert_eq!(index.settle(&BTreeSet::from([acme]), 2).unwrap(), 1);
    assert_eq!(index.count(&all(&both)).unwrap(), 2, "another tenant's stays");
}

#[test]
fn more_than_the_most_is_refused_and_leaves_all_as_it_was() {
    let (_dir, home) = testing::home();
    let mut index = Index::open(&home).unwrap();
    let rows = [row(1, "web1.acme", 1), row(2, "web1.acme", 1), row(3, "web1.acme", 1)];
    let refused = index.learn(GATEWAY, &list(9, &rows), 1, 2).unwrap_err();
    assert!(refused.sentence().contains("more than 2 recordings"), "{refused:?}");
    assert_eq!((index.count(&all(&acme())).unwrap(), index.until(GATEWAY, None).unwrap()), (0, None));
    index.learn(GATEWAY, &list(9, &rows[..2]), 1, 2).unwrap();
}

#[test]
fn it_is_nobody_elses_and_a_damaged_one_or_another_versions_is_made_anew() {
    let (_dir, home) = testing::home();
    let path = home.dir().join("search.db");
    let tenants = acme();
    let begin = || {
        let mut index = Index::open(&home).unwrap();
        index.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 1)]), 1, PLENTY).unwrap();
        put(&mut index, 1, &["secret"]);
    };
    assert!(!Index::is_there(&home));
    begin();
    assert!(Index::is_there(&home));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(texts(&Index::open(&home).unwrap(), "secret", &all(&tenants)), ["secret"]);
    // As the version before left it.
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert_eq!(Index::open(&home).unwrap().count(&all(&tenants)).unwrap(), 0);
    fs::write(&path, vec![7; 10_000]).unwrap();
    let index = Index::open(&home).unwrap();
    assert!(index.count(&all(&tenants)).unwrap() == 0 && !index.is_damaged());
    drop(index);
    begin();
    // Behind what is read when it is opened.
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(7);
    fs::write(&path, bytes).unwrap();
    let index = Index::open(&home).unwrap();
    assert!(index.count(&all(&tenants)).is_err() && index.is_damaged());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_fails_halfway_changes_nothing() {
    let (_dir, home) = testing::home();
    let mut index = Index::open(&home).unwrap();
    let tenants = acme();
    index.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 1)]), 1, PLENTY).unwrap();
    let known = index.missing(&all(&tenants)).unwrap().remove(0);
    put(&mut index, 1, &["before"]);
    let failed = index.put(&known, ("bob", "shell"), |take| {
        take(Line { at_ms: 0, text: "half".to_owned() })?;
        Err(crate::failure::refused("cut off"))
    });
    assert!(failed.is_err() && index.missing(&all(&tenants)).unwrap().is_empty());
    assert_eq!(texts(&index, "before", &Filter { person: Some("alice"), ..all(&tenants) }), ["before"]);
}

#[test]
fn a_session_that_a_device_gave_a_jobs_id_hides_nothing_of_the_run() {
    let (_dir, home) = testing::home();
    let mut index = Index::open(&home).unwrap();
    let tenants = acme();
    let every = all(&tenants);
    let (session, mut run) = (row(1, "web1.acme", 3), row(1, "web1.acme", 80));
    run["kind"] = "run".into();
    index.learn(GATEWAY, &list(9, &[session.clone(), run]), 1, PLENTY).unwrap();
    let kinds =
        |index: &Index| -> Vec<String> { index.missing(&every).unwrap().into_iter().map(|known| known.kind).collect() };
    assert_eq!((kinds(&index), index.count(&every).unwrap()), (vec!["shell".to_owned(), "run".to_owned()], 2));
    let mut gone = session;
    gone["deleted"] = true.into();
    index.learn(GATEWAY, &list(10, &[gone]), 2, PLENTY).unwrap();
    assert_eq!(kinds(&index), ["run"]);
}

#[test]
fn of_two_searches_at_once_the_earlier_listing_takes_nothing_from_the_later_one() {
    let (_dir, home) = testing::home();
    let (mut one, mut other) = (Index::open(&home).unwrap(), Index::open(&home).unwrap());
    let tenants = acme();
    let now = Timestamp::from_seconds(9);
    let first = one.new_list(now).unwrap();
    one.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 3), row(2, "web1.acme", 1)]), first, PLENTY).unwrap();
    // The other lists later, also by a clock that was set back.
    let second = other.new_list(Timestamp::from_seconds(1)).unwrap();
    assert!(second > first);
    other.learn(GATEWAY, &list(9, &[row(1, "web1.acme", 3)]), second, PLENTY).unwrap();
    assert_eq!(one.settle(&tenants, first).unwrap(), 0);
    // Its text goes nowhere else when somebody forgot it meanwhile.
    let known = one.missing(&all(&tenants)).unwrap().pop().unwrap();
    assert_eq!(other.settle(&tenants, second).unwrap(), 1);
    assert!(one.put(&known, ("alice", "exec"), |take| take(Line { at_ms: 1, text: "stray".to_owned() })).is_err());
    assert!(texts(&other, "stray", &all(&tenants)).is_empty());
}
