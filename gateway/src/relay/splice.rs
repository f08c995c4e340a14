//! Raw bytes between a person's channel and a device's stream, both ways, until either ends.
//!
//! Up, bytes always wait in a queue of this splice: a device that does not read must not stall the person's other
//! channels, and gets its client no more credit (`belay_protocol::flow`). Down, a chunk is read only when the person's
//! window took the last one.

use super::bulk::Bulk;
use crate::limits::{DOWNSTREAM_CHUNK_BYTES, FAREWELL_WAIT};
use belay_protocol::{flow::Waiting, session::ENDED_CODE};
use bytes::{Buf, Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, server::Msg};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes went each way; read while it runs and after.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// To the device.
    pub(crate) up: AtomicU64,
    /// From the device.
    pub(crate) down: AtomicU64,
}

/// Carries bytes until both directions ended or `cut` says why not any longer, and says why. Both ends see a closed stream then.
pub(crate) async fn carry(
    channel: Channel<Msg>,
    (waiting, bulk): (&Waiting, &Bulk),
    (mut send, mut recv): (SendStream, RecvStream),
    carried: &Carried,
    cut: impl Future<Output = String>,
) -> String {
    let (reading, writing) = channel.split();
    let mut is_cut = false;
    let reason = {
        let down = downward(&mut recv, &writing, carried);
        let up = upward(reading, (waiting, bulk), &mut send, carried);
        let cut = async {
            let reason = cut.await;
            is_cut = true;
            reason
        };
        tokio::pin!(down, up, cut);
        tokio::select! {
            reason = &mut cut => reason,
            // When the device is done there is nothing left to say to it.
            reason = &mut down => reason,
            ended = &mut up => match ended {
                // The person said all; the device may still answer.
                Up::Finished => until(down, cut).await,
                Up::Closed => "the person's connection closed".to_owned(),
                Up::Overrun => "the person's client sent more than it had credit for".to_owned(),
                Up::Stopped => until(down, cut).await,
            },
        }
    };
    if is_cut {
        let code = quinn::VarInt::from_u32(ENDED_CODE);
        let _ = (send.reset(code), recv.stop(code));
    }
    drop((send, recv));
    // A client that takes nothing must not hold up the record of the end.
    let closing = async {
        let _ = writing.eof().await;
        let _ = writing.close().await;
    };
    let _ = tokio::time::timeout(FAREWELL_WAIT, closing).await;
    reason
}

async fn until(down: impl Future<Output = String>, cut: impl Future<Output = String>) -> String {
    tokio::select! {
        reason = cut => reason,
        reason = down => reason,
    }
}

/// What came since the last read goes on as one packet: a packet for each datagram costs the client and us several times
/// as much a byte.
async fn downward(recv: &mut RecvStream, writing: &ChannelWriteHalf<Msg>, carried: &Carried) -> String {
    let mut buffer = vec![0; DOWNSTREAM_CHUNK_BYTES];
    loop {
        match recv.read(&mut buffer).await {
            Ok(Some(count)) => {
                carried.down.fetch_add(count as u64, Ordering::Relaxed);
                let came = Bytes::copy_from_slice(buffer.get(..count).unwrap_or(&buffer));
                if writing.data_bytes(came).await.is_err() {
                    return "the person's connection closed".to_owned();
                }
            }
            Ok(None) => return "the device closed the stream".to_owned(),
            Err(error) => return format!("the way to the device was lost: {error}"),
        }
    }
}

/// How the upward direction ended.
enum Up {
    /// The person sent the end of input.
    Finished,
    /// The person's channel is gone.
    Closed,
    /// The person's client broke its credit.
    Overrun,
    /// The device reads no more.
    Stopped,
}

async fn upward(
    mut reading: ChannelReadHalf,
    (counted, bulk): (&Waiting, &Bulk),
    send: &mut SendStream,
    carried: &Carried,
) -> Up {
    let mut waiting = BytesMut::new();
    let mut ended = false;
    loop {
        if ended && waiting.is_empty() {
            let _ = send.finish();
            return Up::Finished;
        }
        tokio::select! {
            biased;
            // Cancel-safe: quinn counts bytes as written only when the future is ready.
            written = send.write(&waiting), if !waiting.is_empty() => match written {
                Ok(count) => {
                    waiting.advance(count.min(waiting.len()));
                    counted.taken(count);
                    carried.up.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(_) => return Up::Stopped,
            },
            message = reading.wait() => match message {
                None | Some(ChannelMsg::Close) => return Up::Closed,
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Data { data }) => {
                    bulk.came(data.len());
                    waiting.extend_from_slice(&data);
                    if counted.is_overrun() {
                        return Up::Overrun;
                    }
                }
                Some(_) => {}
            },
        }
    }
}
