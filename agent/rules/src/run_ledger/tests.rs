//! The table of crashes after every line, the ids, the bounds, and what no journal may say.

use super::*;
use crate::{
    journal::{encode, replay},
    statement_chain::{
        StatementChain,
        tests::{id, made},
    },
};

mod walk;

const ORDER: u64 = 7;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

/// The window of every order here ends a quarter of an hour after the start.
fn end_of_window() -> Timestamp {
    at(900)
}

fn noted(chain: &StatementChain, order: u64) -> Vec<Line> {
    let intent = made(chain.position().seq + 1, What::RunStarted, order);
    chain.runs().note(id(order), end_of_window(), 0, at(0)).unwrap().with(intent).unwrap()
}

fn ended(chain: &StatementChain, order: u64) -> Vec<Line> {
    vec![Line::Made(made(chain.position().seq + 1, What::RunEnded, order))]
}

fn write(chain: &mut StatementChain, lines: &[Line]) {
    lines.iter().for_each(|line| chain.apply(line).unwrap());
}

/// A chain in which the run of each order stands at its stage.
fn chain_at(stages: &[(u64, Stage)]) -> StatementChain {
    let mut chain = StatementChain::default();
    for (order, stage) in stages {
        chain.apply(&Line::Run { order: id(*order), not_after: end_of_window(), stage: *stage }).unwrap();
    }
    chain
}

/// Every write of one whole run, from the offer to the letting go of its id.
fn whole_run() -> Vec<Vec<Line>> {
    let mut chain = StatementChain::default();
    let mut writes = Vec::new();
    let mut commit = |chain: &mut StatementChain, lines: Vec<Line>| {
        write(chain, &lines);
        writes.push(lines);
    };
    let lines = noted(&chain, ORDER);
    commit(&mut chain, lines);
    let lines = chain.runs().start(id(ORDER), 1, at(5)).unwrap();
    commit(&mut chain, lines);
    let lines = ended(&chain, ORDER);
    commit(&mut chain, lines);
    commit(&mut chain, vec![Line::Done { seq: 2 }]);
    let line = chain.runs().forget(id(ORDER), 100, 100).unwrap();
    commit(&mut chain, vec![line]);
    let line = chain.runs().let_go(end_of_window().plus(DAY)).unwrap();
    commit(&mut chain, vec![line]);
    writes
}

/// What a start finds after these writes: what to do about the run, the numbers of the statements that go out again, and
/// whether the files must be there.
fn after_crash(writes: &[Vec<Line>], now: Timestamp) -> (Vec<Found>, Vec<u64>, bool) {
    let journal: String = writes.iter().map(|lines| encode(lines).unwrap()).collect();
    let chain = replay(journal.as_bytes()).unwrap().chain;
    let mut again = StatementChain::default();
    write(&mut again, &chain.snapshot());
    assert_eq!(again, chain, "a compacted journal says the same");
    let found = chain.runs().found(now).into_iter().map(|(order, found)| (order == id(ORDER), found));
    let found = found.inspect(|(is_ours, _)| assert!(is_ours)).map(|(_, found)| found).collect();
    (found, chain.pending().map(|made| made.seq).collect(), chain.runs().holds_files(id(ORDER)))
}

#[test]
fn a_crash_after_every_write_finds_what_the_table_says() {
    let writes = whole_run();
    let (open, late) = (at(60), end_of_window());
    let table: [(Timestamp, &[Found], &[u64], bool); 9] = [
        (open, &[], &[], false),
        (open, &[Found::Noted], &[1], true),
        (late, &[Found::Expired], &[1], true),
        (open, &[Found::Interrupted], &[], true),
        (late, &[Found::Interrupted], &[], true),
        (open, &[Found::Ended { proved: false }], &[2], true),
        (open, &[Found::Ended { proved: true }], &[], true),
        (open, &[], &[], false),
        (open, &[], &[], false),
    ];
    let written = [0, 1, 1, 2, 2, 3, 4, 5, 6];
    for (writes_done, (now, found, pending, files)) in written.into_iter().zip(table) {
        let is = after_crash(&writes[..writes_done], now);
        assert_eq!(is, (found.to_vec(), pending.to_vec(), files), "after {writes_done} writes");
    }
}

#[test]
fn after_every_crash_only_an_order_that_was_never_noted_is_taken() {
    let writes = whole_run();
    for done in 0..=writes.len() {
        let journal: String = writes[..done].iter().map(|lines| encode(lines).unwrap()).collect();
        let ledger = replay(journal.as_bytes()).unwrap().chain.runs().clone();
        let offered_again = ledger.note(id(ORDER), end_of_window(), 0, at(60));
        let expected = match done {
            0 | 6 => None,
            1..=4 => Some(NotTaken::Going),
            _ => Some(NotTaken::Spent),
        };
        assert_eq!(offered_again.err(), expected, "after {done} writes");
        let may_start = ledger.start(id(ORDER), 1, at(60)).is_some();
        assert_eq!(may_start, done == 1, "after {done} writes: one start, on the receipt, and no second");
    }
    // Letting the id go needs a clock a day behind the window, which takes the order no more.
    let ledger = StatementChain::default().runs().clone();
    assert_eq!(ledger.note(id(ORDER), end_of_window(), 0, end_of_window()), Err(NotTaken::Over));
}

#[test]
fn a_write_that_is_cut_off_anywhere_never_happened() {
    let writes = whole_run();
    for done in 1..=writes.len() {
        let before: String = writes[..done - 1].iter().map(|lines| encode(lines).unwrap()).collect();
        let last = encode(&writes[done - 1]).unwrap();
        let expected = replay(before.as_bytes()).unwrap().chain;
        for cut in 0..last.len() {
            let journal = [before.as_bytes(), &last.as_bytes()[..cut]].concat();
            assert_eq!(replay(&journal).unwrap().chain, expected, "write {done}, {cut} bytes of it");
        }
    }
}

#[test]
fn single_lines_out_of_a_write_are_damage_or_safe() {
    let writes = whole_run();
    let lone = |done: usize, line: usize| {
        let mut part = writes[..done].to_vec();
        part.push(vec![writes[done][line].clone()]);
        let journal: String = part.iter().map(|lines| encode(lines).unwrap()).collect();
        replay(journal.as_bytes()).map(|replayed| replayed.chain)
    };
    assert!(lone(0, 0).unwrap_err().why.contains("without its intent"));
    assert!(lone(0, 1).unwrap_err().why.contains("not noted"));
    assert_eq!(lone(1, 0).unwrap().runs().stage(id(ORDER)), Some(Stage::Started), "the mark alone: never run again");
    assert!(lone(1, 1).unwrap_err().why.contains("neither a start nor an end"));
}

#[test]
fn what_was_called_off_before_its_start_never_starts() {
    let mut chain = StatementChain::default();
    let lines = noted(&chain, ORDER);
    write(&mut chain, &lines);
    let lines = ended(&chain, ORDER);
    write(&mut chain, &lines);
    assert_eq!(chain.runs().start(id(ORDER), 1, at(5)), None, "the receipt came too late");
    assert!(chain.clone().apply(&Line::RunBegun { order: id(ORDER) }).is_err());
    // The intent still goes out, for the chain has no gaps, and its answer changes nothing.
    assert_eq!(chain.pending_count(), 2);
    chain.apply(&Line::Done { seq: 1 }).unwrap();
    assert_eq!(chain.runs().stage(id(ORDER)), Some(Stage::Ended { proved: false }));
    assert_eq!(chain.runs().forget(id(ORDER), 0, 0), None, "its end is not proved");
    chain.apply(&Line::Done { seq: 2 }).unwrap();
    assert!(chain.runs().forget(id(ORDER), 0, 0).is_some());
}

#[test]
fn nothing_starts_behind_its_window_and_the_noted_are_found_expired() {
    let mut chain = StatementChain::default();
    for order in [1, 2] {
        let lines = noted(&chain, order);
        write(&mut chain, &lines);
    }
    let last = end_of_window().plus(-1);
    assert!(chain.runs().start(id(1), 1, last).is_some() && chain.runs().expired(last).is_empty());
    let lines = chain.runs().start(id(1), 1, last).unwrap();
    write(&mut chain, &lines);
    assert_eq!(chain.runs().start(id(2), 2, end_of_window()), None);
    assert_eq!(chain.runs().expired(end_of_window()), [id(2)], "what has started goes on");
}

#[test]
fn a_result_is_held_until_its_end_is_proved_and_all_output_acknowledged() {
    for (stage, acknowledged, may) in [
        (Stage::Noted, 100, false),
        (Stage::Started, 100, false),
        (Stage::Ended { proved: false }, 100, false),
        (Stage::Ended { proved: true }, 99, false),
        (Stage::Ended { proved: true }, 100, true),
        (Stage::Settled, 100, false),
    ] {
        let chain = chain_at(&[(ORDER, stage)]);
        assert_eq!(chain.runs().forget(id(ORDER), 100, acknowledged).is_some(), may, "{stage:?} {acknowledged}");
        let forced = chain.clone().apply(&Line::RunForgotten { order: id(ORDER) });
        assert_eq!(forced.is_ok(), stage == Stage::Ended { proved: true }, "{stage:?}");
    }
}

#[test]
fn a_refused_order_is_remembered_and_refused_once() {
    let mut chain = StatementChain::default();
    let refusal = made(1, What::RunRefused, ORDER);
    assert!(chain.clone().apply(&Line::Made(refusal.clone())).is_err(), "what is said is remembered");
    let lines = chain.runs().refused(id(ORDER), end_of_window(), refusal.clone()).unwrap();
    write(&mut chain, &lines);
    assert_eq!(chain.runs().check_new(id(ORDER), end_of_window(), at(1)), Err(NotTaken::Spent));
    assert_eq!(chain.runs().refused(id(ORDER), end_of_window(), made(2, What::RunRefused, ORDER)), None);
    let empty = RunLedger::default();
    assert_eq!(empty.refused(id(8), end_of_window(), refusal), None, "it says so of another order");
    let intent = made(1, What::RunStarted, 9);
    assert_eq!(empty.note(id(8), end_of_window(), 0, at(0)).unwrap().with(intent), None, "so does an intent");
}

#[test]
fn an_id_is_remembered_for_the_window_and_a_day_and_longer_while_its_result_is_held() {
    let mut chain =
        chain_at(&[(1, Stage::Settled), (2, Stage::Ended { proved: true }), (3, Stage::Started), (4, Stage::Noted)]);
    let gone = end_of_window().plus(DAY);
    assert_eq!(chain.runs().let_go(gone.plus(-1)), None);
    assert_eq!(chain.runs().check_new(id(1), end_of_window(), gone.plus(-1)), Err(NotTaken::Spent));
    let line = chain.runs().let_go(gone).unwrap();
    chain.apply(&line).unwrap();
    assert_eq!(chain.runs().count(), 3);
    assert_eq!(chain.runs().check_new(id(1), end_of_window(), gone), Err(NotTaken::Over), "unseen, and too late");
    assert_eq!(chain.runs().check_new(id(3), end_of_window(), gone), Err(NotTaken::Going));
    assert_eq!(chain.runs().let_go(gone.plus(365 * DAY)), None);
}

#[test]
fn a_ninth_run_waits_for_nobody_and_is_refused() {
    let mut chain = StatementChain::default();
    for order in 1..=RUNS_MAX as u64 {
        let lines = noted(&chain, order);
        write(&mut chain, &lines);
    }
    let ninth = chain.runs().note(id(100), end_of_window(), 0, at(0));
    assert_eq!(ninth, Err(NotTaken::Busy));
    assert!(NotTaken::Busy.is_said() && NotTaken::Busy.to_string().starts_with("8 runs are going on"));
    let lines = chain.runs().start(id(1), 1, at(1)).unwrap();
    write(&mut chain, &lines);
    assert_eq!(chain.runs().note(id(100), end_of_window(), 0, at(0)), Err(NotTaken::Busy), "started ones count");
    let lines = ended(&chain, 1);
    write(&mut chain, &lines);
    assert!(chain.runs().note(id(100), end_of_window(), 0, at(0)).is_ok(), "held results do not");
    let full = chain.runs().note(id(100), end_of_window(), RUNS_HELD_BYTES_MAX, at(0));
    assert_eq!(full, Err(NotTaken::Held));
}

#[test]
fn ten_thousand_ids_are_the_most_and_then_nothing_is_said_at_all() {
    let all: Vec<(u64, Stage)> = (1..=RUN_IDS_MAX as u64).map(|order| (order, Stage::Settled)).collect();
    let mut chain = chain_at(&all[1..]);
    assert_eq!(chain.runs().check_new(id(1), end_of_window(), at(0)), Ok(()));
    write(&mut chain, &[Line::Run { order: id(1), not_after: end_of_window(), stage: Stage::Settled }]);
    let over = id(RUN_IDS_MAX as u64 + 1);
    assert_eq!(chain.runs().check_new(over, end_of_window(), at(0)), Err(NotTaken::IdsFull));
    assert!(!NotTaken::IdsFull.is_said(), "it could not be remembered that it was");
    assert_eq!(chain.runs().check_new(id(1), end_of_window(), at(0)), Err(NotTaken::Spent), "known ones stay known");
    let line = chain.runs().let_go(end_of_window().plus(DAY)).unwrap();
    chain.apply(&line).unwrap();
    assert_eq!(chain.runs().check_new(over, end_of_window().plus(2 * DAY), at(0)), Ok(()));
}

#[test]
fn a_full_outbox_takes_no_intent_and_still_the_end_of_every_run() {
    let mut chain = StatementChain::default();
    let lines = noted(&chain, ORDER);
    write(&mut chain, &lines);
    for seq in 2..=crate::limits::PENDING_MAX as u64 {
        chain.apply(&Line::Made(made(seq, What::Refused, seq))).unwrap();
    }
    assert!(!chain.has_room(What::RunStarted, id(8), 0) && !chain.has_room(What::RunRefused, id(8), 0));
    assert!(chain.has_room(What::RunEnded, id(ORDER), 0) && !chain.has_room(What::RunEnded, id(8), 0));
}

#[test]
fn a_run_goes_only_the_ways_there_are() {
    let stages = [
        Stage::Unsaid,
        Stage::Noted,
        Stage::Started,
        Stage::Ended { proved: false },
        Stage::Ended { proved: true },
        Stage::Settled,
    ];
    for stage in stages {
        let chain = chain_at(&[(ORDER, stage)]);
        let takes = |line: Line| {
            let mut tried = chain.clone();
            let taken = tried.apply(&line).is_ok();
            assert!(taken || tried == chain, "what does not fit changes nothing: {stage:?} {line:?}");
            taken
        };
        assert!(!takes(Line::RunNoted { order: id(ORDER), not_after: at(0) }), "{stage:?}");
        assert!(!takes(Line::RunSeen { order: id(ORDER), not_after: at(0) }), "{stage:?}");
        assert_eq!(takes(Line::RunBegun { order: id(ORDER) }), stage == Stage::Noted, "{stage:?}");
        assert_eq!(takes(Line::Made(made(1, What::RunStarted, ORDER))), stage == Stage::Unsaid, "{stage:?}");
        let ends = matches!(stage, Stage::Noted | Stage::Started);
        assert_eq!(takes(Line::Made(made(1, What::RunEnded, ORDER))), ends, "{stage:?}");
    }
    for line in [Line::RunBegun { order: id(1) }, Line::RunForgotten { order: id(1) }] {
        assert!(StatementChain::default().apply(&line).is_err(), "nobody saw that order");
    }
}
