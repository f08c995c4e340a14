//! Sealed and opened, by us and by `age`; and everything that is not opened.

use super::*;
use std::{fs, process::Command};

fn signer() -> PublicKey {
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti signer".parse().unwrap()
}

fn secrets(pairs: &[(&str, &str)]) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in pairs {
        secrets.add(name.parse().unwrap(), (*value).to_owned()).unwrap();
    }
    secrets
}

/// What age makes of a text for this key.
fn age(text: &[u8], key: &PrivateKey) -> Sealed {
    let to = Recipient::from_str(&key.public().line()).unwrap();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&to as &dyn age::Recipient)).unwrap();
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(text).unwrap();
    writer.finish().unwrap();
    STANDARD.encode(file).parse().unwrap()
}

#[test]
fn what_is_sealed_opens_with_the_host_key_for_orders_of_its_signer_and_nowhere_else() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let given = secrets(&[("token", "hunter2-hunter2"), ("key", "line one\nline two\r\n\"quoted\" \u{fc}\u{1f980}")]);
    let sealed = given.seal(&signer(), key.public()).unwrap();
    assert_eq!(Secrets::open(&sealed, &signer(), &key).unwrap(), given);
    assert_ne!(given.seal(&signer(), key.public()).unwrap(), sealed, "never twice the same");
    let other = PrivateKey::generate_ed25519("").unwrap();
    let foreign = Secrets::open(&sealed, &signer(), &other).unwrap_err();
    assert_eq!(foreign.fault, Fault::WrongSigner, "{foreign}");
    let lifted = Secrets::open(&sealed, other.public(), &key).unwrap_err();
    assert_eq!(lifted.fault, Fault::Mismatch, "{lifted}");
    assert!(!format!("{given:?} {lifted} {foreign}").contains("hunter2"));
}

#[test]
fn a_changed_byte_anywhere_is_not_opened() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let sealed = secrets(&[("token", "hunter2-hunter2")]).seal(&signer(), key.public()).unwrap();
    let bytes = sealed.bytes();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let changed: Sealed = STANDARD.encode(changed).parse().unwrap();
        let refused = Secrets::open(&changed, &signer(), &key).unwrap_err();
        assert!(!refused.sentence.contains("hunter2"), "{place}: {refused}");
    }
    for end in 1..bytes.len() {
        let cut: Sealed = STANDARD.encode(&bytes[..end]).parse().unwrap();
        assert!(Secrets::open(&cut, &signer(), &key).is_err(), "{end}");
    }
}

#[test]
fn the_stock_tool_seals_and_opens_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate_ed25519("").unwrap();
    let (private, public) = (folder.path().join("key"), folder.path().join("key.pub"));
    fs::write(&private, key.to_openssh().unwrap()).unwrap();
    fs::write(&public, key.public().line()).unwrap();
    let plain = folder.path().join("plain");
    fs::write(
        &plain,
        format!("{{\"signer\":\"{}\",\"secrets\":{{\"token\":\"hunter2-hunter2\"}}}}\n", signer().fingerprint()),
    )
    .unwrap();
    let Ok(made) = Command::new("age").arg("-R").arg(&public).arg(&plain).output() else {
        eprintln!("age is not installed here: the formats are compared where it is");
        return;
    };
    let sealed: Sealed = STANDARD.encode(made.stdout).parse().unwrap();
    assert_eq!(Secrets::open(&sealed, &signer(), &key).unwrap(), secrets(&[("token", "hunter2-hunter2")]));
    let ours = secrets(&[("token", "hunter2-hunter2")]).seal(&signer(), key.public()).unwrap();
    fs::write(&plain, ours.bytes()).unwrap();
    let opened = Command::new("age").arg("-d").arg("-i").arg(&private).arg(&plain).output().unwrap();
    assert!(String::from_utf8_lossy(&opened.stdout).contains("hunter2-hunter2"), "{opened:?}");
}

#[test]
fn what_is_not_our_text_is_refused_without_a_word_of_it() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let id = signer().fingerprint();
    for text in [
        String::new(),
        "hunter2-hunter2".to_owned(),
        "\"hunter2-hunter2\"".to_owned(),
        format!("{{\"signer\":\"{id}\"}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":\"hunter2-hunter2\"}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{\"token\":[\"hunter2-hunter2\"]}}}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{\"hunter2-hunter2\":\"hunter2-hunter2\"}}}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{\"token\":\"hunter2\"}}}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{\"hunter2hunter2\":\"token\"}}}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{\"token\":\"hunter2\\u0000hunter2\"}}}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{\"token\":\"{}\"}}}}", "hunter2".repeat(600)),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{}},\"more\":\"hunter2-hunter2\"}}"),
        format!("{{\"signer\":\"{id}\",\"secrets\":{{}}}} hunter2-hunter2"),
    ] {
        let refused = Secrets::open(&age(text.as_bytes(), &key), &signer(), &key).unwrap_err();
        assert!(!refused.sentence.contains("hunter2"), "{text}: {refused}");
    }
    let long = age(&vec![b' '; SECRETS_TEXT_BYTES_MAX + 1], &key);
    assert_eq!(Secrets::open(&long, &signer(), &key).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn values_have_a_shortest_and_a_longest_and_all_together_too() {
    let add = |value: String| Secrets::default().add("token".parse().unwrap(), value);
    assert!(add("x".repeat(SECRET_BYTES_MIN)).is_ok() && add("x".repeat(SECRET_BYTES_MAX)).is_ok());
    assert!(add("x".repeat(SECRET_BYTES_MIN - 1)).unwrap_err().sentence.contains("shorter than 8 bytes"));
    // What the script prints is searched line by line: a line end does not make a short word long.
    for short in ["hunter2\n", "hunter2\r\n", "short\nlines\nalone"] {
        assert!(add(short.to_owned()).unwrap_err().sentence.contains("no line of 8 bytes"), "{short:?}");
    }
    assert!(add("short\r\nhunter2-hunter2\n".to_owned()).is_ok());
    assert_eq!(add("x".repeat(SECRET_BYTES_MAX + 1)).unwrap_err().fault, Fault::TooLarge);
    let mut twice = secrets(&[("token", "hunter2-hunter2")]);
    assert!(twice.add("token".parse().unwrap(), "hunter2-hunter2".to_owned()).unwrap_err().sentence.contains("twice"));
    let key = PrivateKey::generate_ed25519("").unwrap();
    let long = "x".repeat(SECRET_BYTES_MAX);
    let most = secrets(&[("a", &long), ("b", &long), ("c", &long[..3_900])]);
    assert!(most.seal(&signer(), key.public()).is_ok());
    let over = secrets(&[("a", &long), ("b", &long), ("c", &long)]);
    assert_eq!(over.seal(&signer(), key.public()).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn sealed_text_has_one_spelling_and_a_longest() {
    for text in ["", "=", "YWJj=", "YWJ", "YWJ=\n", " YWJj", "YWI-", "YWJ_", "YWK="] {
        assert!(text.parse::<Sealed>().is_err(), "{text:?}");
    }
    assert_eq!("YWI=".parse::<Sealed>().unwrap().as_str(), "YWI=");
    let longest = STANDARD.encode(vec![7; SEALED_BYTES_MAX]);
    assert_eq!(longest.len(), SEALED_TEXT_BYTES_MAX);
    assert!(longest.parse::<Sealed>().is_ok());
    assert_eq!((longest + "AAAA").parse::<Sealed>().unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn only_an_ed25519_host_key_can_be_encrypted_to() {
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
    let key: PublicKey = ecdsa.parse().unwrap();
    assert!(
        secrets(&[("token", "hunter2-hunter2")]).seal(&signer(), &key).unwrap_err().sentence.contains("encrypted to")
    );
}
