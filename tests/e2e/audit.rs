//! What `ssh-audit` says about both SSH servers: no failure, and no warning that is not listed here with its reason.

use belay_tests::{Plan, World, run};
use serde_json::Value;
use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

/// Set by `tests/run`, which keeps Python programs in a directory of their own.
const TOOLS_ENV: &str = "BELAY_TOOLS";

/// Warnings that stay, each with its reason. A new one fails.
const REASONS: &[(&str, &str)] = &[
    (
        "warn kex curve25519-sha256: does not provide protection against post-quantum attacks",
        "OpenSSH before 9.9 and every PuTTY have no ML-KEM; whoever has it gets it, for it stands first",
    ),
    (
        "warn kex curve25519-sha256@libssh.org: does not provide protection against post-quantum attacks",
        "the same exchange under the name that it had before RFC 8731, for old clients",
    ),
];

/// The same for a machine's server alone.
const MACHINES_REASONS: &[(&str, &str)] = &[(
    "warn mac hmac-sha2-256: using encrypt-and-MAC mode",
    "dropbear's client has no other; it counts only beside the last cipher, for the others bring their own",
)];

/// The program, where there is one.
fn ssh_audit() -> Option<PathBuf> {
    let kept = env::var_os(TOOLS_ENV).map(|tools| PathBuf::from(tools).join("ssh-audit"));
    let found =
        env::var_os("PATH").map(|path| env::split_paths(&path).map(|dir| dir.join("ssh-audit")).collect::<Vec<_>>());
    kept.into_iter().chain(found.into_iter().flatten()).find(|program| program.is_file())
}

/// Every failure and warning about a server on a loopback port, as `warn kex NAME: words`.
fn complaints(program: &PathBuf, port: u16) -> Vec<String> {
    // Its own exit status counts warnings; what matters is in the report. Floods have a test of their own.
    let said =
        run(Command::new(program).args(["--skip-rate-test", "-j", "-p", &port.to_string(), "127.0.0.1"]), b"").unwrap();
    let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", said.story()));
    let mut complaints = Vec::new();
    for kind in ["kex", "key", "enc", "mac"] {
        let algorithms = report[kind].as_array().unwrap_or_else(|| panic!("no {kind}: {report:#}"));
        assert!(!algorithms.is_empty(), "{report:#}");
        for algorithm in algorithms {
            for level in ["fail", "warn"] {
                let notes = algorithm["notes"][level].as_array().cloned().unwrap_or_default();
                let name = algorithm["algorithm"].as_str().unwrap();
                complaints
                    .extend(notes.iter().map(|note| format!("{level} {kind} {name}: {}", note.as_str().unwrap())));
            }
        }
    }
    let weaknesses = report["cves"].as_array().cloned().unwrap_or_default();
    complaints.extend(weaknesses.iter().map(|weakness| format!("fail {weakness}")));
    complaints
}

/// A loopback port behind which every connection is `ssh -W DEVICE:22 gw`.
fn forwarded(world: &World, device: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tech = world.person("tech");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut ssh = tech.ssh_command();
            ssh.args(["-o", "ControlMaster=no", "-o", "ControlPath=none", "-W", &format!("{device}:22"), "gw"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            thread::spawn(move || carry(ssh, client));
        }
    });
    port
}

fn carry(mut ssh: Command, client: TcpStream) {
    let mut ssh = ssh.spawn().unwrap();
    let (mut to, mut from) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
    let (mut upward, mut downward) = (client.try_clone().unwrap(), client);
    let up = thread::spawn(move || pump(&mut upward, &mut to));
    pump(&mut from, &mut downward);
    let _ = downward.shutdown(Shutdown::Both);
    let _ = (up.join(), ssh.kill(), ssh.wait());
}

/// Not `io::copy`: from a pipe to a socket that asks the kernel, which waits for more.
fn pump(from: &mut impl Read, to: &mut impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn ssh_audit_finds_nothing_in_either_server_that_has_no_reason() {
    let Some(program) = ssh_audit() else {
        return println!("skipped: there is no ssh-audit; `pip install ssh-audit`");
    };
    let world = World::of(Plan::small());
    let servers = [
        ("the gateway", world.ssh_port(), &[][..]),
        ("a machine's server", forwarded(&world, "web1.acme"), MACHINES_REASONS),
    ];
    for (name, port, own) in servers {
        let found = complaints(&program, port);
        let reasons = || REASONS.iter().chain(own);
        let listed: Vec<&str> = reasons().map(|(complaint, _)| *complaint).collect();
        assert_eq!(found, listed, "{name}");
        println!("measured: ssh-audit on {name}: no failures, {} warnings, each with its reason", found.len());
        reasons().for_each(|(complaint, reason)| println!("{complaint}: {reason}"));
    }
}
