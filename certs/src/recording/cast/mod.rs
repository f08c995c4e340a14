//! The text of a recording: asciicast v2, one JSON line an event, so that `asciinema cat` gives back the very bytes (P8).
//!
//! ```text
//! {"version":2,"width":80,"height":24,…}      the header, once
//! [SECONDS, "o", DATA]                          what the person received
//! [SECONDS, "i", DATA]                          what was typed
//! [SECONDS, "r", "COLSxROWS"]                   the terminal's new size
//! [SECONDS, "m", DATA]                          what happened, in words
//! ```
//!
//! Seconds have six decimals and never fall. Bytes that are UTF-8 stand as themselves; any other byte `XX` is the lone surrogate
//! `\udcXX` (Python's surrogateescape). Not here: when events become a chunk.

mod header;
mod reader;
mod writer;

pub use header::{About, Header, Kind};
pub use reader::{Event, EventKind, Reader};
pub use writer::Writer;

#[cfg(test)]
mod tests;
