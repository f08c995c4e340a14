//! Orders with secrets: the lines prove them, the order names them, and only the device reads them.

use super::fixture::Case;
use crate::order::*;
use crate::policy::tests::fixture::private;
use crate::secrets::{Sealed, Secrets};
use crate::{Fault, Invalid, PrivateKey};

const SECRET: &str = "# [parameters.token]\n# type = \"string\"\n# secret = true\n# pattern = \"[a-z0-9-]+\"\n# required = true\n\
                      # [parameters.service]";

/// An order with the secret `token` for each of three devices; `web1` judges it with this key.
fn case() -> (Case, PrivateKey) {
    let mut case = Case::new();
    case.with_runbook("# [parameters.service]", SECRET);
    case.order.secrets = vec!["token".parse().unwrap()];
    let key = PrivateKey::generate_ed25519("").unwrap();
    let sealed = seal(&private("nightly"), &[("token", "hunter2-hunter2")], &key);
    sign_over(&mut case, &sealed);
    (case, key)
}

fn seal(signer: &PrivateKey, pairs: &[(&str, &str)], key: &PrivateKey) -> Sealed {
    let mut secrets = Secrets::default();
    for (name, value) in pairs {
        secrets.add(name.parse().unwrap(), (*value).to_owned()).unwrap();
    }
    secrets.seal(signer.public(), key.public()).unwrap()
}

/// The order is signed over a list in which `web1` has this.
fn sign_over(case: &mut Case, sealed: &Sealed) {
    case.list = DeviceList::parse(format!("db1 3 YWdl\nweb1 7 {sealed}\nweb2 9 YWdl\n").as_bytes()).unwrap();
    case.order.devices_root = case.list.root();
    case.sealed = Some(sealed.clone());
}

fn opened(case: &Case, key: &PrivateKey) -> Result<Secrets, Invalid> {
    case.judge()?.secrets(key)
}

#[test]
fn a_device_reads_the_secrets_that_its_signed_line_holds() {
    let (case, key) = case();
    let secrets = opened(&case, &key).unwrap();
    assert_eq!(secrets.get(&"token".parse().unwrap()), Some("hunter2-hunter2"));
    let text = case.order.to_text();
    assert!(text.contains("\nsecrets = [\"token\"]\n\n[arguments]\n"), "{text}");
    assert_eq!(Order::parse(text.as_bytes()).unwrap(), case.order);
    let permit = case.judge().unwrap();
    assert!(permit.environment().iter().all(|(name, _)| name != "BELAY_ARG_TOKEN"));
    assert!(!format!("{permit:?} {secrets:?}").contains("hunter2"));
}

#[test]
fn an_altered_a_missing_and_a_foreign_line_are_not_what_was_signed() {
    let (good, key) = case();
    let altered = seal(&private("nightly"), &[("token", "another-hunter2")], &key);
    let refused = Case { sealed: Some(altered), ..good.clone() }.judge().unwrap_err();
    assert!(refused.sentence.contains("is not for web1.acme"), "{refused}");
    let missing = Case { sealed: None, ..good.clone() }.judge().unwrap_err();
    assert!(missing.sentence.contains("the gateway offered it without those of this machine's line"), "{missing}");
    let mut open = Case::new();
    open.sealed = good.sealed.clone();
    let extra = open.judge().unwrap_err();
    assert!(extra.sentence.contains("names no secrets, and its list of devices has some"), "{extra}");
    let list = |case: &Case, list: &DeviceList| {
        let (order, runbook, policies) = (case.signed_order(), case.signed_runbook(), case.policies());
        CheckedOrder::of(&policies, &order, &runbook, case.clocks).unwrap().check_list(list)
    };
    assert!(list(&good, &good.list).is_ok());
    let mut plain = good.clone();
    plain.order.devices_root = Case::new().list.root();
    assert!(list(&plain, &Case::new().list).unwrap_err().sentence.contains("has none"));
}

#[test]
fn what_was_signed_and_is_not_for_this_device_or_signer_is_refused() {
    let (good, key) = case();
    let own = &private("nightly");
    let other = PrivateKey::generate_ed25519("").unwrap();
    let token = ("token", "hunter2-hunter2");
    for (sealed, hint) in [
        (seal(own, &[token], &other), "not encrypted to the host key of this machine"),
        (seal(&private("ole"), &[token], &key), "were not encrypted for orders signed by"),
        (seal(own, &[], &key), "other secrets are encrypted than the order names: encrypt token"),
        (seal(own, &[token, ("more", "hunter2-hunter2")], &key), "other secrets are encrypted"),
        (seal(own, &[("more", "hunter2-hunter2")], &key), "other secrets are encrypted"),
        (seal(own, &[("token", "Hunter2 hunter2")], &key), "the secret token does not fit its pattern"),
        ("YWdl".parse().unwrap(), "cannot be read"),
    ] {
        let mut case = good.clone();
        sign_over(&mut case, &sealed);
        let refused = opened(&case, &key).unwrap_err();
        assert!(refused.sentence.contains(hint) && !refused.sentence.contains("unter2"), "{hint}: {refused}");
    }
}

#[test]
fn an_order_names_each_secret_once_and_no_argument_is_one() {
    let (good, _) = case();
    let parse = |old: &str, new: &str| {
        let text = good.order.to_text();
        assert!(text.contains(old), "{old}");
        Order::parse(text.replacen(old, new, 1).as_bytes()).unwrap_err()
    };
    let twice = parse("[\"token\"]", "[\"token\", \"token\"]");
    assert!(twice.sentence.contains("secrets has token twice"), "{twice}");
    let both = parse("[arguments]", "[arguments]\ntoken = \"x\"");
    assert!(both.sentence.contains("token is an argument and a secret"), "{both}");
    assert!(parse("[\"token\"]", "[\"Token\"]").sentence.contains("not a parameter name"));
    let mut unnamed = good.clone();
    unnamed.order.secrets.clear();
    let refused = unnamed.judge().unwrap_err();
    assert!(refused.sentence.contains("the secret token is missing: give token=@FILE"), "{refused}");
    let mut odd = good.clone();
    odd.order.secrets.push("service".parse().unwrap());
    odd.order.arguments.clear();
    assert_eq!(odd.judge().unwrap_err().fault, Fault::Malformed);
}

#[test]
fn all_lines_have_secrets_or_none_and_they_take_no_more_than_a_command_reads() {
    let list = |text: &str| DeviceList::parse(text.as_bytes());
    assert!(list("a 1 YWdl\nb 2 YWdl\n").unwrap().is_sealed() && !list("a 1\nb 2\n").unwrap().is_sealed());
    assert!(list("a 1 YWdl\nb 2\n").unwrap_err().sentence.contains("a or b lacks its secrets"));
    for text in ["a 1 \n", "a 1  YWdl\n", "a 1 YWdl \n", "a 1 YWdl x\n", "a 1 YWd\n", "a 1 -\n"] {
        assert!(list(text).unwrap_err().sentence.contains("line 1"), "{text:?}");
    }
    let plain = "a 1\nb 2\n";
    assert_eq!(list(plain).unwrap().to_text(), plain, "as ever");
    let long = "A".repeat(crate::limits::SEALED_TEXT_BYTES_MAX);
    let lines =
        |count: usize| (0..count).map(|n| format!("d{n} 1 {long}").parse().unwrap()).collect::<Vec<DeviceLine>>();
    assert!(DeviceList::of(lines(400)).is_ok());
    assert_eq!(DeviceList::of(lines(500)).unwrap_err().fault, Fault::TooLarge);
}
