//! The operator's socket, `DIR/admin.sock`: one request a connection, readable and writable by the gateway's user alone.
//!
//! A request is JSON up to the end of the client's side. The answer is frames of bytes, each with its length in front
//! (32 bits, big endian), an empty frame, and the outcome as JSON: a cut-off answer is never taken for a whole one.

use super::{
    acts::{Operator, Request},
    directory::Directory,
};
use crate::limits::ADMIN_REQUEST_BYTES_MAX;
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{fs, io, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

/// One frame of an answer, in bytes.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// An outcome, in bytes: one sentence, and a policy's worst error fits.
const OUTCOME_BYTES_MAX: u64 = 64 << 10;
/// Requests under way at once: one operator has one terminal or a few.
const REQUESTS_MAX: usize = 8;
/// From the connection to the end of the request: the client is a program on the same machine.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// For the client to take one frame: a slow disk of its does; a client that is stopped keeps one of the few places no longer.
const FRAME_WAIT: Duration = Duration::from_secs(60);

/// How a request ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
enum Outcome {
    Done,
    Refused { sentence: String },
}

/// Opens the socket. The caller holds the directory's lock, so whatever is there is left from a process that is gone.
pub(crate) fn open(directory: &Directory) -> anyhow::Result<UnixListener> {
    // Made where nobody else can reach it, and put in its place when it is private.
    let (draft, path) = (directory.keys().join("admin.sock.new"), directory.socket());
    let open = || {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&draft)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
        fs::rename(&draft, &path)?;
        Ok(listener)
    };
    open().with_context(|| format!("{} cannot be listened on", path.display()))
}

/// Answers the operator until the gateway stops.
pub(crate) async fn serve(operator: Arc<Operator>, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = operator.gateway.stop.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!("a connection of the operator could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (operator, tracker) = (Arc::clone(&operator), operator.gateway.tracker.clone());
        tracker.spawn(async move {
            if let Err(error) = answer(&operator, stream).await {
                tracing::warn!("the operator's command went away before its answer: {error}");
            }
            drop(place);
        });
    }
}

/// The next connection, once there is a place for it. Cut off halfway, a connection that was accepted is closed.
async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn answer(operator: &Operator, stream: UnixStream) -> io::Result<()> {
    let (mut hearing, mut saying) = stream.into_split();
    let acted = match timeout(REQUEST_WAIT, hear(&mut hearing)).await {
        Ok(Ok(request)) => {
            let (mut near, far) = tokio::io::duplex(FRAME_BYTES_MAX);
            // `near` goes with the act: its end is the end of the frames. `far` goes with the sending: an act whose client is
            // gone finds that nobody hears it, and ends in its own order instead of waiting for ever.
            let acting = async move { operator.carry_out(request, &mut near).await };
            let (acted, sent) = tokio::join!(acting, send(far, &mut saying));
            sent?;
            acted
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(anyhow::anyhow!("the request did not end in time")),
    };
    let outcome = match acted {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Refused { sentence: format!("{error:#}") },
    };
    let outcome = serde_json::to_vec(&outcome)?;
    let end = async {
        saying.write_u32(0).await?;
        saying.write_all(&outcome).await?;
        saying.shutdown().await
    };
    timeout(FRAME_WAIT, end).await?
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Request> {
    let mut bytes = Vec::new();
    stream.take(ADMIN_REQUEST_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    ensure!(
        bytes.len() as u64 <= ADMIN_REQUEST_BYTES_MAX,
        "the request is larger than {ADMIN_REQUEST_BYTES_MAX} bytes"
    );
    serde_json::from_slice(&bytes).context("the request is not one of this version of belay-gateway")
}

/// Everything that `from` holds, in frames; `from` ends with it, also when it fails.
async fn send(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        let count = from.read(&mut frame).await?;
        let Some(read) = frame.get(..count).filter(|read| !read.is_empty()) else { return Ok(()) };
        let length = u32::try_from(count).map_err(io::Error::other)?;
        let taken = async {
            to.write_u32(length).await?;
            to.write_all(read).await
        };
        timeout(FRAME_WAIT, taken).await??;
    }
}

/// Asks the gateway behind the socket, and writes what it answers to `out`.
///
/// # Errors
/// Its refusal, or that the answer was cut off.
pub(super) async fn ask<W: AsyncWrite + Unpin>(
    stream: UnixStream,
    request: &Request,
    out: &mut W,
) -> anyhow::Result<()> {
    let (mut hearing, mut saying) = stream.into_split();
    saying.write_all(&serde_json::to_vec(request)?).await.context("the gateway did not take the request")?;
    saying.shutdown().await.context("the gateway did not take the request")?;
    let cut = "the gateway's answer was cut off";
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        let count = usize::try_from(hearing.read_u32().await.context(cut)?)?;
        if count == 0 {
            break;
        }
        let bytes = frame.get_mut(..count).context("the gateway's answer has a frame that is too large")?;
        hearing.read_exact(bytes).await.context(cut)?;
        out.write_all(bytes).await.context("the answer cannot be written")?;
    }
    out.flush().await.context("the answer cannot be written")?;
    let mut outcome = Vec::new();
    hearing.take(OUTCOME_BYTES_MAX).read_to_end(&mut outcome).await.context(cut)?;
    match serde_json::from_slice(&outcome).context(cut)? {
        Outcome::Done => Ok(()),
        Outcome::Refused { sentence } => bail!("{sentence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_and_the_act_hears_of_it() {
        let (mut near, far) = tokio::io::duplex(FRAME_BYTES_MAX);
        let (mut client, _stopped) = tokio::io::duplex(1);
        let acting = async move { near.write_all(&vec![7; 4 * FRAME_BYTES_MAX]).await };
        let (acted, sent) = tokio::join!(acting, send(far, &mut client));
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(acted.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
