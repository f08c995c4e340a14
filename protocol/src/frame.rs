//! Frames: `u32 length | u16 kind | u8 version | body`, big-endian, where length counts kind, version and body.
//! What is in a body is read in `message`.

use crate::kinds::{body_bytes_max, known};
use crate::limits::{HEAD_BYTES, HEAD_BYTES_COUNTED, UNKNOWN_FRAMES_MAX};
use crate::misbehaved::Misbehaved;
use crate::phase::Phase;

/// One whole frame whose body has not been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// The message's number, known or not.
    pub kind: u16,
    /// The version of its fields.
    pub version: u8,
    /// Its bytes; at most what `kinds::body_bytes_max` says.
    pub body: Vec<u8>,
}

/// A head that was found legal: its frame is coming in.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: u16,
    version: u8,
    body_bytes: usize,
}

/// Cuts the bytes of one stream into frames, as they arrive, and refuses what is not legal in the stream's phase.
///
/// A frame is judged by its head: nothing of an illegal or oversized body is kept. The buffer holds at most one body and
/// grows with the bytes that arrive, never by what a length claims. After an error the same error comes again.
#[derive(Debug)]
pub struct FrameReader<P> {
    /// What may be heard now.
    phase: P,
    /// The head as far as it has arrived.
    head: [u8; HEAD_BYTES],
    /// How much of `head` has arrived.
    head_filled: usize,
    /// The head, once whole and legal.
    open: Option<Head>,
    /// The body as far as it has arrived.
    body: Vec<u8>,
    /// Whole frames of unknown kinds so far.
    unknown: u32,
}

impl<P: Phase> FrameReader<P> {
    /// A reader at the start of a stream, or of the phase given.
    pub fn new(phase: P) -> Self {
        Self { phase, head: [0; HEAD_BYTES], head_filled: 0, open: None, body: Vec::new(), unknown: 0 }
    }

    /// Takes from the front of `arrived` up to the end of one frame. `None`: all was taken and the frame is not whole yet.
    ///
    /// Call it until it says `None`. What follows an `Open` stays in `arrived`: those are the session's raw bytes.
    pub fn push(&mut self, arrived: &mut &[u8]) -> Result<Option<RawFrame>, Misbehaved> {
        let Some(head) = self.head(arrived)? else { return Ok(None) };
        let taken = take(arrived, head.body_bytes.saturating_sub(self.body.len()));
        self.body.extend_from_slice(taken);
        if self.body.len() < head.body_bytes {
            return Ok(None);
        }
        self.phase.accept(head.kind)?;
        self.unknown += u32::from(!known(head.kind));
        self.open = None;
        self.head_filled = 0;
        Ok(Some(RawFrame { kind: head.kind, version: head.version, body: std::mem::take(&mut self.body) }))
    }

    /// What may be heard next.
    pub fn phase(&self) -> P {
        self.phase
    }

    /// Frames of unknown kinds that were skipped on this stream.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Whether a frame has begun and is not whole: the end of the stream here is a cut, not an end.
    pub fn is_within_frame(&self) -> bool {
        self.head_filled > 0
    }

    /// The head of the frame that is coming in, once it is whole.
    fn head(&mut self, arrived: &mut &[u8]) -> Result<Option<Head>, Misbehaved> {
        if self.open.is_none() {
            let taken = take(arrived, HEAD_BYTES - self.head_filled);
            for (slot, byte) in self.head.iter_mut().skip(self.head_filled).zip(taken) {
                *slot = *byte;
            }
            self.head_filled += taken.len();
            if self.head_filled == HEAD_BYTES {
                self.open = Some(self.judge()?);
            }
        }
        Ok(self.open)
    }

    /// Judges a whole head: is the kind legal now, from this side, and is the body of a size it may have?
    fn judge(&self) -> Result<Head, Misbehaved> {
        let [a, b, c, d, e, f, version] = self.head;
        let length = u32::from_be_bytes([a, b, c, d]);
        let kind = u16::from_be_bytes([e, f]);
        let body_bytes = (length as usize).checked_sub(HEAD_BYTES_COUNTED).ok_or(Misbehaved::Undersized { length })?;
        self.phase.after(kind).ok_or(Misbehaved::OutOfPhase { kind, phase: self.phase.words() })?;
        let bytes_max = body_bytes_max(kind);
        if body_bytes > bytes_max {
            return Err(Misbehaved::Oversized { kind, bytes: body_bytes as u64, bytes_max });
        }
        if !known(kind) && self.unknown >= UNKNOWN_FRAMES_MAX {
            return Err(Misbehaved::TooManyUnknown { max: UNKNOWN_FRAMES_MAX });
        }
        Ok(Head { kind, version, body_bytes })
    }

    #[cfg(test)]
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.body.capacity()
    }
}

/// Takes at most `wanted` bytes from the front of `arrived`.
fn take<'a>(arrived: &mut &'a [u8], wanted: usize) -> &'a [u8] {
    let (taken, rest) = arrived.split_at(wanted.min(arrived.len()));
    *arrived = rest;
    taken
}
