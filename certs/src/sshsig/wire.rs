//! Signatures byte by byte: the vectors of OpenSSH, FIDO signatures made by hand, and everything that is nearly one.

use super::*;
use ring::{
    digest::{SHA256, SHA512, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};

/// What the vectors of OpenSSH sign, and for what: `regress/unittests/sshsig/testdata` of openssh-portable, key and signature
/// each. The FIDO ones are of real keys.
const VECTOR_TEXT: &[u8] = b"This is a test, this is only a test";
const VECTOR_NAMESPACE: &str = "unittest";
const ED25519: (&str, &str) = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIlizSIN3DQV78VPNjVvvwjgf+P5HqbPYCYu3BOMdjAE",
    "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgiWLNIg3cNBXvxU82NW+/COB/4/\n\
keps9gJi7cE4x2MAQAAAAIdW5pdHRlc3QAAAAAAAAABnNoYTUxMgAAAFMAAAALc3NoLWVk\n\
MjU1MTkAAABAihQsbUzuNEFflk5Tw1+H9aLS7tZQk0RG8KW1DtOmDYYnWe3D3UKiG3fcJa\n\
DNg4vBWp1j1gLRiBMOF+gwYNegDg==\n\
-----END SSH SIGNATURE-----\n",
);
const ECDSA: (&str, &str) = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBN7LnfPBVdDfBT7KWUley1qo+rjzy0WYkrHpzbhGALXlj8g4K2bFmy81wblCbnHqWgjblv0FoBwUW641o9xEZtw=",
    "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAE\n\
EE3sud88FV0N8FPspZSV7LWqj6uPPLRZiSsenNuEYAteWPyDgrZsWbLzXBuUJucepaCNuW\n\
/QWgHBRbrjWj3ERm3AAAAAh1bml0dGVzdAAAAAAAAAAGc2hhNTEyAAAAZQAAABNlY2RzYS\n\
1zaGEyLW5pc3RwMjU2AAAASgAAACEAycVNsTlE+XEZYyYiDxWZlliruf/pPMhEEMR/XLdQ\n\
a4MAAAAhALQt+5gES7L3uKGptHB6UZQMuZ2WyI0C6FJs4v6AtMIU\n\
-----END SSH SIGNATURE-----\n",
);
const RSA: (&str, &str) = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQDfzqWaNEe0mnKPzsGtL6ywya29z/VI83SBdM+z2NnWFgCr3w9xrf9FhUzgdpK7oI7O1AnZmdkPdN79d4GchTaZ+69ASX4OLCKwZ42CVXJEKLvvzt88UV9zHNl8NrsQHapjxLehpIZkrxCrO4bCYYAiaOVBfPon4cJ394P/nwagJJKKsgQIVYIC3642s4L8SaADOxt9x9ohttXMDjS2WBTeE7YnjaR13PwKKwNO0MpAAEVw5pBnJxJ+fscM/5aBctdcFQj3BUzVOJ/V/70xfTzEiy8K8bOjvIuBttMUtIavlKQD606ti6gDtXx+B7SJ3/emdW0bVSLcju96N4DB/Qdmq0V4ESc7CQgkWZl4y0V45V/7iSLiHWsOoC9Kxw28y0uno5elsABMBMC4RYSQhAGXWueCcR7SIL2JT2K0oxbqongW0hvgAIfUShTXHy+qsV5yDaG+p+TkJkEkhtXbwkW4aNpzc7EFnXsWpvyWOiZSKvUasRPbPro0yBvlOMMPsFU=",
    "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAAZcAAAAHc3NoLXJzYQAAAAMBAAEAAAGBAN/OpZo0R7Saco/Owa0vrL\n\
DJrb3P9UjzdIF0z7PY2dYWAKvfD3Gt/0WFTOB2krugjs7UCdmZ2Q903v13gZyFNpn7r0BJ\n\
fg4sIrBnjYJVckQou+/O3zxRX3Mc2Xw2uxAdqmPEt6GkhmSvEKs7hsJhgCJo5UF8+ifhwn\n\
f3g/+fBqAkkoqyBAhVggLfrjazgvxJoAM7G33H2iG21cwONLZYFN4TtieNpHXc/AorA07Q\n\
ykAARXDmkGcnEn5+xwz/loFy11wVCPcFTNU4n9X/vTF9PMSLLwrxs6O8i4G20xS0hq+UpA\n\
PrTq2LqAO1fH4HtInf96Z1bRtVItyO73o3gMH9B2arRXgRJzsJCCRZmXjLRXjlX/uJIuId\n\
aw6gL0rHDbzLS6ejl6WwAEwEwLhFhJCEAZda54JxHtIgvYlPYrSjFuqieBbSG+AAh9RKFN\n\
cfL6qxXnINob6n5OQmQSSG1dvCRbho2nNzsQWdexam/JY6JlIq9RqxE9s+ujTIG+U4ww+w\n\
VQAAAAh1bml0dGVzdAAAAAAAAAAGc2hhNTEyAAABlAAAAAxyc2Etc2hhMi01MTIAAAGACi\n\
nEpBrQxZi0yOrrT6h98JFfZh0XXioih4fzmvtoV0yOReWClS+otGgXoJyZHcbaKNOjDwSM\n\
rIkUoX6OUJmtHYP0HRELnKw35m33LdBPXpFGS4tRS7NeSpvc04KtjT6jYXY9FjWy5hcn17\n\
Sxc/3DnJqLgJBur8acY7FeIzpWmKixPd/dGkEjdWoD9gO6szLczGuQgrOdYmSRL4yKadTJ\n\
lVjz5OSeKSYYGQy33US2XQassRRNYf4e9byTA3DKvHa/OcTt7lFerea0kZdDpAboqffz7T\n\
Yaw/hFskAYLIEdTW3aoXBGHSOvu8AkDOtb7qwuxGSQ27pjkDLDNsp1ceCFaCaQ6X83RZuK\n\
ACv9JUBI5KaSf81e0bs0KezJKkhB9czeZ6dk96qISbgayEBnvhYgXvUDKtHn7HzNlCJKfK\n\
5ABhNxfGG2CD+NKqcrndwFgS1sQO3hbA84zPQb26ShBovT8ytHBmW1F8ZK4O9Bz61Q6EZK\n\
vs/u6xP6LUean/so5daa\n\
-----END SSH SIGNATURE-----\n",
);
const ED25519_SK: (&str, &str) = (
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJsaDYXQYruc6bilCYDIK4YSOeG+zmrRO2M9t03//7LHAAAABHNzaDo=",
    "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAAEoAAAAac2stc3NoLWVkMjU1MTlAb3BlbnNzaC5jb20AAAAgmxoNhd\n\
Biu5zpuKUJgMgrhhI54b7OatE7Yz23Tf//sscAAAAEc3NoOgAAAAh1bml0dGVzdAAAAAAA\n\
AAAGc2hhNTEyAAAAZwAAABpzay1zc2gtZWQyNTUxOUBvcGVuc3NoLmNvbQAAAEAi+7eTjW\n\
/+LQ2M+sCD+KFtH1n7VFFJon/SZFsxODyV8cWTlFKj617Ys1Ur5TV6uaEXQhck8rBA2oQI\n\
HTPANLIPARI0Vng=\n\
-----END SSH SIGNATURE-----\n",
);
const ECDSA_SK: (&str, &str) = (
    "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBKDVa5jRcT5V7E6ysmwVi7HJWh7p5D+hebLPakQcpnD2ajJZ6G/4WzuhlYWnclWY63JspDp299Rlhq5AT86/g8AAAAAEc3NoOg==",
    "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAAH8AAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQ\n\
AAAAhuaXN0cDI1NgAAAEEEoNVrmNFxPlXsTrKybBWLsclaHunkP6F5ss9qRBymcPZqMlno\n\
b/hbO6GVhadyVZjrcmykOnb31GWGrkBPzr+DwAAAAARzc2g6AAAACHVuaXR0ZXN0AAAAAA\n\
AAAAZzaGE1MTIAAAB3AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20A\n\
AABIAAAAIHohGwyy8iKT3zwd1TYA9V/Ioo7h/3zCJUtyq/Qigt/HAAAAIGzidTwq7D/kFa\n\
7Xjcp/KkdbIs4MfQpfAW/0OciajlpzARI0Vng=\n\
-----END SSH SIGNATURE-----\n",
);
const ECDSA_SK_WEBAUTHN: (&str, &str) = (
    "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBBRGwDjs4HhJFcn4tJ5Gr72KcmRmCS1OirETxaXvnsNApgoOLF1a/7rxldfSMHm73eT1nhHe97W8qicPPEAKDJQAAAALbWluZHJvdC5vcmc=",
    "\
-----BEGIN SSH SIGNATURE-----\n\
U1NIU0lHAAAAAQAAAIYAAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQ\n\
AAAAhuaXN0cDI1NgAAAEEEFEbAOOzgeEkVyfi0nkavvYpyZGYJLU6KsRPFpe+ew0CmCg4s\n\
XVr/uvGV19Iwebvd5PWeEd73tbyqJw88QAoMlAAAAAttaW5kcm90Lm9yZwAAAAh1bml0dG\n\
VzdAAAAAAAAAAGc2hhNTEyAAABhwAAACt3ZWJhdXRobi1zay1lY2RzYS1zaGEyLW5pc3Rw\n\
MjU2QG9wZW5zc2guY29tAAAASQAAACBj2oMT9tb5wRXe6mdmf4/lgAO8wrgr95ouozwNg4\n\
itnQAAACEAtU9g5wz3HchUiLfLD6plr9T4TiJ32lVCrATSjpiy0SMBAAADHwAAABdodHRw\n\
czovL3d3dy5taW5kcm90Lm9yZwAAAON7InR5cGUiOiJ3ZWJhdXRobi5nZXQiLCJjaGFsbG\n\
VuZ2UiOiJVMU5JVTBsSEFBQUFDSFZ1YVhSMFpYTjBBQUFBQUFBQUFBWnphR0UxTVRJQUFB\n\
QkFMTHU4WmdjU3h0Nk1zRlV6dWlaZ0c2R3dNZEo5ZDd4ZUU3WW9SSXcwZzlpSEpfd3NGRD\n\
cxbzRXbHllenZGV0VqYnFRMHFDN0Z3R3Bqa2pVUVAtTmQ2dyIsIm9yaWdpbiI6Imh0dHBz\n\
Oi8vd3d3Lm1pbmRyb3Qub3JnIiwiY3Jvc3NPcmlnaW4iOmZhbHNlfQAAAAA=\n\
-----END SSH SIGNATURE-----\n",
);

const TEXT: &[u8] = b"tenant = \"acme\"\n";
const NAMESPACE: &str = "token.v1@belay";

#[test]
fn the_vectors_of_openssh_verify() {
    for (line, signature) in [ED25519, ECDSA, RSA, ED25519_SK, ECDSA_SK] {
        let signer = verify_for(VECTOR_NAMESPACE, VECTOR_TEXT, signature).unwrap();
        assert_eq!(signer, PublicKey::parse(line).unwrap());
        let other = verify_for(VECTOR_NAMESPACE, b"This is a test, this is only a text", signature).unwrap_err();
        assert_eq!(other.fault, Fault::BadSignature, "{line}");
        assert_eq!(verify(Namespace::Policy, VECTOR_TEXT, signature).unwrap_err().fault, Fault::BadSignature);
    }
}

#[test]
fn a_browsers_signature_of_a_fido_key_is_none_of_ours() {
    let (line, signature) = ECDSA_SK_WEBAUTHN;
    assert!(PublicKey::parse(line).is_ok());
    verify_for(VECTOR_NAMESPACE, VECTOR_TEXT, signature).unwrap_err();
}

/// A signature in its parts (PROTOCOL.sshsig), each to be spoilt by a test.
#[derive(Clone)]
struct Wire {
    version: u32,
    key: Vec<u8>,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash: Vec<u8>,
    /// Name and bytes, and of FIDO keys flags and counter behind them.
    signature: Vec<u8>,
    /// Bytes behind it all.
    trailing: Vec<u8>,
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let sign: &[u8] = if bytes.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
    string(&[sign, bytes].concat())
}

impl Wire {
    fn blob(&self) -> Vec<u8> {
        let parts = [&self.key, &self.namespace, &self.reserved, &self.hash, &self.signature].map(|part| string(part));
        [&b"SSHSIG"[..], &self.version.to_be_bytes(), &parts.concat(), &self.trailing].concat()
    }

    fn armoured(&self) -> String {
        armoured(&self.blob(), 70, "\n")
    }

    /// What is signed.
    fn message(namespace: &[u8], reserved: &[u8], hash: &str) -> Vec<u8> {
        let digest = match hash {
            "sha256" => digest(&SHA256, TEXT),
            _ => digest(&SHA512, TEXT),
        };
        let parts = [namespace, reserved, hash.as_bytes(), digest.as_ref()].map(string);
        [&b"SSHSIG"[..], &parts.concat()].concat()
    }
}

fn armoured(blob: &[u8], columns: usize, line_end: &str) -> String {
    let base64 = STANDARD.encode(blob);
    let lines: Vec<&str> = base64.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let lines = lines.join(line_end);
    format!("-----BEGIN SSH SIGNATURE-----{line_end}{lines}{line_end}-----END SSH SIGNATURE-----{line_end}")
}

/// What a FIDO key signs with (PROTOCOL.u2f).
#[derive(Clone, Copy)]
struct Touch {
    flags: u8,
    counter: u32,
}

const TOUCHED: Touch = Touch { flags: 1, counter: 7 };

/// The kinds of FIDO keys, in software.
#[derive(Clone, Copy, Debug)]
enum Fido {
    Ed25519,
    P256,
}

impl Fido {
    const BOTH: [Self; 2] = [Self::Ed25519, Self::P256];

    fn sign(self, touch: Touch, reserved: &[u8], hash: &str) -> Wire {
        let random = SystemRandom::new();
        let message = Wire::message(NAMESPACE.as_bytes(), reserved, hash);
        let trailer = [&[touch.flags][..], &touch.counter.to_be_bytes()].concat();
        let signed = [digest(&SHA256, b"ssh:").as_ref(), &trailer, digest(&SHA256, &message).as_ref()].concat();
        let (name, point, raw) = match self {
            Self::Ed25519 => {
                let pair =
                    Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
                let point = string(pair.public_key().as_ref());
                (&b"sk-ssh-ed25519@openssh.com"[..], point, pair.sign(&signed).as_ref().to_vec())
            }
            Self::P256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
                let raw = pair.sign(&random, &signed).unwrap();
                let (r, s) = raw.as_ref().split_at(32);
                let point = [string(b"nistp256"), string(pair.public_key().as_ref())].concat();
                (&b"sk-ecdsa-sha2-nistp256@openssh.com"[..], point, [mpint(r), mpint(s)].concat())
            }
        };
        Wire {
            version: 1,
            key: [string(name), point, string(b"ssh:")].concat(),
            namespace: NAMESPACE.as_bytes().to_vec(),
            reserved: reserved.to_vec(),
            hash: hash.as_bytes().to_vec(),
            signature: [string(name), string(&raw), trailer].concat(),
            trailing: Vec::new(),
        }
    }
}

fn verdict(wire: &Wire) -> Result<PublicKey, Invalid> {
    verify(Namespace::Token, TEXT, &wire.armoured())
}

#[test]
fn a_touched_fido_key_counts_with_both_hashes_and_whatever_its_counter_says() {
    for fido in Fido::BOTH {
        for hash in ["sha256", "sha512"] {
            for (flags, counter) in [(1, 0), (1, u32::MAX), (5, 9), (0x41, 1)] {
                let wire = fido.sign(Touch { flags, counter }, b"", hash);
                let signer = verdict(&wire).unwrap();
                assert_eq!(signer.blob(), wire.key, "{fido:?} {hash} {flags}");
            }
        }
    }
}

#[test]
fn a_fido_key_that_nobody_touched_is_refused_and_cannot_be_made_to_look_touched() {
    for fido in Fido::BOTH {
        for flags in [0, 4, 0x40, 0xfe] {
            let mut wire = fido.sign(Touch { flags, counter: 7 }, b"", "sha512");
            let refused = verdict(&wire).unwrap_err();
            assert!(refused.sentence.contains("not touched"), "{fido:?}: {refused}");
            let at = wire.signature.len() - FIDO_TRAILER_BYTES;
            wire.signature[at] |= USER_PRESENT;
            assert!(verdict(&wire).unwrap_err().sentence.contains("does not fit"), "{fido:?}");
        }
        let mut wire = fido.sign(TOUCHED, b"", "sha512");
        *wire.signature.last_mut().unwrap() ^= 1;
        assert_eq!(verdict(&wire).unwrap_err().fault, Fault::BadSignature, "another counter");
    }
}

#[test]
fn a_fido_signature_for_another_application_is_refused() {
    for fido in Fido::BOTH {
        let mut wire = fido.sign(TOUCHED, b"", "sha512");
        let at = wire.key.len() - 1;
        wire.key[at] = b'x';
        assert_eq!(verdict(&wire).unwrap_err().fault, Fault::BadSignature);
    }
}

#[test]
fn a_fido_signature_without_its_flags_or_with_more_behind_them_is_refused() {
    for fido in Fido::BOTH {
        let good = fido.sign(TOUCHED, b"", "sha512");
        for cut in 1..=FIDO_TRAILER_BYTES {
            let mut wire = good.clone();
            wire.signature.truncate(good.signature.len() - cut);
            verdict(&wire).unwrap_err();
        }
        for more in [&[0][..], &[1], &[1, 0, 0, 0, 7]] {
            let mut wire = good.clone();
            wire.signature.extend_from_slice(more);
            verdict(&wire).unwrap_err();
        }
    }
}

#[test]
fn a_version_that_is_not_1_is_refused() {
    let good = Fido::Ed25519.sign(TOUCHED, b"", "sha512");
    for version in [0, 2, 0x0100_0000, u32::MAX] {
        assert_eq!(verdict(&Wire { version, ..good.clone() }).unwrap_err().fault, Fault::Malformed, "{version}");
    }
}

#[test]
fn a_reserved_part_that_is_not_empty_is_refused_even_when_it_was_signed() {
    for fido in Fido::BOTH {
        let wire = fido.sign(TOUCHED, b"later", "sha512");
        assert_eq!(verdict(&wire).unwrap_err().fault, Fault::Malformed);
    }
}

#[test]
fn an_empty_or_another_namespace_is_refused() {
    let good = Fido::Ed25519.sign(TOUCHED, b"", "sha512");
    for namespace in
        [&b""[..], b"file", b"policy.v1@belay", b"token.v1@belay\0", b"token.v1@belay,policy.v1@belay", b"\xff"]
    {
        let wire = Wire { namespace: namespace.to_vec(), ..good.clone() };
        verdict(&wire).unwrap_err();
    }
}

#[test]
fn another_hash_than_the_signed_one_or_an_unknown_one_is_refused() {
    let good = Fido::Ed25519.sign(TOUCHED, b"", "sha512");
    for hash in [&b"sha256"[..], b"sha1", b"md5", b"SHA512", b"", b"sha512\0"] {
        verdict(&Wire { hash: hash.to_vec(), ..good.clone() }).unwrap_err();
    }
}

#[test]
fn bytes_behind_the_signature_are_refused() {
    for fido in Fido::BOTH {
        let good = fido.sign(TOUCHED, b"", "sha512");
        for trailing in [&[0][..], b"\n", &[0; 64]] {
            verdict(&Wire { trailing: trailing.to_vec(), ..good.clone() }).unwrap_err();
        }
        let mut wire = good.clone();
        wire.key.push(0);
        verdict(&wire).unwrap_err();
    }
}

#[test]
fn a_signature_cut_off_anywhere_is_refused() {
    let blob = Fido::P256.sign(TOUCHED, b"", "sha512").blob();
    verify(Namespace::Token, TEXT, &armoured(&blob, 70, "\n")).unwrap();
    for length in 0..blob.len() {
        assert!(verify(Namespace::Token, TEXT, &armoured(&blob[..length], 70, "\n")).is_err(), "{length}");
    }
    let whole = armoured(&blob, 70, "\n");
    for length in 0..whole.trim_end().len() {
        assert!(verify(Namespace::Token, TEXT, &whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn an_rsa_signature_over_sha_1_or_by_a_short_key_is_refused_whatever_its_label() {
    let (line, signature) = RSA;
    let blob = STANDARD.decode(signature.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let relabelled = |from: &[u8], to: &[u8]| {
        let at = blob.windows(from.len()).rposition(|window| window == from).unwrap();
        armoured(&[&blob[..at], to, &blob[at + from.len()..]].concat(), 70, "\n")
    };
    for label in [&b"rsa-sha2-256"[..], b"rsa-sha1-512", b"ssh-rsa-5122"] {
        verify_for(VECTOR_NAMESPACE, VECTOR_TEXT, &relabelled(b"rsa-sha2-512", label)).unwrap_err();
    }
    assert!(PublicKey::parse(line).is_ok());
}

/// What `ssh-keygen -Y verify` says of the same, through a file of allowed signers.
fn ssh_keygen_takes(key: &PublicKey, armoured: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("signers"), format!("me {}\n", key.line())).unwrap();
    std::fs::write(folder.path().join("sig"), armoured).unwrap();
    std::fs::write(folder.path().join("text"), TEXT).unwrap();
    let mut verify = std::process::Command::new("ssh-keygen");
    verify.current_dir(folder.path()).args(["-Y", "verify", "-f", "signers", "-I", "me", "-n", NAMESPACE, "-s", "sig"]);
    verify.stdin(std::fs::File::open(folder.path().join("text")).unwrap()).output().unwrap().status.success()
}

#[test]
fn lines_of_any_length_that_ssh_keygen_takes_are_taken() {
    for fido in Fido::BOTH {
        let wire = fido.sign(TOUCHED, b"", "sha512");
        let key = verdict(&wire).unwrap();
        for columns in [1, 60, 64, 70, 71, 76, 100_000] {
            for line_end in ["\n", "\r\n"] {
                let text = armoured(&wire.blob(), columns, line_end);
                if text.len() <= SIGNATURE_BYTES_MAX {
                    let taken = verify(Namespace::Token, TEXT, &text).is_ok();
                    assert!(taken, "{fido:?} {columns} {line_end:?}");
                    // Windows' line ends are taken here only.
                    assert_eq!(line_end == "\n", ssh_keygen_takes(&key, &text), "{fido:?} {columns} {line_end:?}");
                }
            }
        }
    }
}
