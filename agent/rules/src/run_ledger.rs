//! Which orders this device has seen, and how far the run of each has come: two durable marks before a script starts, so that
//! no id starts twice (P5), and nothing forgotten before its result is proved to be kept.
//!
//! Every change is a [`Line`] of the statements' journal that was made durable first. Not here: files, processes, what the
//! order says (`belay_certs::order`), and the statements themselves (`statement_chain`, which holds this ledger).
//!
//! | the agent dies | it finds | it does |
//! |---|---|---|
//! | before *noted* | nothing | takes the offer again, judged anew |
//! | after *noted* | noted, intent waiting | delivers the same intent until the window closes; then `expired` |
//! | after the receipt, before *started* | the same | the same receipt comes again |
//! | after *started* | started, no end | `interrupted`, never run again |
//! | after the end was made | end waiting | delivers it, and the output |
//! | after its receipt | ended and proved | delivers the rest of the output, then forgets |

mod marks;

pub use marks::{Found, NotTaken, Note, Stage};

use crate::{
    journal::Line,
    limits::{RUN_IDS_MAX, RUN_MEMORY_DAYS, RUNS_HELD_BYTES_MAX, RUNS_MAX},
    statement_chain::{Made, Misfit, What},
};
use belay_certs::{Id, Timestamp, time::DAY};
use std::collections::BTreeMap;

/// What is known of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// How far it has come.
    stage: Stage,
    /// The end of the order's window.
    not_after: Timestamp,
}

/// Every order of which this device must know that it has seen it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLedger {
    /// By the order's id; at most [`RUN_IDS_MAX`].
    runs: BTreeMap<Id, Run>,
    /// Those noted or started: at most [`RUNS_MAX`].
    under_way: usize,
}

impl RunLedger {
    /// How far the run of this order has come; `None` for an id that is not known, or no more.
    pub fn stage(&self, order: Id) -> Option<Stage> {
        self.runs.get(&order).map(|run| run.stage)
    }

    /// Runs noted or started and not ended.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Ids known.
    pub fn count(&self) -> usize {
        self.runs.len()
    }

    /// Whether the order's files (order, runbook, output) must be there: whatever else lies in a run's directory after a start
    /// was left by a crash, and is removed.
    pub fn holds_files(&self, order: Id) -> bool {
        self.runs.get(&order).is_some_and(|run| run.stage.holds_files())
    }

    /// Whether the run's end was not said: one that could begin can also be said to have ended.
    pub fn is_under_way(&self, order: Id) -> bool {
        self.runs.get(&order).is_some_and(|run| run.stage.is_under_way())
    }

    /// Whether an order may be taken at all: its id was never seen and can be remembered as long as it must be. To be asked
    /// before anything is said about it, for a refusal is remembered too.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing is said in a statement then, or the same order could make this device say it for ever.
    pub fn check_new(&self, order: Id, not_after: Timestamp, now: Timestamp) -> Result<(), NotTaken> {
        if let Some(run) = self.runs.get(&order) {
            return Err(if run.stage.is_settled() { NotTaken::Spent } else { NotTaken::Going });
        }
        if forgets_at(not_after) <= now {
            return Err(NotTaken::Over);
        }
        if self.runs.len() >= RUN_IDS_MAX {
            return Err(NotTaken::IdsFull);
        }
        Ok(())
    }

    /// The first durable mark of a run: write it with its intent, in one go ([`Note::with`]), and before
    /// the next one is asked for. `held_bytes`: the files of all
    /// runs together, in bytes.
    ///
    /// # Errors
    /// As [`RunLedger::check_new`]; [`NotTaken::Busy`] and [`NotTaken::Held`], which are refusals to be said and remembered.
    pub fn note(&self, order: Id, not_after: Timestamp, held_bytes: u64, now: Timestamp) -> Result<Note, NotTaken> {
        self.check_new(order, not_after, now)?;
        if now >= not_after {
            return Err(NotTaken::Over);
        }
        if self.under_way >= RUNS_MAX {
            return Err(NotTaken::Busy);
        }
        if held_bytes >= RUNS_HELD_BYTES_MAX {
            return Err(NotTaken::Held);
        }
        Ok(Note::of(order, not_after))
    }

    /// The lines for a refused order: that it was seen, and what was said of it. `None` when `refusal` says something else.
    pub fn refused(&self, order: Id, not_after: Timestamp, refusal: Made) -> Option<Vec<Line>> {
        let fits = refusal.what == What::RunRefused && refusal.session == order && !self.runs.contains_key(&order);
        fits.then(|| vec![Line::RunSeen { order, not_after }, Line::Made(refusal)])
    }

    /// The second durable mark: the intent with number `seq` is proved to be in the log as `run.started`. The script starts
    /// when these lines are durable, and only then. `None` when it must not start: it was not noted, started or ended before,
    /// or its window is over.
    pub fn start(&self, order: Id, seq: u64, now: Timestamp) -> Option<Vec<Line>> {
        let run = self.runs.get(&order)?;
        let may = run.stage == Stage::Noted && now < run.not_after;
        may.then(|| vec![Line::RunBegun { order }, Line::Done { seq }])
    }

    /// The line that forgets an ended run but for its id. `None` while its end is not proved to be in the log, or of its
    /// `output_bytes` fewer than all are acknowledged.
    pub fn forget(&self, order: Id, output_bytes: u64, acknowledged: u64) -> Option<Line> {
        let may = self.stage(order) == Some(Stage::Ended { proved: true }) && acknowledged >= output_bytes;
        may.then_some(Line::RunForgotten { order })
    }

    /// Noted runs whose window is over: each is to be said to have ended, `expired`.
    pub fn expired(&self, now: Timestamp) -> Vec<Id> {
        let over = self.runs.iter().filter(|(_, run)| run.stage == Stage::Noted && run.not_after <= now);
        over.map(|(order, _)| *order).collect()
    }

    /// The line that lets ids go whose window is over for [`RUN_MEMORY_DAYS`]: no clock that may be believed takes their
    /// orders any more. `None` when there are none. A run that is not forgotten keeps its id.
    pub fn let_go(&self, now: Timestamp) -> Option<Line> {
        let any = self.runs.values().any(|run| run.is_let_go(now));
        any.then_some(Line::RunsLetGo { now })
    }

    /// After a start of the agent: every run that is not forgotten, and what is to be done about it.
    pub fn found(&self, now: Timestamp) -> Vec<(Id, Found)> {
        let found = |run: &Run| match run.stage {
            Stage::Unsaid | Stage::Settled => None,
            Stage::Noted if run.not_after <= now => Some(Found::Expired),
            Stage::Noted => Some(Found::Noted),
            Stage::Started => Some(Found::Interrupted),
            Stage::Ended { proved } => Some(Found::Ended { proved }),
        };
        self.runs.iter().filter_map(|(order, run)| Some((*order, found(run)?))).collect()
    }

    /// Whether no write was left half-done: every note has its intent.
    pub(crate) fn is_whole(&self) -> bool {
        self.runs.values().all(|run| run.stage != Stage::Unsaid)
    }

    /// The lines that give this ledger when they are replayed.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Line> {
        let line = |(order, run): (&Id, &Run)| Line::Run { order: *order, not_after: run.not_after, stage: run.stage };
        self.runs.iter().map(line)
    }

    /// Applies a line about a run that is durable; others change nothing.
    pub(crate) fn apply(&mut self, line: &Line) -> Result<(), Misfit> {
        match line {
            Line::RunNoted { order, not_after } => self.insert(*order, Stage::Unsaid, *not_after),
            Line::RunSeen { order, not_after } => self.insert(*order, Stage::Settled, *not_after),
            Line::Run { order, not_after, stage } => self.insert(*order, *stage, *not_after),
            Line::RunBegun { order } => self.advance(*order, Stage::Started),
            Line::RunForgotten { order } => self.advance(*order, Stage::Settled),
            Line::RunsLetGo { now } => {
                self.runs.retain(|_, run| !run.is_let_go(*now));
                Ok(())
            }
            Line::Head(_)
            | Line::Open { .. }
            | Line::Waiting(_)
            | Line::Made(_)
            | Line::Done { .. }
            | Line::Kept { .. } => Ok(()),
        }
    }

    /// Whether a statement may be made now: an intent only behind its note, an end only of a run under way.
    pub(crate) fn check_made(&self, made: &Made) -> Result<(), Misfit> {
        match (made.what, self.stage(made.session)) {
            (What::RunStarted, Some(Stage::Unsaid))
            | (What::RunRefused, Some(Stage::Settled))
            | (What::RunEnded, Some(Stage::Noted | Stage::Started))
            | (What::Opened | What::Ended | What::Refused, _) => Ok(()),
            (What::RunStarted, _) => Err(Misfit("an intent to run that was not noted")),
            (What::RunRefused, _) => Err(Misfit("a refused order that was not seen")),
            (What::RunEnded, _) => Err(Misfit("an end of a run that is not under way")),
        }
    }

    /// A statement was made that [`RunLedger::check_made`] found right.
    pub(crate) fn made(&mut self, made: &Made) -> Result<(), Misfit> {
        match made.what {
            What::RunStarted => self.advance(made.session, Stage::Noted),
            What::RunEnded => self.advance(made.session, Stage::Ended { proved: false }),
            What::RunRefused | What::Opened | What::Ended | What::Refused => Ok(()),
        }
    }

    /// Whether the answer to a statement may be made durable now. That of an intent not before what follows from it, or after
    /// a crash nobody would know whether it may start.
    pub(crate) fn check_done(&self, made: &Made) -> Result<(), Misfit> {
        match (made.what, self.stage(made.session)) {
            (What::RunStarted, Some(Stage::Noted | Stage::Unsaid)) => {
                Err(Misfit("an intent to run is answered, and neither a start nor an end follows from it"))
            }
            _ => Ok(()),
        }
    }

    /// A statement was answered for good.
    pub(crate) fn done(&mut self, made: &Made) {
        if let (What::RunEnded, Some(run)) = (made.what, self.runs.get_mut(&made.session)) {
            run.stage = Stage::Ended { proved: true };
        }
    }

    fn insert(&mut self, order: Id, stage: Stage, not_after: Timestamp) -> Result<(), Misfit> {
        if self.runs.contains_key(&order) {
            return Err(Misfit("an order is seen twice"));
        }
        self.under_way += usize::from(stage.is_under_way());
        self.runs.insert(order, Run { stage, not_after });
        Ok(())
    }

    fn advance(&mut self, order: Id, to: Stage) -> Result<(), Misfit> {
        let Some(run) = self.runs.get_mut(&order) else { return Err(Misfit("a run of an order that was not seen")) };
        if !run.stage.leads_to(to) {
            return Err(Misfit("a run does what it cannot do from where it is"));
        }
        self.under_way -= usize::from(run.stage.is_under_way());
        self.under_way += usize::from(to.is_under_way());
        run.stage = to;
        Ok(())
    }
}

impl Run {
    fn is_let_go(&self, now: Timestamp) -> bool {
        self.stage == Stage::Settled && forgets_at(self.not_after) <= now
    }
}

/// Until when the id of an order with this window's end is remembered.
fn forgets_at(not_after: Timestamp) -> Timestamp {
    not_after.plus(RUN_MEMORY_DAYS * DAY)
}

#[cfg(test)]
mod tests;
