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
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::Notify,
};

/// What a person reads who asks the gateway for a shell.
pub(super) const NO_SHELL: &str =
    "the gateway has no shell: `ssh gw help` lists its commands, `ssh DEVICE.TENANT` opens a device's shell";
/// What a person reads who asks the gateway for files.
pub(super) const NO_SUBSYSTEM: &str = "the gateway keeps no files and has no subsystems";

/// One session channel from its opening to its close. It is drained from the start: a client that sends input and never
/// says for what is cut off, for input that nobody reads would hold up the whole connection.
///
/// The channel hears a request before its connection has answered it: `answered` rings when it has.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    caller: Caller,
    mut channel: Channel<Msg>,
    (answered, waiting): (&Notify, &Waiting),
) {
    loop {
        let message = channel.wait().await;
        if let Some(ChannelMsg::Exec { .. } | ChannelMsg::RequestShell { .. } | ChannelMsg::RequestSubsystem { .. }) =
            message
        {
            answered.notified().await;
        }
        match message {
            Some(ChannelMsg::Exec { command: line, .. }) => {
                gateway.shares.request(&caller.key).await;
                return command(gateway, caller, (channel, waiting), line).await;
            }
            Some(ChannelMsg::RequestShell { .. }) => return refuse(channel, NO_SHELL).await,
            Some(ChannelMsg::RequestSubsystem { .. }) => return refuse(channel, NO_SUBSYSTEM).await,
            None | Some(ChannelMsg::Close | ChannelMsg::Data { .. }) => {
                let _ = channel.close().await;
                return;
            }
            Some(_) => {}
        }
    }
}

/// Words, exit status 1, and the end of the channel. A client that does not read is given [`limits::FAREWELL_WAIT`].
async fn refuse(channel: Channel<Msg>, sentence: &str) {
    let (reading, writing) = channel.split();
    let telling = async {
        let _ = writing.extended_data_bytes(1, format!("belay: {sentence}\n")).await;
        let _ = writing.exit_status(1).await;
        let _ = writing.eof().await;
        let _ = writing.close().await;
    };
    tokio::select! {
        _ = tokio::time::timeout(limits::FAREWELL_WAIT, telling) => {}
        () = drain(reading, tokio::io::sink()) => {}
    }
}

/// One command with its three streams. Its input is drained whether the command reads it or not: an undrained channel
/// stalls its neighbours, and `waiting` gives the client no credit for what is not read.
async fn command(gateway: Arc<Gateway>, caller: Caller, (channel, waiting): (Channel<Msg>, &Waiting), line: Vec<u8>) {
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
