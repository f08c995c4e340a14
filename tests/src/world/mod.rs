//! A whole installation in one directory: a gateway, tenants, people and devices, brought up by the commands that an
//! operator, a customer and a technician would type.
//!
//! ```text
//! DIR/gateway/                 the gateway's own directory
//! DIR/tenants/acme/            policy chain, root keys, device CA, invite, join token: never on the gateway
//! DIR/people/tech/             id_ed25519 and the Belay home of each person
//! DIR/agents/web1.acme/        the state of each device
//! DIR/logs/                    what the programs say
//! DIR/ports.json               the ports, and the process ids of what runs
//! ```

mod devices;
mod gateway;
mod provider;
mod tenants;

pub use devices::Held;

use crate::{call::run, daemon::Daemon, log::Log, person::Person, plan::Plan, ports, programs::programs};
use anyhow::Result;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tempfile::TempDir;

/// What the gateway is called.
pub const GATEWAY_NAME: &str = "gw.example";
/// Set to keep the directories of tests.
const KEEP_ENV: &str = "BELAY_KEEP";

/// An installation. Everything it runs ends with it.
#[derive(Debug)]
pub struct World {
    dir: PathBuf,
    plan: Plan,
    account: String,
    ssh_port: u16,
    quic_port: u16,
    running: Mutex<Running>,
    /// The logs by program, over all its lives.
    logs: Mutex<BTreeMap<String, Log>>,
    /// Removed at the end.
    scratch: Option<TempDir>,
}

#[derive(Debug, Default)]
struct Running {
    gateway: Option<Daemon>,
    agents: BTreeMap<String, Daemon>,
}

impl World {
    /// The demo's installation in a directory of its own.
    ///
    /// # Panics
    /// It does not come up.
    #[track_caller]
    pub fn new() -> Self {
        Self::of(Plan::demo())
    }

    /// One customer, one technician, one machine: `web1.acme`.
    ///
    /// # Panics
    /// It does not come up.
    #[track_caller]
    pub fn small() -> Self {
        Self::of(Plan::small())
    }

    /// The demo's installation, shared by tests that run at the same time and leave it as it is.
    ///
    /// # Panics
    /// It does not come up.
    #[track_caller]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = shared.upgrade() {
            return world;
        }
        let world = Arc::new(Self::new());
        *shared = Arc::downgrade(&world);
        world
    }

    /// An installation as planned, in a directory of its own.
    ///
    /// # Panics
    /// It does not come up.
    #[track_caller]
    pub fn of(plan: Plan) -> Self {
        match Self::of_scratch(plan) {
            Ok(world) => world,
            Err(error) => panic!("no world to test in: {error:#}"),
        }
    }

    fn of_scratch(plan: Plan) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("belay-").tempdir()?;
        let mut world = Self::prepare(scratch.path(), plan)?;
        world.scratch = Some(scratch);
        world.bring_up(&|_| {})?;
        Ok(world)
    }

    /// An installation in `dir` that nothing runs of yet.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn prepare(dir: &Path, plan: Plan) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        for part in ["logs", "people", "agents", "tenants"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let account = run(Command::new("id").arg("-un"), b"")?.succeeded()?.out().trim().to_owned();
        let (running, logs) = (Mutex::default(), Mutex::default());
        let (ssh_port, quic_port) = (ports::free()?, ports::free()?);
        Ok(Self { dir, plan, account, ssh_port, quic_port, running, logs, scratch: None })
    }

    /// Everything a person would type, from nothing to devices that are online. Each step is told to `progress`.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn bring_up(&self, progress: &dyn Fn(&str)) -> Result<()> {
        programs()?;
        progress("the gateway: init, serve");
        self.init_gateway()?;
        self.start_gateway()?;
        for name in self.plan.people() {
            Person::make(&self.dir.join("people").join(name), name)?;
        }
        for tenant in &self.plan.tenants {
            progress(&format!("tenant {}: add, init, adopt, trust, person add", tenant.name));
            self.begin_tenant(tenant)?;
            if !tenant.devices.is_empty() {
                progress(&format!("devices of {}: token, join, approve, run", tenant.name));
                self.enrol(tenant)?;
            }
        }
        progress("everybody's ssh: trust, config");
        for name in self.plan.people() {
            self.configure(&self.person(name))?;
        }
        progress("waiting for the devices to be online");
        for device in self.plan.devices() {
            self.until_online(&device)?;
        }
        self.write_ports()
    }

    /// The directory of it all.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The account that sessions run as: the user who runs this.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The TCP port of the gateway's ssh door.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// The UDP port of the gateway's door for devices.
    pub fn quic_port(&self) -> u16 {
        self.quic_port
    }

    /// The gateway's directory.
    pub fn gateway_dir(&self) -> PathBuf {
        self.dir.join("gateway")
    }

    /// A tenant's directory, which the gateway never sees.
    pub fn tenant_dir(&self, tenant: &str) -> PathBuf {
        self.dir.join("tenants").join(tenant)
    }

    /// A device's state directory.
    pub fn agent_dir(&self, device: &str) -> PathBuf {
        self.dir.join("agents").join(device)
    }

    /// A person who was made.
    pub fn person(&self, name: &str) -> Person {
        Person { name: name.to_owned(), dir: self.dir.join("people").join(name) }
    }

    /// The root key of a tenant that is in use.
    pub fn root_key(&self, tenant: &str) -> PathBuf {
        self.tenant_dir(tenant).join("root-1")
    }

    /// The log of `gateway` or a device.
    pub fn log(&self, program: &str) -> Log {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(program.to_owned()).or_default().clone()
    }

    /// Writes `ports.json`: the ports, and who runs.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_ports(&self) -> Result<()> {
        let running = self.running();
        let mut pids: BTreeMap<String, u32> =
            running.agents.iter().map(|(device, agent)| (device.clone(), agent.pid())).collect();
        pids.insert("demo".to_owned(), std::process::id());
        pids.extend(running.gateway.as_ref().map(|gateway| ("gateway".to_owned(), gateway.pid())));
        let ports = json!({ "ssh": self.ssh_port, "quic": self.quic_port, "pids": pids });
        fs::write(self.dir.join("ports.json"), format!("{ports:#}\n"))?;
        Ok(())
    }

    fn log_file(&self, program: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{program}.log"))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops everything in good order: devices first, so that they can say their last words.
    ///
    /// # Errors
    /// Something did not stop in good order and was killed.
    pub fn stop(&self) -> Result<()> {
        let (agents, gateway) = {
            let mut running = self.running();
            (std::mem::take(&mut running.agents), running.gateway.take())
        };
        let mut outcome = Ok(());
        for daemon in agents.into_values().chain(gateway) {
            if let Err(error) = daemon.stop() {
                outcome = Err(error);
            }
        }
        outcome
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.logs.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (program, log) in logs {
                eprintln!("--- the end of {program}'s log\n{}", log.tail());
            }
        }
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        running.agents.clear();
        running.gateway = None;
        if std::env::var_os(KEEP_ENV).is_some()
            && let Some(scratch) = self.scratch.take()
        {
            eprintln!("kept: {}", scratch.keep().display());
        }
    }
}
