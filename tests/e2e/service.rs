//! What a service manager hears of both programs, on a real notification socket, and their units.

use belay_tests::{
    Daemon, Plan, World,
    call::{run, run_within},
    log::Log,
    programs::programs,
    wait::{GENEROUS, until},
};
use std::{cell::RefCell, fs, os::unix::net::UnixDatagram, path::PathBuf, process::Command, time::Instant};

/// The service manager's end of `NOTIFY_SOCKET`.
struct Ear {
    path: PathBuf,
    socket: UnixDatagram,
    /// Every message so far.
    heard: RefCell<Vec<String>>,
}

impl Ear {
    fn new(world: &World, name: &str) -> Self {
        let path = world.dir().join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(GENEROUS)).unwrap();
        Self { path, socket, heard: RefCell::default() }
    }

    /// Runs a program as its service manager would, with a watchdog of 0.6 s.
    fn start(&self, name: &'static str, mut command: Command, world: &World, log: Log) -> Daemon {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "600000");
        Daemon::start(name, command, log, &world.dir().join("logs").join(format!("{name}.service.log"))).unwrap()
    }

    /// Waits for the next message with this in one of its lines.
    #[track_caller]
    fn hear(&self, wanted: &str) {
        let (began, first) = (Instant::now(), self.heard.borrow().len());
        while !self.heard.borrow().iter().skip(first).any(|message| says(message, wanted)) {
            let mut message = [0; 4096];
            let came = self.socket.recv(&mut message).ok().filter(|_| began.elapsed() < GENEROUS);
            let Some(count) = came else { panic!("{wanted:?} was not said, but {:?}", self.heard.borrow()) };
            self.heard.borrow_mut().push(String::from_utf8_lossy(&message[..count]).into_owned());
        }
    }

    /// Waits for such a message, unless one has come already.
    #[track_caller]
    fn has_heard(&self, wanted: &str) {
        if !self.heard.borrow().iter().any(|message| says(message, wanted)) {
            self.hear(wanted);
        }
    }
}

/// Whether one of the message's lines has these words.
fn says(message: &str, wanted: &str) -> bool {
    message.lines().any(|line| line.contains(wanted))
}

#[test]
fn a_gateway_is_ready_when_a_login_works_and_says_that_it_lives_and_that_it_stops() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    world.stop_gateway().unwrap();
    let ear = Ear::new(&world, "notify");
    let gateway = ear.start("gateway", world.serve_command().unwrap(), &world, world.log("gateway"));
    ear.hear("READY=1");
    // One attempt, at once.
    let mut ssh = tech.ssh_command();
    run_within(ssh.args(["-o", "ControlPath=none", "--", "gw", "help"]), b"", GENEROUS).unwrap().must();
    for _ in 0..3 {
        ear.hear("WATCHDOG=1");
    }
    ear.has_heard("; 1 connected");
    let stopped = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| gateway.stop());
        ear.hear("STOPPING=1");
        stopping.join().unwrap()
    });
    assert!(stopped.unwrap().success());
}

#[test]
fn an_agent_is_ready_without_its_gateway_and_says_when_it_is_connected_and_sessions_see_none_of_it() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    world.stop_agent("web1.acme").unwrap();
    world.stop_gateway().unwrap();
    let ear = Ear::new(&world, "notify");
    let mut command = programs().unwrap().agent();
    command.arg("run").arg("--state").arg(world.agent_dir("web1.acme"));
    let agent = ear.start("agent", command, &world, world.log("web1.acme"));
    ear.hear("READY=1");
    ear.has_heard("STATUS=not connected to the gateway");
    world.start_gateway().unwrap();
    ear.has_heard("STATUS=connected to the gateway at 127.0.0.1");
    ear.hear("WATCHDOG=1");
    let seen = until("a session", GENEROUS, || tech.ssh("web1.acme", "env").succeeded()).unwrap().out();
    assert!(!seen.contains("NOTIFY_SOCKET") && !seen.contains("WATCHDOG"), "{seen}");
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| agent.stop());
        ear.hear("STOPPING=1");
        stopping.join().unwrap()
    })
    .unwrap();
}

#[test]
fn the_units_are_understood_and_the_gateways_is_locked_down() {
    if run(Command::new("systemd-analyze").arg("--version"), b"").is_err() {
        return println!("skipped: no systemd-analyze here");
    }
    let top = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let scratch = tempfile::tempdir().unwrap();
    for (unit, program) in [
        ("gateway/belay-gateway.service", programs().unwrap().gateway()),
        ("agent/belay-agent.service", programs().unwrap().agent()),
    ] {
        let text = fs::read_to_string(top.join(unit)).unwrap();
        let installed = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let name = installed.split(' ').next().unwrap();
        let here = text.replace(name, program.get_program().to_str().unwrap());
        let file = scratch.path().join(PathBuf::from(unit).file_name().unwrap());
        fs::write(&file, here).unwrap();
        let said = run(Command::new("systemd-analyze").arg("verify").arg(&file), b"").unwrap().must();
        assert!(!said.err().contains(unit.rsplit('/').next().unwrap()), "{}", said.story());
        // In tenths: 9.6 is what sshd has, and an agent is no less.
        let most = if unit.starts_with("gateway") { "--threshold=15" } else { "--threshold=96" };
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager", most]).arg(&file);
        let said = run(&mut security, b"").unwrap().must();
        println!("measured: {unit} {}", said.out().lines().last().unwrap_or_default());
    }
}
