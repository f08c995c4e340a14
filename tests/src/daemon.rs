//! A long-running program that we started: its log, its signals, its end. Nothing we did not start is ever touched.

use crate::{
    call::words,
    log::Log,
    wait::{GENEROUS, end_of},
};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// How long a program gets to end in good order before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// Everything this process started and has not reaped, newest last: what [`end_all`] ends.
static LIVE: Mutex<BTreeMap<u32, &'static str>> = Mutex::new(BTreeMap::new());

/// A running program. Ends with this value.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Option<Child>,
    readers: Vec<JoinHandle<()>>,
    log: Log,
}

impl Daemon {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at our terminal is ours to handle. What it says
    /// goes on in `log` and is appended to `file`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &'static str, mut command: Command, log: Log, file: &Path) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(file);
        let (to_out, to_err) = (open()?, open()?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", words(&command)))?;
        live().insert(child.id(), name);
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|output| log.follow(output, to_out)));
        readers.extend(child.stderr.take().map(|output| log.follow(output, to_err)));
        Ok(Self { name, child: Some(child), readers, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What it says.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not.
    pub fn ended(mut self, within: Duration) -> Result<ExitStatus> {
        let Some(child) = self.child.as_mut() else { bail!("{} has ended before", self.name) };
        match end_of(child, within)? {
            Some(status) => {
                self.reap();
                Ok(status)
            }
            None => bail!("{} still runs after {} s:\n{}", self.name, within.as_secs(), self.log.tail()),
        }
    }

    /// Asks it to stop, as an init system would.
    ///
    /// # Errors
    /// It did not stop in good time and was killed.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let Some(child) = self.child.as_mut() else { bail!("{} has ended before", self.name) };
        signal(child, Signal::TERM);
        let ended = end_of(child, STOP_WAIT)?;
        let status = match ended {
            Some(status) => status,
            None => {
                child.kill()?;
                child.wait()?
            }
        };
        self.reap();
        match ended {
            Some(_) => Ok(status),
            None => {
                bail!("{} did not stop within {} s of SIGTERM:\n{}", self.name, STOP_WAIT.as_secs(), self.log.tail())
            }
        }
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.kill_now();
    }

    /// Holds it where it is (SIGSTOP), until [`Daemon::go_on`].
    pub fn hold(&self) {
        self.child.iter().for_each(|child| signal(child, Signal::STOP));
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&self) {
        self.child.iter().for_each(|child| signal(child, Signal::CONT));
    }

    fn kill_now(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
            self.reap();
        }
    }

    fn reap(&mut self) {
        if let Some(child) = self.child.take() {
            live().remove(&child.id());
        }
        // Grandchildren may hold the pipes open; then the readers end with them, not with us.
        self.readers.retain(|reader| !reader.is_finished());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill_now();
    }
}

/// Ends everything that this process started: first asks, then waits, then kills. For a process about to exit.
pub fn end_all() {
    // Agents were started after their gateway and say their last words to it: in reverse order.
    let all: Vec<u32> = live().keys().rev().copied().collect();
    for pid in all {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        let _ = kill_process(pid, Signal::TERM);
        let gone = crate::wait::until("a child to end", GENEROUS.min(STOP_WAIT), || {
            match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG) {
                Ok(None) => bail!("still there"),
                Ok(Some(_)) | Err(_) => Ok(()),
            }
        });
        if gone.is_err() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn live() -> std::sync::MutexGuard<'static, BTreeMap<u32, &'static str>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(child: &Child, signal: Signal) {
    // Not reaped yet, so the id is still the child's.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
