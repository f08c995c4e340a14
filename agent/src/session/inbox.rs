//! What a client sends on one channel: its input waits here, in a queue of its own, until the program takes it.
//!
//! russh hands all channels of a connection through one loop, and a channel that is not drained stalls its neighbours: so
//! this queue always takes what comes. That it cannot grow is the work of `belay_protocol::flow`: a client whose bytes are
//! not taken gets no credit for more.

use belay_protocol::flow::{WAITING_BYTES_HIGH, Waiting};
use bytes::{Buf, BytesMut};
use russh::{ChannelMsg, ChannelReadHalf, Sig};
use rustix::termios::Winsize;
use std::sync::Arc;

/// Something the client did that the session must act on; input is kept in the [`Inbox`] instead.
pub(crate) enum Incoming {
    /// Input arrived or ended: look at [`Inbox::front`] again.
    Input,
    /// The client's window has another size.
    Resize(Winsize),
    /// The client asks for a signal.
    Signal(Sig),
    /// The client sent more than it had credit for.
    Overrun,
    /// The client closed the channel or is gone.
    Closed,
}

/// The receiving half of one channel.
pub(crate) struct Inbox {
    channel: ChannelReadHalf,
    /// Counted by the connection as bytes come, by this queue as they go.
    counted: Arc<Waiting>,
    waiting: BytesMut,
    /// The client sends no more input.
    ended: bool,
    /// Nobody reads the input any more: it is dropped as it comes, as a closed pipe would.
    discarding: bool,
    /// Input bytes received so far.
    received_bytes: u64,
}

impl Inbox {
    pub(crate) fn new(channel: ChannelReadHalf, counted: Arc<Waiting>) -> Self {
        Self { channel, counted, waiting: BytesMut::new(), ended: false, discarding: false, received_bytes: 0 }
    }

    /// The next thing the client does. Cancel-safe: nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            match self.channel.wait().await {
                None | Some(ChannelMsg::Close) => return Incoming::Closed,
                Some(ChannelMsg::Data { data }) => {
                    self.keep(&data);
                    return if self.counted.is_overrun() { Incoming::Overrun } else { Incoming::Input };
                }
                Some(ChannelMsg::Eof) => {
                    self.ended = true;
                    return Incoming::Input;
                }
                Some(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                    return Incoming::Resize(window_size(col_width, row_height, pix_width, pix_height));
                }
                Some(ChannelMsg::Signal { signal }) => return Incoming::Signal(signal),
                // Requests after the start (a second `exec`, late `env`) were refused by the connection's handler.
                Some(_) => {}
            }
        }
    }

    /// The next request before the program starts; input that comes early is kept, as much as waits at most.
    pub(crate) async fn request(&mut self) -> Option<ChannelMsg> {
        loop {
            match self.channel.wait().await? {
                ChannelMsg::Close => return None,
                ChannelMsg::Data { data } => self.keep(&data),
                ChannelMsg::Eof => self.ended = true,
                request => return Some(request),
            }
            if self.waiting.len() > WAITING_BYTES_HIGH {
                return None;
            }
        }
    }

    /// The oldest input that waits; none when nothing does.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        (!self.waiting.is_empty()).then_some(self.waiting.as_ref())
    }

    /// The program took `count` bytes of [`Inbox::front`].
    pub(crate) fn taken(&mut self, count: usize) {
        self.waiting.advance(count.min(self.waiting.len()));
        self.counted.taken(count);
    }

    /// Whether all input was taken and no more will come.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    /// The program closed its input: what waits and what still comes is dropped.
    pub(crate) fn discard(&mut self) {
        self.discarding = true;
        self.counted.taken(self.waiting.len());
        self.waiting.clear();
    }

    /// Input bytes received so far.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    fn keep(&mut self, data: &[u8]) {
        self.received_bytes += data.len() as u64;
        if self.discarding {
            self.counted.taken(data.len());
        } else {
            self.waiting.extend_from_slice(data);
        }
    }
}

/// A window size as the terminal wants it; sizes beyond 65,535 are cut.
pub(crate) fn window_size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let cut = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    Winsize { ws_row: cut(rows), ws_col: cut(columns), ws_xpixel: cut(width), ws_ypixel: cut(height) }
}
