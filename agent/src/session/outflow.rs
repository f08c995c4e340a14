//! What a program shows, on its way to the client: read only as fast as the client's window takes it.
//!
//! Nothing is read ahead: a client that does not drain its channel stops its own program and nobody else's.

use super::terminal::Master;
use crate::limits::{OUTPUT_CHUNK_BYTES, STOP_GRACE, TERMINAL_DRAIN, TERMINAL_DRAIN_BYTES};
use crate::recording::Recording;
use bytes::{Bytes, BytesMut};
use russh::{
    ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

/// RFC 4254: the extended data type of standard error.
pub(crate) const STDERR: u32 = 1;

/// The sending half of one channel with its count.
pub(crate) struct Outflow {
    channel: ChannelWriteHalf<Msg>,
    /// The connection, for the one message a channel cannot send: the exit signal.
    connection: Handle,
    /// Cancelled when the connection is gone: nothing that is still to be said is waited for then.
    gone: CancellationToken,
    sent_bytes: AtomicU64,
    /// Where everything that is sent is recorded first, once the session is one that is recorded.
    recording: OnceLock<Arc<Recording>>,
}

impl Outflow {
    pub(crate) fn new(channel: ChannelWriteHalf<Msg>, connection: Handle, gone: CancellationToken) -> Self {
        Self { channel, connection, gone, sent_bytes: AtomicU64::new(0), recording: OnceLock::new() }
    }

    /// From now on everything is recorded before it is sent.
    pub(crate) fn record(&self, recording: &Arc<Recording>) {
        let _ = self.recording.set(Arc::clone(recording));
    }

    /// Output bytes handed to the client so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Both streams of a program with pipes until both end. Cut off half-way: what was read and not sent is lost with
    /// the channel, which is being closed then.
    pub(crate) async fn pump_pipes(&self, mut stdout: impl AsyncRead + Unpin, mut stderr: impl AsyncRead + Unpin) {
        let (mut out_open, mut err_open) = (true, true);
        let mut out_buffer = BytesMut::new();
        let mut err_buffer = BytesMut::new();
        while out_open || err_open {
            tokio::select! {
                read = read_some(&mut stdout, &mut out_buffer), if out_open => match read {
                    Some(bytes) => out_open = self.send(None, bytes).await,
                    None => out_open = false,
                },
                read = read_some(&mut stderr, &mut err_buffer), if err_open => match read {
                    Some(bytes) => err_open = self.send(Some(STDERR), bytes).await,
                    None => err_open = false,
                },
            }
        }
    }

    /// A terminal's output until nobody holds it any more, or until `exited` and what was there then is shown: a program
    /// left in the background does not keep the session open.
    pub(crate) async fn pump_terminal(&self, master: &Master, exited: &CancellationToken) {
        let mut buffer = BytesMut::new();
        let mut drained_bytes = 0;
        loop {
            buffer.reserve(OUTPUT_CHUNK_BYTES);
            let read = if exited.is_cancelled() {
                // The kernel may need a moment to hand over what was written just before the exit.
                tokio::time::timeout(TERMINAL_DRAIN, master.read_buf(&mut buffer)).await.unwrap_or(Ok(0))
            } else {
                tokio::select! {
                    biased;
                    read = master.read_buf(&mut buffer) => read,
                    () = exited.cancelled() => continue,
                }
            };
            let count = read.unwrap_or(0);
            drained_bytes += if exited.is_cancelled() { count } else { 0 };
            if count == 0 || !self.send(None, buffer.split().freeze()).await || drained_bytes > TERMINAL_DRAIN_BYTES {
                return;
            }
        }
    }

    /// A sentence for the person, on standard error, without control characters; `terminal` needs the carriage return
    /// itself. A client that does not read is given [`STOP_GRACE`].
    pub(crate) async fn tell(&self, sentence: &str, on_terminal: bool) {
        self.recorded(told(sentence, on_terminal).as_bytes());
        self.briefly(self.channel.extended_data_bytes(STDERR, told(sentence, on_terminal))).await;
    }

    /// Records the sentence that the person is told after the recording's end.
    pub(crate) fn will_tell(&self, sentence: &str, on_terminal: bool) {
        self.recorded(told(sentence, on_terminal).as_bytes());
    }

    /// Text for a person at a terminal before any program runs; it is not counted as output. Waits for as long as the client
    /// does not read. Whether it went out.
    pub(crate) async fn show(&self, text: String) -> bool {
        self.channel.data_bytes(text).await.is_ok()
    }

    /// The exit status of the program, or of a refusal.
    pub(crate) async fn exit_status(&self, status: u32) {
        self.briefly(self.channel.exit_status(status)).await;
    }

    /// The signal that ended the program, named as SSH does, without `SIG`.
    pub(crate) async fn exit_signal(&self, name: &str) {
        let signal = Sig::Custom(name.to_owned());
        let (id, none) = (self.channel.id(), String::new);
        self.briefly(self.connection.exit_signal_request(id, signal, false, none(), none())).await;
    }

    /// No more output, and the end of the channel.
    pub(crate) async fn close(&self) {
        self.briefly(self.channel.eof()).await;
        self.briefly(self.channel.close()).await;
    }

    /// Waits for a client that may not be reading, but not for ever.
    async fn briefly(&self, saying: impl Future) {
        tokio::select! {
            _ = tokio::time::timeout(STOP_GRACE, saying) => {}
            () = self.gone.cancelled() => {}
        }
    }

    fn recorded(&self, bytes: &[u8]) {
        if let Some(recording) = self.recording.get() {
            recording.shown(bytes);
        }
    }

    async fn send(&self, extended: Option<u32>, bytes: Bytes) -> bool {
        let count = bytes.len() as u64;
        if let Some(recording) = self.recording.get() {
            // Nothing further is read meanwhile.
            recording.clear().await;
            recording.shown(&bytes);
        }
        let sent = match extended {
            None => self.channel.data_bytes(bytes).await,
            Some(kind) => self.channel.extended_data_bytes(kind, bytes).await,
        };
        if sent.is_ok() {
            self.sent_bytes.fetch_add(count, Ordering::Relaxed);
        }
        sent.is_ok()
    }
}

/// A sentence as the person sees it.
fn told(sentence: &str, on_terminal: bool) -> String {
    let (start, end) = if on_terminal { ("\r\n", "\r\n") } else { ("", "\n") };
    let words: String = sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{start}belay: {words}{end}")
}

async fn read_some(source: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Option<Bytes> {
    buffer.reserve(OUTPUT_CHUNK_BYTES);
    match source.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(buffer.split().freeze()),
    }
}
