//! The agent's end of a file session: its reports, read as they come, and what they add up to.
//!
//! Not here: the session's own process (`crate::files`).

use crate::limits::STOP_GRACE;
use crate::recording::Recording;
use belay_agent_rules::{
    file_reports::{FileLedger, Report},
    recording::words,
};
use belay_certs::statement::Files;
use bytes::{Buf, BytesMut};
use std::{io, os::fd::OwnedFd, sync::Arc};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

/// Read from the pipe at a time: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// What a file session has reported so far.
pub(crate) struct Reported {
    pipe: Receiver,
    waiting: BytesMut,
    ledger: FileLedger,
    state: State,
    /// Where each deed is a marker, if the session is recorded.
    recording: Option<Arc<Recording>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// The process has closed its end.
    Closed,
    /// It said what is no report: nothing after it can be read.
    Unreadable,
}

/// A file session of which nothing more can be known: it must not go on.
pub(crate) struct Unreadable;

impl Reported {
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let (pipe, waiting) = (Receiver::from_owned_fd(pipe)?, BytesMut::new());
        Ok(Self { pipe, waiting, ledger: FileLedger::default(), state: State::Open, recording: None })
    }

    /// From now on each deed is told to the recording.
    pub(crate) fn record(&mut self, recording: &Arc<Recording>) {
        self.recording = Some(Arc::clone(recording));
    }

    /// Takes reports until the session can no longer be followed; one that has closed its end is ending by itself.
    /// Cancel-safe: what was read is kept.
    pub(crate) async fn follow(&mut self) -> Unreadable {
        self.drain().await;
        match self.state {
            State::Unreadable => Unreadable,
            State::Open | State::Closed => std::future::pending().await,
        }
    }

    async fn drain(&mut self) {
        while self.state == State::Open {
            self.waiting.reserve(READ_BYTES);
            self.state = match self.pipe.read_buf(&mut self.waiting).await {
                Ok(0) => State::Closed,
                Ok(_) => self.take(),
                Err(error) => {
                    tracing::error!("a file session's reports cannot be read: {error}");
                    State::Unreadable
                }
            };
        }
    }

    fn take(&mut self) -> State {
        loop {
            match Report::split(&self.waiting) {
                Ok(Some((report, length))) => {
                    self.waiting.advance(length);
                    let marker = self.recording.as_ref().zip(words(&report));
                    marker.into_iter().for_each(|(recording, words)| recording.marked(&words));
                    self.ledger.take(report);
                }
                Ok(None) => return State::Open,
                Err(garbled) => {
                    tracing::error!("{garbled}");
                    return State::Unreadable;
                }
            }
        }
    }

    /// What the session did. The process has lost its input by now, or was killed, and says its last words; one that does
    /// not is ended by `kill`.
    pub(crate) async fn finish(mut self, kill: impl FnOnce()) -> Files {
        if tokio::time::timeout(STOP_GRACE, self.drain()).await.is_err() {
            kill();
            let _ = tokio::time::timeout(STOP_GRACE, self.drain()).await;
        }
        self.ledger.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_session_that_says_what_is_no_report_is_not_waited_for() {
        let (reading, mut writing) = io::pipe().unwrap();
        let mut reported = Reported::new(reading.into()).unwrap();
        writing.write_all(&Report::Failed.to_bytes()).unwrap();
        writing.write_all(&[0, 1, 9]).unwrap();
        // Its end of the pipe stays open.
        let Unreadable = reported.follow().await;
        let files = reported.finish(|| unreachable!("it is over")).await;
        assert_eq!((files.failed, files.unfinished), (1, true));
        drop(writing);
    }
}
