//! The job's rules as tables: waves, stop rule, window, cancel, overdue devices, retry, and a job that is restored.

mod walk;

use super::*;
use crate::limits::{OFFER_SECONDS_MAX, RESULT_GRACE_SECONDS};
use belay_certs::order::{Order, Waves};
use belay_certs::runbook::Runbook;
use belay_certs::time::SECOND;
use belay_certs::{Digest, Id};
use std::collections::BTreeMap;

const SCRIPT: &str = "#!/bin/sh\n# /// belay\n# name = \"x\"\n# description = \"y\"\n# issued = 2026-11-21T09:00:00Z\n# timeout = \"100s\"\n# ///\n";

/// Seconds into the window, which is open from 0 to 900.
fn at(seconds: i64) -> Timestamp {
    "2026-11-23T10:00:00Z".parse::<Timestamp>().unwrap().plus(seconds * SECOND)
}

fn plan(devices: u64, waves: &str, stop_above: &str) -> Plan {
    let shares = waves.split_whitespace().map(|share| share.parse().unwrap()).collect();
    let order = Order {
        tenant: "acme".parse().unwrap(),
        id: Id([7; 16]),
        runbook: "x".parse().unwrap(),
        version: Digest::of(SCRIPT.as_bytes()),
        account: "root".parse().unwrap(),
        ticket: None,
        issued: at(0),
        not_before: at(0),
        not_after: at(900),
        policy_version: 0,
        policy: Digest::of(b""),
        devices,
        devices_root: Digest::of(b""),
        waves: Waves::of(shares, devices).unwrap(),
        stop_above: stop_above.parse().ok(),
        timeout: None,
        secrets: Vec::new(),
        output_to: Vec::new(),
        arguments: Default::default(),
    };
    Plan::of(&order, &Runbook::parse(SCRIPT.as_bytes()).unwrap())
}

/// A job whose devices are all there.
fn job(devices: u64, waves: &str, stop_above: &str) -> Job {
    let mut job = Job::new(plan(devices, waves, stop_above));
    (0..job.runs.len()).for_each(|place| assert_eq!(job.online(place, at(0)), Owed::Nothing));
    job
}

/// Everything that may be offered now.
fn take(job: &mut Job, seconds: i64) -> Vec<usize> {
    std::iter::from_fn(|| job.take(at(seconds))).collect()
}

/// These start and end at once.
fn run(job: &mut Job, places: &[usize], outcome: Outcome) {
    for place in places {
        assert_eq!(job.may_start(*place, at(1)), Ok(Heard::First));
        job.started(*place, at(1));
        assert_eq!(job.ended(*place, outcome), Ok(Heard::First));
    }
}

#[test]
fn waves_open_one_after_the_other_when_as_many_are_done() {
    let mut job = job(30, "1 10% 100%", "");
    assert_eq!(take(&mut job, 0), [0]);
    job.started(0, at(0));
    assert_eq!(take(&mut job, 1), [0_usize; 0], "it is not done");
    assert_eq!(job.ended(0, Outcome::Succeeded), Ok(Heard::First));
    assert_eq!(take(&mut job, 1), [1, 2]);
    run(&mut job, &[1], Outcome::Failed);
    assert!(take(&mut job, 1).is_empty());
    run(&mut job, &[2], Outcome::Succeeded);
    assert_eq!(take(&mut job, 1), (3..30).collect::<Vec<_>>(), "without a stop rule a failure stops nothing");
}

#[test]
fn who_is_not_there_takes_no_place_and_holds_nobody_up() {
    let mut job = Job::new(plan(10, "2 100%", ""));
    job.online(7, at(0));
    job.online(9, at(0));
    job.online(3, at(0));
    job.offline(3);
    assert_eq!(take(&mut job, 0), [7, 9]);
    run(&mut job, &[7, 9], Outcome::Succeeded);
    assert!(take(&mut job, 1).is_empty());
    job.online(3, at(2));
    assert_eq!(take(&mut job, 2), [3], "it came later, within the window");
}

#[test]
fn the_stop_rule_is_judged_by_what_the_open_waves_reach() {
    for (waves, stop_above, outcomes, stops) in [
        ("1 100%", "5%", "F", true),
        ("1 100%", "5%", "S", false),
        ("100%", "5%", "F", false),
        ("100%", "5%", "FFFFF", false),
        ("100%", "5%", "FFFFFF", true),
        ("100%", "0%", "F", true),
        ("100%", "3", "FFF", false),
        ("100%", "3", "FFFF", true),
        ("1 10 100%", "10%", "F", true),
        ("10 100%", "10%", "SF", false),
        ("10 100%", "10%", "SFF", true),
        ("100%", "1", "TR", true),
        ("100%", "1", "FI", true),
        ("100%", "1", "FCNE", false),
        ("100%", "", "FFFFFFFFFFFF", false),
    ] {
        let mut job = job(100, waves, stop_above);
        for letter in outcomes.chars() {
            let place = job.take(at(1)).unwrap();
            let outcome = match letter {
                'S' => Outcome::Succeeded,
                'F' => Outcome::Failed,
                'T' => Outcome::TimedOut,
                'R' => Outcome::Refused,
                'I' => Outcome::Interrupted,
                'C' => Outcome::Cancelled,
                'N' => Outcome::NotStarted,
                _ => Outcome::Expired,
            };
            job.ended(place, outcome).unwrap();
        }
        assert_eq!(job.missed().is_some(), stops, "{waves} / {stop_above} / {outcomes}");
        assert_eq!(job.take(at(2)).is_none(), stops, "{waves} / {stop_above} / {outcomes}");
    }
}

#[test]
fn a_stop_holds_before_it_is_recorded_and_what_runs_goes_on() {
    let mut job = job(10, "100%", "10%");
    assert_eq!(take(&mut job, 0).len(), 10);
    job.started(5, at(0));
    for place in [0, 1] {
        job.started(place, at(0));
        job.ended(place, Outcome::Failed).unwrap();
    }
    assert_eq!(job.missed(), Some(Missed { runs: 2, places: 10, tolerated: 1 }));
    assert_eq!(job.may_start(2, at(1)), Err(Withheld::Stopped), "offered, and its intent came too late");
    assert_eq!(job.may_start(5, at(1)), Ok(Heard::Again), "its receipt was lost");
    job.stop();
    assert_eq!((job.phase(), job.missed()), (Phase::Stopped, None));
    assert_eq!(job.may_start(2, at(1)), Err(Withheld::Ended(Outcome::NotStarted)));
    assert_eq!(job.online(2, at(1)), Owed::Nothing);
    assert_eq!(job.online(5, at(1)), Owed::Nothing);
    assert!(!job.is_over(), "one still runs");
    job.ended(5, Outcome::Succeeded).unwrap();
    assert!(job.is_over());
    assert_eq!(job.retry().unwrap(), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
}

#[test]
fn a_cancel_lets_nobody_start_and_names_who_must_be_told() {
    let mut job = job(5, "3 100%", "");
    assert_eq!(take(&mut job, 0), [0, 1, 2]);
    job.started(0, at(0));
    job.started(1, at(0));
    job.ended(1, Outcome::Succeeded).unwrap();
    assert_eq!(job.cancel(), [0]);
    assert!(take(&mut job, 0).is_empty());
    assert_eq!(job.may_start(2, at(0)), Err(Withheld::Ended(Outcome::NotStarted)));
    assert_eq!(job.may_start(0, at(0)), Err(Withheld::Cancelled), "no second receipt for what was called off");
    job.offline(0);
    assert_eq!(job.online(0, at(1)), Owed::Cancel, "it was away when it was called off");
    assert_eq!(job.ended(0, Outcome::Cancelled), Ok(Heard::First));
    assert_eq!(job.ended(2, Outcome::NotStarted), Ok(Heard::Again), "the device says the same");
    assert!(job.is_over());
    let ended = [(Outcome::Succeeded, 1), (Outcome::Cancelled, 1), (Outcome::NotStarted, 3)];
    assert_eq!(job.standing(), Standing { ended: BTreeMap::from(ended), ..Standing::default() });
    assert_eq!(job.retry().unwrap(), [2, 3, 4], "what was ended half-way is not run again by itself");
}

#[test]
fn nothing_begins_outside_the_window_and_what_runs_may_end_behind_it() {
    let mut job = job(4, "100%", "");
    assert!(take(&mut job, -1).is_empty());
    assert_eq!(job.wake_at(at(-1)), Some(at(0)));
    job.offline(3);
    assert_eq!(take(&mut job, 890), [0, 1, 2]);
    job.started(0, at(890));
    assert_eq!(job.may_start(1, at(899)), Ok(Heard::First));
    assert_eq!(job.may_start(1, at(900)), Err(Withheld::OutsideWindow), "even before the clock was looked at");
    job.online(3, at(900));
    assert!(take(&mut job, 900).is_empty());
    job.tick(at(900));
    assert_eq!(job.runs()[1..], [Run::Ended(Outcome::Expired); 3]);
    assert!(!job.is_over());
    job.ended(0, Outcome::Succeeded).unwrap();
    assert!(job.is_over() && job.wake_at(at(901)).is_none());
    assert_eq!(job.retry().unwrap(), [1, 2, 3]);
}

#[test]
fn who_does_not_answer_counts_as_missed_until_they_do() {
    let mut job = job(5, "1 100%", "");
    assert_eq!(take(&mut job, 0), [0]);
    assert_eq!(job.wake_at(at(0)), Some(at(OFFER_SECONDS_MAX)));
    job.tick(at(OFFER_SECONDS_MAX));
    assert_eq!(job.standing().overdue, 1);
    assert_eq!(take(&mut job, 61), [1, 2, 3, 4], "nobody is held up for ever");
    assert_eq!(job.may_start(0, at(62)), Ok(Heard::First), "late, and in its place");
    job.started(0, at(62));
    assert_eq!(job.standing().overdue, 0);
    let overdue = 62 + 100 + RESULT_GRACE_SECONDS;
    for place in 1..5 {
        job.ended(place, Outcome::Succeeded).unwrap();
    }
    job.tick(at(overdue - 1));
    assert!(!job.is_over());
    job.tick(at(overdue));
    assert!(job.is_over(), "nothing more is waited for");
    assert_eq!(job.retry().unwrap(), [0_usize; 0], "what is unknown is not run again by itself");
    assert_eq!(job.ended(0, Outcome::Succeeded), Ok(Heard::First), "and its result is kept when it comes");
    assert_eq!(job.standing().overdue, 0);

    let mut strict = self::job(5, "1 100%", "10%");
    strict.take(at(0)).unwrap();
    strict.tick(at(OFFER_SECONDS_MAX));
    assert!(strict.missed().is_some(), "a canary that says nothing is no success");
}

#[test]
fn a_device_that_was_away_is_offered_the_same_again() {
    let mut job = job(3, "100%", "");
    assert_eq!(take(&mut job, 0), [0, 1, 2]);
    job.offline(1);
    assert_eq!(job.online(1, at(5)), Owed::Offer);
    assert!(take(&mut job, 5).is_empty(), "it kept its place");
    assert_eq!(job.online(1, at(900)), Owed::Nothing, "the window is over");
}

#[test]
fn a_device_knows_better_than_what_was_inferred() {
    let mut job = job(3, "1 100%", "");
    assert_eq!(take(&mut job, 0), [0]);
    job.cancel();
    for (place, done) in [(0, 1), (2, 2)] {
        assert_eq!(job.runs()[place], Run::Ended(Outcome::NotStarted));
        assert_eq!(job.ended(place, Outcome::Failed), Ok(Heard::First), "a gateway that was put back knows too little");
        assert_eq!((job.settled, job.missed), (done, done));
    }
    assert_eq!(job.ended(2, Outcome::Succeeded), Err(Withheld::Ended(Outcome::Failed)), "and it says it once");
}

#[test]
fn each_run_starts_once_and_ends_once() {
    let mut job = job(2, "1 100%", "");
    assert_eq!(job.may_start(1, at(0)), Err(Withheld::NotOffered));
    assert_eq!(job.ended(1, Outcome::Succeeded), Err(Withheld::NotOffered));
    assert_eq!(job.may_start(2, at(0)), Err(Withheld::NoSuchPlace(2)));
    take(&mut job, 0);
    run(&mut job, &[0], Outcome::Succeeded);
    assert_eq!(job.may_start(0, at(1)), Err(Withheld::Ended(Outcome::Succeeded)));
    assert_eq!(job.ended(0, Outcome::Succeeded), Ok(Heard::Again));
    assert_eq!(job.ended(0, Outcome::Failed), Err(Withheld::Ended(Outcome::Succeeded)));
    job.started(0, at(1));
    assert_eq!(job.runs()[0], Run::Ended(Outcome::Succeeded));
}

#[test]
fn a_job_of_ten_thousand_offers_a_bounded_number_at_once() {
    let mut job = job(10_000, "100%", "");
    let first = take(&mut job, 0);
    assert_eq!(first.len(), OFFERS_UNANSWERED_MAX);
    job.started(first[0], at(0));
    assert_eq!(take(&mut job, 0), [OFFERS_UNANSWERED_MAX], "who has started needs no place there");
    job.ended(first[1], Outcome::Refused).unwrap();
    assert_eq!(take(&mut job, 0).len(), 1);
}

#[test]
fn a_restored_job_goes_on_where_it_was() {
    let mut job = job(30, "1 3 10 100%", "10");
    assert_eq!(take(&mut job, 0), [0]);
    run(&mut job, &[0], Outcome::Failed);
    assert_eq!(take(&mut job, 0), [1, 2]);
    run(&mut job, &[1, 2], Outcome::Succeeded);
    assert_eq!(take(&mut job, 0).len(), 7);
    job.started(3, at(0));
    let kept = |job: &Job| {
        let runs = (0..).zip(job.runs().to_vec()).filter(|(_, run)| *run != Run::Waiting);
        runs.collect::<Vec<(usize, Run)>>()
    };
    let mut restored = Job::restore(plan(30, "1 3 10 100%", "10"), Phase::Open, kept(&job)).unwrap();
    assert_eq!((restored.runs(), restored.standing()), (job.runs(), job.standing()));
    assert!(take(&mut restored, 1).is_empty(), "nobody is there");
    for place in 0..30 {
        let owed = restored.online(place, at(1));
        assert_eq!(owed, if (4..10).contains(&place) { Owed::Offer } else { Owed::Nothing }, "{place}");
    }
    assert!(take(&mut restored, 1).is_empty(), "the third wave is full");
    restored.started(4, at(1));
    (3..10).for_each(|place| assert!(restored.ended(place, Outcome::Succeeded).is_ok()));
    assert_eq!(take(&mut restored, 2).len(), 20);

    let mut cancelled = Job::restore(plan(30, "1 3 10 100%", "10"), Phase::Cancelled, kept(&job)).unwrap();
    assert_eq!((cancelled.online(4, at(1)), cancelled.online(3, at(1))), (Owed::Nothing, Owed::Cancel));
    assert_eq!(cancelled.may_start(4, at(1)), Err(Withheld::Ended(Outcome::NotStarted)));
    assert!(matches!(
        Job::restore(plan(3, "100%", ""), Phase::Open, [(3, Run::Waiting)]),
        Err(Withheld::NoSuchPlace(3))
    ));
}

#[test]
fn a_restored_job_does_not_judge_early_waves_by_late_misses() {
    let runs = (0..50).map(|place| {
        let outcome = if place >= 47 { Outcome::Failed } else { Outcome::Succeeded };
        (place, Run::Ended(outcome))
    });
    let mut job = Job::restore(plan(100, "1 10 100%", "10%"), Phase::Open, runs).unwrap();
    job.tick(at(1));
    assert_eq!(job.missed(), None, "3 of 100 are tolerated, although of the first wave none was");
}

#[test]
fn a_retry_waits_for_the_end() {
    let mut job = job(2, "100%", "");
    assert_eq!(job.retry(), Err(Withheld::NotOver));
    take(&mut job, 0);
    run(&mut job, &[0], Outcome::Interrupted);
    run(&mut job, &[1], Outcome::TimedOut);
    assert_eq!(job.retry().unwrap(), [1]);
}
