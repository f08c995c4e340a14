//! How the other side can break the rules of the wire, each with the code its connection is closed with.
//! What we refuse politely (a statement, a policy) is a message, not this.

use crate::close::CloseCode;
use crate::kinds::name;
use crate::limits::OverBound;

/// What the peer did wrong. Close the connection with [`Misbehaved::close_code`], and count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaved {
    /// A frame's length is too small to hold its own kind and version.
    #[error("a frame says it has {length} bytes, too few for its own head")]
    Undersized {
        /// The length as sent.
        length: u32,
    },
    /// A frame is larger than its kind may be; nothing of its body was kept.
    #[error("{} of {bytes} bytes is larger than the {bytes_max} allowed", name(*kind))]
    Oversized {
        /// The frame's kind.
        kind: u16,
        /// Bytes of its body, as announced.
        bytes: u64,
        /// Bytes its body may have.
        bytes_max: usize,
    },
    /// A known message that is not legal now, or not from this side.
    #[error("{} came while {phase}", name(*kind))]
    OutOfPhase {
        /// The frame's kind.
        kind: u16,
        /// What we were doing, as PROTOCOL.md names the phase.
        phase: &'static str,
    },
    /// A known message that the other side never sends on this kind of stream.
    #[error("{} is never sent in this direction", name(*kind))]
    Misdirected {
        /// The frame's kind.
        kind: u16,
    },
    /// A known message in a version that we do not know; the sender had to know that.
    #[error("{} came in version {version}, which is unknown here", name(*kind))]
    UnknownVersion {
        /// The frame's kind.
        kind: u16,
        /// The version as sent.
        version: u8,
    },
    /// A body that is not the message it says it is, or that claims more than it has.
    #[error("{} could not be read", name(*kind))]
    Malformed {
        /// The frame's kind.
        kind: u16,
    },
    /// A body that goes on after its message ended.
    #[error("{} has bytes after its end", name(*kind))]
    Trailing {
        /// The frame's kind.
        kind: u16,
    },
    /// A field that holds more than it may.
    #[error("{} breaks a limit: {over}", name(*kind))]
    OverBound {
        /// The frame's kind.
        kind: u16,
        /// The field and by how much.
        over: OverBound,
    },
    /// More frames of unknown kinds than a mistake explains.
    #[error("more than {max} frames of unknown kinds came on one stream")]
    TooManyUnknown {
        /// How many are forgiven.
        max: u32,
    },
    /// The peer is more than one minor version away.
    #[error("this side speaks minor version {ours} and the other {theirs}: upgrade the older one")]
    Incompatible {
        /// Our minor version.
        ours: u16,
        /// Theirs.
        theirs: u16,
    },
    /// The first message did not come in time.
    #[error("nothing was said in the time allowed for the first message")]
    Silent,
}

impl Misbehaved {
    /// The code to close the connection with.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Undersized { .. } | Self::Malformed { .. } | Self::Trailing { .. } => CloseCode::Malformed,
            Self::Oversized { .. } | Self::OverBound { .. } => CloseCode::OverLimit,
            Self::OutOfPhase { .. } | Self::Misdirected { .. } => CloseCode::OutOfPhase,
            Self::UnknownVersion { .. } | Self::Incompatible { .. } => CloseCode::Incompatible,
            Self::TooManyUnknown { .. } => CloseCode::TooManyUnknown,
            Self::Silent => CloseCode::TooSlow,
        }
    }
}
