//! How a session stream begins. What follows is the technician's own SSH connection, raw, and nobody's frames.

use crate::codec::{Decode, Encode};
use crate::limits::*;
use crate::message::messages;

/// With this code the gateway resets a session stream that somebody ended there: the agent ends the sessions' processes too, as when a
/// grant ends. Any other end of a stream is a lost connection.
pub const ENDED_CODE: u32 = 32;

/// The first and only frame on a session stream, by the gateway: who was let in at its door. The agent decides by itself (P2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Open {
    /// Id of the recorded access.
    pub access: [u8; 16],
    /// The person as the gateway knows them; an intent by anyone else is refused.
    pub person: String,
    /// The public key they came in with, as one OpenSSH line.
    pub key: String,
}

messages! {
    Open = 128, OPEN_BODY_BYTES_MAX, |this| {
        at_most("person", this.person.len(), PERSON_BYTES_MAX)?;
        at_most("key", this.key.len(), KEY_BYTES_MAX)
    };
}
