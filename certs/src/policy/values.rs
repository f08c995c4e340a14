//! Single values that only a policy document has: an endpoint, an origin, a log key, a recipient, a version, days.

use super::forward::{is_host, number};
use crate::invalid::{Invalid, malformed};
use crate::limits::{KEEP_DAYS_MAX, POLICY_LINE_BYTES_MAX};
use crate::tlog::NoteVerifier;
use std::{net::Ipv4Addr, net::Ipv6Addr, str::FromStr};

/// The letters of bech32 (BIP 173), in the order of their values.
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// An age X25519 recipient: `age`, `1`, 52 letters of key and 6 of checksum.
const RECIPIENT_BYTES: usize = 62;
/// The letters of the key.
const RECIPIENT_LETTERS: usize = 52;
/// The seven keys (RFC 7748, their highest bit cleared) with which every secret that is shared is zero: nobody could be made to
/// read by them, and age gives up where one is among its recipients.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    high(0xec),
    high(0xed),
    high(0xee),
];

/// `2^255 - 256 + first`.
const fn high(first: u8) -> [u8; 32] {
    let mut key = [0xff; 32];
    key[0] = first;
    key[31] = 0x7f;
    key
}

macro_rules! checked_text {
    ($($(#[$doc:meta])* $name:ident, $check:expr, $sentence:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(pub(super) String);

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> bool = $check;
                if text.len() > POLICY_LINE_BYTES_MAX || !check(text) {
                    return Err(malformed(format!("{text:?} is not {}", $sentence)));
                }
                Ok(Self(text.to_owned()))
            }
        }
    )*};
}

checked_text! {
    /// Where something listens: a host name, an IPv4 or a bracketed IPv6 address, and a port.
    Endpoint, is_endpoint, "an address: write gw.example:4433, 192.0.2.1:4433 or [2001:db8::1]:4433";
    /// The first line of a log's checkpoints.
    Origin, is_origin, "a log's origin: write it as gw.example/acme, without spaces and '+'";
    /// A signed-note verifier key.
    LogKey, |text| NoteVerifier::parse(text).is_ok(), "a log's key: copy the whole `vkey` from the invite";
    /// An age X25519 recipient, its checksum right.
    Recipient, is_recipient, "an age recipient: copy the whole `age1…` again";
    /// A semantic version.
    AgentVersion, |text| semver::Version::parse(text).is_ok(), "a version: write it as 0.1.0";
}

/// Days, written `400d`.
pub(super) struct Days(pub(super) u32);

impl FromStr for Days {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let days = text.strip_suffix('d').and_then(number).map(u32::from);
        days.filter(|days| (1..=KEEP_DAYS_MAX).contains(days))
            .map(Self)
            .ok_or_else(|| malformed(format!("{text:?} is not a number of days: write 400d, at most {KEEP_DAYS_MAX}d")))
    }
}

fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => is_host(host) || host.parse::<Ipv4Addr>().is_ok(),
    };
    host && number(port).is_some_and(|port| port > 0)
}

fn is_origin(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'+')
}

/// Whether it is an age recipient, in its one spelling, with whom a secret can be shared.
///
/// # Errors
/// When it is not; of a secret key not a letter is repeated.
pub(crate) fn check_recipient(text: &str) -> Result<(), Invalid> {
    if text.trim_start().to_ascii_uppercase().starts_with("AGE-SECRET-KEY") {
        return Err(malformed("that is a secret key: give its public half, `age1…`, and make a new pair"));
    }
    text.parse::<Recipient>().map(drop)
}

fn is_recipient(text: &str) -> bool {
    recipient_key(text).is_some_and(|key| !LOW_ORDER.contains(&key))
}

/// The X25519 key of a recipient.
fn recipient_key(text: &str) -> Option<[u8; 32]> {
    let data = text.strip_prefix("age1").filter(|_| text.len() == RECIPIENT_BYTES)?;
    let values: Vec<u32> = data
        .bytes()
        .map(|byte| BECH32.iter().position(|letter| *letter == byte)?.try_into().ok())
        .collect::<Option<_>>()?;
    // The human-readable part goes in as its high bits, a zero and its low bits.
    let prefix = b"age".iter().map(|b| u32::from(b >> 5)).chain([0]).chain(b"age".iter().map(|b| u32::from(b & 31)));
    if bech32_checksum(prefix.chain(values.iter().copied())) != 1 {
        return None;
    }
    let (mut key, mut held, mut bits) = (Vec::with_capacity(32), 0_u32, 0_u32);
    for value in values.get(..RECIPIENT_LETTERS)? {
        (held, bits) = (held << 5 | value, bits + 5);
        if bits >= 8 {
            bits -= 8;
            key.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    // What fills the last letter is zero.
    if held & ((1 << bits) - 1) != 0 {
        return None;
    }
    let mut key: [u8; 32] = key.try_into().ok()?;
    key[31] &= 0x7f;
    Some(key)
}

/// The BIP 173 checksum of 5-bit values; 1 when they end in the right one.
fn bech32_checksum(values: impl Iterator<Item = u32>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let shifted = (sum & 0x01ff_ffff) << 5 ^ value;
        GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(shifted, |sum, (_, g)| sum ^ g)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_with_one_letter_wrong_is_refused() {
        // The recipient shown in the README of age.
        let right = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert!(right.parse::<Recipient>().is_ok());
        for at in 0..right.len() {
            let mut wrong = right.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
            assert!(String::from_utf8(wrong).unwrap().parse::<Recipient>().is_err(), "letter {at}");
        }
        for text in ["", "age1", &right[..61], &right.to_uppercase(), &format!("{right}q")] {
            assert!(text.parse::<Recipient>().is_err(), "{text}");
        }
    }

    /// The recipient of a key, whatever it is.
    fn recipient(key: &[u8; 32]) -> String {
        let (mut values, mut held, mut bits) = (Vec::new(), 0_u32, 0);
        for byte in key {
            (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
            while bits >= 5 {
                bits -= 5;
                values.push(held >> bits & 31);
            }
        }
        values.push(held << (5 - bits) & 31);
        let prefix =
            b"age".iter().map(|b| u32::from(b >> 5)).chain([0]).chain(b"age".iter().map(|b| u32::from(b & 31)));
        let sum = bech32_checksum(prefix.chain(values.iter().copied()).chain([0; 6])) ^ 1;
        let sum = (0..6).map(|at| sum >> (5 * (5 - at)) & 31);
        let letters = values.iter().copied().chain(sum).map(|value| char::from(BECH32[value as usize]));
        format!("age1{}", letters.collect::<String>())
    }

    #[test]
    fn a_key_with_which_nothing_can_be_shared_is_no_recipient() {
        use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
        let random = ring::rand::SystemRandom::new();
        let shared = |key: &[u8; 32]| {
            let own = EphemeralPrivateKey::generate(&X25519, &random).unwrap();
            agree_ephemeral(own, &UnparsedPublicKey::new(&X25519, key), |_| ()).is_ok()
        };
        for key in LOW_ORDER {
            let mut with_bit = key;
            with_bit[31] |= 0x80;
            for key in [key, with_bit] {
                let text = recipient(&key);
                assert!(recipient_key(&text).is_some() && text.parse::<age::x25519::Recipient>().is_ok(), "{text}");
                assert!(
                    !shared(&key) && text.parse::<Recipient>().is_err() && check_recipient(&text).is_err(),
                    "{text}"
                );
            }
        }
        let good = age::x25519::Identity::generate().to_public().to_string();
        let key = recipient_key(&good).unwrap();
        assert!(shared(&key) && recipient(&key) == good && check_recipient(&good).is_ok());
    }

    #[test]
    fn a_secret_key_that_is_given_for_a_recipient_is_not_repeated() {
        let said = check_recipient("AGE-SECRET-KEY-1QQPQQQ").unwrap_err();
        assert!(said.sentence.contains("public half") && !said.sentence.contains("QQP"), "{said}");
    }

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        for text in ["gw.example:2222", "localhost:1", "192.0.2.1:4433", "[2001:db8::1]:65535"] {
            assert!(text.parse::<Endpoint>().is_ok(), "{text}");
        }
        for text in [
            "gw.example",
            "gw.example:",
            "gw.example:0",
            ":22",
            "2001:db8::1:22",
            "[gw]:22",
            "-oProxyCommand=x:22",
            "a b:22",
            "gw:22\n",
            "GW:22",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn days_are_a_plain_number() {
        assert_eq!("400d".parse::<Days>().unwrap().0, 400);
        for text in ["400", "0d", "-1d", "d", "1.5d", "40000d", "99999d", "1w", "007d"] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
    }
}
