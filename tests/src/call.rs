//! One command run to its end, with everything it said.

use crate::wait::{GENEROUS, end_of};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{Read, Seek, Write},
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

/// What is shown of long output when something went wrong, in bytes.
const SHOWN_BYTES_MAX: usize = 4000;

/// How a command ended and what it said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The command, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Runs a command with `input` as its standard input, at most a minute.
///
/// # Errors
/// It cannot be started or does not end.
pub fn run(command: &mut Command, input: &[u8]) -> Result<Said> {
    run_within(command, input, GENEROUS)
}

/// As [`run`], with another deadline.
///
/// Input and output are files: a process that lives on with our pipe in its hand (ssh's control master) stalls nobody.
///
/// # Errors
/// It cannot be started or does not end in time; then it is killed and what it said until then is told.
pub fn run_within(command: &mut Command, input: &[u8], within: Duration) -> Result<Said> {
    let words = words(command);
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(input_file(input)?).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot start {words}"))?;
    let ended = end_of(&mut child, within)?;
    let status = match ended {
        Some(status) => status,
        None => {
            child.kill()?;
            child.wait()?
        }
    };
    let said = Said { command: words, status, stdout: whole(&mut stdout)?, stderr: whole(&mut stderr)? };
    if ended.is_none() {
        bail!("not done after {} s: {}", within.as_secs(), said.story());
    }
    Ok(said)
}

fn input_file(input: &[u8]) -> Result<Stdio> {
    if input.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

fn whole(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a program is on this machine, by its name.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A command as a person would type it.
pub fn words(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(|word| quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

impl Said {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit status; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Everything, for a message.
    pub fn story(&self) -> String {
        let end = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {signal:?}"),
        };
        format!("`{}`: {end}\n--- stdout\n{}\n--- stderr\n{}", self.command, shown(&self.stdout), shown(&self.stderr))
    }

    /// Itself, when it exited with 0.
    ///
    /// # Errors
    /// Its story, when it did not.
    pub fn succeeded(self) -> Result<Self> {
        if !self.status.success() {
            bail!("{}", self.story());
        }
        Ok(self)
    }

    /// Itself, when it exited with 0.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn must(self) -> Self {
        assert!(self.status.success(), "{}", self.story());
        self
    }

    /// Itself, when it exited with `code` and its standard error holds every one of `words`.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn must_refuse(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code(), Some(code), "{}", self.story());
        for word in words {
            assert!(self.err().contains(word), "standard error does not say {word:?}: {}", self.story());
        }
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When the command failed or its output is none.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let said = self.must();
        serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {}", said.story()))
    }
}

fn shown(bytes: &[u8]) -> String {
    let cut = bytes.len().min(SHOWN_BYTES_MAX);
    let more = if bytes.len() > cut { format!("\n… {} bytes in all", bytes.len()) } else { String::new() };
    format!("{}{more}", String::from_utf8_lossy(&bytes[..cut]).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]);
        sh
    }

    #[test]
    fn input_output_and_status_are_carried() {
        let said = run(&mut sh("cat; echo told >&2; exit 7"), b"typed").unwrap();
        assert_eq!((said.out().as_str(), said.err().as_str(), said.code()), ("typed", "told\n", Some(7)));
        said.must_refuse(7, &["told"]);
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_and_its_words_are_told() {
        let error = run_within(&mut sh("echo begun; exec sleep 1000"), b"", Duration::from_millis(500)).unwrap_err();
        assert!(error.to_string().contains("begun"), "{error}");
    }

    #[test]
    fn words_are_shown_as_a_shell_takes_them() {
        let mut command = Command::new("/usr/bin/ssh");
        command.args(["-F", "/a/b", "web1.acme", "echo it's"]);
        assert_eq!(words(&command), r"ssh -F /a/b web1.acme 'echo it'\''s'");
    }
}
