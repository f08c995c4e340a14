//! The permission matrix: every role, every action, the own and a foreign tenant, every condition, one line each.
//!
//! Every case is asked. So that a person can read the table, a condition that changes no answer has no line, and actions
//! with the same answers share theirs.
//!
//! `BELAY_BLESS=1 cargo test -p belay-certs matrix` writes `matrix.golden` anew; a person reviews what changed in it.

use super::fixture::{World, account, device, moment, monday, public};
use crate::policy::*;
use crate::{DeviceAddress, Timestamp};
use std::fmt::Write;

/// Key names of the fixture, and what they are in acme.
const ROLES: [(&str, &str); 10] = [
    ("tia", "msp:field: shell files forward, in hours, with a ticket, not on db1"),
    ("nightly", "a robot: run restart-* of normal risk on 50 servers"),
    ("oncall", "run anything of high risk with a ticket, forward nowhere"),
    ("auditor", "audit"),
    ("clerk", "enrol on web*"),
    ("chief", "operate, run nothing"),
    ("idle", "known, without a grant, in a team that is called as one of the provider's"),
    ("dora", "msp:desk: known to the provider, granted in beta only"),
    (
        "nina",
        "shell as three accounts by day on servers but frozen ones and db*; shell and files as deploy by night with a change",
    ),
    ("twin", "one key that acme and the provider give two names"),
];
const CONDITIONS: [(&str, Change); 29] = [
    ("as it should be", |_| {}),
    ("as another account", |case| case.question.account = account("postgres")),
    ("as the second account", |case| case.question.account = account("deploy")),
    ("without an account", |case| case.question.account = None),
    ("at night", |case| case.now = moment("2026-11-23T20:00:00Z")),
    ("on Sunday", |case| case.now = moment("2026-11-22T10:00:00Z")),
    ("at night as deploy", |case| case.night("deploy", "INC-42")),
    ("at night as deploy with CHG-7", |case| case.night("deploy", "CHG-7")),
    ("at night as root with CHG-7", |case| case.night("root", "CHG-7")),
    ("by day as deploy with CHG-7", |case| {
        (case.question.account, case.question.ticket) = (account("deploy"), Some("CHG-7".to_owned()));
    }),
    ("without a ticket", |case| case.question.ticket = None),
    ("with an empty ticket", |case| case.question.ticket = Some(String::new())),
    ("with another ticket", |case| case.question.ticket = Some("INC-42; DROP".to_owned())),
    ("on db1", |case| case.question.device.address.device = "db1".parse().unwrap()),
    ("on a frozen server", |case| case.question.device.labels.push("frozen".to_owned())),
    ("on a device labelled Server", |case| case.question.device.labels = vec!["Server".to_owned()]),
    ("on a device without labels", |case| case.question.device.labels.clear()),
    ("on a revoked device", |case| case.question.device.serial = 666),
    ("to another host", |case| case.forward("192.168.2.1", 443)),
    ("to a host by its name", |case| case.forward("DB.internal", 5432)),
    ("to another port", |case| case.forward("192.168.1.10", 22)),
    ("with another runbook", |case| case.run("wipe-disks", Risk::Normal, 1)),
    ("with a runbook of high risk", |case| case.run("restart-cups", Risk::High, 1)),
    ("on too many devices", |case| case.run("restart-cups", Risk::Normal, 51)),
    ("before the policy was issued", |case| case.now = moment("2026-11-21T08:59:59Z")),
    ("after the import expired", |case| case.now = moment("2027-01-18T10:00:00Z")),
    ("after the policy expired", |case| case.now = moment("2027-02-22T10:00:00Z")),
    ("without the import's policy", |case| case.imports = Imports::None),
    ("with another policy as the import", |case| case.imports = Imports::Forged),
];

const HEAD: &str = "\
# role | tenant | actions | condition | answer
#
# Own is acme, foreign is beta; both import msp. Made by matrix.rs, which asks every role for every action in both
# tenants under every condition. A condition that is not listed gives the answer of `as it should be`.
";

type Change = fn(&mut Case);

/// Which chain is held as msp's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Imports {
    Right,
    None,
    Forged,
}

#[derive(Clone, PartialEq, Eq)]
struct Case {
    question: Question,
    now: Timestamp,
    imports: Imports,
}

impl Case {
    fn forward(&mut self, host: &str, port: u16) {
        if let Action::Forward { .. } = self.question.action {
            self.question.action = Action::Forward { host: host.to_owned(), port };
        }
    }

    /// Half past one at night in Asia, nine in the evening in Europe.
    fn night(&mut self, name: &str, ticket: &str) {
        self.now = moment("2026-11-23T20:00:00Z");
        (self.question.account, self.question.ticket) = (account(name), Some(ticket.to_owned()));
    }

    fn run(&mut self, runbook: &str, risk: Risk, devices: u64) {
        if let Action::Run { .. } = self.question.action {
            self.question.action = Action::Run { runbook: runbook.to_owned(), risk, devices };
        }
    }
}

fn actions() -> [(&'static str, Action); 8] {
    [
        ("shell", Action::Shell),
        ("exec", Action::Exec),
        ("files", Action::Files),
        ("forward", Action::Forward { host: "192.168.1.10".to_owned(), port: 443 }),
        ("run", Action::Run { runbook: "restart-cups".to_owned(), risk: Risk::Normal, devices: 50 }),
        ("enrol", Action::Enrol),
        ("audit", Action::Audit),
        ("operate", Action::Operate),
    ]
}

fn ask(world: &World, tenant: &Chain, case: &Case) -> String {
    let imports = match case.imports {
        Imports::Right => vec![&world.msp],
        Imports::None => Vec::new(),
        Imports::Forged => vec![&world.forged_msp],
    };
    match decide(&Policies { tenant, imports }, &case.question, case.now) {
        Ok(grant) => format!("yes, {} by line {}", grant.person(), grant.line()),
        Err(refusal) => format!("no, {}", refusal.word()),
    }
}

/// The answer as it should be, then every condition with another answer.
fn answers(world: &World, role: &str, action: &Action, own: bool) -> Vec<(&'static str, String)> {
    let (chain, address) = if own { (&world.acme, "web1.acme") } else { (&world.beta, "web1.beta") };
    let question = Question {
        key: public(role),
        device: device(address, &["server"], 7),
        account: account("root"),
        action: action.clone(),
        ticket: Some("INC-42".to_owned()),
    };
    let base = Case { question, now: monday(), imports: Imports::Right };
    let mut all: Vec<(&str, String)> = Vec::new();
    for (condition, change) in CONDITIONS {
        let mut case = base.clone();
        change(&mut case);
        let answer = ask(world, chain, &case);
        if all.first().is_none_or(|(_, first)| *first != answer) {
            all.push((condition, answer));
        }
    }
    all
}

/// The actions of one role in one tenant, those with the same answers together.
fn table(world: &World, role: &str, own: bool) -> Vec<(String, Vec<(&'static str, String)>)> {
    let mut all: Vec<(String, Vec<(&str, String)>)> = Vec::new();
    for (name, action) in actions() {
        let answers = answers(world, role, &action, own);
        match all.iter_mut().find(|(_, other)| *other == answers) {
            Some((names, _)) => *names += &format!(" {name}"),
            None => all.push((name.to_owned(), answers)),
        }
    }
    all
}

fn matrix() -> String {
    let world = World::new();
    let mut text = String::from(HEAD);
    for (role, about) in ROLES.into_iter().chain([("stranger", "a key nobody knows")]) {
        writeln!(text, "\n# {role}: {about}").unwrap();
        for (own, tenant) in [(true, "own"), (false, "foreign")] {
            for (actions, answers) in table(&world, role, own) {
                let actions = if actions.split(' ').count() == 8 { "every action" } else { actions.as_str() };
                for (condition, answer) in answers {
                    writeln!(text, "{role:8} | {tenant:7} | {actions:44} | {condition:33} | {answer}").unwrap();
                }
            }
        }
    }
    text
}

#[test]
fn the_permission_matrix_is_the_reviewed_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/tests/matrix.golden");
    let matrix = matrix();
    if std::env::var_os("BELAY_BLESS").is_some() {
        std::fs::write(path, &matrix).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (number, (is, should)) in matrix.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, should, "line {} of matrix.golden; BELAY_BLESS=1 writes it anew", number + 1);
    }
    assert_eq!(matrix.lines().count(), golden.lines().count());
}

#[test]
fn a_device_of_another_tenant_is_refused_whoever_asks() {
    let world = World::new();
    let address: DeviceAddress = "web1.beta".parse().unwrap();
    for (role, _) in ROLES {
        for (name, action) in actions() {
            let mut question = super::fixture::question(role, action);
            question.device.address = address.clone();
            let refusal = decide(&world.of_acme(), &question, monday()).unwrap_err();
            let expected = if role == "twin" { "ambiguous-key" } else { "foreign-device" };
            assert_eq!(refusal.word(), expected, "{role} {name}");
        }
    }
}
