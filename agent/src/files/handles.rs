//! What a file session has open: files and directories by their numbers.

use super::{listing::Listing, reports::Transfer};
use belay_agent_rules::limits::SFTP_HANDLES_MAX;
use std::{collections::BTreeMap, fs::File, io, path::PathBuf};

/// An open file.
pub(super) struct OpenFile {
    /// The file.
    pub(super) file: File,
    /// Where it really is.
    pub(super) path: PathBuf,
    /// Every write goes to its end.
    pub(super) appends: bool,
    /// What is written to it; none when it was opened to be read only.
    pub(super) up: Option<Transfer>,
    /// What is read from it; none when it was opened to be written only, or not yet when it was opened for both.
    pub(super) down: Option<Transfer>,
}

/// Something open.
pub(super) enum Open {
    File(OpenFile),
    Directory(Listing),
}

/// Everything open.
#[derive(Default)]
pub(super) struct Handles {
    open: BTreeMap<u32, Open>,
    next: u32,
}

impl Handles {
    /// Whether one more may be opened.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(super) fn room(&self) -> io::Result<()> {
        if self.open.len() < SFTP_HANDLES_MAX {
            return Ok(());
        }
        Err(io::Error::other(format!("{SFTP_HANDLES_MAX} files and directories are open already: close one first")))
    }

    /// Keeps it, and the number it has from now on.
    pub(super) fn keep(&mut self, open: Open) -> u32 {
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(number, open);
        number
    }

    /// The file with this number.
    pub(super) fn file(&mut self, number: Option<u32>) -> io::Result<&mut OpenFile> {
        match number.and_then(|number| self.open.get_mut(&number)) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Directory(_)) | None => Err(no_handle()),
        }
    }

    /// The directory with this number.
    pub(super) fn directory(&mut self, number: Option<u32>) -> io::Result<&mut Listing> {
        match number.and_then(|number| self.open.get_mut(&number)) {
            Some(Open::Directory(listing)) => Ok(listing),
            Some(Open::File(_)) | None => Err(no_handle()),
        }
    }

    /// Gives it up.
    pub(super) fn take(&mut self, number: Option<u32>) -> io::Result<Open> {
        number.and_then(|number| self.open.remove(&number)).ok_or_else(no_handle)
    }

    /// Gives everything up.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Open> {
        std::mem::take(&mut self.open).into_values()
    }
}

fn no_handle() -> io::Error {
    io::Error::from(rustix::io::Errno::BADF)
}
