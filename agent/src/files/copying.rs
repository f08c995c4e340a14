//! Copies on the machine, from one open file to another.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt},
    },
};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// A part of a file, and its place in another one.
pub(super) struct Part {
    /// Where it begins.
    pub(super) offset: u64,
    /// Its bytes; 0 is all up to the end.
    pub(super) bytes: u64,
    /// Where it goes.
    pub(super) to_offset: u64,
}

/// Whether one may be copied to the other: a copy must come to an end.
///
/// # Errors
/// It would not, with a sentence for the client, or those of the system.
pub(super) fn may_copy(source: &File, target: &File) -> io::Result<()> {
    let (from, to) = (source.metadata()?, target.metadata()?);
    if !from.is_file() {
        return Err(io::Error::other("only regular files are copied on the machine: read this one and write it"));
    }
    if (from.dev(), from.ino()) == (to.dev(), to.ino()) {
        return Err(io::Error::other("a file is not copied to itself: name another one"));
    }
    Ok(())
}

/// Copies while somebody reads the `answers`.
///
/// # Errors
/// Those of the system, or nobody reads them any more; a part was copied then.
pub(super) fn copy(source: &File, target: &File, part: &Part, answers: impl AsFd) -> io::Result<()> {
    let limit = if part.bytes == 0 { u64::MAX } else { part.bytes };
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0;
    loop {
        if !is_read(&answers)? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let want = usize::try_from(limit - copied).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let room = buffer.get_mut(..want).unwrap_or_default();
        let count = source.read_at(room, part.offset.saturating_add(copied))?;
        if count == 0 {
            return Ok(());
        }
        let chunk = buffer.get(..count).unwrap_or_default();
        target.write_all_at(chunk, part.to_offset.saturating_add(copied))?;
        copied += count as u64;
    }
}

/// Whether a pipe still has a reader.
fn is_read(pipe: &impl AsFd) -> io::Result<bool> {
    let mut asked = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut asked, Some(&Timespec::default()))?;
    Ok(asked.iter().all(|pipe| !pipe.revents().intersects(PollFlags::ERR | PollFlags::HUP)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ALL: Part = Part { offset: 0, bytes: 0, to_offset: 0 };

    #[test]
    fn what_has_no_end_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::write(&one, b"x").unwrap();
        fs::hard_link(&one, &other).unwrap();
        let open = |path: &str| File::open(path).unwrap();
        let (one, other) = (File::open(&one).unwrap(), File::open(&other).unwrap());
        assert!(may_copy(&open("/dev/zero"), &one).unwrap_err().to_string().contains("only regular files"));
        assert!(may_copy(&one, &other).unwrap_err().to_string().contains("to itself"));
        assert!(may_copy(&one, &open("/dev/null")).is_ok());
    }

    #[test]
    fn a_part_is_copied_to_its_place_and_no_more() {
        let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all_at(b"0123456789", 0).unwrap();
        let (_reading, answers) = io::pipe().unwrap();
        copy(&source, &target, &Part { offset: 2, bytes: 3, to_offset: 1 }, &answers).unwrap();
        let mut copied = [0; 4];
        target.read_exact_at(&mut copied, 0).unwrap();
        assert_eq!((&copied, target.metadata().unwrap().len()), (b"\x00234", 4));
    }

    #[test]
    fn a_copy_that_nobody_waits_for_ends() {
        let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.set_len(10 * COPY_BYTES as u64).unwrap();
        let (reading, answers) = io::pipe().unwrap();
        drop(reading);
        let ended = copy(&source, &target, &ALL, &answers).unwrap_err();
        assert_eq!((ended.kind(), target.metadata().unwrap().len()), (io::ErrorKind::BrokenPipe, 0));
    }
}
