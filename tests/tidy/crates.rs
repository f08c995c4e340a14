//! What others wrote and our programs carry: under which licences, in how many versions, and how many crates a machine gets.
//!
//! Counted is what is linked on Linux: no tests, no build scripts, no derive macros. Licences count everywhere. Which of our
//! crates may reach what is not here: see `tidy.rs`.

use super::{none, top};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// What leaves this house.
const PROGRAMS: [&str; 3] = ["belay-agent", "belay-gateway", "belay-cli"];

/// Most crates that a client's machine runs as root: each more is somebody more to trust, so it is a decision.
const AGENT_CRATES_MAX: usize = 300;

/// Licences that a product under Apache-2.0 may carry; all ask for no more than their text.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Who brings a second version of something, and why that is borne. Without these there is one version of everything.
const SECOND_VERSIONS: [(&str, &str); 6] = [
    (
        "age",
        "RustCrypto (its rsa too, which opens nothing of ours), rand and base64 of 2023: it has no later ones, and stock tools open its files",
    ),
    ("der-parser", "num-bigint 0.4: x509-parser has no later one"),
    ("governor", "hashbrown 0.16, and 0.14 in its table of callers"),
    ("pem", "base64 0.23: rcgen is ahead of everybody else"),
    ("ring", "getrandom 0.2: it has no later one"),
    ("sqlx", "sha2 0.10 and hashbrown 0.16: it has no later ones"),
];

/// Packages as cargo resolved them for Linux.
struct Crates {
    /// Package id to its name, version and licence.
    packages: BTreeMap<String, (String, String, String)>,
    /// Package id to the ids that are linked with it.
    uses: BTreeMap<String, Vec<String>>,
}

impl Crates {
    fn read() -> Self {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--locked", "--format-version", "1"]).current_dir(top());
        let said = cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let is_macro = |one: &Value| {
            list(&one["targets"]).iter().any(|target| list(&target["kind"]).contains(&Value::from("proc-macro")))
        };
        let found = list(&metadata["packages"]);
        let macros: BTreeSet<String> = found.iter().filter(|one| is_macro(one)).map(|one| text(&one["id"])).collect();
        let described = |one: &Value| (text(&one["name"]), text(&one["version"]), text(&one["license"]));
        let packages = found.iter().map(|one| (text(&one["id"]), described(one))).collect();
        let linked = |dependency: &&Value| {
            list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
                && !macros.contains(&text(&dependency["pkg"]))
        };
        let used = |node: &Value| list(&node["deps"]).iter().filter(linked).map(|one| text(&one["pkg"])).collect();
        let uses = list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), used(node))).collect();
        Self { packages, uses }
    }

    /// The ids of what `programs` link, themselves included, without what only the packages named `without` bring.
    fn linked(&self, programs: &[&str], without: &[&str]) -> BTreeSet<&String> {
        let name = |id: &String| self.packages[id].0.as_str();
        let mut todo: Vec<&String> = self.packages.keys().filter(|id| programs.contains(&name(id))).collect();
        assert_eq!(todo.len(), programs.len(), "every program is a package");
        let mut linked: BTreeSet<&String> = todo.iter().copied().collect();
        while let Some(id) = todo.pop() {
            if !without.contains(&name(id)) {
                todo.extend(self.uses[id].iter().filter(|next| linked.insert(next)));
            }
        }
        linked
    }

    /// What the programs link in more than one version, each with its versions, without what only `without` bring.
    fn doubled(&self, without: &[&str]) -> Vec<String> {
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for id in self.linked(&PROGRAMS, without) {
            let (name, version, _) = &self.packages[id];
            versions.entry(name).or_default().push(version);
        }
        versions.retain(|_, versions| versions.len() > 1);
        versions.iter().map(|(name, versions)| format!("{name} {}", versions.join(" and "))).collect()
    }
}

#[test]
fn there_is_one_version_of_everything_but_for_named_reasons() {
    let crates = Crates::read();
    let named: Vec<&str> = SECOND_VERSIONS.iter().map(|(name, _)| *name).collect();
    let mut offences: Vec<String> = crates
        .doubled(&named)
        .into_iter()
        .map(|doubled| format!("{doubled} are both linked, and no row says why"))
        .collect();
    let borne = crates.doubled(&named).len();
    for name in &named {
        let others: Vec<&str> = named.iter().copied().filter(|other| other != name).collect();
        if crates.doubled(&others).len() == borne {
            offences.push(format!("{name} brings no second version any more: take its row away"));
        }
    }
    none(offences);
}

#[test]
fn an_agent_carries_few_crates() {
    let count = Crates::read().linked(&["belay-agent"], &[]).len();
    println!("measured: the agent links {count} crates");
    assert!(count <= AGENT_CRATES_MAX, "the agent links {count} crates, more than {AGENT_CRATES_MAX}");
}

#[test]
fn every_licence_asks_for_no_more_than_its_text() {
    let crates = Crates::read();
    let bad = crates.packages.values().filter(|(_, _, licence)| !may_be_carried(licence));
    none(bad.map(|(name, version, licence)| format!("{name} {version} is under {licence:?}")).collect());
}

#[test]
fn a_licence_is_read_as_it_is_meant() {
    for good in [
        "MIT",
        "GPL-2.0-only OR Apache-2.0",
        "(MIT OR GPL-3.0) AND ISC",
        "MIT/GPL-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(may_be_carried(good), "{good}");
    }
    for bad in ["", "GPL-2.0-only", "MIT AND GPL-2.0-only", "(GPL-3.0 OR AGPL-3.0) AND MIT", "MIT AND (ISC", "MPL-2.0"]
    {
        assert!(!may_be_carried(bad), "{bad}");
    }
}

/// Whether an SPDX expression (or the older `A/B`, either of both) lets us choose licences of [`LICENCES`] alone.
fn may_be_carried(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    either(&mut words) == Some(true) && words.next().is_none()
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

/// `both (OR both)*`; `None` when it is not written so.
fn either(words: Words<'_, '_>) -> Option<bool> {
    let mut good = both(words)?;
    while words.next_if_eq(&"OR").is_some() {
        good |= both(words)?;
    }
    Some(good)
}

/// `one (AND one)*`.
fn both(words: Words<'_, '_>) -> Option<bool> {
    let mut good = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        good &= one(words)?;
    }
    Some(good)
}

/// A licence with its exception, or an expression in brackets.
fn one(words: Words<'_, '_>) -> Option<bool> {
    if words.next_if_eq(&"(").is_some() {
        let good = either(words)?;
        return words.next_if_eq(&")").map(|_| good);
    }
    let mut name = words.next()?.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next()?);
    }
    Some(LICENCES.contains(&name.as_str()))
}
