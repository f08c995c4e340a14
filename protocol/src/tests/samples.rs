//! One value of every message, with one of everything in it, and a way to do the same thing to all of them.

use crate::*;

pub(super) const HASH: [u8; 32] = [0xab; 32];
pub(super) const ID: [u8; 16] = *b"0123456789abcdef";

/// Something done to every kind of message.
pub(super) trait ForEach {
    fn message<M: Message + Clone + PartialEq + std::fmt::Debug>(&mut self, sample: M);
}

pub(super) fn for_each(visit: &mut impl ForEach) {
    visit.message(hello());
    visit.message(statement_made());
    visit.message(PolicyTaken { tenant: "acme".into(), version: 3, digest: HASH });
    visit.message(policy_refused());
    visit.message(RecordTaken { serial: 2 });
    visit.message(RecordRefused { serial: 2, sentence: "The record names another host key.".into() });
    visit.message(run_declined());
    visit.message(join_asked());
    visit.message(renewal_asked());
    visit.message(welcome());
    visit.message(policy_offered());
    visit.message(record_offered());
    visit.message(receipt_given());
    visit.message(statement_refused());
    visit.message(Drain { within_ms: 20_000 });
    visit.message(run_offered());
    visit.message(run_cancelled());
    visit.message(OutputKept { order: ID, offset: 65_536 });
    visit.message(RecordingKept { session: ID, chunks: 300 });
    visit.message(recording_refused());
    visit.message(run_offered_sealed());
    visit.message(join_accepted());
    visit.message(JoinRefused { sentence: "The token has expired.".into() });
    visit.message(CertificateIssued { chain: vec![vec![0x30, 1], vec![0x30, 2]] });
    visit.message(open());
    visit.message(OutputBegun { order: ID, offset: 65_536 });
    visit.message(RecordingBegun { session: ID, chunk: 300 });
    visit.message(recording_chunk());
}

/// The message without its frame's head, bounds unchecked.
pub(super) fn raw<M: Message>(message: &M) -> RawFrame {
    let mut body = Vec::new();
    assert!(crate::codec::append(message, &mut body));
    RawFrame { kind: M::KIND, version: M::VERSION, body }
}

pub(super) fn hello() -> Hello {
    Hello {
        minor: 0,
        agent_version: "0.1.0".into(),
        policies: vec![
            PolicyHeld { tenant: "acme".into(), version: 3, digest: HASH },
            PolicyHeld { tenant: "msp".into(), version: 70_000, digest: [1; 32] },
        ],
        record_serial: 2,
        statement_seq: 5_000_000_000,
        facts: Facts {
            hostname: "web1".into(),
            os: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0-28-amd64".into(),
            arch: "x86_64".into(),
        },
        extensions: Extensions(vec![(1, vec![]), (700, vec![9, 8, 7])]),
    }
}

pub(super) fn statement_made() -> StatementMade {
    StatementMade {
        seq: 251,
        text: r#"{"v":1,"seq":251}"#.into(),
        signature: "-----BEGIN SSH SIGNATURE-----\n".into(),
        consistency_from: 65_536,
        origin: "gw.example/acme".into(),
    }
}

pub(super) fn policy_refused() -> PolicyRefused {
    PolicyRefused { tenant: "acme".into(), version: 4, digest: HASH, sentence: "Version 4 is not signed.".into() }
}

pub(super) fn join_asked() -> JoinAsked {
    JoinAsked {
        token: b"format = 1\n".to_vec(),
        token_signature: "token".into(),
        request: b"{}".to_vec(),
        by_join_key: "join".into(),
        by_host_key: "host".into(),
        csr: vec![0x30, 3],
    }
}

pub(super) fn renewal_asked() -> RenewalAsked {
    RenewalAsked { request: b"{}".to_vec(), by_host_key: "host".into(), csr: vec![0x30, 5] }
}

pub(super) fn welcome() -> Welcome {
    Welcome {
        minor: 0,
        gateway_version: "0.1.0".into(),
        state: Welcome::APPROVED,
        now_micros: 1_795_251_600_000_000,
        extensions: Extensions(vec![(2, vec![1])]),
    }
}

pub(super) fn policy_offered() -> PolicyOffered {
    policy_bytes().into()
}

pub(super) fn policy_bytes() -> PolicyBytes {
    PolicyBytes {
        tenant: "acme".into(),
        version: 4,
        bytes: b"format = 1\ntenant = \"acme\"\n".to_vec(),
        signatures: vec!["one".into(), "two".into()],
    }
}

pub(super) fn record_offered() -> RecordOffered {
    RecordOffered {
        record: b"record".to_vec(),
        index: 1,
        path: vec![HASH, [2; 32]],
        batch: b"batch".to_vec(),
        batch_signature: "signature".into(),
        certificate: "ssh-ed25519-cert-v01@openssh.com AAAA web1.acme".into(),
    }
}

pub(super) fn receipt_given() -> ReceiptGiven {
    ReceiptGiven {
        statement: ID,
        entry: br#"{"v":1}"#.to_vec(),
        index: 1_000,
        inclusion: vec![HASH],
        checkpoint: b"gw.example/acme\n1001\n".to_vec(),
        consistency: vec![[3; 32], [4; 32]],
        consistency_from: 900,
    }
}

pub(super) fn statement_refused() -> StatementRefused {
    StatementRefused { statement: ID, code: RefusalCode::SequenceGap.code(), sentence: "Statement 6 is next.".into() }
}

pub(super) fn join_accepted() -> JoinAccepted {
    JoinAccepted { join: ID, chain: vec![vec![0x30, 4]], policies: vec![policy_bytes(), policy_bytes()] }
}

pub(super) fn open() -> Open {
    Open { access: ID, person: "msp:kim".into(), key: "ssh-ed25519 AAAA kim".into() }
}

pub(super) fn run_declined() -> RunDeclined {
    RunDeclined { order: ID, digest: HASH, sentence: "The order is of another tenant.".into() }
}

pub(super) fn run_offered() -> RunOffered {
    RunOffered {
        order: b"tenant = \"acme\"\n".to_vec(),
        order_signature: "order".into(),
        runbook: b"#!/bin/sh\n".to_vec(),
        runbook_signature: "runbook".into(),
        index: 1,
        path: vec![HASH, [5; 32]],
    }
}

pub(super) fn run_offered_sealed() -> RunOfferedSealed {
    RunOfferedSealed { offered: run_offered(), sealed: "YWdl".into() }
}

pub(super) fn run_cancelled() -> RunCancelled {
    RunCancelled { order: ID, sentence: "msp:kim cancelled it.".into() }
}

pub(super) fn recording_refused() -> RecordingRefused {
    RecordingRefused { session: ID, sentence: "The disk is full.".into() }
}

pub(super) fn recording_chunk() -> RecordingChunk {
    RecordingChunk {
        note: "belay recording 1\n".into(),
        signature: "-----BEGIN SSH SIGNATURE-----\n".into(),
        blob: vec![0x28, 0xb5, 0x2f, 0xfd],
    }
}
