//! Ed25519 public keys under which anybody can sign: the points whose order divides 8.
//!
//! Their owner could deny every signature, and a relay could log in as them. RFC 8032 does not forbid them, so verifiers accept them.

use crate::digest::hex;
use ssh_key::public::Ed25519PublicKey;

/// The `y` coordinates of those points as they are encoded, in hex: five, and `p` and `p + 1`, which decoders take for 0 and 1.
const Y_COORDINATES: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];
/// The top bit of the last byte is the sign of `x`, and no part of `y` (RFC 8032 section 5.1.2).
const SIGN: u8 = 0x80;

/// Whether the key is one of them.
pub(super) fn is_small_order(key: &Ed25519PublicKey) -> bool {
    let mut y = key.0;
    if let Some(last) = y.last_mut() {
        *last &= !SIGN;
    }
    Y_COORDINATES.contains(&hex(&y).as_str())
}

#[cfg(test)]
mod tests {
    use crate::{
        PublicKey,
        digest::unhex,
        sshsig::{Namespace, verify},
    };
    use ssh_key::{
        Algorithm, HashAlg, LineEnding, Signature, SshSig,
        public::{Ed25519PublicKey, KeyData, SkEd25519},
    };

    #[test]
    fn keys_under_which_anybody_can_sign_are_refused() {
        for y in super::Y_COORDINATES {
            for sign in [0, super::SIGN] {
                let mut bytes: [u8; 32] = unhex(y).unwrap();
                bytes[31] |= sign;
                let plain = KeyData::from(Ed25519PublicKey(bytes));
                let fido = KeyData::from(SkEd25519::new(Ed25519PublicKey(bytes), "ssh:"));
                for data in [plain, fido] {
                    let line = ssh_key::PublicKey::from(data).to_openssh().unwrap();
                    assert!(PublicKey::parse(&line).unwrap_err().sentence.contains("anybody can sign"), "{line}");
                }
            }
        }
    }

    /// Why the rule is there: one signature, made without any private key, fits every text.
    #[test]
    fn a_signature_made_without_a_private_key_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let data = KeyData::from(Ed25519PublicKey(identity));
        let raw = [identity, [0; 32]].concat();
        let forged = Signature::new(Algorithm::Ed25519, raw).unwrap();
        let forged = SshSig::new(data.clone(), Namespace::Policy.as_str(), HashAlg::Sha512, forged).unwrap();
        for text in [b"one".as_slice(), b"two"] {
            let key = ssh_key::PublicKey::from(data.clone());
            assert!(key.verify(Namespace::Policy.as_str(), text, &forged).is_ok(), "the ssh-key crate takes it");
            assert!(verify(Namespace::Policy, text, &forged.to_pem(LineEnding::LF).unwrap()).is_err());
        }
    }
}
