//! A small log of statements, its true receipts, and every lie about it that a gateway could tell.

use super::*;
use crate::digest::Id;
use crate::entry;
use crate::keys::PrivateKey;
use crate::statement::{self, Body, Head, Statement};
use crate::tlog::{Edge, NoteSigner, consistency_path, inclusion_path};

const ORIGIN: &str = "gw.example/acme";

struct Log {
    signer: NoteSigner,
    origin: &'static str,
    edge: Edge,
    entries: Vec<Vec<u8>>,
}

impl Log {
    fn new(origin: &'static str) -> Self {
        let signer = NoteSigner::generate(origin).unwrap();
        Self { signer, origin, edge: Edge::empty(), entries: Vec::new() }
    }

    fn identity(&self) -> LogIdentity {
        LogIdentity { origin: self.origin.to_owned(), vkey: self.signer.vkey() }
    }

    fn append(&mut self, entry: &Entry) -> u64 {
        self.append_bytes(entry.to_bytes().unwrap())
    }

    fn append_bytes(&mut self, bytes: Vec<u8>) -> u64 {
        self.edge.append(leaf_hash(&bytes));
        self.entries.push(bytes);
        self.edge.size() - 1
    }

    fn fill(&mut self, count: u8) {
        for number in 0..count {
            let nobody = Entry { statement: None, id: Id([number; 16]), ..wrap(&said(1).1) };
            self.append(&nobody);
        }
    }

    fn head(&self) -> Checkpoint {
        Checkpoint { origin: self.origin.to_owned(), size: self.edge.size(), root: self.edge.root() }
    }

    fn receipt(&self, index: u64, kept: Option<&Checkpoint>) -> Receipt {
        let (size, from) = (self.edge.size(), kept.map_or(0, |kept| kept.size));
        let consistency = if from == 0 { vec![] } else { consistency_path(from, size, &self.edge).unwrap() };
        Receipt {
            entry: self.entries[usize::try_from(index).unwrap()].clone(),
            index,
            inclusion: inclusion_path(index, size, &self.edge).unwrap(),
            checkpoint: self.head().sign(&self.signer).unwrap().into_bytes(),
            consistency,
            consistency_from: from,
        }
    }
}

fn said(seq: u64) -> (PrivateKey, SignedStatement) {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let head = Head {
        id: Id::random().unwrap(),
        device: "web1.acme".parse().unwrap(),
        serial: 1,
        seq,
        previous: (seq > 1).then_some(crate::Digest([0; 32])),
        checkpoint: None,
        issued: "2026-11-21T09:00:00Z".parse().unwrap(),
    };
    let body = Body::SessionEnded {
        session: Id([9; 16]),
        exit: Some(0),
        signal: None,
        reason: None,
        bytes_in: 0,
        bytes_out: 0,
        recording: None,
        files: None,
    };
    let signed = statement::sign(&Statement { head, body }, &key).unwrap();
    (key, signed)
}

fn wrap(signed: &SignedStatement) -> Entry {
    Entry {
        v: entry::FORMAT,
        id: Id([8; 16]),
        kind: "session.ended".to_owned(),
        at: "2026-11-21T09:00:01Z".parse().unwrap(),
        tenant: Some("acme".parse().unwrap()),
        device: Some("web1".parse().unwrap()),
        person: None,
        detail: Statement::parse(signed.text.as_bytes()).unwrap().body.members().unwrap(),
        statement: Some(signed.clone()),
    }
}

/// A log of 21 entries whose entry 13 is the statement, and the head of 11 entries kept before.
fn recorded() -> (Log, u64, Checkpoint, SignedStatement) {
    let mut log = Log::new(ORIGIN);
    let statement = said(2).1;
    log.fill(11);
    let kept = log.head();
    log.fill(2);
    let index = log.append(&wrap(&statement));
    log.fill(7);
    (log, index, kept, statement)
}

fn fault(verdict: Result<Recorded, Invalid>) -> Fault {
    verdict.unwrap_err().fault
}

#[test]
fn a_true_receipt_proves_the_statement_recorded() {
    let (log, index, kept, statement) = recorded();
    for kept in [None, Some(&kept)] {
        let recorded = verify(&log.receipt(index, kept), &log.identity(), kept, &statement).unwrap();
        assert_eq!(recorded.checkpoint(), &log.head());
        assert_eq!(recorded.entry().statement.as_ref(), Some(&statement));
        assert_eq!(recorded.index(), 13);
    }
}

#[test]
fn every_size_before_and_after_is_followed() {
    let (mut log, mut heads) = (Log::new(ORIGIN), vec![]);
    for _ in 0..20 {
        let statement = said(1).1;
        let index = log.append(&wrap(&statement));
        heads.push(log.head());
        for kept in &heads {
            verify(&log.receipt(index, Some(kept)), &log.identity(), Some(kept), &statement).unwrap();
        }
    }
}

#[test]
fn receipts_of_one_commit_share_its_checkpoint() {
    let mut log = Log::new(ORIGIN);
    log.fill(3);
    let before = log.head();
    let (first, second) = (said(1).1, said(2).1);
    let indexes = [log.append(&wrap(&first)), log.append(&wrap(&second))];
    let receipts = indexes.map(|index| log.receipt(index, Some(&before)));
    let kept = verify(&receipts[0], &log.identity(), Some(&before), &first).unwrap().checkpoint().clone();
    verify(&receipts[1], &log.identity(), Some(&kept), &second).unwrap();
}

#[test]
fn a_receipt_from_another_start_than_the_kept_one_is_refused() {
    let (log, index, kept, statement) = recorded();
    let older = Checkpoint { size: kept.size - 1, ..kept.clone() };
    let stale = Receipt { consistency_from: older.size, ..log.receipt(index, Some(&kept)) };
    assert_eq!(fault(verify(&stale, &log.identity(), Some(&kept), &statement)), Fault::Mismatch);
    assert_eq!(fault(verify(&log.receipt(index, None), &log.identity(), Some(&kept), &statement)), Fault::Mismatch);
    assert_eq!(fault(verify(&log.receipt(index, Some(&kept)), &log.identity(), None, &statement)), Fault::Mismatch);
}

#[test]
fn a_smaller_tree_is_refused_even_when_signed() {
    let (mut log, index, kept, statement) = recorded();
    let small = log.receipt(index, Some(&kept));
    log.fill(1);
    let refused = verify(&small, &log.identity(), Some(&log.head()), &statement).unwrap_err();
    assert_eq!(refused.fault, Fault::BadProof);
    assert!(refused.sentence.contains("removed"), "{refused}");
}

#[test]
fn a_rewritten_history_is_refused_even_when_signed() {
    let (log, index, kept, statement) = recorded();
    let mut forked = Log { edge: Edge::empty(), entries: vec![], ..Log::new(ORIGIN) };
    forked.signer = NoteSigner::from_text(&log.signer.to_text()).unwrap();
    for (number, entry) in log.entries.iter().enumerate() {
        let bytes = if number == 4 { log.entries[5].clone() } else { entry.clone() };
        forked.append_bytes(bytes);
    }
    verify(&forked.receipt(index, None), &log.identity(), None, &statement).unwrap();
    let receipt = forked.receipt(index, Some(&kept));
    assert_eq!(fault(verify(&receipt, &log.identity(), Some(&kept), &statement)), Fault::BadProof);
    let same_size = Receipt { consistency: vec![], consistency_from: log.edge.size(), ..receipt };
    assert_eq!(fault(verify(&same_size, &log.identity(), Some(&log.head()), &statement)), Fault::BadProof);
}

#[test]
fn another_log_and_another_key_are_refused() {
    let (log, index, kept, statement) = recorded();
    let receipt = log.receipt(index, Some(&kept));
    let foreign = Log::new("gw.example/globex").identity();
    assert!(verify(&receipt, &foreign, Some(&kept), &statement).is_err());
    let renamed = LogIdentity { origin: "gw.example/acme/2".to_owned(), ..log.identity() };
    assert_eq!(fault(verify(&receipt, &renamed, Some(&kept), &statement)), Fault::BadProof);
    let impostor = Log::new(ORIGIN).identity();
    assert_eq!(fault(verify(&receipt, &impostor, Some(&kept), &statement)), Fault::Unsigned);

    let elsewhere = Checkpoint { origin: "gw.example/acme/2".to_owned(), ..kept };
    let refused = verify(&receipt, &log.identity(), Some(&elsewhere), &statement).unwrap_err();
    assert_eq!(refused.fault, Fault::BadProof);
    assert!(refused.sentence.contains("new policy"), "{refused}");
}

#[test]
fn an_entry_without_exactly_this_statement_is_refused() {
    let (mut log, _, kept, statement) = recorded();
    let (key, other) = said(2);
    let resigned = SignedStatement { signature: other.signature.clone(), ..statement.clone() };
    let lies = [
        Entry { statement: None, ..wrap(&statement) },
        wrap(&other),
        wrap(&resigned),
        Entry { kind: "session.opened".to_owned(), ..wrap(&statement) },
        Entry { device: Some("web2".parse().unwrap()), ..wrap(&statement) },
        Entry { tenant: Some("globex".parse().unwrap()), ..wrap(&statement) },
    ];
    for lie in lies {
        let index = log.append(&lie);
        let receipt = log.receipt(index, Some(&kept));
        assert_eq!(fault(verify(&receipt, &log.identity(), Some(&kept), &statement)), Fault::Mismatch, "{lie:?}");
    }
    assert!(statement::verify(&resigned, key.public()).is_err());
    let index = log.append_bytes(b"{}".to_vec());
    let receipt = log.receipt(index, Some(&kept));
    assert_eq!(fault(verify(&receipt, &log.identity(), Some(&kept), &statement)), Fault::Malformed);
}

#[test]
fn every_changed_bit_dropped_hash_and_moved_index_is_caught() {
    let (log, index, kept, statement) = recorded();
    let good = log.receipt(index, Some(&kept));
    let mut lies = vec![
        Receipt { index: index - 1, ..good.clone() },
        Receipt { index: index + 1, ..good.clone() },
        Receipt { index: log.edge.size(), ..good.clone() },
        Receipt { index: u64::MAX, ..good.clone() },
    ];
    for position in 0..good.entry.len() {
        lies.push(good.clone());
        lies.last_mut().unwrap().entry[position] ^= 1;
    }
    for position in 0..good.checkpoint.len() {
        lies.push(good.clone());
        lies.last_mut().unwrap().checkpoint[position] ^= 1;
    }
    for position in 0..good.inclusion.len() {
        lies.extend([good.clone(), good.clone(), good.clone()]);
        let [.., flipped, dropped, doubled] = lies.as_mut_slice() else { unreachable!() };
        flipped.inclusion[position][7] ^= 1;
        dropped.inclusion.remove(position);
        doubled.inclusion.insert(position, good.inclusion[position]);
    }
    for position in 0..good.consistency.len() {
        lies.extend([good.clone(), good.clone(), good.clone()]);
        let [.., flipped, dropped, doubled] = lies.as_mut_slice() else { unreachable!() };
        flipped.consistency[position][7] ^= 1;
        dropped.consistency.remove(position);
        doubled.consistency.insert(position, good.consistency[position]);
    }
    assert!(good.inclusion.len() > 3 && good.consistency.len() > 3);
    for lie in &lies {
        assert!(verify(lie, &log.identity(), Some(&kept), &statement).is_err(), "{lie:?}");
    }
    verify(&good, &log.identity(), Some(&kept), &statement).unwrap();
}
