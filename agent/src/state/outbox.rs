//! The outbox: every statement is in this journal before it is sent, and stays until its receipt is verified.
//!
//! What the lines mean is in `belay_agent_rules`; when they are sent, in `recorder`.

use super::{
    files::{self, Broken, FILE_MODE},
    log_view::LogView,
};
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_COMPACT_BYTES_MAX, JOURNAL_ROOMY_BYTES_MAX};
use belay_agent_rules::{Line, StatementChain, What, journal};
use belay_certs::Id;
use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A journal is rewritten when it is larger than this and than twice what still matters: rarely, and never large for long.
const COMPACT_BYTES_MIN: u64 = 256 << 10;

/// The journal and what it says.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Where the journal is.
    path: PathBuf,
    /// The journal, open at its end.
    file: File,
    /// Bytes of whole, durable records; what is beyond never happened.
    bytes: u64,
    /// Whether there may be something beyond: it is cut off before anything else is written.
    frayed: bool,
    /// Bytes at which to rewrite it.
    compact_at: u64,
    /// The statements.
    chain: StatementChain,
    /// The verified log heads.
    view: LogView,
}

impl Outbox {
    /// Opens and replays the journal at `path`.
    ///
    /// Crash while a record was written: it is there whole, and its statement is sent again, or cut off, and it never
    /// happened; nothing is sent, shown or started before its record is durable.
    ///
    /// # Errors
    /// When it cannot be read, or a record that was durable is damaged.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Broken> {
        let journal = files::read(&path, JOURNAL_BYTES_MAX)?.unwrap_or_default();
        let replayed = journal::replay(&journal).map_err(|damaged| Broken::damaged(&path, damaged))?;
        let file = open_journal(&path)?;
        let mut view = LogView::default();
        replayed.kept.iter().for_each(|line| view.apply(line));
        let bytes = replayed.whole_bytes as u64;
        let mut outbox = Self { path, file, bytes, frayed: true, compact_at: 0, chain: replayed.chain, view };
        outbox.settle(journal.get(..replayed.whole_bytes).unwrap_or_default())?;
        outbox.cut()?;
        outbox.compact_at = outbox.next_compaction().min(JOURNAL_COMPACT_BYTES_MAX);
        Ok(outbox)
    }

    /// The statements.
    pub(crate) fn chain(&self) -> &StatementChain {
        &self.chain
    }

    /// The verified log heads.
    pub(crate) fn view(&self) -> &LogView {
        &self.view
    }

    /// Makes the lines durable as one record, then goes by them.
    ///
    /// Crash before the sync returns: the record is there whole or never happened, and nobody was told of it either way.
    /// Crash after: it happened.
    ///
    /// # Errors
    /// When they cannot be written: none of them happened, and the next commit starts clean. (Space may come back.)
    pub(crate) fn commit(&mut self, lines: &[Line]) -> Result<(), Broken> {
        if lines.is_empty() {
            // A journal without room takes no statement, so this is its only chance to become smaller.
            if self.bytes >= JOURNAL_ROOMY_BYTES_MAX {
                self.compact_at = self.bytes;
                self.compact_if_due();
            }
            return Ok(());
        }
        let record = journal::encode(lines).ok_or_else(|| self.broken(io::ErrorKind::InvalidData))?;
        self.cut()?;
        self.frayed = true;
        if let Err(error) = self.file.write_all(record.as_bytes()).and_then(|()| self.file.sync_data()) {
            let _ = self.cut();
            return Err(self.broken(error));
        }
        self.frayed = false;
        self.bytes = self.bytes.saturating_add(record.len() as u64);
        for line in lines {
            self.chain.apply(line).map_err(|misfit| Broken::damaged(&self.path, misfit))?;
            self.view.apply(line);
        }
        self.compact_if_due();
        Ok(())
    }

    /// Writes what was read once more, as it is, for [`Outbox::cut`] to sync. After a failed sync a kernel shows pages that the
    /// disk never got; built upon, they would be a hole in the middle after a power cut.
    fn settle(&self, whole: &[u8]) -> Result<(), Broken> {
        self.file.write_all_at(whole, 0).map_err(|error| self.broken(error))
    }

    /// Cuts off what a failed write left behind the last whole record, and makes the journal's name durable.
    fn cut(&mut self) -> Result<(), Broken> {
        if !self.frayed {
            return Ok(());
        }
        let end = SeekFrom::Start(self.bytes);
        let cut = self.file.set_len(self.bytes).and_then(|()| self.file.sync_all()).and_then(|()| self.file.seek(end));
        cut.map_err(|error| self.broken(error))?;
        files::sync_parent(&self.path)?;
        self.frayed = false;
        Ok(())
    }

    /// Whether one more statement may be made beside `unwritten` others. The end of an open session or run always may.
    pub(crate) fn has_room(&self, what: What, session: Id, unwritten: usize) -> bool {
        let ends = self.chain.is_owed(what, session);
        (ends || self.bytes < JOURNAL_ROOMY_BYTES_MAX) && self.chain.has_room(what, session, unwritten)
    }

    /// A failed compaction is no failure: the journal is whole, and it is tried again when it has grown a little more.
    fn compact_if_due(&mut self) {
        if self.bytes < self.compact_at {
            return;
        }
        self.compact_at = match self.compact() {
            Ok(()) => self.next_compaction(),
            Err(error) => {
                tracing::warn!("the outbox could not be compacted and goes on growing: {error}");
                self.bytes.saturating_add(COMPACT_BYTES_MIN)
            }
        };
    }

    /// Writes the journal anew with only what still matters.
    ///
    /// Crash before the rename: the old journal stands. Crash after: either, and both say the same, for nothing is added
    /// before `cut` has made the new name durable.
    fn compact(&mut self) -> Result<(), Broken> {
        let mut lines = self.chain.snapshot();
        lines.extend(self.view.snapshot());
        let record = journal::encode(&lines).ok_or_else(|| self.broken(io::ErrorKind::InvalidData))?;
        let file = files::replace(&self.path, record.as_bytes())?;
        (self.file, self.bytes, self.frayed) = (file, record.len() as u64, true);
        self.cut()
    }

    fn next_compaction(&self) -> u64 {
        let live = (self.chain.pending_bytes() as u64).saturating_mul(2);
        let twice = self.bytes.max(live).saturating_mul(2);
        twice.clamp(COMPACT_BYTES_MIN, JOURNAL_COMPACT_BYTES_MAX.max(self.bytes.saturating_add(COMPACT_BYTES_MIN)))
    }

    /// Exchanges the journal's handle, so that a test can make writes fail and work again.
    #[cfg(test)]
    pub(crate) fn swap_file(&mut self, other: &mut File) {
        std::mem::swap(&mut self.file, other);
    }

    fn broken(&self, error: impl Into<io::Error>) -> Broken {
        Broken::new(format!("{} cannot be written", self.path.display()), error.into())
    }
}

fn open_journal(path: &Path) -> Result<File, Broken> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|error| Broken::new(format!("{} cannot be opened", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_agent_rules::Made;
    use belay_certs::{Digest, statement::SignedStatement, tlog::Checkpoint};
    use std::fs;

    fn made(seq: u64) -> Line {
        let statement = SignedStatement { text: format!("statement {seq} {}", "x".repeat(500)), signature: "s".into() };
        Line::Made(Made { seq, id: Id([seq as u8; 16]), what: What::Refused, session: Id([0; 16]), statement })
    }

    fn kept(size: u64) -> Line {
        Line::Kept { origin: "gw.example/acme".into(), size, root: Digest([size as u8; 32]) }
    }

    fn head(size: u64) -> Checkpoint {
        Checkpoint { origin: "gw.example/acme".into(), size, root: [size as u8; 32] }
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_with_the_log_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        outbox.commit(&[made(1), made(2)]).unwrap();
        outbox.commit(&[kept(7), Line::Done { seq: 1 }]).unwrap();
        let again = Outbox::open(path).unwrap();
        assert_eq!(again.chain(), outbox.chain());
        assert_eq!(again.view().kept("gw.example/acme"), Some(&head(7)));
        assert_eq!(again.view().kept("gw.example/other"), None);
    }

    #[test]
    fn a_record_cut_off_by_a_crash_is_gone_and_the_next_one_follows_the_last_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        outbox.commit(&[made(1)]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.extend_from_slice(br#"0123456789abcdef [{"made":{"se"#);
        fs::write(&path, &bytes).unwrap();
        let mut outbox = Outbox::open(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), whole as u64);
        assert_eq!(outbox.chain().position().seq, 1);
        outbox.commit(&[made(2)]).unwrap();
        assert_eq!(Outbox::open(path).unwrap().chain().position().seq, 2);
    }

    #[test]
    fn a_failed_write_never_happened_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        outbox.commit(&[made(1)]).unwrap();
        let mut file = File::open(&path).unwrap();
        outbox.swap_file(&mut file);
        assert!(outbox.commit(&[made(2)]).is_err(), "a file open for reading takes no line");
        assert_eq!(outbox.chain().position().seq, 1);
        outbox.swap_file(&mut file);
        outbox.commit(&[made(2)]).unwrap();
        assert_eq!(Outbox::open(path).unwrap().chain(), outbox.chain());
    }

    #[test]
    fn a_write_that_failed_after_half_of_it_is_cut_off_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        outbox.commit(&[made(1)]).unwrap();
        outbox.file.write_all(b"half a rec").unwrap();
        outbox.frayed = true;
        outbox.commit(&[made(2)]).unwrap();
        assert_eq!(Outbox::open(path).unwrap().chain().position().seq, 2);
    }

    #[test]
    fn a_long_journal_is_compacted_and_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        for seq in 1..=1_000 {
            outbox.commit(&[made(seq), kept(seq)]).unwrap();
            if seq % 10 != 0 {
                outbox.commit(&[Line::Done { seq }]).unwrap();
            }
        }
        assert!(fs::metadata(&path).unwrap().len() < 2 * COMPACT_BYTES_MIN);
        let again = Outbox::open(path).unwrap();
        assert_eq!((again.chain(), again.chain().pending_count()), (outbox.chain(), 100));
        assert_eq!(again.view().kept("gw.example/acme"), Some(&head(1_000)));
    }

    #[test]
    fn a_compaction_that_does_not_fit_on_the_disk_leaves_no_draft_and_is_soon_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        outbox.commit(&[made(1)]).unwrap();
        for seq in 2..=6 {
            std::os::unix::fs::symlink("/dev/full", dir.path().join("outbox.new")).unwrap();
            outbox.compact_at = outbox.bytes;
            outbox.commit(&[made(seq)]).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the draft is gone");
            assert_eq!(outbox.compact_at, outbox.bytes + COMPACT_BYTES_MIN);
        }
        assert_eq!(Outbox::open(path).unwrap().chain(), outbox.chain());
    }

    #[test]
    fn a_journal_near_its_limit_takes_only_ends_until_it_is_compacted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        let Line::Made(opened) = made(1) else { panic!() };
        outbox.commit(&[Line::Made(Made { what: What::Opened, ..opened })]).unwrap();
        let (open, other) = (Id([0; 16]), Id([9; 16]));
        let room = |outbox: &Outbox| {
            [(What::Opened, other), (What::Refused, other), (What::Ended, other), (What::Ended, open)]
                .map(|(what, session)| outbox.has_room(what, session, 0))
        };
        assert_eq!(room(&outbox), [true; 4]);
        // As long as if hundreds of megabytes were behind it.
        (outbox.bytes, outbox.compact_at) = (JOURNAL_ROOMY_BYTES_MAX, u64::MAX);
        assert_eq!(room(&outbox), [false, false, false, true]);
        outbox.commit(&[]).unwrap();
        assert_eq!(room(&outbox), [true; 4]);
        assert_eq!(Outbox::open(path).unwrap().chain(), outbox.chain());
    }

    #[test]
    fn a_damaged_record_stops_the_agent_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let mut outbox = Outbox::open(path.clone()).unwrap();
        outbox.commit(&[made(1)]).unwrap();
        outbox.commit(&[made(2)]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Outbox::open(path).unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("line 1"), "{error}");
    }
}
