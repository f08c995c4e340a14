//! What ssh can ask for beside a shell and a command, and does not get: forwards, X11, agents, files, the gateway's own
//! shell.

use belay_tests::{Daemon, Person, Said, World, log::Log, run, wait::GENEROUS};
use std::{io::ErrorKind, net::TcpListener, process::Command};

/// A door on this machine that nobody may come through.
struct Trap(TcpListener);

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    #[track_caller]
    fn must_be_untouched(&self) {
        match self.0.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("somebody came through: {other:?}"),
        }
    }
}

fn ssh(person: &Person, arguments: &[&str]) -> Said {
    let mut ssh = person.ssh_command();
    run(ssh.args(["-o", "ExitOnForwardFailure=yes"]).args(arguments), b"").unwrap()
}

/// The reason of a refusal that the device recorded for a kind of session.
fn recorded(world: &World, kind: &str, part: &str) -> bool {
    let entries = world.person("tech").log("acme");
    entries.iter().any(|entry| {
        let reason = entry["reason"].as_str().unwrap_or_default();
        entry["type"] == "session.refused" && entry["kind"] == kind && reason.contains(part)
    })
}

#[track_caller]
fn until_recorded(world: &World, kind: &str, part: &str) {
    let found = || {
        anyhow::ensure!(recorded(world, kind, part), "no session.refused of kind {kind} with {part:?}");
        Ok(())
    };
    belay_tests::wait::until("the refusal in the log", GENEROUS, found).unwrap();
}

#[test]
fn the_gateway_forwards_to_devices_and_nowhere_else() {
    let world = World::shared();
    let (tech, trap) = (world.person("tech"), Trap::set());
    let nothing = "no such device or tenant, or nothing there is granted to you";
    for (target, words) in [
        (trap.address(), nothing),
        (format!("localhost:{}", world.ssh_port()), nothing),
        ("till1.globex:22".to_owned(), nothing),
        ("web1.acme:80".to_owned(), "port 80 of web1.acme cannot be reached"),
    ] {
        let said = ssh(&tech, &["-W", &target, "gw"]);
        // What comes back is our own clear-text farewell, in place of the bytes of the other side.
        assert!(said.out().contains(words), "{target}: {}", said.story());
    }
    trap.must_be_untouched();
}

#[test]
fn no_forward_leads_through_a_device_yet_and_each_is_recorded() {
    let world = World::shared();
    let (tech, trap) = (world.person("tech"), Trap::set());
    let said = ssh(&tech, &["-W", &trap.address(), "web1.acme"]);
    assert!(!said.status.success(), "{}", said.story());
    trap.must_be_untouched();
    until_recorded(&world, "forward", "forwards are not supported yet");
}

#[test]
fn nobody_listens_on_the_gateway_or_on_a_device() {
    let world = World::shared();
    let tech = world.person("tech");
    for target in ["gw", "web1.acme"] {
        let said = ssh(&tech, &["-N", "-o", "ControlPath=none", "-R", "0:127.0.0.1:1", target]);
        said.must_refuse(255, &["remote port forwarding failed"]);
    }
}

#[test]
fn x11_is_not_forwarded() {
    let world = World::shared();
    let tech = world.person("tech");
    for (target, command, expected) in [("web1.acme", "echo \"${DISPLAY-none}\"", "none\n"), ("gw", "help", "")] {
        let mut ssh = tech.ssh_command();
        ssh.env("DISPLAY", ":99").args(["-o", "ControlPath=none", "-Y", target, command]);
        let said = run(&mut ssh, b"").unwrap().must();
        assert!(said.err().contains("X11 forwarding request failed"), "{}", said.story());
        assert!(said.out().starts_with(expected), "{}", said.story());
    }
}

#[test]
fn the_persons_agent_stays_at_home() {
    let world = World::shared();
    let tech = world.person("tech");
    let socket = world.dir().join("agent.sock");
    let mut agent = Command::new("ssh-agent");
    agent.arg("-D").arg("-a").arg(&socket);
    let _agent = Daemon::start("ssh-agent", agent, Log::default(), &world.dir().join("logs/ssh-agent.log")).unwrap();
    belay_tests::wait::until("the agent's socket", GENEROUS, || {
        anyhow::ensure!(socket.exists(), "no socket");
        Ok(())
    })
    .unwrap();
    let mut ssh = tech.ssh_command();
    ssh.env("SSH_AUTH_SOCK", &socket).args(["-A", "web1.acme", "echo \"${SSH_AUTH_SOCK-none}\""]);
    let said = run(&mut ssh, b"").unwrap().must();
    assert_eq!(said.out(), "none\n", "{}", said.story());
    until_recorded(&world, "forward", "forwards are not supported yet");
}

#[test]
fn the_gateway_has_no_shell_and_no_files() {
    let world = World::shared();
    let tech = world.person("tech");
    ssh(&tech, &["gw"]).must_refuse(1, &["the gateway has no shell"]);
    ssh(&tech, &["-tt", "gw"]).must_refuse(1, &[]);
    ssh(&tech, &["-s", "gw", "sftp"]).must_refuse(1, &["the gateway keeps no files"]);
    // A command is one of the gateway's own, whatever a shell would make of it.
    ssh(&tech, &["gw", "help; touch /tmp/belay-must-not-exist"]).must_refuse(2, &[]);
}
