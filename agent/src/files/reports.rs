//! The way from a file session's process to the agent: reports on a pipe.

use belay_agent_rules::file_reports::{Close, Report, Way};
use belay_certs::statement::Deed;
use std::os::unix::ffi::OsStrExt;
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

/// A transfer's bytes are told again when so many more have moved: what a killed session loses of the count.
const MOVED_BYTES: u64 = 1 << 20;

/// The writing end.
pub(super) struct Reports {
    pipe: File,
    waiting: Vec<u8>,
    /// The number of the next transfer.
    next: u32,
}

/// One file that is open, as it is reported.
pub(super) struct Transfer {
    number: u32,
    /// Bytes of it so far.
    bytes: u64,
    /// Of them, told.
    told: u64,
    close: Close,
}

impl Reports {
    pub(super) fn new(pipe: File) -> Self {
        Self { pipe, waiting: Vec::new(), next: 0 }
    }

    /// A file was opened.
    pub(super) fn opened(&mut self, way: Way, path: &Path) -> Transfer {
        self.next = self.next.wrapping_add(1);
        self.add(&Report::Opened { handle: self.next, way, path: path.as_os_str().as_bytes().to_vec() });
        Transfer { number: self.next, bytes: 0, told: 0, close: Close::Whole }
    }

    /// Bytes of it moved.
    pub(super) fn moved(&mut self, transfer: &mut Transfer, count: usize) {
        transfer.bytes = transfer.bytes.saturating_add(count as u64);
        if transfer.bytes - transfer.told >= MOVED_BYTES {
            transfer.told = transfer.bytes;
            self.add(&Report::Moved { handle: transfer.number, bytes: transfer.bytes });
        }
    }

    /// It was closed by the client, or is given up.
    pub(super) fn closed(&mut self, transfer: &Transfer, close: Close) {
        let close = if transfer.close == Close::Partial { Close::Partial } else { close };
        self.add(&Report::Closed { handle: transfer.number, bytes: transfer.bytes, close });
    }

    /// Something else was done to a path, beside another one where there is one.
    pub(super) fn done(&mut self, deed: Deed, path: &Path, to: &Path) {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        self.add(&Report::Done { deed, path: bytes(path), to: bytes(to) });
    }

    /// The machine refused something.
    pub(super) fn failed(&mut self) {
        self.add(&Report::Failed);
    }

    /// The last word.
    pub(super) fn over(&mut self) {
        self.add(&Report::Over);
    }

    fn add(&mut self, report: &Report) {
        self.waiting.extend_from_slice(&report.to_bytes());
    }

    /// Hands everything over. Blocks while the agent does not read.
    ///
    /// # Errors
    /// The agent is gone: nothing may be done any more that nobody hears of.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.pipe.write_all(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }
}

impl Transfer {
    /// Something went wrong with it; `true` the first time.
    pub(super) fn spoil(&mut self) -> bool {
        std::mem::replace(&mut self.close, Close::Partial) == Close::Whole
    }
}
