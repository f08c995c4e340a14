//! The codes a QUIC connection is closed with, and what each means to the side that reads it.
//! Why a peer earned one is in `misbehaved`.

macro_rules! close_codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal),+ $(,)?) => {
        /// Why a connection was closed: the application error code of QUIC's CONNECTION_CLOSE (RFC 9000, section 19.19).
        ///
        /// 0 is not ours: it is what a QUIC library says when a connection is merely dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum CloseCode {
            $($(#[doc = $meaning])+ $name = $code),+
        }

        impl CloseCode {
            /// Every code, in order.
            pub const ALL: &[CloseCode] = &[$(CloseCode::$name),+];

            /// The code with this number, or none that this build knows.
            pub fn from_code(code: u64) -> Option<CloseCode> {
                match code {
                    $($code => Some(CloseCode::$name),)+
                    _ => None,
                }
            }

            /// The code's name as PROTOCOL.md writes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(CloseCode::$name => stringify!($name)),+
                }
            }

            /// One sentence for a person.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(CloseCode::$name => concat!($($meaning),+).trim_ascii_start()),+
                }
            }
        }
    };
}

close_codes! {
    /// All was said.
    Finished = 1,
    /// The gateway is stopping: come back after the time it gave.
    Draining = 2,
    /// Another connection of the same device took this one's place.
    Replaced = 3,
    /// The device is not known, was removed or was revoked.
    NotAdmitted = 4,
    /// The gateway is at a limit: come back later, with growing waits.
    Busy = 5,
    /// The side that closes has a fault of its own: come back later.
    Broken = 6,
    /// A frame or a body could not be read.
    Malformed = 16,
    /// A frame, a list or a field was larger than allowed.
    OverLimit = 17,
    /// A message came that was not legal at that point.
    OutOfPhase = 18,
    /// The two sides are more than one minor version apart, or a message came in an unknown version.
    Incompatible = 19,
    /// Too many frames of unknown kinds came.
    TooManyUnknown = 20,
    /// The first message did not come in time.
    TooSlow = 21,
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// Whether the code accuses the peer of breaking the rules: the same words again would end the same way.
    pub fn blames_peer(self) -> bool {
        self.code() >= CloseCode::Malformed.code()
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.meaning())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number_and_zero_is_nobodys() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_code(u64::from(code.code())), Some(*code));
        }
        assert_eq!(CloseCode::from_code(0), None);
        assert_eq!(CloseCode::from_code(u64::MAX), None);
    }

    #[test]
    fn a_code_reads_as_a_sentence() {
        assert_eq!(CloseCode::Finished.to_string(), "All was said.");
        assert_eq!(CloseCode::Finished.name(), "Finished");
        assert!(CloseCode::OutOfPhase.blames_peer());
        assert!(!CloseCode::Broken.blames_peer());
    }
}
