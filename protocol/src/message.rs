//! What makes a struct a message: its number, version and largest body, and the way from value to frame and back.
//! The messages themselves are in `to_gateway`, `to_agent`, `join` and `session`.

use crate::codec::{self, Unreadable, Wire};
use crate::frame::RawFrame;
use crate::kinds::name;
use crate::limits::{HEAD_BYTES, HEAD_BYTES_COUNTED, OverBound};
use crate::misbehaved::Misbehaved;

/// A struct that travels as the body of one frame. Once released its fields are frozen: a change is a new kind or version.
pub trait Message: Wire + Sized {
    /// The number that names the message on the wire.
    const KIND: u16;
    /// The version of its fields.
    const VERSION: u8;
    /// The largest body, in bytes.
    const BYTES_MAX: usize;
    /// The name as PROTOCOL.md writes it.
    const NAME: &'static str;

    /// Whether every field keeps its bound; asked before sending and after reading.
    fn check(&self) -> Result<(), OverBound>;
}

/// Why a message was not sent: it breaks a limit of ours, so the fault is on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// A field that holds more than it may.
    #[error("{} was not sent because it breaks a limit: {over}", name(*kind))]
    OverBound {
        /// The message's kind.
        kind: u16,
        /// The field and by how much.
        over: OverBound,
    },
    /// The whole is larger than one frame of its kind may be.
    #[error("{} was not sent because its {bytes} bytes are more than the {bytes_max} allowed", name(*kind))]
    Oversized {
        /// The message's kind.
        kind: u16,
        /// Bytes of its body.
        bytes: usize,
        /// Bytes its body may have.
        bytes_max: usize,
    },
    /// The encoder refused it.
    #[error("{} could not be written", name(*kind))]
    Unwritable {
        /// The message's kind.
        kind: u16,
    },
}

/// The message as one whole frame, ready to be written.
pub fn encode_frame<M: Message>(message: &M) -> Result<Vec<u8>, Unsendable> {
    let kind = M::KIND;
    message.check().map_err(|over| Unsendable::OverBound { kind, over })?;
    let mut frame = vec![0; HEAD_BYTES];
    if !codec::append(message, &mut frame) {
        return Err(Unsendable::Unwritable { kind });
    }
    let bytes = frame.len() - HEAD_BYTES;
    let oversized = Unsendable::Oversized { kind, bytes, bytes_max: M::BYTES_MAX };
    if bytes > M::BYTES_MAX {
        return Err(oversized);
    }
    let length = u32::try_from(bytes + HEAD_BYTES_COUNTED).map_err(|_| oversized)?;
    let [a, b, c, d] = length.to_be_bytes();
    let [e, f] = kind.to_be_bytes();
    if let Some(head) = frame.first_chunk_mut::<HEAD_BYTES>() {
        *head = [a, b, c, d, e, f, M::VERSION];
    }
    Ok(frame)
}

/// The frame as message `M`; a frame of another kind or version, or one that breaks a bound, is the sender's fault.
pub fn decode_frame<M: Message>(frame: &RawFrame) -> Result<M, Misbehaved> {
    let kind = frame.kind;
    if kind != M::KIND {
        return Err(Misbehaved::Misdirected { kind });
    }
    if frame.version != M::VERSION {
        return Err(Misbehaved::UnknownVersion { kind, version: frame.version });
    }
    if frame.body.len() > M::BYTES_MAX {
        return Err(Misbehaved::Oversized { kind, bytes: frame.body.len() as u64, bytes_max: M::BYTES_MAX });
    }
    let message: M = codec::decode(&frame.body).map_err(|unreadable| match unreadable {
        Unreadable::Claim | Unreadable::Malformed => Misbehaved::Malformed { kind },
        Unreadable::Trailing => Misbehaved::Trailing { kind },
    })?;
    message.check().map_err(|over| Misbehaved::OverBound { kind, over })?;
    Ok(message)
}

/// Gives structs their number, largest body and bound checks: `Name = number, at most bytes, |self| check`.
macro_rules! messages {
    ($($name:ident = $kind:literal, $bytes_max:expr, |$this:ident| $check:expr;)+) => {
        $(impl $crate::message::Message for $name {
            const KIND: u16 = $kind;
            const VERSION: u8 = 1;
            const BYTES_MAX: usize = $bytes_max;
            const NAME: &'static str = stringify!($name);

            fn check(&self) -> Result<(), $crate::limits::OverBound> {
                let $this = self;
                $check
            }
        })+
    };
}
pub(crate) use messages;

/// An enum of the messages that one side hears on one kind of stream.
macro_rules! heard {
    ($(#[$doc:meta])+ $family:ident { $($name:ident),+ $(,)? }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $family {
            $(#[doc = concat!("A [`", stringify!($name), "`].")] $name($name)),+
        }

        impl $family {
            /// The message's number.
            pub fn kind(&self) -> u16 {
                match self {
                    $(Self::$name(_) => <$name as $crate::message::Message>::KIND),+
                }
            }

            /// The message as one whole frame, ready to be written.
            pub fn encode(&self) -> Result<Vec<u8>, $crate::message::Unsendable> {
                match self {
                    $(Self::$name(message) => $crate::message::encode_frame(message)),+
                }
            }

            /// The message in `frame`; `None` for a kind that this build does not know: skip it.
            pub fn decode(frame: &$crate::frame::RawFrame) -> Result<Option<Self>, $crate::misbehaved::Misbehaved> {
                match frame.kind {
                    $(<$name as $crate::message::Message>::KIND => {
                        $crate::message::decode_frame(frame).map(Self::$name).map(Some)
                    })+
                    kind if $crate::kinds::known(kind) => Err($crate::misbehaved::Misbehaved::Misdirected { kind }),
                    _ => Ok(None),
                }
            }
        }

        $(impl From<$name> for $family {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })+
    };
}
pub(crate) use heard;
