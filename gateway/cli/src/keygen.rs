//! Makes keys, signatures and host certificates with the person's own `ssh-keygen`.
//!
//! Private keys never enter this process: a file, an ssh-agent or a FIDO token keeps them.

use crate::{
    failure::{Outcome, While, refused, usage},
    home::{read_text, write_new},
};
use belay_certs::{DeviceAddress, Namespace, PublicKey, host_certificate, sshsig};
use std::{
    ffi::OsStr,
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Longest output of ssh-keygen, in bytes: a signature or a public key.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// Makes an Ed25519 key pair `path` and `path.pub`. On a terminal ssh-keygen asks for a passphrase, else there is none.
///
/// # Errors
/// A file is in the way, or ssh-keygen fails.
pub fn generate(path: &Path, comment: &str) -> Outcome<PublicKey> {
    if path.exists() {
        return Err(refused(format!("{} exists: keys are never overwritten", path.display())));
    }
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-C", comment, "-f"]).arg(path);
    if std::io::stdin().is_terminal() {
        crate::screen::note(&format!("a passphrase for {} ({comment}):", path.display()));
    } else {
        command.args(["-N", ""]).stdin(Stdio::null());
    }
    let status = command.stdout(Stdio::null()).status().during(|| "cannot start ssh-keygen".to_owned())?;
    if !status.success() {
        return Err(refused(format!("ssh-keygen made no key at {}", path.display())));
    }
    public(path)
}

/// The public half of a key file: of itself, of the `.pub` beside it, or from the private key by `ssh-keygen -y`.
///
/// # Errors
/// Neither is there, or it is no key that Belay accepts.
pub fn public(path: &Path) -> Outcome<PublicKey> {
    let beside = public_path(path);
    let text = if beside.exists() {
        read_text(&beside)?
    } else if path.exists() {
        let mut command = Command::new("ssh-keygen");
        command.arg("-y").arg("-f").arg(path);
        output(&mut command, &[], "read the public half of the key")?
    } else {
        return Err(usage(format!("there is no key at {}", path.display())));
    };
    PublicKey::parse(text.trim()).map_err(|invalid| invalid.of(path.display()).into())
}

fn public_path(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "pub") {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Signs exactly these bytes with the key at `key`, and checks the signature before anybody else has to.
///
/// # Errors
/// ssh-keygen fails, or its signature is not one that Belay accepts.
pub fn sign(key: &Path, namespace: Namespace, bytes: &[u8]) -> Outcome<String> {
    sign_by(Command::new("ssh-keygen"), key, namespace, bytes)
}

/// As [`sign`], with a key that the ssh-agent at `socket` holds: `key` is its public half.
///
/// # Errors
/// As [`sign`].
pub fn sign_through(socket: &OsStr, key: &Path, namespace: Namespace, bytes: &[u8]) -> Outcome<String> {
    let mut command = Command::new("ssh-keygen");
    command.env("SSH_AUTH_SOCK", socket);
    sign_by(command, key, namespace, bytes)
}

fn sign_by(mut command: Command, key: &Path, namespace: Namespace, bytes: &[u8]) -> Outcome<String> {
    command.args(["-Y", "sign", "-n", namespace.as_str(), "-f"]).arg(key);
    let armored = output(&mut command, bytes, "sign")?;
    sshsig::verify(namespace, bytes, &armored)
        .map_err(|invalid| invalid.of(format!("the signature by {}", key.display())))?;
    Ok(armored)
}

/// Certifies a device's host key with the device CA: exactly one principal, no expiry; checked before it is given back.
///
/// `ca` may be the `.pub` of a CA that an ssh-agent holds.
///
/// # Errors
/// ssh-keygen fails, or the certificate is not what was asked for.
pub fn certify(ca: &Path, address: &DeviceAddress, host_key: &PublicKey, serial: u64) -> Outcome<String> {
    let dir = tempfile::tempdir().during(|| "cannot make a temporary directory".to_owned())?;
    let file = dir.path().join("host_key.pub");
    write_new(&file, format!("{}\n", host_key.line()).as_bytes(), 0o600)?;
    let name = address.to_string();
    let mut command = Command::new("ssh-keygen");
    command.arg("-q");
    if ca.extension().is_some_and(|extension| extension == "pub") {
        command.arg("-U");
    }
    command.arg("-s").arg(ca).args(["-h", "-I", &name, "-n", &name, "-z", &serial.to_string()]).arg(&file);
    output(&mut command, &[], "certify the host key")?;
    let certificate = read_text(&dir.path().join("host_key-cert.pub"))?.trim().to_owned();
    host_certificate::check(&certificate, address, host_key, serial, &[public(ca)?])?;
    Ok(certificate)
}

/// Runs ssh-keygen with this input. Its messages go to the person: it may ask for a passphrase or a touch.
fn output(command: &mut Command, input: &[u8], doing: &str) -> Outcome<String> {
    let broken = || format!("cannot {doing} with ssh-keygen");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().during(broken)?;
    // All input goes in before any output is read: ssh-keygen reads its input to the end before it writes.
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(input);
    }
    let mut text = String::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(OUTPUT_BYTES_MAX).read_to_string(&mut text).during(broken)?;
    }
    if !child.wait().during(broken)?.success() {
        return Err(refused(format!("ssh-keygen did not {doing}; its own message is above")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dir: &Path, name: &str) -> (PathBuf, PublicKey) {
        let path = dir.join(name);
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        (path.clone(), public(&path).unwrap())
    }

    #[test]
    fn what_ssh_keygen_signs_verifies_under_its_namespace_only() {
        let dir = tempfile::tempdir().unwrap();
        let (path, public_key) = key(dir.path(), "me");
        let armored = sign(&path, Namespace::Device, b"the bytes\n").unwrap();
        assert_eq!(sshsig::verify(Namespace::Device, b"the bytes\n", &armored).unwrap(), public_key);
        assert!(sshsig::verify(Namespace::Token, b"the bytes\n", &armored).is_err());
    }

    #[test]
    fn a_public_key_is_found_from_either_half() {
        let dir = tempfile::tempdir().unwrap();
        let (path, public_key) = key(dir.path(), "me");
        assert_eq!(public(&dir.path().join("me.pub")).unwrap(), public_key);
        std::fs::remove_file(dir.path().join("me.pub")).unwrap();
        assert_eq!(public(&path).unwrap(), public_key);
        assert_eq!(public(&dir.path().join("nobody")).unwrap_err().status(), 2);
    }

    #[test]
    fn a_host_certificate_has_one_principal_and_the_serial_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, ca_key) = key(dir.path(), "ca");
        let (_, host_key) = key(dir.path(), "host");
        let address: DeviceAddress = "web1.acme".parse().unwrap();
        let line = certify(&ca, &address, &host_key, 7).unwrap();
        host_certificate::check(&line, &address, &host_key, 7, &[ca_key]).unwrap();
        assert!(generate(&ca, "again").unwrap_err().sentence().contains("never overwritten"));
    }
}
