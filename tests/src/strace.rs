//! Faults put into a running program's system calls with `strace`, until the value is dropped.

use crate::{log::Log, wait::GENEROUS, wait::end_of};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

/// A program some of whose system calls fail.
#[derive(Debug)]
pub struct Injected {
    strace: Child,
    reader: Option<JoinHandle<()>>,
}

impl Injected {
    /// Makes system calls of process `pid` fail as `inject` says (`fsync,fdatasync:error=EIO:when=2`), only those on `path` if
    /// there is one. They do from when this returns. `None`, with the reason told, where it cannot be done.
    ///
    /// # Errors
    /// strace is there and does not do it.
    pub fn into(pid: u32, inject: &str, path: Option<&Path>) -> Result<Option<Self>> {
        let mut command = Command::new("strace");
        let calls = inject.split(':').next().unwrap_or(inject);
        command.args([
            "-f",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={inject}"),
            "-p",
            &pid.to_string(),
        ]);
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = match command.spawn() {
            Ok(strace) => strace,
            Err(error) => {
                println!("skipped: strace is needed to make a disk fail: {error}");
                return Ok(None);
            }
        };
        let (log, said) = (Log::default(), strace.stderr.take().context("strace says nothing")?);
        let reader = log.follow(said, tempfile::tempfile()?);
        let injected = Self { strace, reader: Some(reader) };
        match log.wait("strace at its place", 0, GENEROUS, |line| line.contains("attached")) {
            Ok(_) => Ok(Some(injected)),
            Err(error) if log.tail().contains("not permitted") => {
                println!("skipped: strace may not watch other processes here: {error:#}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if !matches!(end_of(&mut self.strace, GENEROUS), Ok(Some(_))) {
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
        self.reader.take().into_iter().for_each(|reader| drop(reader.join()));
    }
}
