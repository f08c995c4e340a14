//! Every kind of message in one table: number, name and largest body. What is in a message is in its own file.

use crate::join::{CertificateIssued, JoinAccepted, JoinAsked, JoinRefused, RenewalAsked};
use crate::limits::UNKNOWN_BODY_BYTES_MAX;
use crate::message::Message;
use crate::recording::{RecordingBegun, RecordingChunk, RecordingKept, RecordingRefused};
use crate::run::{OutputBegun, OutputKept, RunCancelled, RunDeclined, RunOffered, RunOfferedSealed};
use crate::session::Open;
use crate::to_agent::{Drain, PolicyOffered, ReceiptGiven, RecordOffered, StatementRefused, Welcome};
use crate::to_gateway::{Hello, PolicyRefused, PolicyTaken, RecordRefused, RecordTaken, StatementMade};

/// One kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The number on the wire.
    pub number: u16,
    /// The version of its fields that this build knows.
    pub version: u8,
    /// The name as PROTOCOL.md writes it.
    pub name: &'static str,
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
}

/// Every kind this build knows, in rising order of numbers.
pub const KINDS: &[Kind] = &[
    of::<Hello>(),
    of::<StatementMade>(),
    of::<PolicyTaken>(),
    of::<PolicyRefused>(),
    of::<RecordTaken>(),
    of::<RecordRefused>(),
    of::<RunDeclined>(),
    of::<JoinAsked>(),
    of::<RenewalAsked>(),
    of::<Welcome>(),
    of::<PolicyOffered>(),
    of::<RecordOffered>(),
    of::<ReceiptGiven>(),
    of::<StatementRefused>(),
    of::<Drain>(),
    of::<RunOffered>(),
    of::<RunCancelled>(),
    of::<OutputKept>(),
    of::<RecordingKept>(),
    of::<RecordingRefused>(),
    of::<RunOfferedSealed>(),
    of::<JoinAccepted>(),
    of::<JoinRefused>(),
    of::<CertificateIssued>(),
    of::<Open>(),
    of::<OutputBegun>(),
    of::<RecordingBegun>(),
    of::<RecordingChunk>(),
];

const fn of<M: Message>() -> Kind {
    Kind { number: M::KIND, version: M::VERSION, name: M::NAME, body_bytes_max: M::BYTES_MAX }
}

fn find(number: u16) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.number == number)
}

/// Whether this build knows the kind.
pub fn known(number: u16) -> bool {
    find(number).is_some()
}

/// The kind's name, for a log line.
pub fn name(number: u16) -> &'static str {
    find(number).map_or("a message of an unknown kind", |kind| kind.name)
}

/// The largest body of the kind in bytes, known or not.
pub fn body_bytes_max(number: u16) -> usize {
    find(number).map_or(UNKNOWN_BODY_BYTES_MAX, |kind| kind.body_bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_so_that_none_is_used_twice() {
        assert!(KINDS.windows(2).all(|pair| pair[0].number < pair[1].number));
    }

    #[test]
    fn an_unknown_kind_has_a_cap_and_no_name() {
        assert!(!known(5_000));
        assert_eq!(body_bytes_max(5_000), UNKNOWN_BODY_BYTES_MAX);
        assert_eq!(name(5_000), "a message of an unknown kind");
        assert_eq!(name(1), "Hello");
    }
}
