//! Hours around the real changes of real clocks: fixed moments that a person can check with `date`.

use super::*;
use crate::time::SECOND;

fn inside(hours: &str, now: &str) -> bool {
    hours.parse::<Hours>().unwrap().contains(now.parse().unwrap())
}

#[test]
fn a_window_holds_its_first_minute_and_not_its_last() {
    let hours = "Mon-Fri 07:00-19:00 Europe/Berlin";
    // Winter: Berlin is one hour ahead of UTC. 2026-11-23 is a Monday.
    assert!(!inside(hours, "2026-11-23T05:59:59Z") && inside(hours, "2026-11-23T06:00:00Z"));
    assert!(inside(hours, "2026-11-27T17:59:59Z") && !inside(hours, "2026-11-27T18:00:00Z"));
    assert!(!inside(hours, "2026-11-28T12:00:00Z") && !inside(hours, "2026-11-29T12:00:00Z"));
}

#[test]
fn summer_time_moves_the_window() {
    let hours = "Mon-Fri 07:00-19:00 Europe/Berlin";
    assert!(inside(hours, "2026-07-06T05:00:00Z") && !inside(hours, "2026-07-06T17:00:00Z"));
    // 2026-10-25: clocks go back from 03:00 to 02:00, so 02:30 comes twice and both are inside.
    for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
        assert!(inside("Sun 02:00-03:00 Europe/Berlin", now), "{now}");
    }
    // 2026-03-29: 02:00 to 03:00 does not exist.
    assert!(!inside("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T00:59:59Z"));
    assert!(!inside("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T01:00:00Z"));
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_it_starts() {
    let hours = "Fri 22:00-06:00 UTC";
    assert!(inside(hours, "2026-11-27T22:00:00Z") && inside(hours, "2026-11-28T05:59:59Z"));
    assert!(!inside(hours, "2026-11-28T22:00:00Z") && !inside(hours, "2026-11-27T05:00:00Z"));
    assert!(!inside(hours, "2026-11-28T06:00:00Z"));
    assert!(inside("Sun 23:00-01:00 UTC", "2026-11-30T00:30:00Z"));
}

#[test]
fn lists_ranges_and_whole_days_are_days() {
    assert!(
        inside("Mon,Wed 00:00-24:00 UTC", "2026-11-25T23:59:59Z")
            && !inside("Mon,Wed 00:00-24:00 UTC", "2026-11-24T12:00:00Z")
    );
    assert!(
        inside("Sat-Mon 00:00-24:00 UTC", "2026-11-29T12:00:00Z")
            && !inside("Sat-Mon 00:00-24:00 UTC", "2026-11-24T12:00:00Z")
    );
    assert!(inside("Mon-Sun 00:00-24:00 UTC", "2026-11-24T12:00:00Z"));
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "",
        "Mon-Fri",
        "Mon-Fri 07:00-19:00",
        "mon 07:00-19:00 UTC",
        "Mon 7:00-19:00 UTC",
        "Mon 07:00-07:00 UTC",
        "Mon 07:00-24:01 UTC",
        "Mon 24:00-01:00 UTC",
        "Mon 07:60-08:00 UTC",
        "Mon,Mon 07:00-08:00 UTC",
        "Mon-Wed,Tue 07:00-08:00 UTC",
        "Mon 07:00-08:00 Mars/Base",
        "Mon 07:00-08:00 europe/berlin",
        "Mon 07:00-08:00 Etc/Unknown",
        "Mon 07:00-08:00 +01:00",
        "Mon  07:00-08:00 UTC",
        "Mon 07:00-08:00 UTC ",
        "Mon, 07:00-08:00 UTC",
        "Mon 07:00 UTC",
        "Mon +7:00-08:00 UTC",
    ] {
        assert!(text.parse::<Hours>().is_err(), "{text:?}");
    }
}

/// The minutes around a moment that are inside, as the first and the last second of each run: what a person can check.
#[track_caller]
fn runs(hours: &str, from: &str, to: &str) -> Vec<(String, String)> {
    let hours: Hours = hours.parse().unwrap();
    let (mut at, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
    let mut all: Vec<(Timestamp, Timestamp)> = Vec::new();
    while at < to {
        if hours.contains(at) {
            match all.last_mut().filter(|(_, end)| *end == at) {
                Some((_, end)) => *end = at.plus(60 * SECOND),
                None => all.push((at, at.plus(60 * SECOND))),
            }
        }
        at = at.plus(60 * SECOND);
    }
    all.into_iter().map(|(start, end)| (start.to_string(), end.to_string())).collect()
}

#[track_caller]
fn must_run(hours: &str, within: (&str, &str), expected: &[(&str, &str)]) {
    let runs = runs(hours, within.0, within.1);
    let runs: Vec<(&str, &str)> = runs.iter().map(|(start, end)| (start.as_str(), end.as_str())).collect();
    assert_eq!(runs, expected, "{hours}");
}

#[test]
fn berlin_goes_to_summer_time_and_back() {
    // 2026-03-29, 02:00 +01:00 becomes 03:00 +02:00, at 01:00 UTC.
    let spring = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    must_run(
        "Sat-Mon 07:00-09:00 Europe/Berlin",
        spring,
        &[("2026-03-29T05:00:00Z", "2026-03-29T07:00:00Z"), ("2026-03-30T05:00:00Z", "2026-03-30T07:00:00Z")],
    );
    // A window across the missing hour is an hour shorter, one that ends in it ends with it, one inside it never comes.
    must_run("Sun 01:30-03:30 Europe/Berlin", spring, &[("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z")]);
    must_run("Sun 01:30-02:30 Europe/Berlin", spring, &[("2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z")]);
    must_run("Sun 02:30-03:30 Europe/Berlin", spring, &[("2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z")]);
    must_run("Sun 02:00-03:00 Europe/Berlin", spring, &[]);
    // 2026-10-25, 03:00 +02:00 becomes 02:00 +01:00, at 01:00 UTC.
    let autumn = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    must_run(
        "Sat-Mon 07:00-09:00 Europe/Berlin",
        autumn,
        &[("2026-10-25T06:00:00Z", "2026-10-25T08:00:00Z"), ("2026-10-26T06:00:00Z", "2026-10-26T08:00:00Z")],
    );
    // What the clock on the wall shows twice counts twice, and nothing between is lost.
    must_run("Sun 01:30-03:30 Europe/Berlin", autumn, &[("2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z")]);
    must_run(
        "Sun 02:00-02:30 Europe/Berlin",
        autumn,
        &[("2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"), ("2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z")],
    );
}

#[test]
fn new_york_changes_on_other_days_than_berlin() {
    // 2026-03-08, 02:00 -05:00 becomes 03:00 -04:00, at 07:00 UTC; Berlin stays three weeks more.
    let spring = ("2026-03-07T00:00:00Z", "2026-03-09T20:00:00Z");
    must_run(
        "Sat-Mon 09:00-10:00 America/New_York",
        spring,
        &[
            ("2026-03-07T14:00:00Z", "2026-03-07T15:00:00Z"),
            ("2026-03-08T13:00:00Z", "2026-03-08T14:00:00Z"),
            ("2026-03-09T13:00:00Z", "2026-03-09T14:00:00Z"),
        ],
    );
    must_run(
        "Sat-Mon 09:00-10:00 Europe/Berlin",
        spring,
        &[
            ("2026-03-07T08:00:00Z", "2026-03-07T09:00:00Z"),
            ("2026-03-08T08:00:00Z", "2026-03-08T09:00:00Z"),
            ("2026-03-09T08:00:00Z", "2026-03-09T09:00:00Z"),
        ],
    );
    must_run("Sun 01:00-04:00 America/New_York", spring, &[("2026-03-08T06:00:00Z", "2026-03-08T08:00:00Z")]);
    // 2026-11-01, 02:00 -04:00 becomes 01:00 -05:00, at 06:00 UTC.
    let autumn = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    must_run("Sun 00:30-02:30 America/New_York", autumn, &[("2026-11-01T04:30:00Z", "2026-11-01T07:30:00Z")]);
    must_run(
        "Sun 01:15-01:45 America/New_York",
        autumn,
        &[("2026-11-01T05:15:00Z", "2026-11-01T05:45:00Z"), ("2026-11-01T06:15:00Z", "2026-11-01T06:45:00Z")],
    );
}

#[test]
fn a_night_shift_over_a_change_of_the_clock_belongs_to_the_day_it_starts() {
    // The nights of the change are one hour shorter and one hour longer.
    let spring = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    must_run("Sat 22:00-06:00 Europe/Berlin", spring, &[("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z")]);
    let autumn = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    must_run("Sat 22:00-06:00 Europe/Berlin", autumn, &[("2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z")]);
    // A shift that ends within the hour shown twice ends, and is there once more until the clock is past it again.
    must_run(
        "Sat 22:00-02:30 Europe/Berlin",
        autumn,
        &[("2026-10-24T20:00:00Z", "2026-10-25T00:30:00Z"), ("2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z")],
    );
    must_run("Sun 22:00-06:00 Europe/Berlin", spring, &[("2026-03-29T20:00:00Z", "2026-03-30T04:00:00Z")]);
}

#[test]
fn a_zone_without_summer_time_and_ones_off_the_hour() {
    let whole_days =
        [("2026-03-27T03:30:00Z", "2026-03-27T12:30:00Z"), ("2026-03-30T03:30:00Z", "2026-03-30T12:30:00Z")];
    must_run("Mon-Fri 09:00-18:00 Asia/Kolkata", ("2026-03-27T00:00:00Z", "2026-03-31T00:00:00Z"), &whole_days);
    // Lord Howe moves by half an hour: on 2026-04-05 02:00 +11:00 becomes 01:30 +10:30.
    let autumn = ("2026-04-04T12:00:00Z", "2026-04-05T00:00:00Z");
    must_run("Sun 01:00-02:30 Australia/Lord_Howe", autumn, &[("2026-04-04T14:00:00Z", "2026-04-04T16:00:00Z")]);
    // The day is the zone's: Monday in Auckland begins on Sunday in UTC.
    let auckland = ("2026-06-28T00:00:00Z", "2026-06-29T12:00:00Z");
    must_run("Mon 00:00-24:00 Pacific/Auckland", auckland, &[("2026-06-28T12:00:00Z", "2026-06-29T12:00:00Z")]);
}

#[test]
fn a_year_of_office_hours_has_its_right_number_of_minutes() {
    // 2026 has 261 days from Monday to Friday, twelve hours each; no change of the clock falls into them.
    let hours: Hours = "Mon-Fri 07:00-19:00 Europe/Berlin".parse().unwrap();
    let first: Timestamp = "2025-12-31T23:00:00Z".parse().unwrap();
    let minutes = (0..365 * 24 * 60).filter(|minute| hours.contains(first.plus(minute * 60 * SECOND))).count();
    assert_eq!(minutes, 261 * 12 * 60);
}
