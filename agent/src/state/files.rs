//! Files of the state directory: whole or absent, durable when the call returns, readable by their owner only.
//!
//! What is in them is not known here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Mode of every directory: keys and command lines are in there.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of every file.
pub(crate) const FILE_MODE: u32 = 0o600;
/// The file whose lock keeps a second agent out.
const LOCK: &str = "lock";

/// The machine failed us: a disk, a permission, a damaged file. Nothing was acted on.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Broken {
    /// What was being done, with the file's name.
    what: String,
    /// What the system said.
    #[source]
    source: io::Error,
}

impl Broken {
    /// `source` happened while doing `what`.
    pub(crate) fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }

    /// The file at `path` is there and is not what we wrote.
    pub(crate) fn damaged(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::new(
            format!(
                "{} is damaged; restore it, or set the state aside with `belay-agent forget --tenant T`",
                path.display()
            ),
            io::Error::new(io::ErrorKind::InvalidData, why.to_string()),
        )
    }
}

/// The agent's state directory, held by this process alone.
#[derive(Debug)]
pub struct StateDir {
    /// Where it is.
    path: PathBuf,
    /// The lock that keeps a second agent out, while it is open.
    _lock: File,
}

impl StateDir {
    /// Opens `path`, making it when it is not there, and locks it.
    ///
    /// # Errors
    /// When it cannot be made or is another user's, or when another agent holds it.
    pub fn open(path: &Path) -> Result<Self, Broken> {
        let failed = |error| Broken::new(format!("the state directory {} cannot be used", path.display()), error);
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(failed)?;
        let found = fs::metadata(path).map_err(failed)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user")));
        }
        if found.mode() & 0o777 != DIRECTORY_MODE {
            fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)).map_err(failed)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join(LOCK))
            .map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| failed(io::Error::new(io::ErrorKind::WouldBlock, "another belay-agent is using it")))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file or directory `name` inside.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// The whole of the file at `path`, or none when there is no such file.
///
/// # Errors
/// When it cannot be read or has more than `bytes_max` bytes.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Broken> {
    let failed = |error| Broken::new(format!("{} cannot be read", path.display()), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Broken::damaged(path, format!("it has more than {bytes_max} bytes")));
    }
    Ok(Some(bytes))
}

/// As [`read`], for text.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<Option<String>, Broken> {
    let Some(bytes) = read(path, bytes_max)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| Broken::damaged(path, "it is not text"))
}

/// Puts `bytes` into the file at `path`, in place of what was there.
///
/// Crash before the rename: the old file stands, and a `.new` file that the next write replaces. Crash after the rename and
/// before the directory is synced: either file, each whole. After the return: the new one.
///
/// # Errors
/// When any step fails; the old file then stands, or the new one is whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Broken> {
    replace(path, bytes)?;
    sync_parent(path)
}

/// As [`write`], but the new name is durable only after [`sync_parent`]. Returns the file, open at its end.
///
/// # Errors
/// When any step fails; the old file then stands, and no draft takes up room beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<File, Broken> {
    let failed = |error| Broken::new(format!("{} cannot be replaced", path.display()), error);
    let draft = path.with_added_extension("new");
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).mode(FILE_MODE).open(&draft).map_err(failed)?;
    let replaced = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = replaced {
        // On a full disk half a draft would keep the room that is missing.
        let _ = fs::remove_file(&draft);
        return Err(failed(error));
    }
    Ok(file)
}

/// Makes the directory at `path`, whose parent is there, unless it is there already.
///
/// Crash: the directory is there and empty, or not there; nothing refers to it yet.
pub(crate) fn make_directory(path: &Path) -> Result<(), Broken> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Broken::new(format!("{} cannot be made", path.display()), error)),
    }
}

/// Makes the names in `path`'s directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Broken> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Broken::new(format!("{} cannot be made durable", parent.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin.toml");
        assert!(read(&path, 10).unwrap().is_none());
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn a_draft_left_by_a_crash_changes_nothing_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin.toml");
        write(&path, b"old").unwrap();
        fs::write(dir.path().join("pin.toml.new"), b"half of a new o").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"old");
        write(&path, b"new").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"new");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin.toml");
        write(&path, b"old").unwrap();
        fs::create_dir(dir.path().join("pin.toml.new")).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"old");
    }

    #[test]
    fn a_draft_that_does_not_fit_on_the_disk_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin.toml");
        write(&path, b"old").unwrap();
        // Writing to /dev/full fails as on a full disk.
        std::os::unix::fs::symlink("/dev/full", dir.path().join("pin.toml.new")).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the draft is gone");
        write(&path, b"new").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"new");
    }

    #[test]
    fn an_oversized_file_is_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin.toml");
        write(&path, b"12345678901").unwrap();
        assert!(read(&path, 10).unwrap_err().to_string().contains("is damaged"));
    }

    #[test]
    fn a_second_agent_is_kept_out_and_the_directory_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let first = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, DIRECTORY_MODE);
        assert!(StateDir::open(&path).unwrap_err().to_string().contains("another belay-agent"));
        drop(first);
        StateDir::open(&path).unwrap();
    }
}
