//! The exact bytes of an entry, the strictness of reading, and the envelope against the statement.

use super::*;
use crate::digest::Digest;
use crate::keys::PrivateKey;
use crate::limits::{COMMAND_BYTES_KEPT, STATEMENT_BYTES_MAX};
use crate::statement::{Body, Command, Head, Intent, PolicyUsed, SessionKind, WORD_BYTES_MAX, sign, word};
use serde_json::json;

fn plain() -> Entry {
    let Value::Object(detail) =
        json!({"count": 3, "lowest": i64::MIN, "most": u64::MAX, "to": ["a", null, {"b": true}]})
    else {
        unreachable!()
    };
    Entry {
        v: FORMAT,
        id: Id([1; 16]),
        kind: "policy.pushed".to_owned(),
        at: "2026-11-21T09:00:00Z".parse().unwrap(),
        tenant: Some("acme".parse().unwrap()),
        device: Some("web1".parse().unwrap()),
        person: Some("msp:alice".parse().unwrap()),
        detail,
        statement: None,
    }
}

fn intent(command: &[u8]) -> Intent {
    Intent {
        session: Id([2; 16]),
        access: Id([3; 16]),
        person: "msp:alice".parse().unwrap(),
        key: "SHA256:abc".to_owned(),
        account: "root".to_owned(),
        kind: SessionKind::Exec,
        command: Some(Command::of(command)),
        target: None,
        tty: false,
        ticket: None,
        grant_line: Some(1),
        policies: vec![],
    }
}

fn said(body: Body, key: &PrivateKey) -> SignedStatement {
    let head = Head {
        id: Id([1; 16]),
        device: "web1.acme".parse().unwrap(),
        serial: 1,
        seq: 1,
        previous: None,
        checkpoint: None,
        issued: "2026-11-21T09:00:00Z".parse().unwrap(),
    };
    sign(&Statement { head, body }, key).unwrap()
}

/// The entry of type `kind` that holds this, saying the same in its own members.
fn holding(kind: &str, body: Body, key: &PrivateKey) -> Entry {
    let (kind, detail) = (kind.to_owned(), body.members().unwrap());
    Entry { kind, detail, statement: Some(said(body, key)), ..plain() }
}

fn opened(key: &PrivateKey) -> Entry {
    holding("session.opened", Body::SessionOpened(intent(b"uptime")), key)
}

fn ended() -> Body {
    Body::SessionEnded {
        session: Id([2; 16]),
        exit: Some(0),
        signal: None,
        reason: None,
        bytes_in: 1,
        bytes_out: 2,
        recording: None,
        files: None,
    }
}

#[test]
fn the_bytes_of_an_entry_are_exactly_these() {
    let entry =
        Entry { statement: Some(SignedStatement { text: "{\"v\":1}".into(), signature: "s\n".into() }), ..plain() };
    let expected = concat!(
        r#"{"v":1,"id":"01010101010101010101010101010101","type":"policy.pushed","at":"2026-11-21T09:00:00Z","#,
        r#""tenant":"acme","device":"web1","person":"msp:alice","count":3,"lowest":-9223372036854775808,"#,
        r#""most":18446744073709551615,"to":["a",null,{"b":true}],"#,
        r#""statement":{"text":"{\"v\":1}","signature":"s\n"}}"#,
    );
    assert_eq!(String::from_utf8(entry.to_bytes().unwrap()).unwrap(), expected);
}

#[test]
fn an_entry_is_written_and_read_back() {
    let bare = Entry { tenant: None, device: None, person: None, detail: Map::new(), ..plain() };
    for entry in [plain(), bare, opened(&PrivateKey::generate_ed25519("").unwrap())] {
        assert_eq!(Entry::parse(&entry.to_bytes().unwrap()).unwrap(), entry);
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let text = String::from_utf8(plain().to_bytes().unwrap()).unwrap();
    let cases = [
        ("\"v\":1", "\"v\":1,\"v\":1", "`v` is there twice"),
        ("\"count\":3", "\"count\":3,\"count\":4", "`count` is there twice"),
        ("{\"b\":true}", "{\"b\":true,\"\\u0062\":false}", "`b` is there twice"),
        ("\"count\":3", "\"count\":3.0", "whole numbers only"),
        ("\"count\":3", "\"count\":3e2", "whole numbers only"),
        ("18446744073709551615", "18446744073709551616", "whole numbers only"),
        ("\"v\":1", "\"v\":2", "format 2"),
        ("\"v\":1,", "", "no `v`"),
        ("\"type\":\"policy.pushed\",", "", "no `type`"),
        ("policy.pushed", "Policy pushed", "type"),
        ("\"tenant\":\"acme\",", "", "without its tenant"),
        ("\"acme\"", "\"com\"", "wrong `tenant`"),
        ("\"acme\"", "7", "wrong `tenant`"),
        ("09:00:00Z", "09:00:00+01:00", "wrong `at`"),
    ];
    for (from, to, words) in cases {
        let refused = Entry::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(refused.sentence.contains(words), "{to}: {refused}");
    }
    for rubbish in [&b"[]"[..], b"7", b"", b"{", b"\xff", b"{} {}", "{\"v\":1}\u{feff}".as_bytes()] {
        assert!(Entry::parse(rubbish).is_err(), "{rubbish:?}");
    }
}

#[test]
fn nesting_without_end_is_refused_and_does_not_crash() {
    let deep = format!("{{\"x\":{}", "[".repeat(ENTRY_BYTES_MAX - 100));
    assert_eq!(Entry::parse(deep.as_bytes()).unwrap_err().fault, Fault::Malformed);
}

#[test]
fn an_entry_that_could_not_be_read_back_is_not_written() {
    for name in ENVELOPE {
        let mut entry = plain();
        entry.detail.insert(name.to_owned(), json!(1));
        assert!(entry.to_bytes().unwrap_err().sentence.contains(name), "{name}");
    }
    let mut fraction = plain();
    fraction.detail.insert("load".to_owned(), json!({"deep": [0.5]}));
    assert!(fraction.to_bytes().unwrap_err().sentence.contains("`load`"));
    assert!(Entry { tenant: None, ..plain() }.to_bytes().is_err());
    assert!(Entry { kind: String::new(), ..plain() }.to_bytes().is_err());
    assert!(Entry { v: 2, ..plain() }.to_bytes().is_err());

    let mut long = plain();
    long.detail.insert("text".to_owned(), json!("x".repeat(ENTRY_BYTES_MAX)));
    assert_eq!(long.to_bytes().unwrap_err().fault, Fault::TooLarge);
    assert_eq!(Entry::parse(&[b' '; ENTRY_BYTES_MAX + 1]).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn the_largest_statement_fits_an_entry() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let noisy = "\"".repeat(COMMAND_BYTES_KEPT);
    let mut largest = intent(noisy.as_bytes());
    (largest.account, largest.ticket) = (word(&noisy), Some(word(&noisy)));
    let used = PolicyUsed { tenant: "x".repeat(63).parse().unwrap(), version: u64::MAX, digest: Digest([255; 32]) };
    largest.policies = vec![used; crate::statement::POLICIES_USED_MAX];
    let entry = holding("session.refused", Body::SessionRefused { intent: largest, reason: word(&noisy) }, &key);
    let length = entry.statement.as_ref().unwrap().text.len();
    assert!(length > STATEMENT_BYTES_MAX - 6 * WORD_BYTES_MAX - (4 << 10), "{length}");
    entry.check_envelope(Some(key.public())).unwrap();
    assert_eq!(Entry::parse(&entry.to_bytes().unwrap()).unwrap(), entry);

    let escapes = SignedStatement { text: "\"".repeat(STATEMENT_BYTES_MAX), signature: "\n".repeat(512) };
    Entry { statement: Some(escapes), ..plain() }.to_bytes().unwrap();
}

#[test]
fn the_envelope_says_what_the_statement_says() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let entry = opened(&key);
    entry.check_envelope(Some(key.public())).unwrap();
    entry.check_envelope(None).unwrap();
    plain().check_envelope(Some(key.public())).unwrap();

    let cases = [
        ("type", Entry { kind: "session.refused".to_owned(), ..entry.clone() }),
        ("tenant", Entry { tenant: Some("globex".parse().unwrap()), ..entry.clone() }),
        ("tenant", Entry { tenant: None, device: None, ..entry.clone() }),
        ("device", Entry { device: Some("web2".parse().unwrap()), ..entry.clone() }),
        ("device", Entry { device: None, ..entry.clone() }),
        ("person", Entry { person: Some("alice".parse().unwrap()), ..entry.clone() }),
        ("person", Entry { person: None, ..entry.clone() }),
    ];
    for (what, wrong) in cases {
        let refused = wrong.check_envelope(Some(key.public())).unwrap_err();
        assert_eq!(refused.fault, Fault::Mismatch, "{refused}");
        assert!(refused.sentence.contains(&format!("says {what} ")), "{refused}");
    }
}

#[test]
fn an_entry_with_another_devices_signature_is_refused_where_the_key_is_known() {
    let (key, other) = (PrivateKey::generate_ed25519("").unwrap(), PrivateKey::generate_ed25519("").unwrap());
    let entry = opened(&key);
    assert_eq!(entry.check_envelope(Some(other.public())).unwrap_err().fault, Fault::WrongSigner);
}

#[test]
fn an_end_names_no_person_so_the_gateway_may() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let entry = holding("session.ended", ended(), &key);
    entry.check_envelope(Some(key.public())).unwrap();
    Entry { person: None, ..entry }.check_envelope(Some(key.public())).unwrap();
}

#[test]
fn the_entrys_own_members_say_what_the_statement_says_and_nothing_else() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let refused = Body::SessionRefused { intent: intent(b"uptime"), reason: "no".to_owned() };
    let whole = [opened(&key), holding("session.refused", refused, &key), holding("session.ended", ended(), &key)];
    for entry in whole {
        entry.check_envelope(Some(key.public())).unwrap();
        let mut names: Vec<String> = entry.detail.keys().cloned().collect();
        names.extend(["exit", "signal", "reason", "recording", "files", "target", "anything"].map(ToOwned::to_owned));
        for name in names {
            let mut changed = entry.clone();
            changed.detail.insert(name.clone(), json!("something else"));
            let mut without = entry.clone();
            let was_there = without.detail.remove(&name).is_some();
            for wrong in [Some(changed), was_there.then_some(without)].into_iter().flatten() {
                let refused = wrong.check_envelope(Some(key.public())).unwrap_err();
                assert!(
                    refused.fault == Fault::Mismatch && refused.sentence.contains(&format!("`{name}`")),
                    "{refused}"
                );
            }
        }
    }
}

#[test]
fn a_withheld_session_holds_the_intent_to_open_it_and_nothing_else_does() {
    let key = PrivateKey::generate_ed25519("web1").unwrap();
    let mut entry = Entry { kind: "session.withheld".into(), ..opened(&key) };
    entry.detail.retain(|name, _| name == "session");
    entry.check_envelope(Some(key.public())).unwrap();
    entry.detail.insert("reason".to_owned(), json!("what the gateway says"));
    entry.check_envelope(Some(key.public())).unwrap();
    entry.detail.insert("account".to_owned(), json!("root"));
    assert!(entry.check_envelope(Some(key.public())).unwrap_err().sentence.contains("`account`"));
    entry.detail.remove("account");
    entry.kind = "session.refused".into();
    assert_eq!(entry.check_envelope(Some(key.public())).unwrap_err().fault, Fault::Mismatch);
    entry.kind = "session.withheld".into();
    entry.statement = Some(said(ended(), &key));
    assert_eq!(entry.check_envelope(Some(key.public())).unwrap_err().fault, Fault::Mismatch);
}

#[test]
fn a_withheld_run_holds_the_intent_to_start_it_and_nothing_else_does() {
    let key = PrivateKey::generate_ed25519("web1").unwrap();
    let intent = crate::statement::RunIntent {
        order: Id([7; 16]),
        order_digest: Digest([2; 32]),
        runbook: "restart".parse().unwrap(),
        version: Digest([3; 32]),
        author: Some("carol".parse().unwrap()),
        person: "msp:alice".parse().unwrap(),
        key: "SHA256:abc".to_owned(),
        account: "root".parse().unwrap(),
        ticket: None,
        grant_line: Some(9),
        review: false,
        policies: Vec::new(),
    };
    let started = holding("run.started", Body::RunStarted(intent), &key);
    started.check_envelope(Some(key.public())).unwrap();
    let mut entry = Entry { kind: "run.withheld".into(), ..started };
    assert_eq!(entry.check_envelope(Some(key.public())).unwrap_err().fault, Fault::Mismatch, "it says too much");
    entry.detail.retain(|name, _| name == "order");
    entry.detail.insert("reason".to_owned(), json!("the job was cancelled"));
    entry.check_envelope(Some(key.public())).unwrap();
    entry.detail.insert("order".to_owned(), json!(Id([8; 16])));
    assert!(entry.check_envelope(Some(key.public())).unwrap_err().sentence.contains("`order`"));
    entry.kind = "session.withheld".into();
    assert_eq!(entry.check_envelope(Some(key.public())).unwrap_err().fault, Fault::Mismatch);
    entry.kind = "run.started".into();
    assert_eq!(entry.check_envelope(Some(key.public())).unwrap_err().fault, Fault::Mismatch);
}
