//! The ways to one program on this machine that are held against each other: Belay, a plain `sshd`, and an OpenSSH reverse
//! tunnel to a bastion with `ProxyJump`, which has Belay's trust property, no log and no recording.
//!
//! All run with their defaults and the same person's key; nothing of the machine's own ssh configuration is used.

use anyhow::{Context, Result, bail};
use belay_tests::{Daemon, Person, World, log::Log, ports, run, wait};
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

/// Where sshd may be; it must be called by its path.
const SSHD: [&str; 2] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];

/// One way to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the gateway, as a technician goes.
    Belay,
    /// Straight to a sshd.
    Direct,
    /// Through a bastion, over the reverse tunnel that the machine keeps to it.
    Tunnel,
}

/// All of them.
pub const WAYS: [Way; 3] = [Way::Belay, Way::Direct, Way::Tunnel];

/// What is kept open between two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: every hop logs in anew.
    Nothing,
    /// The connection to the gateway or bastion (`ControlMaster`).
    Outer,
}

impl Way {
    /// What ssh calls the machine there.
    pub fn host(self) -> &'static str {
        match self {
            Self::Belay => "web1.acme",
            Self::Direct => "direct",
            Self::Tunnel => "tunnel",
        }
    }
}

/// Everything that runs for the rivals. Ends with this value.
pub struct Rivals<'a> {
    world: &'a World,
    dir: PathBuf,
    // In the order in which they are to end.
    tunnel: Daemon,
    device: Daemon,
    bastion: Daemon,
}

impl<'a> Rivals<'a> {
    /// Starts them in `dir`.
    ///
    /// # Errors
    /// OpenSSH's server is missing, or does not start.
    pub fn start(dir: &Path, world: &'a World) -> Result<Self> {
        fs::create_dir_all(dir)?;
        // Where sshd puts those who have not logged in; a boot makes it, an installation alone does not.
        fs::create_dir_all("/run/sshd").context("sshd needs /run/sshd: run this as root")?;
        fs::copy(world.person("tech").public_key(), dir.join("authorized_keys"))?;
        for name in ["device", "bastion"] {
            let file = dir.join(format!("{name}_host_key"));
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file), b"")?
                .succeeded()?;
        }
        let (direct, outer, inner) = (ports::free()?, ports::free()?, ports::free()?);
        write_client(dir, world, [direct, outer, inner])?;
        let device = sshd(dir, "device", direct)?;
        let bastion = sshd(dir, "bastion", outer)?;
        let mut ssh = Person::plain_ssh();
        ssh.arg("-F").arg(dir.join("cold")).args(["-N", "-o", "ExitOnForwardFailure=yes"]);
        ssh.arg("-R").arg(format!("127.0.0.1:{inner}:127.0.0.1:{direct}")).arg("bastion");
        let mut tunnel = Daemon::start("tunnel", ssh, Log::default(), &dir.join("tunnel.log"))?;
        answers(&mut tunnel, inner)?;
        Ok(Self { world, dir: dir.to_owned(), tunnel, device, bastion })
    }

    /// `ssh` on that way, with what is kept of earlier calls. The host is still to be said.
    pub fn ssh(&self, way: Way, kept: Kept) -> Command {
        let mut ssh = Person::plain_ssh();
        let config = match (way, kept) {
            (Way::Belay, Kept::Nothing) => "belay-cold",
            (Way::Belay, Kept::Outer) => "belay-shared",
            (Way::Direct | Way::Tunnel, Kept::Nothing) => "cold",
            (Way::Direct | Way::Tunnel, Kept::Outer) => "shared",
        };
        ssh.arg("-F").arg(self.dir.join(config)).args(["-o", "BatchMode=yes"]);
        ssh
    }

    /// The processes that serve a way: gateway and agent, or sshds and the tunnel.
    pub fn servers(&self, way: Way) -> Vec<u32> {
        match way {
            Way::Belay => [self.world.gateway_pid(), self.world.agent_pid("web1.acme")].into_iter().flatten().collect(),
            Way::Direct => vec![self.device.pid()],
            Way::Tunnel => vec![self.device.pid(), self.bastion.pid(), self.tunnel.pid()],
        }
    }

    /// The directory for sockets and the like.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Rivals<'_> {
    fn drop(&mut self) {
        for (way, host) in [(Way::Belay, "gw"), (Way::Tunnel, "bastion")] {
            let _ = run(self.ssh(way, Kept::Outer).args(["-O", "exit", host]), b"");
        }
    }
}

fn sshd(dir: &Path, name: &'static str, port: u16) -> Result<Daemon> {
    let Some(program) = SSHD.into_iter().find(|path| Path::new(path).is_file()) else {
        bail!("OpenSSH's server is missing: install openssh-server");
    };
    // SHLVL: bash reads start-up files when it thinks that sshd started it first, and Belay's sessions do not.
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {dir}/{name}_host_key\nPidFile none\nUsePAM no\n\
         AuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication no\nMaxStartups 100\nSetEnv SHLVL=5\nPrintMotd no\nPrintLastLog no\n",
        dir = dir.display()
    );
    let file = dir.join(format!("{name}.config"));
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-D").arg("-e").arg("-f").arg(&file);
    let mut daemon = Daemon::start("sshd", command, Log::default(), &dir.join(format!("{name}.log")))?;
    answers(&mut daemon, port)?;
    Ok(daemon)
}

/// Waits until somebody listens.
fn answers(daemon: &mut Daemon, port: u16) -> Result<()> {
    wait::until("a rival", wait::GENEROUS, || {
        if !daemon.is_running() {
            return Ok(Err(anyhow::anyhow!("it ended:\n{}", daemon.log().tail())));
        }
        Ok(TcpStream::connect(("127.0.0.1", port)).map(drop).map(Ok)?)
    })?
}

/// The client's configurations: for the rivals and for Belay, each with nothing kept and with the outer hop kept.
fn write_client(dir: &Path, world: &World, [direct, outer, inner]: [u16; 3]) -> Result<()> {
    let person = world.person("tech");
    let public = |name: &str| fs::read_to_string(dir.join(format!("{name}_host_key.pub")));
    let known = format!(
        "[127.0.0.1]:{direct} {device}[127.0.0.1]:{inner} {device}[127.0.0.1]:{outer} {bastion}",
        device = public("device")?,
        bastion = public("bastion")?
    );
    fs::write(dir.join("known_hosts"), known)?;
    // Newer clients put keystrokes on a grid of 20 ms, which would hide everything.
    let grid = "IgnoreUnknown ObscureKeystrokeTiming\nObscureKeystrokeTiming no\n";
    let sockets = dir.join("c");
    let shared = format!("    ControlMaster auto\n    ControlPath {}.%C\n    ControlPersist 60\n", sockets.display());
    for (file, outer_kept) in [("cold", ""), ("shared", shared.as_str())] {
        let text = format!(
            "{grid}Host direct\n    Port {direct}\nHost tunnel\n    Port {inner}\n    ProxyJump bastion\n\
             Host bastion\n    Port {outer}\n{outer_kept}Host *\n    HostName 127.0.0.1\n    User {user}\n\
             \x20   IdentityFile {key}\n    IdentitiesOnly yes\n    UserKnownHostsFile {dir}/known_hosts\n\
             \x20   GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    CheckHostIP no\n\
             \x20   PreferredAuthentications publickey\n",
            user = world.account(),
            key = person.key().display(),
            dir = dir.display()
        );
        fs::write(dir.join(file), text)?;
    }
    let belay = fs::read_to_string(person.ssh_config())?;
    fs::write(dir.join("belay-shared"), format!("{grid}{belay}"))?;
    let cold = belay.lines().filter(|line| !line.trim_start().starts_with("Control"));
    fs::write(dir.join("belay-cold"), format!("{grid}{}\n", cold.collect::<Vec<_>>().join("\n")))?;
    Ok(())
}
