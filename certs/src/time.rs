//! Moments: microseconds since 1970 UTC inside, RFC 3339 with `Z` in documents.
//!
//! No clock here: `now` is always an argument.

use crate::invalid::{Invalid, malformed};
use std::{fmt, str::FromStr};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// A moment, in microseconds since 1970-01-01T00:00:00Z; years 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// One second in the unit of [`Timestamp`].
pub const SECOND: i64 = 1_000_000;
/// One day in the unit of [`Timestamp`].
pub const DAY: i64 = 86_400 * SECOND;
/// 9999-12-31T23:59:59Z: the last moment RFC 3339 can write.
const LAST: i64 = 253_402_300_799 * SECOND;

impl Timestamp {
    /// From microseconds since 1970, clamped to 1970..=9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, LAST))
    }

    /// From whole seconds since 1970, clamped to 1970..=9999.
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(SECOND))
    }

    /// The system clock's moment, read by the caller.
    pub fn from_system(now: std::time::SystemTime) -> Self {
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(LAST))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0 / SECOND
    }

    /// This moment moved by `micros`, clamped to 1970..=9999.
    pub fn plus(self, micros: i64) -> Self {
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// The same moment with the fraction of a second cut off, as documents write it.
    pub fn whole_second(self) -> Self {
        Self(self.0 - self.0 % SECOND)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || malformed(format!("{text:?} is not a moment: write UTC as 2026-11-21T09:00:00Z"));
        if !text.ends_with('Z') {
            return Err(wrong());
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?.to_offset(UtcOffset::UTC);
        let micros = i64::try_from(moment.unix_timestamp_nanos() / 1000).map_err(|_| wrong())?;
        if !(0..=LAST).contains(&micros) {
            return Err(wrong());
        }
        Ok(Self(micros))
    }
}

crate::digest::serde_as_text!(Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_and_read_back() {
        let moment: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
        assert_eq!(moment.seconds(), 1_795_251_600);
        assert_eq!(moment.to_string(), "2026-11-21T09:00:00Z");
        assert_eq!(moment.plus(5).to_string(), "2026-11-21T09:00:00.000005Z");
    }

    #[test]
    fn other_zones_and_rubbish_are_refused() {
        for text in ["2026-11-21T09:00:00+01:00", "2026-11-21", "tomorrow", "", "1960-01-01T00:00:00Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
