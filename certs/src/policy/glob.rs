//! Name patterns: globs with `*` for runbooks and devices, and `tag:LABEL` for devices.
//!
//! Not here: tickets, which have a pattern language of their own (`ticket`).

use crate::DeviceAddress;
use crate::invalid::{Invalid, malformed};
use crate::limits::GLOB_BYTES_MAX;
use std::{fmt, str::FromStr};

/// A name in which every `*` stands for any run of characters, none included; anything else stands for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(String);

/// Which devices a grant reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DevicePattern {
    /// By the device's name inside the tenant.
    Name(Glob),
    /// By a label of its signed record, compared exactly.
    Label(String),
}

impl Glob {
    /// Whether the whole of `name` fits. At most `|glob| × |name|` steps.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(head) else { return false };
        let Some((middle, tail)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
        // The leftmost place of each middle piece leaves the most room for the rest, so no place needs a second try.
        for piece in middle.split('*') {
            match name.find(piece) {
                Some(at) => name = name.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        name.ends_with(tail)
    }

    /// Whether it fits every name.
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Glob {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'*');
        if text.is_empty() || text.len() > GLOB_BYTES_MAX || !text.bytes().all(legal) {
            return Err(malformed(format!(
                "{text:?} is not a name pattern: use 1 to {GLOB_BYTES_MAX} of A-Z, a-z, 0-9, '_', '.', '-' and '*'"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DevicePattern {
    /// Whether the device with this address and these labels is one of them. The tenant is not looked at.
    pub fn matches(&self, address: &DeviceAddress, labels: &[String]) -> bool {
        match self {
            Self::Name(glob) => glob.matches(address.device.as_str()),
            Self::Label(label) => labels.contains(label),
        }
    }

    /// Whether it fits every device of the tenant.
    pub fn is_any(&self) -> bool {
        match self {
            Self::Name(glob) => glob.is_any(),
            Self::Label(_) => false,
        }
    }
}

impl FromStr for DevicePattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some(label) = text.strip_prefix("tag:") else {
            return text.parse().map(Self::Name);
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':' | b'=' | b'/');
        if label.is_empty() || label.len() > GLOB_BYTES_MAX || !label.bytes().all(legal) {
            return Err(malformed(format!(
                "{text:?} is not a label pattern: use `tag:` and 1 to {GLOB_BYTES_MAX} of A-Z, a-z, 0-9 and '_.-:=/', without '*'"
            )));
        }
        Ok(Self::Label(label.to_owned()))
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(glob) => write!(f, "{glob}"),
            Self::Label(label) => write!(f, "tag:{label}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(glob: &str, name: &str) -> bool {
        glob.parse::<Glob>().unwrap().matches(name)
    }

    #[test]
    fn a_star_stands_for_any_run_and_all_else_for_itself() {
        for (glob, name) in [
            ("*", ""),
            ("*", "web1"),
            ("web*", "web"),
            ("web*", "web12"),
            ("*1", "web1"),
            ("w*b*1", "web-b1"),
            ("**", "x"),
            ("a*a", "aa"),
            ("a.b", "a.b"),
            ("*ab*ab", "abab"),
        ] {
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("web", "web1"),
            ("web*", "xweb"),
            ("*1", "web12"),
            ("a*a", "a"),
            ("a.b", "axb"),
            ("WEB*", "web1"),
            ("*ab*ab", "ab"),
            ("*a*b*", "ba"),
        ] {
            assert!(!fits(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn a_hostile_glob_costs_no_time() {
        let glob: Glob = "*a".repeat(64).parse().unwrap();
        assert!(!glob.matches(&("a".repeat(63) + "b")));
    }

    #[test]
    fn globs_hold_no_separators_and_no_other_wild_cards() {
        for text in ["", "a b", "a,b", "a?", "[a]", "a\0", "ä", "a/b", "!db1"] {
            assert!(text.parse::<Glob>().is_err(), "{text:?}");
        }
        assert!("x".repeat(GLOB_BYTES_MAX + 1).parse::<Glob>().is_err());
    }

    #[test]
    fn labels_are_compared_whole_and_never_as_globs() {
        let device: DeviceAddress = "web1.acme".parse().unwrap();
        let server: DevicePattern = "tag:server".parse().unwrap();
        assert!(server.matches(&device, &["eu".to_owned(), "server".to_owned()]));
        assert!(!server.matches(&device, &["server2".to_owned(), "Server".to_owned()]));
        assert!(!"server".parse::<DevicePattern>().unwrap().matches(&device, &["server".to_owned()]));
        for text in ["tag:", "tag:*", "tag:a b", "tag:a,b"] {
            assert!(text.parse::<DevicePattern>().is_err(), "{text:?}");
        }
    }
}
