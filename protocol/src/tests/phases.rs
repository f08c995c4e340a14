//! What is legal when, written a second time by hand: every phase against every kind.

use std::collections::BTreeSet;

use crate::kinds::KINDS;
use crate::*;

/// Checks that exactly `legal` (name, phase after) is legal in `phase`, and everything else is out of phase.
fn only<P: Phase + std::fmt::Debug>(phase: P, legal: &[(&str, P)]) {
    for kind in KINDS {
        let expected = legal.iter().find(|(name, _)| *name == kind.name).map(|(_, next)| *next);
        assert_eq!(phase.after(kind.number), expected, "{} in {phase:?}", kind.name);
        let mut moved = phase;
        let answer = moved.accept(kind.number);
        let wrong = Misbehaved::OutOfPhase { kind: kind.number, phase: phase.words() };
        assert_eq!(answer, expected.map(|_| ()).ok_or(wrong));
        assert_eq!(moved, expected.unwrap_or(phase), "a refused message changes nothing");
    }
    for (name, _) in legal {
        assert!(KINDS.iter().any(|kind| kind.name == *name), "{name} is a message");
    }
}

#[test]
fn a_gateway_hears_a_hello_first_and_once() {
    use GatewayPhase::*;
    only(AwaitingHello, &[("Hello", Ready)]);
    only(
        Ready,
        &[
            ("StatementMade", Ready),
            ("PolicyTaken", Ready),
            ("PolicyRefused", Ready),
            ("RecordTaken", Ready),
            ("RecordRefused", Ready),
            ("RunDeclined", Ready),
        ],
    );
}

#[test]
fn a_gateway_hears_one_question_on_a_join_stream() {
    let heard = GatewayPhase::JoinHeard;
    only(GatewayPhase::AwaitingJoin, &[("JoinAsked", heard), ("RenewalAsked", heard)]);
    only(GatewayPhase::JoinHeard, &[]);
}

#[test]
fn an_upload_begins_with_one_frame_and_only_a_recording_has_more() {
    let begun = [("OutputBegun", GatewayPhase::TakingOutput), ("RecordingBegun", GatewayPhase::TakingRecording)];
    only(GatewayPhase::AwaitingUpload, &begun);
    only(GatewayPhase::TakingOutput, &[]);
    only(GatewayPhase::TakingRecording, &[("RecordingChunk", GatewayPhase::TakingRecording)]);
}

#[test]
fn an_agent_hears_a_welcome_then_news_and_at_most_one_drain() {
    use AgentPhase::*;
    only(AwaitingWelcome, &[("Welcome", Ready)]);
    let offers = ["PolicyOffered", "RecordOffered", "ReceiptGiven", "StatementRefused"];
    let runs = ["RunOffered", "RunCancelled", "OutputKept", "RecordingKept", "RecordingRefused", "RunOfferedSealed"];
    let news = [offers.as_slice(), &runs].concat();
    let mut ready: Vec<_> = news.iter().map(|name| (*name, Ready)).collect();
    ready.push(("Drain", Draining));
    only(Ready, &ready);
    let draining: Vec<_> = news.iter().map(|name| (*name, Draining)).collect();
    only(Draining, &draining);
}

#[test]
fn an_agent_hears_one_join_answer() {
    let answers = ["JoinAccepted", "JoinRefused", "CertificateIssued"];
    only(AgentPhase::AwaitingAnswer, &answers.map(|name| (name, AgentPhase::Answered)));
    only(AgentPhase::Answered, &[]);
}

#[test]
fn a_session_stream_begins_with_one_open() {
    only(AgentPhase::AwaitingOpen, &[("Open", AgentPhase::Raw)]);
    only(AgentPhase::Raw, &[]);
}

#[test]
fn unknown_kinds_are_skipped_only_after_the_greeting() {
    for phase in GatewayPhase::ALL {
        assert_eq!(phase.after(5_000), (*phase == GatewayPhase::Ready).then_some(*phase));
    }
    for phase in AgentPhase::ALL {
        let skips = matches!(phase, AgentPhase::Ready | AgentPhase::Draining);
        assert_eq!(phase.after(5_000), skips.then_some(*phase));
    }
}

#[test]
fn every_kind_is_heard_by_exactly_one_side() {
    let gateway: BTreeSet<_> = GatewayPhase::ALL.iter().flat_map(|phase| phase.legal()).collect();
    let agent: BTreeSet<_> = AgentPhase::ALL.iter().flat_map(|phase| phase.legal()).collect();
    assert!(gateway.is_disjoint(&agent));
    let all: BTreeSet<_> = gateway.union(&agent).copied().collect();
    assert_eq!(all, KINDS.iter().map(|kind| kind.name).collect());
}

#[test]
fn every_misbehaviour_closes_with_a_code_that_blames_the_peer() {
    let over = crate::limits::OverBound { field: "field", found: 2, max: 1 };
    let (kind, phase) = (Hello::KIND, "the gateway is ready");
    let all = [
        (Misbehaved::Undersized { length: 1 }, CloseCode::Malformed),
        (Misbehaved::Oversized { kind, bytes: 2, bytes_max: 1 }, CloseCode::OverLimit),
        (Misbehaved::OutOfPhase { kind, phase }, CloseCode::OutOfPhase),
        (Misbehaved::Misdirected { kind }, CloseCode::OutOfPhase),
        (Misbehaved::UnknownVersion { kind, version: 2 }, CloseCode::Incompatible),
        (Misbehaved::Malformed { kind }, CloseCode::Malformed),
        (Misbehaved::Trailing { kind }, CloseCode::Malformed),
        (Misbehaved::OverBound { kind, over }, CloseCode::OverLimit),
        (Misbehaved::TooManyUnknown { max: 1 }, CloseCode::TooManyUnknown),
        (Misbehaved::Incompatible { ours: 0, theirs: 9 }, CloseCode::Incompatible),
        (Misbehaved::Silent, CloseCode::TooSlow),
    ];
    for (wrong, code) in all {
        assert_eq!(wrong.close_code(), code, "{wrong}");
        assert!(code.blames_peer());
    }
    assert_eq!(Misbehaved::OutOfPhase { kind, phase }.to_string(), "Hello came while the gateway is ready");
}
