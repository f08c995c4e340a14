//! Single values of a declaration: a platform, a timeout, a limit of output.

use crate::invalid::{Invalid, malformed};
use crate::limits::{OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_MAX, OUTPUT_BYTES_MIN, RUN_SECONDS_DEFAULT, RUN_SECONDS_MAX};
use std::{fmt, str::FromStr};

/// An operating system, by the name that `std::env::consts::OS` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// `linux`
    Linux,
    /// `macos`
    Macos,
    /// `freebsd`
    Freebsd,
    /// `netbsd`
    Netbsd,
    /// `openbsd`
    Openbsd,
    /// `windows`
    Windows,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Linux, Self::Macos, Self::Freebsd, Self::Netbsd, Self::Openbsd, Self::Windows];

    /// The word in `platforms`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Macos => "macos",
            Self::Freebsd => "freebsd",
            Self::Netbsd => "netbsd",
            Self::Openbsd => "openbsd",
            Self::Windows => "windows",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == text).ok_or_else(|| {
            malformed(format!("{text:?} is not a platform: use linux, macos, freebsd, netbsd, openbsd or windows"))
        })
    }
}

/// How long a run may take: 1 second to [`RUN_SECONDS_MAX`], written `60s`, `10m` or `24h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(u64);

impl Timeout {
    /// In seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self(RUN_SECONDS_DEFAULT)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self.0, &[("h", 3_600), ("m", 60), ("s", 1)], f)
    }
}

impl FromStr for Timeout {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        scaled(text, &[("h", 3_600), ("m", 60), ("s", 1)])
            .filter(|seconds| (1..=RUN_SECONDS_MAX).contains(seconds))
            .map(Self)
            .ok_or_else(|| malformed(format!("{text:?} is not a timeout: write 60s, 10m or 24h, which is the longest")))
    }
}

/// How much of a run's output is kept, head and tail together, in bytes: written `256KiB` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputLimit(u64);

impl OutputLimit {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// This limit, or `bytes` where that is less; never under the least that can be asked for.
    #[must_use]
    pub fn at_most(self, bytes: u64) -> Self {
        Self(self.0.min(bytes.max(OUTPUT_BYTES_MIN)))
    }
}

impl Default for OutputLimit {
    fn default() -> Self {
        Self(OUTPUT_BYTES_DEFAULT)
    }
}

impl fmt::Display for OutputLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self.0, &[("MiB", 1 << 20), ("KiB", 1 << 10)], f)
    }
}

impl FromStr for OutputLimit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        scaled(text, &[("MiB", 1 << 20), ("KiB", 1 << 10)])
            .filter(|bytes| (OUTPUT_BYTES_MIN..=OUTPUT_BYTES_MAX).contains(bytes))
            .map(Self)
            .ok_or_else(|| malformed(format!("{text:?} is not a limit of output: write 4KiB to 4MiB")))
    }
}

crate::digest::serde_as_text!(Timeout);

/// A whole number without a leading zero, and one of these units behind it.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)
}

/// In the largest unit that it is whole in.
fn display(number: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = units.iter().find(|(_, unit)| number.is_multiple_of(*unit)).or(units.last());
    fits.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", number / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_and_limits_are_whole_numbers_of_a_unit() {
        for (text, seconds) in [("1s", 1), ("60s", 60), ("10m", 600), ("24h", 86_400), ("90m", 5_400)] {
            let timeout: Timeout = text.parse().unwrap();
            assert_eq!(timeout.seconds(), seconds);
            assert_eq!(timeout.to_string().parse::<Timeout>().unwrap(), timeout);
        }
        assert_eq!(
            ("90m".parse::<Timeout>().unwrap().to_string(), Timeout::default().to_string()),
            ("90m".into(), "10m".into())
        );
        for text in [
            "",
            "0s",
            "60",
            "s",
            "01s",
            "25h",
            "-1s",
            "+1s",
            "1.5h",
            "1 s",
            "1S",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
        for (text, bytes) in [("4KiB", 4_096), ("256KiB", 262_144), ("4MiB", 4_194_304)] {
            let limit: OutputLimit = text.parse().unwrap();
            assert_eq!((limit.bytes(), limit.to_string()), (bytes, text.to_owned()));
        }
        for text in ["3KiB", "5MiB", "1MB", "1024", "1GiB", "KiB", "4097KiB"] {
            assert!(text.parse::<OutputLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_platform_of_this_machine_has_a_word() {
        assert_eq!(std::env::consts::OS.parse::<Platform>().unwrap().as_str(), std::env::consts::OS);
        assert!("Linux".parse::<Platform>().is_err());
    }
}
