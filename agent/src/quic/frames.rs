//! Frames on QUIC streams: reading whole messages with the phase table in front, writing them.

use crate::{limits::READ_BYTES, words::heard};
use belay_protocol::{CloseCode, FrameReader, Misbehaved, Phase, RawFrame};
use quinn::{RecvStream, SendStream};

/// Why a stream of frames ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The stream or the connection is gone.
    #[error("{0}")]
    Lost(String),
    /// The gateway broke the rules of the wire.
    #[error("the gateway broke the protocol: {0}")]
    Misbehaved(#[from] Misbehaved),
    /// We have a fault of our own.
    #[error("{0}")]
    Broken(String),
}

impl Ended {
    /// The stream or the connection is gone. Why may be in the words of the gateway, which closed it.
    pub(super) fn lost(why: impl std::fmt::Display) -> Self {
        Self::Lost(heard(&why.to_string()))
    }

    /// What to close the connection with.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::Lost(_) => CloseCode::Finished,
            Self::Misbehaved(misbehaved) => misbehaved.close_code(),
            Self::Broken(_) => CloseCode::Broken,
        }
    }
}

/// Whole frames from one stream, in order.
pub(crate) struct Frames<P> {
    stream: RecvStream,
    reader: FrameReader<P>,
    /// Read from the stream and not yet taken into a frame.
    arrived: Vec<u8>,
    /// How much of `arrived` was taken.
    taken: usize,
}

impl<P: Phase> Frames<P> {
    /// Reads `stream` from the phase given.
    pub(crate) fn new(stream: RecvStream, phase: P) -> Self {
        Self { stream, reader: FrameReader::new(phase), arrived: Vec::new(), taken: 0 }
    }

    /// The next frame. Cancel-safe: what has arrived is kept for the next call.
    ///
    /// # Errors
    /// When the stream ends, or the frame is not legal now.
    pub(crate) async fn next(&mut self) -> Result<RawFrame, Ended> {
        loop {
            let mut rest = self.arrived.get(self.taken..).unwrap_or_default();
            let frame = self.reader.push(&mut rest)?;
            self.taken = self.arrived.len() - rest.len();
            if let Some(frame) = frame {
                return Ok(frame);
            }
            let chunk = self.stream.read_chunk(READ_BYTES, true).await.map_err(Ended::lost)?;
            let Some(chunk) = chunk else { return Err(self.cut()) };
            self.arrived.clear();
            self.taken = 0;
            self.arrived.extend_from_slice(&chunk.bytes);
        }
    }

    /// The stream, with the bytes that came behind the last frame.
    pub(crate) fn into_parts(mut self) -> (RecvStream, Vec<u8>) {
        let rest = self.arrived.split_off(self.taken.min(self.arrived.len()));
        (self.stream, rest)
    }

    fn cut(&self) -> Ended {
        let where_to = if self.reader.is_within_frame() { "in the middle of a message" } else { "between messages" };
        Ended::lost(format_args!("the gateway ended the stream {where_to}"))
    }
}

/// Writes one whole frame. Cut off half-way the stream is useless.
pub(crate) async fn write(stream: &mut SendStream, frame: &[u8]) -> Result<(), Ended> {
    stream.write_all(frame).await.map_err(Ended::lost)
}
