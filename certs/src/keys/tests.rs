//! Keys against the real `ssh-keygen`.

use super::*;
use std::{path::Path, process::Command};

fn ssh_keygen(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("ssh-keygen").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn made(folder: &Path, name: &str, kind: &str, bits: &str) -> String {
    ssh_keygen(folder, &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "web 1 \"x\"", "-f", name]);
    std::fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap()
}

#[test]
fn every_accepted_kind_reads_prints_and_shows_the_fingerprint_of_ssh_keygen() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, bits) in [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")] {
        let name = format!("{kind}{bits}");
        let line = made(folder.path(), &name, kind, bits);
        let key = PublicKey::parse(&line).unwrap();
        assert_eq!(key.line(), line.trim_end());
        assert_eq!(key.comment(), "web 1 \"x\"");
        let listed = ssh_keygen(folder.path(), &["-l", "-f", &format!("{name}.pub")]);
        assert_eq!(listed.split(' ').nth(1).unwrap(), key.fingerprint());
        assert_eq!(format!("{key:?}"), key.fingerprint());
    }
}

#[test]
fn short_rsa_keys_are_refused_with_their_length() {
    let folder = tempfile::tempdir().unwrap();
    let refused = PublicKey::parse(&made(folder.path(), "short", "rsa", "2048")).unwrap_err();
    assert!(refused.sentence.contains("2048 bits"), "{refused}");
}

#[test]
fn the_fido_kinds_are_accepted() {
    let ed25519 = ssh_key::public::SkEd25519::from(ssh_key::public::Ed25519PublicKey([7; 32]));
    let line = ssh_key::PublicKey::from(KeyData::from(ed25519)).to_openssh().unwrap();
    assert!(PublicKey::parse(&line).unwrap().line().starts_with("sk-ssh-ed25519@openssh.com AAAA"));
}

/// An sk-ecdsa key as it goes over the wire, with any point.
fn fido_p256_line(point: &[u8]) -> String {
    let kind = "sk-ecdsa-sha2-nistp256@openssh.com";
    let mut blob = Vec::new();
    for part in [kind.as_bytes(), b"nistp256", point, b"ssh:"] {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    format!("{kind} {}", STANDARD.encode(blob))
}

#[test]
fn a_compressed_fido_point_would_be_a_second_name_for_the_key_and_is_refused() {
    let uncompressed = [&[4][..], &[0x11; 64]].concat();
    assert!(PublicKey::parse(&fido_p256_line(&uncompressed)).is_ok());
    let compressed = [&[2][..], &[0x11; 32]].concat();
    assert!(PublicKey::parse(&fido_p256_line(&compressed)).is_err());
}

#[test]
fn what_is_not_one_plain_key_is_refused_with_a_hint() {
    let plain = PrivateKey::generate_ed25519("").unwrap().public().line();
    let cases = [
        (format!("restrict {plain}"), "without options in front"),
        (format!("command=\"/bin/sh\" {plain}"), "without options in front"),
        (plain.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"), "certificate"),
        (plain.replace("ssh-ed25519", "ssh-dss"), "DSA"),
        (plain.replace("ssh-ed25519", "ssh-rsa"), "copy the whole line"),
        (plain.chars().take(40).collect(), "copy the whole line"),
        (format!("{plain} a\n{plain} b"), "one line"),
        (format!("{plain} admin\u{202e}toor"), "hidden"),
        (format!("{plain} {}", "x".repeat(KEY_LINE_BYTES_MAX)), "over the limit"),
        (String::new(), "not a key type"),
    ];
    for (line, hint) in cases {
        let refused = PublicKey::parse(&line).unwrap_err();
        assert!(refused.sentence.contains(hint), "{line:?}: {refused}");
    }
}

#[test]
fn the_comment_does_not_make_another_key() {
    let key = PrivateKey::generate_ed25519("old laptop").unwrap();
    let bare = PublicKey::parse(&key.public().line().replace(" old laptop", "")).unwrap();
    assert_eq!(&bare, key.public());
    assert_eq!(bare.cmp(key.public()), Ordering::Equal);
    assert_eq!(std::collections::HashSet::from([bare, key.public().clone()]).len(), 1);
}

#[test]
fn a_made_private_key_is_one_that_ssh_keygen_reads_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate_ed25519("made here").unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, key.to_openssh().unwrap()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(ssh_keygen(folder.path(), &["-y", "-f", "key"]).trim_end(), key.public().line());

    let theirs = made(folder.path(), "theirs", "ed25519", "256");
    let read = PrivateKey::from_openssh(&std::fs::read_to_string(folder.path().join("theirs")).unwrap()).unwrap();
    assert_eq!(read.public().line(), theirs.trim_end());
    assert!(!format!("{read:?}").contains("BEGIN"));
}

#[test]
fn protected_and_other_private_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    ssh_keygen(folder.path(), &["-q", "-t", "ed25519", "-N", "secret", "-f", "locked"]);
    made(folder.path(), "p256", "ecdsa", "256");
    for (name, hint) in [("locked", "passphrase"), ("p256", "only ssh-ed25519")] {
        let refused =
            PrivateKey::from_openssh(&std::fs::read_to_string(folder.path().join(name)).unwrap()).unwrap_err();
        assert!(refused.sentence.contains(hint), "{refused}");
    }
}
