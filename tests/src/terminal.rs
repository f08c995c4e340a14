//! A person at a terminal: a real pseudo-terminal with a program on it, keys typed and text seen.

use crate::{
    call::words,
    wait::{GENEROUS, Watched, end_of},
};
use anyhow::{Context, Result, bail};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, ExitStatus},
    sync::Arc,
    thread,
    time::Duration,
};

/// A program on a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    seen: Arc<Watched<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    text: Vec<u8>,
    /// What was waited for and found lies before.
    at: usize,
    ended: bool,
}

impl Terminal {
    /// Starts a command with a terminal as its controlling one, through `setsid --ctty`.
    ///
    /// # Errors
    /// There is no terminal to be had, or the command cannot be started.
    pub fn open(command: &Command, columns: u16, rows: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        set_size(&master, columns, rows)?;
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg("--wait").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        leader.env("TERM", "xterm-256color");
        leader.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = leader.spawn().with_context(|| format!("cannot start {}", words(&leader)))?;
        // The command holds our ends of the slave: it must go, or the master never sees the end.
        drop(leader);
        let master = File::from(master);
        let seen = Arc::new(Watched::new(Seen::default()));
        watch(master.try_clone()?, Arc::clone(&seen));
        Ok(Self { master, child, seen })
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes())?;
        Ok(())
    }

    /// Waits until `text` is seen after what was waited for before; gives back what came in between.
    ///
    /// # Errors
    /// It is not seen within a minute, or the program ends first.
    pub fn see(&self, text: &str) -> Result<String> {
        let found = self.seen.wait(GENEROUS, |seen| {
            let rest = &seen.text[seen.at..];
            if let Some(place) = rest.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&rest[..place]).into_owned();
                seen.at += place + text.len();
                return Some(Some(before));
            }
            seen.ended.then_some(None)
        });
        match found {
            Some(Some(before)) => Ok(before),
            Some(None) => bail!("the program ended before {text:?} was seen; this was:\n{}", self.rest()),
            None => bail!("{text:?} was not seen; this was:\n{}", self.rest()),
        }
    }

    /// Makes the window another size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        set_size(&self.master, columns, rows)
    }

    /// Waits for the program to end.
    ///
    /// # Errors
    /// It does not.
    pub fn ended(mut self, within: Duration) -> Result<ExitStatus> {
        match end_of(&mut self.child, within)? {
            Some(status) => Ok(status),
            None => bail!("it still runs after {} s; this was seen last:\n{}", within.as_secs(), self.rest()),
        }
    }

    /// Waits for the program to end: all that was ever seen, byte for byte.
    ///
    /// # Errors
    /// It does not end, or something that it left behind holds the terminal.
    pub fn all(mut self, within: Duration) -> Result<Vec<u8>> {
        if end_of(&mut self.child, within)?.is_none() {
            bail!("it still runs after {} s; this was seen last:\n{}", within.as_secs(), self.rest());
        }
        let text = self.seen.wait(within, |seen| seen.ended.then(|| std::mem::take(&mut seen.text)));
        text.context("somebody holds the terminal")
    }

    /// What was seen and not waited for.
    pub fn rest(&self) -> String {
        let seen = self.seen.lock();
        String::from_utf8_lossy(&seen.text[seen.at..]).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn watch(mut master: File, seen: Arc<Watched<Seen>>) {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        // A terminal whose last program has gone answers with an error: that is its end.
        while let Ok(count @ 1..) = master.read(&mut piece) {
            seen.change(|seen| seen.text.extend_from_slice(&piece[..count]));
        }
        seen.change(|seen| seen.ended = true);
    });
}

fn set_size(terminal: impl std::os::fd::AsFd, columns: u16, rows: u16) -> Result<()> {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_a_terminal_of_its_size_and_its_resizing() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do read -r line; done"]);
        let terminal = Terminal::open(&sh, 80, 24).unwrap();
        terminal.see("24 80").unwrap();
        terminal.see("ready").unwrap();
        terminal.resize(100, 30).unwrap();
        terminal.see("30 100").unwrap();
        assert_eq!(terminal.all(GENEROUS).unwrap(), b"24 80\r\nready\r\n30 100\r\n");
    }

    #[test]
    fn keys_reach_the_program_and_ctrl_c_is_a_signal() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "echo ready; read -r line; echo \"got $line\"; exec sleep 1000"]);
        let mut terminal = Terminal::open(&sh, 80, 24).unwrap();
        terminal.see("ready").unwrap();
        terminal.keys("words\n").unwrap();
        terminal.see("got words").unwrap();
        terminal.keys("\u{3}").unwrap();
        assert!(!terminal.ended(GENEROUS).unwrap().success());
    }
}
