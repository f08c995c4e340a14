//! What a gateway says on the control stream. What it hears is in `to_gateway`.

use crate::codec::{Decode, Encode};
use crate::extensions::Extensions;
use crate::limits::*;
use crate::message::{heard, messages};
use crate::recording::{RecordingKept, RecordingRefused};
use crate::run::{OutputKept, RunCancelled, RunOffered, RunOfferedSealed};

heard! {
    /// What an agent hears on the control stream.
    ToAgent {
        Welcome, PolicyOffered, RecordOffered, ReceiptGiven, StatementRefused, Drain, RunOffered, RunCancelled,
        OutputKept, RecordingKept, RecordingRefused, RunOfferedSealed,
    }
}

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The minor version the gateway speaks.
    pub minor: u16,
    /// The gateway's program version.
    pub gateway_version: String,
    /// What the device is to the gateway: [`Welcome::PENDING`] or [`Welcome::APPROVED`].
    pub state: u8,
    /// The gateway's clock, in microseconds since 1970-01-01 UTC: only ever a reason to refuse.
    pub now_micros: i64,
    /// What later minor versions add.
    pub extensions: Extensions,
}

impl Welcome {
    /// The device joined and waits for a person to approve it.
    pub const PENDING: u8 = 0;
    /// A person approved the device; its record is held or follows.
    pub const APPROVED: u8 = 1;
}

/// A policy newer than the one the agent holds. The agent believes the signatures, never the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyOffered {
    /// The tenant whose policy it is.
    pub tenant: String,
    /// Its version.
    pub version: u64,
    /// The policy as signed; at most [`POLICY_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
    /// Armoured signatures (`policy.v1@belay`); at most [`POLICY_SIGNATURES_MAX`].
    pub signatures: Vec<String>,
}

/// The device's own record, with the proof that an approver signed it and the certificate of its host key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordOffered {
    /// The device record; at most [`DOCUMENT_BYTES_MAX`] bytes.
    pub record: Vec<u8>,
    /// Its place in the batch that was signed, from 0.
    pub index: u64,
    /// Inclusion path from the record to the batch's root (RFC 6962); at most [`PROOF_HASHES_MAX`] hashes.
    pub path: Vec<[u8; 32]>,
    /// The batch document as signed.
    pub batch: Vec<u8>,
    /// The approver's armoured signature over the batch.
    pub batch_signature: String,
    /// The OpenSSH host certificate, one line.
    pub certificate: String,
}

/// The proof that a statement is in the tenant's log. No proof, no action (P1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReceiptGiven {
    /// Id of the statement.
    pub statement: [u8; 16],
    /// The log entry's exact bytes; at most [`ENTRY_BYTES_MAX`].
    pub entry: Vec<u8>,
    /// The entry's index in the log, from 0.
    pub index: u64,
    /// Inclusion proof of the entry (RFC 6962); at most [`PROOF_HASHES_MAX`] hashes.
    pub inclusion: Vec<[u8; 32]>,
    /// The signed checkpoint (C2SP tlog-checkpoint) that both proofs end in.
    pub checkpoint: Vec<u8>,
    /// Consistency proof from the checkpoint that the agent keeps (RFC 6962); empty when it keeps none.
    pub consistency: Vec<[u8; 32]>,
    /// Tree size that the consistency proof starts from; 0 for none.
    pub consistency_from: u64,
}

/// The gateway did not record a statement; the agent does not act on it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StatementRefused {
    /// Id of the statement.
    pub statement: [u8; 16],
    /// Why, as a [`RefusalCode`]; a newer gateway may send one that is not known here.
    pub code: u16,
    /// Why, for a person.
    pub sentence: String,
}

impl StatementRefused {
    /// The reason, or none for a code that this build does not know: treat it as final.
    pub fn reason(&self) -> Option<RefusalCode> {
        RefusalCode::ALL.iter().copied().find(|reason| reason.code() == self.code)
    }
}

/// Why a gateway did not record a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RefusalCode {
    /// It could not be made durable just now: send the same statement again.
    NotRecorded = 1,
    /// It names another person than the one who came in through the gateway.
    PersonMismatch = 2,
    /// The tenant, the device or the person is frozen.
    Frozen = 3,
    /// Its sequence number leaves a gap after the last one recorded.
    SequenceGap = 4,
    /// Its sequence number was recorded before with other bytes, or its previous hash does not fit.
    SequenceFork = 5,
    /// It, or what it asks for, is over a limit.
    Limit = 6,
    /// The run it asks for may not start: its job was cancelled or stopped, or its window is over.
    Withdrawn = 7,
}

impl RefusalCode {
    /// Every reason, in order.
    pub const ALL: &[RefusalCode] = &[
        RefusalCode::NotRecorded,
        RefusalCode::PersonMismatch,
        RefusalCode::Frozen,
        RefusalCode::SequenceGap,
        RefusalCode::SequenceFork,
        RefusalCode::Limit,
        RefusalCode::Withdrawn,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// The gateway is about to stop: finish talking and come back, at a random moment within the time given.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Drain {
    /// The time, in milliseconds; at most [`DRAIN_MS_MAX`].
    pub within_ms: u64,
}

messages! {
    Welcome = 64, GREETING_BODY_BYTES_MAX, |this| {
        at_most("gateway_version", this.gateway_version.len(), PROGRAM_VERSION_BYTES_MAX)?;
        value_at_most("state", u64::from(this.state), u64::from(Welcome::APPROVED))?;
        this.extensions.check()
    };
    PolicyOffered = 65, POLICY_BODY_BYTES_MAX, |this| check_policy(&this.tenant, &this.bytes, &this.signatures);
    RecordOffered = 66, RECORD_BODY_BYTES_MAX, |this| {
        at_most("record", this.record.len(), DOCUMENT_BYTES_MAX)?;
        at_most("path", this.path.len(), PROOF_HASHES_MAX)?;
        at_most("batch", this.batch.len(), DOCUMENT_BYTES_MAX)?;
        at_most("batch_signature", this.batch_signature.len(), SIGNATURE_BYTES_MAX)?;
        at_most("certificate", this.certificate.len(), CERTIFICATE_BYTES_MAX)
    };
    ReceiptGiven = 67, RECEIPT_BODY_BYTES_MAX, |this| {
        at_most("entry", this.entry.len(), ENTRY_BYTES_MAX)?;
        at_most("inclusion", this.inclusion.len(), PROOF_HASHES_MAX)?;
        at_most("checkpoint", this.checkpoint.len(), CHECKPOINT_BYTES_MAX)?;
        at_most("consistency", this.consistency.len(), PROOF_HASHES_MAX)
    };
    StatementRefused = 68, SENTENCE_BODY_BYTES_MAX, |this| {
        at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX)
    };
    Drain = 69, SMALL_BODY_BYTES_MAX, |this| value_at_most("within_ms", this.within_ms, DRAIN_MS_MAX);
}

/// The bounds of one policy, wherever it travels.
pub(crate) fn check_policy(tenant: &str, bytes: &[u8], signatures: &[String]) -> Result<(), OverBound> {
    at_most("tenant", tenant.len(), LABEL_BYTES_MAX)?;
    at_most("bytes", bytes.len(), POLICY_BYTES_MAX)?;
    at_most("signatures", signatures.len(), POLICY_SIGNATURES_MAX)?;
    signatures.iter().try_for_each(|signature| at_most("signature", signature.len(), SIGNATURE_BYTES_MAX))
}

/// The bounds of one certificate chain, wherever it travels.
pub(crate) fn check_chain(chain: &[Vec<u8>]) -> Result<(), OverBound> {
    at_most("chain", chain.len(), CHAIN_CERTIFICATES_MAX)?;
    chain.iter().try_for_each(|certificate| at_most("certificate", certificate.len(), CERTIFICATE_BYTES_MAX))
}
