//! What an agent says on the control stream. What it hears back is in `to_agent`.

use crate::codec::{Decode, Encode};
use crate::extensions::Extensions;
use crate::limits::*;
use crate::message::{heard, messages};
use crate::run::RunDeclined;

heard! {
    /// What a gateway hears on the control stream of a device.
    ToGateway {
        Hello, StatementMade, PolicyTaken, PolicyRefused, RecordTaken, RecordRefused, RunDeclined,
    }
}

/// The first message: who the agent is and what it already holds, so that the gateway offers only what is newer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The minor version the agent speaks.
    pub minor: u16,
    /// The agent's program version.
    pub agent_version: String,
    /// The newest version of every policy the agent has verified and pinned; at most [`POLICIES_HELD_MAX`].
    pub policies: Vec<PolicyHeld>,
    /// Serial of the device record it holds; 0 for none.
    pub record_serial: u64,
    /// Sequence number of the last statement it signed; 0 for none.
    pub statement_seq: u64,
    /// What the machine says of itself: shown to people, never believed.
    pub facts: Facts,
    /// What later minor versions add.
    pub extensions: Extensions,
}

/// One policy that an agent holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyHeld {
    /// The tenant whose policy it is.
    pub tenant: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of its bytes as signed.
    pub digest: [u8; 32],
}

/// What a machine says of itself; each at most [`FACT_BYTES_MAX`] bytes, empty when unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    /// Its own host name.
    pub hostname: String,
    /// Its operating system, as `PRETTY_NAME` of os-release.
    pub os: String,
    /// Its kernel release.
    pub kernel: String,
    /// Its processor architecture, as `uname -m`.
    pub arch: String,
}

/// A signed statement to be recorded before the agent acts on it (P1). Sent again, unchanged, until it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StatementMade {
    /// Its number in the device's sequence, from 1.
    pub seq: u64,
    /// The statement as signed; at most [`STATEMENT_BYTES_MAX`] bytes.
    pub text: String,
    /// The device's armoured signature (`statement.v1@belay`).
    pub signature: String,
    /// Tree size of the checkpoint that the agent keeps, to prove consistency from; 0 for none.
    pub consistency_from: u64,
    /// Origin of that checkpoint; empty for none.
    pub origin: String,
}

/// The agent verified an offered policy and holds it durably.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyTaken {
    /// The tenant whose policy it is.
    pub tenant: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of its bytes as signed.
    pub digest: [u8; 32],
}

/// The agent will not have an offered policy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyRefused {
    /// The tenant whose policy it claims to be.
    pub tenant: String,
    /// The version offered.
    pub version: u64,
    /// SHA-256 of the bytes offered.
    pub digest: [u8; 32],
    /// Why, for a person.
    pub sentence: String,
}

/// The agent verified an offered device record and holds it durably.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordTaken {
    /// The record's serial.
    pub serial: u64,
}

/// The agent will not have an offered device record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordRefused {
    /// The serial offered; 0 when it could not be read.
    pub serial: u64,
    /// Why, for a person.
    pub sentence: String,
}

messages! {
    Hello = 1, GREETING_BODY_BYTES_MAX, |this| {
        at_most("agent_version", this.agent_version.len(), PROGRAM_VERSION_BYTES_MAX)?;
        at_most("policies", this.policies.len(), POLICIES_HELD_MAX)?;
        this.policies.iter().try_for_each(|held| at_most("tenant", held.tenant.len(), LABEL_BYTES_MAX))?;
        this.facts.check()?;
        this.extensions.check()
    };
    StatementMade = 2, STATEMENT_BODY_BYTES_MAX, |this| {
        at_most("text", this.text.len(), STATEMENT_BYTES_MAX)?;
        at_most("signature", this.signature.len(), SIGNATURE_BYTES_MAX)?;
        at_most("origin", this.origin.len(), ORIGIN_BYTES_MAX)
    };
    PolicyTaken = 3, SMALL_BODY_BYTES_MAX, |this| at_most("tenant", this.tenant.len(), LABEL_BYTES_MAX);
    PolicyRefused = 4, SENTENCE_BODY_BYTES_MAX, |this| {
        at_most("tenant", this.tenant.len(), LABEL_BYTES_MAX)?;
        at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX)
    };
    RecordTaken = 5, SMALL_BODY_BYTES_MAX, |_this| Ok(());
    RecordRefused = 6, SENTENCE_BODY_BYTES_MAX, |this| at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX);
}

impl Facts {
    fn check(&self) -> Result<(), OverBound> {
        at_most("hostname", self.hostname.len(), FACT_BYTES_MAX)?;
        at_most("os", self.os.len(), FACT_BYTES_MAX)?;
        at_most("kernel", self.kernel.len(), FACT_BYTES_MAX)?;
        at_most("arch", self.arch.len(), FACT_BYTES_MAX)
    }
}
