//! Policies that must not count: each refused with one clear sentence, and everything stays as it was.

#[path = "parts/policies.rs"]
mod policies;

use belay_certs::{Digest, Timestamp, time::SECOND};
use belay_tests::{
    Person, World,
    wait::{GENEROUS, until},
};
use std::{fs, time::SystemTime};

const PUSH: &str = "policy push acme";

/// The newest version's number.
fn version(person: &Person, tenant: &str) -> u64 {
    let shown = person.gw(&format!("policy show {tenant} --json")).json();
    shown["versions"].as_array().and_then(|versions| versions.last()).and_then(|last| last["version"].as_u64()).unwrap()
}

/// Everything is as before: the version, and what people may do.
#[track_caller]
fn must_be_untouched(tech: &Person, before: u64) {
    assert_eq!(version(tech, "acme"), before);
    assert_eq!(tech.ssh("web1.acme", "echo still here").must().out(), "still here\n");
}

#[test]
fn a_policy_that_does_not_follow_is_refused_with_the_reason() {
    let world = World::shared();
    let (tech, root) = (world.person("tech"), world.root_key("acme"));
    let newest = policies::newest(&tech, "acme");
    let before = version(&tech, "acme");
    let next = policies::next(&newest);
    let stranger = Person::make(&world.dir().join("people/forger"), "forger").unwrap();
    let version_0 = fs::read_to_string(world.tenant_dir("acme").join("policy-0.toml")).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(next.contains(from), "{from} is not in\n{next}");
        next.replace(from, to)
    };
    let sign = |text: &str| policies::signed(text, &root);
    let altered = String::from_utf8(sign(&next)).unwrap().replace("threshold = 1", "threshold = 1 ");
    let previous = Digest::of(newest.as_bytes()).to_string();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("no signature", next.clone().into_bytes(), &["signature"]),
        ("a stranger's signature", policies::signed(&next, &stranger.key()), &["0 of the 1 signatures"]),
        ("bytes changed after signing", altered.into_bytes(), &["0 of the 1 signatures", "does not verify"]),
        ("wrong previous", sign(&changed(&previous, &Digest::of(b"another").to_string())), &["previous"]),
        ("older", sign(&version_0), &["is older than version"]),
        ("a different version n", sign(&format!("{newest}# changed\n")), &["a second, different version"]),
        (
            "a version left out",
            sign(&changed(&format!("version = {}", before + 1), &format!("version = {}", before + 2))),
            &["does not follow"],
        ),
        ("issued before its predecessor", sign(&issued_long_ago(&next)), &["was issued at"]),
        ("unknown field", sign(&format!("colour = \"red\"\n{next}")), &["line 1", "colour"]),
        ("one key under two names", sign(&with_twin(&next)), &["twin"]),
        ("CR", sign(&next.replace('\n', "\r\n")), &["CR"]),
        ("BOM", sign(&format!("\u{feff}{next}")), &["BOM"]),
        ("another tenant's", sign(&changed("tenant = \"acme\"", "tenant = \"globex\"")), &["globex"]),
    ];
    for (case, envelope, words) in cases {
        let said = tech.gw_with_input(PUSH, &envelope);
        println!("{case}: {}", said.err().trim());
        let said = said.must_refuse(1, words);
        assert_eq!(said.err().trim().lines().count(), 1, "{case} is not one sentence: {}", said.story());
    }
    must_be_untouched(&tech, before);
    let refused = tech.log("acme").into_iter().filter(|entry| entry["type"] == "policy.refused").count();
    assert!(refused > 0, "refused policies leave no record");
}

/// Signed properly, and dated before the version that it follows.
fn issued_long_ago(next: &str) -> String {
    let dated = |line: &str| match line.split(" = ").next() {
        Some("issued") => "issued = 2020-01-01T00:00:00Z".to_owned(),
        Some("expires") => "expires = 2020-02-01T00:00:00Z".to_owned(),
        _ => line.to_owned(),
    };
    next.lines().map(|line| dated(line) + "\n").collect()
}

/// Valid for a few seconds more.
fn ending_soon(next: &str) -> String {
    let soon = Timestamp::from_system(SystemTime::now()).whole_second().plus(4 * SECOND);
    let dated = |line: &str| if line.starts_with("expires = ") { format!("expires = {soon}") } else { line.to_owned() };
    next.lines().map(|line| dated(line) + "\n").collect()
}

/// The first person once more, under another name.
fn with_twin(next: &str) -> String {
    let keys = next
        .split("[[people]]")
        .nth(1)
        .and_then(|person| person.lines().find(|line| line.starts_with("keys")))
        .unwrap();
    format!("{next}\n[[people]]\nname = \"twin\"\n{keys}\n")
}

#[test]
fn a_file_that_is_no_policy_is_named_with_its_line_before_anybody_signs() {
    let world = World::shared();
    let tech = world.person("tech");
    let next = policies::next(&policies::newest(&tech, "acme"));
    let file = world.dir().join("draft.toml");
    let lines = next.lines().count();
    let cases: [(&str, String, &str); 4] = [
        ("unknown field", format!("{next}\n[colours]\nred = true\n"), &format!("line {}", lines + 2)),
        ("CR", next.replace('\n', "\r\n"), "CR"),
        ("BOM", format!("\u{feff}{next}"), "BOM"),
        ("not TOML", next.replace("[root]", "[root"), "line"),
    ];
    for (case, text, words) in cases {
        fs::write(&file, text).unwrap();
        for command in [vec!["policy", "check"], vec!["policy", "sign", "--yes", "--key"]] {
            let mut belay = tech.belay_command().unwrap();
            belay.args(&command);
            if command.len() > 2 {
                belay.arg(world.root_key("acme"));
            }
            let said = belay_tests::run(belay.arg(&file), b"").unwrap();
            assert!(!said.status.success() && said.err().contains(words), "{case}: {}", said.story());
        }
        assert!(!world.dir().join("draft.toml.sig").exists(), "{case} was signed");
    }
}

#[test]
fn signing_shows_the_difference_and_pushing_takes_effect_on_the_device() {
    let world = World::small();
    let tech = world.person("tech");
    let account = world.account();
    let next = policies::next(&policies::newest(&tech, "acme"));
    let file = world.dir().join("next.toml");
    let text = next.replace(&format!("as = [\"{account}\"]"), &format!("as = [\"{account}\", \"another\"]"));
    assert_ne!(text, next, "the grant was not found in\n{next}");
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let said = tech
        .belay(["policy", "sign", path, "--yes", "--key", world.root_key("acme").to_str().unwrap()])
        .unwrap()
        .must();
    assert!((said.out() + &said.err()).contains("another"), "the difference is not shown: {}", said.story());
    assert!(tech.ssh("another@web1.acme", "true").err().contains("is not granted"));
    let before = version(&tech, "acme");
    tech.belay(["policy", "push", path]).unwrap().must();
    assert_eq!(version(&tech, "acme"), before + 1);
    until("the device to know the new version", GENEROUS, || {
        let said = tech.ssh("another@web1.acme", "true");
        anyhow::ensure!(
            said.err().contains("there is no account another") || said.err().contains("ordinary user"),
            "{}",
            said.story()
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_expired_policy_starts_nothing_and_the_next_version_brings_everything_back() {
    let world = World::small();
    let tech = world.person("tech");
    let short = ending_soon(&policies::next(&policies::newest(&tech, "acme")));
    tech.gw_with_input(PUSH, &policies::signed(&short, &world.root_key("acme"))).must();
    let mark = world.dir().join("ran-expired");
    let said = until("the policy to expire", GENEROUS, || {
        let said = tech.ssh("web1.acme", "true");
        anyhow::ensure!(!said.status.success(), "{}", said.story());
        Ok(said)
    })
    .unwrap();
    assert!(said.err().contains("expired at"), "{}", said.story());
    let said = tech.ssh("web1.acme", &format!("touch {}", mark.display()));
    assert!(!said.status.success() && !mark.exists(), "{}", said.story());
    let renewed = policies::next(&short);
    tech.gw_with_input(PUSH, &policies::signed(&renewed, &world.root_key("acme"))).must();
    until("the device to take the next version", GENEROUS, || tech.ssh("web1.acme", "true").succeeded()).unwrap();
}

#[test]
fn version_0_has_no_network_route() {
    let world = World::of(belay_tests::Plan::without_devices());
    let tech = world.person("tech");
    let text = fs::read_to_string(world.tenant_dir("acme").join("policy-0.toml")).unwrap();
    let other = text.replace("[recording]", "# another beginning\n[recording]");
    tech.gw_with_input(PUSH, &policies::signed(&other, &world.root_key("acme"))).must_refuse(1, &["version 0"]);
    let file = world.dir().join("policy-0b.toml");
    fs::write(&file, &other).unwrap();
    fs::write(
        world.dir().join("policy-0b.toml.sig"),
        Person::sign(&world.root_key("acme"), "policy.v1@belay", other.as_bytes()).unwrap(),
    )
    .unwrap();
    let said = world.operator(&["tenant", "adopt", "acme", file.to_str().unwrap()]).unwrap();
    assert!(!said.status.success(), "a second version 0 was adopted: {}", said.story());
    assert_eq!(policies::newest(&tech, "acme"), text);
}
