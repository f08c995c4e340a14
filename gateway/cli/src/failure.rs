//! How a command ends when it does not succeed: one sentence and an exit status.
//!
//! What was refused is decided elsewhere; only the shape is here.

use belay_certs::Invalid;

/// A command that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// We or the machine said no: status 1.
    Refused(String),
    /// The gateway said no: status 1.
    Gateway(String),
    /// The gateway could not be reached: status 1.
    Unreachable(String),
    /// The command was called wrongly: status 2.
    Usage(String),
    /// A job did not come to the end that was asked for.
    Job {
        /// 1: nothing was done, 3: not everywhere, 4: it is not over, 130: it was cancelled.
        status: u8,
        /// What is to be known.
        sentence: String,
    },
}

/// What every step of a command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The sentence for the person.
    pub fn sentence(&self) -> &str {
        match self {
            Self::Refused(sentence)
            | Self::Gateway(sentence)
            | Self::Unreachable(sentence)
            | Self::Usage(sentence)
            | Self::Job { sentence, .. } => sentence,
        }
    }

    /// The exit status of the process.
    pub fn status(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Gateway(_) | Self::Unreachable(_) => 1,
            Self::Usage(_) => 2,
            Self::Job { status, .. } => *status,
        }
    }

    /// The same failure with the name of the thing in front: `acme: …`.
    pub fn of(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Refused(sentence) => Self::Refused(format!("{what}: {sentence}")),
            Self::Gateway(sentence) => Self::Gateway(format!("{what}: {sentence}")),
            Self::Unreachable(sentence) => Self::Unreachable(format!("{what}: {sentence}")),
            Self::Usage(sentence) => Self::Usage(format!("{what}: {sentence}")),
            Self::Job { status, sentence } => Self::Job { status, sentence: format!("{what}: {sentence}") },
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Refused(invalid.sentence)
    }
}

impl From<belay_certs::policy::Refusal> for Failure {
    fn from(refusal: belay_certs::policy::Refusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

/// A refusal with this sentence.
pub fn refused(sentence: impl Into<String>) -> Failure {
    Failure::Refused(sentence.into())
}

/// Wrong usage with this sentence.
pub fn usage(sentence: impl Into<String>) -> Failure {
    Failure::Usage(sentence.into())
}

/// Puts what was being done in front of an error of the machine.
pub trait While<T> {
    /// `doing` names the act and the thing: `cannot read /etc/x`.
    ///
    /// # Errors
    /// The error itself, as a refusal.
    fn during(self, doing: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> While<T> for Result<T, E> {
    fn during(self, doing: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| refused(format!("{}: {error}", doing())))
    }
}
