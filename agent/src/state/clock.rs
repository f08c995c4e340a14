//! The agent's clock and the reasons to mistrust it. An agent whose clock is behind starts nothing and says so.
//!
//! A clock set back would revive expired policies and closed hours, so three things hold it: the newest `issued` that was
//! verified, a durable high-water mark, and the gateway's time, which can only ever be a reason to refuse.
//!
//! A clock that jumps ahead must not shut the machine for good, so the mark follows a jump of more than a day only while the
//! gateway's clock says the same. A lying gateway can hold the mark back, and never set it. If the mark is wrong all the same,
//! root on the machine stops the agent, removes the file `clock` from the state directory, and starts the agent again.

use super::files::{self, Broken};
use crate::limits::{
    CLOCK_BEHIND_SECONDS_MAX, CLOCK_JUMP_SECONDS_MAX, GATEWAY_AHEAD_SECONDS_MAX, STATE_FILE_BYTES_MAX,
};
use belay_certs::{Timestamp, policy::Refusal, time::SECOND};
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Where moments come from: the system, or a test.
pub(crate) struct Source {
    /// The time of day; can be set, so can be wrong.
    pub(crate) wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Time passed since some moment; only ever grows.
    pub(crate) passed: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Source {
    fn system() -> Self {
        let began = Instant::now();
        Self { wall: Box::new(|| Timestamp::from_system(SystemTime::now())), passed: Box::new(move || began.elapsed()) }
    }
}

/// The system clock with what is known against it.
pub struct Clock {
    /// Reads the clock.
    source: Source,
    /// The file of the high-water mark.
    path: PathBuf,
    /// What the clock is held against.
    known: Mutex<Known>,
}

/// What the clock is held against.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// The latest moment this machine is known to have reached; none before the first.
    mark: Option<Reading>,
    /// The newest `issued` among verified documents.
    issued: Option<Timestamp>,
    /// What the gateway's clock said at the last welcome.
    gateway: Option<Reading>,
}

/// What a clock said, and when that was.
#[derive(Debug, Clone, Copy)]
struct Reading {
    said: Timestamp,
    /// In the source's passed time.
    at: Duration,
}

impl Reading {
    /// What the same clock says now, if nobody set it.
    fn by_now(self, passed: Duration) -> Timestamp {
        let since = i64::try_from(passed.saturating_sub(self.at).as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.said.micros().saturating_add(since))
    }
}

impl Clock {
    /// The system clock, with the high-water mark kept in the file at `path`.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(path: PathBuf) -> Result<Self, Broken> {
        Self::open_with(path, Source::system())
    }

    /// As [`Clock::open`], reading moments from `source`.
    pub(crate) fn open_with(path: PathBuf, source: Source) -> Result<Self, Broken> {
        let at = (source.passed)();
        let mark = match files::read_text(&path, STATE_FILE_BYTES_MAX)? {
            None => None,
            Some(text) => {
                let said = text.trim().parse().map_err(|refused| Broken::damaged(&path, refused))?;
                Some(Reading { said, at })
            }
        };
        let known = Mutex::new(Known { mark, ..Known::default() });
        Ok(Self { source, path, known })
    }

    /// What the clock says, right or wrong.
    pub fn now(&self) -> Timestamp {
        (self.source.wall)()
    }

    /// How long the clock takes to the next whole minute: a moment to a minute. Hours end there, in every zone of today.
    pub fn to_next_minute(&self) -> Duration {
        let past = self.now().micros().rem_euclid(60 * SECOND).unsigned_abs();
        Duration::from_micros(60 * SECOND.unsigned_abs() - past)
    }

    /// A document issued at `issued` was verified: the clock cannot be before that.
    pub(crate) fn verified(&self, issued: Timestamp) {
        let mut known = self.known();
        known.issued = known.issued.max(Some(issued));
    }

    /// The gateway's clock said `theirs` just now.
    pub(crate) fn gateway_says(&self, theirs: Timestamp) {
        let at = (self.source.passed)();
        self.known().gateway = Some(Reading { said: theirs, at });
        let ahead = seconds_from(self.now(), theirs);
        if ahead > GATEWAY_AHEAD_SECONDS_MAX {
            tracing::error!(
                ahead_seconds = ahead,
                "this machine's clock is behind the gateway's: nothing starts until it is set"
            );
        }
    }

    /// What the gateway's clock says by now; none before it spoke. Only ever a reason to refuse, and words for a person.
    pub(crate) fn gateway(&self) -> Option<Timestamp> {
        let gateway = self.known().gateway;
        gateway.map(|gateway| gateway.by_now((self.source.passed)()))
    }

    /// Moves the high-water mark up to now and makes it durable, unless now is not to be believed.
    ///
    /// Crash before: the mark is the last one, at most a minute older. Crash after: the mark stands.
    ///
    /// # Errors
    /// When the file cannot be written; the mark holds in this process all the same.
    pub fn keep_mark(&self) -> Result<(), Broken> {
        let (now, at) = (self.now(), (self.source.passed)());
        {
            let mut known = self.known();
            if known.mark.is_some_and(|mark| mark.said >= now) || !known.believes(now, at) {
                return Ok(());
            }
            known.mark = Some(Reading { said: now, at });
        }
        files::write(&self.path, format!("{now}\n").as_bytes())
    }

    /// The moment to decide at.
    ///
    /// # Errors
    /// When the clock is behind anything it cannot be behind.
    pub fn check(&self) -> Result<Timestamp, Refusal> {
        let (now, passed) = (self.now(), (self.source.passed)());
        let known = *self.known();
        let behind = |than: Timestamp, seconds_max: i64| seconds_from(now, than) > seconds_max;
        if let Some(issued) = known.issued.filter(|issued| behind(*issued, CLOCK_BEHIND_SECONDS_MAX)) {
            return Err(Refusal::Clock { now, issued });
        }
        if let Some(mark) = known.mark.filter(|mark| behind(mark.said, CLOCK_BEHIND_SECONDS_MAX)) {
            return Err(Refusal::ClockSetBack { now, mark: mark.said });
        }
        match known.gateway.map(|gateway| gateway.by_now(passed)) {
            Some(theirs) if behind(theirs, GATEWAY_AHEAD_SECONDS_MAX) => {
                Err(Refusal::ClockBehindGateway { now, theirs })
            }
            Some(_) | None => Ok(now),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether the mark may follow the clock to `now`: no jump, or one that the gateway's clock made too. Until a gateway has
    /// spoken nothing starts anyway, so a mark that waits for it loses nothing.
    fn believes(&self, now: Timestamp, passed: Duration) -> bool {
        let reachable = |reading: Reading| seconds_from(reading.by_now(passed), now) <= CLOCK_JUMP_SECONDS_MAX;
        if self.mark.is_some_and(reachable) || self.gateway.is_some_and(reachable) {
            return true;
        }
        if let Some(gateway) = self.gateway {
            let theirs = gateway.by_now(passed);
            tracing::warn!(
                "this machine's clock says {now}, the gateway's {theirs}: the high-water mark stays where it is"
            );
        }
        false
    }
}

/// Whole seconds from `from` to `to`, towards zero; negative when `to` is earlier.
fn seconds_from(from: Timestamp, to: Timestamp) -> i64 {
    to.micros().saturating_sub(from.micros()) / SECOND
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
pub(crate) mod tests;
