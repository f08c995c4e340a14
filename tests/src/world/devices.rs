//! The devices of a world: tokens, joining, approval, their agents' processes, and waiting for a state.

use super::World;
use crate::{
    call::{Said, run},
    daemon::Daemon,
    plan::Tenant,
    programs::programs,
    wait::{GENEROUS, until},
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{ffi::OsStr, path::Path, process::ExitStatus};

/// Whether a process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Stopped where it is.
    Still,
    /// Going on.
    Running,
}

impl World {
    pub(super) fn enrol(&self, tenant: &Tenant) -> Result<()> {
        let token = self.tenant_dir(tenant.name).join("join.token");
        self.make_token(tenant.name, &token, &["--uses", &tenant.devices.len().to_string()])?;
        for device in tenant.devices {
            let address = format!("{device}.{}", tenant.name);
            self.join(&address, &token)?.succeeded()?;
            self.start_agent(&address)?;
        }
        self.approve(tenant.name, "*")
    }

    /// Makes a token file as the tenant's owner.
    ///
    /// # Errors
    /// It is refused.
    pub fn make_token(&self, tenant: &str, file: &Path, more: &[&str]) -> Result<()> {
        let owner = self.person(self.tenant(tenant)?.owner);
        let mut token = owner.belay_command()?;
        token.args(["token", tenant]).args(more).arg("-o").arg(file);
        run(&mut token, b"")?.succeeded().map(drop)
    }

    /// `belay-agent join` as `web1.acme`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn join(&self, device: &str, token: &Path) -> Result<Said> {
        let name = device.split('.').next().unwrap_or(device);
        let mut join = programs()?.agent();
        join.arg("join")
            .arg("--token-file")
            .arg(token)
            .args(["--name", name])
            .arg("--state")
            .arg(self.agent_dir(device));
        run(&mut join, b"")
    }

    /// Approves what waits, as the tenant's owner.
    ///
    /// # Errors
    /// It is refused.
    pub fn approve(&self, tenant: &str, pattern: &str) -> Result<()> {
        self.try_approve(tenant, pattern)?.succeeded().map(drop)
    }

    /// `belay approve PATTERN.TENANT` as the tenant's owner.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn try_approve(&self, tenant: &str, pattern: &str) -> Result<Said> {
        let owner = self.person(self.tenant(tenant)?.owner);
        let mut approve = owner.belay_command()?;
        approve.arg("approve").arg(format!("{pattern}.{tenant}")).arg("--yes");
        approve.arg("--ca").arg(self.tenant_dir(tenant).join("device-ca"));
        run(&mut approve, b"")
    }

    /// Starts a device's agent; does not wait for it to be online.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent(&self, device: &str) -> Result<()> {
        self.start_agent_with(device, &[])
    }

    /// As [`World::start_agent`], with these variables in its environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent_with(&self, device: &str, environment: &[(&str, &OsStr)]) -> Result<()> {
        let mut command = programs()?.agent();
        command.envs(environment.iter().copied());
        command.arg("run").arg("--state").arg(self.agent_dir(device));
        let daemon = Daemon::start("agent", command, self.log(device), &self.log_file(device))?;
        self.running().agents.insert(device.to_owned(), daemon);
        Ok(())
    }

    /// Stops a device's agent in good order.
    ///
    /// # Errors
    /// It does not run, or does not stop.
    pub fn stop_agent(&self, device: &str) -> Result<()> {
        let agent = self.running().agents.remove(device).with_context(|| format!("no agent of {device} runs"))?;
        agent.stop().map(drop)
    }

    /// `kill -9` of a device's agent.
    pub fn kill_agent(&self, device: &str) {
        let agent = self.running().agents.remove(device);
        agent.into_iter().for_each(Daemon::kill);
    }

    /// Waits for a device's agent to end by itself, or by somebody on its machine.
    ///
    /// # Errors
    /// None runs, or it goes on.
    pub fn agent_ended(&self, device: &str) -> Result<ExitStatus> {
        let agent = self.running().agents.remove(device);
        agent.with_context(|| format!("no agent of {device} runs"))?.ended(GENEROUS)
    }

    /// Holds a device's agent where it is, or lets it go on.
    pub fn hold_agent(&self, device: &str, held: Held) {
        if let Some(agent) = self.running().agents.get(device) {
            match held {
                Held::Still => agent.hold(),
                Held::Running => agent.go_on(),
            }
        }
    }

    /// The devices whose agents run.
    pub fn running_devices(&self) -> Vec<String> {
        self.running().agents.keys().cloned().collect()
    }

    /// The process id of a device's agent.
    pub fn agent_pid(&self, device: &str) -> Option<u32> {
        self.running().agents.get(device).map(Daemon::pid)
    }

    /// What the gateway says about a device to its tenant's owner.
    ///
    /// # Errors
    /// The gateway cannot be asked, or shows no such device.
    pub fn device(&self, device: &str) -> Result<Value> {
        let tenant = device.split_once('.').map_or(device, |(_, tenant)| tenant);
        let owner = self.person(self.tenant(tenant)?.owner);
        let said = run(owner.belay_command()?.args(["devices", device, "--json"]), b"")?.succeeded()?;
        let rows: Vec<Value> = serde_json::from_slice(&said.stdout).with_context(|| said.story())?;
        let found = rows.into_iter().find(|row| row["name"] == device);
        found.with_context(|| format!("{device} is not listed: {}", said.story()))
    }

    /// Waits until the gateway shows a device in a state.
    ///
    /// # Errors
    /// It does not.
    pub fn until_state(&self, device: &str, state: &str) -> Result<()> {
        let what = format!("{device} to be {state}");
        let waited = until(&what, GENEROUS, || match self.device(device)? {
            row if row["state"] == state => Ok(()),
            row => bail!("it is {row}"),
        });
        waited.with_context(|| format!("the agent's log:\n{}", self.log(device).tail()))
    }

    /// Waits until a device is approved, online and lets its owner in.
    ///
    /// # Errors
    /// It does not.
    pub fn until_online(&self, device: &str) -> Result<()> {
        self.until_state(device, "online")?;
        let tenant = device.split_once('.').map_or(device, |(_, tenant)| tenant);
        let owner = self.person(self.tenant(tenant)?.owner);
        until(&format!("{device} to serve"), GENEROUS, || {
            if !owner.ssh_config().is_file() {
                return Ok(());
            }
            run(owner.ssh_command().args(["--", device, "true"]), b"")?.succeeded().map(drop)
        })
        .with_context(|| format!("the agent's log:\n{}", self.log(device).tail()))
    }
}
