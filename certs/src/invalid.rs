//! The one error of this crate: what was refused, which rule said so, what to do about it.
//!
//! Refusals of an *action* (no grant, wrong hours) are not here: see `policy::Refusal`.

use std::fmt;

/// Whose rule was broken, for code that must tell faults apart. The sentence is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The bytes do not follow the format: syntax, unknown field, value out of bounds, CR, BOM, UTF-16.
    Malformed,
    /// A limit of `limits.rs` was exceeded.
    TooLarge,
    /// A signature is missing, or fewer valid ones than the threshold.
    Unsigned,
    /// A signature is there and does not verify: the bytes or the signature were changed.
    BadSignature,
    /// A valid signature by a key that may not make this statement.
    WrongSigner,
    /// Another tenant's document.
    ForeignTenant,
    /// `previous` does not name the version held.
    WrongPrevious,
    /// Older than the version already held.
    Older,
    /// A second, different document under a number already held.
    Fork,
    /// Past its expiry.
    Expired,
    /// Issued in the future, or the clock is behind what was verified before.
    Clock,
    /// Used up, revoked or withdrawn.
    Spent,
    /// A proof does not lead where it says: inclusion, consistency, root, smaller tree, other origin.
    BadProof,
    /// Two documents that must agree do not.
    Mismatch,
}

/// A document, signature or proof that is refused, with one sentence for a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What kind of rule was broken.
    pub fault: Fault,
    /// One sentence: what, which rule or line, what to do.
    pub sentence: String,
}

impl Invalid {
    /// A refusal of kind `fault` with `sentence` for a person.
    pub fn new(fault: Fault, sentence: impl Into<String>) -> Self {
        Self { fault, sentence: sentence.into() }
    }

    /// The same refusal with the name of the thing in front: `policy version 3: …`.
    pub fn of(self, what: impl fmt::Display) -> Self {
        Self { fault: self.fault, sentence: format!("{what}: {}", self.sentence) }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl fmt::Debug for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fault, self.sentence)
    }
}

impl std::error::Error for Invalid {}

/// Shorthand used all over this crate.
pub(crate) fn malformed(sentence: impl Into<String>) -> Invalid {
    Invalid::new(Fault::Malformed, sentence)
}
