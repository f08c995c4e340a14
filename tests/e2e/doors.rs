//! P6: every door is the same door. Each way to act on a machine, to change who may, or to read what a tenant has, and the
//! record that it leaves. A way that is new and has no row here fails this test.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/listed.rs"]
mod listed;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/readable.rs"]
mod readable;
#[path = "parts/runs.rs"]
mod runs;

use anyhow::ensure;
use belay_certs::policy::ActionKind;
use belay_tests::{
    Daemon, Person, Plan, Said, World, export,
    log::Log,
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

/// What one way in leaves in the tenant's log besides its words, which stand there in every case.
enum Leaves {
    /// Nothing: it is refused for want of what it takes. That it is done is the business of the rows above.
    Refused,
    /// Nothing: its words say what was asked for, and something was answered.
    Answered,
    /// An event of this type under the person's name that holds these words.
    Deed(&'static str, &'static str),
}
use Leaves::{Answered, Deed, Refused};

/// The gateway's commands, each as it is listed in `help`, as it is typed here, and what it leaves besides `command.ran` with its
/// words in the log of the tenant, which it leaves whether it is answered or refused. SESSION, LIVE, JOB and VERSION stand for one
/// that there is: a session of somebody else's that is over, one that goes on, a job that is over.
const COMMANDS: [(&str, &str, Leaves); 41] = [
    ("devices", "devices --tenant acme", Answered),
    ("pending", "pending --tenant acme --json", Answered),
    ("token", "token acme", Refused),
    ("approve", "approve acme", Refused),
    ("records", "records acme", Answered),
    ("recertify", "recertify acme", Refused),
    ("policy show", "policy show acme", Answered),
    ("policy fetch", "policy fetch", Answered),
    ("policy push", "policy push acme", Refused),
    ("runbooks", "runbooks acme", Answered),
    ("runbook show", "runbook show acme VERSION", Answered),
    ("runbook push", "runbook push acme", Refused),
    ("run", "run acme", Refused),
    ("jobs", "jobs --tenant acme", Answered),
    ("job", "job JOB", Answered),
    ("job", "job JOB --device web1 --output", Answered),
    ("job", "job JOB --output --follow --json", Answered),
    ("cancel", "cancel JOB", Refused),
    ("sessions", "sessions --tenant acme", Answered),
    ("recording", "recording SESSION", Deed("recording.read", "SESSION \"read\"")),
    ("recording", "recording SESSION --json", Answered),
    ("search", "search needle --tenant acme", Deed("recording.read", "SESSION \"search\"")),
    ("hold", "hold SESSION --reason case", Deed("recording.held", "SESSION case")),
    ("release", "release SESSION --reason over", Deed("recording.released", "SESSION over")),
    ("search", "search done --kind run", Deed("output.read", "JOB \"search\"")),
    ("hold", "hold JOB/web1 --reason case", Deed("output.held", "JOB web1 case")),
    ("release", "release JOB/web1 --reason over", Deed("output.released", "JOB web1 over")),
    ("kill", "kill LIVE", Deed("session.killed", "LIVE mate")),
    ("freeze", "freeze acme/auditor", Deed("freeze.begun", "acme/auditor")),
    ("freezes", "freezes --tenant acme", Answered),
    ("thaw", "thaw acme/auditor", Deed("freeze.lifted", "acme/auditor")),
    ("review", "review --tenant acme --json", Answered),
    ("review approve", "review approve SESSION --note well", Deed("review.given", "SESSION approved well")),
    ("review flag", "review flag SESSION --note odd", Deed("review.given", "SESSION flagged odd")),
    ("review flag", "review flag JOB --note mine", Refused),
    ("log tail", "log tail acme", Answered),
    ("log tail", "log tail acme --from 0 --json", Answered),
    ("log export", "log export acme", Answered),
    ("log proof", "log proof acme 0", Answered),
    ("log proof", "log proof acme SESSION --records", Answered),
    ("log checkpoint", "log checkpoint acme", Answered),
];

/// What a person's own machine does with what it fetches, and what the fetching leaves. FILE stands for a new one.
const AT_HOME: [(&str, Leaves); 7] = [
    ("replay SESSION", Deed("recording.read", "SESSION \"read\"")),
    ("recording SESSION -o FILE", Deed("recording.read", "SESSION \"read\"")),
    ("evidence SESSION -o FILE", Deed("recording.read", "SESSION \"read\"")),
    ("search needle --tenant acme", Deed("recording.read", "SESSION \"search\"")),
    ("replay JOB/web1", Deed("command.ran", "JOB \"web1\" \"--output\"")),
    ("evidence JOB -o FILE", Deed("command.ran", "JOB \"db1\" \"--output\"")),
    ("log verify acme", Deed("command.ran", "\"log\" \"export\" \"acme\"")),
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

/// A tenant with a person who may do everything and one who has shells, and recordings that the gateway can read.
struct Stage {
    world: World,
    tech: Person,
    mate: Person,
}

impl Stage {
    fn new() -> Self {
        let world = World::of(Plan::demo());
        readable::readable(&world, "web1.acme");
        let mate = world.add_person("acme", "mate", &["--do", "shell", "--as", world.account()]).unwrap();
        let author = runs::allow(&world, "web1.acme");
        runs::push(&world, &author, "noop", "", "echo done");
        runs::push(&world, &author, "slow", "", "sleep 300");
        Self { tech: world.person("tech"), mate, world }
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

/// What the placeholders of a row stand for.
struct Meant(Vec<(&'static str, String)>);

impl Meant {
    /// Makes it all: sessions of the mate's, one over and one that goes on for as long as the daemon, and a job of the technician's.
    fn make(stage: &Stage) -> (Self, Daemon) {
        stage.mate.ssh("web1.acme", OVER).must();
        let log = Log::default();
        let mut ssh = stage.mate.ssh_command();
        ssh.args(["-o", "ControlPath=none", "--", "web1.acme", LIVE]);
        let file = stage.world.dir().join("logs/live.log");
        let live = Daemon::start("live", ssh, log.clone(), &file).unwrap();
        log.wait("its beginning", 0, GENEROUS, |line| line == "begun").unwrap();
        jobs::order(&stage.tech, &["noop", "--on", "acme/*"]).must();
        until("a line that is found", GENEROUS, || {
            let answer = stage.tech.gw("search needle --tenant acme --json").must().json();
            ensure!(answer["found"].as_array().is_some_and(|found| !found.is_empty()), "{answer:#}");
            Ok(())
        })
        .unwrap();
        let sessions = stage.tech.gw("sessions --tenant acme --json").must().json();
        let session = |command: &str| {
            let row = sessions.as_array().unwrap().iter().find(|row| row["command"] == command);
            row.unwrap_or_else(|| panic!("no session {command:?}: {sessions:#}"))["id"].as_str().unwrap().to_owned()
        };
        let version = stage.tech.gw("runbooks acme --name noop --json").must().json()[0]["version"].clone();
        let meant = [
            ("SESSION", session(OVER)),
            ("LIVE", session(LIVE)),
            ("JOB", jobs::newest(&stage.tech)),
            ("VERSION", version.as_str().unwrap().to_owned()),
        ];
        (Self(meant.into()), live)
    }

    fn fill(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, (word, meant)| line.replace(word, meant))
    }

    /// Whether this is the row's event, by tech.
    fn is(&self, entry: &Value, kind: &str, words: &str) -> bool {
        let text = entry.to_string();
        entry["type"] == kind
            && entry["person"] == "tech"
            && words.split(' ').all(|word| text.contains(&self.fill(word)))
    }

    /// What came of it is what the row says.
    #[track_caller]
    fn must_leave(&self, said: &Said, entries: &[Value], leaves: &Leaves) {
        match leaves {
            Refused => {
                assert!(!said.status.success() && said.stdout.is_empty(), "it was not refused: {}", said.story())
            }
            Answered => assert!(said.status.success() && !said.stdout.is_empty(), "no answer: {}", said.story()),
            Deed(kind, words) => {
                assert!(said.status.success(), "{}", said.story());
                let left = entries.iter().any(|entry| self.is(entry, kind, words));
                assert!(left, "no {kind} with {words}: {}\n{entries:#?}", said.story());
            }
        }
    }
}

/// What the mate's sessions run.
const OVER: &str = "echo a needle";
const LIVE: &str = "echo begun; exec sleep 1000";

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
    let listed = listed::listed(&stage.tech.gw(HELP).must().out());
    let rows: BTreeSet<String> = COMMANDS.iter().map(|(row, ..)| *row).chain([HELP]).map(str::to_owned).collect();
    assert_eq!(listed, rows, "the commands of `help` and those that have rows");
    let (meant, live) = Meant::make(&stage);
    for (row, line, leaves) in COMMANDS {
        assert!(line.starts_with(row), "{line} is no {row}");
        let line = meant.fill(line);
        let words: Vec<&str> = line.split(' ').collect();
        let before = stage.mark();
        let said = stage.tech.gw_with_input(&line, b"{}");
        let entries = stage.since(&before);
        let ran = entries.iter().any(|entry| {
            entry["type"] == "command.ran" && entry["person"] == "tech" && entry["words"] == serde_json::json!(words)
        });
        assert!(ran, "{line} left no record");
        meant.must_leave(&said, &entries, &leaves);
    }
    assert!(!live.ended(GENEROUS).unwrap().success(), "the killed session ended as if all were well");
}

#[test]
fn what_a_person_looks_at_at_home_left_its_record_when_it_was_fetched() {
    let stage = Stage::new();
    let (meant, _live) = Meant::make(&stage);
    for (number, (line, leaves)) in AT_HOME.into_iter().enumerate() {
        let file = stage.world.dir().join(format!("fetched-{number}"));
        let line = meant.fill(line).replace("FILE", file.to_str().unwrap());
        let before = stage.mark();
        let said = stage.tech.belay(line.split(' ')).unwrap();
        meant.must_leave(&said, &stage.since(&before), &leaves);
        assert!(!line.contains(" -o ") || file.exists(), "nothing was written: {}", said.story());
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
