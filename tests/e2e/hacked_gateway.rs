//! P2: root on the gateway, with its database, its keys and its programs, starts nothing on a machine. Every case is tried
//! with the real agent and the real `ssh`, and next to each lie stands the truth, which is served.

#[path = "hacked/bytes.rs"]
mod bytes;
#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/edited.rs"]
mod edited;
#[path = "hacked/recordings.rs"]
mod hacked_recordings;
#[path = "hacked/runs.rs"]
mod hacked_runs;
#[path = "hacked/impostor.rs"]
mod impostor;
#[path = "hacked/keys.rs"]
mod keys;
#[path = "hacked/ledger.rs"]
mod ledger;
#[path = "parts/orders.rs"]
mod orders;
#[path = "parts/policies.rs"]
mod policies;
#[path = "hacked/rogue.rs"]
mod rogue;
#[path = "parts/runs.rs"]
mod runs;
#[path = "hacked/wire.rs"]
mod wire;

use belay_certs::{Digest, PublicKey, digest::unhex, statement::Statement};
use belay_protocol::{CloseCode, RecordOffered, ToGateway};
use belay_tests::{Person, Plan, Said, World, plan::Tenant, wait::GENEROUS};
use ledger::Lie;
use rogue::Rogue;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

const DEVICE: &str = "web1.acme";
/// The status of a channel that the device refused.
const REFUSED: i32 = 254;
/// ssh's own, for a connection that did not come about or broke.
const NO_CONNECTION: i32 = 255;

/// An installation whose gateway was replaced.
struct Scene {
    rogue: Rogue,
    world: World,
    tech: Person,
}

impl Scene {
    fn new() -> Self {
        Self::of(World::of(acme(&["web1"])))
    }

    fn of(world: World) -> Self {
        let rogue = Rogue::instead_of_the_gateway(&world, "acme");
        world.start_agent(DEVICE).unwrap();
        rogue.hello(0);
        let tech = world.person("tech");
        let scene = Self { rogue, world, tech };
        scene.serves_the_truth("before");
        scene
    }

    fn marker(&self, case: &str) -> PathBuf {
        self.world.dir().join(format!("ran-{case}"))
    }

    fn attempt(&self, person: &Person, case: &str) -> Said {
        self.rogue.ssh(person, DEVICE, &format!("touch {}", self.marker(case).display()))
    }

    /// Nothing of this has run, and the person was told why.
    fn must_not_run(&self, person: &Person, case: &str, code: i32, words: &[&str]) {
        self.attempt(person, case).must_refuse(code, words);
        self.has_not_run(case);
    }

    /// As the connection breaks under it: told so, or cut off, whichever comes first.
    fn must_break(&self, case: &str) {
        let said = self.attempt(&self.tech, case);
        assert!(matches!(said.code(), Some(REFUSED | NO_CONNECTION)), "{case}: {}", said.story());
        self.has_not_run(case);
    }

    fn has_not_run(&self, case: &str) {
        assert!(!self.marker(case).exists(), "{case}: the command ran");
    }

    /// An honest answer starts the command: whatever did not run elsewhere did not for want of a way.
    fn serves_the_truth(&self, case: &str) {
        self.rogue.will_say(Lie::None);
        self.attempt(&self.tech, case).must();
        assert!(self.marker(case).exists(), "{case}: the command did not run");
    }

    /// A line of the agent's log since `mark`.
    fn logged(&self, mark: usize, words: &str) -> String {
        self.world.log(DEVICE).wait(words, mark, GENEROUS, |line| line.contains(words)).unwrap()
    }

    /// The agent's resident memory, in KiB.
    fn rss(&self) -> u64 {
        let pid = self.world.agent_pid(DEVICE).unwrap();
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    }

    /// Starts the agent anew, without the waits that it has grown.
    fn restart_agent(&self) {
        let before = self.rogue.hellos();
        self.world.kill_agent(DEVICE);
        self.world.start_agent(DEVICE).unwrap();
        self.rogue.hello(before);
    }
}

/// One customer with a technician and an auditor, so that there is a policy before the newest.
fn acme(devices: &'static [&'static str]) -> Plan {
    let people: &[_] = &[("auditor", "audit")];
    Plan { tenants: vec![Tenant { name: "acme", owner: "tech", people, onlookers: &[], devices }] }
}

#[test]
fn no_lie_about_the_log_starts_anything_and_each_is_named() {
    let scene = Scene::new();
    let cases = [
        (Lie::OtherLogKey, "the note is not signed by the key"),
        (Lie::OtherLog, "receipt is of the log \"gw.example/another\""),
        (Lie::EntryOfAnother, "receipt's entry holds another statement"),
        (Lie::EntryWithoutStatement, "receipt's entry holds no statement"),
        (Lie::OtherSignature, "holds this statement with another signature"),
        (Lie::OtherPerson, "entry says person mallory, the device's statement in it says tech"),
        (Lie::OtherPlace, "the inclusion proof"),
        (Lie::SmallerTree, "were verified before: entries were removed"),
        (Lie::SmallerTreeFromItself, "were verified before: entries were removed"),
        (Lie::RewrittenHistory, "history was changed"),
        (Lie::Withheld, "the gateway withheld this session"),
        (Lie::Refused, "the gateway did not record this session; nothing was started: the dog ate the log"),
    ];
    for (lie, reason) in &cases {
        let case = format!("{lie:?}");
        let mark = scene.rogue.mark();
        scene.rogue.will_say(lie.clone());
        scene.must_not_run(&scene.tech, &case, REFUSED, &[reason]);
        scene.rogue.heard("that nothing was started", mark, not_started);
    }
    // By now every one of those intents was proved by an honest receipt, too late.
    scene.serves_the_truth("after");
    cases.iter().for_each(|(lie, _)| scene.has_not_run(&format!("{lie:?}")));
}

/// The device's own word that a session which is in the log did not start.
fn not_started(message: &ToGateway) -> Option<()> {
    let ToGateway::StatementMade(made) = message else { return None };
    let ended = made.text.contains("\"session.ended\"") && made.text.contains("not started");
    (ended && Statement::parse(made.text.as_bytes()).is_ok()).then_some(())
}

#[test]
fn a_receipt_that_is_late_starts_nothing_any_more() {
    let scene = Scene::new();
    let mark = scene.rogue.mark();
    scene.rogue.will_say(Lie::Late);
    let late = "the gateway did not prove within 3 s that this session is recorded; nothing was started";
    scene.must_not_run(&scene.tech, "late", REFUSED, &[late]);
    scene.rogue.heard("that nothing was started", mark, not_started);
    assert_eq!(scene.rogue.say_what_was_kept_back(), 2, "the proofs of the intent and of its end");
    scene.serves_the_truth("after");
    scene.has_not_run("late");
}

#[test]
fn a_stranger_whom_the_gateway_knows_everywhere_is_nobody_on_the_machine() {
    let world = World::of(acme(&["web1"]));
    let (mallory, auditor) = (world.stranger("mallory").unwrap(), world.person("auditor"));
    let scene = Scene::of(world);
    let mark = scene.rogue.mark();
    scene.must_not_run(&mallory, "stranger", NO_CONNECTION, &["Permission denied (publickey)"]);
    // A policy with the stranger in it, which only the stranger has signed.
    let forged = with_mallory(&scene.world, &mallory, 2);
    let signature = sign_policy(&mallory.key(), &forged);
    scene.rogue.offer("acme", 2, &forged, &[signature]);
    refuses_policy(&scene, 0, mark, "has 0 of the 1 signatures it needs from version 1's root keys");
    scene.must_not_run(&mallory, "stranger-again", NO_CONNECTION, &["Permission denied (publickey)"]);
    // Somebody whom the policy knows, and to whom it gives no shell.
    let no_shell = "no grant gives auditor `shell` on web1.acme";
    scene.must_not_run(&auditor, "auditor", REFUSED, &[no_shell]);
    scene.serves_the_truth("after");
    ["stranger", "stranger-again", "auditor"].iter().for_each(|case| scene.has_not_run(case));
    // What was said until now came in order: of the stranger there is not a word.
    let key = PublicKey::parse(&fs::read_to_string(mallory.public_key()).unwrap()).unwrap().fingerprint();
    let said = scene.rogue.statements();
    assert!(said.len() > 3 && !said.iter().any(|made| made.text.contains(&key)), "{said:#?}");
}

#[test]
fn an_older_a_forked_and_an_altered_policy_change_nothing() {
    let world = World::of(acme(&["web1"]));
    let mallory = world.stranger("mallory").unwrap();
    let scene = Scene::of(world);
    let held = scene.rogue.hello(0).policies;
    let dir = scene.world.tenant_dir("acme");
    let root = scene.world.root_key("acme");
    let older = fs::read(dir.join("policy-0.toml")).unwrap();
    // The fork has a real signature: somebody with the root key wrote two versions 1.
    let forked = with_mallory(&scene.world, &mallory, 1);
    let gap = with_mallory(&scene.world, &mallory, 3);
    let altered = with_mallory(&scene.world, &mallory, 2);
    let of_another = sign_policy(&root, &forked);
    let cases = [
        (
            0,
            &older,
            sign_policy(&root, &older),
            "version 0 of the policy of acme is older than version 1, already held",
        ),
        (
            1,
            &forked,
            sign_policy(&root, &forked),
            "a second, different version 1 of the policy of acme, signed by 1 of",
        ),
        (3, &gap, sign_policy(&root, &gap), "version 3 of the policy of acme does not follow version 1"),
        (2, &altered, of_another, "one does not verify"),
    ];
    for (version, bytes, signature, reason) in cases {
        let (logged, mark) = (scene.world.log(DEVICE).mark(), scene.rogue.mark());
        scene.rogue.offer("acme", version, bytes, &[signature]);
        refuses_policy(&scene, logged, mark, reason);
    }
    scene.must_not_run(&mallory, "stranger", NO_CONNECTION, &["Permission denied (publickey)"]);
    scene.restart_agent();
    assert_eq!(scene.rogue.hello(1).policies, held, "the machine holds what it held, also after a restart");
    scene.serves_the_truth("after");
    scene.has_not_run("stranger");
}

/// The newest policy with the stranger and a shell for the stranger, as version `version`.
fn with_mallory(world: &World, mallory: &Person, version: u64) -> Vec<u8> {
    let newest = fs::read_to_string(world.tenant_dir("acme").join("policy-1.toml")).unwrap();
    let key = fs::read_to_string(mallory.public_key()).unwrap();
    let mut lines: Vec<String> = newest.lines().map(str::to_owned).collect();
    for line in &mut lines {
        if line == "version = 1" {
            *line = format!("version = {version}");
        } else if version > 1 && line.starts_with("previous = ") {
            *line = format!("previous = \"{}\"", Digest::of(newest.as_bytes()));
        }
    }
    let account = world.account();
    lines.push(format!("[[people]]\nname = \"mallory\"\nkeys = [\"{}\"]\n", key.trim()));
    lines.push(format!("[[grants]]\nwho = [\"mallory\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"{account}\"]\n"));
    lines.join("\n").into_bytes()
}

fn sign_policy(key: &std::path::Path, bytes: &[u8]) -> String {
    Person::sign(key, "policy.v1@belay", bytes).unwrap()
}

/// The agent tells the gateway and its own log why it did not take an offered policy.
fn refuses_policy(scene: &Scene, logged: usize, mark: usize, reason: &str) {
    let sentence = scene.rogue.heard("that it refuses the policy", mark, |message| match message {
        ToGateway::PolicyRefused(refused) => Some(refused.sentence.clone()),
        _ => None,
    });
    assert!(sentence.contains(reason), "{sentence}");
    scene.logged(logged, reason);
}

#[test]
fn a_device_record_that_nobody_signed_or_that_is_anothers_is_refused() {
    let scene = Scene::of(World::of(acme(&["web1", "db1"])));
    let true_record = record(&scene.world, DEVICE);
    let text = String::from_utf8(true_record.record.clone()).unwrap();
    assert!(text.contains("labels = []"), "{text}");
    let relabelled = text.replace("labels = []", "labels = [\"server\"]").into_bytes();
    let cases = [
        (RecordOffered { record: relabelled, ..true_record }, "the record is not in the signed batch"),
        (record(&scene.world, "db1.acme"), "the record is for the host key"),
    ];
    for (offered, reason) in cases {
        let (logged, mark) = (scene.world.log(DEVICE).mark(), scene.rogue.mark());
        scene.rogue.say(offered);
        let sentence = scene.rogue.heard("that it refuses the record", mark, |message| match message {
            ToGateway::RecordRefused(refused) => Some(refused.sentence.clone()),
            _ => None,
        });
        assert!(sentence.contains(reason), "{sentence}");
        scene.logged(logged, reason);
    }
    scene.serves_the_truth("after");
}

/// A device's record with its approval, as the gateway has it too.
fn record(world: &World, device: &str) -> RecordOffered {
    let kept = fs::read(world.agent_dir(device).join("record.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    RecordOffered {
        record: text(&kept["record"]).into_bytes(),
        index: kept["index"].as_u64().unwrap(),
        path: kept["path"].as_array().unwrap().iter().map(|hash| unhex(hash.as_str().unwrap()).unwrap()).collect(),
        batch: text(&kept["batch"]).into_bytes(),
        batch_signature: text(&kept["batch_signatures"][0]),
        certificate: text(&kept["certificate"]),
    }
}

#[test]
fn a_gateway_that_opens_and_resets_streams_and_offers_nonsense_makes_a_machine_no_larger() {
    let scene = Scene::new();
    let rss = || scene.rss();
    let count = if std::env::var_os("BELAY_LONG").is_some() { 200_000 } else { 10_000 };
    let (before, mark) = (rss(), scene.world.log(DEVICE).mark());
    let opened = scene.rogue.abuse(|line| async move {
        let mut opened = 0;
        while opened < count
            && let Ok(Ok((mut send, mut recv))) = tokio::time::timeout(GENEROUS, line.open_bi()).await
        {
            let _ = send.write(b"x").await;
            let _ = (send.reset(7_u32.into()), recv.stop(7_u32.into()));
            opened += 1;
        }
        opened
    });
    let streams = rss();
    // A mebibyte that is no policy, again and again: the agent hears so many and calls elsewhere.
    let ends = scene.rogue.ends();
    for _ in 0..64 {
        if scene.rogue.ends() > ends {
            break;
        }
        scene.rogue.offer("acme", 1, &vec![b'x'; 1 << 20], &[String::new()]);
    }
    let (after, lines) = (rss(), scene.world.log(DEVICE).mark() - mark);
    println!(
        "measured: a hostile gateway, {opened} streams opened and reset: agent RSS {before} to {streams} KiB, {after} KiB after \
         policies of a MiB, {lines} log lines"
    );
    assert!(opened > 100 && after < before + (48 << 10), "{opened} streams, {before} to {after} KiB");
    assert!(lines < 200, "{}", scene.world.log(DEVICE).tail());
    scene.restart_agent();
    scene.serves_the_truth("after");
}

#[test]
fn a_gateway_that_reads_nothing_starts_nothing_and_is_left_and_called_again() {
    let scene = Scene::new();
    let (journal, ends, hellos) =
        (scene.world.agent_dir(DEVICE).join("outbox"), scene.rogue.ends(), scene.rogue.hellos());
    let (before, mark) = (scene.rss(), scene.world.log(DEVICE).mark());
    scene.rogue.goes_deaf();
    // More than its window: the words of these wait in the machine.
    let long = "x".repeat(4 << 10);
    let refused = "the gateway did not prove within 3 s that this session is recorded; nothing was started";
    for round in 0..3 {
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (scene, case) = (&scene, format!("deaf-{round}-{number} # {long}"));
                scope.spawn(move || {
                    let said = scene.attempt(&scene.tech, &case);
                    assert!(said.err().contains(refused), "{}", said.story());
                });
            }
        });
    }
    let size = fs::metadata(&journal).map(|file| file.len()).unwrap_or(u64::MAX);
    let after = scene.rss();
    println!("measured: a deaf gateway: agent RSS {before} to {after} KiB, the outbox holds {size} B");
    assert!(after < before + (16 << 10) && size < 1 << 20, "{before} to {after} KiB, {size} B");
    scene.logged(mark, "the gateway has read nothing for 30 s");
    scene.rogue.is_left_with(ends, CloseCode::Finished);
    scene.rogue.hears_again();
    scene.rogue.hello(hellos);
    scene.serves_the_truth("after");
    // Everything that was kept is said, once more where it was said before, in order and without a gap.
    let (mut numbers, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for made in scene.rogue.statements() {
        numbers.insert(made.seq);
        texts.insert(made.text);
    }
    assert!(numbers.len() >= 36 && numbers.len() == texts.len(), "{} numbers, {} texts", numbers.len(), texts.len());
    assert!(numbers.iter().zip(numbers.iter().skip(1)).all(|(one, next)| one + 1 == *next), "{numbers:?}");
    assert!(
        fs::read_dir(scene.world.dir())
            .unwrap()
            .all(|file| { !file.unwrap().file_name().to_string_lossy().starts_with("ran-deaf") })
    );
}
