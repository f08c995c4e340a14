//! The desk's part of runs: their marks go into the same write as the statements about them.

use super::{Desk, Round, Then};
use crate::recorder::{
    NotKept,
    runs::{NotNoted, Noting, RunCall, Word},
};
use belay_agent_rules::{Line, Made, What, run_ledger::Stage};
use belay_certs::{
    Id, Timestamp,
    receipt::Permission,
    statement::{Body, RunEnd, word},
};
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Who waits for what about runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Of each noted run: who hears what becomes of its intent, until it was said.
    words: HashMap<Id, oneshot::Sender<Word>>,
    /// Noted runs whose intent was answered for good: the answer is made durable with the start or the end.
    answered: HashMap<Id, Answered>,
    /// Of each ended run: who hears that the end is proved.
    ends: HashMap<Id, oneshot::Sender<()>>,
}

/// How an intent was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// By the proof that permits the start.
    Proved,
    /// By the proof that it was withheld, or the word that it may no more start.
    Withheld,
}

/// What follows when a round with something about runs is durable, or fails with it.
pub(super) enum After {
    /// A run is noted: its intent's word is waited for.
    Noted { order: Id, word: oneshot::Sender<Word>, answer: oneshot::Sender<Result<(), NotNoted>> },
    /// An order is remembered as refused.
    Refused(oneshot::Sender<Result<(), NotNoted>>),
    /// The head that an intent's receipt brought is kept: its word may be said.
    Said { order: Id, word: Word },
    /// The second mark is made.
    Begun { order: Id, seq: u64, answer: oneshot::Sender<Result<(), NotKept>> },
    /// An end is said; `seq` is the intent's that it answers.
    Ended { order: Id, seq: Option<u64>, proved: oneshot::Sender<()>, answer: oneshot::Sender<Result<(), NotKept>> },
    /// The end's receipt is kept.
    EndProved { order: Id },
}

impl Desk {
    pub(super) fn run(&mut self, round: &mut Round, call: RunCall) {
        match call {
            RunCall::Check { order, not_after, now, answer } => {
                _ = answer.send(self.outbox.chain().runs().check_new(order, not_after, now));
            }
            RunCall::Note { note, word, answer } => self.note_run(round, *note, word, answer),
            RunCall::Refuse { note, reason, answer } => self.refuse_run(round, *note, &reason, answer),
            RunCall::LetGo { now } => round.lines.extend(self.outbox.chain().runs().let_go(now)),
            RunCall::Found { now, answer } => _ = answer.send(self.outbox.chain().runs().found(now)),
            RunCall::AwaitWord { order, word } => _ = self.runs.words.insert(order, word),
            RunCall::AwaitEnd { order, proved } => self.await_end(order, proved),
            RunCall::Begin { order, now, answer } => self.begin_run(round, order, now, answer),
            RunCall::End { end, proved, answer } => self.end_run(round, *end, proved, answer),
            RunCall::Forget { order, output_bytes, acknowledged, answer } => {
                match self.outbox.chain().runs().forget(order, output_bytes, acknowledged) {
                    Some(line) => {
                        round.lines.push(line);
                        round.then.push(Then::Kept(answer));
                    }
                    None => _ = answer.send(Err(misfit("it is not at its end"))),
                }
            }
        }
    }

    fn note_run(
        &self,
        round: &mut Round,
        note: Noting,
        word: oneshot::Sender<Word>,
        answer: oneshot::Sender<Result<(), NotNoted>>,
    ) {
        let Noting { intent, not_after, held_bytes, now } = note;
        let order = intent.order;
        let noted = self.outbox.chain().runs().note(order, not_after, held_bytes, now);
        let lines = noted.map_err(NotNoted::from).and_then(|note| {
            let made = self.make(round, Body::RunStarted(intent))?;
            note.with(made).ok_or_else(|| NotNoted::Kept(misfit("its intent is another's")))
        });
        match lines {
            Ok(lines) => {
                round.add(lines);
                round.then.push(Then::Run(After::Noted { order, word, answer }));
            }
            Err(not_noted) => _ = answer.send(Err(not_noted)),
        }
    }

    fn refuse_run(&self, round: &mut Round, note: Noting, reason: &str, answer: oneshot::Sender<Result<(), NotNoted>>) {
        let Noting { intent, not_after, now, .. } = note;
        let (order, runs) = (intent.order, self.outbox.chain().runs());
        let new = runs.check_new(order, not_after, now);
        let lines = new.map_err(NotNoted::from).and_then(|()| {
            let made = self.make(round, Body::RunRefused { intent, reason: word(reason) })?;
            runs.refused(order, not_after, made).ok_or_else(|| NotNoted::Kept(misfit("its refusal is another's")))
        });
        match lines {
            Ok(lines) => {
                round.add(lines);
                round.then.push(Then::Run(After::Refused(answer)));
            }
            Err(not_noted) => _ = answer.send(Err(not_noted)),
        }
    }

    /// The second mark goes into one write with the answer to the intent: before it nothing starts, and after it nobody waits
    /// for a receipt that would say nothing new.
    fn begin_run(&self, round: &mut Round, order: Id, now: Timestamp, answer: oneshot::Sender<Result<(), NotKept>>) {
        let proved = self.runs.answered.get(&order) == Some(&Answered::Proved);
        let seq = self.intent_of(order).filter(|_| proved);
        let lines = seq.and_then(|seq| Some((seq, self.outbox.chain().runs().start(order, seq, now)?)));
        match lines {
            Some((seq, lines)) => {
                round.settled.insert(seq);
                round.lines.extend(lines);
                round.then.push(Then::Run(After::Begun { order, seq, answer }));
            }
            None => _ = answer.send(Err(misfit("it is not noted and proved, or its window is over"))),
        }
    }

    fn end_run(
        &self,
        round: &mut Round,
        end: RunEnd,
        proved: oneshot::Sender<()>,
        answer: oneshot::Sender<Result<(), NotKept>>,
    ) {
        let order = end.order;
        let answered = self.runs.answered.contains_key(&order);
        let seq = self.intent_of(order).filter(|_| answered);
        match self.make(round, Body::RunEnded(end)) {
            Ok(made) => {
                round.add(vec![Line::Made(made)]);
                if let Some(seq) = seq {
                    round.settled.insert(seq);
                    round.lines.push(Line::Done { seq });
                }
                round.then.push(Then::Run(After::Ended { order, seq, proved, answer }));
            }
            Err(not_kept) => _ = answer.send(Err(not_kept)),
        }
    }

    /// Of an end whose proof came before anybody asked, nothing is waited for.
    fn await_end(&mut self, order: Id, proved: oneshot::Sender<()>) {
        match self.outbox.chain().runs().stage(order) {
            Some(Stage::Ended { proved: true }) => _ = proved.send(()),
            _ => _ = self.runs.ends.insert(order, proved),
        }
    }

    /// The number of the intent of this run, while it waits.
    fn intent_of(&self, order: Id) -> Option<u64> {
        let mut pending = self.outbox.chain().pending();
        pending.find(|made| made.what == What::RunStarted && made.session == order).map(|made| made.seq)
    }

    /// Whether `made` is the intent of a run that neither began nor ended: its answer is held until one of both is written.
    pub(super) fn is_held(&self, what: What, order: Id) -> bool {
        what == What::RunStarted && self.outbox.chain().runs().stage(order) == Some(Stage::Noted)
    }

    /// The receipt of such an intent holds.
    pub(super) fn intent_recorded(round: &mut Round, order: Id, permitted: Result<Permission, String>) {
        let word = permitted.map_or_else(Word::Withheld, |proof| Word::Proved(Box::new(proof)));
        round.then.push(Then::Run(After::Said { order, word }));
    }

    /// The gateway will not prove this intent, for good. `withdrawn`: it has it in the log, and no receipt will come.
    pub(super) fn intent_refused(&mut self, made: &Made, sentence: String, withdrawn: Withdrawn) {
        if !self.is_held(made.what, made.session) {
            return;
        }
        if withdrawn == Withdrawn::Yes {
            self.runs.answered.insert(made.session, Answered::Withheld);
        }
        if let Some(waiter) = self.runs.words.remove(&made.session) {
            _ = waiter.send(Word::Withheld(sentence));
        }
    }

    /// What follows from a round that is durable (`failed` is none) or was not written.
    pub(super) fn after_run(&mut self, after: After, failed: Option<&String>) {
        let outcome = || failed.map_or(Ok(()), |why| Err(NotKept::Broken(why.clone())));
        match after {
            After::Noted { order, word, answer } => {
                if failed.is_none() {
                    self.runs.words.insert(order, word);
                    self.delivery.hurry(self.now());
                }
                _ = answer.send(outcome().map_err(NotNoted::Kept));
            }
            After::Refused(answer) => _ = answer.send(outcome().map_err(NotNoted::Kept)),
            After::Said { order, word } => {
                if failed.is_none() {
                    self.say(order, word);
                }
            }
            After::Begun { order, seq, answer } => {
                if failed.is_none() {
                    self.runs.answered.remove(&order);
                    self.delivery.answered(seq);
                }
                _ = answer.send(outcome());
            }
            After::Ended { order, seq, proved, answer } => {
                if failed.is_none() {
                    self.runs.answered.remove(&order);
                    self.runs.words.remove(&order);
                    self.runs.ends.insert(order, proved);
                    seq.into_iter().for_each(|seq| self.delivery.answered(seq));
                }
                _ = answer.send(outcome());
            }
            After::EndProved { order } => {
                if let (None, Some(waiter)) = (failed, self.runs.ends.remove(&order)) {
                    _ = waiter.send(());
                }
            }
        }
    }

    fn say(&mut self, order: Id, word: Word) {
        let answered = match &word {
            Word::Proved(_) => Answered::Proved,
            Word::Withheld(_) => Answered::Withheld,
        };
        if let Some(waiter) = self.runs.words.remove(&order) {
            self.runs.answered.insert(order, answered);
            _ = waiter.send(word);
        }
    }
}

/// Whether the gateway said that the run was withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withdrawn {
    Yes,
    No,
}

fn misfit(why: &str) -> NotKept {
    NotKept::Broken(format!("the run may not go on: {why}"))
}
