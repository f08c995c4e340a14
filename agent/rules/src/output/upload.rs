//! How far one run's output file is at the gateway: sent and acknowledged by offset, in bytes of the file.
//!
//! Not here: the stream it goes by, and reading the file.

use crate::limits::OUTPUT_SLICE_BYTES_MAX;
use std::ops::Range;

/// The gateway acknowledged bytes that the file does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway says it keeps {said} bytes of an output that has {bytes}")]
pub struct Ahead {
    /// The offset it said.
    pub said: u64,
    /// The bytes there are.
    pub bytes: u64,
}

/// How far it is. Only bytes that are durable here are sent: or after a power cut the gateway would have more than the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upload {
    /// Bytes sent on this connection, or known to be at the gateway before it.
    sent: u64,
    /// Bytes that are durable at the gateway.
    kept: u64,
}

impl Upload {
    /// A new connection: where its stream begins, which is the last offset that was acknowledged.
    pub fn begin(&mut self) -> u64 {
        self.sent = self.kept;
        self.kept
    }

    /// The next slice of a file of which `durable_bytes` are written and synced; it counts as sent. `None` when all is sent.
    pub fn next(&mut self, durable_bytes: u64) -> Option<Range<u64>> {
        let end = durable_bytes.min(self.sent.saturating_add(OUTPUT_SLICE_BYTES_MAX));
        let slice = self.sent..end;
        self.sent = self.sent.max(end);
        (!slice.is_empty()).then_some(slice)
    }

    /// The gateway keeps everything before `offset`. It may be more than was sent on this connection, from one before; what is
    /// less than before is late, and changes nothing.
    ///
    /// # Errors
    /// [`Ahead`], when the file has fewer bytes.
    pub fn keep(&mut self, offset: u64, durable_bytes: u64) -> Result<(), Ahead> {
        if offset > durable_bytes {
            return Err(Ahead { said: offset, bytes: durable_bytes });
        }
        self.kept = self.kept.max(offset);
        self.sent = self.sent.max(self.kept);
        Ok(())
    }

    /// Bytes that are durable at the gateway: with all of them there, and the end proved, the run may be forgotten.
    pub fn kept(&self) -> u64 {
        self.kept
    }
}
