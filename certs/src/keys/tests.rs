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

/// A public key's line from the parts of its wire encoding, each a string.
fn line_of(kind: &str, parts: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for part in [&[kind.as_bytes()], parts].concat() {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    format!("{kind} {}", STANDARD.encode(blob))
}

#[test]
fn a_compressed_point_would_be_a_second_name_for_the_key_and_is_refused() {
    for (kind, curve, length) in [
        ("sk-ecdsa-sha2-nistp256@openssh.com", "nistp256", 32),
        ("ecdsa-sha2-nistp256", "nistp256", 32),
        ("ecdsa-sha2-nistp384", "nistp384", 48),
        ("ecdsa-sha2-nistp521", "nistp521", 66),
    ] {
        let line = |tag: u8, length: usize| {
            let point = [&[tag][..], &vec![0x11; length]].concat();
            let application: &[&[u8]] = if kind.starts_with("sk-") { &[b"ssh:"] } else { &[] };
            line_of(kind, &[&[curve.as_bytes(), &point], application].concat())
        };
        assert!(PublicKey::parse(&line(4, 2 * length)).is_ok(), "{kind}");
        for tag in [2, 3] {
            let refused = PublicKey::parse(&line(tag, length)).unwrap_err();
            assert!(refused.sentence.contains("compressed") || refused.sentence.contains("does not read"), "{refused}");
        }
    }
}

#[test]
fn an_rsa_key_has_one_encoding_and_an_exponent_that_protects() {
    let line = |exponent: &[u8], modulus: &[u8]| line_of("ssh-rsa", &[exponent, modulus]);
    let modulus = [&[0, 0xc3][..], &[0x5b; 383]].concat();
    assert!(PublicKey::parse(&line(&[1, 0, 1], &modulus)).is_ok());
    assert!(PublicKey::parse(&line(&[3], &modulus)).is_ok());
    for exponent in [&[][..], &[1], &[2], &[1, 0, 0], &[0x80], &[0, 3], &[0, 0, 3]] {
        assert!(PublicKey::parse(&line(exponent, &modulus)).is_err(), "{exponent:?}");
    }
    for modulus in [[&[0], modulus.as_slice()].concat(), modulus[1..].to_vec()] {
        assert!(
            PublicKey::parse(&line(&[1, 0, 1], &modulus)).is_err(),
            "a leading zero too many, and a negative number"
        );
    }
}

#[test]
fn a_key_line_with_anything_behind_the_key_is_no_key() {
    let line = PrivateKey::generate_ed25519("").unwrap().public().line();
    let blob = STANDARD.decode(line.split(' ').nth(1).unwrap()).unwrap();
    for changed in [[blob.as_slice(), &[0]].concat(), blob[..blob.len() - 1].to_vec()] {
        assert!(PublicKey::parse(&format!("ssh-ed25519 {}", STANDARD.encode(changed))).is_err());
    }
    let padded = line.trim_end().to_owned() + "=";
    assert!(PublicKey::parse(&padded).is_err(), "another spelling of the base64");
    let line = made(tempfile::tempdir().unwrap().path(), "p384", "ecdsa", "384");
    assert!(PublicKey::parse(&line.replace("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp256")).is_err());
}

#[test]
fn certificates_are_refused_wherever_a_key_is_wanted_nested_ones_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kind, bits) in
        [("ca", "ed25519", "256"), ("ed", "ed25519", "256"), ("ec", "ecdsa", "256"), ("rs", "rsa", "3072")]
    {
        made(folder.path(), name, kind, bits);
    }
    for name in ["ed", "ec", "rs"] {
        // A comma, an empty name and a plain one as principals: whatever a certificate claims, none is a key.
        for principals in ["root,admin", "root"] {
            let public = format!("{name}.pub");
            ssh_keygen(folder.path(), &["-q", "-s", "ca", "-I", "id", "-n", principals, &public]);
            let line = std::fs::read_to_string(folder.path().join(format!("{name}-cert.pub"))).unwrap();
            let refused = PublicKey::parse(&line).unwrap_err();
            assert!(refused.sentence.contains("certificate"), "{refused}");
            // The same under the name of a plain key, and as the certificate of a certificate.
            let plain = std::fs::read_to_string(folder.path().join(&public)).unwrap();
            let kind = plain.split(' ').next().unwrap();
            let (certificate, blob) = (line.split(' ').next().unwrap(), line.split(' ').nth(1).unwrap());
            assert!(PublicKey::parse(&format!("{kind} {blob}")).is_err(), "{kind}");
            let nested = certificate.replace("-cert-v01@", "-cert-v01-cert-v01@");
            assert!(PublicKey::parse(&format!("{nested} {blob}")).unwrap_err().sentence.contains("certificate"));
            let certificate = ssh_key::Certificate::from_openssh(&line).unwrap();
            let as_data = ssh_key::PublicKey::from(KeyData::Certificate(Box::new(certificate)));
            assert!(PublicKey::from_ssh(&as_data).is_err());
        }
    }
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
