//! Blobs: opened again by whoever may, by nobody else, and never larger than said.

use super::*;
use age::secrecy::ExposeSecret;

const TEXT: &[u8] = b"[0.000001, \"o\", \"hello\\r\\n\"]\n";

fn auditor() -> (String, Identities) {
    let identity = age::x25519::Identity::generate();
    let file = format!("# created: today\n\n{}\n", identity.to_string().expose_secret());
    (identity.to_public().to_string(), Identities::parse(&file).unwrap())
}

fn policy(to: &[&str], readable_by_gateway: bool) -> Recording {
    Recording { to: to.iter().map(|one| (*one).to_owned()).collect(), readable_by_gateway, ..Recording::default() }
}

#[test]
fn a_policy_decides_who_reads() {
    let (to, _) = auditor();
    assert!(Readers::of(&Recording::default()).unwrap().is_none());
    let plain = Readers::of(&policy(&[&to], true)).unwrap().unwrap();
    assert!(matches!(plain, Readers::Anybody), "with both, the gateway must be able to read");
    assert_eq!(plain.file_name(7), "00000007.cast.zst");
    let sealed = Readers::of(&policy(&[&to], false)).unwrap().unwrap();
    assert_eq!(sealed.file_name(123_456_789), "123456789.cast.zst.age");
    assert!(Readers::of(&policy(&["age1nobody"], false)).is_err());
}

#[test]
fn a_plain_blob_is_one_zstd_frame() {
    let blob = Readers::Anybody.seal(TEXT).unwrap();
    assert!(is_plain(&blob));
    assert_eq!(open(&blob, None).unwrap(), TEXT);
    let two = [blob.as_slice(), &Readers::Anybody.seal(b"more\n").unwrap()].concat();
    assert_eq!(zstd::stream::decode_all(two.as_slice()).unwrap(), [TEXT, b"more\n"].concat(), "as `zstd -d` reads it");
    assert!(open(&two, None).unwrap_err().sentence.contains("behind its one"));
}

#[test]
fn a_sealed_blob_is_opened_by_each_recipient_and_by_nobody_else() {
    let ((a, with_a), (b, with_b), (_, with_other)) = (auditor(), auditor(), auditor());
    let readers = Readers::of(&policy(&[&a, &b], false)).unwrap().unwrap();
    let blob = readers.seal(TEXT).unwrap();
    assert!(!is_plain(&blob));
    assert!(!blob.windows(5).any(|window| window == b"hello"));
    assert_eq!(open(&blob, Some(&with_a)).unwrap(), TEXT);
    assert_eq!(open(&blob, Some(&with_b)).unwrap(), TEXT);
    assert!(open(&blob, Some(&with_other)).is_err());
    assert!(open(&blob, None).unwrap_err().sentence.contains("encrypted"));
    for at in (0..blob.len()).step_by(7) {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        assert!(open(&changed, Some(&with_a)).is_err(), "byte {at}");
    }
}

#[test]
fn a_small_blob_that_claims_much_gives_no_more_than_the_limit() {
    let bomb = zstd::bulk::compress(&vec![b'x'; 50 << 20], 1).unwrap();
    assert!(bomb.len() < 10_000);
    assert_eq!(open(&bomb, None).unwrap_err().fault, Fault::TooLarge);
    assert_eq!(Readers::Anybody.seal(&vec![0; RECORDING_TEXT_BYTES_MAX + 1]).unwrap_err().fault, Fault::TooLarge);
    assert_eq!(open(&vec![0; RECORDING_BLOB_BYTES_MAX + 1], None).unwrap_err().fault, Fault::TooLarge);
    for cut in 0..bomb.len().min(40) {
        assert!(open(&bomb[..cut], None).is_err(), "{cut}");
    }
}

#[test]
fn the_largest_chunk_of_noise_fits_for_all_recipients() {
    use ring::rand::SecureRandom;
    let mut noise = vec![0; crate::limits::RECORDING_CHUNK_TEXT_BYTES + crate::limits::CAST_LINE_BYTES_MAX];
    ring::rand::SystemRandom::new().fill(&mut noise).unwrap();
    let to: Vec<String> = (0..crate::limits::SHORT_LIST_MAX).map(|_| auditor().0).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let blob = Readers::of(&policy(&to, false)).unwrap().unwrap().seal(&noise).unwrap();
    assert!(blob.len() <= RECORDING_BLOB_BYTES_MAX, "{}", blob.len());
}

#[test]
fn an_identity_file_without_a_key_is_refused() {
    for file in [
        "",
        "# only a comment\n",
        "AGE-SECRET-KEY-1\n",
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
    ] {
        assert!(Identities::parse(file).is_err(), "{file}");
    }
}
