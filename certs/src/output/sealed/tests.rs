//! Sealed lines: opened by whoever may, in their places, and never believed to hold what is no output.

use super::*;
use crate::limits::{OUTPUT_PIECE_BYTES_MAX, OUTPUT_TO_MAX};
use crate::output::{Stream, read_cut_off};
use crate::policy::Recording;
use age::secrecy::ExposeSecret;

fn reader() -> (String, Identities) {
    let identity = age::x25519::Identity::generate();
    let file = identity.to_string().expose_secret().to_owned();
    (identity.to_public().to_string(), Identities::parse(&file).unwrap())
}

fn readers(policy: &[String], order: &[String]) -> Readers {
    Readers::of_run(&Recording { to: policy.to_vec(), ..Recording::default() }, order).unwrap()
}

fn piece(at: u64, bytes: &[u8]) -> Line {
    Line::Piece { at, stream: Stream::Err, bytes: bytes.to_vec() }
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(Line::to_text).collect()
}

fn file(text: &str) -> Read {
    read_cut_off(text.as_bytes()).unwrap()
}

#[test]
fn the_policys_and_the_orders_readers_open_it_and_nobody_else() {
    let ((auditor, auditors), (person, persons), (_, others)) = (reader(), reader(), reader());
    let lines = [piece(3, b"secret word\n"), Line::Cut { at: 9, dropped: 7 }, piece(12, b"\xff\n")];
    let sealed = seal(&text(&lines), &readers(std::slice::from_ref(&auditor), &[person, auditor.clone()])).unwrap();
    let kinds: Vec<&str> = sealed.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(kinds, ["s", "x", "s"], "what is dropped is counted in the open");
    assert!(file(&sealed).is_sealed() && file(&sealed).kept() == 0 && file(&sealed).dropped() == 7);
    for identities in [&auditors, &persons] {
        let opened = open(file(&sealed), Some(identities)).unwrap();
        assert_eq!((opened.lines.as_slice(), opened.is_sealed()), (lines.as_slice(), false));
    }
    for (identities, why) in [(Some(&others), "other recipients"), (None, "give the auditor's age identity")] {
        let refused = open(file(&sealed), identities).map(drop).unwrap_err();
        assert!(refused.sentence.starts_with("line 1 of the output") && refused.sentence.contains(why), "{refused}");
    }
}

#[test]
fn what_anybody_may_read_stays_as_it_is() {
    let lines = [piece(3, b"word\n"), Line::Cut { at: 9, dropped: 7 }];
    let readable = Recording { to: vec![reader().0], readable_by_gateway: true, ..Recording::default() };
    // An order closes nothing that its tenant leaves open.
    for readers in [readers(&[], &[]), readers(&[], &[reader().0]), Readers::of_run(&readable, &[reader().0]).unwrap()]
    {
        assert_eq!(seal(&text(&lines), &readers).unwrap(), text(&lines));
    }
    assert_eq!(open(file(&text(&lines)), None).unwrap().lines, lines);
}

#[test]
fn noise_of_any_length_is_cut_into_age_files_that_are_read_back() {
    let many: Vec<(String, Identities)> = (0..OUTPUT_TO_MAX).map(|_| reader()).collect();
    let to: Vec<String> = many.iter().map(|(to, _)| to.clone()).collect();
    let noise: Vec<u8> =
        (0..OUTPUT_PIECE_BYTES_MAX * 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let lines: Vec<Line> = (0..).zip(noise.chunks(OUTPUT_PIECE_BYTES_MAX)).map(|(at, part)| piece(at, part)).collect();
    let sealed = seal(&text(&lines), &readers(&to, &[])).unwrap();
    assert!(sealed.lines().count() > 5, "{} lines", sealed.lines().count());
    assert_eq!(open(file(&sealed), many.last().map(|(_, identities)| identities)).unwrap().lines, lines);
}

#[test]
fn what_a_hostile_device_seals_is_named_with_its_line() {
    let (to, identities) = reader();
    let only = readers(&[to], &[]);
    let sealed = |at, inside: &str| Line::Sealed { at, blob: only.seal(inside.as_bytes()).unwrap() };
    let nested = sealed(1, &text(&[piece(1, b"a")])).to_text();
    let first = piece(5, b"a");
    for (line, why) in [
        (sealed(5, &nested), "seals what is no piece"),
        (sealed(5, "5 x 9\n"), "seals what is no piece"),
        (sealed(5, ""), "seals nothing"),
        (sealed(5, "6 o YQ==\n"), "says 5 ms, and begins inside at 6 ms"),
        (sealed(5, "5 o YQ==\n4 o YQ==\n"), "is earlier than the one before"),
        (sealed(5, "5 o YQ"), "in the middle of line 1"),
        (sealed(5, "hello\n"), "is not MILLISECONDS"),
        (Line::Sealed { at: 5, blob: b"age-encryption.org/v1\nrubbish".to_vec() }, "a later version of age's format"),
    ] {
        let refused = open(file(&text(&[first.clone(), line])), Some(&identities)).map(drop).unwrap_err();
        assert!(refused.sentence.starts_with("line 2 of the output"), "{refused}");
        assert!(refused.sentence.contains(why), "{refused}");
    }
    // A little that becomes much.
    let zeros = text(&vec![piece(5, &[0; OUTPUT_PIECE_BYTES_MAX]); 40]);
    let bombs: String = (0..6).map(|_| sealed(5, &zeros).to_text()).collect();
    assert!(bombs.len() < 20_000, "{}", bombs.len());
    let refused = open(file(&bombs), Some(&identities)).map(drop).unwrap_err();
    assert!(refused.sentence.contains("line 5 of the output: there is more inside than 4194304"), "{refused}");
    // Two age files whose insides overlap.
    let late = sealed(5, "5 o YQ==\n9 o YQ==\n");
    let refused = open(file(&text(&[late, piece(8, b"b")])), Some(&identities)).map(drop).unwrap_err();
    assert!(refused.sentence.contains("line 2 of the output: is earlier"), "{refused}");
    for (raw, why) in [("5 s YQ==\n", "no age file"), ("5 s ?\n", "no base64"), ("5 s \n", "no age file")] {
        assert!(read_cut_off(raw.as_bytes()).unwrap_err().sentence.contains(why), "{raw}");
    }
}
