//! The far side of a walk: dice, messages, and the least gateway that answers an agent rightly.

use crate::statement_chain::{Made, What};
use belay_certs::{Id, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// xorshift64*: the same walk for the same seed, everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Down {
    Offer {
        order: Id,
        not_after: Timestamp,
    },
    /// The answer to a statement: whether its entry lets the run start.
    Receipt {
        statement: Id,
        starts: bool,
    },
    Cancel(Id),
    Kept {
        order: Id,
        offset: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Up {
    Said(Made),
    Output { order: Id, from: u64, to: u64 },
}

/// What survives a kill of the gateway: all of it was recorded before it was answered.
#[derive(Default)]
pub(super) struct Gateway {
    /// Statements by number, and whether each lets a run start.
    pub(super) recorded: BTreeMap<u64, (Made, bool)>,
    pub(super) called_off: BTreeSet<Id>,
    pub(super) ended: BTreeSet<Id>,
    pub(super) output: BTreeMap<Id, u64>,
}

impl Gateway {
    pub(super) fn hear(&mut self, up: &Up, now: Timestamp, windows: &BTreeMap<Id, Timestamp>) -> Option<Down> {
        match up {
            Up::Output { order, from, to } => {
                let kept = self.output.entry(*order).or_default();
                if *from <= *kept {
                    *kept = (*kept).max(*to);
                }
                Some(Down::Kept { order: *order, offset: *kept })
            }
            Up::Said(said) => {
                if let Some((known, starts)) = self.recorded.get(&said.seq) {
                    assert_eq!(known, said, "a number is used for one statement");
                    return Some(Down::Receipt { statement: said.id, starts: *starts });
                }
                if said.seq != self.recorded.len() as u64 + 1 {
                    return None;
                }
                let order = said.session;
                let open = !self.called_off.contains(&order) && windows.get(&order).is_some_and(|end| now < *end);
                let starts = said.what == What::RunStarted && open && !self.ended.contains(&order);
                if said.what == What::RunEnded {
                    assert!(self.ended.insert(order), "one end");
                }
                self.recorded.insert(said.seq, (said.clone(), starts));
                Some(Down::Receipt { statement: said.id, starts })
            }
        }
    }
}
