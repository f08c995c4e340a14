//! From pins to everything that follows, out of the cache.

use super::*;
use crate::{
    home::PinnedAs,
    testing::{Customer, home},
};
use belay_certs::PrivateKey;

fn serving(acme: &Customer) -> Customer {
    Customer::new("msp", &format!("\n[[serves]]\ntenant = \"acme\"\npolicy0 = \"{}\"\n", acme.pin()))
}

#[test]
fn without_a_pin_nothing_is_believed() {
    let (_dir, home) = home();
    assert!(Trusted::load(&home).unwrap_err().sentence().contains("nothing is pinned"));
}

#[test]
fn one_pinned_provider_leads_to_the_tenants_it_serves() {
    let acme = Customer::new("acme", "");
    let msp = serving(&acme);
    let (_dir, home) = home();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    assert!(Trusted::load(&home).is_err());
    msp.cache(&home);
    let trusted = Trusted::load(&home).unwrap();
    assert!(trusted.tenant(&acme.name).unwrap_err().sentence().contains("not here yet"));
    acme.cache(&home);
    let trusted = Trusted::load(&home).unwrap();
    assert_eq!(trusted.tenant(&acme.name).unwrap().chain.policy0(), acme.pin());
    assert_eq!(trusted.reached().count(), 2);
    assert!(trusted.is_whole());
}

#[test]
fn an_imported_tenants_people_are_known_but_its_devices_are_not_reached() {
    let msp = Customer::new("msp", "");
    let acme = Customer::new("acme", &format!("\n[import.msp]\npolicy0 = \"{}\"\n", msp.pin()));
    let (_dir, home) = home();
    home.pin(&acme.name, acme.pin(), PinnedAs::Tenant).unwrap();
    acme.cache(&home);
    msp.cache(&home);
    let trusted = Trusted::load(&home).unwrap();
    assert!(trusted.tenant(&msp.name).is_err());
    let policies = trusted.policies(&acme.name).unwrap();
    assert_eq!(policies.person(msp.person_key()).unwrap().to_string(), "msp:alice");
    assert_eq!(policies.person(acme.person_key()).unwrap().to_string(), "alice");
}

#[test]
fn a_served_tenant_with_another_beginning_than_the_pinned_one_changes_nothing() {
    let (acme, impostor) = (Customer::new("acme", ""), Customer::new("acme", ""));
    let msp = serving(&impostor);
    let (_dir, home) = home();
    home.pin(&acme.name, acme.pin(), PinnedAs::Tenant).unwrap();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    acme.cache(&home);
    msp.cache(&home);
    let trusted = Trusted::load(&home).unwrap();
    assert_eq!(trusted.tenant(&acme.name).unwrap().chain.policy0(), acme.pin());
    assert!(!trusted.is_whole());
}

#[test]
fn tenants_behind_one_gateway_share_it() {
    let mut acme = Customer::new("acme", "");
    let msp = serving(&acme);
    let (_dir, home) = home();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    msp.cache(&home);
    acme.cache(&home);
    assert_eq!(Trusted::load(&home).unwrap().gateways(&home).unwrap().len(), 2);
    let key = acme.gateway_key.public().line();
    let text = String::from_utf8(acme.next(|_| {}).bytes).unwrap().replace(&key, &msp.gateway_key.public().line());
    acme.versions.push(acme.sign(&text));
    acme.cache(&home);
    assert_eq!(Trusted::load(&home).unwrap().gateways(&home).unwrap().len(), 1);
}

fn lists(tenants: &[&Customer]) -> String {
    let entry = |one: &&Customer| format!("\n[[serves]]\ntenant = \"{}\"\npolicy0 = \"{}\"\n", one.name, one.pin());
    tenants.iter().map(entry).collect()
}

#[test]
fn a_list_in_the_same_hands_is_followed_and_a_customers_is_not() {
    let squatted = Customer::new("newco", "");
    let acme = Customer::new("acme", &lists(&[&squatted]));
    let root = PrivateKey::generate_ed25519("root").unwrap();
    let book = Customer::rooted("msp-customers", &lists(&[&acme]), root.clone());
    let msp = Customer::rooted("msp", &lists(&[&book]), root);
    let (_dir, home) = home();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    [&msp, &book, &acme, &squatted].into_iter().for_each(|one| one.cache(&home));
    let trusted = Trusted::load(&home).unwrap();
    let reached: Vec<&str> = trusted.reached().map(|held| held.chain.tenant().as_str()).collect();
    assert_eq!(reached, ["acme", "msp", "msp-customers"]);
    assert!(trusted.is_whole() && trusted.tenant(&squatted.name).is_err());
}

#[test]
fn lists_that_name_each_other_end() {
    let root = PrivateKey::generate_ed25519("root").unwrap();
    let mut msp = Customer::rooted("msp", "", root.clone());
    let list = Customer::rooted("msp-customers", &lists(&[&msp]), root);
    let next = msp.next(|edit| edit.serve("msp-customers", &list.pin()).unwrap());
    msp.versions.push(next);
    let (_dir, home) = home();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    msp.cache(&home);
    list.cache(&home);
    let trusted = Trusted::load(&home).unwrap();
    assert_eq!(trusted.reached().count(), 2);
    assert!(trusted.is_whole());
}

#[test]
fn a_pinned_customers_list_counts_for_nothing() {
    let (globex, squatter) = (Customer::new("globex", ""), Customer::new("globex", ""));
    let acme = Customer::new("acme", &lists(&[&squatter]));
    let msp = Customer::new("msp", &lists(&[&globex, &acme]));
    let (_dir, home) = home();
    home.pin(&acme.name, acme.pin(), PinnedAs::Tenant).unwrap();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    [&msp, &acme, &globex].into_iter().for_each(|one| one.cache(&home));
    let trusted = Trusted::load(&home).unwrap();
    assert_eq!(trusted.tenant(&globex.name).unwrap().chain.policy0(), globex.pin());
    assert!(trusted.is_whole());
}

#[test]
fn a_provider_that_another_provider_serves_is_a_customer() {
    let (globex, squatter, newco) =
        (Customer::new("globex", ""), Customer::new("globex", ""), Customer::new("newco", ""));
    let acme = Customer::new("acme", &lists(&[&squatter, &newco]));
    let root = PrivateKey::generate_ed25519("root").unwrap();
    let book = Customer::rooted("msp-customers", &lists(&[&globex, &acme]), root.clone());
    let msp = Customer::rooted("msp", &lists(&[&book]), root);
    let (_dir, home) = home();
    for one in [&acme, &msp] {
        home.pin(&one.name, one.pin(), PinnedAs::Provider).unwrap();
    }
    [&msp, &book, &acme, &globex, &newco].into_iter().for_each(|one| one.cache(&home));
    let trusted = Trusted::load(&home).unwrap();
    assert_eq!(trusted.tenant(&globex.name).unwrap().chain.policy0(), globex.pin());
    assert!(trusted.tenant(&newco.name).is_err());
    let problems: Vec<_> =
        trusted.problems.iter().map(|problem| (problem.tenant.as_str(), &problem.sentence)).collect();
    assert!(matches!(&*problems, [("acme", sentence)] if sentence.contains("list")), "{problems:?}");
}

#[test]
fn where_two_providers_lists_disagree_neither_is_believed() {
    let (one, another, acme) = (Customer::new("globex", ""), Customer::new("globex", ""), Customer::new("acme", ""));
    let root = PrivateKey::generate_ed25519("root").unwrap();
    // What is contested is a list: what it serves is not believed either.
    let (book, other_book) =
        (Customer::rooted("the-list", &lists(&[&acme]), root.clone()), Customer::new("the-list", ""));
    let msp = Customer::rooted("msp", &lists(&[&one, &book]), root);
    let rival = Customer::new("rival", &lists(&[&another, &other_book]));
    let (_dir, home) = home();
    for provider in [&msp, &rival] {
        home.pin(&provider.name, provider.pin(), PinnedAs::Provider).unwrap();
    }
    [&msp, &rival, &one, &book, &acme].into_iter().for_each(|one| one.cache(&home));
    let trusted = Trusted::load(&home).unwrap();
    let reached: Vec<&str> = trusted.reached().map(|held| held.chain.tenant().as_str()).collect();
    assert_eq!(reached, ["msp", "rival"]);
    let told = trusted.tenant(&one.name).unwrap_err();
    for word in ["msp", "rival", &one.pin().to_string(), &another.pin().to_string(), "neither"] {
        assert!(told.sentence().contains(word), "{}", told.sentence());
    }
    assert!(!trusted.is_whole());
    home.pin(&one.name, one.pin(), PinnedAs::Tenant).unwrap();
    assert_eq!(Trusted::load(&home).unwrap().tenant(&one.name).unwrap().chain.policy0(), one.pin());
}

#[test]
fn an_import_never_takes_the_place_of_a_served_tenant_that_is_not_here() {
    let (globex, squatter) = (Customer::new("globex", ""), Customer::new("globex", ""));
    let acme = Customer::new("acme", &format!("\n[import.globex]\npolicy0 = \"{}\"\n", squatter.pin()));
    let msp = Customer::new("msp", &lists(&[&globex, &acme]));
    let (_dir, home) = home();
    home.pin(&msp.name, msp.pin(), PinnedAs::Provider).unwrap();
    // The gateway hides the true globex; the other one is here.
    [&msp, &acme, &squatter].into_iter().for_each(|one| one.cache(&home));
    let trusted = Trusted::load(&home).unwrap();
    assert!(trusted.tenant(&globex.name).is_err());
    assert!(trusted.reached().all(|held| held.chain.tenant() != &globex.name));
}
