//! What may move the authority of a machine, what may not, and what is still true after a restart.

use super::*;
use crate::testbed::{Machine, Tenant, key, now};
use belay_certs::{Namespace, limits::SIGNATURE_BYTES_MAX, sshsig, time::SECOND};
use std::sync::atomic::Ordering;

fn root() -> AccountName {
    "root".parse().unwrap()
}

fn shell(authority: &Authority, key: &PublicKey) -> Result<Grant, Refusal> {
    authority.decide(key, Some(&root()), Action::Shell, None)
}

fn fault(taken: Result<Taken, NotTaken>) -> Fault {
    match taken.unwrap_err() {
        NotTaken::Refused(refused) => refused.fault,
        NotTaken::Broken(broken) => panic!("{broken}"),
    }
}

#[test]
fn a_pending_machine_says_no_to_everybody() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.authority();
    assert!(!authority.approved() && authority.device().is_none() && authority.host_certificate().is_none());
    assert!(matches!(authority.knows(tenant.alice.public()), Err(Refusal::NoGrant { .. })));
    assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::NoGrant { .. })));
    assert!(matches!(authority.knows(key("").public()), Err(Refusal::UnknownKey)));
    assert_eq!(authority.address().to_string(), "web1.acme");
}

#[test]
fn an_approved_machine_answers_by_its_policy_and_so_it_does_after_a_restart() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.authority();
    let changes = authority.changes();
    assert_eq!(authority.take_record(&tenant.approve(machine.host_key.public(), 7)).unwrap(), 7);
    assert!(changes.has_changed().unwrap());
    for authority in [authority, machine.authority()] {
        assert_eq!(authority.knows(tenant.alice.public()).unwrap().to_string(), "alice");
        assert_eq!(shell(&authority, tenant.alice.public()).unwrap().versions()[0].1, 0);
        let deploy = authority.decide(tenant.alice.public(), Some(&"deploy".parse().unwrap()), Action::Shell, None);
        assert!(matches!(deploy, Err(Refusal::AccountNotGranted { .. })));
        assert!(matches!(authority.knows(key("").public()), Err(Refusal::UnknownKey)));
        assert_eq!(authority.device().unwrap().labels, ["server"]);
        assert!(authority.host_certificate().is_some());
        assert_eq!(authority.log().unwrap(), tenant.log.identity());
    }
}

#[test]
fn what_a_hacked_gateway_puts_beside_a_genuine_policy_does_not_stop_the_next_start() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let stranger = key("");
    let full = |armored: &str| armored.replacen('\n', &"\n".repeat(SIGNATURE_BYTES_MAX + 1 - armored.len()), 1);
    let flood = |good: &Signed| -> Vec<Vec<String>> {
        let valid = good.signatures[0].clone();
        let by_stranger = sshsig::sign(Namespace::Policy, &good.bytes, &stranger).unwrap();
        let armour = "-----BEGIN SSH SIGNATURE-----";
        vec![
            vec![valid.clone(), "x".to_owned(), armour.repeat(70)],
            vec![full(&valid); 64],
            [vec![valid.clone()], vec![full(&by_stranger); 63]].concat(),
            vec![valid.clone() + &armour.repeat(70), valid],
        ]
    };
    let mut version = 0;
    for at in 0..4 {
        let mut offered = tenant.publish(|_| {});
        offered.signatures = flood(&offered).swap_remove(at);
        assert_eq!(authority.take_policy(&tenant.name(), &offered).unwrap(), Taken::Next, "{at}");
        version += 1;
        let again = machine.authority();
        assert_eq!(shell(&again, tenant.alice.public()).unwrap().versions()[0].1, version, "{at}");
    }
}

#[test]
fn a_new_policy_counts_at_once_and_after_a_restart() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let changes = authority.changes();
    let revoking = tenant.publish(|draft| draft.revoked = vec![7]);
    assert_eq!(authority.take_policy(&tenant.name(), &revoking).unwrap(), Taken::Next);
    assert!(changes.has_changed().unwrap());
    assert_eq!(authority.take_policy(&tenant.name(), &revoking).unwrap(), Taken::Same);
    for authority in [authority, machine.authority()] {
        assert_eq!(authority.policies()[0].1, 1);
        assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::DeviceRevoked { serial: 7, .. })));
    }
}

#[test]
fn an_older_forked_foreign_or_unsigned_policy_changes_nothing() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let second = tenant.publish(|_| {});
    let mut fork = tenant.draft.clone();
    fork.revoked = vec![99];
    authority.take_policy(&tenant.name(), &second).unwrap();
    let changes = authority.changes();
    let offer = |signed: &Signed| fault(authority.take_policy(&tenant.name(), signed));
    assert_eq!(offer(&tenant.versions[0]), Fault::Older);
    assert_eq!(offer(&fork.signed()), Fault::Fork);
    assert_eq!(offer(&fork.next().signed()), Fault::WrongPrevious);
    let other = Tenant::new("other");
    assert_eq!(offer(&other.versions[0]), Fault::ForeignTenant);
    assert_eq!(fault(authority.take_policy(&other.name(), &other.versions[0])), Fault::ForeignTenant);
    let mut next = tenant.draft.next();
    next.root = key("somebody");
    assert_eq!(offer(&next.signed()), Fault::Unsigned);
    assert!(!changes.has_changed().unwrap());
    for authority in [&authority, &machine.authority()] {
        assert_eq!(authority.policies()[0].1, 1);
        shell(authority, tenant.alice.public()).unwrap();
    }
}

#[test]
fn after_expiry_nothing_starts_and_the_next_version_is_still_taken() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    machine.approved(&tenant);
    machine.set_clock("2027-03-01T00:00:00Z");
    let authority = machine.authority();
    assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::PolicyExpired { version: 0, .. })));
    assert!(matches!(authority.knows(tenant.alice.public()), Err(Refusal::PolicyExpired { .. })));
    assert!(authority.warnings()[0].contains("expires in 0 days"));
    let renewed =
        tenant.publish(|draft| (draft.issued, draft.expires) = ("2027-02-28T00:00:00Z", "2027-05-01T00:00:00Z"));
    authority.take_policy(&tenant.name(), &renewed).unwrap();
    shell(&authority, tenant.alice.public()).unwrap();
}

#[test]
fn a_clock_set_back_starts_nothing_even_after_a_restart() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    shell(&authority, tenant.alice.public()).unwrap();
    machine.hands.store(now().plus(-3_600 * SECOND).micros(), Ordering::Relaxed);
    assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::Clock { .. })));
    assert!(matches!(machine.authority().knows(tenant.alice.public()), Err(Refusal::Clock { .. })));
    assert!(machine.authority().warnings().iter().any(|warning| warning.contains("set the clock")));
}

#[test]
fn a_policy_for_newer_agents_stops_this_one() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    authority.take_policy(&tenant.name(), &tenant.publish(|draft| draft.min_agent = "99.0.0")).unwrap();
    assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::AgentTooOld { .. })));
}

#[test]
fn a_signed_policy_that_cannot_be_read_stops_new_work_and_rubbish_does_not() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let newer = tenant.draft.next().text().replace("format = 1", "format = 2");
    let rubbish = crate::testbed::sign(Namespace::Policy, &newer, &key("somebody"));
    assert_eq!(fault(authority.take_policy(&tenant.name(), &rubbish)), Fault::Malformed);
    shell(&authority, tenant.alice.public()).unwrap();
    let changes = authority.changes();
    let unreadable = crate::testbed::sign(Namespace::Policy, &newer, &tenant.draft.root);
    assert_eq!(fault(authority.take_policy(&tenant.name(), &unreadable)), Fault::Malformed);
    assert!(changes.has_changed().unwrap(), "what runs is asked again");
    assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::AgentTooOld { .. })));
    authority.take_policy(&tenant.name(), &tenant.publish(|_| {})).unwrap();
    shell(&authority, tenant.alice.public()).unwrap();
}

#[test]
fn only_the_import_that_the_tenant_pins_brings_people() {
    let mut msp = Tenant::new("msp");
    let tech = msp.alice.clone();
    let mut tenant = Tenant::new("acme");
    tenant.found(|draft| {
        draft.imports = vec![("msp".to_owned(), msp.policy0())];
        draft.grants = "\n[[grants]]\nwho = [\"msp:alice\", \"alice\"]\non = [\"*\"]\ndo = [\"shell\", \"enrol\"]\nas = [\"root\"]\n";
    });
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    assert!(matches!(authority.knows(tech.public()), Err(Refusal::UnknownKey)), "not held, so unknown");
    assert_eq!(fault(authority.take_policy(&msp.name(), &Tenant::new("msp").versions[0])), Fault::Fork);
    authority.take_policy(&msp.name(), &msp.versions[0]).unwrap();
    let second = msp.publish(|_| {});
    authority.take_policy(&msp.name(), &second).unwrap();
    assert_eq!(fault(authority.take_policy(&msp.name(), &msp.versions[0])), Fault::Older);
    for authority in [&authority, &machine.authority()] {
        assert_eq!(authority.knows(tech.public()).unwrap().to_string(), "msp:alice");
        assert_eq!(authority.policies()[1].1, 1);
    }
    // Another provider chain under the same name, and the first one again: nothing is lost and nothing goes back.
    let other = Tenant::new("msp");
    let moved = tenant.publish(|draft| draft.imports = vec![("msp".to_owned(), other.policy0())]);
    authority.take_policy(&tenant.name(), &moved).unwrap();
    assert!(matches!(authority.knows(tech.public()), Err(Refusal::UnknownKey)));
    authority.take_policy(&msp.name(), &other.versions[0]).unwrap();
    let back = tenant.publish(|draft| draft.imports = vec![("msp".to_owned(), msp.policy0())]);
    authority.take_policy(&tenant.name(), &back).unwrap();
    for authority in [&authority, &machine.authority()] {
        assert_eq!(authority.knows(tech.public()).unwrap().to_string(), "msp:alice");
        assert_eq!(authority.policies()[1].1, 1, "not version 0 again");
    }
}

#[test]
fn an_import_whose_next_version_cannot_be_read_brings_nobody_and_the_tenants_own_people_stay() {
    let mut msp = Tenant::new("msp");
    let tech = msp.alice.clone();
    let mut tenant = Tenant::new("acme");
    tenant.found(|draft| {
        draft.imports = vec![("msp".to_owned(), msp.policy0())];
        draft.grants = "\n[[grants]]\nwho = [\"msp:alice\", \"alice\"]\non = [\"*\"]\ndo = [\"shell\", \"enrol\"]\nas = [\"root\"]\n";
    });
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    authority.take_policy(&msp.name(), &msp.versions[0]).unwrap();
    let newer = msp.draft.next().text().replace("format = 1", "format = 2");
    let rubbish = crate::testbed::sign(Namespace::Policy, &newer, &tenant.draft.root);
    assert_eq!(fault(authority.take_policy(&msp.name(), &rubbish)), Fault::Malformed);
    shell(&authority, tech.public()).unwrap();
    let changes = authority.changes();
    let unreadable = crate::testbed::sign(Namespace::Policy, &newer, &msp.draft.root);
    assert_eq!(fault(authority.take_policy(&msp.name(), &unreadable)), Fault::Malformed);
    assert!(changes.has_changed().unwrap(), "what runs is asked again");
    assert!(matches!(shell(&authority, tech.public()), Err(Refusal::UnknownKey)));
    shell(&authority, tenant.alice.public()).unwrap();
    authority.take_policy(&tenant.name(), &tenant.publish(|_| {})).unwrap();
    assert!(shell(&authority, tech.public()).is_err(), "the tenant's own next version changes nothing in this");
    authority.take_policy(&msp.name(), &msp.publish(|_| {})).unwrap();
    shell(&authority, tech.public()).unwrap();
}

#[test]
fn a_record_moves_only_forward_and_only_for_this_machine() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let mine = machine.host_key.public();
    let refused = |approval: &Approval| match authority.take_record(approval).unwrap_err() {
        NotTaken::Refused(refused) => refused.fault,
        NotTaken::Broken(broken) => panic!("{broken}"),
    };
    assert_eq!(refused(&tenant.approve(key("").public(), 8)), Fault::Mismatch);
    assert_eq!(refused(&tenant.approve_as("web2", mine, 7, &tenant.alice)), Fault::Fork);
    assert_eq!(refused(&tenant.approve(mine, 6)), Fault::Older);
    assert_eq!(refused(&tenant.approve_as("web2", mine, 8, &key("mallory"))), Fault::WrongSigner);
    assert_eq!(authority.address().to_string(), "web1.acme");
    assert_eq!(authority.take_record(&tenant.approve_as("web2", mine, 8, &tenant.alice)).unwrap(), 8);
    assert_eq!(machine.authority().address().to_string(), "web2.acme");
}

#[test]
fn the_same_approval_again_is_no_change_even_when_its_approver_has_left() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let approval = tenant.approve(machine.host_key.public(), 7);
    let authority = machine.authority();
    authority.take_record(&approval).unwrap();
    let successor = key("alice");
    let replaced = tenant.publish(|draft| draft.people = vec![("alice", successor.public().clone())]);
    authority.take_policy(&tenant.name(), &replaced).unwrap();
    let changes = authority.changes();
    assert_eq!(authority.take_record(&approval).unwrap(), 7);
    assert!(!changes.has_changed().unwrap());
    let authority = machine.authority();
    shell(&authority, successor.public()).unwrap();
    assert!(matches!(shell(&authority, tenant.alice.public()), Err(Refusal::UnknownKey)));
}

#[test]
fn an_approval_is_kept_so_that_anyone_can_verify_it_again() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    machine.approved(&tenant);
    let approval = crate::state::record::approval(&machine.dir.at("record.json")).unwrap().unwrap();
    let chain = &tenant.chains()[0].0;
    let policies = Policies { tenant: chain, imports: Vec::new() };
    check_approval(&policies, &approval, machine.host_key.public(), None, now()).unwrap();
}

#[test]
fn a_policy_that_cannot_be_kept_is_not_gone_by() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let directory = machine.path().join("policies/acme").join(tenant.policy0().hex());
    let revoking = tenant.publish(|draft| draft.revoked = vec![7]);
    // A directory where the document's draft goes makes the write fail.
    let in_the_way = directory.join("1.toml.new");
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(matches!(authority.take_policy(&tenant.name(), &revoking), Err(NotTaken::Broken(_))));
    for authority in [&authority, &machine.authority()] {
        assert_eq!(authority.policies()[0].1, 0);
        shell(authority, tenant.alice.public()).unwrap();
    }
    std::fs::remove_dir(in_the_way).unwrap();
    authority.take_policy(&tenant.name(), &revoking).unwrap();
    assert_eq!(machine.authority().policies()[0].1, 1);
}

#[test]
fn a_changed_or_missing_file_is_never_taken_for_an_older_state() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    authority.take_policy(&tenant.name(), &tenant.publish(|_| {})).unwrap();
    let reopen = || {
        let (pin, host_key) = (machine.pin.clone(), machine.host_key.public().clone());
        Authority::open(&machine.dir, pin, host_key, machine.clock.clone()).unwrap_err().to_string()
    };
    let directory = machine.path().join("policies/acme").join(tenant.policy0().hex());
    let path = directory.join("1.toml");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&good[..], b"\n# changed\n"].concat()).unwrap();
    assert!(reopen().contains("1.toml is damaged"));
    std::fs::write(&path, &good).unwrap();
    std::fs::remove_file(directory.join("1.sig")).unwrap();
    assert!(reopen().contains("1.sig is damaged"));
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(reopen().contains("chain this machine is pinned to is missing"));
}

#[test]
fn who_may_enrol_only_the_lab_cannot_make_this_machine_a_lab_machine() {
    let mut tenant = Tenant::new("acme");
    let mallory = key("mallory");
    tenant.found(|draft| {
        draft.people.push(("mallory", mallory.public().clone()));
        draft.grants = r#"
[[grants]]
who = ["alice"]
on = ["*"]
do = ["shell", "enrol"]
as = ["root"]
[[grants]]
who = ["mallory"]
on = ["tag:lab"]
do = ["shell", "enrol"]
as = ["root"]
"#;
    });
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    for name in ["web1", "lab9"] {
        let hers = tenant.approve_labelled(name, "lab", machine.host_key.public(), 90, &mallory);
        let Err(NotTaken::Refused(refused)) = authority.take_record(&hers) else { panic!("{name} was taken") };
        assert_eq!(refused.fault, Fault::WrongSigner, "{refused}");
    }
    for authority in [&authority, &machine.authority()] {
        assert_eq!(authority.device().unwrap().labels, ["server"]);
        assert!(matches!(shell(authority, mallory.public()), Err(Refusal::NoGrant { .. })));
    }
    // What is a lab machine by the word of somebody who may say so, she changes as she likes.
    let lab = tenant.approve_labelled("web1", "lab", machine.host_key.public(), 91, &tenant.alice);
    authority.take_record(&lab).unwrap();
    let hers = tenant.approve_labelled("lab9", "lab", machine.host_key.public(), 92, &mallory);
    assert_eq!(authority.take_record(&hers).unwrap(), 92);
}
