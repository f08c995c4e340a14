//! The shape of the house, checked under plain `cargo test`: who may use what, where names may stand, and sizes.
//!
//! The rules are those of DESIGN.md, "The house", and CONVENTIONS.md. How source is read: `tidy/source.rs`.

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/durable.rs"]
mod durable;
#[path = "tidy/source.rs"]
mod source;

use serde_json::Value;
use source::Source;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// Lines of a file: two screens are an idea, this is the end.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function: one screen.
const FUNCTION_LINES_MAX: usize = 70;
/// What may stand at the top level, beside names with a dot in front.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "certs",
    "fuzz",
    "gateway",
    "protocol",
    "target",
    "tests",
];

const RUNTIMES: &[&str] = &["tokio", "async-std", "smol", "async-executor"];
const SOCKETS: &[&str] = &["mio", "socket2", "quinn", "quinn-udp"];
const SQL: &[&str] = &["sqlx", "sqlx-core", "sqlx-sqlite", "libsqlite3-sys", "rusqlite", "diesel"];
const WEB: &[&str] = &["http", "hyper", "axum", "tower", "reqwest", "tungstenite", "h2"];
const SSH_SERVER: &[&str] = &["russh"];

/// Which crates of ours each crate may use, and which others it must never reach, however deep.
type CrateRule = (&'static str, &'static [&'static str], &'static [&'static [&'static str]]);
const CRATES: &[CrateRule] = &[
    ("belay-protocol", &[], &[RUNTIMES, SOCKETS, SQL, WEB, SSH_SERVER]),
    ("belay-certs", &["belay-protocol"], &[RUNTIMES, SQL, WEB, SSH_SERVER]),
    ("belay-rules", &["belay-protocol", "belay-certs"], &[RUNTIMES, SOCKETS, SQL, WEB, SSH_SERVER]),
    ("belay-agent-rules", &["belay-protocol", "belay-certs"], &[RUNTIMES, SOCKETS, SQL, WEB, SSH_SERVER]),
    ("belay-agent", &["belay-protocol", "belay-certs", "belay-agent-rules"], &[SQL, WEB]),
    ("belay-gateway", &["belay-protocol", "belay-certs", "belay-rules"], &[]),
    ("belay-cli", &["belay-protocol", "belay-certs"], &[RUNTIMES, SOCKETS, WEB, SSH_SERVER]),
    (
        "belay-fuzz",
        &["belay-protocol", "belay-certs", "belay-rules", "belay-agent-rules"],
        &[RUNTIMES, SOCKETS, SQL, WEB, SSH_SERVER],
    ),
];

/// Where a name may stand in programs; a path that ends in `/` is a folder.
type PlaceRule = (&'static str, &'static [&'static str]);
const PLACES: &[PlaceRule] = &[
    (
        "quinn",
        &[
            "gateway/src/quic/",
            "agent/src/quic/",
            // A device that is connected is a QUIC connection, and a splice joins one of its streams to an SSH channel.
            "gateway/src/relay/",
            "gateway/src/act/access.rs",
        ],
    ),
    (
        "russh",
        &[
            "gateway/src/ssh/",
            "agent/src/ssh/",
            // A session is one channel of the agent's SSH server.
            "agent/src/session/",
            "gateway/src/relay/",
        ],
    ),
    ("sqlx", &["gateway/src/store/"]),
    ("bincode", &["protocol/src/"]),
    ("bincode::decode_from_slice", &["protocol/src/codec.rs"]),
    ("bincode::encode_to_vec", &["protocol/src/codec.rs"]),
    ("expect(unsafe_code", &["agent/src/spawn.rs"]),
];

/// What no file may hold at all, tests included, and why.
const NEVER: &[(&str, &str)] = &[
    ("#[allow(", "say `#[expect(…, reason = …)]`"),
    ("#![allow(", "say `#![expect(…, reason = …)]`"),
    ("tokio::spawn(", "spawn through a tracker, so that shutdown waits for it"),
    ("unbounded_channel(", "every queue has a limit (P7)"),
    ("#[ignore", "a test that does not run proves nothing"),
    ("thread::sleep(", "wait for what happens"),
];

/// What the pure rules must be given instead of taking.
const NOT_IN_RULES: &[&str] =
    &["SystemTime", "Instant", "std::fs", "std::net", "std::env", "std::process", "random(", "std::thread"];

/// Commands that the README shows.
const COMMANDS: &[&str] = &[
    "cargo demo",
    "tests/run",
    "belay-gateway init",
    "belay-gateway serve",
    "belay-gateway tenant add",
    "belay-gateway tenant adopt",
    "belay-gateway transport-ca rotate",
    "belay-gateway backup",
    "belay-gateway restore",
    "belay-agent join",
    "belay-agent run",
    "belay init",
    "belay trust",
    "belay policy",
    "belay person add",
    "belay token",
    "belay approve",
    "belay config",
    "belay devices",
    "belay who",
    "belay log verify",
];

fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sources() -> Vec<Source> {
    source::all(&top().canonicalize().unwrap())
}

/// Fails with all offences at once: one run shows what there is to do.
fn none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n  {}\n", offences.join("\n  "));
}

#[test]
fn crates_reach_only_what_the_house_allows() {
    let reach = Reach::read();
    let ours: BTreeSet<&str> = reach.members.iter().map(String::as_str).filter(|name| *name != "belay-tests").collect();
    let ruled: BTreeSet<&str> = CRATES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(ours, ruled, "every crate has its line in CRATES");
    let mut offences = Vec::new();
    for (name, may_use, never) in CRATES {
        for found in reach.of(name) {
            let foreign = ours.contains(found.as_str()) && !may_use.contains(&found.as_str());
            if foreign || never.iter().any(|names| names.contains(&found.as_str())) {
                offences.push(format!("{name} reaches {found}"));
            }
        }
    }
    none(offences);
}

#[test]
fn names_stand_only_where_they_belong() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| !source.is_for_tests()) {
        for (word, places) in PLACES {
            let belongs = places
                .iter()
                .any(|place| source.path == *place || (place.ends_with('/') && source.path.starts_with(place)));
            if !belongs {
                offences
                    .extend(source.lines_with(word).iter().map(|line| format!("{}:{line} names {word}", source.path)));
            }
        }
    }
    none(offences);
}

#[test]
fn doors_never_call_doors() {
    let mut offences = Vec::new();
    for (door, other) in [("gateway/src/quic/", "crate::ssh"), ("gateway/src/ssh/", "crate::quic")] {
        for source in sources().iter().filter(|source| source.path.starts_with(door)) {
            offences.extend(source.lines_with(other).iter().map(|line| format!("{}:{line} uses {other}", source.path)));
        }
    }
    none(offences);
}

#[test]
fn rules_are_given_clock_chance_and_files() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| source.path.contains("/rules/src/") && !source.is_for_tests()) {
        for word in NOT_IN_RULES {
            offences.extend(source.lines_with(word).iter().map(|line| format!("{}:{line} takes {word}", source.path)));
        }
    }
    none(offences);
}

#[test]
fn files_and_functions_are_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{} has {lines} lines, more than {FILE_LINES_MAX}", source.path));
        }
        for (name, first, lines) in source.functions() {
            if lines > FUNCTION_LINES_MAX {
                offences
                    .push(format!("{}:{first} {name} has {lines} lines, more than {FUNCTION_LINES_MAX}", source.path));
            }
        }
    }
    none(offences);
}

#[test]
fn every_file_says_what_lives_in_it() {
    let missing = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(missing.map(|source| format!("{} does not begin with `//! `", source.path)).collect());
}

#[test]
fn nothing_is_allowed_on_the_quiet() {
    let mut offences = Vec::new();
    for source in sources() {
        for (word, why) in NEVER {
            for (at, line) in source.code.lines().enumerate() {
                if line.contains(word) {
                    offences.push(format!("{}:{} has {word}: {why}", source.path, at + 1));
                }
            }
        }
        for (at, line) in source.text.lines().enumerate() {
            // Spelled apart, or this very line would be found.
            if ["TO".to_owned() + "DO", "FIX".to_owned() + "ME"].iter().any(|word| line.contains(word)) {
                offences.push(format!("{}:{} leaves something open", source.path, at + 1));
            }
        }
    }
    none(offences);
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    let reach = Reach::read();
    let mut offences = Vec::new();
    for (name, manifest) in &reach.manifests {
        let text = fs::read_to_string(manifest).unwrap();
        if name != "belay-tests" && !text.contains("[lints]\nworkspace = true") {
            offences.push(format!("{name}: {manifest} does not take the workspace's lints"));
        }
    }
    none(offences);
}

#[test]
fn the_top_level_holds_the_agreed_names_and_nothing_else() {
    let names = fs::read_dir(top()).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    none(names.filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str())).collect());
}

#[test]
fn every_behaviour_is_run() {
    let manifest = fs::read_to_string(top().join("tests/Cargo.toml")).unwrap();
    let files = fs::read_dir(top().join("tests/e2e")).unwrap().map(|entry| entry.unwrap().file_name());
    let files = files.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.ends_with(".rs"));
    none(files.filter(|name| !manifest.contains(&format!("path = \"e2e/{name}\""))).collect());
}

#[test]
fn the_readme_shows_the_commands() {
    let readme = fs::read_to_string(top().join("README.md")).unwrap_or_default();
    none(
        COMMANDS
            .iter()
            .filter(|command| !readme.contains(**command))
            .map(|command| format!("README.md does not show `{command}`"))
            .collect(),
    );
}

/// The system that is built for, as `rustc` calls it.
fn host() -> String {
    let said = Command::new("rustc").arg("-vV").current_dir(top()).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// What every package reaches through normal dependencies, as cargo resolved them.
struct Reach {
    members: Vec<String>,
    manifests: Vec<(String, String)>,
    /// Package id to its name.
    names: BTreeMap<String, String>,
    /// Package id to the ids it depends on.
    uses: BTreeMap<String, Vec<String>>,
}

impl Reach {
    fn read() -> Self {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--offline", "--locked", "--format-version", "1"]).current_dir(top());
        // What only other systems need was never brought to a fresh machine.
        cargo.args(["--filter-platform", &host()]);
        let said = cargo.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let packages = list(&metadata["packages"]);
        let names: BTreeMap<String, String> =
            packages.iter().map(|one| (text(&one["id"]), text(&one["name"]))).collect();
        let ids: Vec<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let of_ours = packages.iter().filter(|one| ids.contains(&text(&one["id"])));
        let manifests = of_ours.map(|one| (text(&one["name"]), text(&one["manifest_path"]))).collect();
        let members = ids.iter().map(|id| names[id].clone()).collect();
        let normal = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let uses = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                (text(&node["id"]), list(&node["deps"]).iter().filter(normal).map(|one| text(&one["pkg"])).collect())
            })
            .collect();
        Self { members, manifests, names, uses }
    }

    /// The names of all packages that `name` reaches.
    fn of(&self, name: &str) -> BTreeSet<String> {
        let id = self.names.iter().find(|(_, found)| *found == name).map(|(id, _)| id).unwrap();
        let (mut todo, mut reached) = (vec![id], BTreeSet::new());
        while let Some(id) = todo.pop() {
            for next in &self.uses[id] {
                if reached.insert(next) {
                    todo.push(next);
                }
            }
        }
        reached.into_iter().map(|id| self.names[id].clone()).collect()
    }
}

/// `protocol` may not use `certs`, so it repeats what it must carry.
#[test]
fn the_wire_carries_whatever_may_be_signed() {
    use belay_certs::limits as signed;
    use belay_protocol::limits as wire;
    for (what, carried, made) in [
        ("policy", wire::POLICY_BYTES_MAX, signed::POLICY_BYTES_MAX),
        ("policy signatures", wire::POLICY_SIGNATURES_MAX, signed::POLICY_SIGNATURES_MAX),
        ("document", wire::DOCUMENT_BYTES_MAX, signed::DOCUMENT_BYTES_MAX),
        ("signature", wire::SIGNATURE_BYTES_MAX, signed::SIGNATURE_BYTES_MAX),
        ("statement", wire::STATEMENT_BYTES_MAX, signed::STATEMENT_BYTES_MAX),
        ("entry", wire::ENTRY_BYTES_MAX, signed::ENTRY_BYTES_MAX),
        ("checkpoint", wire::CHECKPOINT_BYTES_MAX, signed::CHECKPOINT_BYTES_MAX),
        ("proof", wire::PROOF_HASHES_MAX, signed::PROOF_HASHES_MAX),
        ("certificate request", wire::CSR_BYTES_MAX, signed::CSR_BYTES_MAX),
        ("certificate", wire::CERTIFICATE_BYTES_MAX, signed::CERTIFICATE_BYTES_MAX),
        ("imports and the tenant's own policy", wire::POLICIES_HELD_MAX, signed::IMPORTS_MAX + 1),
    ] {
        assert!(carried >= made, "the wire carries {carried} of a {what}, and {made} may be made");
    }
}
