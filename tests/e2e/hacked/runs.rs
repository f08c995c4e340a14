//! Runs: what a gateway offers that nobody ordered, proofs of intents that prove nothing, and the one thing it can do twice.
//! Every lie is told to a real agent, and next to them stands the truth, which runs.

use super::{
    DEVICE, Scene, changed,
    ledger::Lie,
    orders::{self, Draft},
    runs,
};
use belay_certs::{
    Digest, Namespace, PrivateKey, PublicKey,
    order::{DeviceList, Order},
    sshsig::sign,
    statement::{self, Body, SignedStatement, Statement},
    time::SECOND,
};
use belay_protocol::{RunCancelled, RunOffered, StatementMade, ToGateway};
use belay_tests::{
    Person, Plan, World, run,
    wait::{GENEROUS, until},
};
use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

const WORD: &str = "[parameters.word]\ntype = \"string\"\ndescription = \"a word\"\nrequired = true";

/// A hacked gateway with everything that an honest one had: signed runbooks, and orders that people have signed.
struct Stolen {
    scene: Scene,
    author: Person,
    /// A good order, to be changed and signed.
    draft: Draft,
    /// The good runbook and its signature.
    runbook: (Vec<u8>, String),
    /// One that is withdrawn.
    withdrawn: (Vec<u8>, String),
    /// A line for each script that ran.
    mark: PathBuf,
}

impl Stolen {
    fn new() -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, DEVICE);
        let mark = world.dir().join("ran");
        let body = format!("echo \"$BELAY_ARG_WORD\" >> {}", mark.display());
        let file = runs::push(&world, &author, "mark", WORD, &body);
        let old = runs::push(&world, &author, "old", WORD, &body);
        let version = Digest::of(&fs::read(&old).unwrap());
        changed::change(&world, DEVICE, |text| {
            text.replace("[runbooks]\n", &format!("[runbooks]\nwithdrawn = [\"{version}\"]\n"))
        });
        let draft = Draft::of(&world, &world.person("tech"), ("mark", &file), &["web1"]);
        let signed = |file: &PathBuf| {
            let signature = fs::read_to_string(format!("{}.sig", file.display())).unwrap();
            (fs::read(file).unwrap(), signature)
        };
        let (runbook, withdrawn) = (signed(&file), signed(&old));
        Self { scene: Scene::of(world), author, draft, runbook, withdrawn, mark }
    }

    fn tech(&self) -> PathBuf {
        self.scene.tech.key()
    }

    /// The good order under another id, with another argument, counting from now.
    fn draft(&self, word: &str) -> Draft {
        self.draft.counting(0, 900).told(&[("word", word)])
    }

    /// An order, signed by this key, for the good runbook.
    fn offer(&self, draft: &Draft, key: &std::path::Path) -> RunOffered {
        let order = draft.order.to_text();
        let order_signature = Person::sign(key, orders::ORDER, order.as_bytes()).unwrap();
        let (runbook, runbook_signature) = self.runbook.clone();
        let path = draft.list.tree().path(0).unwrap();
        RunOffered { order: order.into_bytes(), order_signature, runbook, runbook_signature, index: 0, path }
    }

    /// The same for a good order with this word and a change.
    fn ordered(&self, word: &str, change: impl FnOnce(&mut Order)) -> RunOffered {
        self.offer(&self.draft(word).changed(change), &self.tech())
    }

    /// What the device says of an offer that it does not take: a word for the gateway, or a statement for the log.
    fn must_refuse(&self, case: &str, offered: RunOffered, heard: fn(&ToGateway) -> Option<String>, words: &str) {
        let mark = self.scene.rogue.mark();
        self.scene.rogue.say(offered);
        let sentence = self.scene.rogue.heard(case, mark, heard);
        assert!(sentence.contains(words), "{case}: {sentence:?} does not say {words:?}");
        assert_eq!(self.ran(), [""; 0], "{case} ran");
    }

    fn ran(&self) -> Vec<String> {
        fs::read_to_string(&self.mark).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// A good order with this word runs, and its end is heard.
    fn serves_the_truth(&self, word: &str) -> RunOffered {
        self.scene.rogue.will_say(Lie::None);
        let draft = self.draft(word);
        let (offered, mark) = (self.offer(&draft, &self.tech()), self.scene.rogue.mark());
        self.scene.rogue.say(offered.clone());
        let end = |message: &ToGateway| ended(message).filter(|_| is_about(message, &draft.id()));
        assert_eq!(self.scene.rogue.heard("the end of a run", mark, end), "succeeded");
        assert_eq!(self.ran().last().map(String::as_str), Some(word));
        // Its end is proved: of the run the machine keeps nothing but the id.
        let files = self.scene.world.agent_dir(DEVICE).join("runs").join(draft.id());
        until("the run to be forgotten", GENEROUS, || {
            anyhow::ensure!(!files.exists());
            Ok(())
        })
        .unwrap();
        offered
    }
}

fn declined(message: &ToGateway) -> Option<String> {
    match message {
        ToGateway::RunDeclined(declined) => Some(declined.sentence.clone()),
        _ => None,
    }
}

fn body(message: &ToGateway) -> Option<Body> {
    let ToGateway::StatementMade(made) = message else { return None };
    Some(Statement::parse(made.text.as_bytes()).unwrap().body)
}

fn refused(message: &ToGateway) -> Option<String> {
    match body(message)? {
        Body::RunRefused { reason, .. } => Some(reason.to_string()),
        _ => None,
    }
}

/// Whether a statement names this order.
fn is_about(message: &ToGateway, id: &str) -> bool {
    matches!(message, ToGateway::StatementMade(made) if made.text.contains(id))
}

fn ended(message: &ToGateway) -> Option<String> {
    match body(message)? {
        Body::RunEnded(end) => Some(end.outcome.to_string()),
        _ => None,
    }
}

#[test]
fn an_order_that_nobody_signed_so_is_declined_and_fills_no_log() {
    let stolen = Stolen::new();
    let good = || stolen.ordered("bad", |_| ());
    let mallory = PrivateKey::generate_ed25519("mallory").unwrap();
    let elsewhere = |namespace: &str| {
        let good = good();
        let order_signature = Person::sign(&stolen.tech(), namespace, &good.order).unwrap();
        RunOffered { order_signature, ..good }
    };
    let changed = |from: &str, to: &str| {
        let good = good();
        let order = String::from_utf8(good.order).unwrap().replacen(from, to, 1).into_bytes();
        RunOffered { order, ..good }
    };
    let globex = |order: &mut Order| order.tenant = "globex".parse().unwrap();
    let unfit = "the text or the signature was changed";
    let cases = [
        ("unsigned", RunOffered { order_signature: String::new(), ..good() }, "signature"),
        ("rubbish for a signature", RunOffered { order_signature: "hello".to_owned(), ..good() }, "signature"),
        ("two signatures", RunOffered { order_signature: good().order_signature.repeat(2), ..good() }, "signature"),
        ("a signature of another order", RunOffered { order_signature: good().order_signature, ..good() }, unfit),
        ("another namespace", elsewhere("runbook.v1@belay"), "not for order.v1@belay"),
        ("a namespace of ssh's", elsewhere("file"), "not for order.v1@belay"),
        ("another argument", changed("\"bad\"", "\"bae\""), unfit),
        ("another account", changed("account = \"", "account = \"x"), unfit),
        ("another id", changed("id = \"", "id = \"0"), "id"),
        ("a longer window", changed("not_after = 2", "not_after = 3"), "7 days"),
        ("no order at all", RunOffered { order: b"#!/bin/sh\ntouch /tmp/x\n".to_vec(), ..good() }, "the order"),
        ("nothing", RunOffered { order: Vec::new(), ..good() }, "the order"),
        ("another tenant's", stolen.ordered("bad", globex), "is for globex, not for acme"),
    ];
    for (case, offered, words) in cases {
        stolen.must_refuse(case, offered, declined, words);
    }
    let by_nobody = {
        let good = good();
        let order_signature = sign(Namespace::Order, &good.order, &mallory).unwrap();
        RunOffered { order_signature, ..good }
    };
    stolen.must_refuse("a stranger's own", by_nobody, declined, "who is nobody in acme");
    let about_runs = |made: &StatementMade| made.text.contains("\"run.");
    assert!(
        !stolen.scene.rogue.statements().iter().any(about_runs),
        "a hacked gateway made the device state something"
    );
    stolen.serves_the_truth("good");
    assert_eq!(stolen.ran(), ["good"]);
}

#[test]
fn an_order_of_a_person_that_does_not_count_here_is_refused_in_the_log() {
    let stolen = Stolen::new();
    let list = DeviceList::parse(b"web2 9\n").unwrap();
    let other_list = |order: &mut Order| order.devices_root = list.root();
    let two = DeviceList::parse(b"web1 9\nweb2 9\n").unwrap();
    let reserialled = |order: &mut Order| (order.devices, order.devices_root) = (two.count(), two.root());
    let (old, old_signature) = stolen.withdrawn.clone();
    let of_old = |order: &mut Order| {
        order.runbook = "old".parse().unwrap();
        order.version = Digest::of(&old);
    };
    let withdrawn =
        RunOffered { runbook: old.clone(), runbook_signature: old_signature, ..stolen.ordered("bad", of_old) };
    // A script of the gateway's own, for which somebody's order is bent.
    let script = String::from_utf8(stolen.runbook.0.clone()).unwrap() + "echo bad\n";
    let by_tech = Person::sign(&stolen.tech(), "runbook.v1@belay", script.as_bytes()).unwrap();
    let of_script = |order: &mut Order| order.version = Digest::of(script.as_bytes());
    let good = || stolen.ordered("bad", |_| ());
    let shifted = |seconds: i64| {
        move |order: &mut Order| {
            let shift = |at: belay_certs::Timestamp| at.plus(seconds * SECOND);
            (order.issued, order.not_before, order.not_after) =
                (shift(order.issued), shift(order.not_before), shift(order.not_after));
        }
    };
    let cases = [
        ("another device's", stolen.ordered("bad", other_list), "is not for web1.acme with serial"),
        ("another serial's", stolen.ordered("bad", reserialled), "is not for web1.acme with serial"),
        ("another place", RunOffered { index: 1, ..good() }, "is not for web1.acme"),
        ("another path", RunOffered { path: vec![[7; 32]], ..good() }, "is not for web1.acme"),
        ("withdrawn", withdrawn, "is in `withdrawn`"),
        ("another script", RunOffered { runbook: script.clone().into_bytes(), ..good() }, "was changed"),
        (
            "a script by who may not",
            RunOffered {
                runbook: script.clone().into_bytes(),
                runbook_signature: by_tech,
                ..stolen.ordered("bad", of_script)
            },
            "is not in `signers`",
        ),
        ("an unsigned script", RunOffered { runbook_signature: String::new(), ..good() }, "signature"),
        ("another version", stolen.ordered("bad", of_script), "the order is for the runbook mark in version"),
        ("no grant", stolen.offer(&stolen.draft("bad"), &stolen.author.key()), "no grant gives author `run`"),
        ("another account", stolen.ordered("bad", |order| order.account = "nobody".parse().unwrap()), "is not granted"),
        ("no argument", stolen.ordered("bad", |order| order.arguments.clear()), "the parameter word is missing"),
        ("an old one", stolen.ordered("bad", shifted(-3600)), "ended at"),
        ("one of tomorrow", stolen.ordered("bad", shifted(86_400)), "from the future"),
        (
            "before it joined",
            stolen.ordered("bad", |order| order.not_before = order.not_before.plus(-3600 * SECOND)),
            "what this machine remembers",
        ),
    ];
    for (case, offered, words) in cases {
        stolen.must_refuse(case, offered, refused, words);
    }
    // What was refused once is spent, also when the gateway says it again to a new life of the agent.
    let spent = stolen.serves_the_truth("good");
    stolen.scene.restart_agent();
    let mark = stolen.scene.rogue.mark();
    stolen.scene.rogue.say(spent);
    let sentence = stolen.scene.rogue.heard("that it is spent", mark, declined);
    assert!(sentence.contains("none is taken twice"), "{sentence}");
    assert_eq!(stolen.ran(), ["good"]);
}

#[test]
fn no_lie_about_the_log_starts_a_run() {
    let stolen = Stolen::new();
    let rogue = &stolen.scene.rogue;
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
        (Lie::Refused, "the dog ate the log"),
    ];
    for (lie, reason) in cases {
        let logged = stolen.scene.world.log(DEVICE).mark();
        rogue.will_insist_on(lie);
        let draft = stolen.draft("bad");
        rogue.say(stolen.offer(&draft, &stolen.tech()));
        stolen.scene.logged(logged, reason);
        let order = draft.order.id.0;
        rogue.say(RunCancelled { order, sentence: "enough".to_owned() });
        let id = draft.id();
        let over = |line: &str| line.contains("a run is over") && line.contains(&id);
        let line = stolen.scene.world.log(DEVICE).wait("its end", logged, GENEROUS, over).unwrap();
        assert!(line.contains("not started"), "{line}");
        // From here on the intent is proved, too late.
        stolen.serves_the_truth("good");
    }
    // In the log and withheld: no permission either.
    let mark = rogue.mark();
    rogue.will_say(Lie::Withheld);
    rogue.say(stolen.offer(&stolen.draft("bad"), &stolen.tech()));
    assert_eq!(rogue.heard("that it did not start", mark, ended), "not started");
    stolen.serves_the_truth("good");
    assert!(stolen.ran().len() == 12 && stolen.ran().iter().all(|word| word == "good"), "{:?}", stolen.ran());
}

#[test]
fn a_proof_that_comes_after_the_window_starts_nothing() {
    let stolen = Stolen::new();
    let rogue = &stolen.scene.rogue;
    let mark = rogue.mark();
    rogue.will_insist_on(Lie::Late);
    rogue.say(stolen.offer(&stolen.draft.counting(0, 4).told(&[("word", "bad")]), &stolen.tech()));
    assert_eq!(rogue.heard("that its window is over", mark, ended), "expired");
    assert!(rogue.say_what_was_kept_back() >= 2, "the proofs of the intent and of its end");
    stolen.serves_the_truth("good");
    assert_eq!(stolen.ran(), ["good"]);
}

#[test]
fn a_flood_of_orders_makes_a_machine_no_larger_and_is_answered_a_few_times() {
    let stolen = Stolen::new();
    let (before, mark, logged) = (stolen.scene.rss(), stolen.scene.rogue.mark(), stolen.scene.world.log(DEVICE).mark());
    for number in 0..400_u32 {
        let mut offered = stolen.offer(&stolen.draft, &stolen.tech());
        offered.order = format!("id = \"{number}\"\n").into_bytes();
        offered.runbook = vec![b'x'; 200 << 10];
        stolen.scene.rogue.say(offered);
    }
    stolen.serves_the_truth("good");
    let (after, lines) = (stolen.scene.rss(), stolen.scene.world.log(DEVICE).mark() - logged);
    let answers = stolen.scene.rogue.all_heard(mark, declined).len();
    println!("measured: 400 orders of 200 KiB that are none: agent RSS {before} to {after} KiB, {answers} answers");
    assert!((1..=64).contains(&answers) && lines < 200, "{answers} answers, {lines} lines");
    assert!(after < before + (24 << 10), "{before} to {after} KiB");
    assert_eq!(stolen.ran(), ["good"]);
}

#[test]
fn a_hacked_gateway_repeats_a_run_on_a_restored_disk_and_the_machine_contradicts_itself() {
    let stolen = Stolen::new();
    let (world, rogue) = (&stolen.scene.world, &stolen.scene.rogue);
    let (state, copy) = (world.agent_dir(DEVICE), world.dir().join("copy"));
    let copied = |from: &PathBuf, to: &PathBuf| {
        let _ = fs::remove_dir_all(to);
        run(Command::new("cp").arg("-a").arg(from).arg(to), b"").unwrap().must();
    };
    world.stop_agent(DEVICE).unwrap();
    copied(&state, &copy);
    let hellos = rogue.hellos();
    world.start_agent(DEVICE).unwrap();
    rogue.hello(hellos);
    let offered = stolen.serves_the_truth("once");
    world.stop_agent(DEVICE).unwrap();
    copied(&copy, &state);
    let (hellos, mark) = (rogue.hellos(), rogue.mark());
    world.start_agent(DEVICE).unwrap();
    rogue.hello(hellos);
    rogue.say(offered);
    assert_eq!(rogue.heard("the end of a run", mark, ended), "succeeded");
    // The limit of the promise: the window was open, the disk was older, and the gateway wanted it.
    assert_eq!(stolen.ran(), ["once", "once"]);
    // And what it leaves: two intents that the machine has signed under one number.
    let host = fs::read_to_string(state.join("host_key")).unwrap();
    let host: PublicKey = PrivateKey::from_openssh(&host).unwrap().public().clone();
    let mut by_number: BTreeMap<u64, BTreeMap<String, String>> = BTreeMap::new();
    for made in rogue.statements() {
        let signed = SignedStatement { text: made.text, signature: made.signature };
        statement::verify(&signed, &host).unwrap();
        by_number.entry(made.seq).or_default().insert(signed.text, signed.signature);
    }
    let twice: Vec<_> = by_number.values().filter(|texts| texts.len() > 1).collect();
    let intents = |texts: &&&BTreeMap<String, String>| texts.keys().all(|text| text.contains("\"run.started\""));
    assert_eq!(twice.iter().filter(intents).count(), 1, "{by_number:#?}");
}
