//! One session stream: the gateway's `Open`, then the technician's own bytes, handed to the SSH server untouched.

use super::frames::{Ended, Frames};
use crate::{device::Device, limits::OPEN_WAIT, ssh};
use belay_protocol::{AgentPhase, Misbehaved, Open, decode_frame, session::ENDED_CODE};
use quinn::{RecvStream, SendStream};
use std::{
    io::{self, Cursor},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// Serves a stream that the gateway opened until it ends.
///
/// # Errors
/// When the gateway broke the rules: the whole connection is to be closed. A stream that is merely lost is no error.
pub(crate) async fn serve(device: Arc<Device>, send: SendStream, recv: RecvStream) -> Result<(), Misbehaved> {
    let mut frames = Frames::new(recv, AgentPhase::AwaitingOpen);
    let frame = match tokio::time::timeout(OPEN_WAIT, frames.next()).await {
        Ok(Ok(frame)) => frame,
        Ok(Err(Ended::Misbehaved(misbehaved))) => return Err(misbehaved),
        Ok(Err(ended)) => {
            tracing::debug!("a session stream ended before it began: {ended}");
            return Ok(());
        }
        Err(_) => return Err(Misbehaved::Silent),
    };
    let open: Open = decode_frame(&frame)?;
    let (recv, early) = frames.into_parts();
    let ended = CancellationToken::new();
    let recv = Endable { stream: recv, ended: ended.clone() };
    let send = Endable { stream: send, ended: ended.clone() };
    ssh::serve(device, joined(early, recv, send), open, ended).await;
    Ok(())
}

/// A half of a session stream that notices when somebody ended the access at the gateway: that is no lost connection.
struct Endable<S> {
    stream: S,
    /// Cancelled then.
    ended: CancellationToken,
}

impl<S> Endable<S> {
    fn look(&self, error: &io::Error) {
        let inner = error.get_ref();
        let code = match inner.and_then(|inner| inner.downcast_ref()) {
            Some(quinn::ReadError::Reset(code)) => Some(*code),
            Some(_) | None => match inner.and_then(|inner| inner.downcast_ref()) {
                Some(quinn::WriteError::Stopped(code)) => Some(*code),
                Some(_) | None => None,
            },
        };
        if code == Some(quinn::VarInt::from_u32(ENDED_CODE)) {
            self.ended.cancel();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Endable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        Poll::Ready(read.inspect_err(|error| self.look(error)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Endable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.inspect_err(|error| self.look(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The two halves as one stream that begins with the bytes which came behind the `Open`.
fn joined<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    early: Vec<u8>,
    recv: R,
    send: W,
) -> tokio::io::Join<tokio::io::Chain<Cursor<Vec<u8>>, R>, W> {
    tokio::io::join(Cursor::new(early).chain(recv), send)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn bytes_behind_the_open_come_first_and_none_is_lost() {
        let (mut far, near) = tokio::io::duplex(64);
        let (recv, send) = tokio::io::split(near);
        far.write_all(b"-2.0-OpenSSH_9.2\r\n").await.unwrap();
        let mut stream = joined(b"SSH".to_vec(), recv, send);
        let mut line = [0; 21];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"SSH-2.0-OpenSSH_9.2\r\n");
        stream.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }
}
