//! The hours at which a grant counts: `Mon-Fri 07:00-19:00 Europe/Berlin`, as a clock on the wall there shows them.
//!
//! Zones come from the database built into this program, so every device reads the same rules.

use crate::Timestamp;
use crate::invalid::{Invalid, malformed};
use crate::limits::HOURS_BYTES_MAX;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::{fmt, str::FromStr, sync::LazyLock};

/// The bundled zones; the system's own files are not looked at.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
/// The days as written, Monday first.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Days, a window and a zone. A window that ends before it starts runs past midnight and belongs to the day it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    /// Whether a window starts on this day, Monday first.
    days: [bool; 7],
    /// Minutes since midnight, included.
    start: u16,
    /// Minutes since midnight, excluded.
    end: u16,
    zone: TimeZone,
}

impl Hours {
    /// Whether `now` is inside. The clock on the wall decides: an hour that it skips is in no window, an hour that it shows
    /// twice is in its window twice.
    pub fn contains(&self, now: Timestamp) -> bool {
        let Ok(moment) = jiff::Timestamp::from_microsecond(now.micros()) else { return false };
        let local = moment.to_zoned(self.zone.clone());
        let (Ok(hour), Ok(minute)) = (u16::try_from(local.hour()), u16::try_from(local.minute())) else { return false };
        let minute = hour * 60 + minute;
        let today = local.weekday();
        if self.start < self.end {
            return self.starts_on(today) && (self.start..self.end).contains(&minute);
        }
        minute >= self.start && self.starts_on(today) || minute < self.end && self.starts_on(today.previous())
    }

    fn starts_on(&self, day: jiff::civil::Weekday) -> bool {
        usize::try_from(day.to_monday_zero_offset()).ok().and_then(|day| self.days.get(day)) == Some(&true)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Hours {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong =
            |why: String| malformed(format!("{text:?} are not hours, as \"Mon-Fri 07:00-19:00 Europe/Berlin\": {why}"));
        if text.len() > HOURS_BYTES_MAX {
            return Err(malformed(format!("`hours` have at most {HOURS_BYTES_MAX} bytes")));
        }
        let mut words = text.split(' ');
        let (Some(days), Some(window), Some(zone), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong("write days, a window and a zone, with one space between".to_owned()));
        };
        let days = parse_days(days).ok_or_else(|| {
            wrong("days are Mon, Tue, Wed, Thu, Fri, Sat, Sun, each once, in lists and ranges".to_owned())
        })?;
        let (start, end) = parse_window(window)
            .ok_or_else(|| wrong("a window is HH:MM-HH:MM of 00:00 to 24:00 and never empty".to_owned()))?;
        let zone = ZONES.get(zone).ok().filter(|found| !found.is_unknown() && found.iana_name() == Some(zone));
        let zone = zone.ok_or_else(|| wrong("the zone is not in the IANA database".to_owned()))?;
        Ok(Self { text: text.to_owned(), days, start, end, zone })
    }
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7 + 1;
        for number in (0..7).cycle().skip(first).take(count) {
            let named = days.get_mut(number)?;
            if std::mem::replace(named, true) {
                return None;
            }
        }
    }
    Some(days)
}

fn day(text: &str) -> Option<usize> {
    DAYS.iter().position(|day| *day == text)
}

fn parse_window(text: &str) -> Option<(u16, u16)> {
    let (start, end) = text.split_once('-')?;
    let (start, end) = (parse_minute(start)?, parse_minute(end)?);
    (start != end && start < 24 * 60).then_some((start, end))
}

fn parse_minute(text: &str) -> Option<u16> {
    let two = |digits: &str| match digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<u16>().ok(),
        false => None,
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (two(hour)?, two(minute)?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
#[path = "hours/tests.rs"]
mod tests;
