//! Machines that are almost real: each with a network, a host name, processes and a root directory of its own, over this
//! one's files. Nothing they do outlives them. Needs root, and says so.

use anyhow::{Context, Result, bail};
use belay_tests::{
    call::{Said, run},
    wait::{GENEROUS, until},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What a machine does before it is one: files of its own over this one's, its own processes, no network yet.
const BOOT: &str = r#"set -e
mount -t tmpfs -o mode=755 none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=1777 none "$1/root/tmp"
mount -t tmpfs -o mode=755 none "$1/root/run"
hostname "$2"
ip link set lo up
mkdir -p "$1/root/run/walk"
touch "$1/root/run/walk/booted"
exec chroot "$1/root" sleep infinity"#;

/// Puts a program into the service manager's place: `enable --now NAME` reads the unit, starts it and waits for READY.
const SYSTEMCTL: &str = r##"#!/usr/bin/env python3
import os, shlex, socket, subprocess, sys, configparser
verb, now, name = sys.argv[1:4]
assert (verb, now) == ("enable", "--now"), sys.argv
unit = {}
for line in open(f"/etc/systemd/system/{name}.service"):
    if "=" in line and not line.startswith("#"):
        key, value = line.strip().split("=", 1)
        unit[key] = value
assert unit["Type"] == "notify" and unit["Restart"] == "always", unit
words = shlex.split(unit["ExecStart"])
if "User" in unit:
    words = ["runuser", "-u", unit["User"], "--"] + words
directory = "/var/lib/" + unit["StateDirectory"]
os.makedirs(directory, mode=int(unit["StateDirectoryMode"], 8), exist_ok=True)
path = f"/run/walk/{name}.notify"
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind(path)
os.chmod(path, 0o666)
ear.settimeout(60)
log = open(f"/var/log/{name}.log", "ab")
subprocess.Popen(words, env={**os.environ, "NOTIFY_SOCKET": path}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
while b"READY=1" not in ear.recv(4096):
    pass
"##;

/// A machine. Everything in it ends with this value.
pub struct Machine {
    name: &'static str,
    holder: Child,
    /// The process whose namespaces the machine is.
    pid: u32,
}

impl Machine {
    /// A machine called `name`, with no network but its own.
    pub fn boot(scratch: &Path, name: &'static str) -> Result<Self> {
        let place = scratch.join(name);
        fs::create_dir_all(&place)?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        unshare.args(["sh", "-c", BOOT, "boot"]).arg(&place).arg(name);
        let holder = unshare.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("no unshare")?;
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let mut machine = Self { name, holder, pid: 0 };
        machine.pid = until("the machine's first process", GENEROUS, || {
            let text = fs::read_to_string(&children)?;
            Ok(text.trim().parse()?)
        })?;
        until(&format!("{name} to boot"), GENEROUS, || machine.sh("test -e /run/walk/booted")?.succeeded())?;
        machine.write("/usr/local/sbin/systemctl", SYSTEMCTL)?;
        machine.sh("chmod 755 /usr/local/sbin/systemctl")?.succeeded()?;
        Ok(machine)
    }

    /// A command line on the machine, as root or, after the machine's `useradd`, as somebody else.
    pub fn command(&self, user: &str, directory: &str, line: &str) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.pid.to_string(), "--mount", "--net", "--uts", "--pid", "--root", "--wd"]);
        nsenter.args(["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]);
        let line = format!("cd {directory} && {line}");
        match user {
            "root" => nsenter.args(["HOME=/root", "sh", "-c", &line]),
            user => {
                nsenter.args(["runuser", "-u", user, "--", "env", &format!("HOME=/home/{user}"), "sh", "-c", &line])
            }
        };
        nsenter
    }

    /// Runs a command line as root.
    pub fn sh(&self, line: &str) -> Result<Said> {
        run(&mut self.command("root", "/", line), b"")
    }

    /// Writes a file of the machine's.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let said = run(&mut self.command("root", "/", &format!("cat > '{path}'")), bytes.as_ref())?;
        said.succeeded().map(drop)
    }

    /// Reads one.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.sh(&format!("cat '{path}'"))?.succeeded()?.stdout)
    }

    /// Plugs a cable between this machine's `ours` and another's `theirs`.
    pub fn plug(&self, ours: &str, other: &Self, theirs: &str) -> Result<()> {
        let line = format!("ip link add {ours} type veth peer name {theirs} netns {}", other.pid);
        // From the network alone: in the machine's own process space the other's id means nothing.
        let mut ip = Command::new("nsenter");
        ip.args(["--target", &self.pid.to_string(), "--net", "sh", "-c", &line]);
        run(&mut ip, b"")?.succeeded()?;
        self.sh(&format!("ip link set {ours} up"))?.succeeded()?;
        other.sh(&format!("ip link set {theirs} up"))?.succeeded().map(drop)
    }

    /// What its services said, for a test that failed.
    pub fn logs(&self) -> String {
        let said = self.sh("tail -n 20 /var/log/belay-*.log 2>/dev/null");
        format!("--- {}\n{}", self.name, said.map(|said| said.out()).unwrap_or_default())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Whether machines can be made here.
pub fn possible(scratch: &Path) -> Result<()> {
    match Machine::boot(&PathBuf::from(scratch).join("trial"), "trial") {
        Ok(_) => Ok(()),
        Err(error) => bail!("machines need root, overlay files and network namespaces: {error:#}"),
    }
}
