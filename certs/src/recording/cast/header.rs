//! The first line: the terminal, and whose session it is.

use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::CAST_HEADER_BYTES_MAX;
use crate::screen::Lines;
use crate::{DeviceAddress, Id, PersonRef, TenantName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of asciicast.
const VERSION: u64 = 2;
/// The size of a terminal that nobody has.
const NO_TERMINAL: (u32, u32) = (80, 24);

/// The header of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    version: u64,
    /// Columns at the start.
    pub width: u32,
    /// Rows at the start.
    pub height: u32,
    /// The session's start by the device's clock, in seconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// `TERM`, if there is a terminal.
    pub env: BTreeMap<String, String>,
    /// Whose session it is.
    #[serde(rename = "belay")]
    pub about: About,
}

impl Header {
    /// The terminal that the session had; without one it was shown as whoever received it sees it.
    pub fn screen(&self) -> Lines {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let lines = Lines::new(size(self.width), size(self.height));
        if self.env.contains_key("TERM") { lines } else { lines.returning() }
    }
}

/// Whose session it is, and what it was for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The session.
    pub session: Id,
    /// The tenant.
    pub tenant: TenantName,
    /// The device.
    pub device: DeviceAddress,
    /// The person.
    pub person: PersonRef,
    /// The account on the device.
    pub account: String,
    /// What kind of session.
    pub kind: Kind,
    /// The command line's start, as it is in the session's statement.
    pub command: Option<String>,
    /// The ticket that was named.
    pub ticket: Option<String>,
}

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A login shell.
    Shell,
    /// One command.
    Exec,
    /// A file session: its dialogue.
    Sftp,
    /// A run.
    Run,
}

impl Header {
    /// The header of a session that starts at `timestamp` (seconds) without a terminal.
    pub fn new(about: About, timestamp: i64) -> Self {
        let (width, height) = NO_TERMINAL;
        Self { version: VERSION, width, height, timestamp, env: BTreeMap::new(), about }
    }

    /// The same with a terminal of that kind and size; a size of nothing is taken for none.
    pub fn with_terminal(mut self, term: &str, width: u32, height: u32) -> Self {
        self.env.insert("TERM".to_owned(), term.to_owned());
        if width > 0 && height > 0 {
            (self.width, self.height) = (width, height);
        }
        self
    }

    /// The line with its line end.
    ///
    /// # Errors
    /// When it is longer than [`CAST_HEADER_BYTES_MAX`].
    pub fn to_line(&self) -> Result<String, Invalid> {
        let line = serde_json::to_string(self).map_err(|error| malformed(format!("not written: {error}")))?;
        if line.len() >= CAST_HEADER_BYTES_MAX {
            let sentence = format!("the header of the recording has {} bytes: too many", line.len());
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        Ok(line + "\n")
    }

    pub(super) fn parse(line: &str) -> Result<Self, Invalid> {
        let header: Self = serde_json::from_str(line)
            .map_err(|error| malformed(format!("is not the header of a recording: {error}")))?;
        if header.version != VERSION {
            return Err(malformed(format!("is of asciicast version {}, not {VERSION}", header.version)));
        }
        Ok(header)
    }
}
