//! Every maximum of this crate, with its reason (P7), and how they relate. Sizes are bytes unless the name says otherwise.
//!
//! What a signed document may hold is bounded again, and more tightly, where it is read (`certs`).

/// A name that is one DNS label, such as a tenant (RFC 1035).
pub const LABEL_BYTES_MAX: usize = 63;
/// A program version, such as `0.1.0-rc.1+build.5`.
pub const PROGRAM_VERSION_BYTES_MAX: usize = 64;
/// One fact about a machine, such as its host name: 255 is the longest DNS name and the longest Linux file name.
pub const FACT_BYTES_MAX: usize = 255;
/// A sentence for a person: a dozen terminal lines, more is not read.
pub const SENTENCE_BYTES_MAX: usize = 1 << 10;
/// A log's origin (`<gateway name>/<tenant>`): a DNS name, a label and a restart number.
pub const ORIGIN_BYTES_MAX: usize = 512;
/// A person's name: `msp:NAME`, two labels with room.
pub const PERSON_BYTES_MAX: usize = 160;
/// A public key as one OpenSSH line: RSA with 16,384 bits is under 3 KiB.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// One armoured sshsig signature: RSA with 16,384 bits is under 6 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 8 << 10;
/// A device's signed statement: it must fit a log entry escaped as JSON.
pub const STATEMENT_BYTES_MAX: usize = 28 << 10;
/// A signed document other than a policy: token, join request, device record, batch.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 10;
/// One runbook as signed: a script that a person can still review.
pub const RUNBOOK_BYTES_MAX: usize = 256 << 10;
/// Secrets of one run as an age file in base64: 12 KiB of values and names, and room for age's own.
pub const SEALED_TEXT_BYTES_MAX: usize = 17_752;
/// One policy as signed.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Signatures on one policy: 32 root keys of the version before and 32 of its own.
pub const POLICY_SIGNATURES_MAX: usize = 64;
/// Policies one device holds: its tenant's newest and one for each import.
pub const POLICIES_HELD_MAX: usize = 64;
/// Policies in one join answer; later versions of a longer chain follow as offers on the control stream.
pub const JOIN_POLICIES_MAX: usize = 256;
/// One log entry: the C2SP entry bundle counts in 16 bits.
pub const ENTRY_BYTES_MAX: usize = (64 << 10) - 1;
/// A signed checkpoint: a dozen cosignatures fit.
pub const CHECKPOINT_BYTES_MAX: usize = 4 << 10;
/// Hashes in one proof: a consistency proof in a tree of 2^63 leaves needs no more.
pub const PROOF_HASHES_MAX: usize = 128;
/// The note of one chunk of a recording: eleven short lines.
pub const RECORDING_NOTE_BYTES_MAX: usize = 1 << 10;
/// One chunk of a recording as stored: 64 KiB of text and its longest line, which noise keeps from shrinking, for 32 recipients.
pub const RECORDING_BLOB_BYTES_MAX: usize = 128 << 10;
/// A PKCS#10 certificate request for one key.
pub const CSR_BYTES_MAX: usize = 8 << 10;
/// One X.509 certificate, or one OpenSSH host certificate as a line.
pub const CERTIFICATE_BYTES_MAX: usize = 8 << 10;
/// Certificates in one chain: leaf, issuing CA, root, and one while the CA is replaced.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;
/// Extensions at the end of a hello or a welcome: more than any one minor version will add.
pub const EXTENSIONS_MAX: usize = 32;
/// One extension's value: a flag, a number, a short list.
pub const EXTENSION_BYTES_MAX: usize = 1 << 10;

/// The frame's own bytes before the body: u32 length, u16 kind, u8 version.
pub const HEAD_BYTES: usize = 7;
/// The part of the head that a frame's length counts: kind and version.
pub const HEAD_BYTES_COUNTED: usize = 3;

/// Body of a message made of numbers, hashes and names.
pub const SMALL_BODY_BYTES_MAX: usize = 1 << 10;
/// Body of a message that carries a sentence for a person.
pub const SENTENCE_BODY_BYTES_MAX: usize = 2 << 10;
/// Body of `Hello` and `Welcome`: the facts, the policies held and the extensions.
pub const GREETING_BODY_BYTES_MAX: usize = 48 << 10;
/// Body of `StatementMade`: the statement, its signature and an origin.
pub const STATEMENT_BODY_BYTES_MAX: usize = 40 << 10;
/// Body of `CertificateIssued`: one chain.
pub const CERTIFICATE_ISSUED_BODY_BYTES_MAX: usize = 33 << 10;
/// Body of `PolicyOffered`: one policy with every signature it can have.
pub const POLICY_BODY_BYTES_MAX: usize = 2 << 20;
/// Body of `RecordOffered`: two documents, a proof, a signature, a host certificate.
pub const RECORD_BODY_BYTES_MAX: usize = 56 << 10;
/// Body of `RunOffered`: an order, a runbook, their signatures, a proof.
pub const RUN_OFFERED_BODY_BYTES_MAX: usize = 304 << 10;
/// Body of `RunOfferedSealed`: the same, and the secrets.
pub const RUN_OFFERED_SEALED_BODY_BYTES_MAX: usize = 324 << 10;
/// Body of `RecordingChunk`: a note, its signature, a blob.
pub const RECORDING_CHUNK_BODY_BYTES_MAX: usize = 160 << 10;
/// Body of `ReceiptGiven`: an entry, a checkpoint, two proofs.
pub const RECEIPT_BODY_BYTES_MAX: usize = 80 << 10;
/// Body of `JoinAsked`, which strangers send: two documents, three signatures, a certificate request.
pub const JOIN_ASKED_BODY_BYTES_MAX: usize = 68 << 10;
/// Body of `RenewalAsked`, which strangers send: a document, a signature, a certificate request.
pub const RENEWAL_ASKED_BODY_BYTES_MAX: usize = 36 << 10;
/// Body of `JoinAccepted`: a chain of ordinary policies; what does not fit follows on the control stream.
pub const JOIN_ACCEPTED_BODY_BYTES_MAX: usize = 8 << 20;
/// Body of `Open`: an id, a name and a key.
pub const OPEN_BODY_BYTES_MAX: usize = 5 << 10;
/// Body of a kind we do not know: a newer peer's ordinary message fits, a flood does not.
pub const UNKNOWN_BODY_BYTES_MAX: usize = 64 << 10;
/// Frames of unknown kinds on one stream: a peer one minor version ahead sends none, so this only forgives mistakes.
pub const UNKNOWN_FRAMES_MAX: u32 = 1_000;

/// How long the first message of a stream may take, in seconds: three lost packets on a satellite link, and a slow machine.
pub const FIRST_MESSAGE_SECONDS_MAX: u64 = 15;
/// The longest a gateway may ask for in `Drain`, in milliseconds: five minutes spread 20,000 agents over an upgrade.
pub const DRAIN_MS_MAX: u64 = 300_000;

// A message whose every field is at its maximum can be sent.
const HASH: usize = 32;
const _: () = assert!(STATEMENT_BYTES_MAX + SIGNATURE_BYTES_MAX + ORIGIN_BYTES_MAX + 64 <= STATEMENT_BODY_BYTES_MAX);
const _: () =
    assert!(POLICY_BYTES_MAX + POLICY_SIGNATURES_MAX * (SIGNATURE_BYTES_MAX + 8) + 128 <= POLICY_BODY_BYTES_MAX);
const _: () = assert!(
    2 * DOCUMENT_BYTES_MAX + PROOF_HASHES_MAX * HASH + SIGNATURE_BYTES_MAX + CERTIFICATE_BYTES_MAX + 64
        <= RECORD_BODY_BYTES_MAX
);
const _: () =
    assert!(ENTRY_BYTES_MAX + CHECKPOINT_BYTES_MAX + 2 * PROOF_HASHES_MAX * HASH + 128 <= RECEIPT_BODY_BYTES_MAX);
const _: () =
    assert!(2 * DOCUMENT_BYTES_MAX + 3 * SIGNATURE_BYTES_MAX + CSR_BYTES_MAX + 64 <= JOIN_ASKED_BODY_BYTES_MAX);
const _: () = assert!(DOCUMENT_BYTES_MAX + SIGNATURE_BYTES_MAX + CSR_BYTES_MAX + 64 <= RENEWAL_ASKED_BODY_BYTES_MAX);
const _: () = assert!(CHAIN_CERTIFICATES_MAX * (CERTIFICATE_BYTES_MAX + 8) + 8 <= CERTIFICATE_ISSUED_BODY_BYTES_MAX);
const _: () = assert!(
    EXTENSIONS_MAX * (EXTENSION_BYTES_MAX + 8)
        + POLICIES_HELD_MAX * (LABEL_BYTES_MAX + HASH + 16)
        + 4 * (FACT_BYTES_MAX + 8)
        + 256
        <= GREETING_BODY_BYTES_MAX
);
const _: () = assert!(
    DOCUMENT_BYTES_MAX + RUNBOOK_BYTES_MAX + 2 * SIGNATURE_BYTES_MAX + PROOF_HASHES_MAX * HASH + 64
        <= RUN_OFFERED_BODY_BYTES_MAX
);
const _: () = assert!(RUN_OFFERED_BODY_BYTES_MAX + SEALED_TEXT_BYTES_MAX + 8 <= RUN_OFFERED_SEALED_BODY_BYTES_MAX);
const _: () = assert!(
    RECORDING_NOTE_BYTES_MAX + SIGNATURE_BYTES_MAX + RECORDING_BLOB_BYTES_MAX + 64 <= RECORDING_CHUNK_BODY_BYTES_MAX
);
const _: () = assert!(KEY_BYTES_MAX + PERSON_BYTES_MAX + 64 <= OPEN_BODY_BYTES_MAX);
const _: () = assert!(SENTENCE_BYTES_MAX + LABEL_BYTES_MAX + HASH + 64 <= SENTENCE_BODY_BYTES_MAX);
// The largest policy fits a join answer.
const _: () = assert!(POLICY_BODY_BYTES_MAX + CERTIFICATE_ISSUED_BODY_BYTES_MAX < JOIN_ACCEPTED_BODY_BYTES_MAX);

/// `sentence` cut to what a message may carry, at the end of a character.
pub fn clip_sentence(sentence: &str) -> String {
    let end = sentence.floor_char_boundary(SENTENCE_BYTES_MAX);
    sentence.get(..end).unwrap_or_default().to_owned()
}

/// A field that holds more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} has {found} where at most {max} are allowed")]
pub struct OverBound {
    /// The field, as PROTOCOL.md names it.
    pub field: &'static str,
    /// How much there is: bytes, items or a value.
    pub found: u64,
    /// How much there may be.
    pub max: u64,
}

/// `Ok` while `found` (bytes or items of `field`) is at most `max`.
pub(crate) fn at_most(field: &'static str, found: usize, max: usize) -> Result<(), OverBound> {
    value_at_most(field, found as u64, max as u64)
}

/// `Ok` while the value of `field` is at most `max`.
pub(crate) fn value_at_most(field: &'static str, found: u64, max: u64) -> Result<(), OverBound> {
    if found <= max { Ok(()) } else { Err(OverBound { field, found, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_cut_at_a_character() {
        assert_eq!(clip_sentence("short"), "short");
        let long = format!("{}é{}", "a".repeat(SENTENCE_BYTES_MAX - 1), "b".repeat(10));
        let cut = clip_sentence(&long);
        assert_eq!(cut.len(), SENTENCE_BYTES_MAX - 1);
        assert!(long.starts_with(&cut));
    }

    #[test]
    fn the_maximum_itself_is_allowed() {
        assert_eq!(at_most("field", 5, 5), Ok(()));
        assert_eq!(at_most("field", 6, 5), Err(OverBound { field: "field", found: 6, max: 5 }));
    }
}
