//! Signatures against the real `ssh-keygen -Y`, and FIDO signatures built by hand.

use super::*;
use ssh_key::public::{Ed25519PublicKey, SkEd25519};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const TEXT: &[u8] = b"tenant = \"acme\"\n";

fn ssh_keygen(folder: &Path, arguments: &[&str]) -> bool {
    let message = fs::File::open(folder.join("message")).map_or(Stdio::null(), Stdio::from);
    let run = Command::new("ssh-keygen").current_dir(folder).args(arguments).stdin(message).output().unwrap();
    run.status.success()
}

/// The message signed by a new key of `kind`, and the key's line.
fn signed_by_ssh_keygen(folder: &Path, kind: &[&str], options: &[&str]) -> (String, String) {
    let make = [&["-q", "-N", "", "-C", "", "-f", "key"], kind].concat();
    assert!(ssh_keygen(folder, &make));
    fs::write(folder.join("message"), TEXT).unwrap();
    let sign = [&["-Y", "sign", "-f", "key", "-n", "token.v1@belay"], options, &["message"]].concat();
    assert!(ssh_keygen(folder, &sign));
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    (read("message.sig"), read("key.pub"))
}

#[test]
fn what_ssh_keygen_signs_verifies_here_with_every_kind_of_key() {
    let kinds: [&[&str]; 5] = [
        &["-t", "ed25519"],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "3072"],
    ];
    for kind in kinds {
        for options in [&[][..], &["-O", "hashalg=sha256"][..]] {
            let folder = tempfile::tempdir().unwrap();
            let (signature, line) = signed_by_ssh_keygen(folder.path(), kind, options);
            let signer = verify(Namespace::Token, TEXT, &signature).unwrap();
            assert_eq!(signer, PublicKey::parse(&line).unwrap(), "{kind:?} {options:?}");
        }
    }
}

#[test]
fn a_short_rsa_key_signs_nothing_here() {
    let folder = tempfile::tempdir().unwrap();
    let (signature, _) = signed_by_ssh_keygen(folder.path(), &["-t", "rsa", "-b", "2048"], &[]);
    let refused = verify(Namespace::Token, TEXT, &signature).unwrap_err();
    assert!(refused.sentence.contains("the signer's key") && refused.sentence.contains("2048 bits"), "{refused}");
}

#[test]
fn what_is_signed_here_verifies_with_ssh_keygen() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate_ed25519("").unwrap();
    fs::write(folder.path().join("message"), TEXT).unwrap();
    fs::write(folder.path().join("message.sig"), sign(Namespace::Order, TEXT, &key).unwrap()).unwrap();
    fs::write(folder.path().join("signers"), format!("me {}\n", key.public())).unwrap();
    let verify = ["-Y", "verify", "-f", "signers", "-I", "me", "-s", "message.sig", "-n"];
    assert!(ssh_keygen(folder.path(), &[&verify[..], &["order.v1@belay"]].concat()));
    assert!(!ssh_keygen(folder.path(), &[&verify[..], &["token.v1@belay"]].concat()));
}

#[test]
fn a_signature_for_another_purpose_or_another_text_is_refused() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let signature = sign(Namespace::Token, TEXT, &key).unwrap();
    let other = verify(Namespace::Policy, TEXT, &signature).unwrap_err();
    assert_eq!(other.fault, Fault::BadSignature);
    assert!(other.sentence.contains("ssh-keygen -Y sign -n policy.v1@belay"), "{other}");
    for at in 0..TEXT.len() {
        let mut changed = TEXT.to_vec();
        changed[at] ^= 1;
        assert_eq!(verify(Namespace::Token, &changed, &signature).unwrap_err().fault, Fault::BadSignature);
    }
}

#[test]
fn no_changed_character_of_a_signature_verifies() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let signature = sign(Namespace::Token, TEXT, &key).unwrap();
    for (at, old) in signature.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
        let mut changed = signature.clone();
        changed.replace_range(at..=at, if old == 'B' { "C" } else { "B" });
        assert!(verify(Namespace::Token, TEXT, &changed).is_err(), "character {at}");
    }
}

#[test]
fn rubbish_and_oversized_signatures_are_refused() {
    let good = sign(Namespace::Token, TEXT, &PrivateKey::generate_ed25519("").unwrap()).unwrap();
    for bad in [String::new(), "hello".into(), format!("note\n{good}"), good.replace("SIGNATURE", "SIGNATUR")] {
        assert_eq!(verify(Namespace::Token, TEXT, &bad).unwrap_err().fault, Fault::Malformed, "{bad}");
    }
    for behind in ["x", "\n-----BEGIN SSH SIGNATURE-----", "\u{a0}"] {
        let more = format!("{}{behind}", good.trim_end());
        assert_eq!(verify(Namespace::Token, TEXT, &more).unwrap_err().fault, Fault::Malformed, "{more}");
    }
    verify(Namespace::Token, TEXT, &format!("{good}\r\n \t\n")).unwrap();
    let big = format!("{good}{}", " ".repeat(SIGNATURE_BYTES_MAX));
    assert_eq!(verify(Namespace::Token, TEXT, &big).unwrap_err().fault, Fault::TooLarge);
}

/// What a FIDO key with `flags` would sign, made with a software Ed25519 key (PROTOCOL.u2f).
fn fido_signature(flags: u8) -> (KeyData, Signature, Vec<u8>) {
    use ring::{
        digest::{SHA256, digest},
        signature::Ed25519KeyPair,
    };
    let software = PrivateKey::generate_ed25519("").unwrap();
    let pair = software.as_ssh().key_data().ed25519().unwrap();
    let message = SshSig::signed_data("token.v1@belay", HashAlg::Sha512, TEXT).unwrap();
    let trailer = [flags, 0, 0, 0, 9];
    let envelope = [digest(&SHA256, b"ssh:").as_ref(), &trailer, digest(&SHA256, &message).as_ref()].concat();
    let signer = Ed25519KeyPair::from_seed_unchecked(pair.private.as_ref()).unwrap();
    let raw = signer.sign(&envelope);
    let point = pair.public;
    let bytes = [raw.as_ref(), &trailer].concat();
    let data = KeyData::from(SkEd25519::new(Ed25519PublicKey(point.0), "ssh:"));
    (data, Signature::new(Algorithm::SkEd25519, bytes.clone()).unwrap(), bytes)
}

fn armoured(key: KeyData, signature: Signature) -> String {
    SshSig::new(key, "token.v1@belay", HashAlg::Sha512, signature).unwrap().to_pem(LineEnding::LF).unwrap()
}

#[test]
fn a_fido_signature_counts_only_when_the_key_was_touched() {
    for flags in [1, 5] {
        let (key, signature, _) = fido_signature(flags);
        verify(Namespace::Token, TEXT, &armoured(key, signature)).unwrap();
    }
    for flags in [0, 4] {
        let (key, signature, _) = fido_signature(flags);
        let refused = verify(Namespace::Token, TEXT, &armoured(key, signature)).unwrap_err();
        assert!(refused.sentence.contains("not touched"), "{refused}");
    }
}

#[test]
fn a_fido_signature_under_another_label_is_refused() {
    let (key, _, bytes) = fido_signature(1);
    let label = Algorithm::new("unknown@example.com").unwrap();
    let signature = Signature::new(label, bytes).unwrap();
    assert_eq!(check_algorithm(&key, &signature).unwrap_err().fault, Fault::BadSignature);
}

#[test]
fn signatures_over_sha1_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, line) = signed_by_ssh_keygen(folder.path(), &["-t", "rsa", "-b", "3072"], &[]);
    let key = PublicKey::parse(&line).unwrap();
    let signature = Signature::new(Algorithm::Rsa { hash: None }, vec![1; 384]).unwrap();
    assert!(check_algorithm(key.as_ssh().key_data(), &signature).is_err());
}

#[test]
fn a_document_has_to_have_exactly_one_signature() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let signature = sign(Namespace::Token, TEXT, &key).unwrap();
    let signed = |signatures: Vec<String>| Signed { bytes: TEXT.to_vec(), signatures }.only_signer(Namespace::Token);
    assert_eq!(&signed(vec![signature.clone()]).unwrap(), key.public());
    assert_eq!(signed(vec![]).unwrap_err().fault, Fault::Unsigned);
    assert_eq!(signed(vec![signature.clone(), signature]).unwrap_err().fault, Fault::Malformed);
}

#[test]
fn a_text_that_another_editor_saved_is_refused_with_the_reason() {
    let cases: [(&[u8], &str); 7] = [
        (b"a\nb\nc\r\n", "a CR at line 3: save it with Unix line ends"),
        (b"\xef\xbb\xbfa\n", "byte order mark"),
        (b"\xff\xfea\0", "UTF-16"),
        (b"\xfe\xff\0a", "UTF-16"),
        (b"a\0b\0", "a NUL at line 1, or is UTF-16"),
        (b"a\n\xc3(", "not UTF-8 at line 2"),
        (b"0123456789012345678901234567890", "over the limit of 30"),
    ];
    for (bytes, hint) in cases {
        let refused = text(bytes, 30).unwrap_err();
        assert!(refused.sentence.contains(hint), "{refused}");
    }
    assert_eq!(text("ä\n".as_bytes(), 30).unwrap(), "ä\n");
}
