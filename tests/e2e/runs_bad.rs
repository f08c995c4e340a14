//! Bad input to runs, one sentence each: runbooks that do not read, orders that do not count, machines that cannot. Nothing of
//! it runs anything, and after all of it a good order does.

#[path = "parts/brought.rs"]
mod brought;
#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/granted.rs"]
mod granted;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/orders.rs"]
mod orders;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/rejoined.rs"]
mod rejoined;
#[path = "parts/runs.rs"]
mod runs;

use belay_certs::{Digest, Timestamp, order::DeviceList, time::SECOND};
use belay_tests::{
    Person, Plan, World,
    wait::{GENEROUS, until},
};
use brought::bring;
use orders::Draft;
use rejoined::rejoin;
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What `belay` exits with when something is refused, and when it was asked wrongly.
const REFUSED: i32 = 1;
const USAGE: i32 = 2;
/// The same for a job that goes on.
const OPEN: i32 = 4;
const WORD: &str =
    "[parameters.word]\ntype = \"string\"\ndescription = \"a word\"\npattern = \"[a-z]+\"\nrequired = true";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// An installation with one good runbook, `mark`, that leaves a line for each time it runs.
struct Scene {
    world: World,
    author: Person,
    tech: Person,
    mark: PathBuf,
    /// The good runbook.
    file: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, "web1.acme");
        let (tech, mark) = (world.person("tech"), world.dir().join("ran"));
        let body = format!("echo \"$BELAY_DEVICE $BELAY_ARG_WORD\" >> {}", mark.display());
        let file = runs::push(&world, &author, "mark", WORD, &body);
        Self { world, author, tech, mark, file }
    }

    /// A good order of the good runbook, to be spoilt.
    fn draft(&self, devices: &[&str]) -> Draft {
        Draft::of(&self.world, &self.tech, ("mark", &self.file), devices).told(&[("word", "bad")])
    }

    /// A runbook like the good one, by the author.
    fn push(&self, name: &str, declared: &str) -> PathBuf {
        let body = format!("echo \"$BELAY_DEVICE {name}\" >> {}", self.mark.display());
        runs::push(&self.world, &self.author, name, declared, &body)
    }

    /// The job's only run, once it is over.
    fn over(&self, id: &str) -> Value {
        let job = until("the end of the job", GENEROUS, || {
            let job = jobs::job(&self.tech, id);
            anyhow::ensure!(job["over"] == true, "{job:#}");
            Ok(job)
        });
        job.unwrap()["runs"][0].clone()
    }

    /// The device refused it, in these words, and the gateway tells so.
    fn is_refused(&self, id: &str, words: &[&str]) {
        let run = self.over(id);
        assert_eq!(run["state"], "refused", "{run:#}");
        let reason = run["reason"].as_str().unwrap();
        assert!(words.iter().all(|word| reason.contains(word)), "{reason:?} does not say {words:?}");
        assert!(!reason.contains('\n'), "{reason:?}");
    }

    fn ran(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            fs::read_to_string(&self.mark).unwrap_or_default().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Nothing ran until now, and a good order runs everywhere.
    fn is_healthy(&self) {
        assert_eq!(self.ran(), [""; 0], "bad input ran");
        jobs::order(&self.tech, &["mark", "word=good", "--on", "acme/*"]).must();
        assert_eq!(self.ran(), ["web1.acme good", "web2.acme good", "web3.acme good"]);
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
    }
}

/// The document with its signature, as the gateway takes it.
fn signed(key: &Path, namespace: &str, bytes: &[u8]) -> Vec<u8> {
    [bytes, Person::sign(key, namespace, bytes).unwrap().as_bytes()].concat()
}

#[test]
fn what_is_wrong_with_a_runbook_is_said_with_its_line_and_it_comes_into_no_library() {
    let scene = Scene::new();
    let good = fs::read_to_string(&scene.file).unwrap();
    let without =
        |line: &str| good.lines().filter(|one| *one != line).map(|one| format!("{one}\n")).collect::<String>();
    let cases = [
        ("no_interpreter", good.replacen("#!/bin/sh", "", 1), 1, "the script does not begin with #!"),
        ("a_relative_one", good.replacen("#!/bin/sh", "#!sh", 1), 1, "the interpreter is not an absolute path"),
        ("none", "#!/bin/sh\necho hello\n".to_owned(), 2, "there is no declaration"),
        ("open", without("# ///"), 12, "the declaration from line 2 is not closed"),
        ("twice", format!("{good}# /// belay\n# ///\n"), 14, "a second declaration begins"),
        ("no_toml", good.replace("# name = \"mark\"", "# name is mark"), 3, "key with no value"),
        ("unknown", good.replace("# description = \"mark\"", "# describes = \"mark\""), 4, "unknown field `describes`"),
        ("bad_name", good.replace("# name = \"mark\"", "# name = \"Mark!\""), 3, "is not a name for a runbook"),
        ("bad_pattern", good.replace("\"[a-z]+\"", "\"(a|b)\""), 10, "is not a pattern"),
        ("bad_type", good.replace("\"string\"", "\"text\""), 8, "is not a type: use string, integer"),
    ];
    for (case, text, line, words) in cases {
        assert_ne!(text, good, "{case}");
        let file = scene.world.dir().join(format!("bad-{case}.sh"));
        fs::write(&file, &text).unwrap();
        let path = file.to_str().unwrap();
        let here = format!("{path}:{line}: ");
        let stream = signed(&scene.author.key(), "runbook.v1@belay", text.as_bytes());
        scene.author.belay(["runbook", "check", path]).unwrap().must_refuse(REFUSED, &[&here, words]);
        scene.author.belay(["runbook", "sign", path]).unwrap().must_refuse(REFUSED, &[&here, words]);
        let said = scene.author.gw_with_input("runbook push acme", &stream);
        said.must_refuse(REFUSED, &[&format!("line {line}: "), words]);
    }
    // Well declared, and signed by nobody who may.
    let newer = good.replace("name = \"mark\"", "name = \"another\"");
    let by = |key: &Path, namespace: &str| signed(key, namespace, newer.as_bytes());
    let honest = by(&scene.author.key(), "runbook.v1@belay");
    let changed = String::from_utf8(honest).unwrap().replacen("another", "bnother", 1).into_bytes();
    let cases = [
        (newer.clone().into_bytes(), "no signature follows the document"),
        (by(&scene.tech.key(), "runbook.v1@belay"), "is not in `signers`"),
        (by(&scene.world.stranger("mallory").unwrap().key(), "runbook.v1@belay"), "belongs to nobody the policy knows"),
        (by(&scene.author.key(), "order.v1@belay"), "not for runbook.v1@belay"),
        (changed, "does not fit: the text or the signature was changed"),
    ];
    for (stream, words) in cases {
        scene.author.gw_with_input("runbook push acme", &stream).must_refuse(REFUSED, &[words]);
    }
    let library = scene.tech.gw("runbooks acme --json").must().json();
    assert_eq!(library.as_array().unwrap().len(), 1, "{library:#}");
    scene.is_healthy();
}

#[test]
fn what_is_wrong_with_an_order_is_said_before_anything_is_offered() {
    let scene = Scene::new();
    let tech = &scene.tech;
    let refused = |code: i32, words: &[&str], said: &str| {
        let line: Vec<&str> = words.iter().copied().chain(["--on", "acme/web1"]).collect();
        jobs::order(tech, &line).must_refuse(code, &[said]);
    };
    // At the laptop.
    refused(REFUSED, &["mark"], "the parameter word is missing: give word=VALUE");
    refused(REFUSED, &["mark", "word=Bad1"], "the parameter word");
    refused(REFUSED, &["mark", "word=bad", "speed=9"], "there is no parameter speed: its parameters are word");
    refused(USAGE, &["mark", "word=bad", "word=worse"], "the parameter word is given twice");
    refused(USAGE, &["mark", "word"], "write NAME=VALUE");
    refused(REFUSED, &["nothing", "word=bad"], "there is no runbook nothing");
    refused(REFUSED, &["mark", "word=bad", "--for", "8d"], "7 days");
    refused(REFUSED, &["mark", "word=bad", "--from", "2026-01-01T00:00:00Z"], "give one that is still to come");
    refused(REFUSED, &["mark", "word=bad", "--as", "nobody"], "the account nobody is not granted");
    let select = |on: &str, code: i32, said: &str| {
        jobs::order(tech, &["mark", "word=bad", "--on", on]).must_refuse(code, &[said]);
    };
    select("acme/db*", REFUSED, "acme/db* means no device");
    select("acme/tag:printer", REFUSED, "acme/tag:printer means no device");
    select("web9.acme", REFUSED, "acme/web9 means no device");
    select("web 1", USAGE, "name devices as web1.acme");
    select("", USAGE, "name devices as web1.acme");
    // At the gateway, by hand.
    for (case, stream, words) in by_hand(&scene) {
        let said = bring(tech, &stream);
        assert_eq!(said.code(), Some(REFUSED), "{case}: {}", said.story());
        assert!(said.err().contains(words), "{case} does not say {words:?}: {}", said.story());
        assert_eq!(said.err().trim().lines().count(), 1, "{case}: {}", said.story());
    }
    assert_eq!(tech.gw("jobs --json").must().json(), serde_json::json!([]), "a job was made");
    // One for tonight is none of them, and begins tonight.
    let tonight = Timestamp::from_system(SystemTime::now()).whole_second().plus(7200 * SECOND).to_string();
    let said = jobs::order(tech, &["mark", "word=bad", "--on", "acme/*", "--from", &tonight, "--detach"]);
    assert_eq!(said.code(), Some(OPEN), "{}", said.story());
    let id = jobs::newest(tech);
    assert!(jobs::states(&jobs::job(tech, &id)).iter().all(|(_, state)| state == "waiting"));
    tech.belay(["cancel", &id]).unwrap().must();
    assert!(jobs::states(&jobs::job(tech, &id)).iter().all(|(_, state)| state == "not started"));
    scene.is_healthy();
}

/// Orders that the gateway refuses as a whole: what is wrong, the stream, and what is said.
fn by_hand(scene: &Scene) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let key = scene.tech.key();
    let (one, draft) = (scene.draft(&["web1"]), scene.draft(&["web1", "web2"]));
    let (text, list) = (draft.order.to_text(), draft.list.to_text());
    let signature = Person::sign(&key, orders::ORDER, text.as_bytes()).unwrap();
    let elsewhere = Person::sign(&key, "runbook.v1@belay", text.as_bytes()).unwrap();
    let mallory = scene.world.stranger("mallory").unwrap();
    let later = |draft: &Draft| draft.list.to_text().replacen(" ", " 9", 1);
    let serial = DeviceList::parse(later(&one).as_bytes()).unwrap();
    let reserialled = Draft { list: serial.clone(), ..one.changed(|order| order.devices_root = serial.root()) };
    let fork = one.changed(|order| order.policy = Digest::of(b"another policy"));
    let unseen = one.changed(|order| order.policy_version += 1);
    let other = |change: fn(&mut belay_certs::order::Order)| one.changed(change).signed(&key);
    vec![
        ("unsigned", [text.as_bytes(), list.as_bytes()].concat(), "no signature follows"),
        ("cut signature", envelope(&text, &signature[..90], &list), "signature 1 is cut off"),
        (
            "a changed byte",
            envelope(&text.replace("\"bad\"", "\"bae\""), &signature, &list),
            "the text or the signature was changed",
        ),
        ("another namespace", envelope(&text, &elsewhere, &list), "not for order.v1@belay"),
        ("a changed list", envelope(&text, &signature, &list.replacen("web1", "web0", 1)), "is not the one"),
        ("a longer list", envelope(&text, &signature, &format!("{list}web3 7\n")), "is not the one"),
        ("a shorter list", envelope(&text, &signature, &one.list.to_text()), "is not the one"),
        ("a list that is none", envelope(&text, &signature, "hello\n"), "write NAME SERIAL"),
        ("no list", envelope(&text, &signature, ""), "there is no device"),
        ("another serial", reserialled.signed(&key), "no device web1 has a record with serial"),
        ("no argument", one.told(&[]).signed(&key), "the parameter word is missing"),
        ("outside the pattern", one.told(&[("word", "BAD")]).signed(&key), "the parameter word"),
        ("an unknown one", one.told(&[("word", "bad"), ("x", "1")]).signed(&key), "there is no parameter x"),
        ("a window in the past", one.counting(-7200, 3600).signed(&key), "before it was issued"),
        ("a window of eight days", one.counting(0, 8 * 86_400).signed(&key), "at most 7 days"),
        ("a window that ends first", one.counting(0, -60).signed(&key), "not_after must be after not_before"),
        ("a window to come, too late", one.counting(59 * 86_400, 2 * 86_400).signed(&key), "after the policy of acme"),
        ("an old order", old(&one).signed(&key), "ended at"),
        ("from the future", other(|order| order.issued = order.issued.plus(600 * SECOND)), "is from the future"),
        ("another tenant", other(|order| order.tenant = "globex".parse().unwrap()), "is for globex, not for acme"),
        ("another version", other(|order| order.version = Digest::of(b"x")), "is not in the library of acme"),
        ("another name", other(|order| order.runbook = "park".parse().unwrap()), "the order is for the runbook park"),
        (
            "another account",
            other(|order| order.account = "nobody".parse().unwrap()),
            "the account nobody is not granted",
        ),
        ("a policy not seen", unseen.signed(&key), "push it first"),
        ("a fork of the policy", fork.signed(&key), "under another version"),
        ("no grant", one.changed(|_| ()).signed(&scene.author.key()), "no grant gives author `run` on web1.acme"),
        ("a stranger", one.changed(|_| ()).signed(&mallory.key()), "belongs to nobody the policy knows"),
    ]
}

/// Order, signature and list as they travel.
fn envelope(text: &str, signature: &str, list: &str) -> Vec<u8> {
    [text, signature, list].concat().into_bytes()
}

/// An order as it was signed two hours ago, for an hour.
fn old(draft: &Draft) -> Draft {
    draft.counting(-7200, 3600).changed(|order| order.issued = order.not_before)
}

#[test]
fn a_robot_and_a_short_policy_reach_no_further_than_what_was_granted() {
    let scene = Scene::new();
    let account = scene.world.account().to_owned();
    let robot = scene.world.add_person("acme", "robot", &["--do", "run", "--as", &account]).unwrap();
    let expires = Timestamp::from_system(SystemTime::now()).whole_second().plus(86_400 * SECOND);
    changed::change(&scene.world, "web1.acme", |text| {
        let old = text.lines().find(|line| line.starts_with("expires = ")).unwrap();
        let text = text.replace(old, &format!("expires = {expires}"));
        let who = text.find("who = [\"robot\"]").unwrap();
        let (before, grant) = text.split_at(who);
        let on = "on = [\"*\"]";
        assert!(grant.contains(on), "{grant}");
        let grant = grant.replacen(on, "on = [\"web1\", \"web2\"]", 1);
        granted::add_to_grant(
            &format!("{before}{grant}"),
            "robot",
            "runbooks = [\"mark\", \"risky\"]\nrisk = \"normal\"\ndevices_max = 1",
        )
    });
    let other = scene.push("wipe", "");
    let risky = scene.push("risky", "risk = \"high\"");
    let of = |name: &str, file: &Path, devices: &[&str]| Draft::of(&scene.world, &scene.tech, (name, file), devices);
    let mark = |devices: &[&str]| of("mark", &scene.file, devices).told(&[("word", "bad")]);
    let cases = [
        (of("wipe", &other, &["web1"]), "do not hold \"wipe\""),
        (of("risky", &risky, &["web1"]), "is not for runbooks of high risk"),
        (mark(&["web3"]), "no grant lets robot reach web3.acme"),
        (mark(&["web1", "web2"]), "the order is for 2 devices, and the grant at line"),
        (
            mark(&["web1"]).changed(|order| order.account = "nobody".parse().unwrap()),
            "the account nobody is not granted",
        ),
    ];
    for (draft, words) in cases {
        let said = draft.submit(&robot);
        said.must_refuse(REFUSED, &["nothing was started", words]);
    }
    // The tech's order: the policy ends tomorrow.
    let late = scene.draft(&["web1"]).counting(0, 2 * 86_400);
    late.submit(&scene.tech).must_refuse(REFUSED, &["after the policy of acme", "renew the policy first"]);
    // Withdrawn is withdrawn, also for who may.
    let version = Digest::of(&fs::read(&other).unwrap());
    changed::change(&scene.world, "web1.acme", |text| {
        text.replace("[runbooks]\n", &format!("[runbooks]\nwithdrawn = [\"{version}\"]\n"))
    });
    let withdrawn = Draft::of(&scene.world, &scene.tech, ("wipe", &other), &["web1"]);
    withdrawn.submit(&scene.tech).must_refuse(REFUSED, &["is in `withdrawn`"]);
    scene.is_healthy();
}

#[test]
fn a_machine_that_cannot_run_it_or_may_have_run_it_before_says_so() {
    let scene = Scene::new();
    let submit = |draft: &Draft| {
        draft.submit(&scene.tech).must();
        draft.id()
    };
    // No such program, and none behind env.
    let spoil = |name: &str, interpreter: &str| {
        let file = runs::write(&scene.world, name, "", &format!("echo {name} >> {}", scene.mark.display()));
        let text = fs::read_to_string(&file).unwrap().replacen("#!/bin/sh", interpreter, 1);
        fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        scene.author.belay(["runbook", "sign", path]).unwrap().must();
        scene.author.belay(["runbook", "push", path, "--tenant", "acme"]).unwrap().must();
    };
    spoil("nowhere", "#!/opt/belay/no-such-shell");
    spoil("nameless", "#!/usr/bin/env no-such-shell");
    spoil("folder", "#!/usr/bin");
    scene.push("windows_only", "platforms = [\"windows\"]");
    let cases = [
        ("nowhere", "there is no program /opt/belay/no-such-shell on this machine"),
        ("nameless", "there is no program no-such-shell in "),
        ("folder", "there is no program /usr/bin on this machine"),
        ("windows_only", "is for windows, and this machine runs linux"),
    ];
    for (name, words) in cases {
        let said = jobs::order(&scene.tech, &[name, "--on", "web1.acme"]);
        said.must_refuse(REFUSED, &[words, "no device has begun"]);
        scene.is_refused(&jobs::newest(&scene.tech), &[words]);
    }
    // An order that counts from before the machine joined: on another disk it may have run.
    let before = "what this machine remembers of orders begins at";
    scene.is_refused(&submit(&scene.draft(&["web1"]).counting(-3600, 7200)), &[before, "sign a new order"]);
    // The same machine, wiped and joined again under its name: it runs no order of its first life.
    let done = scene.draft(&["web1"]).counting(-2, 7200);
    rejoin(&scene.world, "web1.acme");
    let again = Draft::of(&scene.world, &scene.tech, ("mark", &scene.file), &["web1"]);
    assert_ne!(again.list, done.list, "another record");
    done.submit(&scene.tech).must_refuse(REFUSED, &["no device web1 has a record with serial"]);
    let again = again.changed(|order| {
        (order.not_before, order.not_after) = (done.order.not_before, done.order.not_after);
        order.arguments.clone_from(&done.order.arguments);
    });
    scene.is_refused(&submit(&again), &[before]);
    scene.is_healthy();
}

#[test]
fn a_machine_whose_clock_is_off_by_hours_refuses_and_names_both_clocks() {
    if !Path::new(LIBRARY).exists() {
        println!("skipped: faketime is needed to set a program's clock");
        return;
    }
    let scene = Scene::new();
    let offset = scene.world.dir().join("offset");
    let set = |by: &str| {
        // Whole or not at all: the program may be reading.
        let draft = offset.with_extension("new");
        fs::write(&draft, by).unwrap();
        fs::rename(draft, &offset).unwrap();
    };
    let environment = [
        ("LD_PRELOAD", OsStr::new(LIBRARY)),
        ("FAKETIME_TIMESTAMP_FILE", offset.as_os_str()),
        ("FAKETIME_NO_CACHE", OsStr::new("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
    ];
    set("+0");
    scene.world.stop_agent("web1.acme").unwrap();
    scene.world.start_agent_with("web1.acme", &environment).unwrap();
    scene.world.until_online("web1.acme").unwrap();
    for (by, hours) in [("-3h", -3), ("+5h", 5)] {
        set(by);
        let order = scene.draft(&["web1"]);
        let there = order.order.issued.plus(hours * 3600 * SECOND).to_string();
        let here = order.order.issued.to_string();
        order.submit(&scene.tech).must();
        // To the hour: both stand in the sentence.
        let run = scene.over(&order.id());
        println!("{by}: {}", run["reason"]);
        scene.is_refused(&order.id(), &[&there[..13], &here[..13], "the gateway's", "set the clock"]);
    }
    set("+0");
    scene.is_healthy();
}
