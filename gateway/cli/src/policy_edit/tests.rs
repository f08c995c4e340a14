//! What an edit changes, and that it changes nothing else.

use super::*;

const TEXT: &str = r#"# acme's policy
format = 1
tenant = "acme"
version = 0          # counts up
issued = 2026-11-21T09:00:00Z
expires = 2027-02-19T09:00:00Z # ninety days

[root] # keep two offline
threshold = 1

[[people]]
name = "alice" # on call
keys = ["k1"]

# leaves in May
[[people]]
name = "bob"
keys = ["k2"]

[[grants]] # shared
who = ["alice", "bob"]
on = ["*"]

[[grants]] # bob's own
who = ["bob"]
on = ["db1"]

[runbooks]
signers = ["bob", "alice"]
"#;

fn head() -> Head {
    Head {
        version: 1,
        previous: Digest::of(b"zero"),
        issued: "2026-12-01T10:00:00Z".parse().unwrap(),
        expires: "2027-03-01T10:00:00Z".parse().unwrap(),
    }
}

#[test]
fn the_head_moves_on_and_every_comment_stays() {
    let mut edit = Edit::of(TEXT).unwrap();
    edit.renumber(&head()).unwrap();
    let text = edit.text();
    assert!(text.contains("version = 1          # counts up"), "{text}");
    assert!(text.contains("expires = 2027-03-01T10:00:00Z # ninety days"), "{text}");
    assert!(text.contains(&format!("previous = \"{}\"", Digest::of(b"zero"))), "{text}");
    assert!(text.find("previous").unwrap() < text.find("[root]").unwrap(), "{text}");
    assert_eq!(text.matches('#').count(), TEXT.matches('#').count());
}

#[test]
fn a_new_person_and_their_grant_stand_at_the_end_of_their_lists() {
    let mut edit = Edit::of(TEXT).unwrap();
    let grant = NewGrant { actions: vec!["shell".into()], on: vec!["*".into()], accounts: vec!["root".into()] };
    let person =
        NewPerson { name: "carol".into(), keys: vec!["k3".into()], grant: Some(grant), ..NewPerson::default() };
    edit.add_person(&person).unwrap();
    let text = edit.text();
    let people = "name = \"bob\"\nkeys = [\"k2\"]\n\n[[people]]\nname = \"carol\"\nkeys = [\"k3\"]\n";
    assert!(text.contains(people), "{text}");
    let grants = "on = [\"db1\"]\n\n[[grants]]\nwho = [\"carol\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\n";
    assert!(text.contains(grants), "{text}");
    assert!(text.contains("# leaves in May"), "{text}");
    assert!(edit.add_person(&person).unwrap_err().sentence().contains("already"));
}

#[test]
fn the_first_person_makes_the_lists() {
    let mut edit = Edit::of("format = 1\n\n[root]\nthreshold = 1\n").unwrap();
    edit.add_person(&NewPerson {
        name: "carol".into(),
        robot: true,
        teams: vec!["field".into()],
        ..NewPerson::default()
    })
    .unwrap();
    assert!(
        edit.text().ends_with("[[people]]\nname = \"carol\"\nrobot = true\nkeys = []\nteams = [\"field\"]\n"),
        "{}",
        edit.text()
    );
}

#[test]
fn a_removed_person_is_named_nowhere_any_more() {
    let mut edit = Edit::of(TEXT).unwrap();
    edit.remove_person("bob").unwrap();
    let text = edit.text();
    assert!(!text.contains("\"bob\""), "{text}");
    assert_eq!(text.matches("[[grants]]").count(), 1);
    assert!(text.contains("who = [\"alice\"]") && text.contains("signers = [ \"alice\"]"), "{text}");
    assert!(text.contains("name = \"alice\" # on call"), "{text}");
    assert!(edit.remove_person("bob").is_err());
}

#[test]
fn people_in_one_inline_list_are_not_guessed_at() {
    let mut edit = Edit::of("people = [{ name = \"a\" }]\n").unwrap();
    assert!(edit.remove_person("a").unwrap_err().sentence().contains("[[people]]"));
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH2+cmjnfuD/db9mh+JhJr5hGTbr00jcpmir2AVX4d5q";

#[test]
fn a_lost_laptops_key_is_replaced_and_nothing_else_changes() {
    let mut edit = Edit::of(TEXT).unwrap();
    let key: PublicKey = format!("{KEY} new laptop").parse().unwrap();
    edit.add_key("bob", &key).unwrap();
    assert!(edit.add_key("bob", &KEY.parse().unwrap()).unwrap_err().sentence().contains("already"));
    assert!(edit.add_key("carol", &key).unwrap_err().sentence().contains("no person carol"));
    assert!(edit.text().contains(&format!("keys = [\"k2\", \"{}\"]", key.line())), "{}", edit.text());
    edit.remove_key("bob", &key.fingerprint()).unwrap();
    assert_eq!(edit.text(), TEXT);
    assert!(edit.remove_key("bob", &key.fingerprint()).unwrap_err().sentence().contains("no key of bob"));
}

#[test]
fn a_team_that_nobody_is_in_any_more_is_named_nowhere() {
    let mut edit = Edit::of(&TEXT.replace("who = [\"alice\", \"bob\"]", "who = [\"alice\", \"night\"]")).unwrap();
    edit.join_team("bob", "night").unwrap();
    edit.join_team("alice", "night").unwrap();
    assert!(edit.join_team("bob", "night").is_err());
    edit.leave_team("alice", "night").unwrap();
    assert!(edit.text().contains("\"night\"]\non"), "{}", edit.text());
    assert!(edit.leave_team("alice", "night").is_err());
    let before = edit.text();
    edit.remove_person("bob").unwrap();
    assert!(!edit.text().contains("night"), "{}", edit.text());
    let mut edit = Edit::of(&before).unwrap();
    edit.leave_team("bob", "night").unwrap();
    assert!(!edit.text().contains("night") && edit.text().contains("who = [\"alice\"]"), "{}", edit.text());
}

#[test]
fn imports_and_served_tenants_are_added_once() {
    let mut edit = Edit::of(TEXT).unwrap();
    let hash = Digest::of(b"msp");
    edit.import("msp", &hash).unwrap();
    assert!(edit.import("msp", &hash).is_err());
    edit.serve("acme", &hash).unwrap();
    assert!(edit.serve("acme", &hash).is_err());
    let text = edit.text();
    assert!(text.contains(&format!("[import.msp]\npolicy0 = \"{hash}\"\n")), "{text}");
    assert!(text.contains(&format!("[[serves]]\ntenant = \"acme\"\npolicy0 = \"{hash}\"\n")), "{text}");
    edit.serve_no_more("acme").unwrap();
    assert!(!edit.text().contains("[[serves]]") && edit.serve_no_more("acme").is_err());
}
