//! One session stream: the gateway's `Open`, then the technician's own bytes, handed to the SSH server untouched.

use super::frames::{Ended, Frames};
use crate::{device::Device, limits::OPEN_WAIT, ssh};
use belay_protocol::{AgentPhase, Misbehaved, Open, decode_frame};
use quinn::{RecvStream, SendStream};
use std::{io::Cursor, sync::Arc};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

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
    ssh::serve(device, joined(early, recv, send), open).await;
    Ok(())
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
