//! Who can speak with whom: the protocol names offered in TLS (the major version) and the minor version inside hello and welcome.
//! The bytes of a message are not here.

use crate::misbehaved::Misbehaved;

/// TLS application protocol of an admitted device: the control stream and the session streams.
pub const ALPN: &[u8] = b"belay/1";
/// TLS application protocol of a device that has no certificate yet: one bidirectional stream, one question, one answer.
pub const ALPN_JOIN: &[u8] = b"belay-join/1";
/// TLS application protocol reserved for gateways among themselves: nobody offers or accepts it.
pub const ALPN_PEER: &[u8] = b"belay-peer/1";

/// The minor version that this build speaks. It rises when a kind of message, a message version or an extension is added.
pub const MINOR: u16 = 2;
/// The minor version from which on recordings are carried. A gateway of an older one takes none.
pub const MINOR_OF_RECORDINGS: u16 = 1;
/// The minor version from which on orders with secrets, or with readers of what is printed, are offered. An agent of an older one
/// gets none.
pub const MINOR_OF_PRIVATE_RUNS: u16 = 2;

/// The minor version both sides know, or why they cannot talk: more than one minor version lies between them.
///
/// Neither side sends what came after the answer.
pub fn minor_spoken(theirs: u16) -> Result<u16, Misbehaved> {
    between(MINOR, theirs)
}

fn between(ours: u16, theirs: u16) -> Result<u16, Misbehaved> {
    if ours.abs_diff(theirs) > 1 {
        return Err(Misbehaved::Incompatible { ours, theirs });
    }
    Ok(ours.min(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_behind_or_ahead_works_and_two_do_not() {
        assert_eq!(between(5, 4), Ok(4));
        assert_eq!(between(5, 5), Ok(5));
        assert_eq!(between(5, 6), Ok(5));
        assert_eq!(between(5, 3), Err(Misbehaved::Incompatible { ours: 5, theirs: 3 }));
        assert_eq!(between(5, 7), Err(Misbehaved::Incompatible { ours: 5, theirs: 7 }));
        assert_eq!(between(0, u16::MAX), Err(Misbehaved::Incompatible { ours: 0, theirs: u16::MAX }));
        assert_eq!(minor_spoken(MINOR), Ok(MINOR));
    }
}
