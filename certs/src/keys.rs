//! SSH keys: the public keys of persons, roots, CAs and hosts, and the unencrypted Ed25519 keys that Belay makes itself.
//!
//! Not here: signatures (`sshsig`), certificates (`host_certificate`), whose key it is (`policy`).

mod small_order;

use crate::limits::{KEY_LINE_BYTES_MAX, PRIVATE_KEY_BYTES_MAX, RSA_BITS_MAX};
use crate::{
    digest::{random, serde_as_text},
    invalid::{Fault, Invalid, malformed},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use small_order::is_small_order;
use ssh_key::{
    Algorithm, HashAlg, LineEnding,
    private::Ed25519Keypair,
    public::{Ed25519PublicKey, KeyData, RsaPublicKey},
};
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

/// Shortest RSA modulus, in bits: 128-bit security (NIST SP 800-57).
const RSA_BITS_MIN: usize = 3072;
/// The first byte of an uncompressed SEC1 point, the only form that OpenSSH writes: so one key has one encoding, and nobody
/// counts as two by spelling theirs twice.
const POINT_UNCOMPRESSED: u8 = 4;

/// A plain SSH public key; two are equal when the key is, whatever the comment.
///
/// Ed25519, ECDSA on P-256, P-384 and P-521, RSA of 3072 to 8192 bits, and both FIDO (`sk-`) kinds.
#[derive(Clone)]
pub struct PublicKey {
    /// The key in the form the `ssh-key` crate computes with; its comment is one line of visible text.
    key: ssh_key::PublicKey,
    /// The SSH wire encoding: what makes two keys equal.
    blob: Vec<u8>,
}

impl PublicKey {
    /// Reads one line, `TYPE BASE64 [COMMENT]`, as in a `.pub` file.
    ///
    /// # Errors
    /// When it is not one key of a kind that Belay accepts: certificates, DSA, short RSA and options in front are refused.
    pub fn parse(line: &str) -> Result<Self, Invalid> {
        let line = line.trim();
        if line.len() > KEY_LINE_BYTES_MAX {
            return Err(Invalid::new(
                Fault::TooLarge,
                format!("a public key of {} bytes is over the limit of {KEY_LINE_BYTES_MAX}", line.len()),
            ));
        }
        if !is_visible(line) {
            return Err(malformed("a public key must be one line without control or hidden characters"));
        }
        let kind = line.split(' ').next().unwrap_or_default();
        check_kind(kind)?;
        let key = ssh_key::PublicKey::from_openssh(line)
            .map_err(|error| malformed(format!("the {kind} key does not read ({error}): copy the whole line again")))?;
        Self::from_ssh(&key)
    }

    /// Takes a key from the `ssh-key` crate; a comment that is not one line of visible text is left away.
    ///
    /// # Errors
    /// When it is not of a kind that Belay accepts.
    pub fn from_ssh(key: &ssh_key::PublicKey) -> Result<Self, Invalid> {
        check_strength(key.key_data())?;
        let comment = key.comment().as_str().ok().map(str::trim).filter(|comment| is_visible(comment));
        let key = ssh_key::PublicKey::new(key.key_data().clone(), comment.unwrap_or_default());
        let blob = key.to_bytes().map_err(|error| malformed(format!("the public key does not encode: {error}")))?;
        Ok(Self { key, blob })
    }

    /// The key for the `ssh-key` and `russh` crates.
    pub fn as_ssh(&self) -> &ssh_key::PublicKey {
        &self.key
    }

    /// The comment, empty when there is none.
    pub fn comment(&self) -> &str {
        self.key.comment().as_str_lossy()
    }

    /// One line as in a `.pub` file, with the comment, without a line end.
    pub fn line(&self) -> String {
        let comment = self.comment();
        let gap = if comment.is_empty() { "" } else { " " };
        format!("{} {}{gap}{comment}", self.key.algorithm(), STANDARD.encode(&self.blob))
    }

    /// `SHA256:…` as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The SSH wire encoding (RFC 4253 section 6.6).
    pub fn blob(&self) -> Vec<u8> {
        self.blob.clone()
    }
}

/// No control characters and none that hide or reorder what follows them on a screen.
fn is_visible(text: &str) -> bool {
    let hides =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !text.chars().any(|c| c.is_control() || hides(c))
}

/// Says what is wrong with a first word that is no accepted key type, before anything is decoded.
fn check_kind(kind: &str) -> Result<(), Invalid> {
    match Algorithm::new(kind) {
        Ok(Algorithm::Ed25519 | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256) => Ok(()),
        Ok(Algorithm::Ecdsa { .. } | Algorithm::Rsa { hash: None }) => Ok(()),
        Ok(Algorithm::Dsa) => Err(malformed("DSA keys are broken and refused: make one with `ssh-keygen -t ed25519`")),
        Ok(_) | Err(_) if kind.contains("-cert-v01@") => Err(malformed(
            "this is a certificate, but a plain public key is wanted: give the .pub file it was made from",
        )),
        Ok(_) | Err(_) => Err(malformed(format!(
            "{kind:?} is not a key type that Belay takes: write TYPE BASE64 COMMENT without options in front"
        ))),
    }
}

fn check_strength(data: &KeyData) -> Result<(), Invalid> {
    match data {
        KeyData::Ed25519(key) => check_ed25519(key),
        KeyData::SkEd25519(key) => check_ed25519(key.public_key()),
        KeyData::Ecdsa(key) => check_point(key.as_sec1_bytes()),
        KeyData::SkEcdsaSha2NistP256(key) => check_point(key.ec_point().as_bytes()),
        KeyData::Rsa(key) => check_rsa(key),
        KeyData::Certificate(_) => Err(malformed("a certificate stands where a plain public key is wanted")),
        other => check_kind(other.algorithm().as_str()),
    }
}

fn check_point(point: &[u8]) -> Result<(), Invalid> {
    match point.first() {
        Some(&POINT_UNCOMPRESSED) => Ok(()),
        Some(_) | None => Err(malformed("the ecdsa key's point is compressed: export the key again with `ssh-keygen`")),
    }
}

fn check_ed25519(key: &Ed25519PublicKey) -> Result<(), Invalid> {
    if is_small_order(key) {
        return Err(malformed("this ed25519 key is one under which anybody can sign: make one with `ssh-keygen`"));
    }
    Ok(())
}

fn check_rsa(key: &RsaPublicKey) -> Result<(), Invalid> {
    // Under an exponent of 1 anybody can sign, and none is even.
    let exponent = key.e().as_positive_bytes().unwrap_or_default();
    if exponent == [1] || exponent.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(malformed("this RSA key's public exponent is 1 or even: make a key with `ssh-keygen -t ed25519`"));
    }
    let modulus = key.n().as_positive_bytes().unwrap_or_default();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(unused);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(malformed(format!(
            "an RSA key of {bits} bits is refused: it must have {RSA_BITS_MIN} to {RSA_BITS_MAX}; better use ed25519"
        )));
    }
    Ok(())
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.blob == other.blob
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.blob.cmp(&other.blob)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.blob.hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl FromStr for PublicKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

serde_as_text!(PublicKey);

/// An unencrypted Ed25519 private key that Belay made: a device's host key, a token's join key.
///
/// Persons' private keys are never here: they stay with `ssh-keygen` and the ssh-agent.
#[derive(Clone)]
pub struct PrivateKey {
    /// The key pair; zeroed when dropped.
    key: ssh_key::PrivateKey,
    /// Its public half.
    public: PublicKey,
}

impl PrivateKey {
    /// A fresh key from the system's random source.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate_ed25519(comment: &str) -> Result<Self, Invalid> {
        let mut key = ssh_key::PrivateKey::from(Ed25519Keypair::from_seed(&random()?));
        key.set_comment(comment);
        Self::from_pair(key)
    }

    /// Reads an OpenSSH private-key file (`-----BEGIN OPENSSH PRIVATE KEY-----`).
    ///
    /// # Errors
    /// When it is not one, is protected by a passphrase, or is not Ed25519.
    pub fn from_openssh(pem: &str) -> Result<Self, Invalid> {
        if pem.len() > PRIVATE_KEY_BYTES_MAX {
            return Err(Invalid::new(
                Fault::TooLarge,
                format!("a private key of {} bytes is over the limit of {PRIVATE_KEY_BYTES_MAX}", pem.len()),
            ));
        }
        let key = ssh_key::PrivateKey::from_openssh(pem)
            .map_err(|error| malformed(format!("the private key does not read: {error}")))?;
        if key.is_encrypted() {
            return Err(malformed("the private key has a passphrase, but nobody is there to type it: use one without"));
        }
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(malformed(format!(
                "the private key is {}, but only ssh-ed25519 is used here",
                key.algorithm()
            )));
        }
        Self::from_pair(key)
    }

    /// The OpenSSH private-key file. It is a secret: the caller writes it for its owner's eyes only.
    ///
    /// # Errors
    /// When the key does not encode, which no Ed25519 key does.
    pub fn to_openssh(&self) -> Result<String, Invalid> {
        let pem = self.key.to_openssh(LineEnding::LF);
        pem.map(|pem| pem.to_string()).map_err(|error| malformed(format!("the private key does not encode: {error}")))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key for the `ssh-key` and `russh` crates.
    pub fn as_ssh(&self) -> &ssh_key::PrivateKey {
        &self.key
    }

    fn from_pair(key: ssh_key::PrivateKey) -> Result<Self, Invalid> {
        let public = PublicKey::from_ssh(key.public_key())?;
        Ok(Self { key, public })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the private key of {}", self.public.fingerprint())
    }
}

#[cfg(test)]
mod tests;
