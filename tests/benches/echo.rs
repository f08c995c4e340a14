//! One byte through the real `ssh` client to a `cat` on a raw terminal at the far end, and back. The ways take turns, sample
//! by sample, so that whatever else the machine does hits all of them alike.

use crate::{
    figure::{Samples, Target, short, show},
    rivals::{Kept, Rivals, WAYS},
};
use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

/// Bytes sent before the measuring begins, for each way.
const WARM_UP: usize = 200;
/// Bytes measured, for each way.
const SAMPLES: usize = 4_000;

/// An open terminal that echoes. Ends with this value.
pub struct Terminal {
    ssh: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Terminal {
    /// The far end of this `ssh`, which prints an R and then echoes.
    ///
    /// # Errors
    /// It does not.
    pub fn open(mut ssh: Command) -> Result<Self> {
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (ssh.stdin.take(), ssh.stdout.take());
        let mut terminal = Self { ssh, input: input.context("no input")?, output: output.context("no output")? };
        if terminal.read()? != b'R' {
            bail!("the far end does not echo");
        }
        Ok(terminal)
    }

    fn read(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.output.read_exact(&mut byte).context("the session ended")?;
        Ok(byte[0])
    }

    /// Microseconds from writing a byte to having it back.
    ///
    /// # Errors
    /// Another one comes, or none.
    pub fn echo(&mut self, byte: u8) -> Result<f64> {
        let start = Instant::now();
        self.input.write_all(&[byte])?;
        let back = self.read()?;
        let took = start.elapsed();
        if back != byte {
            bail!("{back} came back for {byte}");
        }
        Ok(took.as_secs_f64() * 1e6)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

/// Measures and prints.
///
/// # Errors
/// A session cannot be opened or ends.
pub fn measure(rivals: &Rivals<'_>) -> Result<()> {
    let mut open = WAYS.map(|way| {
        let mut ssh = rivals.ssh(way, Kept::Nothing);
        ssh.args(["-tt", way.host(), "stty raw -echo && printf R && exec cat"]);
        Terminal::open(ssh).with_context(|| format!("{} failed", way.host()))
    });
    let mut samples = WAYS.map(|_| Samples::default());
    for round in 0..WARM_UP + SAMPLES {
        for (terminal, samples) in open.iter_mut().zip(&mut samples) {
            let terminal = terminal.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let took = terminal.echo(b'a' + u8::try_from(round % 26)?)?;
            if round >= WARM_UP {
                samples.add(took);
            }
        }
    }
    let [belay, direct, tunnel] = &samples;
    for (name, of) in [("p50", Samples::p50 as fn(&Samples) -> f64), ("p99", Samples::p99)] {
        let beside = format!("-R + ProxyJump {}, sshd {}", short(of(tunnel)), short(of(direct)));
        show(&format!("echo of one byte, {name}"), of(belay), "us", Target::Times(0.9, of(tunnel)), &beside);
    }
    Ok(())
}
