//! Certificates made by the real `ssh-keygen -s`, and some that it refuses to make.

use super::*;
use crate::keys::PrivateKey;
use ssh_key::certificate::{Builder, CertType};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

fn ssh_keygen(folder: &Path, arguments: &[&str]) {
    let output = Command::new("ssh-keygen").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The certificate line that `ssh-keygen -s` makes with `ca` for `host_key`.
pub(crate) fn certify(ca: &PrivateKey, host_key: &PublicKey, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca");
    fs::write(&ca_file, ca.to_openssh().unwrap()).unwrap();
    fs::set_permissions(&ca_file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("key.pub"), host_key.line()).unwrap();
    ssh_keygen(folder.path(), &[&["-q", "-s", "ca", "-I", "web1.acme"], options, &["key.pub"]].concat());
    fs::read_to_string(folder.path().join("key-cert.pub")).unwrap()
}

/// A CA, a host key and the address of the examples.
fn keys() -> (PrivateKey, PublicKey, DeviceAddress) {
    let made = |comment| PrivateKey::generate_ed25519(comment).unwrap();
    (made("acme-device-ca"), made("host").public().clone(), "web1.acme".parse().unwrap())
}

#[test]
fn the_certificate_of_the_documented_command_is_accepted() {
    let (ca, host, address) = keys();
    let line = certify(&ca, &host, &["-h", "-n", "web1.acme", "-z", "7"]);
    let other = PrivateKey::generate_ed25519("older ca").unwrap();
    let cas = [other.public().clone(), ca.public().clone()];
    assert_eq!(check(&line, &address, &host, 7, &cas).unwrap().serial(), 7);
}

#[test]
fn an_rsa_or_ecdsa_device_ca_works_too() {
    let (_, host, address) = keys();
    for kind in [["-t", "rsa", "-b", "3072"], ["-t", "ecdsa", "-b", "384"]] {
        let folder = tempfile::tempdir().unwrap();
        ssh_keygen(folder.path(), &[&["-q", "-N", "", "-f", "ca"], &kind[..]].concat());
        fs::write(folder.path().join("key.pub"), host.line()).unwrap();
        ssh_keygen(folder.path(), &["-q", "-s", "ca", "-I", "x", "-h", "-n", "web1.acme", "-z", "7", "key.pub"]);
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let ca = PublicKey::parse(&read("ca.pub")).unwrap();
        check(&read("key-cert.pub"), &address, &host, 7, &[ca]).unwrap();
    }
}

#[test]
fn an_rsa_ca_that_signs_with_sha1_is_refused() {
    let (_, host, address) = keys();
    let folder = tempfile::tempdir().unwrap();
    ssh_keygen(folder.path(), &["-q", "-N", "", "-t", "rsa", "-b", "3072", "-f", "ca"]);
    fs::write(folder.path().join("key.pub"), host.line()).unwrap();
    let options = ["-q", "-s", "ca", "-t", "ssh-rsa", "-I", "x", "-h", "-n", "web1.acme", "-z", "7", "key.pub"];
    ssh_keygen(folder.path(), &options);
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    let ca = PublicKey::parse(&read("ca.pub")).unwrap();
    assert_eq!(check(&read("key-cert.pub"), &address, &host, 7, &[ca]).unwrap_err().fault, Fault::BadSignature);
}

#[test]
fn each_wrong_option_of_ssh_keygen_is_refused_with_the_right_one() {
    let (ca, host, address) = keys();
    let cases: [(&[&str], &str); 7] = [
        (&["-n", "web1.acme", "-z", "7"], "user certificate"),
        (&["-h", "-z", "7"], "no principal"),
        (&["-h", "-n", "web1.acme,web2.acme", "-z", "7"], "2 principals"),
        (&["-h", "-n", "web2.acme", "-z", "7"], "is for \"web2.acme\""),
        (&["-h", "-n", "web1.acme", "-z", "8"], "has serial 8"),
        (&["-h", "-n", "web1.acme", "-z", "7", "-V", "+52w"], "make it without `-V`"),
        (&["-h", "-n", "web1.acme", "-z", "7", "-O", "critical:force-command=x"], "critical option"),
    ];
    for (options, hint) in cases {
        let line = certify(&ca, &host, options);
        let refused = check(&line, &address, &host, 7, &[ca.public().clone()]).unwrap_err();
        assert!(refused.sentence.contains(hint), "{options:?}: {refused}");
    }
}

#[test]
fn another_host_key_and_an_unlisted_ca_are_refused() {
    let (ca, host, address) = keys();
    let line = certify(&ca, &host, &["-h", "-n", "web1.acme", "-z", "7"]);
    let (other_ca, other_host, _) = keys();
    let cas = [ca.public().clone()];
    assert_eq!(check(&line, &address, &other_host, 7, &cas).unwrap_err().fault, Fault::Mismatch);
    let refused = check(&line, &address, &host, 7, &[other_ca.public().clone()]).unwrap_err();
    assert_eq!(refused.fault, Fault::WrongSigner);
    assert_eq!(check(&line, &address, &host, 7, &[]).unwrap_err().fault, Fault::WrongSigner);
}

/// A certificate with any principal, which `ssh-keygen -n` could not write down.
fn with_principals(ca: &PrivateKey, host: &PublicKey, principals: &[&str]) -> String {
    let mut builder = Builder::new([9; 16], host.as_ssh().key_data().clone(), 0, FOREVER).unwrap();
    builder.cert_type(CertType::Host).unwrap().serial(7).unwrap();
    builder.all_principals_valid().unwrap();
    for principal in principals {
        builder.valid_principal(*principal).unwrap();
    }
    builder.sign(ca.as_ssh()).unwrap().to_openssh().unwrap()
}

#[test]
fn a_principal_is_one_opaque_string() {
    let (ca, host, address) = keys();
    let cas = [ca.public().clone()];
    check(&with_principals(&ca, &host, &["web1.acme"]), &address, &host, 7, &cas).unwrap();
    let lists: [&[&str]; 7] = [
        &[],
        &[""],
        &["web1.acme,web2.acme"],
        &["web1.acme\0"],
        &["web1.acme", "web1.acme"],
        &["*.acme"],
        &["WEB1.acme"],
    ];
    for principals in lists {
        let refused = check(&with_principals(&ca, &host, principals), &address, &host, 7, &cas);
        assert!(refused.is_err(), "{principals:?}");
    }
}

#[test]
fn no_changed_byte_of_a_certificate_is_accepted() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let (ca, host, address) = keys();
    let line = certify(&ca, &host, &["-h", "-n", "web1.acme", "-z", "7"]);
    let words: Vec<&str> = line.split_whitespace().collect();
    let blob = STANDARD.decode(words[1]).unwrap();
    for at in 0..blob.len() {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        let line = format!("{} {}", words[0], STANDARD.encode(changed));
        assert!(check(&line, &address, &host, 7, &[ca.public().clone()]).is_err(), "byte {at}");
    }
}

#[test]
fn what_a_ca_signs_for_us_is_a_certificate_that_stock_tools_read() {
    let (_, host, address) = keys();
    let ca = PrivateKey::generate_ed25519("ca").unwrap();
    let unsigned = to_sign(&address, &host, 7, ca.public(), &[5; 32]);
    let mut builder = Builder::new([5; 32], host.as_ssh().key_data().clone(), 0, FOREVER).unwrap();
    builder.serial(7).unwrap().cert_type(CertType::Host).unwrap();
    builder.key_id("web1.acme").unwrap().valid_principal("web1.acme").unwrap();
    let reference = builder.sign(ca.as_ssh()).unwrap();
    let line = assemble(&unsigned, &Vec::<u8>::try_from(reference.signature().clone()).unwrap()).unwrap();
    assert_eq!(line, reference.to_openssh().unwrap());
    assert_eq!(check(&line, &address, &host, 7, &[ca.public().clone()]).unwrap().nonce(), [5; 32]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key-cert.pub"), &line).unwrap();
    let shown = Command::new("ssh-keygen").current_dir(&folder).args(["-L", "-f", "key-cert.pub"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for part in ["host certificate", "Serial: 7", "Valid: forever", "web1.acme"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_signature_of_something_else_makes_no_certificate() {
    let (ca, host, address) = keys();
    let unsigned = to_sign(&address, &host, 7, ca.public(), &[5; 32]);
    assert!(assemble(&unsigned, b"no signature").is_err());
    assert!(assemble(b"", b"").is_err());
}
