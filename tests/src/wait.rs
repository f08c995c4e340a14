//! Waiting: always for something that happens, always with a deadline that is far beyond the usual.

use anyhow::{Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    process::{Child, ExitStatus},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Whatever takes milliseconds on an idle machine may take this long on a busy one.
pub const GENEROUS: Duration = Duration::from_secs(60);
/// Moving 100 MB through two layers of encryption, unoptimised, beside another test.
pub const BULKY: Duration = Duration::from_secs(300);
/// How long a question that has no bell of its own rests before it is asked again.
const REST: Duration = Duration::from_millis(50);

/// Waits for a child to end; `None` when the time is over and it still runs.
///
/// # Errors
/// The kernel does not know the child any more.
pub fn end_of(child: &mut Child, within: Duration) -> Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    let pid = i32::try_from(child.id())?;
    let Some(pid) = Pid::from_raw(pid) else { bail!("a child without an id") };
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let timeout = Timespec::try_from(within)?;
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout))?;
    Ok(child.try_wait()?)
}

/// A value that one thread changes and others wait for.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Looks at the value.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes those who wait.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `find` finds something in the value; `None` when the time is over.
    pub fn wait<R>(&self, within: Duration, mut find: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let until = Instant::now() + within;
        let mut value = self.lock();
        loop {
            if let Some(found) = find(&mut value) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            value = self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Asks again until the answer is there. For what has no bell of its own: another process's answer, a free port.
///
/// # Errors
/// It is not there within the time; the last problem that `ask` named is told.
pub fn until<R>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<R>) -> Result<R> {
    let start = Instant::now();
    let bell = Watched::new(());
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(problem) if start.elapsed() > within => {
                return Err(problem.context(format!("waited {} s for {what}", within.as_secs())));
            }
            Err(_) => {
                let _ = bell.wait(REST, |()| None::<()>);
            }
        }
    }
}
