//! The auditor's desk: what is taken from a gateway about a session, checked on the person's own machine before it is shown.
//!
//! Nothing here believes the gateway: entries are in the log that the policy names, statements and notes are signed by the host
//! key that a device CA certified, and every chunk follows the one before. Not here: what is done with it (the commands).

pub mod case;
pub mod deleted;
pub mod evidence;
pub mod index;
pub mod job;
pub mod pack;
pub mod play;
pub mod printed;
pub mod proofs;
pub mod ran;
pub mod records;
pub mod stream;
pub mod taken;
