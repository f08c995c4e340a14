//! Paths as a client writes them: bytes, from the home directory unless they begin with a slash.

use belay_agent_rules::limits::SFTP_PATH_BYTES_MAX;
use nix::unistd::User;
use rustix::io::Errno;
use std::{
    ffi::OsStr,
    fs, io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

/// The path to hand to the system; nothing is the current directory.
///
/// # Errors
/// It is too long or has a NUL byte.
pub(super) fn given(path: &[u8]) -> io::Result<&Path> {
    if path.len() > SFTP_PATH_BYTES_MAX {
        return Err(Errno::NAMETOOLONG.into());
    }
    if path.contains(&0) {
        return Err(Errno::INVAL.into());
    }
    Ok(Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path })))
}

/// The path without links and dots; its last part may be missing.
///
/// # Errors
/// Those of the system.
pub(super) fn real(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => named(path),
        real => real,
    }
}

/// The path of a name, whatever it names: its directory without links and dots, and the name.
///
/// # Errors
/// Those of the system.
pub(super) fn named(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else { return fs::canonicalize(path) };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    Ok(fs::canonicalize(parent)?.join(name))
}

/// For the list of deeds: where a name is, or as it was given where that cannot be known.
pub(super) fn for_report(path: &Path) -> PathBuf {
    named(path).unwrap_or_else(|_| path.to_owned())
}

/// Where an open file is, whatever links led to it.
pub(super) fn of_open(file: &fs::File, given: &Path) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_else(|_| for_report(given))
}

/// `~`, `~/x` and `~user/x` as a shell has them; anything else as it is.
///
/// # Errors
/// There is no such user.
pub(super) fn expand(path: &Path, home: &Path) -> io::Result<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let Some(rest) = bytes.strip_prefix(b"~") else { return Ok(path.to_owned()) };
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (user, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    let base = if user.is_empty() { home.to_owned() } else { home_of(user)? };
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    Ok(if rest.is_empty() { base } else { base.join(OsStr::from_bytes(rest)) })
}

/// A user's home directory.
///
/// # Errors
/// There is no such user.
pub(super) fn home_of(user: &[u8]) -> io::Result<PathBuf> {
    let name = std::str::from_utf8(user).map_err(|_| Errno::NOENT)?;
    let user = User::from_name(name).ok().flatten().ok_or(Errno::NOENT)?;
    Ok(user.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_a_home_and_only_at_the_start() {
        let expanded = |path: &str| expand(Path::new(path), Path::new("/home/ana")).unwrap();
        assert_eq!(expanded("~"), Path::new("/home/ana"));
        assert_eq!(expanded("~/"), Path::new("/home/ana"));
        assert_eq!(expanded("~/a/b"), Path::new("/home/ana/a/b"));
        assert_eq!(expanded("a~"), Path::new("a~"));
        assert_eq!(expanded("~root/x"), home_of(b"root").unwrap().join("x"));
        assert!(expand(Path::new("~no-such-user-here"), Path::new("/")).is_err());
    }

    #[test]
    fn a_real_path_may_lack_its_last_part_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&base, base.join("link")).unwrap();
        assert_eq!(real(&base.join("link/new")).unwrap(), base.join("new"));
        assert_eq!(real(&base.join("link/.")).unwrap(), base);
        assert_eq!(named(&base.join("link/link")).unwrap(), base.join("link"));
        assert!(real(&base.join("none/new")).is_err());
    }

    #[test]
    fn paths_that_no_system_takes_are_refused() {
        assert!(given(&[b'x'; SFTP_PATH_BYTES_MAX + 1]).is_err());
        assert!(given(b"a\0b").is_err());
        assert_eq!(given(b"").unwrap(), Path::new("."));
    }
}
