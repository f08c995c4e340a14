//! A pack of evidence: a tar that can be written in one way only, with the SHA-256 of every file in its last file.
//!
//! So every byte of it is covered: a file by its digest, a header by its name and length, and the digests by each other. Not
//! here: which files there are, and what they prove.

use crate::failure::{Outcome, While, refused};
use belay_certs::{Digest, digest::hex};
use std::io::{ErrorKind, Read, Write};

/// A tar's block, in bytes.
const BLOCK: usize = 512;
/// The last file: what `sha256sum -c` reads.
pub const MANIFEST: &str = "MANIFEST";
/// The manifest, in bytes: three files a chunk of the longest recording.
const MANIFEST_BYTES_MAX: usize = 512 << 20;

/// Writes a pack.
pub struct Writer<W: Write> {
    out: W,
    manifest: String,
}

impl<W: Write> Writer<W> {
    /// An empty pack.
    pub fn new(out: W) -> Self {
        Self { out, manifest: String::new() }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Outcome {
        self.manifest.push_str(&line(path, bytes));
        self.put(path, bytes)
    }

    /// Adds the manifest and the end.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Outcome<W> {
        let manifest = std::mem::take(&mut self.manifest);
        self.put(MANIFEST, manifest.as_bytes())?;
        self.out.write_all(&[0; 2 * BLOCK]).and_then(|()| self.out.flush()).during(unwritten)?;
        Ok(self.out)
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> Outcome {
        let padding = [0; BLOCK];
        let padding = padding.get(..bytes.len().next_multiple_of(BLOCK) - bytes.len()).unwrap_or_default();
        for part in [header(path, bytes.len())?.as_slice(), bytes, padding] {
            self.out.write_all(part).during(unwritten)?;
        }
        Ok(())
    }
}

fn unwritten() -> String {
    "cannot write the pack".to_owned()
}

/// The only header that a file of this name and length has.
fn header(path: &str, bytes: usize) -> Outcome<[u8; BLOCK]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).during(|| format!("{path:?} cannot stand in a pack"))?;
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

fn line(path: &str, bytes: &[u8]) -> String {
    format!("{}  {path}\n", hex(&Digest::of(bytes).0))
}

/// Reads a pack from its beginning to its end; whatever is not as [`Writer`] writes it is refused.
pub struct Reader<R: Read> {
    input: R,
    /// What the manifest must be.
    manifest: String,
    /// The file whose header was read: its name and length.
    next: Option<(String, usize)>,
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning.
    ///
    /// # Errors
    /// There is no first file.
    pub fn new(input: R) -> Outcome<Self> {
        let mut reader = Self { input, manifest: String::new(), next: None };
        reader.advance("its beginning")?;
        Ok(reader)
    }

    /// The name of the next file; none behind the last.
    pub fn peek(&self) -> Option<&str> {
        self.next.as_ref().map(|(path, _)| path.as_str())
    }

    /// The next file, which must have this name and at most so many bytes.
    ///
    /// # Errors
    /// It has another name, is too large or cut off.
    pub fn take(&mut self, path: &str, bytes_max: usize) -> Outcome<Vec<u8>> {
        let (name, length) = match self.next.take() {
            Some(next) if next.0 == path => next,
            Some((other, _)) => return Err(refused(format!("the pack has {other:?} where {path} must be"))),
            None => return Err(refused(format!("the pack ends where {path} must be"))),
        };
        if length > bytes_max {
            return Err(refused(format!("{name} has {length} bytes, over the limit of {bytes_max}")));
        }
        let mut bytes = vec![0; length];
        let mut padding = vec![0; length.next_multiple_of(BLOCK) - length];
        self.exactly(&mut bytes, &name)?;
        self.exactly(&mut padding, &name)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(refused(format!("{name}: there is something behind its end")));
        }
        if path != MANIFEST {
            self.manifest.push_str(&line(path, &bytes));
        }
        self.advance(&format!("the file behind {name}"))?;
        Ok(bytes)
    }

    /// As [`Reader::take`], of text.
    ///
    /// # Errors
    /// Likewise, and when it is not UTF-8.
    pub fn text(&mut self, path: &str, bytes_max: usize) -> Outcome<String> {
        String::from_utf8(self.take(path, bytes_max)?).during(|| format!("{path} is not text"))
    }

    /// The next file, which must be this and nothing else.
    ///
    /// # Errors
    /// It is not.
    pub fn exact(&mut self, path: &str, expected: &[u8]) -> Outcome {
        if self.take(path, expected.len())? != expected {
            return Err(refused(format!("{path} is not what the rest of the pack makes it")));
        }
        Ok(())
    }

    /// The manifest and the end.
    ///
    /// # Errors
    /// A digest is not that of its file, or something stands behind the end.
    pub fn finish(mut self) -> Outcome {
        let found = self.text(MANIFEST, MANIFEST_BYTES_MAX)?;
        let expected = std::mem::take(&mut self.manifest);
        let same = |(found, expected): &(&str, &str)| found == expected;
        let mut lines = found.split_inclusive('\n').zip(expected.split_inclusive('\n')).skip_while(same);
        if let Some((_, expected)) = lines.next() {
            let path = expected.trim_end().rsplit(' ').next().unwrap_or_default();
            return Err(refused(format!("{path}: its SHA-256 is not the one in {MANIFEST}: one of both was changed")));
        }
        if found != expected {
            return Err(refused(format!("{MANIFEST} does not list exactly the files of the pack")));
        }
        if let Some((other, _)) = self.next {
            return Err(refused(format!("the pack has {other:?} behind {MANIFEST}")));
        }
        Ok(())
    }

    /// Reads the next header, or the end.
    fn advance(&mut self, what: &str) -> Outcome {
        let mut block = [0; BLOCK];
        self.exactly(&mut block, what)?;
        if block == [0; BLOCK] {
            self.exactly(&mut block, "the end of the pack")?;
            let mut more = [0];
            if block != [0; BLOCK] || !matches!(self.input.read(&mut more), Ok(0)) {
                return Err(refused("there is something behind the end of the pack"));
            }
            self.next = None;
            return Ok(());
        }
        let found = tar::Header::from_byte_slice(&block);
        let path = String::from_utf8_lossy(&found.path_bytes()).into_owned();
        let length = found.entry_size().ok().and_then(|size| usize::try_from(size).ok());
        match length {
            Some(length) if header(&path, length).is_ok_and(|expected| expected == block) => {
                self.next = Some((path, length));
                Ok(())
            }
            _ => Err(refused(format!("{what}: its header is not as Belay writes it ({path:?})"))),
        }
    }

    fn exactly(&mut self, bytes: &mut [u8], what: &str) -> Outcome {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => refused(format!("{what} is cut off: the pack ends too early")),
            _ => refused(format!("{what} cannot be read: {error}")),
        })
    }
}
