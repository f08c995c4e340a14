//! Who is turned away, and what they are told: a stranger the one text, a person with a grant exactly why not.

use belay_tests::{Person, Said, World};
use std::time::{Duration, Instant};

/// What everybody without a grant in the tenant is told.
const NOTHING_GRANTED: &str = "no such device or tenant, or nothing there is granted to you";
/// A little less than the fixed delay of that text.
const DELAY_MIN: Duration = Duration::from_millis(700);
/// The status of a channel that the device refused.
const REFUSED: i32 = 254;
/// ssh's own, for a connection that did not come about.
const NO_CONNECTION: i32 = 255;

/// Nobody on the device may have run anything of these words.
fn must_not_run(world: &World, attempt: impl Fn(&str) -> Said, case: &str) -> Said {
    let mark = world.dir().join(format!("ran-{case}"));
    let said = attempt(&format!("touch {}", mark.display()));
    assert!(!mark.exists(), "{case}: the command ran: {}", said.story());
    said
}

#[test]
fn somebody_of_another_tenant_gets_one_text_after_one_delay_whatever_the_name() {
    let world = World::shared();
    let other = world.person("other");
    // The outer connection stands, so that only the answer is timed.
    other.gw("help").must();
    for target in ["web1.acme", "nothing.acme", "db1.acme"] {
        let begun = Instant::now();
        let said = must_not_run(&world, |command| other.ssh(target, command), target);
        let waited = begun.elapsed();
        said.must_refuse(NO_CONNECTION, &[NOTHING_GRANTED]);
        assert!(waited >= DELAY_MIN, "{target} was answered after {waited:?}");
        println!("measured: {target} was answered after {} ms", waited.as_millis());
    }
    for command in
        ["policy show acme", "log tail acme", "log checkpoint acme", "policy show nowhere", "log export acme"]
    {
        let begun = Instant::now();
        other.gw(command).must_refuse(1, &[NOTHING_GRANTED]);
        assert!(begun.elapsed() >= DELAY_MIN, "{command} was answered after {:?}", begun.elapsed());
    }
}

#[test]
fn nothing_of_another_tenant_is_seen_in_lists() {
    let world = World::shared();
    let other = world.person("other");
    for command in ["devices --json", "sessions --json", "pending --json", "devices acme --json"] {
        let shown = other.gw(command).json();
        assert!(!shown.to_string().contains("acme"), "{command}: {shown}");
    }
}

#[test]
fn a_stranger_is_told_the_same_whatever_the_name() {
    let world = World::shared();
    let stranger = world.stranger("stranger").unwrap();
    let told = |target: &str| {
        let said = must_not_run(&world, |command| stranger.ssh(target, command), &format!("stranger-{target}"));
        said.must_refuse(NO_CONNECTION, &["Permission denied"]).err().replace(target, "TARGET")
    };
    let first = told("web1.acme");
    assert_eq!(first, told("nothing.acme"));
    assert_eq!(first, told("till1.globex"));
    // With stock settings, which ask by keyboard when no key is taken, the person reads why.
    let mut ssh = Person::plain_ssh();
    ssh.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]);
    ssh.args(["-o", &format!("UserKnownHostsFile={}", stranger.home().join("known_hosts").display()), "-i"]);
    ssh.arg(stranger.key()).args(["-p", &world.ssh_port().to_string(), "127.0.0.1", "devices"]);
    let said = belay_tests::run(&mut ssh, b"").unwrap();
    said.must_refuse(NO_CONNECTION, &["none of your keys is known here"]);
}

#[test]
fn a_person_with_a_grant_is_told_exactly_why_not() {
    let world = World::new();
    let tech = world.person("tech");
    world.stop_agent("db1.acme").unwrap();
    world.until_state("db1.acme", "offline").unwrap();
    let token = world.dir().join("second.token");
    world.make_token("acme", &token, &[]).unwrap();
    world.join("web9.acme", &token).unwrap().must();
    let cases = [
        ("db1.acme", "db1.acme is offline since 20"),
        ("web9.acme", "web9.acme is pending"),
        ("web2.acme", "there is no device web2.acme; did you mean web1.acme"),
        ("completely-else.acme", "there is no device completely-else.acme"),
    ];
    for (target, sentence) in cases {
        must_not_run(&world, |command| tech.ssh(target, command), target).must_refuse(NO_CONNECTION, &[sentence]);
    }
    let refused: Vec<String> = tech
        .log("acme")
        .iter()
        .filter(|entry| entry["type"] == "access.refused")
        .map(|entry| entry["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(refused, cases.map(|(target, _)| target), "each is recorded");
}

#[test]
fn a_grant_on_one_device_opens_no_other_and_names_no_other() {
    let world = World::new();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--on", "web1", "--as", &account]).unwrap();
    assert_eq!(guest.ssh("web1.acme", "echo in").must().out(), "in\n");
    must_not_run(&world, |command| guest.ssh("db1.acme", command), "db1")
        .must_refuse(NO_CONNECTION, &["no grant lets guest reach db1.acme"]);
    let near = guest.ssh("db2.acme", "true").must_refuse(NO_CONNECTION, &["there is no device db2.acme"]);
    assert!(!near.err().contains("db1"), "{}", near.story());
    let shown = guest.gw("devices --json").json();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
}

#[test]
fn an_auditor_reads_and_may_not_log_in() {
    let world = World::shared();
    let auditor = world.person("auditor");
    must_not_run(&world, |command| auditor.ssh("web1.acme", command), "auditor")
        .must_refuse(REFUSED, &["no grant gives auditor `shell` on web1.acme, only"]);
    let entries = auditor.log("acme");
    let refused = entries.iter().rev().find(|entry| entry["type"] == "session.refused" && entry["person"] == "auditor");
    let refused = refused.unwrap_or_else(|| panic!("not recorded: {entries:#?}"));
    assert!(refused["reason"].as_str().unwrap().contains("no grant gives auditor"), "{refused}");
    assert!(refused["command"].as_str().unwrap().starts_with("touch "), "{refused}");
}

#[test]
fn an_account_that_is_not_granted_is_refused_with_those_that_are() {
    let world = World::shared();
    let tech = world.person("tech");
    let granted = format!("gives {}", world.account());
    must_not_run(&world, |command| tech.ssh("somebody-else@web1.acme", command), "not-granted")
        .must_refuse(REFUSED, &["the account somebody-else is not granted: the grant at line", &granted]);
}

#[test]
fn an_account_that_the_machine_does_not_have_is_named() {
    let world = World::small();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", "no-such-account"]).unwrap();
    let sentence = if world.account() == "root" {
        "there is no account no-such-account on this machine"
    } else {
        "no-such-account"
    };
    must_not_run(&world, |command| guest.ssh("no-such-account@web1.acme", command), "missing")
        .must_refuse(REFUSED, &[sentence]);
    let entries = world.person("tech").log("acme");
    assert!(
        !entries.iter().any(|entry| entry["type"] == "session.opened" && entry["account"] == "no-such-account"),
        "{entries:#?}"
    );
}

#[test]
fn as_root_a_session_becomes_the_account_with_its_login_shell() {
    let world = World::small();
    if world.account() != "root" {
        println!("skipped: only root's agent becomes other accounts");
        return;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let Some(line) = passwd.lines().find(|line| line.starts_with("nobody:") && line.ends_with("nologin")) else {
        println!("skipped: this machine has no account `nobody` without a login");
        return;
    };
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", "nobody"]).unwrap();
    let said = must_not_run(&world, |command| guest.ssh("nobody@web1.acme", command), "nobody");
    // The account's own shell has the word, and this one lets nobody in.
    assert!(said.code() == Some(1) && said.out().contains("not available"), "{line}: {}", said.story());
    let entries = world.person("tech").log("acme");
    let opened = entries.iter().any(|entry| entry["type"] == "session.opened" && entry["account"] == "nobody");
    assert!(opened, "{entries:#?}");
}
