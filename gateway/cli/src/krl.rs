//! The list of revoked host certificates that stock ssh reads (`RevokedHostKeys`), in OpenSSH's own binary form
//! (PROTOCOL.krl): serials, by the device CA that signed them. Pure.
//!
//! A policy revokes serials and knows no host keys, so lines in known hosts could not say it.

use belay_certs::PublicKey;

/// The first bytes of the file.
const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
/// Its form.
const FORMAT: u32 = 1;
/// KRL_SECTION_CERTIFICATES.
const CERTIFICATES: u8 = 1;
/// KRL_SECTION_CERT_SERIAL_LIST.
const SERIALS: u8 = 0x20;

/// The list that revokes these serials of each of these CAs. Sorted and without repetition: ssh wants it so, and the same
/// policy gives the same bytes. One tenant's serials make one list, and ssh reads it for that tenant's devices only: another
/// tenant's policy may name the same key (P3).
pub fn write(ca: &[PublicKey], serials: &[u64]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT.to_be_bytes());
    // Version, date and flags: nobody compares two of ours, the file is written whole.
    out.extend_from_slice(&[0; 24]);
    put(&mut out, b"");
    put(&mut out, b"belay");
    let mut serials = serials.to_vec();
    serials.sort_unstable();
    serials.dedup();
    if serials.is_empty() {
        return out;
    }
    let list: Vec<u8> = serials.iter().flat_map(|serial| serial.to_be_bytes()).collect();
    for key in ca {
        let mut section = Vec::new();
        put(&mut section, &key.blob());
        put(&mut section, b"");
        section.push(SERIALS);
        put(&mut section, &list);
        out.push(CERTIFICATES);
        put(&mut out, &section);
    }
    out
}

/// A `string` of RFC 4251.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keygen;
    use std::{
        fs,
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    fn key(dir: &Path, name: &str) -> (PathBuf, PublicKey) {
        let path = dir.join(name);
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).stdin(Stdio::null());
        assert!(make.status().unwrap().success());
        (path.clone(), keygen::public(&path).unwrap())
    }

    #[test]
    fn ssh_keygen_reads_the_list_and_finds_exactly_what_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let ((one, one_key), (two, two_key)) = (key(dir.path(), "one"), key(dir.path(), "two"));
        let (_, host) = key(dir.path(), "host");
        let krl = dir.path().join("krl");
        let is_revoked = |ca: &Path, serial: u64| {
            let line = keygen::certify(ca, &"web1.acme".parse().unwrap(), &host, serial).unwrap();
            let file = dir.path().join("asked-cert.pub");
            fs::write(&file, line).unwrap();
            let asked = Command::new("ssh-keygen").args(["-Q", "-f"]).arg(&krl).arg(&file).output().unwrap();
            let text = String::from_utf8_lossy(&asked.stdout).into_owned();
            assert!(text.contains("ok") || text.contains("REVOKED"), "{text} {asked:?}");
            text.contains("REVOKED")
        };
        fs::write(&krl, write(&[one_key.clone(), two_key], &[9, 3, 9])).unwrap();
        let cases = [(&one, 3), (&one, 9), (&two, 3), (&one, 4), (&two, 8)];
        assert_eq!(cases.map(|(ca, serial)| is_revoked(ca, serial)), [true, true, true, false, false]);
        let key = [one_key];
        fs::write(&krl, write(&key, &[4])).unwrap();
        assert_eq!([(&one, 4), (&two, 4)].map(|(ca, serial)| is_revoked(ca, serial)), [true, false]);
        // Nothing revoked is a list too: ssh refuses every host when the file is no list.
        fs::write(&krl, write(&key, &[])).unwrap();
        assert!(!is_revoked(&one, 4));
    }
}
