//! Random walks through a job: whatever happens in whatever order, what must hold holds.

use super::*;
use std::collections::BTreeSet;

/// Marsaglia's xorshift64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// One job, and what its devices know.
struct Walk {
    chance: Chance,
    waves: &'static str,
    stop_above: &'static str,
    devices: u64,
    job: Job,
    /// Seconds into the window.
    now: i64,
    /// Devices that were sent the offer.
    offered: BTreeSet<usize>,
    /// Devices that have a receipt.
    permitted: BTreeSet<usize>,
    /// Devices that ran it, and how that ended.
    ran: BTreeMap<usize, Outcome>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let waves = ["100%", "1 100%", "1 10% 100%", "2 5 50% 100%"][chance.below(4)];
        let stop_above = ["", "0", "2", "20%"][chance.below(4)];
        let devices = 10 + chance.below(30) as u64;
        let job = Job::new(plan(devices, waves, stop_above));
        let (offered, permitted, ran) = Default::default();
        Self { chance, waves, stop_above, devices, job, now: 0, offered, permitted, ran }
    }

    fn place(&mut self) -> usize {
        let devices = self.devices as usize;
        self.chance.below(devices)
    }

    fn step(&mut self) {
        let place = self.place();
        match self.chance.below(100) {
            0..25 => {
                let owed = self.job.online(place, at(self.now));
                assert!(owed != Owed::Offer || self.offered.contains(&place), "only again");
            }
            25..30 => self.job.offline(place),
            30..50 => self.offered.extend(self.job.take(at(self.now))),
            50..75 => self.intent(place),
            75..90 => self.end(place),
            90..96 => {
                self.now += self.chance.below(20) as i64;
                self.job.tick(at(self.now));
            }
            96..98 => self.restart(),
            98 if self.chance.below(40) == 0 => drop(self.job.cancel()),
            _ if self.job.missed().is_some() => self.job.stop(),
            _ => {}
        }
    }

    /// Any device may say at any time that it is about to start; a lost receipt makes it say so again.
    fn intent(&mut self, place: usize) {
        let held = self.job.missed().is_some() || self.job.phase() != Phase::Open;
        match self.job.may_start(place, at(self.now)) {
            Ok(Heard::First) => {
                assert!(!held, "nobody begins once it stopped");
                assert!(self.now < 900 && self.offered.contains(&place));
                self.job.started(place, at(self.now));
                assert!(self.permitted.insert(place), "one start a device");
            }
            Ok(Heard::Again) => assert!(self.permitted.contains(&place)),
            Err(_) => {}
        }
    }

    fn end(&mut self, place: usize) {
        if !self.permitted.contains(&place) || self.ran.contains_key(&place) {
            return;
        }
        let outcome =
            [Outcome::Succeeded, Outcome::Failed, Outcome::TimedOut, Outcome::Interrupted][self.chance.below(4)];
        assert_eq!(self.job.ended(place, outcome), Ok(Heard::First), "no result is lost");
        self.ran.insert(place, outcome);
    }

    /// The gateway dies; what was durable comes back.
    fn restart(&mut self) {
        let phase = self.job.phase();
        let never = |place: &usize| !self.offered.contains(place);
        let kept = (0..).zip(self.job.runs().to_vec()).filter(|(place, run)| *run != Run::Waiting && !never(place));
        self.job =
            Job::restore(plan(self.devices, self.waves, self.stop_above), phase, kept.collect::<Vec<_>>()).unwrap();
        self.job.tick(at(self.now));
    }

    fn check(&self) {
        let gates =
            Waves::of(self.waves.split_whitespace().map(|s| s.parse().unwrap()).collect(), self.devices).unwrap();
        let gates = gates.gates(self.devices);
        assert!(gates[self.job.wave] >= self.offered.len() as u64, "no wave is overrun");
        for (place, run) in (0..).zip(self.job.runs()) {
            match run {
                Run::Started { .. } => assert!(self.permitted.contains(&place)),
                Run::Ended(outcome) if self.ran.contains_key(&place) => assert_eq!(self.ran[&place], *outcome),
                Run::Ended(outcome) => assert!(matches!(outcome, Outcome::NotStarted | Outcome::Expired)),
                Run::Waiting | Run::Offered { .. } => assert!(!self.permitted.contains(&place)),
            }
        }
        let standing = self.job.standing();
        let all = standing.waiting + standing.offered + standing.started + standing.ended.values().sum::<u64>();
        assert_eq!(all, self.devices);
        assert_eq!(self.job.unstarted as u64, standing.waiting + standing.offered);
        assert!(standing.overdue <= standing.offered + standing.started);
        let offered = (0..).zip(self.job.runs()).filter(|(_, run)| matches!(run, Run::Offered { .. }));
        let answered = |(place, _): &(usize, &Run)| !self.job.overdue.contains(place);
        assert_eq!(self.job.unanswered, offered.filter(answered).count());
        let taken_and_ended =
            self.offered.iter().filter(|place| matches!(self.job.runs()[**place], Run::Ended(_))).count();
        assert_eq!(self.job.settled, taken_and_ended as u64);
    }
}

#[test]
fn whatever_happens_nobody_starts_twice_or_out_of_turn_and_no_result_is_lost() {
    let (mut started, mut over) = (0, 0);
    for seed in 1..=400 {
        let mut walk = Walk::new(seed);
        for _ in 0..600 {
            walk.step();
            walk.check();
        }
        walk.now = 100_000;
        walk.job.tick(at(walk.now));
        assert!(walk.job.is_over(), "seed {seed}: everything has an end");
        started += walk.permitted.len();
        over += walk.ran.len();
    }
    assert!(started > 1_000 && over > 500, "{started} started, {over} ended");
}
