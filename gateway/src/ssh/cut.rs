//! A stream that can be cut off from outside: the library's task for a connection can only be ended through its stream.
//!
//! The agent has the same few lines: the two programs share no crate that may know an async runtime.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A stream whose next read or write fails once its token is cancelled.
pub(crate) struct Cut<S> {
    stream: S,
    cut: CancellationToken,
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Cut<S> {
    pub(crate) fn new(stream: S, cut: CancellationToken) -> Self {
        let waiting = Box::pin(cut.clone().cancelled_owned());
        Self { stream, cut, waiting }
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.is_cancelled() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Polled for its wake-up: the check below says whether it fired.
        let _ = self.waiting.as_mut().poll(cx);
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let _ = self.waiting.as_mut().poll(cx);
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_read_that_waits_ends_when_the_stream_is_cut() {
        let (near, _far) = tokio::io::duplex(16);
        let cut = CancellationToken::new();
        let mut stream = Cut::new(near, cut.clone());
        let reading = async { stream.read_u8().await.unwrap_err().kind() };
        let cutting = async { cut.cancel() };
        assert_eq!(tokio::join!(reading, cutting).0, io::ErrorKind::ConnectionAborted);
    }
}
