//! Two agents with one identity: the newest wins, the older is told, and the log says so. Copies on other machines are nobody
//! until they have asked for themselves, and then they are others than the one they were copied from.

use belay_tests::{Daemon, Said, World, log::Log, programs::programs, run, wait::GENEROUS};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const DEVICE: &str = "web1.acme";

#[test]
fn the_newest_of_two_agents_with_one_identity_wins_and_the_older_is_told() {
    let world = World::small();
    let tech = world.person("tech");
    let copy = world.dir().join("agents/twin");
    run(Command::new("cp").arg("-a").arg(world.agent_dir("web1.acme")).arg(&copy), b"").unwrap().must();
    let mark = world.log("web1.acme").mark();
    let mut command = programs().unwrap().agent();
    command.arg("run").arg("--state").arg(&copy);
    let log = Log::default();
    let twin = Daemon::start("agent", command, log.clone(), &world.dir().join("logs/twin.log")).unwrap();
    log.wait("connected", 0, GENEROUS, |line| line.contains("connected to the gateway")).unwrap();
    let told = world.log("web1.acme").wait("its replacement", mark, GENEROUS, |line| line.contains("took its place"));
    told.unwrap();
    // The one that answers now is the twin.
    tech.ssh("web1.acme", "true").must();
    log.wait("a login", 0, GENEROUS, |line| line.contains("login")).unwrap();
    let entries = tech.log("acme");
    let superseded = entries.iter().filter(|entry| entry["type"] == "device.superseded").count();
    assert_eq!(superseded, 1, "{entries:#?}");
    drop(twin);
}

/// A machine made from a copy of the disk of [`DEVICE`]'s: the same state, another machine id.
struct Clone {
    state: PathBuf,
    machine_id: PathBuf,
}

impl Clone {
    fn of(world: &World, name: &str) -> Self {
        let (state, machine_id) = (world.agent_dir(name), world.dir().join(format!("{name}.machine-id")));
        run(Command::new("cp").arg("-a").arg(world.agent_dir(DEVICE)).arg(&state), b"").unwrap().must();
        fs::write(&machine_id, format!("{}\n", "0123456789abcdef".repeat(2).replace('0', &name[..1]))).unwrap();
        Self { state, machine_id }
    }

    /// `belay-agent WORDS` on this machine.
    fn agent(&self, words: &[&str]) -> Command {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c"]);
        unshare.arg(r#"mount --bind "$0" /etc/machine-id && exec "$@""#).arg(&self.machine_id);
        unshare.arg(programs().unwrap().agent().get_program());
        unshare.args(words).arg("--state").arg(&self.state);
        unshare
    }

    fn join(&self, name: &str, token: &Path) -> Command {
        self.agent(&["join", "--name", name, "--token-file", token.to_str().unwrap()])
    }

    fn start(&self, world: &World, log: &Log) -> Daemon {
        let file = world.dir().join("logs").join(self.state.file_name().unwrap());
        Daemon::start("agent", self.agent(&["run"]), log.clone(), &file).unwrap()
    }
}

#[test]
fn two_copies_on_other_machines_are_two_new_machines_and_neither_takes_the_originals_place() {
    let probe = ["--mount", "sh", "-c", "mount --bind /dev/null /etc/machine-id"];
    if !run(Command::new("unshare").args(probe), b"").is_ok_and(|said| said.status.success()) {
        println!("skipped: another machine id needs root and an /etc/machine-id");
        return;
    }
    let world = World::small();
    let tech = world.person("tech");
    let token = world.dir().join("again.token");
    world.make_token("acme", &token, &["--name", "web*", "--uses", "2"]).unwrap();
    let clones = ["alpha", "beta"].map(|name| Clone::of(&world, name));
    for clone in &clones {
        // With the original's identity they serve nobody.
        run(&mut clone.agent(&["run"]), b"").unwrap().must_refuse(1, &["the state was made on another machine"]);
    }
    // Both ask for the name they were copied with, at once: one of them waits for it.
    let both: Vec<Said> = std::thread::scope(|scope| {
        let asking = clones.each_ref().map(|clone| scope.spawn(|| run(&mut clone.join("web1", &token), b"").unwrap()));
        asking.map(|asking| asking.join().unwrap()).into()
    });
    let (first, second) = if both[0].code() == Some(0) { (0, 1) } else { (1, 0) };
    assert!(both[first].out().contains("web1.acme is pending"), "{}", both[first].story());
    let taken = both[second].err();
    assert!(taken.contains("the name web1 is taken by a device that is pending; join under another"), "{taken}");
    run(&mut clones[second].join("web2", &token), b"").unwrap().must();
    let keys = [world.agent_dir(DEVICE), clones[0].state.clone(), clones[1].state.clone()];
    let keys: BTreeSet<String> = keys.map(|state| fs::read_to_string(state.join("host_key")).unwrap()).into();
    assert_eq!(keys.len(), 3, "each has a key of its own");
    let logs = [Log::default(), Log::default()];
    let running = [0, 1].map(|at| clones[at].start(&world, &logs[at]));
    for log in &logs {
        log.wait("that it waits", 0, GENEROUS, |line| line.contains("pending: someone with `enrol`")).unwrap();
    }
    tech.ssh(DEVICE, "true").must();
    // Approved as they come: the one with a name of its own is a machine more, the other stays outside.
    world.try_approve("acme", "*").unwrap().must_refuse(1, &["REPLACES serial 1", "--replace"]);
    world.until_online("web2.acme").unwrap();
    tech.ssh("web2.acme", "true").must();
    tech.ssh(DEVICE, "true").must();
    assert!(!logs[first].since(0).iter().any(|line| line.contains("login")), "{}", logs[first].tail());
    let rows = tech.belay(["pending", "--json"]).unwrap().must().json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
    let entries = tech.log("acme");
    let of = |kind: &str| entries.iter().filter(|entry| entry["type"] == kind).count();
    let counts = ["device.superseded", "device.replaced", "device.approved"].map(of);
    assert_eq!(counts, [0, 0, 2], "{entries:#?}");
    drop(running);
}
