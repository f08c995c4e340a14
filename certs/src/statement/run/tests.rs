//! What a device says about a run: the exact text, what contradicts itself, and what a hostile device may not write.

use super::*;
use crate::limits::{POLICIES_USED_MAX, STATEMENT_BYTES_MAX, WORD_BYTES_MAX};
use crate::statement::{Body, Head, Statement, word};
use crate::{Fault, PrivateKey};

fn intent() -> RunIntent {
    RunIntent {
        order: Id([1; 16]),
        order_digest: Digest([2; 32]),
        runbook: "restart-service".parse().unwrap(),
        version: Digest([3; 32]),
        author: Some("msp:carol".parse().unwrap()),
        person: "nightly".parse().unwrap(),
        key: "SHA256:abc".to_owned(),
        account: "root".parse().unwrap(),
        ticket: Some("INC-7".to_owned()),
        grant_line: Some(61),
        review: true,
        policies: vec![PolicyUsed { tenant: "acme".parse().unwrap(), version: 3, digest: Digest([4; 32]) }],
    }
}

fn refused() -> RunIntent {
    RunIntent { author: None, ticket: None, grant_line: None, review: false, ..intent() }
}

/// An end that nothing contradicts.
fn end(outcome: Outcome) -> RunEnd {
    let begun = outcome.has_begun();
    RunEnd {
        order: Id([1; 16]),
        outcome,
        exit: match outcome {
            Outcome::Succeeded => Some(0),
            Outcome::Failed => Some(3),
            _ => None,
        },
        signal: (outcome == Outcome::TimedOut).then(|| "KILL".to_owned()),
        reason: (!begun || outcome == Outcome::Cancelled).then(|| "a person called it off".to_owned()),
        duration_ms: if begun { 1_250 } else { 0 },
        output: begun.then_some(Digest([5; 32])),
        output_bytes: if begun { 17 } else { 0 },
        output_dropped: 0,
    }
}

fn statement(body: Body) -> Statement {
    let head = Head {
        id: Id([6; 16]),
        device: "web1.acme".parse().unwrap(),
        serial: 7,
        seq: 1,
        previous: None,
        checkpoint: None,
        issued: "2026-11-21T09:00:00Z".parse().unwrap(),
    };
    Statement { head, body }
}

fn sentence(body: Body) -> String {
    let refused = statement(body).to_text().unwrap_err();
    assert_eq!(refused.fault, Fault::Malformed);
    refused.sentence
}

#[test]
fn every_body_about_a_run_is_written_and_read_back() {
    let mut bodies = vec![
        Body::RunStarted(intent()),
        Body::RunRefused { intent: refused(), reason: "withdrawn".to_owned() },
        Body::RunRefused { intent: RunIntent { author: intent().author, ..refused() }, reason: "no".to_owned() },
    ];
    bodies.extend(Outcome::ALL.map(|outcome| Body::RunEnded(end(outcome))));
    for body in bodies {
        let said = statement(body);
        let text = said.to_text().unwrap();
        assert!(text.contains(&format!("\"type\":\"{}\"", said.type_name())), "{text}");
        assert_eq!(Statement::parse(text.as_bytes()).unwrap(), said);
        let members = said.body.members().unwrap();
        assert!(!members.contains_key("person") && !members.contains_key("type"), "they are in the envelope");
        assert!(members.contains_key("order"));
    }
    assert_eq!(statement(Body::RunStarted(intent())).person().unwrap().to_string(), "nightly");
    assert!(statement(Body::RunEnded(end(Outcome::Failed))).person().is_none());
}

#[test]
fn the_texts_are_exactly_these() {
    let (one, two, three) = ("01".repeat(16), "02".repeat(32), "03".repeat(32));
    let (four, five) = ("04".repeat(32), "05".repeat(32));
    let text = statement(Body::RunStarted(intent())).to_text().unwrap();
    let expected = format!(
        concat!(
            r#""type":"run.started","order":"{}","order_digest":"sha256:{}","runbook":"restart-service","#,
            r#""version":"sha256:{}","author":"msp:carol","person":"nightly","key":"SHA256:abc","account":"root","#,
            r#""ticket":"INC-7","grant_line":61,"review":true,"#,
            r#""policies":[{{"tenant":"acme","version":3,"digest":"sha256:{}"}}]}}"#,
        ),
        one, two, three, four
    );
    assert!(text.ends_with(&expected), "{text}");
    let text = statement(Body::RunEnded(end(Outcome::TimedOut))).to_text().unwrap();
    let expected = format!(
        concat!(
            r#""type":"run.ended","order":"{}","outcome":"timed out","signal":"KILL","duration_ms":1250,"#,
            r#""output":"sha256:{}","output_bytes":17,"output_dropped":0}}"#,
        ),
        one, five
    );
    assert!(text.ends_with(&expected), "{text}");
}

#[test]
fn an_end_that_contradicts_itself_is_no_end() {
    use Outcome::{Cancelled, Expired, Failed, Interrupted, NotStarted, Refused, Succeeded};
    let ended = |outcome, change: fn(&mut RunEnd)| {
        let mut end = end(outcome);
        change(&mut end);
        sentence(Body::RunEnded(end))
    };
    assert!(ended(Succeeded, |end| end.exit = Some(1)).contains("must be 0"));
    assert!(ended(Succeeded, |end| end.exit = None).contains("must be 0"));
    assert!(ended(Failed, |end| end.exit = Some(0)).contains("cannot be 0"));
    assert!(ended(Failed, |end| end.exit = None).contains("a signal or a reason"));
    assert!(ended(Failed, |end| end.signal = Some("TERM".to_owned())).contains("one end"));
    assert!(ended(Interrupted, |end| end.exit = Some(0)).contains("nobody saw"));
    for outcome in [Cancelled, NotStarted, Refused] {
        assert!(ended(outcome, |end| end.reason = None).contains("must say why"), "{outcome}");
    }
    for outcome in [NotStarted, Refused, Expired] {
        assert!(ended(outcome, |end| end.exit = Some(1)).contains("never began"), "{outcome}");
        assert!(ended(outcome, |end| end.duration_ms = 1).contains("never began"), "{outcome}");
        assert!(ended(outcome, |end| end.output = Some(Digest([1; 32]))).contains("never began"), "{outcome}");
        assert!(ended(outcome, |end| end.output_bytes = 1).contains("no output file"), "{outcome}");
        assert!(ended(outcome, |end| end.output_dropped = 1).contains("no output file"), "{outcome}");
    }
    assert!(ended(Failed, |end| end.output = None).contains("no output file"));
}

#[test]
fn an_intent_names_its_grant_and_author_and_a_refusal_no_grant() {
    let started = |intent| sentence(Body::RunStarted(intent));
    assert!(started(RunIntent { grant_line: None, ..intent() }).contains("which grant"));
    assert!(started(RunIntent { author: None, ..intent() }).contains("signed the runbook"));
    let no = |intent| sentence(Body::RunRefused { intent, reason: "no".to_owned() });
    assert!(no(intent()).contains("a refusal has none"));
    assert!(no(RunIntent { review: true, ..refused() }).contains("a refusal has none"));
}

#[test]
fn what_a_hostile_device_writes_is_refused() {
    let edit = |body: Body, from: &str, to: &str| {
        let text = statement(body).to_text().unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        Statement::parse(text.replacen(from, to, 1).as_bytes())
    };
    for (from, to) in [
        ("run.started", "run.imagined"),
        ("run.started", "run.ended"),
        ("\"account\":\"root\"", "\"account\":\"-oProxyCommand\""),
        ("\"account\":\"root\"", "\"account\":\"root\",\"account\":\"www\""),
        ("restart-service", "../../etc/passwd"),
        ("restart-service", "restart\\u202eservice"),
        ("INC-7", "INC\\u001b[2J"),
        ("\"grant_line\":61", "\"grant_line\":-61"),
        ("\"grant_line\":61", "\"grant_line\":61.0"),
        ("\"review\":true", "\"review\":1"),
        ("\"order\":\"01", "\"order\":\"0101"),
        ("\"order\":\"01", "\"order\":\"0G"),
        ("\"order\":\"0101", "\"ordre\":\"0101"),
        ("sha256:02", "sha512:02"),
        ("SHA256:abc", "SHA256:\\u0000"),
    ] {
        assert!(edit(Body::RunStarted(intent()), from, to).is_err(), "{to}");
    }
    for (from, to) in [
        ("\"outcome\":\"failed\"", "\"outcome\":\"Failed\""),
        ("\"outcome\":\"failed\"", "\"outcome\":\"succeeded\""),
        ("\"outcome\":\"failed\"", "\"outcome\":\"interrupted\""),
        ("\"outcome\":\"failed\"", "\"outcome\":\"refused\",\"reason\":\"x\""),
        ("\"outcome\":\"failed\",", ""),
        ("\"exit\":3", "\"exit\":4294967296"),
        ("\"exit\":3", "\"exit\":-1"),
        ("\"output_bytes\":17", "\"output_bytes\":18446744073709551616"),
        ("\"output_bytes\":17", "\"output_bytes\":\"17\""),
        ("\"duration_ms\":1250,", ""),
        ("\"output\":\"sha256", "\"outprt\":\"sha256"),
    ] {
        assert!(edit(Body::RunEnded(end(Outcome::Failed)), from, to).is_err(), "{to}");
    }
    assert!(edit(Body::RunStarted(intent()), "\"review\":true", "\"review\":true,\"mood\":[{}]").is_ok());
}

#[test]
fn too_much_is_refused_and_the_most_that_is_allowed_fits() {
    for noise in ["\"", "\\", "\n", "\u{1b}", "é", "\u{0}"] {
        let noisy = word(&noise.repeat(WORD_BYTES_MAX));
        let used = PolicyUsed { tenant: "x".repeat(63).parse().unwrap(), version: u64::MAX, digest: Digest([255; 32]) };
        let largest = RunIntent {
            runbook: "r".repeat(64).parse().unwrap(),
            key: noisy.clone(),
            ticket: Some(noisy.clone()),
            policies: vec![used.clone(); POLICIES_USED_MAX],
            ..refused()
        };
        let said = statement(Body::RunRefused { intent: largest.clone(), reason: noisy.clone() });
        let text = said.to_text().unwrap();
        assert!(text.len() < STATEMENT_BYTES_MAX);
        assert_eq!(Statement::parse(text.as_bytes()).unwrap(), said, "{noise:?}");
        let many = RunIntent { policies: vec![used; POLICIES_USED_MAX + 1], ..largest };
        let refused = statement(Body::RunRefused { intent: many, reason: String::new() }).to_text().unwrap_err();
        assert_eq!(refused.fault, Fault::TooLarge);
    }
    let long = RunEnd { reason: Some("x".repeat(WORD_BYTES_MAX + 1)), ..end(Outcome::Failed) };
    assert_eq!(statement(Body::RunEnded(long)).to_text().unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn every_changed_byte_of_an_end_breaks_the_signature() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let signed = crate::statement::sign(&statement(Body::RunEnded(end(Outcome::Succeeded))), &key).unwrap();
    crate::statement::verify(&signed, key.public()).unwrap();
    for position in 0..signed.text.len() {
        let mut changed = signed.clone();
        let mut bytes = changed.text.into_bytes();
        bytes[position] ^= 1;
        changed.text = String::from_utf8(bytes).unwrap();
        let refused = crate::statement::verify(&changed, key.public()).unwrap_err();
        assert_eq!(refused.fault, Fault::BadSignature, "byte {position}");
    }
}

#[test]
fn the_samples_of_the_fuzz_target_are_statements_about_runs() {
    for (name, sample) in [
        ("run.started", include_str!("../../../../fuzz/corpus/statement/run.started")),
        ("run.refused", include_str!("../../../../fuzz/corpus/statement/run.refused")),
        ("run.ended", include_str!("../../../../fuzz/corpus/statement/run.ended")),
        ("run.ended", include_str!("../../../../fuzz/corpus/statement/run.expired")),
    ] {
        let said = Statement::parse(sample.as_bytes()).unwrap();
        assert_eq!((said.type_name(), said.to_text().unwrap().as_str()), (name, sample));
    }
}
