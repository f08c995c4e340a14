//! Every flip, drop, swap, cut and rollback is caught, by name; so is a gateway that signs a changed history.

use super::*;
use crate::Fault;

fn sentence(result: Result<Report, Invalid>) -> String {
    result.unwrap_err().sentence
}

#[test]
fn no_flipped_byte_anywhere_passes() {
    let log = Log::sample();
    let export = log.export();
    for (path, bytes) in &export {
        let mut changed = export.clone();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1 << (at % 8);
            changed.insert(path.clone(), other);
            let refusal = log.check(&changed).expect_err(&format!("{path}: byte {at}"));
            assert!(refusal.sentence.contains(path), "{path}: byte {at}: {refusal}");
        }
    }
}

#[test]
fn no_file_can_be_cut_or_grow() {
    let log = Log::of((0..300).map(plain).collect());
    let export = log.export();
    for (path, bytes) in export.iter().filter(|(path, _)| !path.starts_with("objects/")) {
        for end in [0, 1, 2, bytes.len() / 2, bytes.len() - 32, bytes.len() - 2] {
            let mut changed = export.clone();
            changed.insert(path.clone(), bytes[..end].to_vec());
            assert!(log.check(&changed).is_err(), "{path} cut at {end}");
        }
        for more in [&b"\0"[..], b"\0\0", &[0; 32]] {
            let mut changed = export.clone();
            changed.insert(path.clone(), [bytes, more].concat());
            assert!(log.check(&changed).is_err(), "{path} grown");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let log = Log::of((0..600).map(plain).collect());
    let export = log.export();
    let needed = export.keys().filter(|path| !path.starts_with("objects/") && *path != "log.vkey");
    for path in needed {
        let mut changed = export.clone();
        changed.remove(path);
        assert_eq!(sentence(log.check(&changed)), format!("{path} is missing from the export"));
    }
}

#[test]
fn swapped_bundles_and_tiles_are_caught() {
    let log = Log::of((0..600).map(plain).collect());
    let export = log.export();
    for (a, b) in [("tile/entries/000", "tile/entries/001"), ("tile/0/000", "tile/0/001")] {
        let mut changed = export.clone();
        changed.insert(a.to_owned(), export[b].clone());
        changed.insert(b.to_owned(), export[a].clone());
        assert!(sentence(log.check(&changed)).starts_with("tile/0/000: hash 0 is not the hash of entry 0"));
    }
}

#[test]
fn the_broken_hash_of_every_level_is_named() {
    let log = Log::of((0..600).map(plain).collect());
    let cases = [
        ("tile/0/001", 3, "tile/0/001: hash 3 is not the hash of entry 259 in tile/entries/001"),
        ("tile/0/002.p/88", 87, "tile/0/002.p/88: hash 87 is not the hash of entry 599 in tile/entries/002.p/88"),
        ("tile/1/000.p/2", 1, "tile/1/000.p/2: hash 1 is not what the entries hash to"),
    ];
    for (path, hash, expected) in cases {
        let mut export = log.export();
        export.get_mut(path).unwrap()[hash * 32 + 5] ^= 1;
        assert_eq!(sentence(log.check(&export)), expected);
    }
}

#[test]
fn an_entry_changed_together_with_its_tile_breaks_the_root() {
    let log = Log::of((0..3).map(plain).collect());
    let mut forged = Log { signer: NoteSigner::generate(ORIGIN).unwrap(), entries: log.entries.clone() };
    forged.entries[1] = plain(99);
    let mut export = forged.export();
    let honest = log.export();
    export.extend(["checkpoint", "log.vkey"].map(|path| (path.to_owned(), honest[path].clone())));
    assert_eq!(sentence(log.check(&export)), "checkpoint: the signed root is not that of the 3 entries");
}

#[test]
fn a_rolled_back_or_rewritten_log_does_not_continue_the_older_head() {
    let mut log = Log::of((0..10).map(plain).collect());
    let kept = log.checkpoint(8);
    log.entries.truncate(6);
    let refusal = log.check_since(&log.export(), Some(&kept)).unwrap_err();
    assert_eq!(refusal.sentence, "checkpoint: the log has 6 entries and had 8 before: it was rolled back");
    log.entries.extend((6..12).map(|number| plain(number + 100)));
    let refusal = log.check_since(&log.export(), Some(&kept)).unwrap_err();
    assert_eq!(refusal.fault, Fault::BadProof);
    assert!(refusal.sentence.starts_with("the first 8 entries are not those"), "{refusal}");
    let foreign = Checkpoint { origin: "gw.example/other".to_owned(), ..log.checkpoint(3) };
    assert!(log.check_since(&log.export(), Some(&foreign)).is_err());
}

/// Three statements of one device, and what a gateway that re-signs makes of them.
fn resigned(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Invalid {
    let mut device = Device::new("web1.acme", 7);
    let mut entries = vec![device.approved(), device.opens(), plain(1), device.opens(), device.opens()];
    assert!(Log::of(entries.clone()).report().is_ok());
    change(&mut entries);
    Log::of(entries).report().unwrap_err()
}

#[test]
fn a_gateway_that_leaves_out_a_statement_is_caught() {
    let refusal = resigned(|entries| drop(entries.remove(3)));
    assert_eq!(refusal.sentence, "tile/entries/000.p/4: entry 3: web1.acme says number 3, but number 2 is missing");
    assert!(resigned(|entries| drop(entries.remove(1))).sentence.contains("number 1 is missing"));
}

#[test]
fn a_gateway_that_repeats_or_reorders_statements_is_caught() {
    assert!(resigned(|entries| entries.swap(1, 3)).sentence.contains("entry 1: web1.acme says number 2"));
    assert!(resigned(|entries| entries.push(entries[4].clone())).sentence.contains("number 3 a second time"));
    let refusal = resigned(|entries| entries.swap(0, 1));
    assert_eq!(refusal.fault, Fault::WrongSigner);
    assert!(refusal.sentence.contains("entry 0: no record of web1.acme with serial 7"), "{refusal}");
}

#[test]
fn a_gateway_that_changes_a_statement_or_its_envelope_is_caught() {
    let edit = |from: &'static str, to: &'static str| {
        resigned(move |entries| {
            let text = String::from_utf8(entries[3].clone()).unwrap();
            assert!(text.contains(from), "{text}");
            entries[3] = text.replacen(from, to, 1).into_bytes();
        })
    };
    assert_eq!(edit(r#"\"account\":\"root\""#, r#"\"account\":\"toor\""#).fault, Fault::BadSignature);
    let said = |from: &'static str, to: &'static str| {
        let refusal = edit(from, to);
        assert!(refusal.fault == Fault::Mismatch && refusal.sentence.contains("differ in"), "{refusal}");
    };
    said(r#""account":"root""#, r#""account":"toor""#);
    said(r#""account":"root""#, r#""account":"root","exit":0"#);
    said(r#""grant_line":12,"#, "");
    assert_eq!(edit(r#""person":"msp:alice""#, r#""person":"msp:bob""#).fault, Fault::Mismatch);
    assert_eq!(edit(r#""device":"web1""#, r#""device":"web2""#).fault, Fault::Mismatch);
    assert_eq!(edit(r#""type":"session.opened""#, r#""type":"session.ended""#).fault, Fault::Mismatch);
}

#[test]
fn a_device_that_breaks_its_own_chain_is_caught() {
    let mut device = Device::new("web1.acme", 7);
    let mut entries = vec![device.approved(), device.opens()];
    entries.push(device.says(opened(), |head| head.previous = Some(Digest([9; 32]))));
    let refusal = Log::of(entries).report().unwrap_err();
    assert_eq!(refusal.fault, Fault::WrongPrevious);

    // Its numbers order what it says; an id used twice is its own affair and must not spoil its tenant's log for ever.
    let mut device = Device::new("web1.acme", 7);
    let first = device.says(opened(), |head| head.id = Id([5; 16]));
    let entries = vec![device.approved(), first, device.says(opened(), |head| head.id = Id([5; 16]))];
    assert_eq!(Log::of(entries).report().unwrap().statements, 2);
}

#[test]
fn a_statement_under_another_devices_key_is_caught() {
    let (mut web1, web2) = (Device::new("web1.acme", 7), Device::new("web2.acme", 8));
    let approvals = vec![web1.approved(), web2.approved()];
    web1.key = web2.key;
    let refusal = Log::of([approvals, vec![web1.opens()]].concat()).report().unwrap_err();
    assert_eq!(refusal.fault, Fault::WrongSigner);
}

#[test]
fn a_serial_given_twice_and_a_record_in_anothers_entry_are_caught() {
    let (first, second) = (Device::new("web1.acme", 7), Device::new("web1.acme", 7));
    let twice = Log::of(vec![first.approved(), second.approved()]).report().unwrap_err();
    assert_eq!(twice.fault, Fault::Fork);
    let web2: DeviceAddress = "web2.acme".parse().unwrap();
    let misplaced = event("device.approved", Some(&web2), json!({ "record": first.record.to_text() }));
    assert_eq!(Log::of(vec![bytes(&misplaced)]).report().unwrap_err().fault, Fault::Mismatch);
    let without = event("device.approved", Some(&web2), json!({}));
    assert_eq!(Log::of(vec![bytes(&without)]).report().unwrap_err().fault, Fault::Malformed);
}

#[test]
fn a_history_that_a_device_saw_otherwise_is_caught() {
    let mut device = Device::new("web1.acme", 7);
    let mut log = Log::of(vec![device.approved(), plain(1), plain(2)]);
    let seen = log.seen(3);
    log.entries.push(device.says(opened(), |head| head.checkpoint = Some(seen)));
    assert_eq!(log.report().unwrap().heads, 1);
    log.entries[1] = plain(3);
    let refusal = log.report().unwrap_err();
    assert_eq!(refusal.fault, Fault::Fork);
    let expected = "entry 3: its device saw a log of 3 entries that is not the beginning of this one";
    assert_eq!(refusal.sentence, expected);
}

#[test]
fn a_head_larger_than_the_log_before_it_is_caught() {
    let mut device = Device::new("web1.acme", 7);
    let mut log = Log::of(vec![device.approved(), plain(1)]);
    let ahead = CheckpointSeen { size: 3, ..log.seen(2) };
    log.entries.push(device.says(opened(), |head| head.checkpoint = Some(ahead)));
    assert_eq!(log.report().unwrap_err().fault, Fault::Fork);
}

#[test]
fn a_changed_object_is_named() {
    let log = Log::sample();
    let mut export = log.export();
    let path = format!("objects/{}", Digest::of(RECORDING).hex());
    export.insert(path.clone(), b"something else".to_vec());
    assert!(sentence(log.check(&export)).ends_with(&format!("{path}: the bytes have another hash than the name")));
}

#[test]
fn an_entry_that_is_no_entry_is_named() {
    let log = Log::of(vec![plain(0), b"{}".to_vec()]);
    assert!(sentence(log.report()).starts_with("tile/entries/000.p/2: entry 1: "));
}

#[test]
fn the_key_beside_the_log_must_be_the_one_it_is_checked_with() {
    let log = Log::sample();
    let mut export = log.export();
    let stranger = NoteSigner::generate(ORIGIN).unwrap().vkey();
    export.insert("log.vkey".to_owned(), stranger.clone().into_bytes());
    assert!(sentence(log.check(&export)).starts_with("log.vkey: "));
    let refusal = check_log(&log.export(), ORIGIN, &stranger, None, &mut |_, _| {}).unwrap_err();
    assert_eq!(refusal.fault, Fault::Unsigned);
}
