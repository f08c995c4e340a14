//! Which algorithms the machine's SSH server offers.

use russh::{Preferred, cipher, kex, mac};
use std::borrow::Cow;

/// Hybrid post-quantum first, then X25519; strict key exchange against prefix truncation (Terrapin).
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// AES-GCM only where the CPU has AES: a client's own first choice, chacha20, costs 1.8 times as much there.
///
/// Last is what dropbear's client has beside chacha20. That it also knows chacha20 does not help: before 2024 it has no strict
/// key exchange, and whoever carries the bytes, here the gateway, could cut off a beginning.
const CIPHERS_WITH_AES: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::AES_256_CTR];
const CIPHERS_WITHOUT_AES: &[cipher::Name] =
    &[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::AES_256_CTR];

/// Every cipher but the last brings its own. Dropbear's client knows none that covers the encrypted bytes.
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA256];

/// The offer of this machine.
pub(crate) fn preferred() -> Preferred {
    let ciphers = if has_aes() { CIPHERS_WITH_AES } else { CIPHERS_WITHOUT_AES };
    Preferred {
        kex: Cow::Borrowed(KEY_EXCHANGES),
        cipher: Cow::Borrowed(ciphers),
        mac: Cow::Borrowed(MACS),
        ..Preferred::DEFAULT
    }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
