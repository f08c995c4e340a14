//! OpenSSH signatures over exact bytes (PROTOCOL.sshsig), made and verified in process, and the form every signed text has.
//!
//! Not here: who may sign what (`policy`, `token`, `device`), nor the documents themselves.

pub(crate) mod document;

use crate::{
    invalid::{Fault, Invalid, malformed},
    keys::{PrivateKey, PublicKey},
    limits::SIGNATURE_BYTES_MAX,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ssh_key::{
    Algorithm, HashAlg, LineEnding, Signature, SshSig,
    encoding::{Decode, Encode},
    public::KeyData,
};
use std::fmt;

/// The first line of an armoured signature; nothing may stand in front of it.
const ARMOUR: &str = "-----BEGIN SSH SIGNATURE-----";
/// Its last line, at the start of a line.
const ARMOUR_END: &str = "\n-----END SSH SIGNATURE-----";
/// Bytes after the signature proper in a FIDO signature: flags (1) and counter (4) (PROTOCOL.u2f).
const FIDO_TRAILER_BYTES: usize = 5;
/// The flag that says a person touched the FIDO key (PROTOCOL.u2f).
const USER_PRESENT: u8 = 1;

/// What a signature is for; one made for another purpose never verifies here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A tenant's policy.
    Policy,
    /// A token to join devices.
    Token,
    /// A device's request to join.
    Join,
    /// A device's request for a transport certificate.
    Renewal,
    /// An approved batch of device records.
    Device,
    /// What a device says it does or did.
    Statement,
    /// A runbook.
    Runbook,
    /// An order to run one.
    Order,
    /// A chunk of a session's recording.
    Recording,
}

impl Namespace {
    /// The text for `ssh-keygen -Y sign -n`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy.v1@belay",
            Self::Token => "token.v1@belay",
            Self::Join => "join.v1@belay",
            Self::Renewal => "renewal.v1@belay",
            Self::Device => "device.v1@belay",
            Self::Statement => "statement.v1@belay",
            Self::Runbook => "runbook.v1@belay",
            Self::Order => "order.v1@belay",
            Self::Recording => "recording.v1@belay",
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signed document: exactly the bytes that were signed, never re-serialised, and the signatures beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bytes that were signed.
    pub bytes: Vec<u8>,
    /// Armoured signatures, one each, as `ssh-keygen -Y sign` writes them.
    pub signatures: Vec<String>,
}

impl Signed {
    /// Verifies a document that must carry exactly one signature and returns the key that made it.
    ///
    /// # Errors
    /// When there is none or more than one, or it does not verify.
    pub fn only_signer(&self, namespace: Namespace) -> Result<PublicKey, Invalid> {
        match self.signatures.as_slice() {
            [only] => verify(namespace, &self.bytes, only),
            [] => Err(Invalid::new(Fault::Unsigned, format!("there is no signature for {namespace}"))),
            more => Err(malformed(format!("there are {} signatures where one is wanted", more.len()))),
        }
    }
}

/// The bytes of a signed text as text, if they are of the one form that is signed the same everywhere.
///
/// # Errors
/// When there are more than `bytes_max`, or a CR, a byte order mark, UTF-16, a NUL or anything else that is not UTF-8.
pub fn text(bytes: &[u8], bytes_max: usize) -> Result<&str, Invalid> {
    if bytes.len() > bytes_max {
        let sentence = format!("has {} bytes, over the limit of {bytes_max}", bytes.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(malformed("is UTF-16: save it as UTF-8"));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(malformed("starts with a byte order mark: save it as UTF-8 without BOM"));
    }
    if let Some(line) = line_of(bytes, 0) {
        return Err(malformed(format!("has a NUL at line {line}, or is UTF-16: save it as UTF-8")));
    }
    if let Some(line) = line_of(bytes, b'\r') {
        return Err(malformed(format!("has a CR at line {line}: save it with Unix line ends")));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let line = line_number(bytes, error.valid_up_to());
        malformed(format!("is not UTF-8 at line {line}: save it as UTF-8"))
    })
}

fn line_of(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted).map(|offset| line_number(bytes, offset))
}

/// The 1-based line that the byte at `offset` is on.
fn line_number(bytes: &[u8], offset: usize) -> usize {
    1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Verifies one armoured signature over `bytes` and returns the key that made it, without a comment.
///
/// # Errors
/// When it is not one, is for another namespace, by a certificate, a weak or an unknown kind of key, by a FIDO key that
/// nobody touched, or does not fit the bytes.
pub fn verify(namespace: Namespace, bytes: &[u8], armored: &str) -> Result<PublicKey, Invalid> {
    verify_for(namespace.as_str(), bytes, armored)
}

fn verify_for(namespace: &str, bytes: &[u8], armored: &str) -> Result<PublicKey, Invalid> {
    let signature = read(armored)?;
    if signature.namespace() != namespace {
        return Err(Invalid::new(
            Fault::BadSignature,
            format!(
                "the signature is for {:?}, not for {namespace}: sign with `ssh-keygen -Y sign -n {namespace}`",
                signature.namespace()
            ),
        ));
    }
    let key = PublicKey::from_ssh(&ssh_key::PublicKey::from(signature.public_key().clone()))
        .map_err(|invalid| invalid.of("the signer's key"))?;
    check_algorithm(signature.public_key(), signature.signature())?;
    key.as_ssh().verify(namespace, bytes, &signature).map_err(|_| {
        Invalid::new(
            Fault::BadSignature,
            format!("the signature by {} does not fit: the text or the signature was changed", key.fingerprint()),
        )
    })?;
    Ok(key)
}

fn read(armored: &str) -> Result<SshSig, Invalid> {
    if armored.len() > SIGNATURE_BYTES_MAX {
        let sentence = format!("a signature of {} bytes is over the limit of {SIGNATURE_BYTES_MAX}", armored.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    let Some(rest) = armored.strip_prefix(ARMOUR) else {
        return Err(malformed(format!(
            "the signature does not start with {ARMOUR:?}: give what `ssh-keygen -Y sign` wrote"
        )));
    };
    // As ssh-keygen reads it: lines of any length. It passes over what stands behind the last line; we do not, for who keeps
    // signatures one behind the other would read that as more of them.
    let (lines, behind) =
        rest.split_once(ARMOUR_END).ok_or_else(|| malformed("the signature is cut off: it has no end"))?;
    if behind.bytes().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(malformed(
            "the signature has something behind its last line: give what `ssh-keygen -Y sign` wrote",
        ));
    }
    let base64: String = lines.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let blob = STANDARD.decode(base64).map_err(|_| malformed("the signature does not read: it is not base64"))?;
    let signature = SshSig::decode(&mut blob.as_slice())
        .map_err(|error| malformed(format!("the signature does not read: {error}")))?;
    // The ssh-key crate passes over bytes at the end of each part: only what it would write itself is the signature.
    if signature.encode_vec().ok().as_ref() != Some(&blob) {
        return Err(malformed(
            "the signature has bytes that do not belong to it: give what `ssh-keygen -Y sign` wrote",
        ));
    }
    // Neither number nor reserved part is checked by the ssh-key crate as strictly as PROTOCOL.sshsig has it.
    if signature.version() != SshSig::VERSION || !signature.reserved().is_empty() {
        return Err(malformed("the signature is of a version that Belay does not know"));
    }
    Ok(signature)
}

/// The signature's algorithm is the key's own, never SHA-1, and a FIDO key was touched.
///
/// The ssh-key crate picks the verifier by the key alone, so a mislabelled signature must be stopped here.
pub(crate) fn check_algorithm(key: &KeyData, signature: &Signature) -> Result<(), Invalid> {
    let fits = match signature.algorithm() {
        Algorithm::Rsa { hash } => hash.is_some() && matches!(key, KeyData::Rsa(_)),
        other => other == key.algorithm(),
    };
    if !fits {
        return Err(Invalid::new(
            Fault::BadSignature,
            format!("a {} signature by a {} key is refused", signature.algorithm(), key.algorithm()),
        ));
    }
    let fido = matches!(key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_));
    let flags = signature.as_bytes().iter().rev().nth(FIDO_TRAILER_BYTES - 1).copied().unwrap_or_default();
    if fido && flags & USER_PRESENT == 0 {
        return Err(Invalid::new(
            Fault::BadSignature,
            "the FIDO key was not touched when it signed: use a key made without `no-touch-required`",
        ));
    }
    Ok(())
}

/// Signs `bytes` for `namespace` and returns the armoured signature, as `ssh-keygen -Y sign` would.
///
/// # Errors
/// When the key cannot sign, which no Ed25519 key does.
pub fn sign(namespace: Namespace, bytes: &[u8], key: &PrivateKey) -> Result<String, Invalid> {
    let signed = key.as_ssh().sign(namespace.as_str(), HashAlg::Sha512, bytes);
    signed
        .and_then(|signature| signature.to_pem(LineEnding::LF))
        .map_err(|error| malformed(format!("nothing was signed with {}: {error}", key.public().fingerprint())))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "sshsig/wire.rs"]
mod wire;
