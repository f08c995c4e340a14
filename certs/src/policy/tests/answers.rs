//! Answers: names, keys, refusals in words, and the questions about more than one action.

use super::fixture::{Draft, World, account, device, moment, monday, public, question, signed};
use crate::PersonRef;
use crate::policy::*;

fn named(text: &str) -> PersonRef {
    text.parse().unwrap()
}

#[test]
fn a_grant_names_person_line_and_every_policy_it_rests_on() {
    let world = World::new();
    let grant = decide(&world.of_acme(), &question("tia", Action::Shell), monday()).unwrap();
    assert_eq!(*grant.person(), named("msp:tia"));
    let (acme, msp) = (&world.acme, &world.msp);
    let versions = [(acme.tenant().clone(), 0, acme.digest()), (msp.tenant().clone(), 0, msp.digest())];
    assert_eq!(grant.versions(), versions);
    assert!(!grant.review());
    let run = Action::Run { runbook: "anything".to_owned(), risk: Risk::High, devices: 10_000 };
    assert!(decide(&world.of_acme(), &question("oncall", run), monday()).unwrap().review());
}

#[test]
fn refusals_are_sentences_that_name_the_line() {
    let world = World::new();
    let line = world.acme.policy().grants[0].line;
    let says = |key, action, change: fn(&mut Question)| {
        let mut question = question(key, action);
        change(&mut question);
        decide(&world.of_acme(), &question, monday()).unwrap_err().to_string()
    };
    let ticketless = says("tia", Action::Shell, |q| q.ticket = None);
    assert_eq!(ticketless, format!("the grant at line {line} wants a ticket like INC-[0-9]+: name it in BELAY_TICKET"));
    let postgres = says("tia", Action::Files, |q| q.account = account("postgres"));
    assert_eq!(postgres, format!("the account postgres is not granted: the grant at line {line} gives root, deploy"));
    assert_eq!(says("idle", Action::Shell, |_| {}), "no grant lets idle reach web1.acme");
    assert_eq!(says("auditor", Action::Shell, |_| {}), "no grant gives auditor `shell` on web1.acme, only audit");
    let twin = says("twin", Action::Operate, |_| {});
    assert!(twin.contains("twin and msp:tom at once, so to nobody"), "{twin}");
    let forward = Action::Forward { host: "\u{1b}]0;x\u{7}".repeat(1000), port: 22 };
    let hostile = says("tia", forward, |_| {});
    assert!(hostile.is_ascii() && !hostile.contains('\u{1b}') && hostile.len() < 4_000, "{hostile}");
}

#[test]
fn the_first_grant_that_holds_is_the_one_and_the_closest_refusal_is_told() {
    let body = "[[people]]\nname = \"a\"\nkeys = [{KEY a}]\n\n\
        [[grants]]\nwho = [\"a\"]\non = [\"web*\"]\ndo = [\"files\"]\nas = [\"www\"]\n\n\
        [[grants]]\nwho = [\"a\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"www\"]\n\n\
        [[grants]]\nwho = [\"a\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"deploy\"]\nticket = \"T\"\nreview = true\n\n\
        [[grants]]\nwho = [\"a\"]\non = [\"*\"]\nexcept = [\"tag:server\"]\ndo = [\"shell\"]\nas = [\"root\"]\n";
    let chain = Draft::new("acme", body).begin();
    let policies = Policies { tenant: &chain, imports: Vec::new() };
    let ask = |as_account: &str, ticket: Option<&str>| {
        let mut question = question("a", Action::Shell);
        (question.account, question.ticket) = (account(as_account), ticket.map(str::to_owned));
        decide(&policies, &question, monday())
    };
    let lines: Vec<usize> = chain.policy().grants.iter().map(|grant| grant.line).collect();
    assert_eq!(ask("www", None).unwrap().line(), lines[1]);
    let with_ticket = ask("deploy", Some("T")).unwrap();
    assert!(with_ticket.line() == lines[2] && with_ticket.review());
    assert!(matches!(ask("deploy", Some("t")).unwrap_err(), Refusal::TicketWrong { line, .. } if line == lines[2]));
    let Refusal::AccountNotGranted { granted, line, .. } = ask("root", None).unwrap_err() else { panic!("account") };
    assert_eq!((granted.len(), line), (2, lines[1]), "the excepted line gives nothing, the others are named");
}

#[test]
fn an_account_is_needed_where_something_runs_as_one() {
    let world = World::new();
    for action in [Action::Shell, Action::Exec, Action::Files] {
        let mut question = question("tia", action);
        question.account = None;
        assert_eq!(decide(&world.of_acme(), &question, monday()).unwrap_err().word(), "account-missing");
    }
    let mut audit = question("auditor", Action::Audit);
    audit.account = account("anybody");
    assert!(decide(&world.of_acme(), &audit, monday()).is_ok());
}

#[test]
fn a_team_of_the_provider_is_not_a_team_of_the_same_name_at_home() {
    let body = include_str!("acme.toml").replacen("\"msp:field\"", "\"field\"", 1);
    let world = World::new();
    let acme = Draft::new("acme", &body.replace("{MSP}", &world.msp.policy0().to_string())).begin();
    let policies = Policies { tenant: &acme, imports: vec![&world.msp] };
    assert!(decide(&policies, &question("tia", Action::Shell), monday()).is_err());
    assert!(decide(&policies, &question("idle", Action::Shell), monday()).is_ok());
}

#[test]
fn an_import_of_an_import_gives_nobody_anything() {
    let world = World::new();
    let between = Draft::new("middle", &format!("[import.msp]\npolicy0 = \"{}\"\n", world.msp.policy0())).begin();
    let body = format!(
        "[import.middle]\npolicy0 = \"{}\"\n[[grants]]\nwho = [\"middle:field\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\n",
        between.policy0()
    );
    let acme = Draft::new("acme", &body).begin();
    let policies = Policies { tenant: &acme, imports: vec![&between, &world.msp] };
    assert_eq!(decide(&policies, &question("tia", Action::Shell), monday()).unwrap_err(), Refusal::UnknownKey);
}

#[test]
fn a_key_of_two_names_is_nobodys_and_the_conflict_is_told() {
    let world = World::new();
    let policies = world.of_acme();
    assert_eq!(policies.person(&public("twin")), None);
    assert_eq!(policies.person(&public("tia")), Some(named("msp:tia")));
    assert!(policies.check_keys().unwrap_err().sentence.contains("belongs to twin and to msp:tom"));
    assert!(Policies { tenant: &world.acme, imports: Vec::new() }.check_keys().is_ok());
    // A root key, a device CA or a host key is nobody.
    assert_eq!(policies.person(&public("root")), None);
}

#[test]
fn imports_count_only_as_pinned_and_only_once() {
    let world = World::new();
    let person = |imports| Policies { tenant: &world.acme, imports }.person(&public("tia"));
    assert_eq!(person(vec![&world.msp]), Some(named("msp:tia")));
    assert_eq!(person(vec![&world.forged_msp]), None);
    assert_eq!(person(vec![&world.forged_msp, &world.msp]), Some(named("msp:tia")));
    assert_eq!(person(vec![&world.msp, &world.msp]), None);
    assert_eq!(person(vec![&world.beta]), None);
    let later =
        Draft { issued: "2026-11-22T09:00:00Z", ..Draft::new("msp", include_str!("msp.toml")) }.after(&world.msp);
    let Step::Next(later) = world.msp.extend(&signed(&later.text(), &["root"])).unwrap() else { panic!("next") };
    assert_eq!(person(vec![&later]), Some(named("msp:tia")), "a newer version of the pinned chain counts");
}

#[test]
fn a_provider_whose_clock_runs_ahead_stops_only_its_own_people() {
    let world = World::new();
    let ahead =
        Draft { issued: "2026-11-24T09:00:00Z", ..Draft::new("msp", include_str!("msp.toml")) }.after(&world.msp);
    let Step::Next(ahead) = world.msp.extend(&signed(&ahead.text(), &["root"])).unwrap() else { panic!("next") };
    let policies = Policies { tenant: &world.acme, imports: vec![&ahead] };
    assert_eq!(decide(&policies, &question("tia", Action::Shell), monday()).unwrap_err().word(), "clock");
    assert!(decide(&policies, &question("auditor", Action::Audit), monday()).is_ok());
}

#[test]
fn the_gateways_filter_ignores_account_hours_and_ticket_only() {
    let world = World::new();
    let policies = world.of_acme();
    let night = moment("2026-11-22T03:00:00Z");
    let ask =
        |key: &str, address: &str, serial, now| any_grant(&policies, &public(key), &device(address, &[], serial), now);
    assert_eq!(ask("tia", "web1.acme", 1, night).unwrap(), named("msp:tia"));
    assert_eq!(ask("clerk", "web9.acme", 1, night).unwrap(), named("clerk"));
    for (key, address, serial, word) in [
        ("tia", "db1.acme", 1, "no-grant"),
        ("tia", "web1.acme", 666, "device-revoked"),
        ("tia", "web1.beta", 1, "foreign-device"),
        ("nightly", "web1.acme", 1, "no-grant"),
        ("clerk", "mail.acme", 1, "no-grant"),
        ("idle", "web1.acme", 1, "no-grant"),
        ("stranger", "web1.acme", 666, "unknown-key"),
        ("twin", "web1.acme", 1, "ambiguous-key"),
    ] {
        assert_eq!(ask(key, address, serial, night).unwrap_err().word(), word, "{key} {address}");
    }
    assert_eq!(ask("tia", "web1.acme", 1, moment("2027-01-15T09:00:00Z")).unwrap_err().word(), "policy-expired");
    assert!(ask("auditor", "web1.acme", 1, moment("2027-01-15T09:00:00Z")).is_ok(), "only the import has expired");
}

#[test]
fn who_is_in_the_tenant_has_a_grant_of_a_living_policy() {
    let world = World::new();
    let ask = |key: &str, now| in_tenant(&world.of_acme(), &public(key), now);
    for key in ["tia", "nightly", "auditor", "clerk"] {
        assert!(ask(key, monday()).is_some(), "{key}");
    }
    for key in ["idle", "dora", "stranger", "twin"] {
        assert_eq!(ask(key, monday()), None, "{key}");
    }
    let late = moment("2027-03-01T00:00:00Z");
    assert_eq!((ask("tia", late), ask("auditor", late)), (None, Some(named("auditor"))));
}

#[test]
fn only_somebody_who_is_named_learns_why_they_are_nobody() {
    let world = World::new();
    let ask = |key: &str, now| why_nobody(&world.of_acme(), &public(key), now);
    let late = moment("2027-03-01T00:00:00Z");
    for key in ["tia", "auditor", "idle", "dora", "stranger"] {
        assert_eq!(ask(key, monday()), None, "{key}");
    }
    assert!(matches!(ask("tia", late), Some(Refusal::PolicyExpired { tenant, .. }) if tenant.as_str() == "msp"));
    assert_eq!((ask("auditor", late), ask("dora", late), ask("stranger", late)), (None, None, None));
    assert!(matches!(ask("twin", monday()), Some(Refusal::AmbiguousKey { .. })));
}

#[test]
fn tenant_wide_rights_need_the_whole_tenant() {
    let grant = |who: &str, rest: &str| {
        format!("[[people]]\nname = \"{who}\"\nkeys = [{{KEY {who}}}]\n[[grants]]\nwho = [\"{who}\"]\n{rest}\n")
    };
    let body = [
        grant("all", "on = [\"*\"]\ndo = [\"audit\", \"operate\"]"),
        grant("some", "on = [\"web*\", \"tag:x\"]\ndo = [\"audit\", \"operate\", \"enrol\"]"),
        grant("but", "on = [\"*\"]\nexcept = [\"db1\"]\ndo = [\"audit\"]"),
        grant("ticket", "on = [\"*\"]\ndo = [\"enrol\"]\nticket = \"T\""),
        grant("early", "on = [\"*\"]\ndo = [\"enrol\"]\nhours = \"Mon 00:00-09:00 UTC\""),
    ]
    .concat();
    let chain = Draft::new("acme", &body).begin();
    let policies = Policies { tenant: &chain, imports: Vec::new() };
    let may = |key: &str, action, now| may_anywhere(&policies, &public(key), action, now).is_some();
    for (key, action, expected) in [
        ("all", ActionKind::Audit, true),
        ("all", ActionKind::Operate, true),
        ("all", ActionKind::Enrol, false),
        ("some", ActionKind::Audit, false),
        ("some", ActionKind::Operate, false),
        ("some", ActionKind::Enrol, true),
        ("but", ActionKind::Audit, false),
        ("ticket", ActionKind::Enrol, false),
        ("early", ActionKind::Enrol, false),
        ("stranger", ActionKind::Audit, false),
    ] {
        assert_eq!(may(key, action, monday()), expected, "{key} {action}");
    }
    assert!(may("early", ActionKind::Enrol, moment("2026-11-23T08:00:00Z")));
    assert!(!may("all", ActionKind::Audit, moment("2027-02-19T09:00:00Z")));
}
