//! An export (tar) as a source of the log's files: indexed once, read piece by piece, never unpacked.

use crate::failure::{Outcome, While, refused};
use belay_certs::{Fault, Invalid, tlog::Source};
use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

/// Files in one export: tiles and entry bundles of a hundred million entries, and as many objects.
const FILES_MAX: usize = 2_000_000;
/// One file of an export, in bytes: a full bundle of 256 entries of 64 KiB, and their lengths.
const FILE_BYTES_MAX: u64 = (256 * (64 << 10)) + 512;
/// Longest path inside, in bytes: `objects/` and 64 hex digits, or a tile of a very large tree.
const PATH_BYTES_MAX: usize = 128;

/// Where each file lies in the archive.
#[derive(Debug)]
pub struct Archive {
    file: File,
    places: HashMap<String, (u64, u64)>,
}

impl Archive {
    /// Indexes the archive.
    ///
    /// # Errors
    /// It is no tar, or has a path or size that no export has.
    pub fn open(file: File) -> Outcome<Self> {
        let broken = || "the export is no archive that can be read".to_owned();
        let mut reader = file.try_clone().during(broken)?;
        std::io::Seek::rewind(&mut reader).during(broken)?;
        let mut archive = tar::Archive::new(std::io::BufReader::new(reader));
        let mut places = HashMap::new();
        for entry in archive.entries().during(broken)? {
            let entry = entry.during(broken)?;
            if entry.header().entry_type().is_dir() {
                continue;
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            let plain = entry.header().entry_type().is_file() && path.len() <= PATH_BYTES_MAX;
            if !plain || entry.size() > FILE_BYTES_MAX {
                return Err(refused(format!("the export holds {path:?}, which no export of a log has")));
            }
            if places.len() == FILES_MAX {
                return Err(refused(format!("the export has more than {FILES_MAX} files")));
            }
            // A second file of one name could show one content to us and another to the next reader.
            if places.insert(path.clone(), (entry.raw_file_position(), entry.size())).is_some() {
                return Err(refused(format!("the export holds {path:?} twice")));
            }
        }
        Ok(Self { file, places })
    }
}

impl Source for Archive {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Invalid> {
        let Some((start, size)) = self.places.get(path) else { return Ok(None) };
        let broken =
            |error: &dyn std::fmt::Display| Invalid::new(Fault::Malformed, format!("{path}: cannot be read: {error}"));
        let mut bytes = vec![0; usize::try_from(*size).map_err(|error| broken(&error))?];
        self.file.read_exact_at(&mut bytes, *start).map_err(|error| broken(&error))?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    fn archive(files: &[(&str, &[u8])]) -> Outcome<Archive> {
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        Archive::open(builder.into_inner().unwrap())
    }

    #[test]
    fn every_file_is_found_with_its_own_bytes() {
        let archive =
            archive(&[("checkpoint", b"one"), ("tile/entries/000.p/1", b"twelve bytes"), ("empty", b"")]).unwrap();
        assert_eq!(archive.read("tile/entries/000.p/1").unwrap().unwrap(), b"twelve bytes");
        assert_eq!(archive.read("checkpoint").unwrap().unwrap(), b"one");
        assert_eq!(archive.read("empty").unwrap().unwrap(), b"");
        assert_eq!(archive.read("missing").unwrap(), None);
    }

    #[test]
    fn a_file_twice_and_an_oversized_path_are_refused() {
        assert!(archive(&[("a", b"1"), ("a", b"2")]).unwrap_err().sentence().contains("twice"));
        assert!(archive(&[(&"x".repeat(200), b"1")]).is_err());
    }

    #[test]
    fn an_archive_that_is_cut_off_is_no_export() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2000);
        builder.append_data(&mut header, "a", &[7; 2000][..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes[..1000], 0).unwrap();
        let read = Archive::open(file).and_then(|archive| Ok(archive.read("a")?));
        assert!(read.is_err());
    }

    #[test]
    fn a_changed_archive_is_refused_or_every_file_in_it_is_read_as_it_lies_there() {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in [("checkpoint", &b"one"[..]), ("tile/0/000.p/1", &[7; 700]), ("objects/aa", b"")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes).unwrap();
        }
        let whole = builder.into_inner().unwrap();
        let (mut seeded, mut opened, mut refused) = (Seeded::new(0x7a72), 0, 0);
        for _ in 0..3_000 {
            let bytes = seeded.mutate(&whole);
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            match Archive::open(file) {
                Ok(archive) => {
                    opened += 1;
                    for (path, (start, size)) in &archive.places {
                        let place = usize::try_from(*start).unwrap()..usize::try_from(start + size).unwrap();
                        // Cut off within the last file: that one cannot be read.
                        assert_eq!(archive.read(path).ok().flatten().as_deref(), bytes.get(place), "{path:?}");
                    }
                }
                Err(failure) => {
                    refused += 1;
                    assert!(!failure.sentence().is_empty());
                }
            }
        }
        assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
    }
}
