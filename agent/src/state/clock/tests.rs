//! A clock set back is found out, one set right counts at once, and one that ran ahead shuts nothing for good.

use super::*;
use belay_certs::time::DAY;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// The hands of a clock that a test sets, in microseconds.
struct Hands {
    wall: Arc<AtomicI64>,
    passed: Arc<AtomicI64>,
}

impl Hands {
    fn set(&self, to: Timestamp) {
        self.wall.store(to.micros(), Ordering::Relaxed);
    }

    /// Time goes by, and the clock goes with it.
    fn pass(&self, seconds: i64) {
        self.wall.fetch_add(seconds * SECOND, Ordering::Relaxed);
        self.passed.fetch_add(seconds * SECOND, Ordering::Relaxed);
    }
}

fn open(dir: &Path, start: Timestamp) -> (Clock, Hands) {
    let hands = Hands { wall: Arc::new(AtomicI64::new(start.micros())), passed: Arc::default() };
    let (wall, passed) = (hands.wall.clone(), hands.passed.clone());
    let source = Source {
        wall: Box::new(move || Timestamp::from_micros(wall.load(Ordering::Relaxed))),
        passed: Box::new(move || Duration::from_micros(passed.load(Ordering::Relaxed).unsigned_abs())),
    };
    (Clock::open_with(dir.join("clock"), source).unwrap(), hands)
}

/// A clock in `dir` that a test sets through the number returned, in microseconds.
pub(crate) fn set_by_hand(dir: &Path, start: Timestamp) -> (Clock, Arc<AtomicI64>) {
    let (clock, hands) = open(dir, start);
    (clock, hands.wall)
}

fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A clock at noon, confirmed by the gateway, with noon as its durable mark.
fn marked(dir: &Path) -> (Clock, Hands) {
    let (clock, hands) = open(dir, noon());
    clock.gateway_says(noon());
    clock.keep_mark().unwrap();
    (clock, hands)
}

#[test]
fn the_next_minute_is_always_ahead_and_never_more_than_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hands) = open(dir.path(), noon());
    for (now, micros) in [
        ("2026-11-21T12:00:00Z", 60_000_000),
        ("2026-11-21T12:00:00.000001Z", 59_999_999),
        ("2026-11-21T12:00:59.999999Z", 1),
        ("2026-12-31T23:59:58Z", 2_000_000),
    ] {
        hands.set(now.parse().unwrap());
        assert_eq!(clock.to_next_minute(), Duration::from_micros(micros), "{now}");
    }
}

#[test]
fn a_clock_behind_a_verified_document_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hands) = open(dir.path(), noon());
    clock.verified(noon().plus(3_600 * SECOND));
    assert!(matches!(clock.check(), Err(Refusal::Clock { .. })));
    hands.set(noon().plus(3_601 * SECOND));
    clock.check().unwrap();
}

#[test]
fn a_clock_set_back_over_a_restart_is_found_out_and_the_mark_is_named() {
    let dir = tempfile::tempdir().unwrap();
    marked(dir.path());
    let (clock, hands) = open(dir.path(), noon().plus(-3_600 * SECOND));
    let refused = clock.check().unwrap_err();
    assert_eq!(refused.word(), "clock");
    assert!(refused.to_string().contains("high-water mark is 2026-11-21T12:00:00Z"), "{refused}");
    clock.keep_mark().unwrap();
    assert!(clock.check().is_err(), "keeping the mark never lowers it");
    hands.set(noon());
    clock.check().unwrap();
}

#[test]
fn a_small_step_back_is_forgiven() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hands) = marked(dir.path());
    hands.set(noon().plus(-CLOCK_BEHIND_SECONDS_MAX * SECOND));
    clock.check().unwrap();
}

#[test]
fn the_gateways_time_is_only_a_reason_to_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, _) = open(dir.path(), noon());
    clock.gateway_says(noon().plus(3_600 * SECOND));
    assert!(matches!(clock.check(), Err(Refusal::ClockBehindGateway { .. })));
    clock.gateway_says(noon().plus(-3_600 * SECOND));
    clock.check().unwrap();
    clock.verified(noon().plus(3_600 * SECOND));
    clock.gateway_says(noon());
    assert!(clock.check().is_err(), "the gateway cannot vouch for a clock");
}

#[test]
fn a_clock_that_is_set_right_or_wrong_while_connected_is_judged_by_the_time_that_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hands) = open(dir.path(), noon());
    clock.gateway_says(noon().plus(3_600 * SECOND));
    hands.pass(60);
    assert!(clock.check().is_err());
    hands.set(noon().plus(3_660 * SECOND));
    clock.check().unwrap();
    hands.pass(86_400);
    clock.check().unwrap();
    hands.set(noon().plus(7_200 * SECOND));
    assert!(matches!(clock.check(), Err(Refusal::ClockBehindGateway { .. })), "set back by hours, and no new welcome");
}

#[test]
fn a_clock_that_jumped_ahead_shuts_the_machine_only_until_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hands) = marked(dir.path());
    hands.set("2099-01-01T00:00:00Z".parse().unwrap());
    clock.keep_mark().unwrap();
    hands.set(noon());
    clock.check().unwrap();

    // The same over a restart, where no gateway has spoken yet, and on a machine that never kept a mark.
    for fresh in [false, true] {
        if fresh {
            std::fs::remove_file(dir.path().join("clock")).unwrap();
        }
        let (clock, hands) = open(dir.path(), "2099-01-01T00:00:00Z".parse().unwrap());
        clock.keep_mark().unwrap();
        clock.gateway_says(noon());
        clock.keep_mark().unwrap();
        hands.set(noon());
        clock.check().unwrap();
    }
}

#[test]
fn the_mark_follows_the_clock_and_after_a_long_pause_the_gateway_that_confirms_it() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hands) = marked(dir.path());
    for _ in 0..5 {
        hands.pass(86_400);
        clock.keep_mark().unwrap();
    }
    let later = noon().plus(30 * DAY);
    let (clock, hands) = open(dir.path(), later);
    clock.keep_mark().unwrap();
    hands.set(noon().plus(6 * DAY));
    clock.check().unwrap();
    hands.set(later);
    clock.gateway_says(later);
    clock.keep_mark().unwrap();
    let (clock, _) = open(dir.path(), noon().plus(29 * DAY));
    assert!(matches!(clock.check(), Err(Refusal::ClockSetBack { .. })));
}

#[test]
fn a_lying_gateway_never_sets_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, _) = open(dir.path(), noon());
    clock.gateway_says("2099-01-01T00:00:00Z".parse().unwrap());
    clock.keep_mark().unwrap();
    let (clock, _) = open(dir.path(), noon().plus(SECOND));
    clock.check().unwrap();
}

#[test]
fn a_damaged_mark_is_not_taken_for_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("clock"), "yesterday").unwrap();
    assert!(Clock::open(dir.path().join("clock")).unwrap_err().to_string().contains("is damaged"));
}
