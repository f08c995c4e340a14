//! How far one recording is at the gateway: sent and kept, counted in chunks. Not here: the stream, the chunks themselves.

/// The gateway said that it keeps chunks that there are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway says it keeps {said} chunks of a recording that has {chunks}")]
pub struct AheadOfChunks {
    /// How many it said.
    pub said: u64,
    /// How many there are.
    pub chunks: u64,
}

/// What the next step on a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send this chunk; it counts as sent.
    Send(u64),
    /// Nothing: all that there is was sent.
    Wait,
    /// The gateway has more than this stream brought, from one before: begin another stream behind that.
    Anew,
}

/// One stream's place in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// The chunk that is sent next.
    next: u64,
}

impl Upload {
    /// A new stream, when the gateway keeps `kept` chunks: it begins with the chunk of that number.
    pub fn begin(kept: u64) -> Self {
        Self { next: kept }
    }

    /// The next step, when `chunks` chunks are sealed and the gateway keeps `kept` of them.
    pub fn next(&mut self, chunks: u64, kept: u64) -> Next {
        if kept > self.next {
            return Next::Anew;
        }
        if self.next >= chunks {
            return Next::Wait;
        }
        let chunk = self.next;
        self.next = self.next.saturating_add(1);
        Next::Send(chunk)
    }
}

/// What the gateway keeps by its own word: never less than before.
///
/// # Errors
/// [`AheadOfChunks`] when there are fewer chunks.
pub fn kept(before: u64, said: u64, chunks: u64) -> Result<u64, AheadOfChunks> {
    if said > chunks { Err(AheadOfChunks { said, chunks }) } else { Ok(before.max(said)) }
}
