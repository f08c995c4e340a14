//! A device's statements, one after the other: verified, recorded, answered with a receipt.
//!
//! In order, because each names the one before it. Cut off half-way the device sends it again and gets the old receipt. One that
//! contradicts what is recorded is refused, and the device is out of step from then on: no job waits for it.

use super::device::{Ending, Link};
use crate::{
    act::jobs::Said,
    relay::presence::Step,
    store::{RecordError, Urgency},
};
use belay_certs::{
    DeviceAddress, order,
    receipt::Receipt,
    statement::{self, Body, SignedStatement, Statement},
};
use belay_protocol::{CloseCode, ReceiptGiven, RefusalCode, StatementMade, StatementRefused, ToAgent};
use belay_rules::{Ask, Outcome, Refusal};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a device is told when the store failed.
const NOT_RECORDED: &str = "the gateway could not record this just now; nothing was started";
/// What a device is told when its statement is recorded and the proof failed.
const NOT_PROVED: &str = "the gateway recorded this and could not prove it just now; nothing was started";

/// Records what comes until the queue ends, or the device says what nobody could believe.
pub(super) async fn record_all(link: Arc<Link>, mut made: mpsc::Receiver<Box<StatementMade>>) -> Ending {
    let mut given = Given::default();
    while let Some(statement) = made.recv().await {
        link.gateway.shares.statement(link.join, &link.address.tenant).await;
        // What comes behind it may be a session's.
        let urgency = if made.is_empty() { Urgency::CanWait } else { Urgency::AtOnce };
        let answered = match Box::pin(record(&link, *statement, urgency, &mut given)).await {
            Ok(answer) => link.send(answer).await,
            Err(ending) => Err(ending),
        };
        if let Err(ending) = answered {
            return ending;
        }
    }
    Ending::lost("the statements' queue ended")
}

/// What this connection has come to: the newest checkpoint that the device was given here. It keeps that one, and receipts
/// arrive in order: the next proof starts there, whatever the device kept when it sent a statement ahead.
#[derive(Default)]
struct Given {
    /// Whose.
    origin: String,
    /// How many entries it has.
    size: u64,
    /// Whether the device's statements continued the log so far.
    step: Step,
}

impl Given {
    /// Where the next proof in the log of `origin` starts, when the device kept `kept` entries of the log `kept_origin`: a
    /// checkpoint of another log (a restored gateway began a new one) proves nothing here.
    fn next_from(&self, origin: &str, kept_origin: &str, kept: u64) -> u64 {
        let of = |log: &str, size: u64| if log == origin { size } else { 0 };
        of(&self.origin, self.size).max(of(kept_origin, kept))
    }

    /// Takes origin and size from the receipt's checkpoint: the first two lines of the note.
    fn take(&mut self, receipt: &Receipt) {
        let text = std::str::from_utf8(&receipt.checkpoint).unwrap_or_default();
        let mut lines = text.lines();
        self.origin = lines.next().unwrap_or_default().to_owned();
        self.size = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
    }
}

/// One statement. An ending means that it cannot be answered: it is not the device's own words, or there were too many
/// that contradict each other.
async fn record(link: &Link, made: StatementMade, urgency: Urgency, given: &mut Given) -> Result<ToAgent, Ending> {
    let signed = SignedStatement { text: made.text, signature: made.signature };
    let said = statement::verify(&signed, &link.host_key).map_err(|error| {
        tracing::warn!(join = %link.join, "a statement was not the device's own: {error}");
        Ending::new(CloseCode::Malformed, "it sent a statement that it did not sign so")
    })?;
    let outer = match &said.body {
        Body::SessionOpened(intent) | Body::SessionRefused { intent, .. } => {
            // Under the name that the statement says: the judge sees to it that it is, or was, the device's.
            link.gateway.accesses.outer(intent.access, &said.head.device)
        }
        Body::SessionEnded { .. } | Body::RunStarted(_) | Body::RunRefused { .. } | Body::RunEnded(_) => None,
    };
    let refused = |code: RefusalCode, sentence: &str| {
        let sentence = belay_protocol::limits::clip_sentence(sentence);
        ToAgent::StatementRefused(StatementRefused { statement: said.head.id.0, code: code.code(), sentence })
    };
    let ask = Ask::Statement { join: link.join, signed, statement: Box::new(said.clone()), outer };
    let recorded = match link.gateway.record_with(ask, urgency).await {
        Ok(recorded) => recorded,
        Err(RecordError::Refused(refusal)) => return Ok(refused(code(&refusal), &refusal.to_string())),
        Err(RecordError::Broken(why)) => {
            tracing::error!(join = %link.join, "a statement was not recorded: {why}");
            return Ok(refused(RefusalCode::NotRecorded, NOT_RECORDED));
        }
    };
    follow_step(link, &recorded.outcome, given).await;
    if let Outcome::Rejected(refusal) = &recorded.outcome {
        link.complain()?;
        return Ok(refused(code(refusal), &refusal.to_string()));
    }
    tell_jobs(link, &said, &recorded.outcome).await;
    // A withheld session gets its receipt too: the statement is in the log, and that entry permits nothing.
    let origin = link.gateway.store.log_identity(&recorded.log).map(|log| log.origin).unwrap_or_default();
    let from = given.next_from(&origin, &made.origin, made.consistency_from);
    match link.gateway.store.receipt_of(&recorded, from).await {
        Ok(receipt) => {
            given.take(&receipt);
            Ok(receipt_given(&said, receipt))
        }
        Err(error) => {
            tracing::error!(join = %link.join, "a statement was recorded and not proved: {error}");
            Ok(refused(RefusalCode::NotRecorded, NOT_PROVED))
        }
    }
}

/// Whether the device continues what it said before: whoever carries out jobs hears when that changes.
async fn follow_step(link: &Link, outcome: &Outcome, given: &mut Given) {
    let step = match outcome {
        Outcome::Rejected(Refusal::StatementFork { .. }) => Step::Out,
        Outcome::Recorded | Outcome::Withheld(_) => Step::In,
        // What came again was said before it fell out of step, and any other fault is of one statement.
        Outcome::Rejected(_) | Outcome::Again | Outcome::JoinedBefore(_) => return,
    };
    if std::mem::replace(&mut given.step, step) == step {
        return;
    }
    if let Some(address) = link.gateway.presence.step(link.join, step) {
        if step == Step::Out {
            tracing::warn!(join = %link.join, device = %address, "a device contradicts its own statements: nothing starts there");
        }
        link.gateway.jobs.moved(address).await;
    }
}

/// Whoever carries out jobs hears what became of a run. What is withheld changed nothing.
async fn tell_jobs(link: &Link, said: &Statement, outcome: &Outcome) {
    if !matches!(outcome, Outcome::Recorded | Outcome::Again) {
        return;
    }
    let (order, what) = match &said.body {
        Body::RunStarted(intent) => (intent.order, Said::Started),
        Body::RunRefused { intent, .. } => (intent.order, Said::Ended(order::Outcome::Refused)),
        Body::RunEnded(end) => (end.order, Said::Ended(end.outcome)),
        Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => return,
    };
    let DeviceAddress { device, tenant } = said.head.device.clone();
    link.gateway.jobs.said(tenant, device, order, what).await;
}

fn receipt_given(said: &Statement, receipt: Receipt) -> ToAgent {
    ToAgent::ReceiptGiven(ReceiptGiven {
        statement: said.head.id.0,
        entry: receipt.entry,
        index: receipt.index,
        inclusion: receipt.inclusion,
        checkpoint: receipt.checkpoint,
        consistency: receipt.consistency,
        consistency_from: receipt.consistency_from,
    })
}

fn code(refusal: &Refusal) -> RefusalCode {
    match refusal {
        Refusal::PersonMismatch { .. } | Refusal::AccessUnknown(_) => RefusalCode::PersonMismatch,
        Refusal::RunWithheld { .. } | Refusal::Frozen(_) => RefusalCode::Withdrawn,
        Refusal::StatementGap { .. } => RefusalCode::SequenceGap,
        Refusal::StatementFork { .. } => RefusalCode::SequenceFork,
        Refusal::StatementTooLarge(_) | Refusal::EntryInvalid(_) => RefusalCode::Limit,
        _ => RefusalCode::NotRecorded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(checkpoint: &str) -> Receipt {
        let checkpoint = checkpoint.as_bytes().to_vec();
        Receipt {
            entry: Vec::new(),
            index: 0,
            inclusion: Vec::new(),
            checkpoint,
            consistency: Vec::new(),
            consistency_from: 0,
        }
    }

    #[test]
    fn the_next_proof_starts_at_the_newest_checkpoint_of_the_same_log() {
        let mut given = Given::default();
        assert_eq!(given.next_from("gw/acme", "gw/acme", 3), 3);
        given.take(&receipt("gw/acme\n7\nroot\n"));
        assert_eq!(given.next_from("gw/acme", "gw/acme", 3), 7, "it was sent ahead");
        assert_eq!(given.next_from("gw/acme", "gw/acme", 9), 9);
        // The gateway was restored and began a new log.
        assert_eq!(given.next_from("gw/acme/2", "gw/acme", 9), 0);
        given.take(&receipt("gw/acme/2\n4\nroot\n"));
        assert_eq!(given.next_from("gw/acme/2", "gw/acme", 9), 4);
    }
}
