//! The judgement: one good order, and every way in which another is not; each refusal names what failed and what to do.

use super::fixture::{Case, arguments};
use crate::order::*;
use crate::policy::tests::fixture::{device, moment};
use crate::policy::{Action, Risk};
use crate::{Digest, Fault, Namespace, Signed};

#[test]
fn a_good_order_is_permitted_with_all_that_the_run_needs() {
    let case = Case::new();
    let permit = case.judge().unwrap();
    assert_eq!((permit.grant().person().to_string(), permit.author().to_string()), ("nightly".into(), "ada".into()));
    assert_eq!((permit.account().as_str(), permit.timeout_seconds()), ("root", 60));
    assert_eq!(permit.environment()[1], ("BELAY_ARG_SERVICE".to_owned(), "cups".to_owned()));
    assert_eq!((permit.order(), permit.runbook().version), (&case.order, case.order.version));
    let action = Action::Run { runbook: "restart-service".to_owned(), risk: Risk::Normal, devices: 3 };
    assert_eq!((&permit.question().action, &permit.question().device), (&action, &case.device));

    let mut longer = Case::new();
    longer.order.timeout = Some("2h".parse().unwrap());
    assert_eq!(longer.judge().unwrap().timeout_seconds(), 7_200);
}

#[test]
fn an_order_of_the_second_in_which_the_memory_begins_counts_and_one_of_the_second_before_does_not() {
    let mut case = Case::new();
    let second = case.order.not_before;
    assert_eq!(second, second.whole_second());
    case.remembers_since = second.plus(999_999);
    assert!(case.judge().is_ok());
    case.remembers_since = second.plus(1_000_000);
    assert_eq!(case.judge().unwrap_err().fault, Fault::Spent);
}

/// What is changed, the change, the fault, and words that the sentence must hold.
type Row = (&'static str, fn(&mut Case), Fault, &'static [&'static str]);

fn all(rows: &[Row]) {
    for (what, change, fault, hints) in rows {
        let mut case = Case::new();
        change(&mut case);
        let refused = case.judge().expect_err(what);
        assert_eq!(refused.fault, *fault, "{what}: {refused}");
        assert!(!refused.sentence.contains(char::is_control), "{what}: {refused}");
        for hint in *hints {
            assert!(refused.sentence.contains(hint), "{what}: {refused}, without {hint:?}");
        }
    }
}

#[test]
fn signatures_and_bytes() {
    all(&[
        (
            "a stranger's order",
            |c| c.order_key = "stranger",
            Fault::WrongSigner,
            &["belongs to nobody the policy knows"],
        ),
        (
            "somebody without run",
            |c| c.order_key = "idle",
            Fault::WrongSigner,
            &["no grant gives idle `run`", "web1.acme"],
        ),
        ("a stranger's runbook", |c| c.runbook_key = "stranger", Fault::WrongSigner, &["restart-service"]),
        ("a runbook by no author", |c| c.runbook_key = "ole", Fault::WrongSigner, &["not in `signers`"]),
        (
            "an order signed as a runbook",
            |c| c.order_namespace = Namespace::Runbook,
            Fault::BadSignature,
            &["order.v1@belay"],
        ),
        ("a policy's signature", |c| c.order_namespace = Namespace::Policy, Fault::BadSignature, &["order.v1@belay"]),
        (
            "a runbook signed as an order",
            |c| c.runbook_namespace = Namespace::Order,
            Fault::BadSignature,
            &["runbook.v1@belay"],
        ),
        (
            "another argument",
            |c| c.order_bytes = Some(c.order.to_text().replace("cups", "sshd").into()),
            Fault::BadSignature,
            &["changed"],
        ),
        (
            "one more line end",
            |c| c.order_bytes = Some((c.order.to_text() + "\n").into()),
            Fault::BadSignature,
            &["changed"],
        ),
        ("another version", |c| c.runbook = c.runbook.replace("-eu", "-e"), Fault::Mismatch, &["in version sha256:"]),
        (
            "another runbook",
            |c| c.order.runbook = "restart-x".parse().unwrap(),
            Fault::Mismatch,
            &["the order is for the runbook restart-x"],
        ),
        (
            "no declaration",
            |c| c.with_runbook("/// belay", "/// other"),
            Fault::Malformed,
            &["line 2", "no declaration"],
        ),
    ]);
    let case = Case::new();
    let unsigned = Signed { signatures: Vec::new(), ..case.signed_order() };
    assert_eq!(case.judge_signed(&unsigned, &case.signed_runbook()).unwrap_err().fault, Fault::Unsigned);
    let unsigned = Signed { signatures: Vec::new(), ..case.signed_runbook() };
    assert_eq!(case.judge_signed(&case.signed_order(), &unsigned).unwrap_err().fault, Fault::Unsigned);
}

#[test]
fn every_changed_byte_of_an_order_is_found() {
    let case = Case::new();
    let (order, runbook) = (case.signed_order(), case.signed_runbook());
    for at in 0..order.bytes.len() {
        let mut changed = order.clone();
        changed.bytes[at] ^= 1;
        assert!(case.judge_signed(&changed, &runbook).is_err(), "byte {at}");
    }
}

#[test]
fn other_tenants_devices_and_policies() {
    all(&[
        (
            "another tenant's order",
            |c| c.order.tenant = "globex".parse().unwrap(),
            Fault::ForeignTenant,
            &["is for globex, not for acme"],
        ),
        (
            "another device",
            |c| c.device = device("web9.acme", &["server"], 7),
            Fault::BadProof,
            &["is not for web9.acme with serial 7"],
        ),
        ("an older record", |c| c.device.serial = 6, Fault::BadProof, &["is not for web1.acme with serial 6"]),
        ("another place", |c| c.place = 0, Fault::BadProof, &["is not for web1.acme"]),
        ("another's path", |c| c.path_of = 0, Fault::BadProof, &["is not for web1.acme"]),
        ("a place beyond the list", |c| c.place = 3, Fault::BadProof, &["is not for web1.acme"]),
        ("fewer devices", |c| c.order.devices = 2, Fault::BadProof, &["is not for web1.acme"]),
        ("a newer policy", |c| c.order.policy_version = 1, Fault::Mismatch, &["version 1", "push it first"]),
        ("another policy", |c| c.order.policy = Digest::of(b"x"), Fault::Fork, &["another version 0"]),
        (
            "a foreign device",
            |c| c.device = device("web1.globex", &["server"], 7),
            Fault::ForeignTenant,
            &["web1.globex is not a device of acme"],
        ),
        (
            "a revoked device",
            |c| {
                c.device.serial = 666;
                c.list = DeviceList::parse(b"db1 3\nweb1 666\nweb2 9\n").unwrap();
                c.order.devices_root = c.list.root();
            },
            Fault::Spent,
            &["serial 666", "revoked"],
        ),
        (
            "another platform",
            |c| c.platform = "freebsd",
            Fault::Mismatch,
            &["is for linux, and this machine runs freebsd"],
        ),
        (
            "a machine that began later",
            |c| c.remembers_since = moment("2026-11-23T10:00:01Z"),
            Fault::Spent,
            &["begins at 2026-11-23T10:00:01Z", "sign a new order"],
        ),
    ]);
}

#[test]
fn clocks() {
    all(&[
        (
            "too late",
            |c| {
                c.clocks =
                    Clocks { here: moment("2026-11-23T10:15:00Z"), gateway: Some(moment("2026-11-23T10:15:01Z")) };
            },
            Fault::Expired,
            &["ended at 2026-11-23T10:15:00Z", "sign a new order"],
        ),
        (
            "a clock hours ahead",
            |c| c.clocks.here = moment("2026-11-23T14:00:00Z"),
            Fault::Clock,
            &[
                "the clock here says 2026-11-23T14:00:00Z",
                "the gateway's 2026-11-23T10:00:00Z",
                "set the clock that is wrong",
            ],
        ),
        (
            "a clock hours behind",
            |c| c.clocks.here = moment("2026-11-23T06:00:00Z"),
            Fault::Clock,
            &[
                "the clock here says 2026-11-23T06:00:00Z",
                "the gateway's 2026-11-23T10:00:00Z",
                "the signer's said 2026-11-23T10:00:00Z",
            ],
        ),
        (
            "a clock an hour ahead in a window of a day",
            |c| {
                c.order.not_after = moment("2026-11-24T10:00:00Z");
                c.clocks.here = moment("2026-11-23T11:00:00Z");
            },
            Fault::Clock,
            &[
                "the clocks disagree",
                "the clock here says 2026-11-23T11:00:00Z, the gateway's 2026-11-23T10:00:00Z",
                "set the clock that is wrong",
            ],
        ),
        (
            "a clock behind, and no gateway's",
            |c| c.clocks = Clocks { here: moment("2026-11-23T06:00:00Z"), gateway: None },
            Fault::Clock,
            &["the clock here says 2026-11-23T06:00:00Z, the signer's"],
        ),
    ]);
}

#[test]
fn windows() {
    all(&[
        (
            "an order from the future",
            |c| c.order.issued = moment("2026-11-23T10:05:01Z"),
            Fault::Clock,
            &["is from the future", "the signer's said 2026-11-23T10:05:01Z"],
        ),
        (
            "a window to come",
            |c| {
                (c.order.not_before, c.order.not_after) =
                    (moment("2026-11-24T02:00:00Z"), moment("2026-11-24T03:00:00Z"));
            },
            Fault::Clock,
            &["begins at 2026-11-24T02:00:00Z", "wait for it"],
        ),
        (
            "a window beyond the policy",
            |c| {
                let end = moment("2027-02-18T12:00:00Z");
                (c.order.issued, c.order.not_before) = (end, end);
                c.clocks = Clocks { here: end, gateway: Some(end) };
                c.order.not_after = moment("2027-02-20T00:00:00Z");
            },
            Fault::Expired,
            &["after the policy of acme", "renew the policy"],
        ),
        (
            "a beginning after the policy",
            |c| {
                let begin = moment("2027-02-20T00:00:00Z");
                c.order.issued = moment("2027-02-18T12:00:00Z");
                (c.order.not_before, c.order.not_after) = (begin, begin.plus(60_000_000));
                c.clocks = Clocks { here: begin, gateway: None };
            },
            Fault::Expired,
            &["begins at 2027-02-20T00:00:00Z, when the policy of acme is over", "2027-02-19T09:00:00Z", "renew it"],
        ),
        (
            "after the policy",
            |c| {
                let end = moment("2027-02-19T09:00:00Z");
                (c.order.issued, c.order.not_before) = (end, end);
                c.clocks = Clocks { here: end, gateway: Some(end) };
                c.order.not_after = end.plus(60_000_000);
            },
            Fault::Expired,
            &["expired at 2027-02-19T09:00:00Z"],
        ),
        (
            "a window too long",
            |c| c.order.not_after = moment("2026-12-01T00:00:00Z"),
            Fault::Malformed,
            &["at most 7 days"],
        ),
        (
            "a runbook from the future",
            |c| c.with_runbook("2026-11-21", "2026-11-24"),
            Fault::Clock,
            &["issued at 2026-11-24"],
        ),
    ]);
}

#[test]
fn a_window_is_open_up_to_its_end_and_minutes_before_it() {
    let mut early = Case::new();
    early.clocks.here = moment("2026-11-23T09:55:00Z");
    assert!(early.judge().is_ok(), "clocks drift by minutes");
    early.clocks.here = moment("2026-11-23T09:54:59Z");
    assert!(early.judge().is_err());
    let mut last = Case::new();
    let almost = moment("2026-11-23T10:14:59Z");
    last.clocks = Clocks { here: almost, gateway: Some(almost) };
    assert!(last.judge().is_ok());
}

#[test]
fn what_a_robot_was_not_granted() {
    all(&[
        (
            "another runbook",
            |c| {
                c.with_runbook("restart-service", "wipe-disks");
                c.order.runbook = "wipe-disks".parse().unwrap();
            },
            Fault::WrongSigner,
            &["`runbooks` of the grant at line", "\"wipe-disks\"", "web1.acme"],
        ),
        (
            "another account",
            |c| c.order.account = "deploy".parse().unwrap(),
            Fault::WrongSigner,
            &["the account deploy is not granted"],
        ),
        ("another device", |c| c.device.labels.clear(), Fault::WrongSigner, &["no grant lets nightly reach web1.acme"]),
        (
            "too many devices",
            |c| {
                c.list = DeviceList::parse(b"db1 3\nweb1 7\nweb2 9\nweb3 10\n").unwrap();
                (c.order.devices, c.order.devices_root) = (4, c.list.root());
            },
            Fault::WrongSigner,
            &["the order is for 4 devices, and the grant at line", "allows 3"],
        ),
        (
            "high risk",
            |c| c.with_runbook("risk = \"normal\"", "risk = \"high\""),
            Fault::WrongSigner,
            &["not for runbooks of high risk"],
        ),
        ("a ticket that is wanted", |c| c.order_key = "ole", Fault::WrongSigner, &["wants a ticket"]),
        (
            "a withdrawn runbook",
            |c| {
                let withdrawn = c.order.version;
                c.with_policy(|text| format!("{text}withdrawn = [\"{withdrawn}\"]\n"));
            },
            Fault::Spent,
            &["`withdrawn`", "run a newer one"],
        ),
    ]);
}

#[test]
fn high_risk_takes_two_persons() {
    let mut case = Case::new();
    case.with_runbook("risk = \"normal\"", "risk = \"high\"");
    case.order.ticket = Some("INC-42".to_owned());
    for key in ["ada", "ada-second"] {
        case.order_key = key;
        let refused = case.judge().unwrap_err();
        assert_eq!(refused.fault, Fault::WrongSigner);
        assert!(refused.sentence.contains("let another person sign the order"), "{refused}");
    }
    case.order_key = "ole";
    assert!(case.judge().is_ok());
    let mut normal = Case::new();
    (normal.order_key, normal.order.ticket) = ("ada", Some("INC-42".to_owned()));
    assert!(normal.judge().is_ok(), "one person may write and order what is of normal risk");
}

#[test]
fn arguments_are_judged_before_anything_runs() {
    let refusal = |pairs: &[(&str, &str)]| {
        let mut case = Case::new();
        case.order.arguments = arguments(pairs);
        case.judge().unwrap_err().sentence
    };
    assert!(refusal(&[]).contains("the parameter service is missing"));
    assert!(refusal(&[("service", "cups"), ("path", "/")]).contains("there is no parameter path"));
    assert!(refusal(&[("service", "a;b")]).contains("does not fit its pattern"));
}

#[test]
fn the_gateway_and_the_laptop_judge_the_same_with_the_whole_list() {
    let case = Case::new();
    let (order, runbook, policies) = (case.signed_order(), case.signed_runbook(), case.policies());
    let checked = CheckedOrder::of(&policies, &order, &runbook, case.clocks).unwrap();
    assert_eq!((checked.order(), checked.runbook().name.as_str()), (&case.order, "restart-service"));
    assert!(checked.check_list(&case.list).is_ok());
    for text in ["db1 3\nweb1 7\n", "db1 3\nweb1 8\nweb2 9\n", "db1 3\nweb1 7\nweb2 9\nweb3 1\n"] {
        let refused = checked.check_list(&DeviceList::parse(text.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(refused.fault, Fault::Mismatch, "{refused}");
    }
    let granted =
        |name, labels: &[&str], serial| checked.permit(&device(name, labels, serial), case.clocks.here).is_ok();
    assert!(granted("db1.acme", &["server"], 3) && !granted("web2.acme", &["laptop"], 9));
}
