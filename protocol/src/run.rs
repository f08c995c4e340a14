//! What is said about runs: a job's order offered to a device, called off, and its output on the way up.
//!
//! Intent, refusal and end of a run are statements (`StatementMade`), with the receipts that those of sessions have.

use crate::codec::{Decode, Encode};
use crate::limits::*;
use crate::message::messages;

/// A signed order that names this device. The agent believes the signatures and the path, never the gateway (P2).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunOffered {
    /// The order as signed; at most [`DOCUMENT_BYTES_MAX`] bytes.
    pub order: Vec<u8>,
    /// The armoured signature of whoever gave it (`order.v1@belay`).
    pub order_signature: String,
    /// The runbook as signed; at most [`RUNBOOK_BYTES_MAX`] bytes.
    pub runbook: Vec<u8>,
    /// The armoured signature of its author (`runbook.v1@belay`).
    pub runbook_signature: String,
    /// The place of this device's line in the order's list, from 0.
    pub index: u64,
    /// Inclusion path from that line to the order's root (RFC 6962); at most [`PROOF_HASHES_MAX`] hashes.
    pub path: Vec<[u8; 32]>,
}

/// The same for an order with secrets: this device's line of the list holds them, encrypted to its host key, and the path proves
/// that too. From minor version 2 on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunOfferedSealed {
    /// What is offered for every order.
    pub offered: RunOffered,
    /// The third word of that line, an age file in base64; at most [`SEALED_TEXT_BYTES_MAX`] bytes.
    pub sealed: String,
}

/// A run must not start, or must end: its job was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunCancelled {
    /// Id of the order.
    pub order: [u8; 16],
    /// Why, for a person.
    pub sentence: String,
}

/// So much of a run's output is durable at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OutputKept {
    /// Id of the order.
    pub order: [u8; 16],
    /// Bytes from the start of the output file.
    pub offset: u64,
}

/// An offered order about which this device says nothing in its log: it is not proved to be anybody's of the tenant, or its
/// id is known here already.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunDeclined {
    /// Id of the order; zeros when it could not be read.
    pub order: [u8; 16],
    /// SHA-256 of the order's bytes as offered.
    pub digest: [u8; 32],
    /// Why, for a person.
    pub sentence: String,
}

/// The first and only frame on an output stream, by the agent; what follows is the output file's bytes from `offset` on, raw.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OutputBegun {
    /// Id of the order.
    pub order: [u8; 16],
    /// Where in the output file the stream begins, in bytes.
    pub offset: u64,
}

messages! {
    RunDeclined = 8, SENTENCE_BODY_BYTES_MAX, |this| at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX);
    RunOffered = 71, RUN_OFFERED_BODY_BYTES_MAX, |this| {
        at_most("order", this.order.len(), DOCUMENT_BYTES_MAX)?;
        at_most("order_signature", this.order_signature.len(), SIGNATURE_BYTES_MAX)?;
        at_most("runbook", this.runbook.len(), RUNBOOK_BYTES_MAX)?;
        at_most("runbook_signature", this.runbook_signature.len(), SIGNATURE_BYTES_MAX)?;
        at_most("path", this.path.len(), PROOF_HASHES_MAX)
    };
    RunCancelled = 72, SENTENCE_BODY_BYTES_MAX, |this| at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX);
    RunOfferedSealed = 76, RUN_OFFERED_SEALED_BODY_BYTES_MAX, |this| {
        this.offered.check()?;
        at_most("sealed", this.sealed.len(), SEALED_TEXT_BYTES_MAX)
    };
    OutputKept = 73, SMALL_BODY_BYTES_MAX, |_this| Ok(());
    OutputBegun = 160, SMALL_BODY_BYTES_MAX, |_this| Ok(());
}
