//! One session's recording on its way: when a chunk is cut, what the gateway does not have yet, and whether the person may be
//! shown more meanwhile.
//!
//! Every time is in microseconds since the session's start, by a clock that never falls. Not here: how an event is written
//! (`belay_certs::recording`), sealing and signing, streams.

mod deeds;
mod tape;
mod upload;
mod window;

pub use deeds::words;
pub use tape::{Cut, Tape};
pub use upload::{AheadOfChunks, Next, Upload, kept};
pub use window::{Flow, Window};

#[cfg(test)]
mod tests;
