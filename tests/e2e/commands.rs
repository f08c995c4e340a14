//! The commands of `ssh gw` and of `belay`: what they show, their exits, and that each leaves a record.

use belay_tests::{Plan, Said, World, run};
use serde_json::Value;

fn belay(world: &World, person: &str, words: &[&str]) -> Said {
    world.person(person).belay(words).unwrap()
}

fn fields(row: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn devices_are_a_table_for_people_and_json_for_programs() {
    let world = World::shared();
    let tech = world.person("tech");
    let shown = tech.gw("devices --json").json();
    let rows = shown.as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db1.acme", "web1.acme"]);
    for row in rows {
        assert_eq!(
            fields(row),
            ["addresses", "labels", "name", "policy_expires", "since", "state", "version"],
            "{row}"
        );
        assert_eq!(row["state"], "online");
        assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
        assert!(row["since"].as_str().unwrap().ends_with('Z'), "{row}");
        assert!(row["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:"), "{row}");
    }
    let table = tech.gw("devices").must().out();
    assert!(table.lines().count() >= 2 && table.contains("web1.acme") && table.contains("online"), "{table}");
    let found = tech.gw("devices web --json").json();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(tech.gw("devices nothing-like-it --json").json(), Value::Array(Vec::new()));
}

#[test]
fn sessions_say_who_had_which() {
    let world = World::shared();
    let tech = world.person("tech");
    tech.ssh("db1.acme", "echo for the list; exit 3");
    let shown = world.person("auditor").gw("sessions --device db1.acme --json").json();
    let row = shown.as_array().unwrap().iter().find(|row| row["command"] == "echo for the list; exit 3");
    let row = row.unwrap_or_else(|| panic!("not listed: {shown:#}"));
    assert_eq!(
        fields(row),
        ["account", "command", "device", "ended", "exit", "id", "kind", "person", "recording", "started", "state"]
    );
    assert_eq!(row["state"], "ended");
    assert_eq!(
        (&row["person"], &row["device"], &row["kind"], &row["exit"]),
        (&"tech".into(), &"db1.acme".into(), &"exec".into(), &3.into())
    );
    assert_eq!(row["account"], world.account());
    assert!(row["started"].as_str() <= row["ended"].as_str(), "{row}");
}

#[test]
fn a_refusal_exits_1_and_wrong_usage_2_each_with_a_sentence() {
    let world = World::shared();
    let tech = world.person("tech");
    tech.gw("help").must();
    for wrong in ["reboot", "devices a b", "devices --nonsense", "log tail", "policy", "sessions --limit many"] {
        let said = tech.gw(wrong).must_refuse(2, &[]);
        assert!(said.err().lines().any(|line| line.len() > 10), "no sentence: {}", said.story());
    }
    // Somebody who may log in and not read, in their own tenant.
    let auditor = world.person("auditor");
    auditor.gw("token acme").must_refuse(1, &[]);
    auditor.gw("pending --tenant acme").must_refuse(1, &[]);
    tech.gw("log tail globex").must_refuse(1, &["nothing there is granted to you"]);
}

#[test]
fn every_command_is_recorded_before_it_answers() {
    let world = World::shared();
    let tech = world.person("tech");
    tech.gw("devices unlikely-text-to-find").must();
    let ran = tech.log("acme").into_iter().filter(|entry| entry["type"] == "command.ran").collect::<Vec<_>>();
    let words = serde_json::json!(["devices", "unlikely-text-to-find"]);
    assert!(ran.iter().any(|entry| entry["words"] == words && entry["person"] == "tech"), "{ran:#?}");
}

#[test]
fn belay_ssh_opens_the_only_match_and_lists_several() {
    let world = World::shared();
    let said = belay(&world, "tech", &["ssh", "web", "--", "echo", "found"]).must();
    assert_eq!(said.out(), "found\n");
    let account = format!("{}@db1.acme", world.account());
    assert_eq!(belay(&world, "tech", &["ssh", &account, "--", "exit 6"]).code(), Some(6));
    let said = belay(&world, "tech", &["ssh", "acme"]);
    assert!(!said.status.success(), "{}", said.story());
    assert!(said.err().contains("web1.acme") && said.err().contains("db1.acme"), "{}", said.story());
    assert!(!belay(&world, "tech", &["ssh", "nothing-like-it"]).status.success());
}

#[test]
fn belay_approve_takes_all_machines_of_a_tenant_at_once() {
    let world = World::of(Plan::without_devices());
    let (tech, token) = (world.person("tech"), world.dir().join("two.token"));
    world.make_token("acme", &token, &["--uses", "2"]).unwrap();
    for device in ["web1.acme", "web2.acme"] {
        world.join(device, &token).unwrap().must();
    }
    let mut approve = tech.belay_command().unwrap();
    approve.args(["approve", "acme/*", "--yes", "--ca"]).arg(world.tenant_dir("acme").join("device-ca"));
    let said = run(&mut approve, b"").unwrap().must();
    let shown = said.out() + &said.err();
    assert!(shown.contains("web1.acme") && shown.contains("web2.acme"), "no table: {}", said.story());
    assert_eq!(tech.gw("pending --json").json(), Value::Array(Vec::new()));
}

#[test]
fn belay_who_answers_from_the_policy_alone() {
    let world = World::small();
    let said = belay(&world, "tech", &["who", "web1.acme"]).must();
    assert!(
        said.out().contains("tech") && said.out().contains("shell") && said.out().contains("LINE"),
        "{}",
        said.story()
    );
    world.kill_gateway();
    let said = belay(&world, "tech", &["who", "web1.acme"]);
    assert!(said.out().contains("tech"), "without the gateway: {}", said.story());
}

#[test]
fn belay_config_writes_one_ssh_configuration_that_trusts_nothing_else() {
    let world = World::shared();
    let tech = world.person("tech");
    let mut ssh = tech.ssh_command();
    let said = run(ssh.args(["-G", "web1.acme"]), b"").unwrap().must().out().to_lowercase();
    for line in [
        "proxyjump gw",
        "stricthostkeychecking true",
        "globalknownhostsfile /dev/null",
        "hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com",
        "forwardagent no",
        "passwordauthentication no",
        "identitiesonly yes",
        "sendenv belay_ticket",
    ] {
        assert!(said.contains(line), "{line} is missing in\n{said}");
    }
    assert!(said.lines().any(|line| line.starts_with("ciphers aes256-gcm@openssh.com,")), "{said}");
}

#[test]
fn the_environment_that_a_session_may_have_arrives_and_no_other() {
    let world = World::shared();
    let mut ssh = world.person("tech").ssh_command();
    ssh.env("LC_TIME", "C.UTF-8").env("BELAY_TICKET", "INC-7").env("EDITOR", "evil");
    ssh.args([
        "-o",
        "SendEnv=EDITOR LD_PRELOAD",
        "web1.acme",
        "echo \"$LC_TIME $BELAY_TICKET ${EDITOR-none} $BELAY_PERSON\"",
    ]);
    let said = run(&mut ssh, b"").unwrap().must();
    assert_eq!(said.out(), "C.UTF-8 INC-7 none tech\n", "{}", said.story());
}
