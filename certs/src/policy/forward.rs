//! Where a TCP forward may go: one rule of `forward_to`.
//!
//! A rule for addresses never fits a name and a rule for a name never fits an address. Who wants a name judged by its
//! address resolves it first, asks with the address and connects to that one only; nothing is resolved here.

use crate::invalid::{Invalid, malformed};
use crate::limits::{HOST_BYTES_MAX, POLICY_LINE_BYTES_MAX, PORT_RANGES_MAX};
use std::{fmt, net::IpAddr, str::FromStr};

/// `NETWORK:PORTS` or `HOST:PORTS`: `192.168.1.0/24:80,443`, `[fd00::/8]:22`, `db.internal:5432`, `10.0.0.1:8000-8099`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardRule {
    text: String,
    target: Target,
    /// First and last port of each range.
    ports: Vec<(u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Target {
    /// A network: its first address and the length of its prefix.
    Network(IpAddr, u8),
    /// A host name in lower case, compared whole.
    Host(String),
}

impl ForwardRule {
    /// Whether a forward to `host`, an address or a name as the client sent it, and `port` is allowed.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let target = match (&self.target, host.parse::<IpAddr>()) {
            (Target::Network(network, prefix), Ok(address)) => holds(*network, *prefix, address.to_canonical()),
            (Target::Host(name), Err(_)) => host.eq_ignore_ascii_case(name),
            (Target::Network(..), Err(_)) | (Target::Host(_), Ok(_)) => false,
        };
        target && self.ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }
}

impl fmt::Display for ForwardRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ForwardRule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > POLICY_LINE_BYTES_MAX {
            return Err(malformed(format!("a rule of `forward_to` has at most {POLICY_LINE_BYTES_MAX} bytes")));
        }
        let (target, ports) = text.rsplit_once(':').ok_or_else(|| {
            malformed(format!("{text:?} is not a forward rule: write 192.168.1.0/24:80,443 or db.internal:5432"))
        })?;
        Ok(Self { text: text.to_owned(), target: parse_target(target)?, ports: parse_ports(ports)? })
    }
}

fn parse_target(text: &str) -> Result<Target, Invalid> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = bracketed.unwrap_or(text);
    let (address, prefix) = inner.split_once('/').map_or((inner, None), |(address, prefix)| (address, Some(prefix)));
    match address.parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() == bracketed.is_some() => parse_network(text, address, prefix),
        Ok(IpAddr::V6(_)) => Err(malformed(format!("{text:?}: write an IPv6 network in brackets, as [fd00::/8]:443"))),
        Err(_) if bracketed.is_none() && prefix.is_none() && is_host(text) => Ok(Target::Host(text.to_owned())),
        Ok(_) | Err(_) => Err(malformed(format!(
            "{text:?} is neither a network as 192.168.1.0/24 or [fd00::/8] nor a host name in lower case; `*` is not possible"
        ))),
    }
}

fn parse_network(text: &str, address: IpAddr, prefix: Option<&str>) -> Result<Target, Invalid> {
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) => number(digits)
            .and_then(|prefix| u8::try_from(prefix).ok())
            .filter(|prefix| *prefix <= bits)
            .ok_or_else(|| malformed(format!("{text:?}: the prefix is a number from 0 to {bits}")))?,
    };
    if address.to_canonical() != address {
        return Err(malformed(format!("{text:?} is IPv4 inside IPv6: write the IPv4 network itself")));
    }
    if host_bits(address, prefix) != 0 {
        return Err(malformed(format!("{text:?} has bits beyond its prefix: write the first address of the network")));
    }
    Ok(Target::Network(address, prefix))
}

/// The part of `address` behind the prefix.
fn host_bits(address: IpAddr, prefix: u8) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits() & u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)),
        IpAddr::V6(v6) => v6.to_bits() & u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0),
    }
}

/// Whether `network` and `address` differ only behind the prefix.
fn holds(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            host_bits(IpAddr::V4(differing.into()), prefix) == u128::from(differing)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            host_bits(IpAddr::V6(differing.into()), prefix) == differing
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// A DNS name in lower case that no resolver reads as a number, for `127.1` and `0x7f.1` reach 127.0.0.1.
pub(super) fn is_host(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(legal) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    text.len() <= HOST_BYTES_MAX && text.split('.').all(label) && !numeric
}

fn parse_ports(text: &str) -> Result<Vec<(u16, u16)>, Invalid> {
    let ranges = text.split(',').map(parse_range).collect::<Option<Vec<_>>>();
    ranges.filter(|ranges| ranges.len() <= PORT_RANGES_MAX).ok_or_else(|| {
        malformed(format!(
            "{text:?} is not a list of ports: write 80,443 or 8000-8099, at most {PORT_RANGES_MAX} of them"
        ))
    })
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first > 0 && first <= last).then_some((first, last))
}

/// A decimal number without sign and leading zeros.
pub(super) fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, host: &str, port: u16) -> bool {
        rule.parse::<ForwardRule>().unwrap().allows(host, port)
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        assert!(allows("192.168.1.0/24:80,443", "192.168.1.255", 443));
        assert!(!allows("192.168.1.0/24:80,443", "192.168.2.0", 443));
        assert!(!allows("192.168.1.0/24:80,443", "192.168.1.7", 8080));
        assert!(allows("10.0.0.1:22", "10.0.0.1", 22) && !allows("10.0.0.1:22", "10.0.0.2", 22));
        assert!(allows("[fd00::/8]:443", "fdff::1", 443) && !allows("[fd00::/8]:443", "fe00::1", 443));
        assert!(allows("[::1]:1-65535", "0:0::1", 1) && allows("0.0.0.0/0:22", "203.0.113.9", 22));
        assert!(!allows("[::/0]:22", "203.0.113.9", 22));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_judged_as_ipv4() {
        assert!(allows("127.0.0.0/8:22", "::ffff:127.0.0.1", 22));
        assert!(!allows("[::/0]:22", "::ffff:127.0.0.1", 22));
        assert!("[::ffff:10.0.0.0/104]:22".parse::<ForwardRule>().is_err());
    }

    #[test]
    fn names_and_addresses_never_stand_for_each_other() {
        assert!(allows("db.internal:5432", "DB.internal", 5432));
        for host in ["db.internal.", "xdb.internal", "db.internal.evil", "10.0.0.1", "", "db.internal\0"] {
            assert!(!allows("db.internal:5432", host, 5432), "{host:?}");
        }
        for host in
            ["127.1", "2130706433", "0x7f000001", "127.0.0.01", "127.0.0.1 ", "localhost", "fe80::1%eth0", "[::1]"]
        {
            assert!(!allows("0.0.0.0/0:22", host, 22) && !allows("[::/0]:22", host, 22), "{host:?}");
        }
    }

    #[test]
    fn loose_rules_are_refused() {
        for text in [
            "*:80",
            "*",
            "",
            ":80",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:80-",
            "host:443-80",
            "host:080",
            "host:+80",
            "10.0.0.1/24:80",
            "10.0.0.0/33:80",
            "10.0.0.0/:80",
            "10.0.0.0/+8:80",
            "fd00::/8:80",
            "[10.0.0.0/8]:80",
            "[fd00::/8:80",
            "Host:80",
            "a..b:80",
            "-a:80",
            "127.1:80",
            "0x7f.1:80",
            "host/8:80",
            "[host]:80",
            "a b:80",
            "[fd00::1/8]:80",
            "host:80,",
        ] {
            assert!(text.parse::<ForwardRule>().is_err(), "{text:?}");
        }
        assert!(format!("h:{}", vec!["1"; PORT_RANGES_MAX + 1].join(",")).parse::<ForwardRule>().is_err());
    }
}
