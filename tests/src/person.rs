//! A person at their laptop: a key, a Belay home, the `belay` command and the real `ssh`.

use crate::{
    call::{Said, run, run_within},
    programs::programs,
    wait::GENEROUS,
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// One person.
#[derive(Debug, Clone)]
pub struct Person {
    /// The name, as policies know it.
    pub name: String,
    /// The person's directory: key and home.
    pub dir: PathBuf,
}

impl Person {
    /// A person with a fresh key.
    ///
    /// # Errors
    /// The key cannot be made.
    pub fn make(dir: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let person = Self { name: name.to_owned(), dir: dir.to_owned() };
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(person.key());
        run(&mut keygen, b"")?.succeeded()?;
        Ok(person)
    }

    /// The private key.
    pub fn key(&self) -> PathBuf {
        self.dir.join("id_ed25519")
    }

    /// The public key's file.
    pub fn public_key(&self) -> PathBuf {
        self.dir.join("id_ed25519.pub")
    }

    /// The person's Belay home.
    pub fn home(&self) -> PathBuf {
        self.dir.join("belay")
    }

    /// What `belay config` wrote for ssh.
    pub fn ssh_config(&self) -> PathBuf {
        self.home().join("ssh_config")
    }

    /// `belay` with this person's home and key.
    ///
    /// # Errors
    /// It does not build.
    pub fn belay_command(&self) -> Result<Command> {
        let mut belay = programs()?.belay();
        belay.arg("--home").arg(self.home()).arg("--identity").arg(self.key());
        Ok(belay)
    }

    /// Runs `belay`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn belay<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Result<Said> {
        run(self.belay_command()?.args(words), b"")
    }

    /// `ssh` with what `belay config` wrote, without questions.
    pub fn ssh_command(&self) -> Command {
        let mut ssh = Self::plain_ssh();
        ssh.arg("-F").arg(self.ssh_config()).args(["-o", "BatchMode=yes"]);
        ssh
    }

    /// `scp` or `sftp` with what `belay config` wrote, without questions.
    pub fn copier(&self, program: &str) -> Command {
        let mut copier = Command::new(program);
        copier.env_remove("SSH_AUTH_SOCK").env_remove("BELAY_TICKET").arg("-F").arg(self.ssh_config());
        copier.args(["-o", "BatchMode=yes"]);
        copier
    }

    /// `ssh` without what the person at this terminal has set up for themselves.
    pub fn plain_ssh() -> Command {
        let mut ssh = Command::new("ssh");
        ssh.env_remove("SSH_AUTH_SOCK").env_remove("BELAY_TICKET").env_remove("DISPLAY");
        ssh
    }

    /// Runs a command on a device.
    ///
    /// # Panics
    /// ssh cannot be run, or does not end.
    #[track_caller]
    pub fn ssh(&self, target: &str, command: &str) -> Said {
        self.ssh_with_input(target, command, b"", GENEROUS)
    }

    /// Runs a command on a device with input and a deadline.
    ///
    /// # Panics
    /// ssh cannot be run, or does not end.
    #[track_caller]
    pub fn ssh_with_input(&self, target: &str, command: &str, input: &[u8], within: Duration) -> Said {
        match run_within(self.ssh_command().args(["--", target, command]), input, within) {
            Ok(said) => said,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Runs a command of the gateway's.
    ///
    /// # Panics
    /// ssh cannot be run, or does not end.
    #[track_caller]
    pub fn gw(&self, command: &str) -> Said {
        self.ssh("gw", command)
    }

    /// Runs a command of the gateway's with input.
    ///
    /// # Panics
    /// ssh cannot be run, or does not end.
    #[track_caller]
    pub fn gw_with_input(&self, command: &str, input: &[u8]) -> Said {
        self.ssh_with_input("gw", command, input, GENEROUS)
    }

    /// The newest thousand entries of a tenant's log, oldest first, as the gateway shows them to this person.
    ///
    /// # Panics
    /// It does not show them.
    #[track_caller]
    pub fn log(&self, tenant: &str) -> Vec<serde_json::Value> {
        match self.gw(&format!("log tail {tenant} --limit 1000 --json")).json() {
            serde_json::Value::Array(entries) => entries,
            other => panic!("not a list: {other}"),
        }
    }

    /// Ends ssh's shared connection to the gateway, so that the next command logs in anew.
    pub fn hang_up(&self) {
        let _ = run(self.ssh_command().args(["-O", "exit", "gw"]), b"");
    }

    /// Pins a tenant from its directory.
    ///
    /// # Errors
    /// The policies there do not verify.
    pub fn trust(&self, hash: &str, from: &Path) -> Result<()> {
        let from = from.to_str().context("a path that is not text")?;
        self.belay(["trust", hash, "--from", from])?.succeeded().map(drop)
    }

    /// Pins a tenant from its directory as this person's provider: its list counts.
    ///
    /// # Errors
    /// The policies there do not verify.
    pub fn trust_provider(&self, hash: &str, from: &Path) -> Result<()> {
        let from = from.to_str().context("a path that is not text")?;
        self.belay(["trust", hash, "--provider", "--from", from])?.succeeded().map(drop)
    }

    /// Signs bytes as `ssh-keygen -Y sign` does; the armoured signature.
    ///
    /// # Errors
    /// ssh-keygen fails.
    pub fn sign(key: &Path, namespace: &str, bytes: &[u8]) -> Result<String> {
        let mut keygen = Command::new("ssh-keygen");
        keygen.env_remove("SSH_AUTH_SOCK").args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(key);
        Ok(run(&mut keygen, bytes)?.succeeded()?.out())
    }
}
