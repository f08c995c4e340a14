//! The operator's part of a world: the gateway's directory, its process, its local commands.

use super::{GATEWAY_NAME, World, devices::Held};
use crate::{
    call::{Said, run},
    daemon::Daemon,
    programs::programs,
    wait::{GENEROUS, until},
};
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    net::TcpStream,
    process::{Command, ExitStatus},
};

impl World {
    pub(super) fn init_gateway(&self) -> Result<()> {
        let (ssh, quic) = (format!("127.0.0.1:{}", self.ssh_port), format!("127.0.0.1:{}", self.quic_port));
        let mut init = programs()?.gateway();
        init.arg("init").arg(self.gateway_dir()).args(["--name", GATEWAY_NAME]);
        init.args(["--ssh", &ssh, "--quic", &quic, "--public-ssh", &ssh, "--public-quic", &quic]);
        run(&mut init, b"")?.succeeded()?;
        // Some worlds are on small disks, and all of them are small.
        self.keep_free(0, 0)
    }

    /// Writes into the configuration how much of the disk is not for recordings; a start goes by it.
    ///
    /// # Errors
    /// There is no configuration.
    pub fn keep_free(&self, mib: u64, percent: u64) -> Result<()> {
        self.set_number("free_mib_min", mib)?;
        self.set_number("free_percent_min", percent)
    }

    /// Writes into the configuration after how many seconds without a word nothing is waited for of a session; a start goes by it.
    ///
    /// # Errors
    /// There is no configuration.
    pub fn wait_in_silence(&self, seconds: u64) -> Result<()> {
        self.set_number("silence_seconds", seconds)
    }

    fn set_number(&self, key: &str, number: u64) -> Result<()> {
        let path = self.gateway_dir().join("gateway.toml");
        let lines = fs::read_to_string(&path)?;
        let line = |line: &str| match line.split_once(" = ") {
            Some((found, _)) if found == key => format!("{key} = {number}\n"),
            _ => format!("{line}\n"),
        };
        Ok(fs::write(&path, lines.lines().map(line).collect::<String>())?)
    }

    /// Runs the operator's command on this gateway.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn operator(&self, words: &[&str]) -> Result<Said> {
        run(programs()?.gateway().args(words).arg("--dir").arg(self.gateway_dir()), b"")
    }

    /// `belay-gateway serve` of this installation.
    ///
    /// # Errors
    /// It does not build.
    pub fn serve_command(&self) -> Result<Command> {
        let mut serve = programs()?.gateway();
        serve.arg("serve").arg(self.gateway_dir());
        Ok(serve)
    }

    /// Starts the gateway and waits until its doors are open.
    ///
    /// # Errors
    /// It ends, or its doors stay closed.
    pub fn start_gateway(&self) -> Result<()> {
        self.start_gateway_with(&[])
    }

    /// As [`World::start_gateway`], with these variables in its environment.
    ///
    /// # Errors
    /// It ends, or its doors stay closed.
    pub fn start_gateway_with(&self, environment: &[(&str, &OsStr)]) -> Result<()> {
        let log = self.log("gateway");
        let mut serve = self.serve_command()?;
        serve.envs(environment.iter().copied());
        let mut daemon = Daemon::start("gateway", serve, log.clone(), &self.log_file("gateway"))?;
        until("the gateway's door", GENEROUS, || {
            if !daemon.is_running() {
                return Ok(Err(anyhow::anyhow!("the gateway ended:\n{}", log.tail())));
            }
            TcpStream::connect(("127.0.0.1", self.ssh_port)).map(Ok).with_context(|| log.tail())
        })??;
        self.running().gateway = Some(daemon);
        Ok(())
    }

    /// Stops the gateway in good order.
    ///
    /// # Errors
    /// It does not run, or does not stop.
    pub fn stop_gateway(&self) -> Result<()> {
        let gateway = self.running().gateway.take().context("no gateway runs")?;
        let status = gateway.stop()?;
        if !status.success() {
            bail!("the gateway stopped with {status}:\n{}", self.log("gateway").tail());
        }
        Ok(())
    }

    /// `kill -9` of the gateway.
    pub fn kill_gateway(&self) {
        let gateway = self.running().gateway.take();
        gateway.into_iter().for_each(Daemon::kill);
    }

    /// Waits for the gateway to end by itself.
    ///
    /// # Errors
    /// None runs, or it goes on.
    pub fn gateway_ended(&self) -> Result<ExitStatus> {
        let gateway = self.running().gateway.take();
        gateway.context("no gateway runs")?.ended(GENEROUS)
    }

    /// Holds the gateway where it is, or lets it go on.
    pub fn hold_gateway(&self, held: Held) {
        if let Some(gateway) = &self.running().gateway {
            match held {
                Held::Still => gateway.hold(),
                Held::Running => gateway.go_on(),
            }
        }
    }

    /// The gateway's process id.
    pub fn gateway_pid(&self) -> Option<u32> {
        self.running().gateway.as_ref().map(Daemon::pid)
    }
}
