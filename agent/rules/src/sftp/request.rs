//! What a client asks, read from its bytes. Nothing is copied and nothing is allocated here.

use super::{Attributes, Malformed};
use crate::limits::SFTP_PACKET_BYTES_MAX;

/// One request with the number its answer must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The client's number for it.
    pub id: u32,
    /// What is asked.
    pub request: Request<'a>,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// To be read.
    pub fn reads(self) -> bool {
        self.0 & 1 != 0
    }
    /// To be written.
    pub fn writes(self) -> bool {
        self.0 & 2 != 0
    }
    /// Every write goes to the end.
    pub fn appends(self) -> bool {
        self.0 & 4 != 0
    }
    /// Made when it is not there.
    pub fn creates(self) -> bool {
        self.0 & 8 != 0
    }
    /// Emptied.
    pub fn truncates(self) -> bool {
        self.0 & 16 != 0
    }
    /// Refused when it is there.
    pub fn excludes(self) -> bool {
        self.0 & 32 != 0
    }
}

/// A request. Handles are the four bytes that this server gave out; anything else is no handle of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the draft, by the same names")]
pub enum Request<'a> {
    /// The greeting; its number is the client's version.
    Init,
    Open {
        path: &'a [u8],
        flags: OpenFlags,
        attributes: Attributes,
    },
    Close {
        handle: Option<u32>,
    },
    Read {
        handle: Option<u32>,
        offset: u64,
        bytes: u32,
    },
    Write {
        handle: Option<u32>,
        offset: u64,
        data: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    LinkStat {
        path: &'a [u8],
    },
    HandleStat {
        handle: Option<u32>,
    },
    SetStat {
        path: &'a [u8],
        attributes: Attributes,
    },
    SetHandleStat {
        handle: Option<u32>,
        attributes: Attributes,
    },
    OpenDirectory {
        path: &'a [u8],
    },
    ReadDirectory {
        handle: Option<u32>,
    },
    Remove {
        path: &'a [u8],
    },
    MakeDirectory {
        path: &'a [u8],
        attributes: Attributes,
    },
    RemoveDirectory {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    ReadLink {
        path: &'a [u8],
    },
    /// What the link says comes first, as OpenSSH has it.
    MakeLink {
        says: &'a [u8],
        path: &'a [u8],
    },
    Extended(Extension<'a>),
    /// A type that is no request, or an extension that is not known.
    Unknown,
}

/// A request of OpenSSH's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of OpenSSH's PROTOCOL file, by the same names")]
pub enum Extension<'a> {
    /// Replaces what is there.
    PosixRename {
        from: &'a [u8],
        to: &'a [u8],
    },
    StatVfs {
        path: &'a [u8],
    },
    HandleStatVfs {
        handle: Option<u32>,
    },
    HardLink {
        from: &'a [u8],
        to: &'a [u8],
    },
    Sync {
        handle: Option<u32>,
    },
    SetLinkStat {
        path: &'a [u8],
        attributes: Attributes,
    },
    Limits,
    ExpandPath {
        path: &'a [u8],
    },
    /// No bytes means up to the end.
    CopyData {
        from: Option<u32>,
        offset: u64,
        bytes: u64,
        to: Option<u32>,
        to_offset: u64,
    },
    HomeDirectory {
        user: &'a [u8],
    },
    /// The lists are numbers of four bytes each.
    Names {
        users: &'a [u8],
        groups: &'a [u8],
    },
}

/// The first packet of `waiting` without its length, and how many bytes it takes; none while it is not whole.
///
/// # Errors
/// When it is longer than [`SFTP_PACKET_BYTES_MAX`], which is known from its first four bytes.
pub fn split(waiting: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((length, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > SFTP_PACKET_BYTES_MAX {
        return Err(Malformed::TooLong(length));
    }
    Ok(rest.get(..length).map(|packet| (packet, length + 4)))
}

/// The fields of a packet, from front to back.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn handle(&mut self) -> Result<Option<u32>, Malformed> {
        Ok(self.bytes()?.try_into().ok().map(u32::from_be_bytes))
    }
}

impl<'a> Asked<'a> {
    /// Reads one packet without its length. Bytes after its last field are ignored, as OpenSSH does.
    ///
    /// # Errors
    /// When it ends before its last field does.
    pub fn read(packet: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(packet);
        let [kind] = fields.take::<1>()?;
        let id = fields.u32()?;
        let f = &mut fields;
        let request = match kind {
            1 => Request::Init,
            3 => Request::Open { path: f.bytes()?, flags: OpenFlags(f.u32()?), attributes: Attributes::read(f)? },
            4 => Request::Close { handle: f.handle()? },
            5 => Request::Read { handle: f.handle()?, offset: f.u64()?, bytes: f.u32()? },
            6 => Request::Write { handle: f.handle()?, offset: f.u64()?, data: f.bytes()? },
            7 => Request::LinkStat { path: f.bytes()? },
            8 => Request::HandleStat { handle: f.handle()? },
            9 => Request::SetStat { path: f.bytes()?, attributes: Attributes::read(f)? },
            10 => Request::SetHandleStat { handle: f.handle()?, attributes: Attributes::read(f)? },
            11 => Request::OpenDirectory { path: f.bytes()? },
            12 => Request::ReadDirectory { handle: f.handle()? },
            13 => Request::Remove { path: f.bytes()? },
            14 => Request::MakeDirectory { path: f.bytes()?, attributes: Attributes::read(f)? },
            15 => Request::RemoveDirectory { path: f.bytes()? },
            16 => Request::RealPath { path: f.bytes()? },
            17 => Request::Stat { path: f.bytes()? },
            18 => Request::Rename { from: f.bytes()?, to: f.bytes()? },
            19 => Request::ReadLink { path: f.bytes()? },
            20 => Request::MakeLink { says: f.bytes()?, path: f.bytes()? },
            200 => extended(f)?.map_or(Request::Unknown, Request::Extended),
            _ => Request::Unknown,
        };
        Ok(Self { id, request })
    }
}

fn extended<'a>(f: &mut Fields<'a>) -> Result<Option<Extension<'a>>, Malformed> {
    Ok(Some(match f.bytes()? {
        b"posix-rename@openssh.com" => Extension::PosixRename { from: f.bytes()?, to: f.bytes()? },
        b"statvfs@openssh.com" => Extension::StatVfs { path: f.bytes()? },
        b"fstatvfs@openssh.com" => Extension::HandleStatVfs { handle: f.handle()? },
        b"hardlink@openssh.com" => Extension::HardLink { from: f.bytes()?, to: f.bytes()? },
        b"fsync@openssh.com" => Extension::Sync { handle: f.handle()? },
        b"lsetstat@openssh.com" => Extension::SetLinkStat { path: f.bytes()?, attributes: Attributes::read(f)? },
        b"limits@openssh.com" => Extension::Limits,
        b"expand-path@openssh.com" => Extension::ExpandPath { path: f.bytes()? },
        b"copy-data" => Extension::CopyData {
            from: f.handle()?,
            offset: f.u64()?,
            bytes: f.u64()?,
            to: f.handle()?,
            to_offset: f.u64()?,
        },
        b"home-directory" => Extension::HomeDirectory { user: f.bytes()? },
        b"users-groups-by-id@openssh.com" => Extension::Names { users: f.bytes()?, groups: f.bytes()? },
        _ => return Ok(None),
    }))
}
