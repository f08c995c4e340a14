//! Seeded walks of one agent and one gateway: kills at every step of both, writes that fail or happen unreported, messages
//! that are lost, late or doubled. No id starts twice, every noted run ends, every result is held until it is acknowledged.
//!
//! The agent's journal, chain, ledger and delivery are the real ones; the gateway is the least that answers them rightly.

use super::super::*;
use crate::{
    delivery::Delivery,
    journal::{encode, replay},
    statement_chain::{
        StatementChain,
        tests::{id, made},
    },
};
use gateway::{Dice, Down, Gateway, Up};
use std::collections::{BTreeMap, BTreeSet};

mod gateway;

const ORDERS: u64 = 12;
/// Steps with faults in each walk; then the faults end, and all must come to its end.
const STEPS: usize = 600;
const WALKS: u64 = 400;
const OUTPUT_BYTES: u64 = 10;

/// The machine: what is on its disk, what its processes did, and the agent in its memory.
#[derive(Default)]
struct Machine {
    journal: Vec<u8>,
    /// Output files, by order: removed only when the run is forgotten.
    files: BTreeMap<Id, u64>,
    /// How often each script began. What no crash takes back.
    starts: BTreeMap<Id, u32>,
    noted: BTreeSet<Id>,
    chain: StatementChain,
    delivery: Delivery,
    /// Scripts that this life of the agent sees running.
    running: BTreeSet<Id>,
    /// What the gateway said it keeps, in this life.
    acknowledged: BTreeMap<Id, u64>,
}

/// The agent died.
struct Killed;

impl Machine {
    /// Writes as the outbox does, with its faults: nothing of it, half of it, or all of it and then the end.
    fn commit(&mut self, lines: &[Line], dice: &mut Option<&mut Dice>) -> Result<(), Killed> {
        let record = encode(lines).unwrap().into_bytes();
        if let Some(dice) = dice {
            match dice.roll(80) {
                0 => return Err(Killed),
                1 => {
                    let half = dice.roll(record.len() as u64) as usize;
                    self.journal.extend_from_slice(&record[..half]);
                    return Err(Killed);
                }
                2 => {
                    self.journal.extend_from_slice(&record);
                    self.mark(lines);
                    return Err(Killed);
                }
                _ => {}
            }
        }
        self.journal.extend_from_slice(&record);
        self.mark(lines);
        lines.iter().for_each(|line| self.chain.apply(line).unwrap());
        Ok(())
    }

    fn mark(&mut self, lines: &[Line]) {
        for line in lines {
            if let Line::RunNoted { order, .. } = line {
                self.noted.insert(*order);
            }
        }
    }

    fn next(&self, what: What, order: Id) -> Made {
        let seq = self.chain.position().seq + 1;
        let mut next = made(seq, what, 0);
        next.statement.text = format!("{seq} {what:?} {order}");
        Made { session: order, ..next }
    }

    /// Dies and comes back: memory is what the journal says, and what was left behind is settled.
    fn restart(&mut self, now: Timestamp, dice: &mut Option<&mut Dice>) -> Result<(), Killed> {
        let replayed = replay(&self.journal).unwrap();
        self.journal.truncate(replayed.whole_bytes);
        (self.chain, self.delivery) = (replayed.chain, Delivery::default());
        self.running.clear();
        self.acknowledged.clear();
        if dice.as_mut().is_some_and(|dice| dice.one_in(4)) {
            self.journal = encode(&self.chain.snapshot()).unwrap().into_bytes();
        }
        let left: Vec<Id> = self.files.keys().copied().filter(|order| !self.chain.runs().holds_files(*order)).collect();
        self.files.retain(|order, _| !left.contains(order));
        for (order, found) in self.chain.runs().found(now) {
            match found {
                Found::Interrupted | Found::Expired => self.end(order, dice)?,
                Found::Noted | Found::Ended { .. } => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, order: Id, dice: &mut Option<&mut Dice>) -> Result<(), Killed> {
        self.running.remove(&order);
        let end = Line::Made(self.next(What::RunEnded, order));
        self.commit(&[end], dice)
    }

    fn hear(&mut self, down: &Down, now: Timestamp, dice: &mut Option<&mut Dice>) -> Result<(), Killed> {
        match *down {
            Down::Offer { order, not_after } => self.offered(order, not_after, now, dice)?,
            Down::Receipt { statement, starts } => {
                let Some(said) = self.chain.pending_by_id(statement).cloned() else { return Ok(()) };
                self.answered(&said, starts, now, dice)?;
                self.delivery.answered(said.seq);
            }
            Down::Cancel(order) if self.chain.runs().is_under_way(order) => self.end(order, dice)?,
            Down::Cancel(_) => {}
            Down::Kept { order, offset } => {
                self.acknowledged.insert(order, offset);
            }
        }
        Ok(())
    }

    fn offered(
        &mut self,
        order: Id,
        not_after: Timestamp,
        now: Timestamp,
        dice: &mut Option<&mut Dice>,
    ) -> Result<(), Killed> {
        let note = self.chain.runs().note(order, not_after, 0, now);
        let lines = match note {
            Ok(note) => {
                self.files.entry(order).or_default();
                note.with(self.next(What::RunStarted, order)).unwrap()
            }
            Err(no) if no.is_said() => {
                self.chain.runs().refused(order, not_after, self.next(What::RunRefused, order)).unwrap()
            }
            Err(_) => return Ok(()),
        };
        self.commit(&lines, dice)
    }

    fn answered(
        &mut self,
        said: &Made,
        starts: bool,
        now: Timestamp,
        dice: &mut Option<&mut Dice>,
    ) -> Result<(), Killed> {
        let (seq, order) = (said.seq, said.session);
        let done = Line::Done { seq };
        if said.what != What::RunStarted || self.chain.runs().stage(order) != Some(Stage::Noted) {
            return self.commit(&[done], dice);
        }
        if let Some(lines) = self.chain.runs().start(order, seq, now).filter(|_| starts) {
            self.commit(&lines, dice)?;
            *self.starts.entry(order).or_default() += 1;
            self.files.insert(order, OUTPUT_BYTES);
            self.running.insert(order);
            return Ok(());
        }
        let end = Line::Made(self.next(What::RunEnded, order));
        self.commit(&[end, done], dice)
    }

    /// What the agent does by itself: scripts end, windows close, files are forgotten, ids let go.
    fn tick(&mut self, now: Timestamp, gateway: &Gateway, dice: &mut Option<&mut Dice>) -> Result<(), Killed> {
        let over = match dice {
            Some(dice) => self.running.iter().copied().filter(|_| dice.one_in(4)).collect::<Vec<_>>(),
            None => self.running.iter().copied().collect(),
        };
        for order in over.into_iter().chain(self.chain.runs().expired(now)) {
            self.end(order, dice)?;
        }
        for (order, bytes) in self.files.clone() {
            let kept = self.acknowledged.get(&order).copied().unwrap_or_default();
            if let Some(line) = self.chain.runs().forget(order, bytes, kept) {
                self.commit(&[line], dice)?;
                assert!(gateway.ended.contains(&order), "forgotten before its end was recorded");
                assert!(gateway.output.get(&order).copied().unwrap_or_default() >= bytes, "output was lost");
                self.files.remove(&order);
            }
        }
        if let Some(line) = self.chain.runs().let_go(now) {
            self.commit(&[line], dice)?;
        }
        Ok(())
    }

    fn send(&mut self, now: u64) -> Vec<Up> {
        let mut ups = Vec::new();
        while let Some(made) = self.delivery.next(&self.chain, now) {
            ups.push(Up::Said(made.clone()));
        }
        if self.delivery.is_connected() {
            for (order, bytes) in &self.files {
                let from = self.acknowledged.get(order).copied().unwrap_or_default();
                if *bytes > from || !self.acknowledged.contains_key(order) {
                    ups.push(Up::Output { order: *order, from, to: (from + 3).min(*bytes) });
                }
            }
        }
        ups
    }
}

struct Walk {
    machine: Machine,
    gateway: Gateway,
    windows: BTreeMap<Id, Timestamp>,
    up: Vec<Up>,
    down: Vec<Down>,
    seconds: i64,
}

impl Walk {
    fn new() -> Self {
        let window = |order: u64| (id(order), Timestamp::from_seconds(60 + 40 * order as i64));
        let windows = (1..=ORDERS).map(window).collect();
        let (machine, gateway) = (Machine::default(), Gateway::default());
        Self { machine, gateway, windows, up: Vec::new(), down: Vec::new(), seconds: 0 }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.seconds)
    }

    /// One thing happens, in any order that a network and two programs allow.
    fn step(&mut self, dice: &mut Dice) -> Result<(), Killed> {
        let now = self.now();
        match dice.roll(12) {
            0 | 1 => {
                // Offers come at any time, also of what was forgotten, ended or let go.
                let order = id(1 + dice.roll(ORDERS));
                self.down.push(Down::Offer { order, not_after: self.windows[&order] });
            }
            2 if dice.one_in(3) => {
                let order = id(1 + dice.roll(ORDERS));
                self.gateway.called_off.insert(order);
                self.down.push(Down::Cancel(order));
            }
            3 => self.machine.delivery.connected(),
            4 if dice.one_in(3) => {
                self.machine.delivery.disconnected();
                self.up.clear();
                self.down.clear();
            }
            5 if dice.one_in(8) => return Err(Killed),
            6 => self.seconds += dice.roll(6) as i64,
            7 => self.machine.tick(now, &self.gateway, &mut Some(dice))?,
            8 | 9 if !self.up.is_empty() => {
                let at = dice.roll(self.up.len() as u64) as usize;
                let up = self.up[at].clone();
                if !dice.one_in(5) {
                    self.up.remove(at);
                }
                // A gateway killed before it recorded heard nothing; one killed after it did not answer.
                if !dice.one_in(8) {
                    let answer = self.gateway.hear(&up, now, &self.windows);
                    self.down.extend(answer.filter(|_| !dice.one_in(8)));
                }
            }
            10 | 11 if !self.down.is_empty() => {
                let at = dice.roll(self.down.len() as u64) as usize;
                let down = self.down[at].clone();
                if !dice.one_in(5) {
                    self.down.remove(at);
                }
                self.machine.hear(&down, now, &mut Some(dice))?;
            }
            _ => self.up.extend(self.machine.send(self.seconds as u64 * 1_000)),
        }
        Ok(())
    }

    /// Everything works again: what began comes to its end.
    fn settle(&mut self) {
        self.up.clear();
        self.down.clear();
        assert!(self.machine.restart(self.now(), &mut None).is_ok());
        self.machine.delivery.connected();
        for _ in 0..60 {
            self.seconds += 10;
            let now = self.now();
            assert!(self.machine.tick(now, &self.gateway, &mut None).is_ok());
            for up in self.machine.send(self.seconds as u64 * 1_000) {
                if let Some(down) = self.gateway.hear(&up, now, &self.windows) {
                    assert!(self.machine.hear(&down, now, &mut None).is_ok());
                }
            }
        }
    }

    fn check(&self, seed: u64) {
        for (order, starts) in &self.machine.starts {
            assert!(*starts <= 1, "seed {seed}: {order} started {starts} times");
            let mut intents = self.gateway.recorded.values().filter(|(said, _)| said.session == *order);
            assert!(intents.any(|(_, starts)| *starts), "seed {seed}: {order} started unproved");
        }
        for order in &self.machine.starts.keys().copied().collect::<Vec<_>>() {
            let held = self.machine.files.get(order) == Some(&OUTPUT_BYTES);
            let acknowledged = self.gateway.output.get(order) == Some(&OUTPUT_BYTES);
            let ended = self.gateway.ended.contains(order);
            assert!(held || (acknowledged && ended), "seed {seed}: the result of {order} is lost");
        }
    }
}

#[test]
fn no_id_starts_twice_every_noted_run_ends_and_every_result_is_held_until_acknowledged() {
    let (mut started, mut unstarted, mut kills) = (0, 0, 0);
    for seed in 1..=WALKS {
        let (mut walk, mut dice) = (Walk::new(), Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        for _ in 0..STEPS {
            let mut died = walk.step(&mut dice).is_err();
            while died {
                kills += 1;
                walk.up.clear();
                walk.down.clear();
                let now = walk.now();
                died = walk.machine.restart(now, &mut Some(&mut dice)).is_err();
            }
            walk.check(seed);
        }
        walk.settle();
        walk.check(seed);
        let Walk { machine, gateway, .. } = &walk;
        for order in &machine.noted {
            assert!(gateway.ended.contains(order), "seed {seed}: {order} was noted and has no end");
        }
        assert_eq!(machine.chain.pending_count(), 0, "seed {seed}");
        assert!(machine.files.is_empty(), "seed {seed}: {:?} is held for nobody", machine.files);
        assert_eq!(machine.chain.runs().under_way(), 0, "seed {seed}");
        started += machine.starts.len();
        unstarted += machine.noted.len() - machine.starts.len();
    }
    // The walks go where they should.
    assert!(started > 500 && unstarted > 500 && kills > 2_000, "{started} started, {unstarted} not, {kills} kills");
}
