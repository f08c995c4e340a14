//! Entries of a log with their proofs, checked with the log's key from the policy. Not here: what the entries say.

use crate::failure::{Outcome, While, refused};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    TenantName,
    entry::Entry,
    limits::PROOF_HASHES_MAX,
    policy::LogIdentity,
    tlog::{Checkpoint, Hash, leaf_hash, verify_inclusion},
};
use serde::Deserialize;

/// Entries in one answer: more than any gateway of ours gives.
const PROOFS_MAX: usize = 10_000;
/// The first line of a proof file (C2SP tlog-proof).
const PROOF_HEAD: &str = "c2sp.org/tlog-proof@v1";

/// What the gateway answers to `log proof`.
#[derive(Debug, Deserialize)]
pub struct Answer {
    tenant: TenantName,
    checkpoint: String,
    proofs: Vec<Said>,
}

#[derive(Debug, Deserialize)]
struct Said {
    index: u64,
    entry: String,
    inclusion: Vec<String>,
}

/// An entry that is in the log.
#[derive(Debug, Clone)]
pub struct Proven {
    /// Where, from 0.
    pub index: u64,
    /// Its exact bytes.
    pub text: String,
    /// What it says.
    pub entry: Entry,
    /// From its leaf up to the root.
    pub inclusion: Vec<Hash>,
}

/// Entries that one signed head proves.
#[derive(Debug, Clone)]
pub struct Proofs {
    /// The head, a signed note.
    pub checkpoint: String,
    /// In the log's order.
    pub entries: Vec<Proven>,
}

impl Proofs {
    /// Checks an answer against the log that the policy names.
    ///
    /// # Errors
    /// The head is not this log's, an entry is not under it or does not read; the sentence says which.
    pub fn check(answer: Answer, tenant: &TenantName, log: &LogIdentity) -> Outcome<Self> {
        if answer.tenant != *tenant || answer.proofs.len() > PROOFS_MAX {
            return Err(refused(format!("the gateway's answer is not a proof about {tenant}")));
        }
        let head = Checkpoint::open(answer.checkpoint.as_bytes(), &log.origin, &log.vkey)?;
        let mut entries = Vec::with_capacity(answer.proofs.len());
        for Said { index, entry, inclusion } in answer.proofs {
            let path = inclusion.iter().map(|text| hash(text)).collect::<Outcome<Vec<Hash>>>()?;
            entries.push(Proven::check(index, entry, path, &head)?);
        }
        entries.sort_by_key(|proven| proven.index);
        entries.dedup_by_key(|proven| proven.index);
        Ok(Self { checkpoint: answer.checkpoint, entries })
    }
}

impl Proven {
    /// Checks one entry against a head that was opened.
    ///
    /// # Errors
    /// It is not under the head, or does not read.
    pub fn check(index: u64, text: String, inclusion: Vec<Hash>, head: &Checkpoint) -> Outcome<Self> {
        let of = |invalid: belay_certs::Invalid| invalid.of(format!("entry {index} of the log {}", head.origin));
        if inclusion.len() > PROOF_HASHES_MAX {
            return Err(refused(format!("the proof of entry {index} has more hashes than any log needs")));
        }
        verify_inclusion(&leaf_hash(text.as_bytes()), index, head.size, &inclusion, &head.root).map_err(of)?;
        let entry = Entry::parse(text.as_bytes()).map_err(of)?;
        Ok(Self { index, text, entry, inclusion })
    }

    /// The proof with its head as a file that any C2SP reader takes (tlog-proof).
    pub fn to_file(&self, checkpoint: &str) -> String {
        let hashes: String = self.inclusion.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect();
        format!("{PROOF_HEAD}\nindex {}\n{hashes}\n{checkpoint}", self.index)
    }

    /// Reads a proof file: the entry's place, its path and the head.
    ///
    /// # Errors
    /// It is not one.
    pub fn read_file(text: &str) -> Outcome<(u64, Vec<Hash>, &str)> {
        let wrong = || refused("it is no proof: it does not read as c2sp.org/tlog-proof@v1");
        let (proof, checkpoint) = text.split_once("\n\n").ok_or_else(wrong)?;
        let mut lines = proof.lines();
        if lines.next() != Some(PROOF_HEAD) {
            return Err(wrong());
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok()).ok_or_else(wrong)?;
        Ok((index, lines.map(hash).collect::<Outcome<_>>()?, checkpoint))
    }
}

fn hash(text: &str) -> Outcome<Hash> {
    let bytes = STANDARD.decode(text).during(|| "a hash of the proof is not base64".to_owned())?;
    bytes.try_into().map_err(|_| refused("a hash of the proof has not 32 bytes"))
}
