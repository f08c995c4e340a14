//! What a file session's own process tells the agent about its deeds, as it goes: reports as bytes, and the sum of them.
//!
//! The process runs as the account, so nothing that it says is believed beyond what it is: a bounded list of words. Not
//! here: the pipe between the two (the agent's `files/` and `session/`).

use crate::limits::{REPORT_BYTES_MAX, SFTP_PATH_BYTES_MAX, SFTP_TRANSFERS_MAX};
use belay_certs::statement::{Deed, FileDeed, Files, path_text};
use std::collections::BTreeMap;

/// Which way a file's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the person to the machine.
    Up,
    /// From the machine to the person.
    Down,
}

/// How a transfer was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The client said that it was done, and nothing had gone wrong.
    Whole,
    /// Something had gone wrong, or nobody said that it was done.
    Partial,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A file was opened. One that is read and written is opened for [`Way::Up`].
    Opened {
        /// The server's number for it, not used by another until it is closed.
        handle: u32,
        /// Which way.
        way: Way,
        /// Where it really is.
        path: Vec<u8>,
    },
    /// So many bytes of it have moved so far.
    Moved {
        /// Which.
        handle: u32,
        /// Its bytes.
        bytes: u64,
    },
    /// It was closed.
    Closed {
        /// Which.
        handle: u32,
        /// Its bytes.
        bytes: u64,
        /// How.
        close: Close,
    },
    /// Something else was done.
    Done {
        /// What.
        deed: Deed,
        /// To what.
        path: Vec<u8>,
        /// The other name, where there is one; otherwise empty.
        to: Vec<u8>,
    },
    /// The machine refused something.
    Failed,
    /// The session ended in good order; nothing follows.
    Over,
}

/// A report that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file session reported what is no report")]
pub struct Garbled;

const DEEDS: [Deed; 8] =
    [Deed::Rename, Deed::Remove, Deed::Mkdir, Deed::Rmdir, Deed::Symlink, Deed::Hardlink, Deed::Attributes, Deed::Copy];

impl Report {
    /// The report as bytes: length, kind, fields. A path that is longer than any the system takes (a long name in a deep
    /// directory, reached by a link) is cut, which the list shows: it keeps less of a path than that.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0, 0];
        match self {
            Self::Opened { handle, way, path } => {
                out.push(1);
                out.extend_from_slice(&handle.to_be_bytes());
                out.push(u8::from(*way == Way::Up));
                out.extend_from_slice(start_of(path));
            }
            Self::Moved { handle, bytes } => {
                out.push(2);
                out.extend_from_slice(&handle.to_be_bytes());
                out.extend_from_slice(&bytes.to_be_bytes());
            }
            Self::Closed { handle, bytes, close } => {
                out.push(3);
                out.extend_from_slice(&handle.to_be_bytes());
                out.extend_from_slice(&bytes.to_be_bytes());
                out.push(u8::from(*close == Close::Whole));
            }
            Self::Done { deed, path, to } => {
                out.push(4);
                let number = DEEDS.iter().position(|one| one == deed).and_then(|at| u8::try_from(at).ok());
                out.push(number.unwrap_or(u8::MAX));
                let (path, to) = (start_of(path), start_of(to));
                out.extend_from_slice(&u16::try_from(path.len()).unwrap_or(u16::MAX).to_be_bytes());
                out.extend_from_slice(path);
                out.extend_from_slice(to);
            }
            Self::Failed => out.push(5),
            Self::Over => out.push(6),
        }
        let length = u16::try_from(out.len() - 2).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(place) = out.get_mut(..2) {
            place.copy_from_slice(&length);
        }
        out
    }

    /// The first report of `waiting` and how many bytes it takes; none while it is not whole.
    ///
    /// # Errors
    /// When it is none; what follows cannot be read either.
    pub fn split(waiting: &[u8]) -> Result<Option<(Self, usize)>, Garbled> {
        let Some((length, rest)) = waiting.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > REPORT_BYTES_MAX {
            return Err(Garbled);
        }
        match rest.get(..length) {
            Some(report) => Self::read(report).map(|report| Some((report, length + 2))).ok_or(Garbled),
            None => Ok(None),
        }
    }

    fn read(report: &[u8]) -> Option<Self> {
        let (kind, rest) = report.split_first()?;
        let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        Some(match kind {
            1 => {
                let (handle, rest) = rest.split_first_chunk()?;
                let (way, path) = rest.split_first()?;
                let way = if *way == 1 { Way::Up } else { Way::Down };
                Self::Opened { handle: number(handle), way, path: path.to_vec() }
            }
            2 => {
                let (handle, rest) = rest.split_first_chunk()?;
                Self::Moved { handle: number(handle), bytes: u64::from_be_bytes(rest.try_into().ok()?) }
            }
            3 => {
                let (handle, rest) = rest.split_first_chunk()?;
                let (bytes, rest) = rest.split_first_chunk()?;
                let close = if rest == [1] { Close::Whole } else { Close::Partial };
                Self::Closed { handle: number(handle), bytes: u64::from_be_bytes(*bytes), close }
            }
            4 => {
                let (deed, rest) = rest.split_first()?;
                let (length, rest) = rest.split_first_chunk()?;
                let (path, to) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                let deed = *DEEDS.get(usize::from(*deed))?;
                Self::Done { deed, path: path.to_vec(), to: to.to_vec() }
            }
            5 => Self::Failed,
            6 => Self::Over,
            _ => return None,
        })
    }
}

/// What is told of a path.
fn start_of(path: &[u8]) -> &[u8] {
    path.get(..SFTP_PATH_BYTES_MAX).unwrap_or(path)
}

/// The sum of a file session's reports.
#[derive(Debug, Default)]
pub struct FileLedger {
    files: Files,
    /// Transfers that were not closed yet.
    open: BTreeMap<u32, Transfer>,
    /// It said that it was over.
    over: bool,
}

#[derive(Debug)]
struct Transfer {
    way: Way,
    path: String,
    bytes: u64,
}

impl FileLedger {
    /// Takes one report into account. One about a file that was never opened, or opened beside too many others, counts
    /// for nothing.
    pub fn take(&mut self, report: Report) {
        match report {
            Report::Opened { handle, way, path } => {
                if self.open.len() < SFTP_TRANSFERS_MAX {
                    self.open.insert(handle, Transfer { way, path: path_text(&path), bytes: 0 });
                }
            }
            Report::Moved { handle, bytes } => {
                if let Some(transfer) = self.open.get_mut(&handle) {
                    transfer.bytes = bytes;
                }
            }
            Report::Closed { handle, bytes, close } => {
                if let Some(transfer) = self.open.remove(&handle) {
                    self.files.add(Transfer { bytes, ..transfer }.closed(close));
                }
            }
            Report::Done { deed, path, to } => {
                let to = (!to.is_empty()).then(|| path_text(&to));
                self.files.add(FileDeed { did: deed, path: path_text(&path), to, bytes: None, partial: false });
            }
            Report::Failed => self.files.failed = self.files.failed.saturating_add(1),
            Report::Over => self.over = true,
        }
    }

    /// What the session did, now that it is gone: what it left open is partial, and without its last word the list may
    /// lack what it did last.
    pub fn finish(&mut self) -> Files {
        for (_, transfer) in std::mem::take(&mut self.open) {
            self.files.add(transfer.closed(Close::Partial));
        }
        self.files.unfinished = !self.over;
        std::mem::take(&mut self.files)
    }
}

impl Transfer {
    fn closed(self, close: Close) -> FileDeed {
        let did = match self.way {
            Way::Up => Deed::Up,
            Way::Down => Deed::Down,
        };
        FileDeed { did, path: self.path, to: None, bytes: Some(self.bytes), partial: close == Close::Partial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SFTP_HANDLES_MAX;

    fn opened(handle: u32, way: Way, path: &str) -> Report {
        Report::Opened { handle, way, path: path.as_bytes().to_vec() }
    }

    #[test]
    fn reports_are_written_and_read_back() {
        let mut reports = vec![
            opened(1, Way::Up, "/a"),
            opened(2, Way::Down, ""),
            Report::Moved { handle: 1, bytes: u64::MAX },
            Report::Closed { handle: 1, bytes: 7, close: Close::Whole },
            Report::Closed { handle: 2, bytes: 8, close: Close::Partial },
            Report::Failed,
            Report::Over,
        ];
        reports.extend(DEEDS.map(|deed| Report::Done { deed, path: vec![0xff; 4095], to: vec![b'x'; 4095] }));
        let bytes: Vec<u8> = reports.iter().flat_map(Report::to_bytes).collect();
        let mut at = 0;
        for report in &reports {
            for short in 0..2 {
                assert_eq!(Report::split(&bytes[at..at + short]), Ok(None));
            }
            let (read, length) = Report::split(&bytes[at..]).unwrap().unwrap();
            assert_eq!(read, *report);
            at += length;
        }
        assert_eq!(at, bytes.len());
        for garbled in [&[0, 0][..], &[0, 1, 9], &[0xff, 0xff, 1], &[0, 2, 2, 0], &[0, 4, 4, 99, 0, 0]] {
            assert_eq!(Report::split(garbled), Err(Garbled), "{garbled:?}");
        }
    }

    #[test]
    fn a_session_that_was_cut_off_leaves_what_it_had_said() {
        let mut ledger = FileLedger::default();
        for report in [
            opened(1, Way::Up, "/a"),
            opened(2, Way::Down, "/b"),
            Report::Moved { handle: 2, bytes: 5 },
            Report::Closed { handle: 1, bytes: 9, close: Close::Whole },
            Report::Closed { handle: 7, bytes: 9, close: Close::Whole },
            Report::Failed,
        ] {
            ledger.take(report);
        }
        let files = ledger.finish();
        assert_eq!((files.up, files.up_bytes, files.down, files.down_bytes), (1, 9, 1, 5));
        assert_eq!((files.partial, files.failed, files.unfinished), (1, 1, true));
        assert_eq!(files.list.iter().map(|deed| deed.partial).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_session_that_said_its_last_word_is_whole() {
        let mut ledger = FileLedger::default();
        ledger.take(Report::Done { deed: Deed::Rename, path: b"/a".to_vec(), to: b"/b".to_vec() });
        ledger.take(Report::Over);
        let files = ledger.finish();
        assert_eq!((files.changed, files.unfinished, files.list[0].to.as_deref()), (1, false, Some("/b")));
    }

    #[test]
    fn a_session_that_opens_without_end_costs_no_more_than_its_handles() {
        let mut ledger = FileLedger::default();
        (0..10_000).for_each(|handle| ledger.take(opened(handle, Way::Up, "/a")));
        assert_eq!(ledger.finish().up, SFTP_TRANSFERS_MAX as u64);
    }

    #[test]
    fn paths_longer_than_any_that_is_kept_are_cut_and_the_list_shows_it() {
        let long = vec![b'x'; 70_000];
        let (from, to) = (long.clone(), long.clone());
        for report in [
            Report::Done { deed: Deed::Rename, path: from, to },
            Report::Opened { handle: 1, way: Way::Up, path: long },
        ] {
            let bytes = report.to_bytes();
            let (read, length) = Report::split(&bytes).unwrap().unwrap();
            assert_eq!(length, bytes.len());
            let mut ledger = FileLedger::default();
            ledger.take(read);
            let files = ledger.finish();
            let shown = [Some(&files.list[0].path), files.list[0].to.as_ref()];
            assert!(shown.into_iter().flatten().all(|path| path.ends_with("x…")), "{files:?}");
        }
    }

    #[test]
    fn every_open_file_may_be_read_and_written_and_both_are_counted() {
        let mut ledger = FileLedger::default();
        let handles = u32::try_from(SFTP_HANDLES_MAX).unwrap();
        (0..handles).for_each(|handle| ledger.take(opened(handle, Way::Up, "/a")));
        (0..handles).for_each(|handle| ledger.take(opened(handles + handle, Way::Down, "/a")));
        let files = ledger.finish();
        assert_eq!((files.up, files.down), (u64::from(handles), u64::from(handles)));
    }
}
