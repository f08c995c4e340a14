//! The judge of statements, case by case.

use super::*;
use crate::fixtures::{Speaker, ann, ended, intent, now};
use crate::presence::{Caller, RecordNamed};
use belay_certs::order::Outcome;
use belay_certs::statement::{CheckpointSeen, RunEnd, RunIntent};

const SESSION: Id = Id([1; 16]);
const ACCESS: Id = Id([2; 16]);

fn caller() -> Caller {
    Caller {
        join: Id([9; 16]),
        tenant: "acme".parse().unwrap(),
        name: "web1".parse().unwrap(),
        state: DeviceState::Approved,
        records: [(7, "web1"), (6, "web1"), (5, "www")]
            .map(|(serial, name)| RecordNamed { serial, name: name.parse().unwrap() })
            .to_vec(),
        line: None,
    }
}

fn outer() -> Outer {
    Outer { access: ACCESS, person: ann(), device: "web1".parse().unwrap() }
}

fn shell() -> Body {
    Body::SessionOpened(intent(SESSION, ACCESS))
}

fn judged(head: &StatementHead, said: &(SignedStatement, Statement), outer: Option<&Outer>) -> Judgement {
    let (caller, (signed, statement)) = (caller(), said);
    judge(&Case {
        caller: &caller,
        head,
        earlier: None,
        signed,
        statement,
        begins: Begins::AtOne,
        seen: Seen::Fits,
        outer,
        offered: None,
        frozen: None,
        now: now(),
    })
    .unwrap()
}

fn head(said: &(SignedStatement, Statement), index: u64) -> StatementHead {
    StatementHead { seq: said.1.head.seq, digest: Digest::of(said.0.text.as_bytes()), index }
}

fn type_name(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Record(draft) | Judgement::Withhold(draft, _) | Judgement::Reject(draft, _) => {
            draft.what.type_name()
        }
        Judgement::Again(_) => "again",
    }
}

#[test]
fn a_statement_that_continues_the_chain_is_recorded_with_its_words() {
    let mut device = Speaker::new("web1", 7);
    let opened = device.say(shell());
    let Judgement::Record(draft) = judged(&StatementHead::NONE, &opened, Some(&outer())) else {
        panic!("not recorded")
    };
    assert_eq!((draft.person, draft.statement.as_ref()), (Some(ann()), Some(&opened.0)));
    let closed = device.say(ended(SESSION));
    assert_eq!(type_name(&judged(&head(&opened, 4), &closed, None)), "session.ended");
}

#[test]
fn the_same_statement_again_is_answered_with_its_old_entry() {
    let mut device = Speaker::new("web1", 7);
    let opened = device.say(shell());
    assert_eq!(judged(&head(&opened, 4), &opened, Some(&outer())), Judgement::Again(4));
}

#[test]
fn gaps_and_forks_are_rejected_with_an_event() {
    let mut device = Speaker::new("web1", 7);
    let first = device.say(shell());
    let second = device.say(ended(SESSION));
    let Judgement::Reject(draft, refusal) = judged(&StatementHead::NONE, &second, None) else { panic!("not rejected") };
    assert_eq!((draft.what.type_name(), draft.statement), ("statement.rejected", None));
    assert_eq!(refusal, Refusal::StatementGap { seq: 2, expected: 1 });
    let another = Speaker::new("web1", 7).say(shell());
    for (head, said) in [(head(&first, 4), &another), (head(&another, 4), &second), (head(&second, 5), &first)] {
        let Judgement::Reject(_, refusal) = judged(&head, said, Some(&outer())) else { panic!("not rejected") };
        assert_eq!(refusal, Refusal::StatementFork { seq: said.1.head.seq });
    }
}

#[test]
fn a_record_that_the_device_never_had_is_rejected() {
    let older = Speaker::new("web1", 6).say(shell());
    assert_eq!(type_name(&judged(&StatementHead::NONE, &older, Some(&outer()))), "session.opened");
    let foreign = Speaker::new("web1", 8).say(shell());
    let Judgement::Reject(_, refusal) = judged(&StatementHead::NONE, &foreign, Some(&outer())) else {
        panic!("not rejected")
    };
    assert_eq!(refusal, Refusal::RecordUnknown { seq: 1, serial: 8 });
}

#[test]
fn what_a_device_said_under_its_old_name_is_recorded_under_that_name_and_no_other() {
    let mut device = Speaker::new("www", 5);
    let old_way = Outer { device: "www".parse().unwrap(), ..outer() };
    let opened = device.say(shell());
    let Judgement::Record(draft) = judged(&StatementHead::NONE, &opened, Some(&old_way)) else {
        panic!("not recorded")
    };
    assert_eq!(draft.device.unwrap().as_str(), "www");
    (device.name, device.serial) = ("web1", 7);
    let ended = device.say(ended(SESSION));
    let Judgement::Record(draft) = judged(&head(&opened, 4), &ended, None) else { panic!("not recorded") };
    assert_eq!(draft.device.unwrap().as_str(), "web1", "one chain goes on over both names");
    // The old name under the new serial, and the other way round, is no record of its.
    for (name, serial) in [("www", 7), ("web1", 5)] {
        let mixed = Speaker::new(name, serial).say(shell());
        let Judgement::Reject(_, refusal) = judged(&StatementHead::NONE, &mixed, None) else { panic!("not rejected") };
        assert_eq!(refusal, Refusal::RecordUnknown { seq: 1, serial });
    }
    // Nor does a way to the new name permit what the old name asks.
    let other_way = Speaker::new("www", 5).say(shell());
    assert!(matches!(judged(&StatementHead::NONE, &other_way, Some(&outer())), Judgement::Withhold(..)));
}

#[test]
fn a_log_head_that_never_was_is_rejected() {
    let mut device = Speaker::new("web1", 7);
    device.checkpoint = Some(CheckpointSeen { origin: "gw.example/acme".to_owned(), size: 3, root: Digest::of(b"x") });
    let (signed, statement) = device.say(shell());
    let (caller, outer) = (caller(), outer());
    let case = Case {
        caller: &caller,
        head: &StatementHead::NONE,
        earlier: None,
        signed: &signed,
        statement: &statement,
        begins: Begins::AtOne,
        seen: Seen::Denied,
        outer: Some(&outer),
        offered: None,
        frozen: None,
        now: now(),
    };
    let Judgement::Reject(_, refusal) = judge(&case).unwrap() else { panic!("not rejected") };
    assert_eq!(refusal, Refusal::CheckpointDenied { seq: 1, size: 3 });
    assert!(matches!(judge(&Case { seen: Seen::Fits, ..case }), Ok(Judgement::Record(_))));
}

#[test]
fn a_session_for_somebody_else_is_withheld_and_the_chain_stays_whole() {
    let mut device = Speaker::new("web1", 7);
    let opened = device.say(shell());
    let bob = Outer { person: "bob".parse().unwrap(), ..outer() };
    let other_device = Outer { device: "web2".parse().unwrap(), ..outer() };
    let other_access = Outer { access: Id([3; 16]), ..outer() };
    for outer in [Some(&bob), Some(&other_device), Some(&other_access), None] {
        let Judgement::Withhold(draft, refusal) = judged(&StatementHead::NONE, &opened, outer) else {
            panic!("not withheld: {outer:?}")
        };
        assert_eq!((draft.what.type_name(), draft.statement.as_ref()), ("session.withheld", Some(&opened.0)));
        let mismatch = Refusal::PersonMismatch { outer: "bob".parse().unwrap(), said: ann() };
        let expected = if outer == Some(&bob) { mismatch } else { Refusal::AccessUnknown(ACCESS) };
        assert_eq!(refusal, expected);
    }
    let refused = device.say(Body::SessionRefused { intent: intent(SESSION, ACCESS), reason: "no grant".to_owned() });
    assert_eq!(type_name(&judged(&head(&opened, 4), &refused, None)), "session.refused");
}

#[test]
fn only_approved_devices_speak_and_only_for_themselves() {
    let (signed, statement) = Speaker::new("web1", 7).say(shell());
    let judge = |caller: &Caller| {
        let head = &StatementHead::NONE;
        judge(&Case {
            caller,
            head,
            earlier: None,
            signed: &signed,
            statement: &statement,
            begins: Begins::AtOne,
            seen: Seen::Fits,
            outer: None,
            offered: None,
            frozen: None,
            now: now(),
        })
    };
    let unheard = [
        Caller { state: DeviceState::Pending, ..caller() },
        Caller { state: DeviceState::Replaced, records: Vec::new(), ..caller() },
    ];
    for caller in unheard {
        let (name, state) = ("web1".parse().unwrap(), caller.state);
        assert_eq!(judge(&caller).unwrap_err(), Refusal::NotApproved { name, state });
    }
    // One that lost its name still says how its sessions ended, and starts none.
    let replaced = Caller { state: DeviceState::Replaced, ..caller() };
    assert!(matches!(judge(&replaced), Ok(Judgement::Withhold(..))));
    for other in [
        Caller { name: "web2".parse().unwrap(), records: Vec::new(), ..caller() },
        Caller { tenant: "beta".parse().unwrap(), ..caller() },
    ] {
        let device = other.name.clone();
        assert_eq!(judge(&other), Err(Refusal::StatementForeign { said: "web1.acme".to_owned(), device }));
    }
}

#[test]
fn the_access_of_an_intent_is_found() {
    let mut device = Speaker::new("web1", 7);
    assert_eq!(access(&device.say(shell()).1), Some(ACCESS));
    assert_eq!(access(&device.say(ended(SESSION)).1), None);
}

#[test]
fn a_statement_before_the_newest_one_is_recognised_and_another_with_its_number_is_a_fork() {
    let mut device = Speaker::new("web1", 7);
    let (first, second) = (device.say(shell()), device.say(ended(SESSION)));
    let (newest, earlier) = (head(&second, 5), head(&first, 4));
    let judge_again = |said: &(SignedStatement, Statement)| {
        let (caller, (signed, statement)) = (caller(), said);
        judge(&Case {
            caller: &caller,
            head: &newest,
            earlier: Some(&earlier),
            signed,
            statement,
            begins: Begins::AtOne,
            seen: Seen::Fits,
            outer: None,
            offered: None,
            frozen: None,
            now: now(),
        })
        .unwrap()
    };
    assert_eq!(judge_again(&first), Judgement::Again(4));
    let another = Speaker::new("web1", 7).say(shell());
    assert!(matches!(judge_again(&another), Judgement::Reject(_, Refusal::StatementFork { seq: 1 })));
}

#[test]
fn a_revoked_device_says_how_its_sessions_ended_and_opens_none() {
    let caller = Caller { state: DeviceState::Revoked, ..caller() };
    let mut device = Speaker::new("web1", 7);
    let judge_one = |head: &StatementHead, said: &(SignedStatement, Statement)| {
        let (signed, statement) = said;
        let outer = outer();
        judge(&Case {
            caller: &caller,
            head,
            earlier: None,
            signed,
            statement,
            begins: Begins::AtOne,
            seen: Seen::Fits,
            outer: Some(&outer),
            offered: None,
            frozen: None,
            now: now(),
        })
        .unwrap()
    };
    let opened = device.say(shell());
    assert!(matches!(judge_one(&StatementHead::NONE, &opened), Judgement::Withhold(_, Refusal::NotApproved { .. })));
    let over = device.say(ended(SESSION));
    assert!(matches!(judge_one(&head(&opened, 4), &over), Judgement::Record(_)));
}

#[test]
fn in_a_later_life_of_a_log_the_first_statement_may_have_any_number_and_the_next_follows_it() {
    let mut device = Speaker::new("web1", 7);
    let (_lost, third) = ([device.say(shell()), device.say(ended(SESSION))], device.say(shell()));
    let fourth = device.say(ended(SESSION));
    let (caller, outer) = (caller(), outer());
    let judged = |begins: Begins, head: &StatementHead, (signed, statement): &(SignedStatement, Statement)| {
        let (caller, outer) = (&caller, Some(&outer));
        judge(&Case {
            caller,
            head,
            earlier: None,
            signed,
            statement,
            begins,
            seen: Seen::Fits,
            outer,
            offered: None,
            frozen: None,
            now: now(),
        })
        .unwrap()
    };
    assert_eq!(type_name(&judged(Begins::Anywhere, &StatementHead::NONE, &third)), "session.opened");
    assert_eq!(type_name(&judged(Begins::AtOne, &StatementHead::NONE, &third)), "statement.rejected");
    assert_eq!(type_name(&judged(Begins::Anywhere, &head(&third, 9), &fourth)), "session.ended");
    let fifth = device.say(shell());
    assert_eq!(type_name(&judged(Begins::Anywhere, &head(&third, 9), &fifth)), "statement.rejected");
}

#[test]
fn a_run_that_nobody_offered_is_withheld_and_its_end_is_recorded() {
    let mut device = Speaker::new("web1", 7);
    let order = Id([9; 16]);
    let intent = RunIntent {
        order,
        order_digest: Digest::of(b"order"),
        runbook: "restart".parse().unwrap(),
        version: Digest::of(b"runbook"),
        author: Some("carol".parse().unwrap()),
        person: ann(),
        key: "SHA256:x".to_owned(),
        account: "root".parse().unwrap(),
        ticket: None,
        grant_line: Some(9),
        review: false,
        policies: Vec::new(),
    };
    let started = device.say(Body::RunStarted(intent));
    let Judgement::Withhold(draft, refusal) = judged(&StatementHead::NONE, &started, Some(&outer())) else {
        panic!("not withheld")
    };
    assert_eq!((draft.what.type_name(), draft.statement.as_ref()), ("run.withheld", Some(&started.0)));
    assert_eq!(refusal, Refusal::RunUnknown(order));
    let ended = device.say(Body::RunEnded(RunEnd {
        order,
        outcome: Outcome::NotStarted,
        exit: None,
        signal: None,
        reason: Some(refusal.to_string()),
        duration_ms: 0,
        output: None,
        output_bytes: 0,
        output_dropped: 0,
    }));
    assert_eq!(type_name(&judged(&head(&started, 4), &ended, None)), "run.ended");
}

#[test]
fn nothing_starts_where_it_is_frozen_and_ends_are_recorded_all_the_same() {
    let frozen = Freeze {
        host_key: None,
        frozen: "acme/ann".parse().unwrap(),
        since: now(),
        by: "op".parse().unwrap(),
        reason: Some("a stolen laptop".to_owned()),
    };
    let mut device = Speaker::new("web1", 7);
    let (opened, over) = (device.say(shell()), device.say(ended(SESSION)));
    let outer = outer();
    let judged = |head: &StatementHead, (signed, statement): &(SignedStatement, Statement)| {
        let case = Case {
            caller: &caller(),
            head,
            earlier: None,
            signed,
            statement,
            begins: Begins::AtOne,
            seen: Seen::Fits,
            outer: Some(&outer),
            offered: None,
            frozen: Some(&frozen),
            now: now(),
        };
        judge(&case).unwrap()
    };
    let Judgement::Withhold(draft, refusal) = judged(&StatementHead::NONE, &opened) else { panic!("it started") };
    assert_eq!(draft.what.type_name(), "session.withheld");
    assert!(refusal.to_string().contains("acme/ann has been frozen since") && refusal.to_string().contains("stolen"));
    assert!(matches!(judged(&head(&opened, 3), &over), Judgement::Record(_)));
}
