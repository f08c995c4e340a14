//! Events become text, and text becomes chunks: at so many bytes, so long after its first event, or at the end.

use crate::limits::{CHUNK_MICROS, CHUNKS_BEFORE_END_MAX};
use belay_certs::limits::{CAST_PIECE_BYTES_MAX, RECORDING_CHUNK_TEXT_BYTES};
use belay_certs::recording::cast::Writer;

/// The text of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Its number, from 0.
    pub chunk: u64,
    /// Whole lines; none only in a last chunk.
    pub text: String,
    /// When its first event was, in microseconds.
    pub from: u64,
    /// When its last event was.
    pub to: u64,
    /// Whether it is the last one.
    pub last: bool,
}

/// What was recorded and is not cut yet.
#[derive(Debug)]
pub struct Tape {
    writer: Writer,
    text: String,
    /// When the first event in `text` was; none while there is none.
    from: Option<u64>,
    /// The number of the next chunk.
    next: u64,
}

impl Tape {
    /// A recording that begins with this header line, at 0.
    pub fn new(header: String) -> Self {
        Self { writer: Writer::default(), text: header, from: Some(0), next: 0 }
    }

    /// The person is about to receive `bytes`. Answers with the chunks that became full.
    pub fn output(&mut self, at: u64, bytes: &[u8]) -> Vec<Cut> {
        self.pieces(at, bytes, Writer::output)
    }

    /// The person typed `bytes`.
    pub fn input(&mut self, at: u64, bytes: &[u8]) -> Vec<Cut> {
        self.pieces(at, bytes, Writer::input)
    }

    /// The terminal has another size.
    pub fn resize(&mut self, at: u64, columns: u32, rows: u32) -> Option<Cut> {
        self.event(|writer, text| writer.resize(at, columns, rows, text))
    }

    /// Something happened, in words.
    pub fn marker(&mut self, at: u64, words: &str) -> Option<Cut> {
        self.event(|writer, text| writer.marker(at, words, text))
    }

    /// The chunk that has waited long enough at `now`.
    pub fn due(&mut self, now: u64) -> Option<Cut> {
        self.due_at().filter(|due| *due <= now).map(|_| self.cut(false))
    }

    /// When the next chunk is cut if nothing more happens; none while there is nothing to cut.
    pub fn due_at(&self) -> Option<u64> {
        self.from.map(|from| from.saturating_add(CHUNK_MICROS))
    }

    /// The last chunk: everything that is left.
    pub fn finish(&mut self) -> Cut {
        self.cut(true)
    }

    /// What waits to be cut: since when, and how many bytes of text. None while there is nothing.
    pub fn waits(&self) -> Option<(u64, usize)> {
        self.from.map(|from| (from, self.text.len()))
    }

    /// Whether the recording has as many chunks as one may have, but for those of its end.
    pub fn is_full(&self) -> bool {
        self.next >= CHUNKS_BEFORE_END_MAX
    }

    fn pieces(&mut self, at: u64, bytes: &[u8], write: fn(&mut Writer, u64, &[u8], &mut String)) -> Vec<Cut> {
        let pieces = bytes.chunks(CAST_PIECE_BYTES_MAX);
        pieces.filter_map(|piece| self.event(|writer, text| write(writer, at, piece, text))).collect()
    }

    fn event(&mut self, write: impl FnOnce(&mut Writer, &mut String)) -> Option<Cut> {
        write(&mut self.writer, &mut self.text);
        // Also for half a character that is held back: it must not wait for ever for the other half.
        self.from.get_or_insert(self.writer.last());
        (self.text.len() >= RECORDING_CHUNK_TEXT_BYTES).then(|| self.cut(false))
    }

    fn cut(&mut self, last: bool) -> Cut {
        self.writer.flush(&mut self.text);
        let to = self.writer.last();
        let (chunk, text) = (self.next, std::mem::take(&mut self.text));
        let from = self.from.take().unwrap_or(to).min(to);
        self.next = self.next.saturating_add(1);
        Cut { chunk, text, from, to, last }
    }
}
