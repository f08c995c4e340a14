//! How one device's part of an order ended: the words that statements, tables and answers share.

use crate::invalid::{Invalid, malformed};
use std::{fmt, str::FromStr};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It exited with status 0.
    Succeeded,
    /// It exited with another status, or a signal ended it.
    Failed,
    /// It took longer than it may, and was ended.
    TimedOut,
    /// It was called off while it ran, and was ended.
    Cancelled,
    /// It was called off before it began.
    NotStarted,
    /// The device said no.
    Refused,
    /// The agent died while it ran: what it did is unknown, and it is never run again by itself.
    Interrupted,
    /// The window closed before it began.
    Expired,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::NotStarted,
        Self::Refused,
        Self::Interrupted,
        Self::Expired,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::NotStarted => "not started",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::Expired => "expired",
        }
    }

    /// Whether the script may have done something: it was started, however far it came.
    pub fn has_begun(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Cancelled | Self::Interrupted => true,
            Self::NotStarted | Self::Refused | Self::Expired => false,
        }
    }

    /// Whether it may be run again with the same inputs because a person says `retry`: it failed, or it never began. What was
    /// stopped half-way is not among them: its effect is unknown.
    pub fn is_retried(self) -> bool {
        match self {
            Self::Failed | Self::TimedOut | Self::NotStarted | Self::Refused | Self::Expired => true,
            Self::Succeeded | Self::Cancelled | Self::Interrupted => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        known.ok_or_else(|| malformed(format!("{text:?} is not how a run ends")))
    }
}

crate::digest::serde_as_text!(Outcome);
