//! Shares of an order's devices, `3` or `10%`, and the waves that are made of them.
//!
//! Not here: who begins next (the gateway's job rules).

use crate::invalid::{Invalid, malformed};
use crate::limits::{ORDER_DEVICES_MAX, WAVES_MAX};
use serde::Deserialize;
use std::{fmt, str::FromStr};

/// Some of a number of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// So many, 0 to 10,000.
    Count(u32),
    /// So many of a hundred, 0 to 100.
    Percent(u32),
}

impl Share {
    /// Everything.
    const ALL: Self = Self::Percent(100);

    /// How many of `devices` this is, rounded up: a wave of some per cent is never none.
    pub fn rounded_up(self, devices: u64) -> u64 {
        match self {
            Self::Count(count) => devices.min(count.into()),
            Self::Percent(percent) => devices.saturating_mul(percent.into()).div_ceil(100),
        }
    }

    /// How many of `devices` this is, rounded down: a tolerance of some per cent is never more.
    pub fn rounded_down(self, devices: u64) -> u64 {
        match self {
            Self::Count(count) => devices.min(count.into()),
            Self::Percent(percent) => devices.saturating_mul(percent.into()) / 100,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Share {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = |digits: &str, max: usize| {
            let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
            digits.parse::<u32>().ok().filter(|number| plain && usize::try_from(*number).is_ok_and(|n| n <= max))
        };
        let share = match text.strip_suffix('%') {
            Some(digits) => number(digits, 100).map(Self::Percent),
            None => number(text, ORDER_DEVICES_MAX).map(Self::Count),
        };
        share.ok_or_else(|| malformed(format!("{text:?} is not a share of the devices: write 5 or 10%")))
    }
}

crate::digest::serde_as_text!(Share);

/// How far an order may go, one gate after the other: each is the number of devices that may have begun before all of that
/// number are done. The last one is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Waves(Vec<Share>);

impl Default for Waves {
    /// All at once.
    fn default() -> Self {
        Self(vec![Share::ALL])
    }
}

impl Waves {
    /// The waves of these shares, for an order of `devices` devices.
    ///
    /// # Errors
    /// When there are none or too many, one is none at all or reaches less far than the one before, or the last is not `100%`.
    pub fn of(shares: Vec<Share>, devices: u64) -> Result<Self, Invalid> {
        let waves = Self(shares);
        waves.check(devices)?;
        Ok(waves)
    }

    /// The shares as written.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// How many of `devices` may have begun in each wave, rising, the last one all; waves that add nobody are left out.
    pub fn gates(&self, devices: u64) -> Vec<u64> {
        let mut gates: Vec<u64> = self.0.iter().map(|share| share.rounded_up(devices)).collect();
        gates.dedup();
        gates
    }

    pub(super) fn check(&self, devices: u64) -> Result<(), Invalid> {
        if self.0.is_empty() || self.0.len() > WAVES_MAX {
            return Err(malformed(format!("waves must be 1 to {WAVES_MAX} shares, as [\"1\", \"10%\", \"100%\"]")));
        }
        if self.0.last() != Some(&Share::ALL) {
            return Err(malformed("the last of waves must be \"100%\": else some devices would never begin"));
        }
        if let Some(none) = self.0.iter().find(|share| share.rounded_up(devices) == 0) {
            return Err(malformed(format!("{none} in waves is no device at all")));
        }
        let falls = |(before, share): &(&Share, &Share)| share.rounded_up(devices) < before.rounded_up(devices);
        match self.0.iter().zip(self.0.iter().skip(1)).find(falls) {
            Some((before, share)) => Err(malformed(format!(
                "{share} in waves reaches less far than {before} before it, of {devices} devices: waves count all devices so far"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    fn waves(text: &str, devices: u64) -> Result<Vec<u64>, Invalid> {
        Waves::of(text.split_whitespace().map(share).collect(), devices).map(|waves| waves.gates(devices))
    }

    #[test]
    fn a_share_is_a_count_or_per_cent_in_one_spelling() {
        for text in ["0", "1", "10000", "0%", "5%", "100%"] {
            assert_eq!(share(text).to_string(), text);
        }
        for text in ["", "%", "101%", "10001", "-1", "+1", "05", "00", "1.5%", "5 %", "5%%", "x"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn waves_round_up_and_tolerances_down() {
        assert_eq!((share("10%").rounded_up(5), share("10%").rounded_down(5)), (1, 0));
        assert_eq!((share("5%").rounded_up(100), share("5%").rounded_down(100)), (5, 5));
        assert_eq!((share("30").rounded_up(5), share("30").rounded_down(5)), (5, 5));
        assert_eq!(share("100%").rounded_up(u64::MAX / 100), u64::MAX / 100);
    }

    #[test]
    fn gates_rise_and_end_with_all_of_them() {
        assert_eq!(waves("1 10% 100%", 100).unwrap(), [1, 10, 100]);
        assert_eq!(waves("1 10% 100%", 5).unwrap(), [1, 5]);
        assert_eq!(waves("100%", 1).unwrap(), [1]);
        assert_eq!(
            waves("5 50% 100%", 3).map_err(|invalid| invalid.sentence).unwrap_err(),
            "50% in waves reaches less far than 5 before it, of 3 devices: waves count all devices so far"
        );
        assert_eq!(Waves::default().gates(7), [7]);
    }

    #[test]
    fn waves_that_lose_a_device_or_begin_nowhere_are_refused() {
        for text in [
            "",
            "1",
            "50%",
            "100% 50%",
            "0 100%",
            "0% 100%",
            "50% 1 100%",
            &"1 ".repeat(16),
            &format!("{}100%", "1 ".repeat(16)),
        ] {
            assert!(waves(text, 100).is_err(), "{text}");
        }
        assert!(waves(&format!("{}100%", "1 ".repeat(15)), 100).is_ok());
    }
}
