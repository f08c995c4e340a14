//! Every field's bound: the largest messages can be sent and read, and one more than the bound cannot.

use super::samples::{self, HASH, ID, raw};
use crate::limits::*;
use crate::*;

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn list<T: Clone>(item: T, count: usize) -> Vec<T> {
    vec![item; count]
}

/// The message goes through as it is.
fn fits<M: Message + PartialEq + std::fmt::Debug>(message: M) {
    let frame = encode_frame(&message).unwrap();
    assert!(frame.len() - HEAD_BYTES <= M::BYTES_MAX);
    assert_eq!(decode_frame::<M>(&raw(&message)), Ok(message));
}

/// The message is neither sent nor accepted, because of `field`.
fn over<M: Message + PartialEq + std::fmt::Debug>(field: &str, message: M) {
    let kind = M::KIND;
    match encode_frame(&message) {
        Err(Unsendable::OverBound { kind: told, over }) => assert_eq!((told, over.field), (kind, field)),
        other => panic!("{} with too much {field} was sent: {other:?}", M::NAME),
    }
    match decode_frame::<M>(&raw(&message)) {
        Err(Misbehaved::OverBound { kind: told, over }) => assert_eq!((told, over.field), (kind, field)),
        other => panic!("{} with too much {field} was read: {other:?}", M::NAME),
    }
}

fn largest_policy() -> PolicyBytes {
    PolicyBytes {
        tenant: text(LABEL_BYTES_MAX),
        version: u64::MAX,
        bytes: vec![1; POLICY_BYTES_MAX],
        signatures: list(text(SIGNATURE_BYTES_MAX), POLICY_SIGNATURES_MAX),
    }
}

fn largest_facts() -> Facts {
    let fact = text(FACT_BYTES_MAX);
    Facts { hostname: fact.clone(), os: fact.clone(), kernel: fact.clone(), arch: fact }
}

fn largest_extensions() -> Extensions {
    Extensions(list((u16::MAX, vec![1; EXTENSION_BYTES_MAX]), EXTENSIONS_MAX))
}

#[test]
fn the_largest_messages_of_an_agent_can_be_sent() {
    fits(Hello {
        minor: u16::MAX,
        agent_version: text(PROGRAM_VERSION_BYTES_MAX),
        policies: list(
            PolicyHeld { tenant: text(LABEL_BYTES_MAX), version: u64::MAX, digest: HASH },
            POLICIES_HELD_MAX,
        ),
        record_serial: u64::MAX,
        statement_seq: u64::MAX,
        facts: largest_facts(),
        extensions: largest_extensions(),
    });
    fits(StatementMade {
        seq: u64::MAX,
        text: text(STATEMENT_BYTES_MAX),
        signature: text(SIGNATURE_BYTES_MAX),
        consistency_from: u64::MAX,
        origin: text(ORIGIN_BYTES_MAX),
    });
    let (tenant, version) = (text(LABEL_BYTES_MAX), u64::MAX);
    fits(PolicyTaken { tenant: tenant.clone(), version, digest: HASH });
    fits(PolicyRefused { tenant, version, digest: HASH, sentence: text(SENTENCE_BYTES_MAX) });
    fits(RecordTaken { serial: u64::MAX });
    fits(RecordRefused { serial: u64::MAX, sentence: text(SENTENCE_BYTES_MAX) });
    fits(RunDeclined { order: ID, digest: HASH, sentence: text(SENTENCE_BYTES_MAX) });
    fits(OutputBegun { order: ID, offset: u64::MAX });
    fits(RecordingBegun { session: ID, chunk: u64::MAX });
    fits(RecordingChunk {
        note: text(RECORDING_NOTE_BYTES_MAX),
        signature: text(SIGNATURE_BYTES_MAX),
        blob: vec![1; RECORDING_BLOB_BYTES_MAX],
    });
    fits(JoinAsked {
        token: vec![1; DOCUMENT_BYTES_MAX],
        token_signature: text(SIGNATURE_BYTES_MAX),
        request: vec![1; DOCUMENT_BYTES_MAX],
        by_join_key: text(SIGNATURE_BYTES_MAX),
        by_host_key: text(SIGNATURE_BYTES_MAX),
        csr: vec![1; CSR_BYTES_MAX],
    });
    fits(RenewalAsked {
        request: vec![1; DOCUMENT_BYTES_MAX],
        by_host_key: text(SIGNATURE_BYTES_MAX),
        csr: vec![1; CSR_BYTES_MAX],
    });
}

#[test]
fn the_largest_messages_of_a_gateway_can_be_sent() {
    fits(Welcome {
        minor: u16::MAX,
        gateway_version: text(PROGRAM_VERSION_BYTES_MAX),
        state: Welcome::APPROVED,
        now_micros: i64::MIN,
        extensions: largest_extensions(),
    });
    fits(PolicyOffered::from(largest_policy()));
    fits(RecordOffered {
        record: vec![1; DOCUMENT_BYTES_MAX],
        index: u64::MAX,
        path: list(HASH, PROOF_HASHES_MAX),
        batch: vec![1; DOCUMENT_BYTES_MAX],
        batch_signature: text(SIGNATURE_BYTES_MAX),
        certificate: text(CERTIFICATE_BYTES_MAX),
    });
    fits(ReceiptGiven {
        statement: ID,
        entry: vec![1; ENTRY_BYTES_MAX],
        index: u64::MAX,
        inclusion: list(HASH, PROOF_HASHES_MAX),
        checkpoint: vec![1; CHECKPOINT_BYTES_MAX],
        consistency: list(HASH, PROOF_HASHES_MAX),
        consistency_from: u64::MAX,
    });
    fits(StatementRefused { statement: ID, code: u16::MAX, sentence: text(SENTENCE_BYTES_MAX) });
    fits(Drain { within_ms: DRAIN_MS_MAX });
    let offered = RunOffered {
        order: vec![1; DOCUMENT_BYTES_MAX],
        order_signature: text(SIGNATURE_BYTES_MAX),
        runbook: vec![1; RUNBOOK_BYTES_MAX],
        runbook_signature: text(SIGNATURE_BYTES_MAX),
        index: u64::MAX,
        path: list(HASH, PROOF_HASHES_MAX),
    };
    fits(offered.clone());
    fits(RunOfferedSealed { offered, sealed: text(SEALED_TEXT_BYTES_MAX) });
    fits(RunCancelled { order: ID, sentence: text(SENTENCE_BYTES_MAX) });
    fits(OutputKept { order: ID, offset: u64::MAX });
    fits(RecordingKept { session: ID, chunks: u64::MAX });
    fits(RecordingRefused { session: ID, sentence: text(SENTENCE_BYTES_MAX) });
    fits(CertificateIssued { chain: list(vec![1; CERTIFICATE_BYTES_MAX], CHAIN_CERTIFICATES_MAX) });
    fits(JoinRefused { sentence: text(SENTENCE_BYTES_MAX) });
    fits(Open { access: ID, person: text(PERSON_BYTES_MAX), key: text(KEY_BYTES_MAX) });
}

#[test]
fn lists_of_the_smallest_items_can_be_sent_too() {
    let nothing = PolicyBytes { tenant: String::new(), version: 0, bytes: vec![], signatures: vec![] };
    fits(JoinAccepted { join: ID, chain: vec![], policies: list(nothing.clone(), JOIN_POLICIES_MAX) });
    fits(PolicyOffered {
        tenant: String::new(),
        version: 0,
        bytes: vec![],
        signatures: list(String::new(), POLICY_SIGNATURES_MAX),
    });
    fits(Hello { extensions: Extensions(list((0, vec![]), EXTENSIONS_MAX)), ..samples::hello() });
}

#[test]
fn a_join_answer_takes_as_many_policies_as_fit() {
    let chain = list(vec![1; CERTIFICATE_BYTES_MAX], CHAIN_CERTIFICATES_MAX);
    let accepted = JoinAccepted::with_what_fits(ID, chain.clone(), list(largest_policy(), 20));
    assert_eq!(accepted.policies.len(), 5);
    fits(accepted);
    let many = list(samples::policy_bytes(), JOIN_POLICIES_MAX + 50);
    assert_eq!(JoinAccepted::with_what_fits(ID, chain.clone(), many).policies.len(), JOIN_POLICIES_MAX);
    assert_eq!(JoinAccepted::with_what_fits(ID, chain, vec![]).policies, vec![]);
}

#[test]
fn a_frame_that_is_too_large_as_a_whole_is_not_sent() {
    let message = JoinAccepted { join: ID, chain: vec![], policies: list(largest_policy(), 6) };
    let Err(Unsendable::Oversized { kind, bytes, bytes_max }) = encode_frame(&message) else {
        panic!("an oversized frame was sent");
    };
    assert_eq!((kind, bytes_max), (JoinAccepted::KIND, JOIN_ACCEPTED_BODY_BYTES_MAX));
    assert!(bytes > bytes_max);
}

#[test]
fn one_more_than_an_agent_may_send_is_refused() {
    use samples::{hello, join_asked, policy_refused, renewal_asked, statement_made};
    let held = PolicyHeld { tenant: String::new(), version: 0, digest: HASH };
    let long = PolicyHeld { tenant: text(LABEL_BYTES_MAX + 1), ..held.clone() };
    over("agent_version", Hello { agent_version: text(PROGRAM_VERSION_BYTES_MAX + 1), ..hello() });
    over("policies", Hello { policies: list(held, POLICIES_HELD_MAX + 1), ..hello() });
    over("tenant", Hello { policies: vec![long], ..hello() });
    let (fact, none) = (text(FACT_BYTES_MAX + 1), Facts::default());
    over("hostname", Hello { facts: Facts { hostname: fact.clone(), ..none.clone() }, ..hello() });
    over("os", Hello { facts: Facts { os: fact.clone(), ..none.clone() }, ..hello() });
    over("kernel", Hello { facts: Facts { kernel: fact.clone(), ..none.clone() }, ..hello() });
    over("arch", Hello { facts: Facts { arch: fact, ..none }, ..hello() });
    over("extensions", Hello { extensions: Extensions(list((0, vec![]), EXTENSIONS_MAX + 1)), ..hello() });
    over("extension", Hello { extensions: Extensions(vec![(0, vec![0; EXTENSION_BYTES_MAX + 1])]), ..hello() });
    over("text", StatementMade { text: text(STATEMENT_BYTES_MAX + 1), ..statement_made() });
    over("signature", StatementMade { signature: text(SIGNATURE_BYTES_MAX + 1), ..statement_made() });
    over("origin", StatementMade { origin: text(ORIGIN_BYTES_MAX + 1), ..statement_made() });
    over("tenant", PolicyTaken { tenant: text(LABEL_BYTES_MAX + 1), version: 0, digest: HASH });
    over("tenant", PolicyRefused { tenant: text(LABEL_BYTES_MAX + 1), ..policy_refused() });
    over("sentence", PolicyRefused { sentence: text(SENTENCE_BYTES_MAX + 1), ..policy_refused() });
    over("sentence", RecordRefused { serial: 1, sentence: text(SENTENCE_BYTES_MAX + 1) });
    over("sentence", RunDeclined { sentence: text(SENTENCE_BYTES_MAX + 1), ..samples::run_declined() });
    over("note", RecordingChunk { note: text(RECORDING_NOTE_BYTES_MAX + 1), ..samples::recording_chunk() });
    over("signature", RecordingChunk { signature: text(SIGNATURE_BYTES_MAX + 1), ..samples::recording_chunk() });
    over("blob", RecordingChunk { blob: vec![0; RECORDING_BLOB_BYTES_MAX + 1], ..samples::recording_chunk() });
    over("token", JoinAsked { token: vec![0; DOCUMENT_BYTES_MAX + 1], ..join_asked() });
    over("token_signature", JoinAsked { token_signature: text(SIGNATURE_BYTES_MAX + 1), ..join_asked() });
    over("request", JoinAsked { request: vec![0; DOCUMENT_BYTES_MAX + 1], ..join_asked() });
    over("by_join_key", JoinAsked { by_join_key: text(SIGNATURE_BYTES_MAX + 1), ..join_asked() });
    over("by_host_key", JoinAsked { by_host_key: text(SIGNATURE_BYTES_MAX + 1), ..join_asked() });
    over("csr", JoinAsked { csr: vec![0; CSR_BYTES_MAX + 1], ..join_asked() });
    over("request", RenewalAsked { request: vec![0; DOCUMENT_BYTES_MAX + 1], ..renewal_asked() });
    over("by_host_key", RenewalAsked { by_host_key: text(SIGNATURE_BYTES_MAX + 1), ..renewal_asked() });
    over("csr", RenewalAsked { csr: vec![0; CSR_BYTES_MAX + 1], ..renewal_asked() });
}

#[test]
fn one_more_than_a_gateway_may_send_is_refused() {
    use samples::{join_accepted, open, policy_offered, receipt_given, record_offered, statement_refused, welcome};
    use samples::{run_cancelled, run_offered};
    over("gateway_version", Welcome { gateway_version: text(PROGRAM_VERSION_BYTES_MAX + 1), ..welcome() });
    over("state", Welcome { state: Welcome::APPROVED + 1, ..welcome() });
    over("extensions", Welcome { extensions: Extensions(list((0, vec![]), EXTENSIONS_MAX + 1)), ..welcome() });
    over("tenant", PolicyOffered { tenant: text(LABEL_BYTES_MAX + 1), ..policy_offered() });
    over("bytes", PolicyOffered { bytes: vec![0; POLICY_BYTES_MAX + 1], ..policy_offered() });
    let signatures = list(String::new(), POLICY_SIGNATURES_MAX + 1);
    over("signatures", PolicyOffered { signatures, ..policy_offered() });
    over("signature", PolicyOffered { signatures: vec![text(SIGNATURE_BYTES_MAX + 1)], ..policy_offered() });
    over("record", RecordOffered { record: vec![0; DOCUMENT_BYTES_MAX + 1], ..record_offered() });
    over("path", RecordOffered { path: list(HASH, PROOF_HASHES_MAX + 1), ..record_offered() });
    over("batch", RecordOffered { batch: vec![0; DOCUMENT_BYTES_MAX + 1], ..record_offered() });
    over("batch_signature", RecordOffered { batch_signature: text(SIGNATURE_BYTES_MAX + 1), ..record_offered() });
    over("certificate", RecordOffered { certificate: text(CERTIFICATE_BYTES_MAX + 1), ..record_offered() });
    over("entry", ReceiptGiven { entry: vec![0; ENTRY_BYTES_MAX + 1], ..receipt_given() });
    over("inclusion", ReceiptGiven { inclusion: list(HASH, PROOF_HASHES_MAX + 1), ..receipt_given() });
    over("checkpoint", ReceiptGiven { checkpoint: vec![0; CHECKPOINT_BYTES_MAX + 1], ..receipt_given() });
    over("consistency", ReceiptGiven { consistency: list(HASH, PROOF_HASHES_MAX + 1), ..receipt_given() });
    over("sentence", StatementRefused { sentence: text(SENTENCE_BYTES_MAX + 1), ..statement_refused() });
    over("order", RunOffered { order: vec![0; DOCUMENT_BYTES_MAX + 1], ..run_offered() });
    over("order_signature", RunOffered { order_signature: text(SIGNATURE_BYTES_MAX + 1), ..run_offered() });
    over("runbook", RunOffered { runbook: vec![0; RUNBOOK_BYTES_MAX + 1], ..run_offered() });
    over("runbook_signature", RunOffered { runbook_signature: text(SIGNATURE_BYTES_MAX + 1), ..run_offered() });
    over("path", RunOffered { path: list(HASH, PROOF_HASHES_MAX + 1), ..run_offered() });
    let sealed = samples::run_offered_sealed;
    let around = |offered: RunOffered| RunOfferedSealed { offered, ..sealed() };
    over("order", around(RunOffered { order: vec![0; DOCUMENT_BYTES_MAX + 1], ..run_offered() }));
    over("order_signature", around(RunOffered { order_signature: text(SIGNATURE_BYTES_MAX + 1), ..run_offered() }));
    over("runbook", around(RunOffered { runbook: vec![0; RUNBOOK_BYTES_MAX + 1], ..run_offered() }));
    over("runbook_signature", around(RunOffered { runbook_signature: text(SIGNATURE_BYTES_MAX + 1), ..run_offered() }));
    over("path", around(RunOffered { path: list(HASH, PROOF_HASHES_MAX + 1), ..run_offered() }));
    over("sealed", RunOfferedSealed { sealed: text(SEALED_TEXT_BYTES_MAX + 1), ..sealed() });
    over("sentence", RunCancelled { sentence: text(SENTENCE_BYTES_MAX + 1), ..run_cancelled() });
    over("sentence", RecordingRefused { sentence: text(SENTENCE_BYTES_MAX + 1), ..samples::recording_refused() });
    over("within_ms", Drain { within_ms: DRAIN_MS_MAX + 1 });
    over("chain", CertificateIssued { chain: list(vec![], CHAIN_CERTIFICATES_MAX + 1) });
    over("certificate", CertificateIssued { chain: vec![vec![0; CERTIFICATE_BYTES_MAX + 1]] });
    over("chain", JoinAccepted { chain: list(vec![], CHAIN_CERTIFICATES_MAX + 1), ..join_accepted() });
    let nothing = PolicyBytes { tenant: String::new(), version: 0, bytes: vec![], signatures: vec![] };
    over("policies", JoinAccepted { policies: list(nothing.clone(), JOIN_POLICIES_MAX + 1), ..join_accepted() });
    let large = PolicyBytes { bytes: vec![0; POLICY_BYTES_MAX + 1], ..nothing };
    over("bytes", JoinAccepted { policies: vec![large], ..join_accepted() });
    over("sentence", JoinRefused { sentence: text(SENTENCE_BYTES_MAX + 1) });
    over("person", Open { person: text(PERSON_BYTES_MAX + 1), ..open() });
    over("key", Open { key: text(KEY_BYTES_MAX + 1), ..open() });
}
