//! Bytes through a device: exact, in both directions, to their end; and a program's end as the client hears of it.

use belay_tests::{
    Person, World,
    call::run_within,
    wait::{BULKY, GENEROUS, until},
};
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The amount that the issue asks for.
const BULK_BYTES: usize = 100 << 20;

/// Bytes that no compression and no repetition helps with, the same every time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// The first difference, instead of a hundred megabytes in a message.
#[track_caller]
fn must_equal(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "another number of bytes came back");
    let different = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!(different, None, "the first byte that differs");
}

#[test]
fn a_hundred_megabytes_pass_both_ways_byte_exact() {
    let world = World::shared();
    let sent = noise(BULK_BYTES);
    let said = world.person("tech").ssh_with_input("web1.acme", "cat", &sent, BULKY).must();
    must_equal(&said.stdout, &sent);
}

#[test]
fn bytes_survive_new_keys_every_megabyte() {
    let world = World::shared();
    let sent = noise(BULK_BYTES / 8);
    let mut ssh = world.person("tech").ssh_command();
    ssh.args(["-o", "RekeyLimit=1M", "--", "web1.acme", "cat"]);
    let said = run_within(&mut ssh, &sent, BULKY).unwrap().must();
    must_equal(&said.stdout, &sent);
}

#[test]
fn the_end_of_input_reaches_the_program_and_output_still_comes_back() {
    let world = World::shared();
    let said = world.person("tech").ssh_with_input("web1.acme", "sort; echo end", b"b\na\n", GENEROUS).must();
    assert_eq!(said.out(), "a\nb\nend\n");
}

#[test]
fn input_that_ends_before_the_program_begins_is_an_end_all_the_same() {
    let world = World::shared();
    let said = world.person("tech").ssh_with_input("web1.acme", "cat; echo end", b"", GENEROUS).must();
    assert_eq!(said.out(), "end\n");
}

#[test]
fn output_and_errors_stay_apart() {
    let world = World::shared();
    let said = world.person("tech").ssh("web1.acme", "echo out; echo err >&2").must();
    assert_eq!((said.out().as_str(), said.err().as_str()), ("out\n", "err\n"));
}

#[test]
fn exit_7_is_7() {
    let world = World::shared();
    let said = world.person("tech").ssh("web1.acme", "exit 7");
    assert_eq!(said.code(), Some(7), "{}", said.story());
}

#[test]
fn a_program_that_sigkill_ended_is_reported_as_ended_by_a_signal() {
    let world = World::shared();
    let tech = world.person("tech");
    let mut ssh = tech.ssh_command();
    ssh.args(["-v", "--", "web1.acme", "kill -KILL $$"]);
    let said = run_within(&mut ssh, b"", GENEROUS).unwrap();
    // OpenSSH has no status for a signal: it says 255, and with -v which message it got.
    said.must_refuse(255, &["exit-signal"]);
    let log = tech.log("acme");
    assert!(log.iter().any(|entry| entry["type"] == "session.ended" && entry["signal"] == "KILL"), "{log:#?}");
}

#[test]
fn yes_ends_when_the_head_of_it_was_read_on_the_device() {
    let world = World::shared();
    let said = world.person("tech").ssh("web1.acme", "yes | head -n 3").must();
    assert_eq!(said.out(), "y\ny\ny\n");
}

// A stock client whose reader has gone says so only to OpenSSH's own server (`eow@openssh.com`), and russh shows that message
// to nobody: `ssh web1.acme yes | head` goes on until ssh is ended. What is promised is that nothing is left behind then.
#[test]
fn yes_ends_on_the_device_when_ssh_here_is_ended() {
    let world = World::shared();
    let tech = world.person("tech");
    let mark = world.dir().join("yes.pid");
    let mut ssh = tech.ssh_command();
    ssh.args(["--", "web1.acme", &format!("echo $$ > {}; exec yes", mark.display())]).stdin(Stdio::null());
    let mut ssh = ssh.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(ssh.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "y");
    drop(lines);
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    let pid = std::fs::read_to_string(&mark).unwrap();
    let proc = Path::new("/proc").join(pid.trim());
    until("`yes` to end on the device", GENEROUS, || {
        anyhow::ensure!(!proc.exists(), "{} is there", proc.display());
        Ok(())
    })
    .unwrap();
}

/// One connection to a device that several channels share, as `ControlMaster` makes it.
struct Master<'a> {
    person: &'a Person,
    socket: PathBuf,
    ssh: Child,
}

impl<'a> Master<'a> {
    fn open(person: &'a Person, socket: PathBuf) -> Self {
        let mut ssh = person.ssh_command();
        ssh.args([
            "-o",
            "ControlMaster=yes",
            "-o",
            &format!("ControlPath={}", socket.display()),
            "-N",
            "--",
            "web1.acme",
        ]);
        let ssh = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let master = Self { person, socket, ssh };
        until("the shared connection", GENEROUS, || {
            let mut check = master.person.ssh_command();
            check.args(["-o", &format!("ControlPath={}", master.socket.display()), "-O", "check", "web1.acme"]);
            belay_tests::run(&mut check, b"")?.succeeded().map(drop)
        })
        .unwrap();
        master
    }

    fn channel(&self, command: &str) -> Command {
        let mut ssh = self.person.ssh_command();
        ssh.args(["-o", &format!("ControlPath={}", self.socket.display()), "--", "web1.acme", command]);
        ssh
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

#[test]
fn a_channel_that_nobody_drains_holds_up_no_other_on_its_connection() {
    let world = World::shared();
    let tech = world.person("tech");
    let master = Master::open(&tech, world.dir().join("undrained"));
    let mut stuck =
        master.channel("yes").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = stuck.stdout.take().unwrap();
    // It runs, and from here on nobody reads: pipe, client, windows and queues fill up.
    output.read_exact(&mut [0; 1]).unwrap();
    for round in 0..20 {
        let said = run_within(&mut master.channel(&format!("echo alive {round}")), b"", GENEROUS).unwrap().must();
        assert_eq!(said.out(), format!("alive {round}\n"));
    }
    let sent = noise(1 << 20);
    let said = run_within(&mut master.channel("cat"), &sent, GENEROUS).unwrap().must();
    must_equal(&said.stdout, &sent);
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

#[test]
fn ten_channels_live_on_one_connection_at_the_same_time() {
    let world = World::shared();
    let tech = world.person("tech");
    let master = Master::open(&tech, world.dir().join("ten"));
    let mut channels: Vec<Child> = (0..10)
        .map(|number| {
            let mut ssh = master.channel(&format!("echo begun {number}; cat; exit {number}"));
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
        })
        .collect();
    let mut outputs: Vec<_> = channels.iter_mut().map(|ssh| BufReader::new(ssh.stdout.take().unwrap())).collect();
    // All ten have begun before the first one may end.
    for (number, output) in outputs.iter_mut().enumerate() {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("begun {number}\n"));
    }
    for (number, ssh) in channels.iter_mut().enumerate() {
        drop(ssh.stdin.take());
        let status = belay_tests::wait::end_of(ssh, GENEROUS).unwrap().unwrap();
        assert_eq!(status.code(), i32::try_from(number).ok());
    }
}
