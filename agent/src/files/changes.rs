//! The requests that change what is at a path, and what is reported of each.

use super::paths;
use belay_agent_rules::sftp::{Attributes, Extension, Request};
use belay_certs::statement::Deed;
use rustix::{
    fs::{AtFlags, CWD, Gid, RenameFlags, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// The bits of a mode that can be set.
const MODE_BITS: u32 = 0o7777;

/// A change that was made.
pub(super) struct Changed {
    pub(super) deed: Deed,
    /// To what, without links and dots where it can be known.
    pub(super) path: PathBuf,
    /// The other name; empty where there is none.
    pub(super) to: PathBuf,
    /// Why the rest was not done, where only a part was.
    pub(super) failed: Option<io::Error>,
}

/// Whether the last part of a path is followed when it is a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Kept,
}

/// Makes the change a request asks for.
///
/// # Errors
/// Those of the system: nothing was changed then.
pub(super) fn make(request: &Request<'_>) -> io::Result<Changed> {
    let nothing = PathBuf::new();
    let (deed, path, to) = match *request {
        Request::SetStat { path, ref attributes } => return set(paths::given(path)?, attributes, Links::Followed),
        Request::Remove { path } => {
            let path = paths::given(path)?;
            let named = paths::for_report(path);
            fs::remove_file(path)?;
            (Deed::Remove, named, nothing)
        }
        Request::MakeDirectory { path, ref attributes } => {
            let path = paths::given(path)?;
            DirBuilder::new().mode(attributes.mode.unwrap_or(0o777) & MODE_BITS).create(path)?;
            (Deed::Mkdir, paths::for_report(path), nothing)
        }
        Request::RemoveDirectory { path } => {
            let path = paths::given(path)?;
            let named = paths::for_report(path);
            fs::remove_dir(path)?;
            (Deed::Rmdir, named, nothing)
        }
        Request::Rename { from, to } => {
            let (from, to) = (paths::given(from)?, paths::given(to)?);
            let named = paths::for_report(from);
            rename_without_replacing(from, to)?;
            (Deed::Rename, named, paths::for_report(to))
        }
        Request::MakeLink { says, path } => {
            // What a link says is text and need not be there.
            let (says, path) = (Path::new(OsStr::from_bytes(says)), paths::given(path)?);
            rustix::fs::symlinkat(says, CWD, path)?;
            (Deed::Symlink, paths::for_report(path), says.to_owned())
        }
        Request::Init
        | Request::Open { .. }
        | Request::Close { .. }
        | Request::Read { .. }
        | Request::Write { .. }
        | Request::Stat { .. }
        | Request::LinkStat { .. }
        | Request::HandleStat { .. }
        | Request::SetHandleStat { .. }
        | Request::OpenDirectory { .. }
        | Request::ReadDirectory { .. }
        | Request::RealPath { .. }
        | Request::ReadLink { .. }
        | Request::Extended(_)
        | Request::Unknown => return Err(Errno::NOSYS.into()),
    };
    Ok(Changed { deed, path, to, failed: None })
}

/// Makes the change an extension asks for.
///
/// # Errors
/// As [`make`].
pub(super) fn make_extended(extension: &Extension<'_>) -> io::Result<Changed> {
    match *extension {
        Extension::PosixRename { from, to } => {
            let (from, to) = (paths::given(from)?, paths::given(to)?);
            let named = paths::for_report(from);
            fs::rename(from, to)?;
            Ok(Changed { deed: Deed::Rename, path: named, to: paths::for_report(to), failed: None })
        }
        Extension::HardLink { from, to } => {
            let (from, to) = (paths::given(from)?, paths::given(to)?);
            fs::hard_link(from, to)?;
            Ok(Changed { deed: Deed::Hardlink, path: paths::for_report(from), to: paths::for_report(to), failed: None })
        }
        Extension::SetLinkStat { path, ref attributes } => set(paths::given(path)?, attributes, Links::Kept),
        Extension::StatVfs { .. }
        | Extension::HandleStatVfs { .. }
        | Extension::Sync { .. }
        | Extension::Limits
        | Extension::ExpandPath { .. }
        | Extension::CopyData { .. }
        | Extension::HomeDirectory { .. }
        | Extension::Names { .. } => Err(Errno::NOSYS.into()),
    }
}

/// As the draft has it: what is there stays. A file system that cannot do it in one step is looked at first.
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(_) => fs::rename(from, to),
        },
        outcome => Ok(outcome?),
    }
}

/// Sets what is said; the owner last, because that may take the right to set the rest.
fn set(path: &Path, attributes: &Attributes, links: Links) -> io::Result<Changed> {
    let named = paths::for_report(path);
    let is_link = links == Links::Kept && fs::symlink_metadata(path)?.is_symlink();
    if is_link && (attributes.size.is_some() || attributes.mode.is_some()) {
        return Err(Errno::OPNOTSUPP.into());
    }
    let flags = if is_link { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    let mut steps = Steps::default();
    steps.take(attributes.size, |size| OpenOptions::new().write(true).open(path)?.set_len(size));
    steps.take(attributes.mode, |mode| fs::set_permissions(path, Permissions::from_mode(mode & MODE_BITS)));
    steps.take(attributes.times, |times| Ok(rustix::fs::utimensat(CWD, path, &timestamps(times), flags)?));
    steps.take(attributes.owner, |(user, group)| {
        Ok(rustix::fs::chownat(CWD, path, user_of(user), group_of(group), flags)?)
    });
    steps.changed(named)
}

/// The same for an open file.
///
/// # Errors
/// As [`make`].
pub(super) fn set_open(file: &File, path: &Path, attributes: &Attributes) -> io::Result<Changed> {
    let mut steps = Steps::default();
    steps.take(attributes.size, |size| file.set_len(size));
    steps.take(attributes.mode, |mode| file.set_permissions(Permissions::from_mode(mode & MODE_BITS)));
    steps.take(attributes.times, |times| Ok(rustix::fs::futimens(file, &timestamps(times))?));
    steps.take(attributes.owner, |(user, group)| Ok(rustix::fs::fchown(file, user_of(user), group_of(group))?));
    steps.changed(path.to_owned())
}

/// Attributes that are set one after the other, until one cannot be.
#[derive(Default)]
struct Steps {
    made: usize,
    failed: Option<io::Error>,
}

impl Steps {
    fn take<T>(&mut self, said: Option<T>, step: impl FnOnce(T) -> io::Result<()>) {
        let (Some(said), None) = (said, &self.failed) else { return };
        match step(said) {
            Ok(()) => self.made += 1,
            Err(error) => self.failed = Some(error),
        }
    }

    /// What came of it: one that was set has changed the file, whatever became of the others.
    fn changed(self, path: PathBuf) -> io::Result<Changed> {
        match self.failed {
            Some(error) if self.made == 0 => Err(error),
            failed => Ok(Changed { deed: Deed::Attributes, path, to: PathBuf::new(), failed }),
        }
    }
}

/// The owner to set; the highest number is none, as for the system.
fn user_of(number: u32) -> Option<Uid> {
    (number != u32::MAX).then(|| Uid::from_raw(number))
}

fn group_of(number: u32) -> Option<Gid> {
    (number != u32::MAX).then(|| Gid::from_raw(number))
}

fn timestamps((accessed, changed): (u32, u32)) -> Timestamps {
    let at = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    Timestamps { last_access: at(accessed), last_modification: at(changed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_which_some_could_be_set_are_a_change() {
        let refused = |_| Err(io::ErrorKind::PermissionDenied.into());
        let mut steps = Steps::default();
        steps.take(Some(0), |_| Ok(()));
        steps.take(None, |()| panic!("nobody said it"));
        steps.take(Some(0), refused);
        steps.take(Some(0), |_| panic!("one before it could not be set"));
        let changed = steps.changed("/a".into()).unwrap();
        assert_eq!(changed.failed.unwrap().kind(), io::ErrorKind::PermissionDenied);

        let mut steps = Steps::default();
        steps.take(Some(0), refused);
        assert!(steps.changed("/a".into()).is_err());
    }

    #[test]
    fn numbers_that_stand_for_no_owner_change_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let attributes = Attributes { owner: Some((u32::MAX, u32::MAX)), ..Attributes::default() };
        assert!(set_open(file.as_file(), file.path(), &attributes).unwrap().failed.is_none());
        assert!(set(file.path(), &attributes, Links::Followed).unwrap().failed.is_none());
    }
}
