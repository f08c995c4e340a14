//! The outbox's journal as text: one record a line, one line a durable write.
//!
//! A record is `CHECK JSON` where CHECK is the first 16 hex digits of the JSON's SHA-256. A write that was cut off can only
//! be the last line, because nothing follows it before it was synced; a bad line anywhere else is damage.

use crate::run_ledger::Stage;
use crate::statement_chain::{Made, Misfit, Position, StatementChain};
use belay_certs::{Digest, Id, Timestamp};
use serde::{Deserialize, Serialize};

/// Hex digits of the check: enough for torn writes, which are no attackers.
const CHECK_DIGITS: usize = 16;

/// One thing that happened to the chain or to the log view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// First in a compacted journal: where the chain stood.
    Head(Position),
    /// In a compacted journal: a session that began and was not said to have ended.
    Open {
        /// The session.
        session: Id,
        /// Whether its intent was proved.
        proved: bool,
    },
    /// In a compacted journal: a statement that waits for its receipt.
    Waiting(Made),
    /// A statement was made.
    Made(Made),
    /// The statement with this number was answered for good.
    Done {
        /// The number.
        seq: u64,
    },
    /// The first mark of a run; the statement of its intent follows in the same write.
    RunNoted {
        /// The order.
        order: Id,
        /// The end of its window.
        not_after: Timestamp,
    },
    /// An order was refused; the statement that says so follows in the same write.
    RunSeen {
        /// The order.
        order: Id,
        /// The end of its window.
        not_after: Timestamp,
    },
    /// The second mark of a run: from here on its script may have done something.
    RunBegun {
        /// The order.
        order: Id,
    },
    /// The run's end is proved and its output acknowledged: only its id is remembered.
    RunForgotten {
        /// The order.
        order: Id,
    },
    /// Ids whose window was over for long enough at this moment are no more remembered.
    RunsLetGo {
        /// The moment.
        now: Timestamp,
    },
    /// In a compacted journal: an order that is remembered.
    Run {
        /// The order.
        order: Id,
        /// The end of its window.
        not_after: Timestamp,
        /// How far its run has come.
        stage: Stage,
    },
    /// The newest verified head of a log.
    Kept {
        /// The log.
        origin: String,
        /// Its entries.
        size: u64,
        /// Its root.
        root: Digest,
    },
}

/// The journal cannot be believed from this line on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Damaged {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// What a journal says.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The statements.
    pub chain: StatementChain,
    /// The log heads kept, in the order they were.
    pub kept: Vec<Line>,
    /// The bytes up to the end of the last whole record; what follows was never synced, acted on or sent.
    pub whole_bytes: usize,
}

/// One record of these lines, or `None` when they cannot be written, which plain fields never cause.
pub fn encode(lines: &[Line]) -> Option<String> {
    let json = serde_json::to_string(lines).ok()?;
    Some(format!("{} {json}\n", check(&json)))
}

/// Reads a whole journal.
///
/// # Errors
/// When a record is damaged and another follows it, or lines do not continue each other.
pub fn replay(journal: &[u8]) -> Result<Replayed, Damaged> {
    let mut replayed = Replayed::default();
    for (at, record) in journal.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let damaged = |why: String| Damaged { line: at + 1, why };
        let ends_here = replayed.whole_bytes.saturating_add(record.len());
        let Some(lines) = decode(record) else {
            if ends_here == journal.len() {
                break;
            }
            return Err(damaged("its check does not fit its bytes".into()));
        };
        for line in lines {
            replayed.chain.apply(&line).map_err(|misfit: Misfit| damaged(misfit.to_string()))?;
            if let Line::Kept { .. } = line {
                replayed.kept.push(line);
            }
        }
        if !replayed.chain.runs().is_whole() {
            return Err(damaged("a run is noted without its intent".into()));
        }
        replayed.whole_bytes = ends_here;
    }
    Ok(replayed)
}

fn decode(record: &[u8]) -> Option<Vec<Line>> {
    let record = std::str::from_utf8(record).ok()?.strip_suffix('\n')?;
    let (sum, json) = record.split_once(' ')?;
    if sum != check(json) {
        return None;
    }
    serde_json::from_str(json).ok()
}

fn check(json: &str) -> String {
    let mut digits = Digest::of(json.as_bytes()).hex();
    digits.truncate(CHECK_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement_chain::{
        What,
        tests::{id, made},
    };

    fn journal() -> Vec<String> {
        let kept = Line::Kept { origin: "gw.example/acme".into(), size: 7, root: Digest::of(b"root") };
        [
            vec![Line::Made(made(1, What::Opened, 1)), Line::Made(made(2, What::Refused, 2))],
            vec![kept, Line::Done { seq: 1 }],
            vec![Line::Made(made(3, What::Ended, 1))],
        ]
        .iter()
        .map(|lines| encode(lines).unwrap())
        .collect()
    }

    #[test]
    fn a_journal_is_written_and_read_back() {
        let text = journal().concat();
        let replayed = replay(text.as_bytes()).unwrap();
        assert_eq!(replayed.whole_bytes, text.len());
        assert_eq!(replayed.chain.position().seq, 3);
        assert_eq!(replayed.chain.pending().map(|made| made.seq).collect::<Vec<_>>(), [2, 3]);
        assert!(!replayed.chain.is_open(id(1)));
        assert_eq!(replayed.kept.len(), 1);
        assert_eq!(replay(b"").unwrap().chain, StatementChain::default());
    }

    #[test]
    fn a_write_cut_off_anywhere_never_happened_and_what_was_before_it_did() {
        let records = journal();
        let whole = records.concat();
        let last = records[2].len();
        for cut in 1..=last {
            let replayed = replay(&whole.as_bytes()[..whole.len() - cut]).unwrap();
            assert_eq!(replayed.chain.position().seq, 2, "{cut} bytes short");
            assert_eq!(replayed.whole_bytes, whole.len() - last);
        }
    }

    #[test]
    fn a_last_write_with_a_hole_never_happened() {
        let records = journal();
        let mut bytes = records.concat().into_bytes();
        let end = bytes.len();
        bytes[end - 40..end - 1].fill(0);
        assert_eq!(replay(&bytes).unwrap().chain.position().seq, 2);
    }

    #[test]
    fn a_changed_byte_in_the_middle_is_damage_and_is_named() {
        let records = journal();
        for at in 0..records[0].len() - 1 {
            let mut bytes = records.concat().into_bytes();
            bytes[at] ^= 1;
            let damaged = replay(&bytes).unwrap_err();
            assert!(damaged.line <= 2, "byte {at}: {damaged}");
        }
    }

    #[test]
    fn a_record_that_is_missing_is_found_out() {
        let records = journal();
        assert_eq!(replay(records[1..].concat().as_bytes()).unwrap_err().line, 1);
        let doubled = [records[0].clone(), records[0].clone()].concat();
        assert_eq!(replay(doubled.as_bytes()).unwrap_err().line, 2);
    }
}
