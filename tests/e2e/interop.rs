//! Other people's clients: each opens a command, a terminal and files on a device, through the gateway, with the host key
//! checked by something that `belay` or stock ssh has verified and never by trust on first use.
//!
//! How each goes through the gateway: OpenSSH and asyncssh jump by themselves; PuTTY, dropbear and paramiko take `ssh -W` as
//! their way. How each knows the device: OpenSSH and asyncssh by its certificate; the others by its key, pinned.

use belay_tests::{
    Person, Said, Terminal, World,
    call::{is_there, words},
    run,
    wait::GENEROUS,
};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const DEVICE: &str = "web1.acme";
/// Where tests/run keeps Python with the packages that tests use.
const TOOLS_ENV: &str = "BELAY_TOOLS";
const SAID: &str = "echo over there; exit 7";

/// A person with a directory to work in, and the device's key as stock ssh verified it.
struct Visitor {
    world: std::sync::Arc<World>,
    person: Person,
    /// Holds the files that are sent, and where they go.
    dir: PathBuf,
    /// `SHA256:…` of the device's host key.
    pin: String,
}

impl Visitor {
    fn new(client: &str) -> Self {
        let world = World::shared();
        let person = world.person("tech");
        let dir = world.dir().join("interop").join(client);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("source"), client.repeat(20_000)).unwrap();
        let pin = verified_pin(&person);
        Self { world, person, dir, pin }
    }

    fn target(&self) -> String {
        format!("{}@{DEVICE}", self.world.account())
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The gateway as a way for clients that take a program for one.
    fn way(&self) -> String {
        let mut ssh = self.person.ssh_command();
        ssh.args(["-W", &format!("{DEVICE}:22"), "gw"]);
        words(&ssh)
    }

    /// The same as a program without arguments.
    fn way_program(&self) -> String {
        self.script("way", &format!("exec {}", self.way()))
    }

    fn script(&self, name: &str, line: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// What came back is what was sent.
    #[track_caller]
    fn must_be_back(&self, name: &str) {
        let (sent, back) = (fs::read(self.dir.join("source")).unwrap(), fs::read(self.dir.join(name)).unwrap());
        assert!(sent == back, "{name}: {} bytes came back of {}", back.len(), sent.len());
    }

    /// A client that wants a home of its own.
    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(program);
        client.env("HOME", &self.dir).env_remove("SSH_AUTH_SOCK");
        client
    }
}

/// The fingerprint of the device's key, which ssh shows and holds against the device CA of the verified policy.
#[track_caller]
fn verified_pin(person: &Person) -> String {
    let said = run(person.ssh_command().args(["-v", DEVICE, "true"]), b"").unwrap().must();
    let text = said.err();
    assert!(
        text.contains(&format!("Host '{DEVICE}' is known and matches the ED25519-CERT host certificate")),
        "{text}"
    );
    let line = text.lines().rfind(|line| line.contains(&format!("ID \"{DEVICE}\""))).unwrap();
    line.split([' ', ',']).find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}

#[track_caller]
fn must_have_run(said: &Said) {
    assert!(said.code() == Some(7) && said.out().trim_end() == "over there", "{}", said.story());
}

/// A real terminal of 81 columns on both sides.
#[track_caller]
fn must_have_a_terminal(client: &mut Command) {
    let terminal = Terminal::open(client.args(["stty size; tty; exit 5"]), 81, 23).unwrap();
    terminal.see("23 81").unwrap();
    terminal.see("/dev/pts/").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(5));
}

#[test]
fn openssh_opens_a_command_a_terminal_and_files() {
    let visitor = Visitor::new("openssh");
    let target = visitor.target();
    must_have_run(&visitor.person.ssh(&target, SAID));
    must_have_a_terminal(visitor.person.ssh_command().args(["-t", &target]));
    let batch = format!(
        "put {} {}\nget {} {}\n",
        visitor.path("source"),
        visitor.path("there"),
        visitor.path("there"),
        visitor.path("back")
    );
    run(visitor.person.copier("sftp").args(["-b", "-", &target]), batch.as_bytes()).unwrap().must();
    visitor.must_be_back("back");
}

#[test]
fn putty_opens_a_command_a_terminal_and_files() {
    if !["plink", "psftp", "pscp", "puttygen"].into_iter().all(is_there) {
        return println!("skipped: there is no PuTTY here; `apt-get install putty-tools`");
    }
    let visitor = Visitor::new("putty");
    let (target, key) = (visitor.target(), visitor.path("key.ppk"));
    let mut convert = visitor.client("puttygen");
    run(convert.arg(visitor.person.key()).args(["-O", "private", "-o", &key]), b"").unwrap().must();
    let putty = |program: &str, pin: &str| {
        let mut putty = visitor.client(program);
        putty.args(["-batch", "-i", &key, "-hostkey", pin, "-proxycmd", &visitor.way()]);
        putty
    };
    must_have_run(&run(putty("plink", &visitor.pin).args(["-ssh", &target, SAID]), b"").unwrap());
    must_have_a_terminal(putty("plink", &visitor.pin).args(["-ssh", "-t", &target]));
    let script = visitor.path("batch");
    let batch = format!(
        "put {} {}\nmv {} {}\nget {} {}\nls {}\n",
        visitor.path("source"),
        visitor.path("there"),
        visitor.path("there"),
        visitor.path("moved"),
        visitor.path("moved"),
        visitor.path("back"),
        visitor.path("")
    );
    fs::write(&script, batch).unwrap();
    let said = run(putty("psftp", &visitor.pin).args(["-b", &script, &target]), b"").unwrap().must();
    assert!(said.out().contains("moved"), "{}", said.story());
    visitor.must_be_back("back");
    let from = format!("{target}:{}", visitor.path("moved"));
    run(putty("pscp", &visitor.pin).args([&from, &visitor.path("again")]), b"").unwrap().must();
    visitor.must_be_back("again");
    // A pin that does not fit is no way in.
    let other = format!("SHA256:{}", "A".repeat(43));
    let said = run(putty("plink", &other).args(["-ssh", &target, SAID]), b"").unwrap();
    assert!(!said.status.success() && said.stdout.is_empty(), "{}", said.story());
}

#[test]
fn dropbear_opens_a_command_a_terminal_and_files() {
    if !["dbclient", "dropbearconvert"].into_iter().all(is_there) {
        return println!("skipped: there is no dropbear here; `apt-get install dropbear-bin`");
    }
    let visitor = Visitor::new("dropbear");
    let (target, key, way) = (visitor.target(), visitor.path("key"), visitor.way_program());
    let mut convert = visitor.client("dropbearconvert");
    run(convert.args(["openssh", "dropbear"]).arg(visitor.person.key()).arg(&key), b"").unwrap().must();
    // It wants the whole key: fetched by anybody, and held against the pin.
    let known_hosts = visitor.dir.join(".ssh/known_hosts");
    fs::create_dir_all(visitor.dir.join(".ssh")).unwrap();
    let dbclient = |options: &[&str]| {
        let mut dbclient = visitor.client("dbclient");
        dbclient.args(options).args(["-i", &key, "-J", &way, &target]);
        dbclient
    };
    // A key that does not fit is no way in.
    let wrong = fs::read_to_string(visitor.person.public_key()).unwrap();
    fs::write(&known_hosts, format!("{DEVICE} {wrong}")).unwrap();
    let said = run(dbclient(&["-T"]).arg(SAID), b"").unwrap();
    assert!(!said.status.success() && said.stdout.is_empty(), "{}", said.story());
    fs::remove_file(&known_hosts).unwrap();
    fetch_plain_key(&visitor, &known_hosts);
    must_have_run(&run(dbclient(&["-T"]).arg(SAID), b"").unwrap());
    must_have_a_terminal(&mut dbclient(&["-t"]));
    // It has no sftp of its own, and lends itself to OpenSSH's.
    let line = words(dbclient(&["-T", "-s"]).arg("sftp"));
    let lent = visitor.script("lent", &format!("HOME={} exec {line}", visitor.dir.display()));
    let batch = format!(
        "put {} {}\nget {} {}\n",
        visitor.path("source"),
        visitor.path("there"),
        visitor.path("there"),
        visitor.path("back")
    );
    run(visitor.client("sftp").args(["-b", "-", "-S", &lent, &target]), batch.as_bytes()).unwrap().must();
    visitor.must_be_back("back");
}

/// The device's plain key as a known-hosts line, taken only if it is the one that ssh verified.
#[track_caller]
fn fetch_plain_key(visitor: &Visitor, known_hosts: &Path) {
    let mut fetch = Person::plain_ssh();
    fetch.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
    fetch.args(["-o", "HostKeyAlgorithms=ssh-ed25519", "-o", "PreferredAuthentications=none"]);
    fetch.args(["-o", &format!("UserKnownHostsFile={}", known_hosts.display()), "-o", "HashKnownHosts=no"]);
    fetch.args(["-o", &format!("ProxyCommand={}", visitor.way()), DEVICE, "true"]);
    run(&mut fetch, b"").unwrap();
    let mut show = Command::new("ssh-keygen");
    let shown = run(show.arg("-lf").arg(known_hosts), b"").unwrap().must().out();
    assert_eq!(shown.split(' ').nth(1), Some(visitor.pin.as_str()), "{shown}");
}

/// Python with a package; none where it is missing, which is told.
fn python(package: &str) -> Option<Command> {
    let kept = env::var_os(TOOLS_ENV).map(|tools| PathBuf::from(tools).join("python3"));
    let pythons = kept.into_iter().chain([PathBuf::from("python3")]);
    let found = pythons.into_iter().find(|python| {
        let mut probe = Command::new(python);
        run(probe.args(["-c", &format!("import {package}")]), b"").is_ok_and(|said| said.status.success())
    });
    if found.is_none() {
        println!("skipped: there is no {package} here; `pip install {package}`");
    }
    found.map(Command::new)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/interop").join(name)
}

#[test]
fn paramiko_opens_a_command_a_terminal_and_files() {
    let Some(mut python) = python("paramiko") else { return };
    let visitor = Visitor::new("paramiko");
    python.arg(script("with_paramiko.py")).arg(visitor.person.key()).arg(&visitor.pin).arg(visitor.world.account());
    python.args([visitor.path("source"), visitor.path("there"), visitor.way_program()]);
    let said = run(&mut python, b"").unwrap().must();
    assert_eq!(said.out(), "exec\npty\nsftp\n", "{}", said.story());
    visitor.must_be_back("source.back");
}

#[test]
fn asyncssh_opens_a_command_a_terminal_and_files() {
    let Some(mut python) = python("asyncssh") else { return };
    let visitor = Visitor::new("asyncssh");
    python.arg(script("with_asyncssh.py")).arg(visitor.person.key()).arg(visitor.person.home().join("known_hosts"));
    python.arg(visitor.world.ssh_port().to_string()).args([DEVICE, visitor.world.account()]);
    python.args([visitor.path("source"), visitor.path("there")]);
    let said = run(&mut python, b"").unwrap().must();
    assert_eq!(said.out(), "exec\npty\nsftp\n", "{}", said.story());
    visitor.must_be_back("source.back");
}
