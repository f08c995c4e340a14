//! One command of the gateway on its channel: three streams and an exit status.
//!
//! What commands there are: `commands`. Who calls: `connection`.

use super::commands;
use crate::{Gateway, act::access::Caller, limits};
use belay_protocol::flow::{WAITING_BYTES_MAX, Waiting};
use russh::{Channel, ChannelMsg, ChannelReadHalf, server::Msg};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// One command with its three streams. Its input is drained whether the command reads it or not: an undrained channel
/// stalls its neighbours, and `waiting` gives the client no credit for what is not read.
pub(super) async fn command(
    gateway: Arc<Gateway>,
    caller: Caller,
    (channel, waiting): (Channel<Msg>, &Waiting),
    line: Vec<u8>,
) {
    let (reading, writing) = channel.split();
    let (near, far) = tokio::io::duplex(WAITING_BYTES_MAX);
    let stdin = Counted { reader: near, waiting }.take(limits::COMMAND_INPUT_BYTES_MAX as u64 + 1);
    let (stdout, stderr) = (writing.make_writer(), writing.make_writer_ext(Some(1)));
    let status = tokio::select! {
        status = commands::run(gateway, caller, line, stdin, stdout, stderr) => status,
        () = drain(reading, far) => return,
    };
    let _ = writing.exit_status(status).await;
    let _ = writing.eof().await;
    let _ = writing.close().await;
}

/// Hands a channel's input over until the client closes it.
async fn drain(mut channel: ChannelReadHalf, input: impl AsyncWrite + Unpin) {
    let mut input = Some(input);
    loop {
        match channel.wait().await {
            None | Some(ChannelMsg::Close) => return,
            // A command that needs no more input has dropped its end; what still comes is dropped too.
            Some(ChannelMsg::Data { data }) => {
                if let Some(open) = &mut input
                    && open.write_all(&data).await.is_err()
                {
                    input = None;
                }
            }
            Some(ChannelMsg::Eof) => input = None,
            Some(_) => {}
        }
    }
}

/// A command's input, counted as it is taken.
struct Counted<'a, R> {
    reader: R,
    waiting: &'a Waiting,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        self.waiting.taken(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}
