//! The job: an order as the gateway carries it out, run by run. Who begins next, who may still start, when it stops.
//!
//! It decides nothing about rights: the device does. Places are indexes into the order's list of devices, from 0. What changes here
//! was made durable first, and [`Job::restore`] gives the same job from what is durable. Not here: whose job's turn it is
//! ([`Rota`]), devices, connections and texts.
//!
//! A device starts only on the receipt of its intent, and [`Job::may_start`] judges that intent. So who was offered the order and
//! was not let start has not started, and the gateway knows it without asking.

mod pace;
mod plan;
mod rota;
mod run;
mod withheld;

pub use pace::{LATE, Pace};
pub use plan::Plan;
pub use rota::{Full, Rota};
pub use run::{Heard, Missed, Owed, Phase, Run, Standing};
pub use withheld::Withheld;

use crate::limits::OFFERS_UNANSWERED_MAX;
use belay_certs::Timestamp;
use belay_certs::order::Outcome;
use run::{is_miss, is_unstarted};
use std::collections::BTreeSet;

/// One order under way.
#[derive(Debug, Clone)]
pub struct Job {
    /// What it is paced by.
    plan: Plan,
    /// Whether more may begin.
    phase: Phase,
    /// Every run, by place.
    runs: Vec<Run>,
    /// Which wave is open.
    wave: usize,
    /// Places that wait and whose device is there.
    ready: BTreeSet<usize>,
    /// Offered and started runs that are not overdue yet, by when they will be.
    due: BTreeSet<(Timestamp, usize)>,
    /// Offered and started runs that are overdue.
    overdue: BTreeSet<usize>,
    /// Runs that were ever offered: they hold the places of the waves. A run that ended without one is not among them.
    taken: BTreeSet<usize>,
    /// Of those taken, the ended ones.
    settled: u64,
    /// Of those settled, the ones that did not succeed.
    missed: u64,
    /// Offered runs that are not overdue.
    unanswered: usize,
    /// Runs that wait or were offered.
    unstarted: usize,
}

impl Job {
    /// A job of which nothing has begun and no device is there.
    pub fn new(plan: Plan) -> Self {
        let runs = vec![Run::Waiting; plan.devices()];
        Self {
            unstarted: runs.len(),
            plan,
            phase: Phase::Open,
            runs,
            wave: 0,
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            overdue: BTreeSet::new(),
            taken: BTreeSet::new(),
            settled: 0,
            missed: 0,
            unanswered: 0,
        }
    }

    /// The job as it was left: `kept` has every run that was ever offered. No device is there. Ask [`Job::tick`] next.
    ///
    /// # Errors
    /// When a place is not one of the order's.
    pub fn restore(plan: Plan, phase: Phase, kept: impl IntoIterator<Item = (usize, Run)>) -> Result<Self, Withheld> {
        let mut job = Self::new(plan);
        for (place, run) in kept {
            if place >= job.runs.len() {
                return Err(Withheld::NoSuchPlace(place));
            }
            job.set(place, run);
            match run {
                Run::Waiting => {}
                Run::Offered { due } => {
                    job.unanswered += 1;
                    job.due.insert((due, place));
                    job.taken.insert(place);
                }
                Run::Started { due } => {
                    job.due.insert((due, place));
                    job.taken.insert(place);
                }
                Run::Ended(outcome) => {
                    job.taken.insert(place);
                    job.settle(outcome);
                }
            }
        }
        // More were offered than the wave before this one reaches only after this one was opened.
        job.wave = job.plan.wave_of(job.taken.len());
        match phase {
            Phase::Open => {}
            Phase::Stopped | Phase::Cancelled => job.call_off(phase),
        }
        Ok(job)
    }

    /// Where every run stands, by place.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Offers that no device has answered, and that are not overdue.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Whether more may begin, the window apart.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The place's device is there. What it must be told: an offer or the end may have been lost with its last connection.
    pub fn online(&mut self, place: usize, now: Timestamp) -> Owed {
        let Some(run) = self.runs.get(place).copied() else { return Owed::Nothing };
        match (run, self.phase) {
            (Run::Waiting, Phase::Open) => {
                self.ready.insert(place);
                Owed::Nothing
            }
            (Run::Offered { .. }, Phase::Open) if self.plan.is_open(now) => Owed::Offer,
            (Run::Started { .. }, Phase::Cancelled) => Owed::Cancel,
            (Run::Waiting, Phase::Stopped | Phase::Cancelled)
            | (Run::Offered { .. } | Run::Ended(_), Phase::Open | Phase::Stopped | Phase::Cancelled)
            | (Run::Started { .. }, Phase::Open | Phase::Stopped) => Owed::Nothing,
        }
    }

    /// The place's device is gone. What it was offered it may have noted: its place stays taken.
    pub fn offline(&mut self, place: usize) {
        self.ready.remove(&place);
    }

    /// The next run to offer, which counts as offered from now on: make that durable, then send it. Ask until it says `None`, or as
    /// many are unanswered as the [`Pace`] allows.
    pub fn take(&mut self, now: Timestamp) -> Option<usize> {
        let roomy = self.taken.len() < self.plan.places(self.wave) && self.unanswered < OFFERS_UNANSWERED_MAX;
        if self.phase != Phase::Open || !self.plan.is_open(now) || !roomy || self.missed().is_some() {
            return None;
        }
        let place = self.ready.pop_first()?;
        let due = Plan::offer_due(now);
        self.set(place, Run::Offered { due });
        self.due.insert((due, place));
        self.taken.insert(place);
        self.unanswered += 1;
        Some(place)
    }

    /// May this run start, now that its device has said that it is about to? The answer must be in the log before the device
    /// hears it.
    ///
    /// # Errors
    /// Why not. What it said is recorded all the same, and permits nothing.
    pub fn may_start(&self, place: usize, now: Timestamp) -> Result<Heard, Withheld> {
        match (self.runs.get(place).copied().ok_or(Withheld::NoSuchPlace(place))?, self.phase) {
            (Run::Ended(outcome), Phase::Open | Phase::Stopped | Phase::Cancelled) => Err(Withheld::Ended(outcome)),
            (_, Phase::Cancelled) => Err(Withheld::Cancelled),
            (Run::Started { .. }, Phase::Open | Phase::Stopped) => Ok(Heard::Again),
            (Run::Waiting, Phase::Open | Phase::Stopped) => Err(Withheld::NotOffered),
            (Run::Offered { .. }, Phase::Stopped) => Err(Withheld::Stopped),
            (Run::Offered { .. }, Phase::Open) => match self.missed() {
                Some(_) => Err(Withheld::Stopped),
                None if !self.plan.is_open(now) => Err(Withheld::OutsideWindow),
                None => Ok(Heard::First),
            },
        }
    }

    /// The intent of this run is recorded.
    pub fn started(&mut self, place: usize, now: Timestamp) {
        let Some(Run::Offered { due }) = self.runs.get(place).copied() else { return };
        self.answered(place, due);
        let due = self.plan.run_due(now);
        self.set(place, Run::Started { due });
        self.due.insert((due, place));
        self.open_waves();
    }

    /// The device said how this run ended, or refused it. Its word replaces what was inferred here.
    ///
    /// # Errors
    /// When it said something else before, or was never offered it.
    pub fn ended(&mut self, place: usize, outcome: Outcome) -> Result<Heard, Withheld> {
        match self.runs.get(place).copied().ok_or(Withheld::NoSuchPlace(place))? {
            Run::Waiting => return Err(Withheld::NotOffered),
            Run::Offered { due } => self.answered(place, due),
            Run::Started { due } => self.forget_due(place, due),
            Run::Ended(said) if said == outcome => return Ok(Heard::Again),
            Run::Ended(inferred @ (Outcome::NotStarted | Outcome::Expired)) => self.unsettle(place, inferred),
            Run::Ended(said) => return Err(Withheld::Ended(said)),
        }
        self.taken.insert(place);
        self.set(place, Run::Ended(outcome));
        self.settle(outcome);
        self.open_waves();
        Ok(Heard::First)
    }

    /// Time has passed: what is overdue counts as missed, and behind the window's end whatever has not started has expired.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some((due, place)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, place));
            if matches!(self.runs.get(place), Some(Run::Offered { .. })) {
                self.unanswered = self.unanswered.saturating_sub(1);
            }
            self.overdue.insert(place);
        }
        self.open_waves();
        if self.plan.is_past(now) {
            self.end_unstarted(Outcome::Expired);
        }
    }

    /// When to ask [`Job::tick`] and [`Job::take`] again although nothing happened.
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.due.first().map(|(due, _)| *due);
        let window = self.plan.next_edge(now).filter(|_| self.unstarted > 0);
        due.into_iter().chain(window).min()
    }

    /// Why no further run may begin, while the job is open and the stop rule holds: record it, then [`Job::stop`]. It holds at
    /// once, recorded or not.
    pub fn missed(&self) -> Option<Missed> {
        let places = self.plan.places(self.wave) as u64;
        let tolerated = self.plan.tolerated(places).filter(|_| self.phase == Phase::Open)?;
        let runs = self.missed.saturating_add(self.overdue.len() as u64);
        (runs > tolerated).then_some(Missed { runs, places, tolerated })
    }

    /// The stop rule holds, and that is recorded: what has not started never will.
    pub fn stop(&mut self) {
        if self.phase == Phase::Open {
            self.call_off(Phase::Stopped);
        }
    }

    /// A person called it off, and that is recorded: what has not started never will. The started runs, to be told so.
    pub fn cancel(&mut self) -> Vec<usize> {
        self.call_off(Phase::Cancelled);
        let started = (0..).zip(&self.runs).filter(|(_, run)| matches!(run, Run::Started { .. }));
        started.map(|(place, _)| place).collect()
    }

    /// Whether nothing more is waited for. The result of an overdue run may still come, and counts.
    pub fn is_over(&self) -> bool {
        self.unstarted == 0 && self.due.is_empty()
    }

    /// How many runs stand where.
    pub fn standing(&self) -> Standing {
        let mut standing = Standing { overdue: self.overdue.len() as u64, ..Standing::default() };
        for run in &self.runs {
            match run {
                Run::Waiting => standing.waiting += 1,
                Run::Offered { .. } => standing.offered += 1,
                Run::Started { .. } => standing.started += 1,
                Run::Ended(outcome) => *standing.ended.entry(*outcome).or_default() += 1,
            }
        }
        standing
    }

    /// The places of a new order that does again what failed, expired or never began, and nothing else.
    ///
    /// # Errors
    /// While runs may still begin or end.
    pub fn retry(&self) -> Result<Vec<usize>, Withheld> {
        if !self.is_over() {
            return Err(Withheld::NotOver);
        }
        let again = (0..).zip(&self.runs).filter(|(_, run)| match run {
            Run::Ended(outcome) => outcome.is_retried(),
            Run::Waiting | Run::Offered { .. } | Run::Started { .. } => false,
        });
        Ok(again.map(|(place, _)| place).collect())
    }

    fn set(&mut self, place: usize, run: Run) {
        let Some(slot) = self.runs.get_mut(place) else { return };
        self.unstarted -= usize::from(is_unstarted(*slot));
        self.unstarted += usize::from(is_unstarted(run));
        *slot = run;
    }

    fn call_off(&mut self, phase: Phase) {
        self.phase = phase;
        self.end_unstarted(Outcome::NotStarted);
    }

    /// Ends every run that has not started: none of them ever got a receipt.
    fn end_unstarted(&mut self, outcome: Outcome) {
        for place in 0..self.runs.len() {
            match self.runs.get(place).copied() {
                Some(Run::Waiting) => {}
                Some(Run::Offered { due }) => {
                    self.answered(place, due);
                    self.settle(outcome);
                }
                Some(Run::Started { .. } | Run::Ended(_)) | None => continue,
            }
            self.set(place, Run::Ended(outcome));
        }
        self.ready.clear();
    }

    /// An offered run is offered no more.
    fn answered(&mut self, place: usize, due: Timestamp) {
        if !self.overdue.contains(&place) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.forget_due(place, due);
    }

    fn forget_due(&mut self, place: usize, due: Timestamp) {
        self.due.remove(&(due, place));
        self.overdue.remove(&place);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.settled += 1;
        self.missed += u64::from(is_miss(outcome));
    }

    /// Takes back what was inferred of a run.
    fn unsettle(&mut self, place: usize, inferred: Outcome) {
        if self.taken.contains(&place) {
            self.settled = self.settled.saturating_sub(1);
            self.missed = self.missed.saturating_sub(u64::from(is_miss(inferred)));
        }
    }

    /// Opens the next wave when as many are done as this one reaches and not too many missed: judged before it opens, for
    /// the next one tolerates more.
    fn open_waves(&mut self) {
        let done = self.settled.saturating_add(self.overdue.len() as u64);
        while done >= self.plan.places(self.wave) as u64 && self.missed().is_none() && self.plan.has_wave(self.wave + 1)
        {
            self.wave += 1;
        }
    }
}

#[cfg(test)]
mod tests;
