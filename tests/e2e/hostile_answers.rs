//! A gateway that answers a laptop with what it should not: foreign chains, older ones, forks, answers without end, names that
//! drive a terminal. The laptop names it and keeps what it verified.

#[path = "parts/counted.rs"]
mod counted;

use belay_tests::{Person, Plan, Said, World, run};
use counted::Shims;
use serde_json::{Value, json};
use std::fs;

struct Laptop {
    world: World,
    tech: Person,
    shims: Shims,
}

/// A laptop that holds acme, with an `ssh` that says whatever the test wants.
fn laptop() -> Laptop {
    let mut plan = Plan::demo();
    plan.tenants.iter_mut().for_each(|tenant| tenant.devices = &[]);
    let world = World::of(plan);
    let tech = world.person("tech");
    let shims = Shims::new(&world.dir().join("shims"));
    shims.add("ssh", "echo x >> \"${0%/*}/calls\"; cat > /dev/null; cat \"${0%/*}/answer\"");
    Laptop { world, tech, shims }
}

impl Laptop {
    fn hears(&self, answer: &str, words: &[&str]) -> Said {
        fs::write(self.world.dir().join("shims/answer"), answer).unwrap();
        run(self.tech.belay_command().unwrap().env("PATH", self.shims.path()).args(words), b"").unwrap()
    }

    fn written(&self) -> Vec<String> {
        let files = [self.tech.ssh_config(), self.tech.home().join("known_hosts")];
        files.map(|file| fs::read_to_string(file).unwrap()).to_vec()
    }

    /// What the gateway really has of a tenant.
    fn shown(&self, by: &str, tenant: &str) -> Value {
        let fetched = self.world.person(by).gw_with_input("policy fetch", b"{}").json();
        fetched["tenants"].as_array().unwrap().iter().find(|one| one["tenant"] == tenant).unwrap().clone()
    }
}

fn answer(tenants: &[&Value]) -> String {
    json!({ "tenants": tenants, "more": false }).to_string()
}

#[test]
fn what_does_not_follow_from_what_was_verified_changes_nothing() {
    let laptop = laptop();
    let (acme, globex) = (laptop.shown("tech", "acme"), laptop.shown("other", "globex"));
    let before = laptop.written();
    let mut older = acme.clone();
    (older["newest"], older["versions"]) = (0.into(), json!([]));
    let said = laptop.hears(&answer(&[&older, &globex]), &["config"]);
    assert!(said.err().contains("acme: the gateway shows version 0 as the newest"), "{}", said.story());

    let mut foreign = globex.clone();
    foreign["tenant"] = "acme".into();
    let mut fork = acme.clone();
    (fork["digest"], fork["versions"]) = (globex["digest"].clone(), json!([]));
    let mut ahead = acme.clone();
    (ahead["newest"], ahead["versions"]) = (9.into(), json!([]));
    let mut unsigned = acme.clone();
    let text = acme["versions"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap().replace("audit", "shell");
    (unsigned["newest"], unsigned["versions"]) = (2.into(), json!([{ "version": 2, "text": text, "signatures": [] }]));
    let mut large = acme.clone();
    large["versions"] = json!([{ "version": 2, "text": "x".repeat(2 << 20), "signatures": [] }]);
    for (case, lie) in
        [("foreign", foreign), ("fork", fork), ("ahead", ahead), ("unsigned", unsigned), ("too large", large)]
    {
        let said = laptop.hears(&answer(&[&lie, &globex]), &["config"]);
        println!("{case}: {}", said.err().lines().next().unwrap_or_default());
        said.must_refuse(1, &["belay: acme: ", "was left as it was"]);
        assert_eq!(laptop.written(), before, "{case}");
    }
    for broken in ["", "[]", "{\"tenants\":", &json!({ "tenants": [{ "tenant": 7 }], "more": false }).to_string()] {
        laptop.hears(broken, &["config"]).must_refuse(1, &["is not understood"]);
        assert_eq!(laptop.written(), before, "{broken:?}");
    }
    // Nobody asked for a tenant that is on no list and pinned by nobody.
    let mut unasked = globex.clone();
    unasked["tenant"] = "initech".into();
    let no_news = |mut shown: Value| {
        shown["versions"] = json!([]);
        shown
    };
    let (acme, globex) = (no_news(acme), no_news(globex));
    laptop.hears(&answer(&[&acme, &globex, &unasked]), &["config"]).must();
    assert_eq!(laptop.written(), before);
}

#[test]
fn an_answer_without_end_ends() {
    let laptop = laptop();
    let said = laptop.hears(&json!({ "tenants": [], "more": true }).to_string(), &["config"]);
    said.must_refuse(1, &["do not come to an end"]);
    let calls = fs::read_to_string(laptop.world.dir().join("shims/calls")).unwrap().lines().count();
    assert!(calls <= 64, "{calls}");
    laptop.shims.add("ssh", "cat > /dev/null; exec yes");
    laptop.hears("", &["devices", "--json"]).must_refuse(1, &["is longer than"]);
}

#[test]
fn names_and_sentences_of_a_gateway_cannot_drive_the_terminal() {
    let laptop = laptop();
    let evil = "web1\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\u{9b}31m\r\nfake.acme";
    let row =
        json!([{ "name": evil, "state": evil, "labels": [evil], "since": evil, "addresses": [evil], "version": evil }]);
    for words in [&["devices"][..], &["devices", "--json"], &["sessions"], &["pending"]] {
        let said = laptop.hears(&row.to_string(), words);
        must_be_harmless(&said);
    }
    let said = laptop.hears(&json!([{ "name": evil }]).to_string(), &["ssh", "web1"]);
    must_be_harmless(&said);
    laptop.shims.add("ssh", "cat > /dev/null; cat \"${0%/*}/answer\" >&2; exit 1");
    for words in [&["config"][..], &["devices"], &["policy", "show", "acme"]] {
        must_be_harmless(&laptop.hears(evil, words));
    }
}

#[track_caller]
fn must_be_harmless(said: &Said) {
    for text in [said.out(), said.err()] {
        let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{202e}' | '\u{9b}'));
        assert!(bad.is_none(), "{bad:?} in {}", said.story());
    }
}
