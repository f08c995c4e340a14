//! What runs wrote, on its way from devices into the store: one stream a run, written at the offset it names.
//!
//! The streams of recordings come in here too; their first frame says what they are (`recordings.rs`).
//!
//! Cut off half-way, what is durable stays; the device begins a new stream behind it.

use super::{
    device::{Ending, Link},
    frames::{Ended, Frames},
    recordings,
};
use crate::{
    limits,
    store::{Piece, RecordError},
};
use belay_certs::Id;
use belay_protocol::{
    CloseCode, GatewayPhase, Message, OutputBegun, OutputKept, RecordingBegun, ToAgent, decode_frame,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::{Connection, RecvStream, VarInt};

/// Takes every output and recording that the device sends until the connection is over. How many at once, QUIC limits: to one for any device,
/// which may come back with what a run wrote, and to more for one that does.
pub(super) async fn take_all(link: &Link, quic: &Connection) -> Ending {
    quic.set_max_concurrent_uni_streams(limits::OUTPUTS_AT_FIRST.into());
    let mut outputs = FuturesUnordered::new();
    loop {
        tokio::select! {
            stream = quic.accept_uni() => match stream {
                Ok(stream) => {
                    quic.set_max_concurrent_uni_streams(limits::UPLOADS_PER_DEVICE_MAX.into());
                    outputs.push(Box::pin(take(link, stream)));
                }
                Err(error) => return Ending::lost(error.to_string()),
            },
            Some(taken) = outputs.next(), if !outputs.is_empty() => {
                if let Err(ending) = taken {
                    return ending;
                }
            }
        }
    }
}

/// One output. One that nobody wants is stopped; only a broken rule ends the connection.
async fn take(link: &Link, stream: RecvStream) -> Result<(), Ending> {
    let mut frames = Frames::new(stream, GatewayPhase::AwaitingUpload);
    let first = tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, frames.next()).await;
    let begun: OutputBegun = match first {
        Ok(Ok(frame)) if frame.kind == RecordingBegun::KIND => {
            return recordings::take(link, decode_frame(&frame).map_err(Ended::from)?, frames).await;
        }
        Ok(Ok(frame)) => decode_frame(&frame).map_err(Ended::from)?,
        Ok(Err(ended @ Ended::Misbehaved(_))) => return Err(ended.into()),
        Ok(Err(Ended::Lost(_))) => return Ok(()),
        Err(_) => return Err(Ending::new(CloseCode::TooSlow, "an output stream stayed silent")),
    };
    let (mut stream, mut bytes) = frames.into_raw();
    let (order, mut offset) = (Id(begun.order), begun.offset);
    loop {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // Also with nothing in it: the device hears what is there.
        let Some(kept) = keep(link, order, offset, &bytes).await else {
            let _ = stream.stop(VarInt::from_u32(CloseCode::OutOfPhase.code()));
            return Ok(());
        };
        link.send(ToAgent::OutputKept(OutputKept { order: order.0, offset: kept })).await?;
        offset = offset.saturating_add(length);
        if kept < offset {
            // A gap: it begins again at what it just heard.
            let _ = stream.stop(VarInt::from_u32(CloseCode::OutOfPhase.code()));
            return Ok(());
        }
        match stream.read_chunk(limits::OUTPUT_PIECE_BYTES, true).await {
            Ok(Some(chunk)) => bytes = chunk.bytes,
            Ok(None) | Err(_) => return Ok(()),
        }
    }
}

/// How much of the output is durable with this piece; `None` when it is not wanted, or the disk has no room for more: its device
/// has all of it (P5) and begins again after a while, and holds none of the connection's credit until then. While the store fails
/// it is tried again: the device waits meanwhile, held by flow control.
async fn keep(link: &Link, job: Id, offset: u64, bytes: &[u8]) -> Option<u64> {
    loop {
        // With nothing in it it takes no room, and what is here is said.
        if !bytes.is_empty() && !link.gateway.room.takes_output() {
            return None;
        }
        let address = link.gateway.presence.called(link.join).unwrap_or_else(|| link.address.clone());
        let piece = Piece {
            tenant: address.tenant.clone(),
            device: address.device.clone(),
            job,
            offset,
            bytes: bytes.to_vec(),
            at: link.gateway.now(),
        };
        match link.gateway.store.keep(piece).await {
            Ok(kept) => {
                if !bytes.is_empty() {
                    link.gateway.jobs.printed(&address.tenant, job, &address.device);
                }
                return Some(kept);
            }
            Err(RecordError::Refused(refusal)) => {
                tracing::debug!(join = %link.join, "an output is not kept: {refusal}");
                return None;
            }
            Err(RecordError::Broken(why)) => {
                tracing::error!(join = %link.join, "an output was not kept: {why}");
                tokio::time::sleep(limits::JOBS_RETRY).await;
            }
        }
    }
}
