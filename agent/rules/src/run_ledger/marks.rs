//! The marks of a run: how far it has come, what a start finds, and why an order is not taken.
//!
//! Not here: what moves them (`run_ledger`).

use crate::{
    journal::Line,
    limits::{RUN_IDS_MAX, RUNS_HELD_BYTES_MAX, RUNS_MAX},
    statement_chain::{Made, What},
};
use belay_certs::{Id, Timestamp};
use serde::{Deserialize, Serialize};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its note was read and its intent comes next, in the same write.
    Unsaid,
    /// Its intent is made: the first durable mark. It has not started.
    Noted,
    /// The second durable mark: the script may have done something.
    Started,
    /// Its end is made, and held with its output.
    Ended {
        /// Whether the end is proved to be in the log.
        proved: bool,
    },
    /// Refused, or ended and forgotten: only the id is remembered.
    Settled,
}

impl Stage {
    pub(super) fn is_under_way(self) -> bool {
        match self {
            Self::Unsaid | Self::Noted | Self::Started => true,
            Self::Ended { .. } | Self::Settled => false,
        }
    }

    pub(super) fn holds_files(self) -> bool {
        match self {
            Self::Unsaid | Self::Noted | Self::Started | Self::Ended { .. } => true,
            Self::Settled => false,
        }
    }

    pub(super) fn is_settled(self) -> bool {
        self == Self::Settled
    }

    /// The only ways there are.
    pub(super) fn leads_to(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Unsaid, Self::Noted)
                | (Self::Noted, Self::Started)
                | (Self::Noted | Self::Started, Self::Ended { proved: false })
                | (Self::Ended { proved: true }, Self::Settled)
        )
    }
}

/// What is found of a run after a start of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Its intent waits for its receipt, and its window is open: nothing is to be done, delivery goes on.
    Noted,
    /// Its intent waits and its window is over: say that it ended, `expired`.
    Expired,
    /// It may have done something and nobody saw its end: end what is left of it, say `interrupted`, never run it again.
    Interrupted,
    /// Its end is made. Deliver the output; forget it when all is acknowledged and the end is proved.
    Ended {
        /// Whether the end is proved to be in the log.
        proved: bool,
    },
}

/// Why an order is not taken: one sentence for whoever gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Its id is known, and it is over.
    #[error("this order was carried out or refused here before, and none is taken twice: sign a new one")]
    Spent,
    /// Its id is known, and it goes on: the offer came again.
    #[error("this order is under way here already")]
    Going,
    /// Its window is over.
    #[error("the window of this order is over: sign a new one")]
    Over,
    /// There is no room to remember it.
    #[error(
        "this machine remembers {RUN_IDS_MAX} orders of the last days, and can take no more: wait for their windows to end"
    )]
    IdsFull,
    /// Too many at once.
    #[error("{RUNS_MAX} runs are going on here: try again when they are over")]
    Busy,
    /// Too much that waits for the gateway.
    #[error(
        "the results of earlier runs that wait here for the gateway have {RUNS_HELD_BYTES_MAX} bytes: try again later"
    )]
    Held,
}

impl NotTaken {
    /// Whether it is said in a signed statement and the id remembered. The others are told the gateway and no more: they
    /// could be had again and again with one order.
    pub fn is_said(self) -> bool {
        match self {
            Self::Busy | Self::Held => true,
            Self::Spent | Self::Going | Self::Over | Self::IdsFull => false,
        }
    }
}

/// A first mark that may be made. Only the ledger gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    order: Id,
    not_after: Timestamp,
}

impl Note {
    pub(super) fn of(order: Id, not_after: Timestamp) -> Self {
        Self { order, not_after }
    }

    /// The mark and its intent: to be written in one go. `None` when `intent` is about something else.
    pub fn with(self, intent: Made) -> Option<Vec<Line>> {
        let fits = intent.what == What::RunStarted && intent.session == self.order;
        fits.then(|| vec![Line::RunNoted { order: self.order, not_after: self.not_after }, Line::Made(intent)])
    }
}
