//! Shows events at their times in a terminal. Everything goes through `harmless`: what a device sent never reaches it as it is.

use crate::{
    failure::{Outcome, While, refused},
    screen::note,
};
use belay_certs::screen::{Harmless, visible};
use std::{
    io::Write,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

/// Longest offset that can be asked for: no session lasts a year.
const OFFSET_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// How fast.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What came before is shown at once.
    pub at: Duration,
    /// So many times as fast as it went; none: without pauses, where no terminal is that must be given back.
    pub speed: Option<f64>,
    /// No pause is longer, before `speed`.
    pub idle: Option<Duration>,
}

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// What a terminal received.
    Output(&'a [u8]),
    /// A line of words of the device's or of ours.
    Words(&'a str),
}

/// Shows one output. When it goes, the terminal is as before.
pub struct Player<W: Write> {
    out: W,
    /// A message stops it.
    stopped: Receiver<()>,
    pace: Pace,
    filter: Harmless,
    /// When the event before was.
    last: Duration,
    was_stopped: bool,
}

impl<W: Write> Player<W> {
    /// A player at the beginning.
    pub fn new(out: W, stopped: Receiver<()>, pace: Pace) -> Self {
        Self { out, stopped, pace, filter: Harmless::new(), last: Duration::ZERO, was_stopped: false }
    }

    /// Whether the person stopped it.
    pub fn was_stopped(&self) -> bool {
        self.was_stopped
    }

    /// Waits until it is time, and shows it.
    ///
    /// # Errors
    /// The person stopped it, or nobody reads any more.
    pub fn show(&mut self, at: Duration, shown: Shown<'_>) -> Outcome {
        let pause = self.pause(at);
        self.last = at;
        // With no pause left it is still asked whether to stop: a gigabyte can come at one moment.
        if !matches!(self.stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
            self.was_stopped = true;
            return Err(refused("stopped"));
        }
        let text = match shown {
            Shown::Output(bytes) => self.filter.feed(bytes),
            Shown::Words(words) => format!("{}\r\n", visible(words)),
        };
        self.out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
            .during(|| "nobody reads any more".to_owned())
    }

    fn pause(&self, at: Duration) -> Duration {
        let Some(speed) = self.pace.speed.filter(|_| at > self.pace.at) else { return Duration::ZERO };
        let real = at.saturating_sub(self.last.max(self.pace.at));
        real.min(self.pace.idle.unwrap_or(Duration::MAX)).div_f64(speed)
    }
}

impl<W: Write> Drop for Player<W> {
    fn drop(&mut self) {
        if self.pace.speed.is_none() {
            return;
        }
        let end = self.filter.end();
        let _ = self.out.write_all(format!("{end}\r\n").as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Says when this terminal is smaller than the one that was recorded.
pub fn compare_size(columns: u32, rows: u32) {
    let Ok(mine) = rustix::termios::tcgetwinsize(std::io::stdout()) else { return };
    if u32::from(mine.ws_col) < columns || u32::from(mine.ws_row) < rows {
        note(&format!(
            "belay: the recorded terminal has {columns} columns and {rows} rows, this one has {} and {}",
            mine.ws_col, mine.ws_row
        ));
    }
}

/// `1h2m3s`, `3m20s`, `90s`, `1.5s`, `250ms`; a number alone is seconds.
///
/// # Errors
/// It is none of these, or longer than a year.
pub fn offset(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no offset: write 3m20s, 90s or 1h2m3s");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(letters).ok_or_else(wrong)?;
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "h" => number * 3600.0,
            "m" => number * 60.0,
            "s" => number,
            "ms" => number / 1000.0,
            "" if rest.len() == text.len() => number,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).filter(|total| *total <= OFFSET_MAX).ok_or_else(wrong)?;
        rest = behind;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    const AT_ONCE: Pace = Pace { at: Duration::ZERO, speed: None, idle: None };

    fn pause(pace: Pace, last_ms: u64, at_ms: u64) -> Duration {
        let (_stop, stopped) = sync_channel(1);
        let mut player = Player::new(Vec::new(), stopped, pace);
        player.last = Duration::from_millis(last_ms);
        player.pause(Duration::from_millis(at_ms))
    }

    #[test]
    fn offsets_are_written_as_people_write_them() {
        for (text, ms) in [("3m20s", 200_000), ("90", 90_000), ("1h2m3s", 3_723_000), ("1.5s", 1_500), ("250ms", 250)] {
            assert_eq!(offset(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "3x", "-1s", "1e9h", "3m20", "1s ", "1..2s", "9999999h", "٣s"] {
            assert!(offset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pauses_are_as_they_were_or_shorter() {
        let real = Pace { speed: Some(1.0), ..AT_ONCE };
        assert_eq!(pause(real, 1_000, 3_000), Duration::from_secs(2));
        assert_eq!(pause(Pace { speed: Some(2.0), ..real }, 1_000, 3_000), Duration::from_secs(1));
        assert_eq!(pause(Pace { idle: Some(Duration::from_secs(1)), ..real }, 0, 60_000), Duration::from_secs(1));
        let later = Pace { at: Duration::from_secs(10), ..real };
        assert_eq!(pause(later, 0, 9_000), Duration::ZERO);
        assert_eq!(pause(later, 9_000, 11_000), Duration::from_secs(1));
        assert_eq!(pause(AT_ONCE, 0, 60_000), Duration::ZERO);
    }

    #[test]
    fn what_is_shown_is_harmless_and_the_terminal_is_given_back() {
        let (stop, stopped) = sync_channel(1);
        let mut out = Vec::new();
        let mut player = Player::new(&mut out, stopped, Pace { speed: Some(100.0), ..AT_ONCE });
        player.show(Duration::ZERO, Shown::Output(b"\x1b]0;evil\x07\x1b[31mred\x1b[6n\x1b[?1049h")).unwrap();
        player.show(Duration::ZERO, Shown::Words("put /etc/x\x1b[2J")).unwrap();
        stop.send(()).unwrap();
        assert!(player.show(Duration::from_secs(1), Shown::Output(b"never")).is_err() && player.was_stopped());
        drop(player);
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.starts_with("\x1b[31mred\x1b[?1049hput /etc/x\\u{1b}[2J\r\n"), "{shown:?}");
        assert!(shown.ends_with("\x1b[0m\x1b[?1049l\r\n") && !shown.contains("never"), "{shown:?}");
    }
}
