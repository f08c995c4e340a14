//! What a script writes, on its way into the run's file: both pipes in the order they are heard, at most ten writes a second,
//! secrets hidden before anything of it is kept, and all of it sealed where only some may read it.
//!
//! Memory and file are bounded whatever the script writes. Not here: what of it is kept (`belay_agent_rules::output`), where
//! secrets stand in it (`belay_agent_rules::mask`), and what is sealed (`belay_certs::output`).

use super::Run;
use crate::{
    limits::{
        OUTPUT_DELAY, OUTPUT_INSIDE_BYTES_MAX, OUTPUT_SEALED_BYTES, OUTPUT_SEALED_DELAY, OUTPUT_SEALED_HEAD_BYTES_MAX,
    },
    state::runs::OutputFile,
};
use belay_agent_rules::{
    mask::{Mask, Masked},
    output::Output,
};
use belay_certs::{
    Digest,
    limits::{OUTPUT_BYTES_MAX, OUTPUT_PIECE_BYTES_MAX},
    output::{Line, Stream, read, seal},
    recording::blob::Readers,
    runbook::OutputLimit,
    secrets::Secrets,
};
use bytes::BytesMut;
use std::{sync::Arc, time::Duration};
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
    /// Who may read the file.
    readers: Readers,
    file: Arc<OutputFile>,
    /// Whoever watches how far it is.
    run: Arc<Run>,
    /// When the script was started.
    began: Instant,
    /// Bytes of the file that are written and synced.
    durable: u64,
    /// Sealed lines from which on the head takes no more, in bytes of the file.
    head_max: u64,
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
    pub(super) fn new(
        limit: OutputLimit,
        secrets: &Secrets,
        readers: Readers,
        file: Arc<OutputFile>,
        run: Arc<Run>,
    ) -> Self {
        let (out, err) = (Masked::default(), Masked::default());
        let masking = (!secrets.is_empty()).then(|| Masking { mask: Mask::of(secrets), out, err });
        let limit = match readers {
            Readers::Anybody => limit,
            Readers::Only(_) => limit.at_most(OUTPUT_INSIDE_BYTES_MAX),
        };
        let (output, began) = (Output::new(limit), Instant::now());
        let (durable, head_max) = (0, limit.bytes().min(OUTPUT_SEALED_HEAD_BYTES_MAX));
        let (piece, unwritten, due, trouble) = (None, String::new(), None, None);
        Self { output, masking, readers, file, run, began, durable, head_max, piece, unwritten, due, trouble }
    }

    /// How long what was heard waits for more, and how many bytes of lines wait at most.
    fn pace(&self) -> (Duration, usize) {
        match self.readers {
            Readers::Anybody => (OUTPUT_DELAY, OUTPUT_PIECE_BYTES_MAX),
            Readers::Only(_) => (OUTPUT_SEALED_DELAY, OUTPUT_SEALED_BYTES),
        }
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
            if self.due.is_some_and(|due| due <= Instant::now()) || self.unwritten.len() >= self.pace().1 {
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
        let (now, (delay, _)) = (Instant::now(), self.pace());
        self.piece.get_or_insert_with(|| (stream, now, Vec::new())).2.extend_from_slice(bytes);
        self.due.get_or_insert(now + delay);
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
        let (file, end, lines, readers) = (self.file.clone(), self.durable, lines.to_owned(), self.readers.clone());
        let written = tokio::task::spawn_blocking(move || {
            let lines = seal(&lines, &readers).map_err(|invalid| invalid.to_string())?;
            // A longer one the gateway would not take, and the run never be forgotten.
            if end.saturating_add(lines.len() as u64) > OUTPUT_BYTES_MAX {
                return Err(format!("encrypted it has more than {OUTPUT_BYTES_MAX} bytes"));
            }
            file.append(end, lines.as_bytes()).map_err(|error| error.to_string())?;
            Ok(lines.len() as u64)
        });
        let bytes = match written.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(bytes) => bytes,
            Err(why) => {
                tracing::warn!(order = %self.run.order, "the output of a run is cut: {why}");
                self.trouble.get_or_insert(format!("its output is cut, for it could not be written: {why}"));
                return false;
            }
        };
        self.durable = self.durable.saturating_add(bytes);
        if matches!(self.readers, Readers::Only(_)) && self.durable > self.head_max {
            self.output.close_head();
        }
        self.run.progress.grown(&self.file, self.durable);
        true
    }

    /// The end: the tail goes into the file, and what is there is read back for its digest.
    pub(super) async fn finish(mut self) -> Left {
        [Stream::Out, Stream::Err].into_iter().for_each(|stream| self.take(stream, &[]));
        self.settle_piece();
        self.write().await;
        let tail = self.output.finish();
        if !tail.is_empty() && !self.append(&tail).await {
            self.output.not_written(&tail);
        }
        let (file, seen, dropped) = (self.file.clone(), self.output.seen(), self.output.dropped());
        let left = tokio::task::spawn_blocking(move || look(&file, seen, dropped)).await;
        let mut left = left.unwrap_or_else(|error| unread(&error));
        left.trouble = self.trouble.or(left.trouble);
        left
    }
}

/// What is in a whole file, of `seen` bytes that were written and `dropped` that were not kept by our own count: what is sealed
/// is not read here any more.
fn look(file: &OutputFile, seen: u64, dropped: u64) -> Left {
    let bytes = match file.read() {
        Ok(bytes) => bytes,
        Err(error) => return Left { dropped: seen, ..unread(&error) },
    };
    let is_sealed = |line: &Line| matches!(line, Line::Sealed { .. });
    let kept = |line: &Line| match line {
        Line::Piece { bytes, .. } => bytes.len() as u64,
        Line::Cut { .. } | Line::Sealed { .. } => 0,
    };
    let dropped = match read(&bytes) {
        Ok(lines) if lines.iter().any(is_sealed) => dropped,
        Ok(lines) => seen.saturating_sub(lines.iter().map(kept).sum()),
        Err(_) => seen,
    };
    Left { digest: Some(Digest::of(&bytes)), bytes: bytes.len() as u64, dropped, trouble: None }
}

fn unread(why: &dyn std::fmt::Display) -> Left {
    Left { trouble: Some(format!("its output cannot be read: {why}")), ..Left::default() }
}

#[cfg(test)]
mod tests;
