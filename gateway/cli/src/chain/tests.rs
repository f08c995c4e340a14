//! Chains from documents, directories and the cache.

use super::*;
use crate::{
    policy_edit::NewPerson,
    testing::{Customer, home},
};

fn three_versions() -> Customer {
    let mut acme = Customer::new("acme", "");
    for _ in 1..3 {
        let next = acme.next(|_| {});
        acme.versions.push(next);
    }
    acme
}

#[test]
fn the_chain_is_followed_from_the_pin_to_the_newest() {
    let acme = three_versions();
    let (held, fresh) = follow(&acme.pin(), None, acme.versions.clone()).unwrap();
    assert_eq!((held.chain.version(), fresh.len()), (2, 3));
    assert_eq!(held.newest.bytes, acme.versions[2].bytes);
    let (again, fresh) = follow(&acme.pin(), Some(held), vec![acme.versions[2].clone()]).unwrap();
    assert_eq!((again.chain.version(), fresh.len()), (2, 0));
}

#[test]
fn another_version_0_than_the_pinned_one_is_not_trusted() {
    let (acme, other) = (three_versions(), Customer::new("acme", ""));
    let failure = follow(&acme.pin(), None, other.versions).unwrap_err();
    assert!(failure.sentence().contains("not the policy you trust"), "{}", failure.sentence());
    assert!(follow(&acme.pin(), None, Vec::new()).is_err());
    assert!(follow(&acme.pin(), None, acme.versions[1..].to_vec()).is_err());
}

#[test]
fn a_gap_a_stranger_and_a_second_version_n_are_refused() {
    let mut acme = three_versions();
    let gap = vec![acme.versions[0].clone(), acme.versions[2].clone()];
    assert!(follow(&acme.pin(), None, gap).is_err());
    let (held, _) = follow(&acme.pin(), None, acme.versions[..2].to_vec()).unwrap();
    let unsigned = Customer::new("acme", "").sign(std::str::from_utf8(&acme.versions[2].bytes).unwrap());
    assert!(follow(&acme.pin(), Some(held.clone()), vec![unsigned]).is_err());
    acme.versions.truncate(1);
    let fork = acme.next(|edit| edit.remove_person("alice").unwrap());
    assert!(follow(&acme.pin(), Some(held), vec![fork]).is_err());
}

#[test]
fn what_is_kept_is_found_again_and_damage_is_named() {
    let acme = three_versions();
    let (_dir, home) = home();
    assert!(cached(&home, &acme.name, &acme.pin()).unwrap().is_none());
    acme.cache(&home);
    assert_eq!(cached(&home, &acme.name, &acme.pin()).unwrap().unwrap().chain.version(), 2);
    assert!(cached(&home, &"globex".parse().unwrap(), &acme.pin()).unwrap().is_none());
    let path = home.policies(&acme.name).join("policy-1.toml");
    let text = home::read_text(&path).unwrap().replace("root", "r00t");
    std::fs::write(&path, text).unwrap();
    let failure = cached(&home, &acme.name, &acme.pin()).unwrap_err();
    assert!(failure.sentence().contains("tenants/acme"), "{}", failure.sentence());
}

#[test]
fn what_a_hacked_gateway_puts_beside_a_genuine_version_does_not_stay_in_the_cache() {
    let acme = three_versions();
    let (_dir, home) = home();
    let mut offered = acme.versions.clone();
    let stranger = Customer::new("acme", "").sign(std::str::from_utf8(&acme.versions[1].bytes).unwrap());
    offered[1].signatures.extend(["x".to_owned(), stranger.signatures[0].clone()]);
    offered[2].signatures = vec![offered[2].signatures[0].clone(); 64];
    let (_, fresh) = follow(&acme.pin(), None, offered).unwrap();
    keep(&home, &acme.name, 2, &fresh).unwrap();
    let held = cached(&home, &acme.name, &acme.pin()).unwrap().unwrap();
    assert_eq!((held.chain.version(), held.newest.signatures.len()), (2, 1));
    assert_eq!(
        home::read_text(&home.policies(&acme.name).join("policy-1.toml.sig")).unwrap().matches("BEGIN").count(),
        1
    );
}

#[test]
fn another_tenants_chain_is_not_taken_for_the_one_asked_for() {
    let acme = three_versions();
    let (_dir, home) = home();
    let globex: TenantName = "globex".parse().unwrap();
    keep(&home, &globex, 2, &acme.versions).unwrap();
    assert!(cached(&home, &globex, &acme.pin()).unwrap_err().sentence().contains("is of acme"));
}

#[test]
fn a_directory_with_signed_files_is_a_chain() {
    let acme = three_versions();
    let dir = tempfile::tempdir().unwrap();
    assert!(from_dir(dir.path(), &acme.pin()).is_err());
    for (version, signed) in acme.versions.iter().enumerate() {
        write(&dir.path().join(format!("policy-{version}.toml")), signed).unwrap();
    }
    let (held, documents) = from_dir(dir.path(), &acme.pin()).unwrap();
    assert_eq!((held.chain.version(), documents.len()), (2, 3));
    std::fs::remove_file(dir.path().join("policy-1.toml.sig")).unwrap();
    assert!(from_dir(dir.path(), &acme.pin()).is_err());
}

#[test]
fn a_version_0_that_was_signed_on_two_laptops_is_gathered_from_the_directory() {
    let acme = Customer::new("acme", "");
    let bob = belay_certs::PrivateKey::generate_ed25519("bob").unwrap();
    let text = std::str::from_utf8(&acme.versions[0].bytes).unwrap().replace("threshold = 1", "threshold = 2");
    let root = acme.root.public().line();
    // The root's own keys come first.
    let text = text.replacen(&format!("\"{root}\""), &format!("\"{root}\", \"{}\"", bob.public().line()), 1);
    let (dir, mine) = (tempfile::tempdir().unwrap(), acme.sign(&text));
    let file = dir.path().join("policy-0.toml");
    let pin = Digest::of(&mine.bytes);
    write(&file, &mine).unwrap();
    assert!(from_dir(dir.path(), &pin).unwrap_err().sentence().contains("has 1 of the 2 signatures"));
    let from_bob = belay_certs::sshsig::sign(belay_certs::Namespace::Policy, text.as_bytes(), &bob).unwrap();
    std::fs::write(dir.path().join("policy-0.toml.bob.sig"), from_bob).unwrap();
    let (held, documents) = from_dir(dir.path(), &pin).unwrap();
    assert_eq!((held.chain.version(), documents[0].signatures.len()), (0, 2));
}

#[test]
fn an_added_person_is_in_the_next_version_and_a_removed_one_is_not() {
    let mut acme = Customer::new("acme", "");
    let key = belay_certs::PrivateKey::generate_ed25519("bob").unwrap().public().line();
    let bob = NewPerson { name: "bob".into(), keys: vec![key], teams: vec!["field".into()], ..NewPerson::default() };
    let next = acme.next(|edit| edit.add_person(&bob).unwrap());
    acme.versions.push(next);
    let next = acme.next(|edit| edit.remove_person("alice").unwrap());
    acme.versions.push(next);
    let (held, _) = follow(&acme.pin(), None, acme.versions.clone()).unwrap();
    let names: Vec<String> = held.policy().people.iter().map(|person| person.name.to_string()).collect();
    assert_eq!(names, ["bob"]);
    assert!(held.policy().grants.is_empty());
}

#[test]
fn a_gap_in_the_cache_ends_the_chain_before_it() {
    let acme = three_versions();
    let (_dir, home) = home();
    acme.cache(&home);
    std::fs::remove_file(home.policies(&acme.name).join("policy-1.toml")).unwrap();
    assert_eq!(cached(&home, &acme.name, &acme.pin()).unwrap().unwrap().chain.version(), 0);
    keep(&home, &acme.name, 2, &acme.versions[1..]).unwrap();
    assert_eq!(cached(&home, &acme.name, &acme.pin()).unwrap().unwrap().chain.version(), 2);
}
