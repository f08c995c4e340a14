//! Entries of a log with their proofs, checked with the log's key from the policy. Not here: what the entries say.

use crate::failure::{Outcome, While, refused};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Digest, TenantName,
    entry::Entry,
    limits::PROOF_HASHES_MAX,
    policy::LogIdentity,
    tlog::{Checkpoint, Hash, leaf_hash, verify_inclusion},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Entries in one answer, and documents beside them: more than any gateway of ours gives.
const PROOFS_MAX: usize = 10_000;
/// The first line of a proof file (C2SP tlog-proof).
const PROOF_HEAD: &str = "c2sp.org/tlog-proof@v1";

/// What the gateway answers to `log proof`.
#[derive(Debug, Deserialize)]
pub struct Answer {
    tenant: TenantName,
    checkpoint: String,
    proofs: Vec<Said>,
    /// What approvals among them name by digest, in base64.
    #[serde(default)]
    objects: Vec<String>,
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
    /// Documents that came with them, by their digests: an entry that names one proves it.
    pub objects: BTreeMap<Digest, Vec<u8>>,
}

impl Answer {
    /// Of whose log it says it is; nothing of it is believed before [`Proofs::check`].
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }
}

impl Proofs {
    /// Checks an answer against the log that the policy names.
    ///
    /// # Errors
    /// The head is not this log's, an entry is not under it or does not read; the sentence says which.
    pub fn check(answer: Answer, tenant: &TenantName, log: &LogIdentity) -> Outcome<Self> {
        if answer.tenant != *tenant || answer.proofs.len().max(answer.objects.len()) > PROOFS_MAX {
            return Err(refused(format!("the gateway's answer is not a proof about {tenant}")));
        }
        let head = Checkpoint::open(answer.checkpoint.as_bytes(), &log.origin, &log.vkey)
            .map_err(|invalid| invalid.of("the checkpoint of the proof"))?;
        let mut entries = Vec::with_capacity(answer.proofs.len());
        for Said { index, entry, inclusion } in answer.proofs {
            let path = inclusion.iter().map(|text| hash(text)).collect::<Outcome<Vec<Hash>>>()?;
            entries.push(Proven::check(index, entry, path, &head)?);
        }
        let mut objects = BTreeMap::new();
        for text in answer.objects {
            let bytes = STANDARD.decode(text).during(|| "an object of the proof is not base64".to_owned())?;
            objects.insert(Digest::of(&bytes), bytes);
        }
        entries.sort_by_key(|proven| proven.index);
        entries.dedup_by_key(|proven| proven.index);
        Ok(Self { checkpoint: answer.checkpoint, entries, objects })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::desk::{case::Said as Session, records::Records},
        seeded::Seeded,
        testing::{recorded::Recorded, stage::Stage},
    };
    use belay_certs::recording::blob::Readers;
    use serde_json::{Value, json};
    use std::{collections::BTreeSet, fs};

    /// Judges an answer about a session as the auditor's desk does.
    fn judge(stage: &Stage, recorded: &Recorded, answer: &Value) -> Outcome {
        let answer: Answer =
            serde_json::from_value(answer.clone()).during(|| "the proof is not understood".to_owned())?;
        let (policy, tenant) = (stage.chain.policy(), stage.chain.tenant());
        let proofs = Proofs::check(answer, tenant, policy.gateway.logs.last().unwrap())?;
        let records = Records::of(&proofs, tenant, &BTreeSet::from([7]), &policy.devices.ca)?;
        Session::of(&proofs.entries, &recorded.session, &records).map(drop)
    }

    fn flip(value: &mut Value, seeded: &mut Seeded) {
        let mut bytes = value.as_str().unwrap().as_bytes().to_vec();
        let at = seeded.below(bytes.len());
        bytes[at] ^= 1 << seeded.below(7);
        // What is no text any more comes with another mark in its place.
        *value = String::from_utf8_lossy(&bytes).into_owned().into();
    }

    /// What was altered.
    fn alter(answer: &mut Value, seeded: &mut Seeded) -> &'static str {
        let count = answer["proofs"].as_array().unwrap().len();
        let (one, other) = (seeded.below(count), seeded.below(count));
        let hashes = answer["proofs"][one]["inclusion"].as_array().unwrap().len();
        let hash = seeded.below(hashes);
        match seeded.below(9) {
            0 => {
                flip(&mut answer["checkpoint"], seeded);
                "the checkpoint"
            }
            1 | 2 => {
                flip(&mut answer["proofs"][one]["entry"], seeded);
                "an entry"
            }
            3 => {
                flip(&mut answer["proofs"][one]["inclusion"][hash], seeded);
                "a hash"
            }
            4 => {
                answer["proofs"][one]["inclusion"].as_array_mut().unwrap().remove(hash);
                "a hash left out"
            }
            5 => {
                let again = answer["proofs"][one]["inclusion"][hash].clone();
                answer["proofs"][one]["inclusion"].as_array_mut().unwrap().push(again);
                "a hash twice"
            }
            6 => {
                let index = answer["proofs"][one]["index"].as_u64().unwrap();
                answer["proofs"][one]["index"] = json!(index + 1 + seeded.below(9) as u64);
                "an index"
            }
            7 => {
                let (mine, theirs) = (answer["proofs"][one]["entry"].take(), answer["proofs"][other]["entry"].take());
                answer["proofs"][other]["entry"] = mine.clone();
                answer["proofs"][one]["entry"] = if one == other { mine } else { theirs };
                "entries in each other's place"
            }
            _ => {
                let object = seeded.below(answer["objects"].as_array().unwrap().len());
                flip(&mut answer["objects"][object], seeded);
                "a document"
            }
        }
    }

    #[test]
    fn no_alteration_of_a_proof_is_believed_and_the_broken_piece_is_named() {
        let seed = std::env::var("BELAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(6);
        let count = if std::env::var_os("BELAY_LONG").is_some() { 2_000 } else { 200 };
        let stage = Stage::new();
        let mut recorded = Recorded::new(&stage, Readers::Anybody, &[b"one\r\n"]);
        recorded.end().on(&stage);
        let answer = fs::read(stage.home.dir().join("answers/log_proof_acme_ID_--records")).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        judge(&stage, &recorded, &answer).unwrap();
        let mut seeded = Seeded::new(seed);
        let mut tried = 0;
        while tried < count {
            let mut altered = answer.clone();
            let what = alter(&mut altered, &mut seeded);
            if altered == answer {
                continue;
            }
            tried += 1;
            let refused = judge(&stage, &recorded, &altered).expect_err(what);
            let sentence = refused.sentence();
            let named = ["entry ", "checkpoint", "proof"].iter().any(|piece| sentence.contains(piece));
            assert!(named, "alteration {tried} of BELAY_SEED={seed}, {what}: {sentence}");
        }
        println!("measured: {count} alterations of proofs of BELAY_SEED={seed} were all caught");
    }
}
