//! One file session's server: each request is done and answered before the next is looked at.
//!
//! Here are the requests about what is open; those about paths are in `changes.rs`.

use super::{
    changes,
    copying::{self, Part},
    handles::{Handles, Open, OpenFile},
    listing::{self, Listing},
    paths,
    reports::Reports,
};
use belay_agent_rules::{
    file_reports::{Close, Way},
    limits::{SFTP_IDS_MAX, SFTP_TRANSFER_BYTES_MAX},
    sftp::{Asked, Attributes, Extension, Malformed, Name, OpenFlags, Replies, Request, Room, Status},
};
use belay_certs::statement::Deed;
use rustix::io::Errno;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// The state of one file session.
pub(super) struct Server {
    reports: Reports,
    handles: Handles,
    replies: Replies,
    home: PathBuf,
    /// INIT came.
    begun: bool,
}

/// What a request leads to, besides an error.
enum Outcome {
    /// It was done, and there is nothing to say about it.
    Done,
    /// The answer is written already.
    Answered,
    /// There is no more.
    End,
    /// Not known here.
    Unknown,
}

impl Server {
    pub(super) fn new(reports: Reports, home: PathBuf) -> Self {
        Self { reports, handles: Handles::default(), replies: Replies::default(), home, begun: false }
    }

    /// What is to be sent.
    pub(super) fn replies(&mut self) -> &mut Replies {
        &mut self.replies
    }

    /// Tells the agent what was done.
    ///
    /// # Errors
    /// The agent is gone.
    pub(super) fn flush_reports(&mut self) -> io::Result<()> {
        self.reports.flush()
    }

    /// Does what one packet asks and writes its answer.
    ///
    /// # Errors
    /// It is no packet.
    pub(super) fn answer(&mut self, packet: &[u8]) -> Result<(), Malformed> {
        let Asked { id, request } = Asked::read(packet)?;
        if (request == Request::Init) == self.begun {
            return Err(Malformed::Init);
        }
        self.begun = true;
        match self.act(id, request) {
            Ok(Outcome::Done) => self.replies.status(id, Status::Ok, ""),
            Ok(Outcome::Answered) => {}
            Ok(Outcome::End) => self.replies.status(id, Status::Eof, "End of file"),
            Ok(Outcome::Unknown) => self.replies.status(id, Status::Unsupported, "Operation unsupported"),
            Err(error) => self.replies.status(id, status(&error), &error.to_string()),
        }
        Ok(())
    }

    /// The session is over: what is open was not closed by the client.
    pub(super) fn end(&mut self) {
        for open in self.handles.take_all() {
            close(&mut self.reports, open, Close::Partial);
        }
        self.reports.over();
        // Nobody to tell is nobody to tell.
        let _ = self.reports.flush();
    }

    fn act(&mut self, id: u32, request: Request<'_>) -> io::Result<Outcome> {
        match request {
            Request::Init => self.replies.version(),
            Request::Open { path, flags, attributes } => return self.open(id, path, flags, &attributes),
            Request::OpenDirectory { path } => return self.open_directory(id, path),
            Request::Close { handle } => {
                close(&mut self.reports, self.handles.take(handle)?, Close::Whole);
                return Ok(Outcome::Done);
            }
            Request::Read { handle, offset, bytes } => return self.read(id, handle, offset, bytes),
            Request::Write { handle, offset, data } => return self.write(handle, offset, data),
            Request::ReadDirectory { handle } => {
                let names = self.handles.directory(handle)?.next()?;
                if names.is_empty() {
                    return Ok(Outcome::End);
                }
                self.replies.names(id, &names);
            }
            Request::Stat { path } => {
                let metadata = std::fs::metadata(paths::given(path)?)?;
                self.replies.attributes(id, &listing::attributes(&metadata));
            }
            Request::LinkStat { path } => {
                let metadata = std::fs::symlink_metadata(paths::given(path)?)?;
                self.replies.attributes(id, &listing::attributes(&metadata));
            }
            Request::HandleStat { handle } => {
                let metadata = self.handles.file(handle)?.file.metadata()?;
                self.replies.attributes(id, &listing::attributes(&metadata));
            }
            Request::SetHandleStat { handle, attributes } => return self.set_handle(handle, &attributes),
            Request::RealPath { path } => self.name(id, &paths::real(paths::given(path)?)?),
            Request::ReadLink { path } => self.name(id, &std::fs::read_link(paths::given(path)?)?),
            Request::Extended(extension) => return self.extended(id, &extension),
            Request::Unknown => return Ok(Outcome::Unknown),
            Request::SetStat { .. }
            | Request::Remove { .. }
            | Request::MakeDirectory { .. }
            | Request::RemoveDirectory { .. }
            | Request::Rename { .. }
            | Request::MakeLink { .. } => {
                let changed = changes::make(&request);
                return self.changed(changed);
            }
        }
        Ok(Outcome::Answered)
    }

    fn extended(&mut self, id: u32, extension: &Extension<'_>) -> io::Result<Outcome> {
        match *extension {
            Extension::PosixRename { .. } | Extension::HardLink { .. } | Extension::SetLinkStat { .. } => {
                let changed = changes::make_extended(extension);
                return self.changed(changed);
            }
            Extension::StatVfs { path } => self.replies.room(id, &room(&rustix::fs::statvfs(paths::given(path)?)?)),
            Extension::HandleStatVfs { handle } => {
                let found = rustix::fs::fstatvfs(&self.handles.file(handle)?.file)?;
                self.replies.room(id, &room(&found));
            }
            Extension::Sync { handle } => {
                let file = self.handles.file(handle)?;
                if let Err(error) = file.file.sync_all() {
                    spoil(file, &error);
                    return Err(error);
                }
                return Ok(Outcome::Done);
            }
            Extension::Limits => self.replies.limits(id),
            Extension::ExpandPath { path } => {
                let path = paths::expand(paths::given(path)?, &self.home)?;
                self.name(id, &paths::real(&path)?);
            }
            Extension::HomeDirectory { user } => {
                let home = if user.is_empty() { self.home.clone() } else { paths::home_of(user)? };
                self.name(id, &home);
            }
            Extension::Names { users, groups } => {
                let users = names(users, listing::user)?;
                let groups = names(groups, listing::group)?;
                self.replies.users_and_groups(id, &users, &groups);
            }
            Extension::CopyData { from, offset, bytes, to, to_offset } => {
                return self.copy(from, to, &Part { offset, bytes, to_offset });
            }
        }
        Ok(Outcome::Answered)
    }

    fn name(&mut self, id: u32, path: &Path) {
        let name = path.as_os_str().as_bytes().to_vec();
        self.replies.names(id, &[Name { long: name.clone(), name, attributes: Attributes::default() }]);
    }

    /// Reports a change that was made, or that it was refused, or both where only a part was made.
    fn changed(&mut self, changed: io::Result<changes::Changed>) -> io::Result<Outcome> {
        match changed {
            Ok(changes::Changed { deed, path, to, failed }) => {
                self.reports.done(deed, &path, &to);
                let Some(error) = failed else { return Ok(Outcome::Done) };
                self.reports.failed();
                Err(error)
            }
            Err(error) => {
                // Clients make directories without looking whether they are there.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    self.reports.failed();
                }
                Err(error)
            }
        }
    }

    fn open(&mut self, id: u32, path: &[u8], flags: OpenFlags, attributes: &Attributes) -> io::Result<Outcome> {
        let given = paths::given(path)?;
        let opened = self.handles.room().and_then(|()| open(given, flags, attributes.mode));
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                self.reports.failed();
                return Err(error);
            }
        };
        let path = paths::of_open(&file, given);
        let way = if flags.writes() { Way::Up } else { Way::Down };
        let transfer = Some(self.reports.opened(way, &path));
        let (up, down) = if way == Way::Up { (transfer, None) } else { (None, transfer) };
        let open = Open::File(OpenFile { file, path, appends: flags.appends(), up, down });
        self.replies.handle(id, self.handles.keep(open));
        Ok(Outcome::Answered)
    }

    fn open_directory(&mut self, id: u32, path: &[u8]) -> io::Result<Outcome> {
        let given = paths::given(path)?;
        match self.handles.room().and_then(|()| Listing::open(given)) {
            Ok(listing) => {
                self.replies.handle(id, self.handles.keep(Open::Directory(listing)));
                Ok(Outcome::Answered)
            }
            Err(error) => {
                self.reports.failed();
                Err(error)
            }
        }
    }

    fn read(&mut self, id: u32, handle: Option<u32>, offset: u64, bytes: u32) -> io::Result<Outcome> {
        let file = self.handles.file(handle)?;
        let bytes = (bytes as usize).min(SFTP_TRANSFER_BYTES_MAX);
        let read = self.replies.data(id, bytes, |buffer| file.file.read_at(buffer, offset));
        let count = match read {
            Ok(count) => count,
            Err(error) => {
                spoil(file, &error);
                return Err(error);
            }
        };
        if count == 0 {
            return Ok(if bytes == 0 { Outcome::Done } else { Outcome::End });
        }
        let down = file.down.get_or_insert_with(|| self.reports.opened(Way::Down, &file.path));
        self.reports.moved(down, count);
        Ok(Outcome::Answered)
    }

    fn write(&mut self, handle: Option<u32>, offset: u64, data: &[u8]) -> io::Result<Outcome> {
        let file = self.handles.file(handle)?;
        let mut written = 0;
        let outcome = loop {
            let rest = data.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(Outcome::Done);
            }
            // As it is opened: at the end of the file, wherever the client thinks that is.
            let at = offset.saturating_add(written as u64);
            let wrote = if file.appends { (&file.file).write(rest) } else { file.file.write_at(rest, at) };
            match wrote {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Some(up) = &mut file.up {
            self.reports.moved(up, written);
        }
        if let Err(error) = &outcome {
            spoil(file, error);
        }
        outcome
    }

    fn set_handle(&mut self, handle: Option<u32>, attributes: &Attributes) -> io::Result<Outcome> {
        let file = self.handles.file(handle)?;
        let changed = changes::set_open(&file.file, &file.path, attributes);
        // The size alone is a part of writing it.
        let Attributes { size: _, owner, mode, times } = attributes;
        let is_part = file.up.is_some() && owner.is_none() && mode.is_none() && times.is_none();
        if is_part && changed.is_ok() {
            return Ok(Outcome::Done);
        }
        self.changed(changed)
    }

    fn copy(&mut self, from: Option<u32>, to: Option<u32>, part: &Part) -> io::Result<Outcome> {
        let (source, source_path) = {
            let file = self.handles.file(from)?;
            (file.file.try_clone()?, file.path.clone())
        };
        let target = self.handles.file(to)?;
        if let Err(error) = copying::may_copy(&source, &target.file) {
            self.reports.failed();
            return Err(error);
        }
        // Told before it begins: whatever ends it half-way, some of it was done.
        self.reports.done(Deed::Copy, &source_path, &target.path);
        self.reports.flush()?;
        let copied = copying::copy(&source, &target.file, part, io::stdout());
        if let Err(error) = &copied {
            spoil(target, error);
        }
        copied.map(|()| Outcome::Done)
    }
}

/// Opens without waiting for anybody (a named pipe without a reader would wait for ever) and without a terminal of its own.
fn open(path: &Path, flags: OpenFlags, mode: Option<u32>) -> io::Result<File> {
    let special = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    // `read` alone, where a client asks for neither: the system has no other way to open.
    options.read(flags.reads() || !flags.writes()).mode(mode.unwrap_or(0o666) & 0o7777);
    if flags.writes() {
        options.write(!flags.appends()).append(flags.appends()).create(flags.creates());
        options.create_new(flags.creates() && flags.excludes());
        // An append that empties first is two steps for the standard library, and one for the system.
        options.truncate(flags.truncates() && !flags.appends());
    }
    let file = options.custom_flags(special.bits().cast_signed()).open(path)?;
    if flags.writes() && flags.appends() && flags.truncates() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Closes it; a directory leaves no record.
fn close(reports: &mut Reports, open: Open, how: Close) {
    if let Open::File(file) = open {
        for transfer in [file.up, file.down].iter().flatten() {
            reports.closed(transfer, how);
        }
    }
}

/// The transfer is not whole any more. SFTP has no number for most reasons, so the person reads the first one.
fn spoil(file: &mut OpenFile, error: &io::Error) {
    let mut first = false;
    for transfer in [&mut file.up, &mut file.down].into_iter().flatten() {
        first |= transfer.spoil();
    }
    if first {
        let path = belay_certs::statement::path_text(file.path.as_os_str().as_bytes());
        let _ = writeln!(io::stderr(), "belay: {path}: {error}");
    }
}

fn room(found: &rustix::fs::StatVfs) -> Room {
    // Bit by bit, as the client reads them: 1 read-only, 2 no set-user-id.
    let flags = found.f_flag.bits() & 3;
    [
        found.f_bsize,
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_favail,
        found.f_fsid,
        flags,
        found.f_namemax,
    ]
}

/// The names of these numbers, each empty where there is none.
fn names(ids: &[u8], name: impl Fn(u32) -> Option<String>) -> io::Result<Vec<String>> {
    let (ids, rest) = ids.as_chunks::<4>();
    if !rest.is_empty() || ids.len() > SFTP_IDS_MAX {
        return Err(Errno::INVAL.into());
    }
    Ok(ids.iter().map(|id| name(u32::from_be_bytes(*id)).unwrap_or_default()).collect())
}

/// The status that says an error best, as OpenSSH chooses.
fn status(error: &io::Error) -> Status {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP) => Status::NoSuchFile,
        Some(Errno::PERM | Errno::ACCESS | Errno::FAULT) => Status::PermissionDenied,
        Some(Errno::NAMETOOLONG | Errno::INVAL) => Status::BadMessage,
        Some(Errno::NOSYS | Errno::OPNOTSUPP) => Status::Unsupported,
        _ => Status::Failure,
    }
}
