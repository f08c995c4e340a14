//! Networks: whom a limit takes for one caller. Pure.

use serde::Deserialize;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// All addresses that share their first `bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    /// The first address; an IPv4 address inside IPv6 counts as IPv4.
    first: IpAddr,
    /// How many bits are the same: 0 to 32, or to 128.
    bits: u8,
}

impl Network {
    /// One caller: an IPv4 address, which may be a whole office's, or the /64 that one IPv6 customer has.
    pub(crate) fn near(address: IpAddr) -> Self {
        Self::around(address, 32, 64)
    }

    /// One neighbourhood: what somebody rents as a block, a /24 or a /48, and can call from in turn.
    pub(crate) fn wide(address: IpAddr) -> Self {
        Self::around(address, 24, 48)
    }

    fn around(address: IpAddr, bits4: u8, bits6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits4)).unwrap_or(0);
                Self { first: Ipv4Addr::from_bits(address.to_bits() & mask).into(), bits: bits4 }
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits6)).unwrap_or(0);
                Self { first: Ipv6Addr::from_bits(address.to_bits() & mask).into(), bits: bits6 }
            }
        }
    }

    /// Whether an address is one of it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && Self::around(address, self.bits, self.bits).first == self.first
    }
}

impl FromStr for Network {
    type Err = String;

    /// `10.1.0.0/16`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a network: write ADDRESS/BITS, as 192.0.2.0/24 or 2001:db8::/32");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        let network = Self::around(address, bits, bits);
        if network.first == address { Ok(network) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_office_and_an_ipv6_customer_are_one_caller_each() {
        for (address, near, wide) in [
            ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ] {
            assert_eq!(Network::near(ip(address)).to_string(), near);
            assert_eq!(Network::wide(ip(address)).to_string(), wide);
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let network: Network = "10.1.0.0/16".parse().unwrap();
        assert!(network.contains(ip("10.1.255.255")) && network.contains(ip("::ffff:10.1.0.1")));
        assert!(!network.contains(ip("10.2.0.0")) && !network.contains(ip("a01::")));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains(ip("203.0.113.9")));
        assert!(!"0.0.0.0/0".parse::<Network>().unwrap().contains(ip("2001:db8::1")));
        assert!("2001:db8::7".parse::<Network>().unwrap().contains(ip("2001:db8::7")));
    }

    #[test]
    fn what_is_no_network_is_refused_with_an_example() {
        for text in ["", "office", "10.0.0.0/33", "10.0.0.1/8", "2001:db8::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            let sentence = text.parse::<Network>().unwrap_err();
            assert!(sentence.contains("192.0.2.0/24"), "{sentence}");
        }
    }
}
