//! P6: every door is the same door. Each way to act on a machine, to change who may, or to read what a tenant has, and the
//! record that it leaves. A way that is new and has no row here fails this test.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::ensure;
use belay_certs::policy::ActionKind;
use belay_tests::{
    Person, Plan, Said, World, export,
    programs::programs,
    run,
    wait::{GENEROUS, until},
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

/// A way to act on a machine, and what it leaves in the tenant's log under the person's name.
struct Door {
    name: &'static str,
    /// What the policy calls it.
    action: ActionKind,
    act: fn(&Stage),
    leaves: &'static [&'static str],
}

/// Through a machine's own SSH server, and by orders.
const MACHINES: [Door; 11] = [
    Door { name: "shell", action: ActionKind::Shell, act: shell, leaves: SESSION },
    Door { name: "command", action: ActionKind::Shell, act: |stage| stage.on(&[], "true"), leaves: SESSION },
    Door {
        name: "command on a forced terminal",
        action: ActionKind::Shell,
        act: |stage| stage.on(&["-tt"], "true"),
        leaves: SESSION,
    },
    Door { name: "sftp", action: ActionKind::Files, act: sftp, leaves: SESSION },
    Door { name: "scp", action: ActionKind::Files, act: |stage| scp(stage, &[]), leaves: SESSION },
    Door { name: "scp of before", action: ActionKind::Shell, act: |stage| scp(stage, &["-O"]), leaves: SESSION },
    Door {
        name: "forward",
        action: ActionKind::Forward,
        act: |stage| drop(stage.ssh(&["-W", "127.0.0.1:1"], None)),
        leaves: &["access.opened", "session.refused"],
    },
    Door {
        name: "a machine that there is not",
        action: ActionKind::Shell,
        act: |stage| drop(stage.tech.ssh("none.acme", "true")),
        leaves: &["access.refused"],
    },
    Door {
        name: "an account that is not granted",
        action: ActionKind::Shell,
        act: |stage| drop(stage.tech.ssh("nobody-granted@web1.acme", "true")),
        leaves: &["access.opened", "session.refused"],
    },
    Door {
        name: "run",
        action: ActionKind::Run,
        act: |stage| drop(jobs::order(&stage.tech, &["noop", "--on", "acme/*"]).must()),
        leaves: &["job.submitted", "run.started", "job.ended"],
    },
    Door {
        name: "cancel",
        action: ActionKind::Run,
        act: cancel,
        leaves: &["job.submitted", "run.started", "job.cancelled"],
    },
];
const SESSION: &[&str] = &["access.opened", "session.opened", "session.ended", "access.ended"];

/// What is left by the setting up of a tenant: by token, approval, policy and library.
const SET_UP: [(ActionKind, &[&str]); 2] = [
    (ActionKind::Enrol, &["token.issued", "device.pending", "device.approved", "device.connected"]),
    (ActionKind::Operate, &["policy.adopted", "runbook.pushed"]),
];

/// The gateway's commands, each as it is listed in `help` and as it is typed here; each leaves `command.ran` with its words in
/// the log of the tenant, whether it is answered or refused. SESSION and JOB stand for one that there is.
const COMMANDS: [(&str, &str); 35] = [
    ("devices", "devices --tenant acme"),
    ("pending", "pending --tenant acme"),
    ("token", "token acme"),
    ("approve", "approve acme"),
    ("records", "records acme"),
    ("recertify", "recertify acme"),
    ("policy show", "policy show acme"),
    ("policy fetch", "policy fetch"),
    ("policy push", "policy push acme"),
    ("runbooks", "runbooks acme"),
    ("runbook show", "runbook show acme VERSION"),
    ("runbook push", "runbook push acme"),
    ("run", "run acme"),
    ("jobs", "jobs --tenant acme"),
    ("job", "job JOB"),
    ("job", "job JOB --device web1 --output"),
    ("cancel", "cancel JOB"),
    ("sessions", "sessions --tenant acme"),
    ("recording", "recording SESSION"),
    ("recording", "recording SESSION --json"),
    ("search", "search needle --tenant acme"),
    ("hold", "hold SESSION --reason case"),
    ("release", "release SESSION --reason case"),
    ("kill", "kill SESSION"),
    ("freeze", "freeze acme/auditor"),
    ("thaw", "thaw acme/auditor"),
    ("freezes", "freezes --tenant acme"),
    ("review", "review --tenant acme"),
    ("review", "review approve SESSION --note well"),
    ("review", "review flag JOB --note odd"),
    ("log tail", "log tail acme"),
    ("log tail", "log tail acme --from 0 --json"),
    ("log export", "log export acme"),
    ("log proof", "log proof acme 0"),
    ("log checkpoint", "log checkpoint acme"),
];
/// It says nothing of any tenant.
const HELP: &str = "help";

/// The operator's own commands, as `belay-gateway` lists them and as they are typed here, and the type that they leave in the
/// system log or, without a person, in the tenant's. FILE stands for a new one.
const LOCAL: [(&str, &str, &str); 9] = [
    ("tenant add", "tenant add initech", "tenant.added"),
    ("log export", "log export acme --output FILE", "command.ran"),
    ("log verify", "log verify acme", "command.ran"),
    ("backup", "backup FILE", "command.ran"),
    ("transport-ca rotate", "transport-ca rotate", "command.ran"),
    ("transport-ca retire", "transport-ca retire --force", "command.ran"),
    ("log restart", "log restart acme", "log.restarted"),
    // Both are done when a world is set up, or by the test of lost root keys.
    ("tenant adopt", "", "policy.adopted"),
    ("tenant restart", "", "policy.restarted"),
];
/// What makes or starts a gateway, and what says only what everybody may know: names, and the gateway's own public keys.
const WITHOUT: [&str; 6] = ["init", "serve", "restore", "tenant invite", "tenant list", "transport-ca show"];

/// A tenant with a person who may do everything.
struct Stage {
    world: World,
    tech: Person,
}

impl Stage {
    fn new() -> Self {
        let world = World::of(Plan::demo());
        let author = runs::allow(&world, "web1.acme");
        runs::push(&world, &author, "noop", "", "true");
        runs::push(&world, &author, "slow", "", "sleep 300");
        Self { tech: world.person("tech"), world }
    }

    fn ssh(&self, options: &[&str], command: Option<&str>) -> Said {
        let mut ssh = self.tech.ssh_command();
        run(ssh.args(options).arg("web1.acme").args(command), b"exit\n").unwrap()
    }

    fn on(&self, options: &[&str], command: &str) {
        self.ssh(options, Some(command)).must();
    }

    /// The entries of the tenant's log behind those that `before` has.
    fn since(&self, before: &BTreeSet<String>) -> Vec<Value> {
        let new = |entry: &Value| !before.contains(entry["id"].as_str().unwrap());
        self.tech.log("acme").into_iter().filter(new).collect()
    }

    fn mark(&self) -> BTreeSet<String> {
        self.tech.log("acme").iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Does it, and waits for these types in the log.
    fn must_leave(&self, what: &str, act: impl FnOnce(), types: &[&str]) {
        let before = self.mark();
        act();
        let told = |entries: &[Value]| entries.iter().map(|entry| entry["type"].to_string()).collect::<Vec<_>>();
        until(&format!("{types:?} of {what}"), GENEROUS, || {
            let entries = self.since(&before);
            let missing = types.iter().find(|wanted| !entries.iter().any(|entry| entry["type"] == **wanted));
            ensure!(missing.is_none(), "{what} left {:?} and no {missing:?}", told(&entries));
            Ok(())
        })
        .unwrap();
    }
}

fn shell(stage: &Stage) {
    stage.ssh(&["-tt"], None).must();
}

fn sftp(stage: &Stage) {
    run(stage.tech.copier("sftp").args(["-b", "-", "web1.acme"]), b"pwd\n").unwrap().must();
}

fn scp(stage: &Stage, options: &[&str]) {
    let file = stage.world.dir().join("copied");
    fs::write(&file, "x").unwrap();
    let to = format!("web1.acme:{}.there", file.display());
    run(stage.tech.copier("scp").args(options).arg(&file).arg(to), b"").unwrap().must();
}

fn cancel(stage: &Stage) {
    let said = jobs::order(&stage.tech, &["slow", "--on", "acme/web1", "--detach"]);
    assert!(matches!(said.code(), Some(0 | 4)), "{}", said.story());
    let id = jobs::newest(&stage.tech);
    until("the run", GENEROUS, || {
        let job = jobs::job(&stage.tech, &id);
        ensure!(jobs::states(&job).iter().all(|(_, state)| state == "started"), "{job:#}");
        Ok(())
    })
    .unwrap();
    stage.tech.gw(&format!("cancel {id}")).must();
}

/// The words of a usage that are typed as they are.
fn fixed(usage: &str) -> String {
    let typed = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    usage.split_whitespace().take_while(typed).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_way_to_a_machine_leaves_its_record() {
    let stage = Stage::new();
    for door in MACHINES {
        stage.must_leave(door.name, || (door.act)(&stage), door.leaves);
    }
    for (action, types) in SET_UP {
        let log = stage.tech.log("acme");
        for wanted in types {
            assert!(log.iter().any(|entry| entry["type"] == *wanted), "{action:?} left no {wanted}");
        }
    }
    // Reading is what the commands below do.
    let rowed = |action: ActionKind| {
        action == ActionKind::Audit
            || MACHINES.iter().any(|door| door.action == action)
            || SET_UP.iter().any(|(set_up, _)| *set_up == action)
    };
    let missing: Vec<_> = ActionKind::ALL.into_iter().filter(|action| !rowed(*action)).collect();
    assert!(missing.is_empty(), "actions without a row: {missing:?}");
}

#[test]
fn every_command_of_the_gateway_leaves_its_record() {
    let stage = Stage::new();
    stage.on(&[], "true");
    jobs::order(&stage.tech, &["noop", "--on", "acme/*"]).must();
    let job = jobs::newest(&stage.tech);
    let session = stage.tech.gw("sessions --tenant acme --json").must().json()[0]["id"].as_str().unwrap().to_owned();
    let version = stage.tech.gw("runbooks acme --json").must().json()[0]["version"].as_str().unwrap().to_owned();
    let help = stage.tech.gw(HELP).must().out();
    let listed = help.lines().filter_map(|line| line.strip_prefix("  ")?.split("  ").next()).map(fixed);
    let missing: Vec<String> = listed
        .filter(|command| !command.is_empty() && command != HELP && !COMMANDS.iter().any(|(row, _)| row == command))
        .collect();
    assert!(missing.is_empty(), "commands without a row: {missing:?}");
    for (_, line) in COMMANDS {
        let line = line.replace("SESSION", &session).replace("JOB", &job).replace("VERSION", &version);
        let words: Vec<&str> = line.split(' ').collect();
        let before = stage.mark();
        stage.tech.gw_with_input(&line, b"{}");
        let found = stage.since(&before).into_iter().any(|entry| {
            entry["type"] == "command.ran" && entry["person"] == "tech" && entry["words"] == serde_json::json!(words)
        });
        assert!(found, "{line} left no record");
    }
}

#[test]
fn every_command_of_the_operator_leaves_its_record() {
    let world = World::of(Plan::small());
    let missing: Vec<String> = local(&[])
        .into_iter()
        .filter(|command| !WITHOUT.contains(&command.as_str()) && !LOCAL.iter().any(|(row, ..)| row == command))
        .collect();
    assert!(missing.is_empty(), "commands without a row: {missing:?}");
    // Done when the world was set up.
    let file = world.dir().join("written");
    let adopted = world.person("tech").log("acme");
    assert!(adopted.iter().any(|entry| entry["type"] == "policy.adopted"), "{adopted:#?}");
    for (number, (_, line, wanted)) in LOCAL.into_iter().filter(|(_, line, _)| !line.is_empty()).enumerate() {
        let before = left(&world, wanted);
        let to = file.with_extension(number.to_string());
        let line = line.replace("FILE", to.to_str().unwrap());
        let said = world.operator(&line.split(' ').collect::<Vec<_>>()).unwrap().must();
        assert!(left(&world, wanted) > before, "{line} left no {wanted}: {}", said.story());
    }
}

/// How many entries of this type are there that no person caused, in the system log and in the tenant's; but not those of
/// this very look.
fn left(world: &World, wanted: &str) -> usize {
    let looked = serde_json::json!(["log", "export", "system"]);
    let own = world.person("tech").log("acme");
    let counts = |entry: &&Value| entry["type"] == wanted && entry["person"] == Value::Null && entry["words"] != looked;
    own.iter().chain(&system(world)).filter(counts).count()
}

/// The operator's commands, with those below them.
fn local(above: &[&str]) -> Vec<String> {
    let mut gateway = programs().unwrap().gateway();
    let help = run(gateway.args(above).arg("--help"), b"").unwrap().must().out();
    let Some((_, listed)) = help.split_once("Commands:\n") else { return Vec::new() };
    let names = listed.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let below = |name: &str| {
        let path: Vec<&str> = above.iter().copied().chain([name]).collect();
        let more = local(&path);
        if more.is_empty() { vec![path.join(" ")] } else { more }
    };
    names.filter(|name| *name != "help").flat_map(below).collect()
}

/// The system log's events.
fn system(world: &World) -> Vec<Value> {
    let file = world.dir().join("system.tar");
    world.operator(&["log", "export", "system", "--output", file.to_str().unwrap()]).unwrap().must();
    events(&file)
}

fn events(file: &Path) -> Vec<Value> {
    export::events(&export::unpack(&fs::read(file).unwrap()).unwrap())
}
