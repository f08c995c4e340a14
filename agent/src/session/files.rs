//! The agent's end of a file session: its reports, read as they come, and what they add up to.
//!
//! Not here: the session's own process (`crate::files`).

use crate::limits::STOP_GRACE;
use belay_agent_rules::file_reports::{FileLedger, Report};
use belay_certs::statement::Files;
use bytes::{Buf, BytesMut};
use std::{io, os::fd::OwnedFd};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

/// Read from the pipe at a time: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// What a file session has reported so far.
pub(crate) struct Reported {
    pipe: Receiver,
    waiting: BytesMut,
    ledger: FileLedger,
    /// Nothing more will come, or nothing that could be read.
    ended: bool,
}

impl Reported {
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let (pipe, waiting) = (Receiver::from_owned_fd(pipe)?, BytesMut::new());
        Ok(Self { pipe, waiting, ledger: FileLedger::default(), ended: false })
    }

    /// Takes reports until the process has closed its end. Cancel-safe: what was read is kept.
    pub(crate) async fn follow(&mut self) {
        while !self.ended {
            self.waiting.reserve(READ_BYTES);
            let read = self.pipe.read_buf(&mut self.waiting).await;
            self.ended = !matches!(read, Ok(1..)) || !self.take();
        }
    }

    /// `false` when the process says what is no report: nothing after it can be read.
    fn take(&mut self) -> bool {
        loop {
            match Report::split(&self.waiting) {
                Ok(Some((report, length))) => {
                    self.waiting.advance(length);
                    self.ledger.take(report);
                }
                Ok(None) => return true,
                Err(garbled) => {
                    tracing::error!("{garbled}");
                    return false;
                }
            }
        }
    }

    /// What the session did. The process has lost its input by now, or was killed, and says its last words; one that does
    /// not is ended by `kill`.
    pub(crate) async fn finish(mut self, kill: impl FnOnce()) -> Files {
        if tokio::time::timeout(STOP_GRACE, self.follow()).await.is_err() {
            kill();
            let _ = tokio::time::timeout(STOP_GRACE, self.follow()).await;
        }
        self.ledger.finish()
    }
}
