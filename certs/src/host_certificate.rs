//! The OpenSSH host certificate by which stock `ssh` knows a device: what has to be true of it before it is served.
//!
//! Not here: the device record that goes with it (`device`); no key is used here: whoever holds the device CA signs what
//! [`to_sign`] gives, or runs `ssh-keygen -s`.

use crate::{
    invalid::{Fault, Invalid, malformed},
    keys::PublicKey,
    limits::DOCUMENT_BYTES_MAX,
    names::DeviceAddress,
    sshsig::check_algorithm,
};
use ssh_key::{Certificate, public::KeyData};

/// `valid_before` of a certificate that never expires (PROTOCOL.certkeys).
const FOREVER: u64 = u64::MAX;
/// The type of a host certificate (PROTOCOL.certkeys).
const HOST_TYPE: u32 = 2;

/// Checks one certificate line, as in a `-cert.pub` file, against the device's record and the policy's device CAs.
///
/// It must be a host certificate for `host_key` with `serial`, for exactly the principal `address`, without critical
/// options, valid for ever (the policy revokes serials), and signed by a plain key of `ca`.
///
/// # Errors
/// With the first of these that is not true.
pub fn check(
    certificate_line: &str,
    address: &DeviceAddress,
    host_key: &PublicKey,
    serial: u64,
    ca: &[PublicKey],
) -> Result<Certificate, Invalid> {
    let checked = read(certificate_line).and_then(|certificate| {
        check_subject(&certificate, address, host_key, serial)?;
        check_validity(&certificate)?;
        check_signature(&certificate, ca)?;
        Ok(certificate)
    });
    checked.map_err(|invalid| invalid.of(format!("the host certificate of {address}")))
}

/// What the device CA signs to certify `host_key` (PROTOCOL.certkeys): a host certificate with `serial` for exactly the
/// principal `address`, valid for ever. `nonce` is random, so that nobody can choose what the CA signs.
pub fn to_sign(
    address: &DeviceAddress,
    host_key: &PublicKey,
    serial: u64,
    ca: &PublicKey,
    nonce: &[u8; 32],
) -> Vec<u8> {
    let blob = host_key.blob();
    // A key's blob is its algorithm's name and its fields; a certificate has its own name, and the nonce, before them.
    let name = host_key.as_ssh().algorithm().to_certificate_type();
    let fields = blob.get(4 + host_key.as_ssh().algorithm().as_str().len()..).unwrap_or_default();
    let principal = address.to_string();
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, name.as_bytes());
    put(&mut bytes, nonce);
    bytes.extend_from_slice(fields);
    bytes.extend_from_slice(&serial.to_be_bytes());
    bytes.extend_from_slice(&HOST_TYPE.to_be_bytes());
    put(&mut bytes, principal.as_bytes());
    let mut principals = Vec::new();
    put(&mut principals, principal.as_bytes());
    put(&mut bytes, &principals);
    bytes.extend_from_slice(&0_u64.to_be_bytes());
    bytes.extend_from_slice(&FOREVER.to_be_bytes());
    // Critical options, extensions, reserved: none.
    for _ in 0..3 {
        put(&mut bytes, b"");
    }
    put(&mut bytes, &ca.blob());
    bytes
}

/// The certificate line of what [`to_sign`] gave and the CA's signature blob over it. See [`check`] for whether it counts.
///
/// # Errors
/// When the two do not make a certificate.
pub fn assemble(to_sign: &[u8], signature: &[u8]) -> Result<String, Invalid> {
    let mut bytes = to_sign.to_vec();
    put(&mut bytes, signature);
    let unread = |error: ssh_key::Error| malformed(format!("the device CA's signature makes no certificate ({error})"));
    Certificate::from_bytes(&bytes).and_then(|certificate| certificate.to_openssh()).map_err(unread)
}

/// A `string` of RFC 4251.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn read(line: &str) -> Result<Certificate, Invalid> {
    let line = line.trim();
    if line.len() > DOCUMENT_BYTES_MAX {
        let sentence = format!("has {} bytes, over the limit of {DOCUMENT_BYTES_MAX}", line.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    if line.chars().any(char::is_control) {
        return Err(malformed("must be one line"));
    }
    Certificate::from_openssh(line).map_err(|error| {
        malformed(format!("does not read ({error}): give the -cert.pub file that `ssh-keygen -s` wrote"))
    })
}

fn check_subject(
    certificate: &Certificate,
    address: &DeviceAddress,
    host_key: &PublicKey,
    serial: u64,
) -> Result<(), Invalid> {
    if !certificate.cert_type().is_host() {
        return Err(malformed("is a user certificate: make it with `ssh-keygen -h`"));
    }
    if certificate.public_key() != host_key.as_ssh().key_data() {
        return Err(mismatch("is for another key than the device's host key"));
    }
    if certificate.serial() != serial {
        return Err(mismatch(format!("has serial {}, but the device record has {serial}", certificate.serial())));
    }
    // Compared as one opaque string: an empty list would be good for every name, and a comma is no separator here.
    match certificate.valid_principals() {
        [only] if *only == address.to_string() => Ok(()),
        [] => Err(malformed(format!("has no principal and would be good for every host: use `-n {address}`"))),
        [other] => Err(mismatch(format!("is for {other:?}: use `-n {address}`"))),
        more => Err(malformed(format!("has {} principals, but one is wanted: use `-n {address}`", more.len()))),
    }
}

fn check_validity(certificate: &Certificate) -> Result<(), Invalid> {
    if let Some(option) = certificate.critical_options().keys().next() {
        return Err(malformed(format!("has the critical option {option:?}, which host certificates do not have")));
    }
    if certificate.valid_after() != 0 || certificate.valid_before() != FOREVER {
        return Err(malformed("has an expiry, but the policy revokes serials instead: make it without `-V`"));
    }
    Ok(())
}

fn check_signature(certificate: &Certificate, ca: &[PublicKey]) -> Result<(), Invalid> {
    let signer = certificate.signature_key();
    if matches!(signer, KeyData::Certificate(_)) {
        return Err(malformed("is signed by a certificate, but a device CA is a plain key"));
    }
    let known = ca.iter().find(|key| key.as_ssh().key_data() == signer).ok_or_else(|| {
        let fingerprint = signer.fingerprint(ssh_key::HashAlg::Sha256);
        Invalid::new(
            Fault::WrongSigner,
            format!("is signed by {fingerprint}, which the policy does not name in [devices] ca"),
        )
    })?;
    check_algorithm(known.as_ssh().key_data(), certificate.signature())?;
    let fingerprint = known.as_ssh().fingerprint(ssh_key::HashAlg::Sha256);
    certificate
        .validate_at(0, [&fingerprint])
        .map_err(|_| Invalid::new(Fault::BadSignature, "was changed after the device CA signed it"))
}

fn mismatch(sentence: impl Into<String>) -> Invalid {
    Invalid::new(Fault::Mismatch, sentence)
}

#[cfg(test)]
pub(crate) mod tests;
