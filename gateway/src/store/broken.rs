//! What the store answers when it does not record: a refusal, or that something is broken on our side.

use belay_certs::Invalid;
use belay_rules::Refusal;
use std::fmt;

/// The machine or we ourselves failed: nothing the asker did. The sentence is for the operator's log, never for an
/// outsider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Broken {
    sentence: String,
    disk: Disk,
}

/// What a fault says about the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Nothing: what was written before is where it was.
    Usable,
    /// It has no room.
    Full,
    /// It took a write and then did not keep it. What can be read back may not be on it (the kernel forgets such pages).
    Unsynced,
}

/// SQLite's extended codes for a sync that failed, of a file and of its directory.
const UNSYNCED: [&str; 2] = ["1034", "1290"];
/// SQLite's code for a disk without room.
const FULL: &str = "13";

impl Broken {
    /// With a sentence for the operator.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), disk: Disk::Usable }
    }

    /// A disk without room.
    pub(super) fn full(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), disk: Disk::Full }
    }

    /// Whether the disk has no room.
    pub fn is_full(&self) -> bool {
        self.disk == Disk::Full
    }

    /// The same with what was being done in front.
    pub fn of(self, what: impl fmt::Display) -> Self {
        Self { sentence: format!("{what}: {}", self.sentence), disk: self.disk }
    }

    /// Whether nothing may be written or believed any more before the next start.
    pub(super) fn is_final(&self) -> bool {
        self.disk == Disk::Unsynced
    }
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code {
            Some(code) if code == FULL => Self::full(format!("database: {error}")),
            code if code.as_ref().is_none_or(|code| !UNSYNCED.contains(&code.as_ref())) => {
                Self::new(format!("database: {error}"))
            }
            _ => Self { sentence: format!("the disk did not keep what was written: {error}"), disk: Disk::Unsynced },
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Broken {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::new(format!("database: {error}"))
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format!("database holds JSON that cannot be read: {error}"))
    }
}

/// What the store itself wrote is no longer what it should be.
impl From<Invalid> for Broken {
    fn from(invalid: Invalid) -> Self {
        Self::new(invalid.sentence)
    }
}

/// Why an ask was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The rules say no, and why. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not. Nothing may be done that wanted a record; asking the same again is safe.
    #[error(transparent)]
    Broken(#[from] Broken),
}
