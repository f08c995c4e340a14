//! The one owner of the outbox: takes what was said in a round, makes all of it durable in one write, and only then answers
//! and sends. Runs off the runtime's threads, for it waits for the disk.

mod runs;

use super::{
    Abandoned, Call, NoProof, NotKept,
    owed::{self, Owed},
    proof::{Judged, judge},
};
use crate::{
    authority::Authority,
    limits::BAD_RECEIPTS_MAX,
    state::{
        log_view::{self, line},
        outbox::Outbox,
    },
    words::heard,
};
use belay_agent_rules::{Delivery, Line, Made, Position, What};
use belay_certs::{
    Id, Invalid, PrivateKey,
    policy::LogIdentity,
    receipt::{Permission, Recorded},
    statement::{self, Body, Head, Intent, Statement},
    tlog::Checkpoint,
};
use belay_protocol::{ReceiptGiven, RefusalCode, StatementMade, StatementRefused, ToGateway};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

type ProofAnswer = oneshot::Sender<Result<Permission, NoProof>>;

/// The outbox and everybody who waits for it.
pub(super) struct Desk {
    /// Statements and verified log heads on disk.
    outbox: Outbox,
    /// Says who this device is and which log counts.
    authority: Arc<Authority>,
    /// Signs.
    host_key: PrivateKey,
    /// What goes out when.
    delivery: Delivery,
    /// Where it goes out; none while offline.
    link: Option<mpsc::Sender<ToGateway>>,
    /// Who waits for which statement's proof, by the statement's id.
    waiting: HashMap<Id, ProofAnswer>,
    /// Who wants to know when nothing waits any more.
    settling: Vec<oneshot::Sender<()>>,
    /// Ends that are not written yet.
    owed: Owed,
    /// Who waits for what about runs.
    runs: runs::Runs,
    /// Receipts in a row that proved nothing.
    bad_receipts: u32,
    /// Zero of the delivery's clock.
    began: Instant,
}

/// What one round will make durable, and what follows once it is.
struct Round {
    /// Where the chain will stand.
    position: Position,
    /// The log that counts in this round.
    log: Option<LogIdentity>,
    /// The head kept of it, with what this round verified.
    kept: Option<Checkpoint>,
    /// What to write.
    lines: Vec<Line>,
    /// Statements made in this round.
    made: usize,
    /// Statements answered in this round.
    settled: BTreeSet<u64>,
    /// What follows.
    then: Vec<Then>,
}

/// What follows when a round is durable, or fails with it.
enum Then {
    /// A report is kept.
    Kept(oneshot::Sender<Result<(), NotKept>>),
    /// An intent is kept: its proof is waited for.
    Waits(Id, ProofAnswer),
    /// A statement is answered for good, and this is the word for who waits.
    Answered { seq: u64, waiter: Option<ProofAnswer>, word: Box<Result<Permission, NoProof>> },
    /// Something about a run.
    Run(runs::After),
}

impl Round {
    /// Takes the lines of one statement that was made for this round.
    fn add(&mut self, lines: Vec<Line>) {
        for line in &lines {
            if let Line::Made(made) = line {
                self.position = self.position.after(&made.statement.text);
                self.made += 1;
            }
        }
        self.lines.extend(lines);
    }
}

impl Desk {
    pub(super) fn new(outbox: Outbox, authority: Arc<Authority>, host_key: PrivateKey) -> Self {
        let owed = Owed::left_behind(outbox.chain().orphans());
        Self {
            outbox,
            authority,
            host_key,
            delivery: Delivery::default(),
            link: None,
            waiting: HashMap::new(),
            settling: Vec::new(),
            owed,
            runs: runs::Runs::default(),
            bad_receipts: 0,
            began: Instant::now(),
        }
    }

    /// When a round is due although nobody said anything.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let delivery = self.delivery.wake_at().map(|millis| self.began + Duration::from_millis(millis));
        delivery.into_iter().chain(self.owed.retry_at()).min()
    }

    /// Takes in what was said. Returns whom to tell when the desk is to close.
    ///
    /// Crash before the write is durable: nothing of the round happened; nobody was answered and nothing was sent. Crash
    /// after: all of it happened; what was not answered is sent again or reported as not started at the next start.
    pub(super) fn round(&mut self, said: Vec<Call>, left: Vec<Abandoned>) -> Option<oneshot::Sender<()>> {
        let mut round = self.begin();
        let mut closing = None;
        for Abandoned { session, reason } in left {
            let end = owed::ended(session, &format!("not started: {reason}"));
            self.owed.owe(self.outbox.chain(), session, end);
        }
        self.end_owed(&mut round);
        for call in said {
            match call {
                Call::Prove { intent, answer } => self.prove(&mut round, *intent, answer),
                Call::Report { body, answer } => self.report(&mut round, *body, answer),
                Call::Connected(link) => self.connect(link),
                Call::Disconnected => self.disconnect(),
                Call::Receipt(receipt) => self.receipt(&mut round, *receipt),
                Call::Refused(refused) => self.refused(&round, &refused),
                Call::Run(call) => self.run(&mut round, call),
                // What this round made is not counted before it is durable.
                Call::LastSeq(answer) => drop(answer.send(self.outbox.chain().position().seq)),
                Call::Settled(answer) => self.settling.push(answer),
                Call::Close(done) => closing = Some(done),
            }
        }
        self.finish(round);
        self.send();
        if !self.delivery.is_connected() {
            // Their statements stay and are proved later, to nobody; a person is not kept waiting for that.
            self.waiting.drain().for_each(|(_, waiter)| tell(Some(waiter), Err(NoProof::Offline)));
        }
        if self.outbox.chain().pending_count() == 0 {
            self.settling.drain(..).for_each(|answer| _ = answer.send(()));
        }
        closing
    }

    fn begin(&self) -> Round {
        let log = self.authority.log();
        let kept = log.as_ref().and_then(|log| self.outbox.view().kept(&log.origin)).cloned();
        let position = self.outbox.chain().position();
        Round { position, log, kept, lines: Vec::new(), made: 0, settled: BTreeSet::new(), then: Vec::new() }
    }

    /// The write, and what follows it.
    fn finish(&mut self, round: Round) {
        let written = self.outbox.commit(&round.lines);
        if let Err(error) = &written {
            tracing::error!("the outbox cannot be written, so nothing starts: {error}");
            // Receipts of this round count for nothing: their statements are sent again.
            self.delivery.stall(self.now());
        }
        self.owed.settle(self.outbox.chain());
        let failed = written.err().map(|error| error.to_string());
        for then in round.then {
            match (then, &failed) {
                (Then::Kept(answer), None) => drop(answer.send(Ok(()))),
                (Then::Kept(answer), Some(why)) => drop(answer.send(Err(NotKept::Broken(why.clone())))),
                (Then::Waits(id, answer), None) => drop(self.waiting.insert(id, answer)),
                (Then::Waits(_, answer), Some(why)) => drop(answer.send(Err(NoProof::Broken(why.clone())))),
                (Then::Answered { seq, waiter, word }, None) => {
                    self.delivery.answered(seq);
                    tell(waiter, *word);
                }
                (Then::Answered { waiter, .. }, Some(why)) => tell(waiter, Err(NoProof::Broken(why.clone()))),
                (Then::Run(after), failed) => self.after_run(after, failed.as_ref()),
            }
        }
    }

    fn prove(&mut self, round: &mut Round, intent: Intent, answer: ProofAnswer) {
        if answer.is_closed() {
            return;
        }
        if !self.delivery.is_connected() {
            return drop(answer.send(Err(NoProof::Offline)));
        }
        match self.sign(round, Body::SessionOpened(intent)) {
            Ok(id) => {
                round.then.push(Then::Waits(id, answer));
                self.delivery.hurry(self.now());
            }
            Err(not_kept) => drop(answer.send(Err(match not_kept {
                NotKept::Pending => NoProof::Pending,
                NotKept::Full => NoProof::Full,
                NotKept::Broken(why) => NoProof::Broken(why),
            }))),
        }
    }

    fn report(&mut self, round: &mut Round, body: Body, answer: oneshot::Sender<Result<(), NotKept>>) {
        let (what, session) = What::of(&body);
        if what == What::Ended {
            self.owed.owe(self.outbox.chain(), session, body.clone());
        }
        match self.sign(round, body) {
            Ok(_) => round.then.push(Then::Kept(answer)),
            Err(not_kept) => drop(answer.send(Err(not_kept))),
        }
    }

    /// Signs `body` as the next statement of the round.
    fn sign(&self, round: &mut Round, body: Body) -> Result<Id, NotKept> {
        let made = self.make(round, body)?;
        let id = made.id;
        round.add(vec![Line::Made(made)]);
        Ok(id)
    }

    /// Signs `body` as what could be the next statement of the round; it is once it was added.
    fn make(&self, round: &Round, body: Body) -> Result<Made, NotKept> {
        let device = self.authority.device().ok_or(NotKept::Pending)?;
        let (what, session) = What::of(&body);
        if !self.outbox.has_room(what, session, round.made) {
            return Err(NotKept::Full);
        }
        let broken = |refused: Invalid| NotKept::Broken(refused.to_string());
        let head = Head {
            id: Id::random().map_err(broken)?,
            device: device.address,
            serial: device.serial,
            seq: round.position.seq.saturating_add(1),
            previous: round.position.digest,
            checkpoint: round.kept.as_ref().map(log_view::seen),
            issued: self.authority.clock().now(),
        };
        let (id, seq) = (head.id, head.seq);
        let statement = statement::sign(&Statement { head, body }, &self.host_key).map_err(broken)?;
        Ok(Made { seq, id, what, session, statement })
    }

    /// Ends that are still owed, before anything else is said. One that fails stays owed.
    fn end_owed(&self, round: &mut Round) {
        for end in self.owed.next() {
            if let Err(error) = self.sign(round, end) {
                tracing::error!("the end of a session is not recorded yet: {error}");
            }
        }
    }

    fn receipt(&mut self, round: &mut Round, given: ReceiptGiven) {
        let id = Id(given.statement);
        let Some(made) = self.outbox.chain().pending_by_id(id).filter(|made| !round.settled.contains(&made.seq)) else {
            return tracing::debug!(statement = %id, "a receipt came for a statement that does not wait for one");
        };
        let Some(log) = &round.log else {
            return tracing::error!("the policy names no log, so no receipt counts");
        };
        match judge(given, log, round.kept.as_ref(), &made.statement) {
            Judged::Proved(recorded) => {
                self.bad_receipts = 0;
                let (seq, what, session) = (made.seq, made.what, made.session);
                if round.kept.as_ref() != Some(recorded.checkpoint()) {
                    round.lines.push(line(recorded.checkpoint()));
                    round.kept = Some(recorded.checkpoint().clone());
                }
                let permitted = recorded.permission().map_err(|recorded| reason(&recorded));
                if self.is_held(what, session) {
                    return Self::intent_recorded(round, session, permitted);
                }
                round.lines.push(Line::Done { seq });
                round.settled.insert(seq);
                if what == What::RunEnded {
                    round.then.push(Then::Run(runs::After::EndProved { order: session }));
                }
                let waiter = self.waiting.remove(&id);
                let word = permitted.map_err(NoProof::Withheld);
                round.then.push(Then::Answered { seq, waiter, word: Box::new(word) });
            }
            Judged::Overtaken if self.delivery.ask_again(made.seq) => {
                let message = message(made, round.kept.as_ref());
                self.push(message);
            }
            Judged::Overtaken => {
                let sentence = "the log grew faster than it could be proved";
                self.unproved(made.seq, id, sentence);
            }
            Judged::Unproved(refused) => self.unproved(made.seq, id, &heard(&refused.sentence)),
        }
    }

    /// A receipt that proves nothing: once it may be a policy on its way, twice the gateway must begin again.
    fn unproved(&mut self, seq: u64, id: Id, sentence: &str) {
        tracing::error!(statement = %id, "the gateway's proof does not hold: {sentence}");
        tell(self.waiting.remove(&id), Err(NoProof::Unproved(sentence.to_owned())));
        self.delivery.failed(seq, self.now());
        self.tell_behind(seq, &NoProof::Unproved(sentence.to_owned()));
        self.bad_receipts += 1;
        if self.bad_receipts >= BAD_RECEIPTS_MAX {
            self.disconnect();
        }
    }

    /// The gateway said no. Only a receipt ends a statement: a number that is not in the log would leave a gap for ever.
    fn refused(&mut self, round: &Round, refused: &StatementRefused) {
        let id = Id(refused.statement);
        let Some(made) = self.outbox.chain().pending_by_id(id).filter(|made| !round.settled.contains(&made.seq)) else {
            return tracing::debug!(statement = %id, "a refusal came for a statement that does not wait");
        };
        let (seq, waiter, intent) = (made.seq, self.waiting.remove(&id), made.clone());
        if waiter.is_none() && !self.delivery.is_in_flight(seq) {
            return tracing::debug!(statement = %id, "a refusal came for a statement that was refused before");
        }
        let sentence = heard(&refused.sentence);
        tracing::warn!(statement = %id, code = refused.code, "the gateway did not record a statement: {sentence}");
        let no_proof = NoProof::Refused(sentence.clone());
        tell(waiter, Err(no_proof.clone()));
        match refused.reason() {
            // The gateway will say the same again, and goes on with what follows: an older statement that it holds under this
            // number, or one that it must not record.
            Some(
                RefusalCode::PersonMismatch | RefusalCode::Frozen | RefusalCode::SequenceFork | RefusalCode::Withdrawn,
            )
            | None => {
                self.delivery.skipped(seq);
                let withdrawn = refused.reason() == Some(RefusalCode::Withdrawn);
                let withdrawn = if withdrawn { runs::Withdrawn::Yes } else { runs::Withdrawn::No };
                self.intent_refused(&intent, sentence, withdrawn);
            }
            Some(RefusalCode::NotRecorded | RefusalCode::SequenceGap | RefusalCode::Limit) => {
                self.delivery.failed(seq, self.now());
                self.tell_behind(seq, &no_proof);
            }
        }
    }

    /// Nothing behind this statement is recorded before it is: whoever waits there hears why, instead of waiting in vain. Their
    /// statements stay.
    fn tell_behind(&mut self, seq: u64, no_proof: &NoProof) {
        let chain = self.outbox.chain();
        let is_behind = |id: &Id| chain.pending_by_id(*id).is_some_and(|made| made.seq > seq);
        let behind: Vec<Id> = self.waiting.keys().copied().filter(is_behind).collect();
        behind.iter().for_each(|id| tell(self.waiting.remove(id), Err(no_proof.clone())));
    }

    fn connect(&mut self, link: mpsc::Sender<ToGateway>) {
        self.link = Some(link);
        self.bad_receipts = 0;
        self.delivery.connected();
    }

    /// Dropping the link ends the connection, should it still be there.
    fn disconnect(&mut self) {
        self.link = None;
        self.delivery.disconnected();
    }

    /// Everything that may go out now. What is sent was durable before.
    fn send(&mut self) {
        let log = self.authority.log();
        let kept = log.as_ref().and_then(|log| self.outbox.view().kept(&log.origin)).cloned();
        while let Some(made) = self.delivery.next(self.outbox.chain(), self.now()) {
            let message = message(made, kept.as_ref());
            self.push(message);
        }
    }

    /// The link has room for all that can be in flight; one that has none does not keep its side.
    fn push(&mut self, message: ToGateway) {
        if self.link.as_ref().is_some_and(|link| link.try_send(message).is_err()) {
            self.disconnect();
        }
    }
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn message(made: &Made, kept: Option<&Checkpoint>) -> ToGateway {
    ToGateway::StatementMade(StatementMade {
        seq: made.seq,
        text: made.statement.text.clone(),
        signature: made.statement.signature.clone(),
        consistency_from: kept.map_or(0, |kept| kept.size),
        origin: kept.map(|kept| kept.origin.clone()).unwrap_or_default(),
    })
}

/// Why the gateway withheld a session or a run, in its own words.
fn reason(recorded: &Recorded) -> String {
    heard(recorded.entry().detail.get("reason").and_then(|reason| reason.as_str()).unwrap_or("it gave no reason"))
}

/// Whoever waited may be gone; then the end of the session is on its way already.
fn tell(waiter: Option<ProofAnswer>, word: Result<Permission, NoProof>) {
    if let Some(waiter) = waiter {
        let _ = waiter.send(word);
    }
}

#[cfg(test)]
mod tests;
