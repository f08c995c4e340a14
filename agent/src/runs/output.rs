//! What a script writes, on its way into the run's file: both pipes in the order they are heard, at most ten writes a second,
//! and secrets hidden before anything of it is kept.
//!
//! Memory and file are bounded whatever the script writes. Not here: what of it is kept (`belay_agent_rules::output`), and where
//! secrets stand in it (`belay_agent_rules::mask`).

use super::Run;
use crate::{limits::OUTPUT_DELAY, state::runs::OutputFile};
use belay_agent_rules::{
    mask::{Mask, Masked},
    output::Output,
};
use belay_certs::{
    Digest,
    limits::OUTPUT_PIECE_BYTES_MAX,
    output::{Stream, read},
    runbook::OutputLimit,
    secrets::Secrets,
};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The output of one run on its way to its file.
pub(super) struct Keeper {
    output: Output,
    /// What hides its secrets; none when it has none.
    masking: Option<Masking>,
    file: Arc<OutputFile>,
    /// Whoever watches how far it is.
    run: Arc<Run>,
    /// When the script was started.
    began: Instant,
    /// Bytes of the file that are written and synced.
    durable: u64,
    /// Bytes of one stream that came one after the other, and when the first came.
    piece: Option<(Stream, Instant, Vec<u8>)>,
    /// Lines that are not written yet.
    unwritten: String,
    /// When they must be.
    due: Option<Instant>,
    /// Why some of them are not in the file.
    trouble: Option<String>,
}

/// Both pipes on their way through the mask.
struct Masking {
    mask: Mask,
    out: Masked,
    err: Masked,
}

/// What a run left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The digest of the file; none when it cannot be read.
    pub(super) digest: Option<Digest>,
    /// The file's length.
    pub(super) bytes: u64,
    /// Bytes that were written and are not in it.
    pub(super) dropped: u64,
    /// Why some of them are not, beside the limit.
    pub(super) trouble: Option<String>,
}

impl Keeper {
    pub(super) fn new(limit: OutputLimit, secrets: &Secrets, file: Arc<OutputFile>, run: Arc<Run>) -> Self {
        let (out, err) = (Masked::default(), Masked::default());
        let masking = (!secrets.is_empty()).then(|| Masking { mask: Mask::of(secrets), out, err });
        let (output, began) = (Output::new(limit), Instant::now());
        let (piece, unwritten, due, trouble) = (None, String::new(), None, None);
        Self { output, masking, file, run, began, durable: 0, piece, unwritten, due, trouble }
    }

    /// Takes what comes out of both pipes until both end, or until `close`: whoever still holds them then writes to nobody.
    pub(super) async fn pump(
        mut self,
        mut stdout: impl AsyncRead + Unpin,
        mut stderr: impl AsyncRead + Unpin,
        close: &CancellationToken,
    ) -> Self {
        let (mut out_open, mut err_open) = (true, true);
        let (mut out, mut err) = (BytesMut::new(), BytesMut::new());
        while out_open || err_open {
            out.reserve(OUTPUT_PIECE_BYTES_MAX);
            err.reserve(OUTPUT_PIECE_BYTES_MAX);
            let due = self.due.unwrap_or_else(Instant::now);
            tokio::select! {
                () = close.cancelled() => break,
                () = tokio::time::sleep_until(due), if self.due.is_some() => {}
                read = stdout.read_buf(&mut out), if out_open => {
                    out_open = read.is_ok_and(|count| count > 0);
                    self.take(Stream::Out, &out.split());
                }
                read = stderr.read_buf(&mut err), if err_open => {
                    err_open = read.is_ok_and(|count| count > 0);
                    self.take(Stream::Err, &err.split());
                }
            }
            if self.due.is_some_and(|due| due <= Instant::now()) || self.unwritten.len() >= OUTPUT_PIECE_BYTES_MAX {
                self.settle_piece();
                self.write().await;
            }
        }
        self
    }

    /// Takes what a pipe gave, without its secrets; none of it is a pipe's end.
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let shown = self.masking.as_mut().map(|masking| match (stream, bytes.is_empty()) {
            (Stream::Out, false) => masking.out.take(&masking.mask, bytes),
            (Stream::Err, false) => masking.err.take(&masking.mask, bytes),
            (Stream::Out, true) => masking.out.finish(&masking.mask),
            (Stream::Err, true) => masking.err.finish(&masking.mask),
        });
        self.hear(stream, shown.as_deref().unwrap_or(bytes));
    }

    /// Adds to the piece of this stream; one that is full, or another stream's, becomes lines first.
    fn hear(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let fits = self.piece.as_ref().is_some_and(|(of, _, held)| {
            *of == stream && held.len().saturating_add(bytes.len()) <= OUTPUT_PIECE_BYTES_MAX
        });
        if !fits {
            self.settle_piece();
        }
        let now = Instant::now();
        self.piece.get_or_insert_with(|| (stream, now, Vec::new())).2.extend_from_slice(bytes);
        self.due.get_or_insert(now + OUTPUT_DELAY);
    }

    fn settle_piece(&mut self) {
        if let Some((stream, at, bytes)) = self.piece.take() {
            let at = u64::try_from(at.duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
            self.unwritten.push_str(&self.output.take(at, stream, &bytes));
        }
    }

    /// Writes and syncs what there is. What cannot be written is cut, and the script goes on.
    async fn write(&mut self) {
        self.due = None;
        let lines = std::mem::take(&mut self.unwritten);
        if !lines.is_empty() && !self.append(&lines).await {
            self.output.not_written(&lines);
        }
    }

    async fn append(&mut self, lines: &str) -> bool {
        let (file, end, bytes) = (self.file.clone(), self.durable, lines.to_owned());
        let written = tokio::task::spawn_blocking(move || file.append(end, bytes.as_bytes())).await;
        let failed = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            tracing::warn!(order = %self.run.order, "the output of a run is cut: {why}");
            self.trouble.get_or_insert(format!("its output is cut, for it could not be written: {why}"));
            return false;
        }
        self.durable = self.durable.saturating_add(lines.len() as u64);
        self.run.progress.grown(&self.file, self.durable);
        true
    }

    /// The end: the tail goes into the file, and what is there is read back for its digest.
    pub(super) async fn finish(mut self) -> Left {
        [Stream::Out, Stream::Err].into_iter().for_each(|stream| self.take(stream, &[]));
        self.settle_piece();
        self.write().await;
        let tail = self.output.finish();
        if !tail.is_empty() {
            self.append(&tail).await;
        }
        let (file, seen) = (self.file.clone(), self.output.seen());
        let left = tokio::task::spawn_blocking(move || look(&file, seen)).await;
        let mut left = left.unwrap_or_else(|error| unread(&error));
        left.trouble = self.trouble.or(left.trouble);
        left
    }
}

/// What is in a whole file, of `seen` bytes that were written.
fn look(file: &OutputFile, seen: u64) -> Left {
    let bytes = match file.read() {
        Ok(bytes) => bytes,
        Err(error) => return Left { dropped: seen, ..unread(&error) },
    };
    let kept = |line: &belay_certs::output::Line| match line {
        belay_certs::output::Line::Piece { bytes, .. } => bytes.len() as u64,
        belay_certs::output::Line::Cut { .. } | belay_certs::output::Line::Sealed { .. } => 0,
    };
    let kept = read(&bytes).map_or(0, |lines| lines.iter().map(kept).sum());
    let (digest, dropped) = (Some(Digest::of(&bytes)), seen.saturating_sub(kept));
    Left { digest, bytes: bytes.len() as u64, dropped, trouble: None }
}

fn unread(why: &dyn std::fmt::Display) -> Left {
    Left { trouble: Some(format!("its output cannot be read: {why}")), ..Left::default() }
}
