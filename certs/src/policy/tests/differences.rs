//! Differences: every change of a policy is a line for who signs it.

use super::fixture::Draft;
use crate::policy::*;

const EXAMPLE: &str = include_str!("../fixtures/example.toml");

fn changed(edits: &[(&str, &str)]) -> Vec<String> {
    let mut text = EXAMPLE.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    difference(&Policy::parse(EXAMPLE.as_bytes()).unwrap(), &Policy::parse(text.as_bytes()).unwrap())
}

#[test]
fn equal_policies_have_none() {
    assert!(changed(&[]).is_empty());
    assert!(changed(&[("[[grants]]", "\n# moved down a line\n[[grants]]")]).is_empty());
}

#[test]
fn every_value_that_can_change_is_told() {
    let digest = crate::Digest::of(b"other");
    let serves = format!("[[serves]]\ntenant = \"zeta\"\npolicy0 = \"{digest}\"\n[import.msp]");
    for (from, to, expected) in [
        ("version = 3", "version = 4", "~ version: 3 -> 4"),
        ("tenant = \"acme\"", "tenant = \"zeta\"", "~ tenant: acme -> zeta"),
        ("issued = 2026-11-21T09", "issued = 2026-11-21T10", "~ issued: 2026-11-21T09:00:00Z -> 2026-11-21T10:00:00Z"),
        (
            "expires = 2027-02-19T09",
            "expires = 2027-02-18T09",
            "~ expires: 2027-02-19T09:00:00Z -> 2027-02-18T09:00:00Z",
        ),
        ("min_agent = \"0.1.0\"", "min_agent = \"0.2.0\"", "~ min_agent: 0.1.0 -> 0.2.0"),
        ("threshold = 1", "threshold = 2", "~ root threshold: 1 -> 2"),
        ("gw.example:2222", "gw.example:22", "~ gateway ssh: gw.example:2222 -> gw.example:22"),
        (
            "origin = \"gw.example/acme\"",
            "origin = \"gw.example/acme/2\"",
            "~ current log: gw.example/acme -> gw.example/acme/2",
        ),
        ("\"gw.example:4433\"", "\"gw.example:4434\"", "+ gateway address gw.example:4434"),
        ("revoked = []", "revoked = [7]", "+ revoked device serial 7"),
        ("[import.msp]", &serves, &format!("+ serves zeta with version 0 {digest}")),
        ("robot = true", "robot = false", "+ person nightly"),
        ("teams = [\"audit\"]", "teams = [\"audit\", \"night\"]", "+ person auditor is in team night"),
        (
            "except = [\"db1\"]",
            "",
            "+ grant line 44: msp:field may shell files forward as root deploy on * forward_to 192.168.1.0/24:80,443 risk normal hours Mon-Fri 07:00-19:00 Europe/Berlin ticket INC-[0-9]+ review false",
        ),
        (
            "as = [\"root\"]",
            "as = [\"root\"]\nreview = true",
            "+ grant line 54: nightly may run as root on tag:server runbooks restart-* risk normal devices_max 50 review true",
        ),
        ("signers = [\"msp:authors\"]", "signers = []", "- runbook signer msp:authors"),
        ("withdrawn = []", &format!("withdrawn = [\"{digest}\"]"), &format!("+ withdrawn runbook {digest}")),
        ("keep = \"400d\"", "", "~ recordings kept: 400 days -> until deleted"),
        ("input = false", "input = true", "~ recordings hold what is typed: false -> true"),
        ("keep = \"400d\"", "readable_by_gateway = true", "~ recordings readable by the gateway: false -> true"),
    ] {
        let lines = changed(&[(from, to)]);
        assert!(lines.iter().any(|line| line == expected), "{to}: {lines:#?}");
    }
}

#[test]
fn a_person_is_told_with_keys_and_a_key_that_moves_is_told_twice() {
    let person = |name: &str, key: &str| format!("[[people]]\nname = \"{name}\"\nkeys = [{{KEY {key}}}]\n");
    let parse = |body: String| Draft::new("acme", &body).parse().unwrap();
    let lines = difference(&parse(person("tech", "k1")), &parse(person("tech", "k2") + &person("new", "k1")));
    let key = |name: &str| format!("{} {name}", super::fixture::public(name).fingerprint());
    assert_eq!(
        lines,
        [
            format!("- person tech has key {}", key("k1")),
            format!("+ person tech has key {}", key("k2")),
            "+ person new".to_owned(),
            format!("+ person new has key {}", key("k1")),
        ]
    );
}

#[test]
fn grants_in_another_order_are_told() {
    let grant =
        |account: &str| format!("[[grants]]\nwho = [\"a\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"{account}\"]\n");
    let parse =
        |grants: String| Draft::new("acme", &format!("[[people]]\nname = \"a\"\nkeys = []\n{grants}")).parse().unwrap();
    let (ab, ba) = (parse(grant("a") + &grant("b")), parse(grant("b") + &grant("a")));
    assert!(matches!(difference(&ab, &ba).as_slice(), [only] if only.contains("another order")));
    let twice = parse(grant("a") + &grant("b") + &grant("b"));
    assert!(matches!(difference(&ab, &twice).as_slice(), [only] if only.starts_with("+ grant line")));
}
