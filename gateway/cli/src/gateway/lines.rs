//! A command at a gateway that prints lines for as long as something goes on there, and that another thread can end.
//!
//! What the lines say is not here.

use super::{Gateway, MESSAGE_BYTES_MAX, check_words, verdict};
use crate::failure::{Outcome, While, refused};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Longest line, in bytes: a job of 10,000 devices as JSON is some 4 MiB.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Ends a command, or the pause before it is tried again, from another thread. For good: what begins afterwards ends at once.
#[derive(Debug, Clone, Default)]
pub struct HangUp(Arc<(Mutex<Call>, Condvar)>);

#[derive(Debug, Default)]
struct Call {
    /// The ssh that is under way.
    ssh: Option<Child>,
    /// Somebody hung up.
    is_over: bool,
}

impl HangUp {
    /// Ends it.
    pub fn hang_up(&self) {
        let mut call = self.call();
        call.is_over = true;
        if let Some(ssh) = &mut call.ssh {
            let _ = ssh.kill();
        }
        self.0.1.notify_all();
    }

    /// Whether somebody hung up.
    pub fn is_over(&self) -> bool {
        self.call().is_over
    }

    /// Waits so long, or until somebody hangs up.
    pub fn pause(&self, pause: Duration) {
        drop(self.0.1.wait_timeout_while(self.call(), pause, |call| !call.is_over));
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, mut ssh: Child) {
        let mut call = self.call();
        if call.is_over {
            let _ = ssh.kill();
        }
        call.ssh = Some(ssh);
    }
}

impl Gateway<'_> {
    /// Runs one command and hands on every line that it prints, as it comes, without its end.
    ///
    /// # Errors
    /// As [`Gateway::run`]; somebody hung up; or `take` does not want to go on.
    pub fn lines(&self, words: &[&str], call: &HangUp, mut take: impl FnMut(&[u8]) -> Outcome) -> Outcome {
        check_words(words)?;
        let mut ssh = self.command(words)?.spawn().during(|| "cannot start ssh".to_owned())?;
        let (stdout, stderr) = (ssh.stdout.take(), ssh.stderr.take());
        drop(ssh.stdin.take());
        call.hold(ssh);
        let (read, message) = thread::scope(|scope| {
            let message = scope.spawn(move || stderr.map(message).unwrap_or_default());
            let read = stdout.map_or(Ok(()), |pipe| each_line(BufReader::new(pipe), &mut take));
            if read.is_err() {
                call.call().ssh.as_mut().map(Child::kill);
            }
            (read, message.join().unwrap_or_default())
        });
        // It has closed its output, so it ends; and whoever hangs up now has nothing left to end.
        let status = match call.call().ssh.take() {
            Some(mut ssh) => ssh.wait().during(|| "cannot wait for ssh".to_owned())?.code(),
            None => None,
        };
        read?;
        verdict(&self.route, status, &message)
    }
}

fn message(mut pipe: ChildStderr) -> String {
    let mut kept = Vec::new();
    let _ = pipe.by_ref().take(MESSAGE_BYTES_MAX).read_to_end(&mut kept);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// Half a line at the end is what a cut connection leaves: it is not handed on.
fn each_line(mut pipe: impl BufRead, take: &mut impl FnMut(&[u8]) -> Outcome) -> Outcome {
    loop {
        let mut line = Vec::new();
        let count = pipe.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let count = count.during(|| "cannot read the gateway's answer".to_owned())?;
        match line.strip_suffix(b"\n") {
            Some(line) => take(line)?,
            None if count as u64 == LINE_BYTES_MAX => {
                return Err(refused(format!("a line of the gateway's answer is longer than {LINE_BYTES_MAX} bytes")));
            }
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_handed_on_and_half_of_one_is_not() {
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        };
        each_line(&b"{\"a\":1}\n\n{\"b\""[..], &mut take).unwrap();
        assert_eq!(lines, ["{\"a\":1}", ""]);
        assert!(each_line(&b"a\nb\n"[..], &mut |_| Err(refused("enough"))).is_err());
    }

    #[test]
    fn who_hangs_up_ends_the_call_and_every_pause() {
        let call = HangUp::default();
        let mut cat = std::process::Command::new("cat");
        call.hold(cat.stdin(std::process::Stdio::piped()).spawn().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| call.pause(Duration::from_secs(3_600)));
            call.hang_up();
        });
        assert!(call.is_over());
        assert!(!call.call().ssh.take().unwrap().wait().unwrap().success());
        call.hold(cat.stdin(std::process::Stdio::piped()).spawn().unwrap());
        assert!(!call.call().ssh.take().unwrap().wait().unwrap().success(), "what begins later ends at once");
    }
}
