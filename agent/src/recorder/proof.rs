//! What a receipt is to the statement it names: a proof, one that others have overtaken, or nothing.

use belay_certs::{
    Fault, Invalid,
    policy::LogIdentity,
    receipt::{self, Receipt, Recorded},
    statement::SignedStatement,
    tlog::Checkpoint,
};
use belay_protocol::ReceiptGiven;

/// A receipt, judged.
#[derive(Debug)]
pub(super) enum Judged {
    /// The statement is in the log, and the log continues the one kept.
    Proved(Box<Recorded>),
    /// It continues an older head than the one kept now, which another receipt brought meanwhile: ask for it again.
    Overtaken,
    /// It proves nothing.
    Unproved(Invalid),
}

/// Judges a receipt for `statement` against the head kept of `log`.
pub(super) fn judge(
    given: ReceiptGiven,
    log: &LogIdentity,
    kept: Option<&Checkpoint>,
    statement: &SignedStatement,
) -> Judged {
    let receipt = Receipt {
        entry: given.entry,
        index: given.index,
        inclusion: given.inclusion,
        checkpoint: given.checkpoint,
        consistency: given.consistency,
        consistency_from: given.consistency_from,
    };
    match receipt::verify(&receipt, log, kept, statement) {
        Ok(recorded) => Judged::Proved(Box::new(recorded)),
        // Only the start of its proof is out of date. A head that shrank or that nobody signed is no matter of time.
        Err(refused)
            if refused.fault == Fault::Mismatch
                && kept.map_or(receipt.consistency_from != 0, |kept| receipt.consistency_from < kept.size) =>
        {
            Judged::Overtaken
        }
        Err(refused) => Judged::Unproved(refused),
    }
}
