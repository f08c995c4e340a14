//! A provider's first day: hundreds of machines that wait (6,000 with BELAY_LONG=1), approved with one question and one
//! signature, cut off halfway and gone on with. Each stands in the log once.

#[path = "hacked/machine.rs"]
#[expect(dead_code, reason = "here are many machines, never one alone")]
mod machine;
#[path = "hacked/machines.rs"]
mod machines;
#[path = "hacked/wire.rs"]
#[expect(dead_code, reason = "no gateway is played here")]
mod wire;

use belay_certs::{PrivateKey, token::TokenFile};
use belay_tests::{
    Person, Plan, Terminal, World, export,
    plan::Tenant,
    run,
    wait::{GENEROUS, until},
};
use machine::request;
use machines::ask_all;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
    time::Instant,
};

/// Acme without a device; `tech` may enrol.
fn world() -> World {
    let plan = Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: &[] };
    World::of(Plan { tenants: vec![plan] })
}

/// Lets `count` machines called `{prefix}0…` ask to join; the token's id.
fn join_many(world: &World, prefix: &str, count: usize) -> String {
    let file = world.dir().join(format!("{prefix}.token"));
    let pattern = format!("{prefix}*");
    world.make_token("acme", &file, &["--uses", &count.to_string(), "--name", &pattern, "--label", prefix]).unwrap();
    let token = TokenFile::parse(&fs::read(&file).unwrap()).unwrap();
    let asked: Vec<_> = (0..count)
        .map(|number| request(&token, &format!("{prefix}{number}"), &PrivateKey::generate_ed25519("").unwrap()))
        .collect();
    assert_eq!(ask_all(world.quic_port(), &asked), count);
    belay_certs::token::Token::parse(&token.token.bytes).unwrap().id.to_string()
}

fn approve(world: &World, tech: &Person) -> Command {
    let mut approve = tech.belay_command().unwrap();
    approve.arg("approve").arg("--ca").arg(world.tenant_dir("acme").join("device-ca"));
    approve
}

/// The names of `device.approved` entries in the whole log, as often as they are there.
fn approved(world: &World, tech: &Person) -> Vec<String> {
    let archive = world.dir().join("acme.tar");
    let said = tech.gw("log export acme").must();
    fs::write(&archive, &said.stdout).unwrap();
    let verified = tech.belay(["log", "verify", "acme", "--export", archive.to_str().unwrap()]).unwrap().must();
    assert!(verified.out().contains("acme"), "{}", verified.story());
    let entries = export::events(&export::unpack(&said.stdout).unwrap());
    let of = entries.into_iter().filter(|entry: &Value| entry["type"] == "device.approved");
    of.map(|entry| entry["device"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_fleet_is_approved_with_one_signature_cut_off_and_gone_on_with_and_each_stands_in_the_log_once() {
    let count = if std::env::var_os("BELAY_LONG").is_some() { 6_000 } else { 300 };
    let world = world();
    let tech = world.person("tech");
    join_many(&world, "pc", count);
    let began = Instant::now();
    let listed = tech.belay(["pending", "--json"]).unwrap().must();
    assert_eq!(listed.json().as_array().unwrap().len(), count);
    println!("measured: {count} pending machines listed and verified in {:.1} s", began.elapsed().as_secs_f64());
    // Cut off with kill -9 as soon as the signed batch is kept.
    let batches = tech.home().join("batches");
    let mut first = approve(&world, &tech);
    first.args(["acme/*", "--yes"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    until("the signed batch", GENEROUS * 10, || {
        let kept = fs::read_dir(&batches)?.filter_map(Result::ok);
        let whole = kept.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "json")).count();
        anyhow::ensure!(whole == 1, "nothing is kept yet");
        Ok(())
    })
    .unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    // The gateway dies as well.
    world.kill_gateway();
    let lost = run(approve(&world, &tech).args(["acme/*", "--yes"]), b"").unwrap();
    assert!(lost.code() == Some(1) && lost.err().contains("stays in"), "{}", lost.story());
    world.start_gateway().unwrap();
    let began = Instant::now();
    // No --yes and no terminal: a question would be refused. No device CA either: nothing is signed again.
    let mut again = tech.belay_command().unwrap();
    let done = run(again.args(["approve", "acme/*", "--ca"]).arg(world.dir().join("none")), b"").unwrap().must();
    assert!(done.err().contains("going on with"), "{}", done.story());
    println!("measured: {count} machines approved in {:.1} s after the signature", began.elapsed().as_secs_f64());
    assert_eq!(fs::read_dir(&batches).unwrap().count(), 0);
    let names = approved(&world, &tech);
    assert_eq!((names.len(), names.iter().collect::<BTreeSet<_>>().len()), (count, count));
    let nothing = run(approve(&world, &tech).args(["acme/*", "--yes"]), b"").unwrap();
    nothing.must_refuse(1, &["no machine that matches is waiting"]);
}

#[test]
fn the_passphrase_of_the_device_ca_is_asked_for_once() {
    let world = world();
    let tech = world.person("tech");
    let ca = world.tenant_dir("acme").join("device-ca");
    let mut lock = Command::new("ssh-keygen");
    lock.args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"]).arg(&ca);
    run(&mut lock, b"").unwrap().must();
    join_many(&world, "pc", 5);
    let mut command = approve(&world, &tech);
    command.args(["acme/*", "--yes"]).env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY");
    let mut terminal = Terminal::open(&command, 200, 50).unwrap();
    terminal.see("passphrase for").unwrap();
    terminal.keys("open sesame\r").unwrap();
    let shown = terminal.see("pc4.acme approved").unwrap();
    assert!(terminal.ended(GENEROUS).unwrap().success(), "{shown}");
    assert!(!shown.contains("passphrase for"), "asked twice: {shown}");
    assert_eq!(approved(&world, &tech).len(), 5);
}

#[test]
fn a_watch_approves_what_its_token_brings_and_nothing_else_also_over_a_restart_of_the_gateway() {
    let world = world();
    let tech = world.person("tech");
    let file = world.dir().join("shop.token");
    world.make_token("acme", &file, &["--uses", "3", "--name", "shop*", "--label", "till"]).unwrap();
    let token = TokenFile::parse(&fs::read(&file).unwrap()).unwrap();
    let id = belay_certs::token::Token::parse(&token.token.bytes).unwrap().id.to_string();
    let asks = |name: &str| {
        let asked = request(&token, name, &PrivateKey::generate_ed25519("").unwrap());
        assert_eq!(ask_all(world.quic_port(), &[asked]), 1);
    };
    join_many(&world, "other", 1);
    let out = world.dir().join("watch.out");
    let mut watch = approve(&world, &tech);
    watch.args(["--token", &id, "--watch", "1h", "--yes"]).stdin(Stdio::null());
    watch.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(world.dir().join("watch.err")).unwrap());
    let mut watch = watch.spawn().unwrap();
    let told = |what: &str| {
        let found = until(what, GENEROUS, || {
            let text = fs::read_to_string(&out)?;
            anyhow::ensure!(text.contains(what), "{text}");
            Ok(text)
        });
        found.unwrap()
    };
    let shown = told("UNTIL");
    assert!(shown.contains("shop*.acme") && shown.contains("till") && shown.contains(&id), "{shown}");
    asks("shop1");
    told("shop1.acme approved");
    world.kill_gateway();
    world.start_gateway().unwrap();
    asks("shop2");
    told("shop2.acme approved");
    asks("shop3");
    let shown = told("shop3.acme approved");
    assert!(watch.wait().unwrap().success(), "three machines are all that the token is for");
    assert!(!shown.contains("other0"), "{shown}");
    assert_eq!(approved(&world, &tech), ["shop1", "shop2", "shop3"]);
    // An interrupt ends it and leaves nothing behind.
    let id = join_many(&world, "late", 1);
    let mut watch = approve(&world, &tech);
    watch.args(["--token", &id, "--watch", "1h", "--yes"]).stdin(Stdio::null()).stderr(Stdio::null());
    watch.stdout(fs::File::create(&out).unwrap());
    let mut watch = watch.spawn().unwrap();
    told("late0.acme approved");
    run(Command::new("kill").args(["-INT", &watch.id().to_string()]), b"").unwrap().must();
    watch.wait().unwrap();
    assert_eq!(fs::read_dir(tech.home().join("batches")).unwrap().count(), 0);
}

#[test]
fn who_may_enrol_some_approves_some_and_is_told_of_the_others() {
    let world = world();
    join_many(&world, "web", 2);
    join_many(&world, "db", 1);
    let half = world.add_person("acme", "half", &["--do", "enrol", "--on", "web*"]).unwrap();
    let some = run(approve(&world, &half).args(["acme/*", "--yes"]), b"").unwrap();
    some.must_refuse(1, &["1 that matched stayed out"]);
    let tech = world.person("tech");
    assert_eq!(approved(&world, &tech), ["web0", "web1"]);
    run(approve(&world, &half).args(["db0.acme", "--yes"]), b"").unwrap().must_refuse(1, &["you may not approve"]);
    assert_eq!(approved(&world, &tech).len(), 2);
}
