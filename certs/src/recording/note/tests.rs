//! Notes: the exact text, every value out of bounds, and who signed.

use super::*;

fn note() -> Note {
    Note {
        device: "web1.acme".parse().unwrap(),
        serial: 3,
        session: Id([7; 16]),
        chunk: 1,
        from_ms: 2_001,
        to_ms: 3_987,
        blob_bytes: 5_123,
        blob: Digest([1; 32]),
        previous: Some(Digest([2; 32])),
        last: false,
    }
}

#[test]
fn a_note_is_written_as_the_contract_says_and_read_back() {
    let text = note().to_text();
    let hex = |digit: &str| digit.repeat(32);
    assert_eq!(
        text,
        format!(
            "belay recording 1\ndevice web1.acme\nserial 3\nsession {}\nchunk 1\nfrom_ms 2001\nto_ms 3987\nblob_bytes 5123\n\
             blob sha256:{}\nprevious sha256:{}\nlast no\n",
            "07".repeat(16),
            hex("01"),
            hex("02")
        )
    );
    assert_eq!(Note::parse(&text).unwrap(), note());
    let first = Note { chunk: 0, previous: None, last: true, ..note() };
    assert!(first.to_text().ends_with("previous none\nlast yes\n"));
    assert_eq!(Note::parse(&first.to_text()).unwrap(), first);
}

#[test]
fn every_other_way_to_write_it_is_refused() {
    let text = note().to_text();
    for (from, to) in [
        ("belay recording 1", "belay recording 2"),
        ("serial 3", "serial 03"),
        ("serial 3", "serial +3"),
        ("serial 3", "serial 0"),
        ("chunk 1", "chunk 1000000"),
        ("chunk 1", "chunk 0"),
        ("from_ms 2001", "from_ms 9999"),
        ("to_ms 3987", "to_ms  3987"),
        ("blob_bytes 5123", "blob_bytes 0"),
        ("blob_bytes 5123", "blob_bytes 131073"),
        ("last no", "last maybe"),
        ("last no\n", "last no"),
        ("last no\n", "last no\n\n"),
        ("previous sha256:02", "previous sha256:0X"),
        ("device web1.acme\n", ""),
        ("\n", "\r\n"),
        ("web1.acme", "web1"),
    ] {
        assert!(text.contains(from), "{from}");
        let invalid = Note::parse(&text.replacen(from, to, 1)).unwrap_err();
        assert!(invalid.sentence.starts_with("the note of a chunk: "), "{from} -> {to}: {invalid}");
    }
    assert!(Note::parse(&(text + &"x".repeat(2_000))).is_err());
}

#[test]
fn a_note_counts_only_with_the_signature_of_the_host_key() {
    let (key, other) = (PrivateKey::generate_ed25519("web1").unwrap(), PrivateKey::generate_ed25519("web2").unwrap());
    let signed = note().sign(&key).unwrap();
    assert_eq!(signed.verify(key.public()).unwrap(), note());
    assert_eq!(signed.digest(), Digest::of(note().to_text().as_bytes()));
    let wrong = signed.verify(other.public()).unwrap_err();
    assert_eq!(wrong.fault, Fault::WrongSigner);
    assert!(wrong.sentence.starts_with("chunk 1 of the recording: "), "{wrong}");
    let changed = SignedNote { text: signed.text.replace("to_ms 3987", "to_ms 3988"), ..signed };
    assert_eq!(changed.verify(key.public()).unwrap_err().fault, Fault::BadSignature);
}
