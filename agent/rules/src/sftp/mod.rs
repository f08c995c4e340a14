//! SFTP version 3 as bytes: requests read, replies written. Paths are bytes from end to end, as on disk.
//!
//! It follows draft-ietf-secsh-filexfer-02 and, where clients expect it, OpenSSH's `PROTOCOL` file: the order of the two
//! names of a symbolic link, and the extensions. Not here: what a request does (the agent's `files/`).

mod attributes;
mod reply;
mod request;

pub use attributes::Attributes;
pub use reply::{Name, Replies, Room};
pub use request::{Asked, Extension, OpenFlags, Request, split};

/// The protocol's version, which is all that every client speaks.
pub const VERSION: u32 = 3;

/// What the extensions of the answer to INIT are called, with their versions. OpenSSH's own clients use all of them.
pub const EXTENSIONS: [(&str, &str); 11] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];

/// The status of an answer (section 7 of the draft).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// There is no more.
    Eof = 1,
    /// No such file.
    NoSuchFile = 2,
    /// Not permitted.
    PermissionDenied = 3,
    /// Anything else that went wrong.
    Failure = 4,
    /// The request makes no sense.
    BadMessage = 5,
    /// Not known here.
    Unsupported = 8,
}

/// A packet that cannot be read: the stream is not to be trusted any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A packet is longer than allowed.
    #[error("a packet of {0} bytes is longer than {max} bytes", max = crate::limits::SFTP_PACKET_BYTES_MAX)]
    TooLong(usize),
    /// A packet ends before its last field does, or has no type.
    #[error("a packet ends in the middle of a field")]
    Short,
    /// The first packet is not INIT, or a second one is.
    #[error("the session does not begin with exactly one INIT")]
    Init,
}

#[cfg(test)]
mod tests;
