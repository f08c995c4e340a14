//! Root keys in the hands of several people: each signs on their own laptop, the files come together, a lost key is replaced.

#[path = "parts/policies.rs"]
mod policies;

use belay_tests::{Person, Plan, Said, World, run, wait::GENEROUS};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Three people with a root key each; `tech` is one of them, and two of them must sign.
struct Board {
    world: World,
    tech: Person,
    bob: Person,
    carol: Person,
}

fn board() -> Board {
    let world = World::small();
    let make = |name: &str| world.add_person("acme", name, &["--do", "audit"]).unwrap();
    let board = Board { tech: world.person("tech"), bob: make("bob"), carol: make("carol"), world };
    let text = policies::next(&policies::newest(&board.tech, "acme"));
    let roots = [&board.tech, &board.bob, &board.carol];
    let file = board.draft("two-of-three.toml", &with_roots(&text, 2, &roots));
    // The old root is one key, the new one has three of which two must sign.
    let said = board.tech_signs(&file, &[&board.world.root_key("acme"), &board.tech.key()]);
    assert!(
        said.out().contains("has 1 of the 2 signatures it needs from its own root keys (tech)"),
        "{}",
        said.story()
    );
    let from_bob = sign_elsewhere(&board.bob, &file).must();
    assert!(from_bob.out().contains("not valid yet"), "{}", from_bob.story());
    bring_back(&board.bob, &file);
    must_push(&board, &file);
    board
}

impl Board {
    fn draft(&self, name: &str, text: &str) -> PathBuf {
        let file = self.world.dir().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    fn tech_signs(&self, file: &Path, keys: &[&Path]) -> Said {
        let mut sign = self.tech.belay_command().unwrap();
        sign.args(["policy", "sign", "--yes"]).arg(file);
        for key in keys {
            sign.arg("--key").arg(key);
        }
        run(&mut sign, b"").unwrap().must()
    }

    /// The next version with these root keys, two of which must sign.
    fn next(&self, name: &str, roots: &[&Person]) -> PathBuf {
        let text = policies::next(&policies::newest(&self.tech, "acme"));
        self.draft(name, &with_roots(&text, 2, roots))
    }
}

/// The text with another root section.
fn with_roots(text: &str, threshold: usize, people: &[&Person]) -> String {
    let keys: Vec<String> =
        people.iter().map(|person| format!("{:?}", fs::read_to_string(person.public_key()).unwrap().trim())).collect();
    let (before, rest) = text.split_once("[root]").unwrap();
    let (_, after) = rest.split_once("[gateway]").unwrap();
    format!("{before}[root]\nthreshold = {threshold}\nkeys = [{}]\n\n[gateway]{after}", keys.join(", "))
}

/// Somebody signs a copy of the file on their own laptop, with their own key and what they trust there.
fn sign_elsewhere(person: &Person, file: &Path) -> Said {
    let copy = person.dir.join(file.file_name().unwrap());
    fs::copy(file, &copy).unwrap();
    let mut sign = person.belay_command().unwrap();
    sign.args(["policy", "sign", "--yes"]).arg(&copy).arg("--key").arg(person.key());
    run(&mut sign, b"").unwrap()
}

/// Their signature, as a file beside the original.
fn bring_back(person: &Person, file: &Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    fs::copy(person.dir.join(format!("{name}.sig")), file.with_file_name(format!("{name}.{}.sig", person.name)))
        .unwrap();
}

fn push(person: &Person, file: &Path) -> Said {
    run(person.belay_command().unwrap().args(["policy", "push"]).arg(file), b"").unwrap()
}

/// Pushes it and waits until the device goes by it.
#[track_caller]
fn must_push(board: &Board, file: &Path) {
    let log = board.world.log("web1.acme");
    let mark = log.mark();
    push(&board.tech, file).must();
    log.wait("the new policy", mark, GENEROUS, |line| line.contains("policy") && line.contains("version=")).unwrap();
    board.tech.ssh("web1.acme", "true").must();
}

#[test]
fn two_of_three_sign_on_two_laptops_and_one_alone_gets_nowhere() {
    let board = board();
    let Board { tech, bob, carol, .. } = &board;
    let file = board.next("plain.toml", &[tech, bob, carol]);
    let said = board.tech_signs(&file, &[&tech.key()]);
    let who = ["has 1 of the 2 signatures it needs from version", "root keys (tech): 1 more must sign, of bob, carol"];
    assert!(who.iter().all(|words| said.out().contains(words)), "{}", said.story());
    push(tech, &file).must_refuse(1, &who);
    // The gateway says the same to who asks it without `belay`, and records it.
    let text = fs::read_to_string(&file).unwrap();
    tech.gw_with_input("policy push acme", &policies::signed(&text, &tech.key())).must_refuse(1, &who);
    let refused = tech.log("acme").into_iter().rev().find(|entry| entry["type"] == "policy.refused").unwrap();
    assert!(refused["sentence"].as_str().unwrap().contains("1 more must sign, of bob, carol"), "{refused}");
    // The same key a second time, also under another comment, is still one key.
    let twice = tech.dir.join("again");
    fs::copy(tech.key(), &twice).unwrap();
    fs::write(twice.with_extension("pub"), fs::read_to_string(tech.public_key()).unwrap().replace("tech", "spare"))
        .unwrap();
    let said = board.tech_signs(&file, &[&tech.key(), &twice]);
    assert!(said.out().contains("1 more must sign"), "{}", said.story());
    push(tech, &file).must_refuse(1, &who);
    // Carol's signature of another text helps nobody.
    let other = board.next("other.toml", &[tech, carol]);
    sign_elsewhere(carol, &other).must();
    fs::copy(carol.dir.join("other.toml.sig"), file.with_file_name("plain.toml.carol.sig")).unwrap();
    push(tech, &file).must_refuse(1, &who);
    sign_elsewhere(carol, &file).must();
    bring_back(carol, &file);
    let checked = tech.belay(["policy", "check", file.to_str().unwrap()]).unwrap().must();
    assert!(checked.out().contains("it has the signatures it needs"), "{}", checked.story());
    must_push(&board, &file);
}

#[test]
fn a_lost_root_key_is_replaced_by_the_other_two() {
    let board = board();
    let Board { world, tech, bob, carol } = &board;
    let dora = world.add_person_signed_by("acme", "dora", &["--do", "audit"], &[&tech.key(), &bob.key()]).unwrap();
    let file = board.next("without-carol.toml", &[tech, bob, &dora]);
    // The new key and one old one: enough for the new root, not for the old.
    sign_elsewhere(&dora, &file).must();
    bring_back(&dora, &file);
    board.tech_signs(&file, &[&tech.key()]);
    push(tech, &file).must_refuse(
        1,
        &["has 1 of the 2 signatures it needs from version", "(tech): 1 more must sign, of bob, carol"],
    );
    sign_elsewhere(bob, &file).must();
    bring_back(bob, &file);
    must_push(&board, &file);
    // Whoever finds the lost key now finds nothing.
    let next = board.next("thief.toml", &[tech, bob, carol]);
    let said = sign_elsewhere(carol, &next);
    assert!(said.out().contains("of tech, bob, dora") || said.err().contains("is no root key"), "{}", said.story());
    bring_back_if_there(carol, &next);
    board.tech_signs(&next, &[&tech.key()]);
    push(tech, &next).must_refuse(1, &["1 more must sign, of bob, dora"]);
    let renewed = board.next("renewed.toml", &[tech, bob, &dora]);
    sign_elsewhere(&dora, &renewed).must();
    bring_back(&dora, &renewed);
    board.tech_signs(&renewed, &[&tech.key()]);
    must_push(&board, &renewed);
}

fn bring_back_if_there(person: &Person, file: &Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    if person.dir.join(format!("{name}.sig")).exists() {
        bring_back(person, file);
    }
}

#[test]
fn version_0_of_two_people_is_signed_by_one_after_the_other() {
    let world = World::of(Plan::without_devices());
    let tech = world.person("tech");
    let bob = Person::make(&world.dir().join("people/bob"), "bob").unwrap();
    let invite = world.dir().join("other.invite");
    fs::write(&invite, world.operator(&["tenant", "add", "other"]).unwrap().must().stdout).unwrap();
    let dir = world.dir().join("other");
    let mut init = tech.belay_command().unwrap();
    init.args(["init", "other", "--threshold", "2", "--invite"]).arg(&invite).arg("--dir").arg(&dir);
    init.args(["--person", "tech", "--key"]).arg(tech.public_key());
    init.arg("--root-key").arg(tech.key()).arg("--root-key").arg(bob.public_key());
    let said = run(&mut init, b"").unwrap().must();
    assert!(said.out().contains("(tech): 1 more must sign, of bob"), "{}", said.story());
    let file = dir.join("policy-0.toml");
    let adopt = || world.operator(&["tenant", "adopt", "other", file.to_str().unwrap()]).unwrap();
    let refused = adopt();
    assert!(!refused.status.success() && refused.err().contains("1 more must sign, of bob"), "{}", refused.story());
    let mut sign = bob.belay_command().unwrap();
    sign.args(["policy", "sign", "--yes"]).arg(&file).arg("--key").arg(bob.key());
    run(&mut sign, b"").unwrap().must();
    adopt().must();
    for threshold in ["0", "3", "32"] {
        let mut init = tech.belay_command().unwrap();
        init.args(["init", "other", "--threshold", threshold, "--invite"]).arg(&invite).arg("--dir").arg(dir.join("x"));
        init.arg("--root-key").arg(tech.key()).arg("--root-key").arg(bob.public_key());
        run(&mut init, b"").unwrap().must_refuse(2, &["--threshold is 1 to 2"]);
    }
}
