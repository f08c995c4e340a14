//! What a session showed: its asciicast text, cut into chunks that are compressed, encrypted, chained and signed by the device.
//!
//! A chunk is a *blob* (the bytes as stored) and a *note* (a small text that the device's host key signs). Stock `zstd`, `age`,
//! `sha256sum` and `ssh-keygen -Y verify` open and check all of it (P8). Not here: when a chunk is cut and what may be shown
//! meanwhile (the agent's rules), where chunks are kept (the gateway), files.

pub mod blob;
pub mod cast;
mod chain;
mod note;

pub use chain::Chain;
pub use note::{Note, SignedNote};

/// A place in a recording, `at_ms` milliseconds from its beginning, as people write it and `replay --at` takes it: whole
/// seconds as `1h2m3s`.
pub fn offset_words(at_ms: u64) -> String {
    let seconds = at_ms / 1_000;
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}
