//! Which part of a run's output is kept: the first half of the limit as it comes, then the last half; what was between is
//! counted and marked. And how far the file that holds it is uploaded.
//!
//! The format of the file is `belay_certs::output`. Not here: pipes, files, streams; whoever reads the pipes hands over what came
//! within a tenth of a second as one piece.

mod upload;

pub use upload::{Ahead, Upload};

use crate::limits::OUTPUT_TAIL_PIECES_MIN;
use belay_certs::{
    limits::OUTPUT_PIECE_BYTES_MAX,
    output::{Line, Stream, line_bytes},
    runbook::OutputLimit,
};
use std::collections::VecDeque;

/// The longest line that says what was cut: two numbers of 20 digits, two spaces, a letter and the line end.
const CUT_LINE_BYTES_MAX: usize = 44;

/// The output of one run while it goes on. In memory it has no more than half of its limit.
#[derive(Debug, Clone)]
pub struct Output {
    /// Bytes of the file that the head may still take; `None` once it is full.
    head_left: Option<usize>,
    /// The last lines, as they will stand in the file.
    tail: VecDeque<u8>,
    /// The most bytes the tail may have.
    tail_bytes_max: usize,
    /// The largest piece in the tail, in bytes of output.
    tail_piece_max: usize,
    /// When the first byte that is not kept was written.
    cut_at: Option<u64>,
    /// Bytes that are not kept.
    dropped: u64,
    /// Bytes that the script wrote.
    seen: u64,
    /// When the last of them came.
    last_at: u64,
}

impl Output {
    /// The output of a run that has written nothing. The file will have no more bytes than `limit` says.
    pub fn new(limit: OutputLimit) -> Self {
        let limit = usize::try_from(limit.bytes()).unwrap_or(usize::MAX);
        let head = limit / 2;
        let tail_bytes_max = limit.saturating_sub(head).saturating_sub(CUT_LINE_BYTES_MAX);
        Self {
            head_left: Some(head),
            tail: VecDeque::new(),
            tail_bytes_max,
            tail_piece_max: fitting(u64::MAX, tail_bytes_max / OUTPUT_TAIL_PIECES_MIN).max(1),
            cut_at: None,
            dropped: 0,
            seen: 0,
            last_at: 0,
        }
    }

    /// Takes `data`, written `at` milliseconds after the run's start: what is to be added to the file now, whole lines or
    /// nothing. A time before the last one counts as that one.
    pub fn take(&mut self, at: u64, stream: Stream, mut data: &[u8]) -> String {
        let at = at.max(self.last_at);
        self.last_at = at;
        self.seen = self.seen.saturating_add(data.len() as u64);
        let mut text = String::new();
        while let (Some(left), false) = (self.head_left, data.is_empty()) {
            let (piece, rest) = data.split_at(fitting(at, left).min(data.len()));
            if piece.is_empty() {
                self.head_left = None;
                break;
            }
            self.head_left = Some(left.saturating_sub(line_bytes(at, piece.len())));
            text.push_str(&line(at, stream, piece));
            data = rest;
        }
        self.keep(at, stream, data);
        text
    }

    /// These lines of [`Output::take`] or [`Output::finish`] could not be written and are not in the file: the disk is full. The run goes on, and
    /// nothing more goes into the head.
    pub fn not_written(&mut self, lines: &str) {
        self.head_left = None;
        for line in lines.lines().filter(|line| !is_cut(line)) {
            let (at, bytes) = weigh(line.as_bytes());
            self.drop_bytes(at, bytes);
        }
    }

    /// Nothing more goes into the head: what is around the lines in the file, which is not counted here, takes too much of it.
    pub fn close_head(&mut self) {
        self.head_left = None;
    }

    /// The end: what is still to be added to the file.
    pub fn finish(&mut self) -> String {
        self.head_left = None;
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        let cut = self.cut_at.map(|at| Line::Cut { at, dropped: self.dropped }.to_text());
        cut.unwrap_or_default() + &String::from_utf8_lossy(&tail)
    }

    /// Bytes that the script wrote so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Those of them that are not kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn keep(&mut self, at: u64, stream: Stream, data: &[u8]) {
        // What is longer than the tail pushes everything before out of it, its own start too.
        let skipped = data.len().saturating_sub(self.tail_bytes_max);
        let (skip, data) = data.split_at(skipped);
        if !skip.is_empty() {
            while self.evict() {}
            self.drop_bytes(at, skip.len() as u64);
        }
        for piece in data.chunks(self.tail_piece_max) {
            self.tail.extend(line(at, stream, piece).into_bytes());
            while self.tail.len() > self.tail_bytes_max && self.evict() {}
        }
    }

    /// Drops the tail's oldest line, if there is one.
    fn evict(&mut self) -> bool {
        let Some(end) = self.tail.iter().position(|byte| *byte == b'\n') else { return false };
        let line: Vec<u8> = self.tail.drain(..=end).take(end).collect();
        let (at, bytes) = weigh(&line);
        self.drop_bytes(at, bytes);
        true
    }

    fn drop_bytes(&mut self, at: u64, bytes: u64) {
        self.cut_at = Some(self.cut_at.map_or(at, |before| before.min(at)));
        self.dropped = self.dropped.saturating_add(bytes);
    }
}

fn line(at: u64, stream: Stream, piece: &[u8]) -> String {
    Line::Piece { at, stream, bytes: piece.to_vec() }.to_text()
}

/// The largest piece at this time whose line has at most `room` bytes; 0 when there is none.
fn fitting(at: u64, room: usize) -> usize {
    let groups = room.saturating_sub(line_bytes(at, 0)) / 4;
    groups.saturating_mul(3).min(OUTPUT_PIECE_BYTES_MAX)
}

/// Whether the line only counts what is gone.
fn is_cut(line: &str) -> bool {
    line.split(' ').nth(1) == Some("x")
}

/// The time of a line made here, and the bytes of output in it.
fn weigh(line: &[u8]) -> (u64, u64) {
    let mut words = line.split(|byte| *byte == b' ');
    let at = words.next().and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse().ok());
    let base64 = words.nth(1).unwrap_or_default();
    let padding = base64.iter().filter(|byte| **byte == b'=').count();
    (at.unwrap_or_default(), (base64.len() / 4 * 3).saturating_sub(padding) as u64)
}

#[cfg(test)]
mod tests;
