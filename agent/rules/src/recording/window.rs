//! What the gateway does not have yet, and what follows from it: the person is shown more, or has to wait, or the session ends.

use crate::limits::{HELD_MICROS_MAX, UNKEPT_MICROS_MAX, UNKEPT_TEXT_BYTES_MAX};
use std::collections::VecDeque;

/// Whether a program's output may be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It may.
    Open,
    /// Not now: too much, or something too old, is not at the gateway.
    Held,
    /// Never again: it was held for too long.
    Over,
}

/// A chunk that was cut and is not known to be at the gateway.
#[derive(Debug)]
struct Unkept {
    chunk: u64,
    text_bytes: usize,
    from: u64,
}

/// The chunks of one recording that are on their way.
#[derive(Debug, Default)]
pub struct Window {
    unkept: VecDeque<Unkept>,
    /// Bytes of text in them.
    text_bytes: usize,
    /// Since when output is held.
    held_since: Option<u64>,
    /// Output was held for too long once.
    over: bool,
}

impl Window {
    /// A chunk was cut: its number, its text's length, its first event.
    pub fn cut(&mut self, chunk: u64, text_bytes: usize, from: u64) {
        self.unkept.push_back(Unkept { chunk, text_bytes, from });
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
    }

    /// The gateway has the first `chunks` chunks.
    pub fn keep(&mut self, chunks: u64) {
        while let Some(kept) = self.unkept.pop_front_if(|first| first.chunk < chunks) {
            self.text_bytes = self.text_bytes.saturating_sub(kept.text_bytes);
        }
    }

    /// Whether output may be read on at `now`, with `waits` (since when, how many bytes) not cut yet.
    pub fn flow(&mut self, waits: Option<(u64, usize)>, now: u64) -> Flow {
        let bytes = self.text_bytes.saturating_add(waits.map_or(0, |(_, bytes)| bytes));
        let old = self.oldest(waits).is_some_and(|from| from.saturating_add(UNKEPT_MICROS_MAX) < now);
        if !old && bytes <= UNKEPT_TEXT_BYTES_MAX && !self.over {
            self.held_since = None;
            return Flow::Open;
        }
        let since = *self.held_since.get_or_insert(now);
        self.over |= since.saturating_add(HELD_MICROS_MAX) <= now;
        if self.over { Flow::Over } else { Flow::Held }
    }

    /// When [`Window::flow`] is to be asked again although nothing happened; none while nothing is on its way.
    pub fn look_at(&self, waits: Option<(u64, usize)>) -> Option<u64> {
        match self.held_since {
            Some(_) if self.over => None,
            Some(since) => Some(since.saturating_add(HELD_MICROS_MAX)),
            None => self.oldest(waits).map(|from| from.saturating_add(UNKEPT_MICROS_MAX).saturating_add(1)),
        }
    }

    fn oldest(&self, waits: Option<(u64, usize)>) -> Option<u64> {
        self.unkept.front().map(|first| first.from).or(waits.map(|(from, _)| from))
    }
}
