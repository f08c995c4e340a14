//! The judge of jobs and runs, case by case.

use super::*;
use crate::fixtures::{ann, now, order, run_intent};
use belay_certs::statement::RunIntent;

const ID: Id = Id([7; 16]);
const LIST: &str = "web1 1\n";

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn submission() -> Submission {
    let order = order(ID, LIST);
    Submission {
        signed: Signed { bytes: order.to_text().into_bytes(), signatures: vec!["signature".to_owned()] },
        order,
        list: LIST.as_bytes().to_vec(),
        person: ann(),
        key: "SHA256:ann".to_owned(),
        author_key: "SHA256:carol".to_owned(),
        bearer: ann(),
    }
}

fn held() -> JobHeld {
    let Submission { order, signed, .. } = submission();
    JobHeld {
        order: Digest::of(&signed.bytes),
        phase: Phase::Open,
        not_before: order.not_before,
        not_after: order.not_after,
        over: false,
        index: 5,
    }
}

fn intent() -> RunIntent {
    run_intent(ID, LIST)
}

fn started(job: &JobHeld, run: Option<RunState>, at: Timestamp) -> Result<(), Refusal> {
    start(Some(&Offered { job, run }), &intent(), at)
}

fn withheld(why: Withheld) -> Refusal {
    Refusal::RunWithheld { order: ID, why }
}

#[test]
fn an_order_is_a_job_once_and_its_repetition_is_the_same_job() {
    let Verdict::Record(draft) = submit(None, &submission(), now()).unwrap() else { panic!("again") };
    assert_eq!((draft.what.type_name(), draft.person), ("job.submitted", Some(ann())));
    assert_eq!(submit(Some(&held()), &submission(), now()), Ok(Verdict::Again(5)));
    let other = JobHeld { order: Digest::of(b"other"), ..held() };
    assert_eq!(submit(Some(&other), &submission(), now()), Err(Refusal::OrderIdTaken(ID)));
    let late = submission().order.not_after;
    assert_eq!(submit(None, &submission(), late), Err(withheld(Withheld::OutsideWindow)));
    assert_eq!(submit(Some(&held()), &submission(), late), Ok(Verdict::Again(5)), "an answer that was lost");
}

#[test]
fn who_brings_anothers_order_is_named() {
    let courier = Submission { bearer: "bob".parse().unwrap(), ..submission() };
    let Verdict::Record(draft) = submit(None, &courier, now()).unwrap() else { panic!("again") };
    let What::JobSubmitted(said) = draft.what else { panic!("{:?}", draft.what) };
    assert_eq!((draft.person, said.brought_by), (Some(ann()), Some("bob".parse().unwrap())));
}

#[test]
fn a_run_starts_once_in_its_window_when_it_was_offered() {
    let job = held();
    assert_eq!(started(&job, Some(RunState::Offered), now()), Ok(()));
    assert_eq!(started(&job, None, now()), Err(withheld(Withheld::NotOffered)));
    assert_eq!(started(&job, Some(RunState::Started), now()), Err(withheld(Withheld::Started)));
    let ended = Outcome::Succeeded;
    assert_eq!(started(&job, Some(RunState::Ended(ended)), now()), Err(withheld(Withheld::Ended(ended))));
    for outside in [job.not_before.plus(-1), job.not_after] {
        assert_eq!(started(&job, Some(RunState::Offered), outside), Err(withheld(Withheld::OutsideWindow)));
    }
    assert_eq!(start(None, &intent(), now()), Err(Refusal::RunUnknown(ID)));
    let other = JobHeld { order: Digest::of(b"changed"), ..job };
    assert_eq!(started(&other, Some(RunState::Offered), now()), Err(Refusal::RunUnknown(ID)));
}

#[test]
fn nothing_starts_in_a_job_that_was_called_off() {
    for (phase, why) in [(Phase::Stopped, Withheld::Stopped), (Phase::Cancelled, Withheld::Cancelled)] {
        let job = JobHeld { phase, ..held() };
        assert_eq!(started(&job, Some(RunState::Offered), now()), Err(withheld(why)));
        assert_eq!(offer(&acme(), ID, &job, vec!["web1".parse().unwrap()], now()), Err(withheld(why)));
    }
}

#[test]
fn an_intent_that_comes_again_gets_no_second_receipt_after_a_cancel() {
    let again = |phase| {
        let job = JobHeld { phase, ..held() };
        start_again(Some(&Offered { job: &job, run: Some(RunState::Started) }), &intent())
    };
    assert_eq!(again(Phase::Open), Ok(()));
    assert_eq!(again(Phase::Stopped), Ok(()), "what was let start before the stop goes on");
    assert_eq!(again(Phase::Cancelled), Err(withheld(Withheld::Cancelled)));
}

#[test]
fn a_job_is_called_off_once_and_never_after_its_end() {
    let over = JobHeld { over: true, ..held() };
    let missed = Missed { runs: 2, places: 3, tolerated: 1 };
    assert_eq!(cancel(&acme(), ID, &held(), &ann()).unwrap().what.type_name(), "job.cancelled");
    assert_eq!(cancel(&acme(), ID, &over, &ann()), Err(Refusal::JobOver(ID)));
    let cancelled = JobHeld { phase: Phase::Cancelled, ..held() };
    assert_eq!(cancel(&acme(), ID, &cancelled, &ann()), Err(Refusal::JobCancelled(ID)));
    assert_eq!(stop(&acme(), ID, &held(), missed).unwrap().what.type_name(), "job.stopped");
    assert_eq!(stop(&acme(), ID, &cancelled, missed), Err(Refusal::JobOver(ID)));
    assert_eq!(end(&acme(), ID, &held(), BTreeMap::new(), 0).unwrap().what.type_name(), "job.ended");
    assert_eq!(end(&acme(), ID, &over, BTreeMap::new(), 0), Err(Refusal::JobOver(ID)));
}

#[test]
fn an_offer_is_for_some_and_not_for_too_many() {
    let names = |count: usize| (0..count).map(|n| format!("web{n}").parse().unwrap()).collect::<Vec<DeviceName>>();
    assert!(offer(&acme(), ID, &held(), names(OFFERS_PER_ASK_MAX), now()).is_ok());
    for count in [0, OFFERS_PER_ASK_MAX + 1] {
        let refused = offer(&acme(), ID, &held(), names(count), now());
        assert!(matches!(refused, Err(Refusal::EntryInvalid(_))), "{count}");
    }
}

#[test]
fn a_state_is_read_as_it_is_written() {
    let ended = Outcome::ALL.map(RunState::Ended);
    for state in [RunState::Offered, RunState::Started].into_iter().chain(ended) {
        assert_eq!(state.to_string().parse::<RunState>().unwrap(), state);
    }
}
