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

fn is_recipient(text: &str) -> bool {
    let Some(data) = text.strip_prefix("age1") else { return false };
    let values: Option<Vec<u32>> =
        data.bytes().map(|byte| BECH32.iter().position(|letter| *letter == byte)?.try_into().ok()).collect();
    // The human-readable part goes in as its high bits, a zero and its low bits.
    let prefix = b"age".iter().map(|b| u32::from(b >> 5)).chain([0]).chain(b"age".iter().map(|b| u32::from(b & 31)));
    values.is_some_and(|values| text.len() == RECIPIENT_BYTES && bech32_checksum(prefix.chain(values)) == 1)
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
