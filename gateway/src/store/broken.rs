//! What the store answers when it does not record: a refusal, or that something is broken on our side.

use belay_certs::Invalid;
use belay_rules::Refusal;
use std::fmt;

/// The machine or we ourselves failed: nothing the asker did. The sentence is for the operator's log, never for an
/// outsider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Broken {
    /// With a sentence for the operator.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// The same with what was being done in front.
    pub fn of(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        Self(format!("database: {error}"))
    }
}

impl From<sqlx::migrate::MigrateError> for Broken {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self(format!("database: {error}"))
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("database holds JSON that cannot be read: {error}"))
    }
}

/// What the store itself wrote is no longer what it should be.
impl From<Invalid> for Broken {
    fn from(invalid: Invalid) -> Self {
        Self(invalid.sentence)
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
