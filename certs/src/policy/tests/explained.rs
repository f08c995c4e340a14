//! Every line of a policy explained for one device, and that the explanation never differs from the decision.

use super::fixture::{Draft, World, account, device, monday, public, web1};
use crate::policy::*;

/// One line for each grant, as a person could read it.
fn lines(policies: &Policies<'_>, device: &DeviceFacts) -> Vec<String> {
    explain(policies, device).unwrap().iter().map(line).collect()
}

fn line(explained: &Explained<'_>) -> String {
    let fit = match explained.fit {
        Fit::Reaches(on) => format!("by {on}"),
        Fit::Excepted(except) => format!("not, {except}"),
        Fit::Elsewhere => "elsewhere".to_owned(),
    };
    let who = explained.who.iter().map(|named| match &named.meaning {
        Meaning::Person(Kind::Human) => named.name.to_string(),
        Meaning::Person(Kind::Robot) => format!("robot {}", named.name),
        Meaning::Team(people) => {
            format!("{} = {:?}", named.name, people.iter().map(|(p, _)| p.to_string()).collect::<Vec<_>>())
        }
        Meaning::NotHeld => format!("{} = ?", named.name),
    });
    format!("{fit}: {}", who.collect::<Vec<_>>().join(", "))
}

#[test]
fn every_line_is_there_with_who_it_means_and_whether_it_fits() {
    let world = World::new();
    let at_web1 = lines(&world.of_acme(), &web1());
    assert_eq!(at_web1.len(), world.acme.policy().grants.len());
    assert_eq!(at_web1[0], "by *: msp:field = [\"msp:tia\", \"msp:tom\"]");
    assert_eq!(at_web1[1], "by tag:server: robot nightly");
    assert_eq!(at_web1[3], "by *: audit = [\"auditor\"]");
    assert_eq!(at_web1[5], "by *: chief, twin");
    let at_db1 = lines(&world.of_acme(), &device("db1.acme", &[], 8));
    assert_eq!(at_db1[0], "not, db1: msp:field = [\"msp:tia\", \"msp:tom\"]");
    assert_eq!(at_db1[1], "elsewhere: robot nightly");
    assert_eq!(at_db1[4], "elsewhere: clerk");
}

#[test]
fn an_import_that_is_not_held_leaves_its_names_unknown_and_a_team_may_be_empty() {
    let world = World::new();
    for imports in [Vec::new(), vec![&world.forged_msp]] {
        let unheld = lines(&Policies { tenant: &world.acme, imports }, &web1());
        assert_eq!(unheld[0], "by *: msp:field = ?");
        assert_eq!(unheld[2], "by *: oncall");
    }
    let body = include_str!("beta.toml").replace("{MSP}", &world.msp.policy0().to_string()).replace("desk", "gone");
    let beta = Draft::new("beta", &body).begin();
    let empty = lines(&Policies { tenant: &beta, imports: vec![&world.msp] }, &device("web1.beta", &[], 1));
    assert_eq!(empty[0], "by web*: msp:gone = []");
}

#[test]
fn for_a_foreign_or_a_revoked_device_no_line_counts() {
    let world = World::new();
    let word = |address, serial| explain(&world.of_acme(), &device(address, &[], serial)).unwrap_err().word();
    assert_eq!(word("web1.beta", 7), "foreign-device");
    assert_eq!(word("web1.acme", 666), "device-revoked");
}

#[test]
fn who_is_explained_to_have_no_line_is_refused_and_nobody_else() {
    let world = World::new();
    let names = ["tia", "nightly", "oncall", "auditor", "clerk", "chief", "idle", "dora"];
    for labels in [&["server"][..], &[], &["server", "frozen"]] {
        for address in ["web1.acme", "db1.acme", "mail.acme"] {
            let device = device(address, labels, 7);
            let policies = world.of_acme();
            let explained = explain(&policies, &device).unwrap();
            for name in names {
                let reached = explained.iter().any(|one| {
                    matches!(one.fit, Fit::Reaches(_)) && one.people().iter().any(|(p, _)| p.name.as_str() == name)
                });
                let question = Question {
                    key: public(name),
                    device: device.clone(),
                    account: account("root"),
                    action: Action::Audit,
                    ticket: None,
                };
                let refused = decide(&policies, &question, monday()).err().map(|refusal| refusal.word());
                assert_eq!(refused == Some("no-grant"), !reached, "{name} on {address} {labels:?}: {refused:?}");
            }
        }
    }
}
