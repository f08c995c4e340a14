//! A log's archive checked on the operator's own machine, from nothing but its name and its key.

use anyhow::Context;
use belay_certs::{
    Fault, Invalid,
    tlog::{Report, Source, check_log},
};
use std::{
    collections::HashMap,
    fs::File,
    io::{Seek, SeekFrom},
    os::unix::fs::FileExt,
};

/// The largest file of an archive, in bytes: a bundle of 256 entries is 16 MiB, an object at most a policy or a batch.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Checks the archive in `file` as the log `origin` with the key `vkey`.
///
/// # Errors
/// The first broken piece, named.
pub(super) fn check(mut file: File, origin: &str, vkey: &str) -> anyhow::Result<Report> {
    file.seek(SeekFrom::Start(0))?;
    let archive = Archive::open(file).context("the archive cannot be read")?;
    Ok(check_log(&archive, origin, vkey, None, &mut |_, _| {})?)
}

/// The files of a tar, by name.
struct Archive {
    file: File,
    /// Where each begins, and its length.
    places: HashMap<String, (u64, u64)>,
}

impl Archive {
    fn open(file: File) -> anyhow::Result<Self> {
        let mut places = HashMap::new();
        for entry in tar::Archive::new(&file).entries_with_seek()? {
            let entry = entry?;
            let name = String::from_utf8(entry.path_bytes().into_owned())?;
            anyhow::ensure!(entry.size() <= FILE_BYTES_MAX, "{name} is larger than {FILE_BYTES_MAX} bytes");
            let place = (entry.raw_file_position(), entry.size());
            anyhow::ensure!(places.insert(name.clone(), place).is_none(), "{name} is there twice");
        }
        Ok(Self { file, places })
    }
}

impl Source for Archive {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Invalid> {
        let Some((start, length)) = self.places.get(path) else { return Ok(None) };
        let unreadable =
            |error: &dyn std::fmt::Display| Invalid::new(Fault::Malformed, format!("{path} cannot be read: {error}"));
        let mut bytes = vec![0; usize::try_from(*length).map_err(|error| unreadable(&error))?];
        self.file.read_exact_at(&mut bytes, *start).map_err(|error| unreadable(&error))?;
        Ok(Some(bytes))
    }
}
