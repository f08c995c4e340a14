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
/// Those of the system: nothing was changed then, or, of several attributes, not all.
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
    Ok(Changed { deed, path, to })
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
            Ok(Changed { deed: Deed::Rename, path: named, to: paths::for_report(to) })
        }
        Extension::HardLink { from, to } => {
            let (from, to) = (paths::given(from)?, paths::given(to)?);
            fs::hard_link(from, to)?;
            Ok(Changed { deed: Deed::Hardlink, path: paths::for_report(from), to: paths::for_report(to) })
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
    if let Some(size) = attributes.size {
        OpenOptions::new().write(true).open(path)?.set_len(size)?;
    }
    if let Some(mode) = attributes.mode {
        fs::set_permissions(path, Permissions::from_mode(mode & MODE_BITS))?;
    }
    if let Some(times) = attributes.times {
        rustix::fs::utimensat(CWD, path, &timestamps(times), flags)?;
    }
    if let Some((user, group)) = attributes.owner {
        rustix::fs::chownat(CWD, path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), flags)?;
    }
    Ok(Changed { deed: Deed::Attributes, path: named, to: PathBuf::new() })
}

/// The same for an open file.
///
/// # Errors
/// Those of the system.
pub(super) fn set_open(file: &File, attributes: &Attributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if let Some(mode) = attributes.mode {
        file.set_permissions(Permissions::from_mode(mode & MODE_BITS))?;
    }
    if let Some(times) = attributes.times {
        rustix::fs::futimens(file, &timestamps(times))?;
    }
    if let Some((user, group)) = attributes.owner {
        rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    Ok(())
}

fn timestamps((accessed, changed): (u32, u32)) -> Timestamps {
    let at = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    Timestamps { last_access: at(accessed), last_modification: at(changed) }
}
