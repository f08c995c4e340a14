//! Frames on one QUIC stream: whole messages out, whole messages in.

use crate::limits;
use belay_protocol::{CloseCode, FrameReader, Misbehaved, RawFrame, phase::Phase};
use quinn::{RecvStream, SendStream, VarInt};

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The peer broke the rules of the protocol.
    #[error("{0}")]
    Misbehaved(#[from] Misbehaved),
    /// The stream or the connection ended.
    #[error("{0}")]
    Lost(String),
}

/// The receiving half of a stream of frames.
pub(crate) struct Frames<P> {
    stream: RecvStream,
    reader: FrameReader<P>,
    /// Bytes that arrived and were not read yet.
    arrived: bytes::Bytes,
}

impl<P: Phase> Frames<P> {
    pub(crate) fn new(stream: RecvStream, phase: P) -> Self {
        Self { stream, reader: FrameReader::new(phase), arrived: bytes::Bytes::new() }
    }

    /// The stream, and what arrived on it behind the last frame: raw from here on.
    pub(crate) fn into_raw(self) -> (RecvStream, bytes::Bytes) {
        (self.stream, self.arrived)
    }

    /// Tells the peer that nothing more is read of it.
    pub(crate) fn stop(&mut self) {
        let _ = self.stream.stop(VarInt::from_u32(CloseCode::OutOfPhase.code()));
    }

    /// The next whole frame. Cancel-safe: what arrived is kept.
    pub(crate) async fn next(&mut self) -> Result<RawFrame, Ended> {
        loop {
            let mut rest: &[u8] = &self.arrived;
            let before = rest.len();
            let frame = self.reader.push(&mut rest)?;
            let taken = before - rest.len();
            let _ = self.arrived.split_to(taken);
            if self.arrived.is_empty() {
                // The rest of nothing still holds the datagrams that it came in.
                self.arrived = bytes::Bytes::new();
            }
            if let Some(frame) = frame {
                return Ok(frame);
            }
            match self.stream.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.arrived = chunk.bytes,
                Ok(None) => return Err(Ended::Lost("the peer ended the stream".to_owned())),
                Err(error) => return Err(Ended::Lost(error.to_string())),
            }
        }
    }
}

/// Writes one whole frame, as slowly as the peer takes it. Cut off half-way the stream is of no use any more; the caller
/// drops the connection.
pub(crate) async fn write(stream: &mut SendStream, mut frame: &[u8]) -> Result<(), Ended> {
    while !frame.is_empty() {
        let taken = match tokio::time::timeout(limits::DEVICE_TAKES_WAIT, stream.write(frame)).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => return Err(Ended::Lost(error.to_string())),
            Err(_) => return Err(Ended::Lost("the peer takes nothing of what it is told".to_owned())),
        };
        frame = frame.get(taken..).unwrap_or_default();
    }
    Ok(())
}
