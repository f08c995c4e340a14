//! A running program and its channel: bytes both ways, sizes, signals, and the one way each of them ends.

use super::{
    Caller, Permit,
    files::{Reported, Unreadable},
    inbox::{Inbox, Incoming},
    modes,
    outflow::Outflow,
    request::{Asked, Wish},
    standing::Standing,
    terminal::Master,
};
use crate::{
    accounts::Account,
    limits::INPUT_CHUNK_BYTES,
    recording::Recording,
    spawn::{self, Launch, Leader, OnTerminal, Piped},
};
use belay_certs::statement::Files;
use bytes::Bytes;
use russh::Sig;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{future::Future, io, os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};
use tokio_util::sync::CancellationToken;

/// What a person reads whose client breaks the rules of SSH.
const OVERRUN: &str = "the client sent more than it had credit for";

/// What a person reads whose file session could no longer be followed.
const UNFOLLOWED: &str = "what this file session did could no longer be recorded";

/// How a session ended, for the client and for the record.
pub(crate) struct Ending {
    /// The program's exit status.
    pub(crate) exit: Option<u32>,
    /// The signal that ended it, without `SIG`.
    pub(crate) signal: Option<String>,
    /// Why it ended, if not by itself.
    pub(crate) reason: Option<String>,
    /// A sentence for the person.
    pub(crate) say: Option<String>,
    /// What a file session did.
    pub(crate) files: Option<Files>,
}

impl Ending {
    /// Tells the client.
    pub(crate) async fn send(&self, out: &Outflow) {
        if let Some(exit) = self.exit {
            out.exit_status(exit).await;
        } else if let Some(signal) = &self.signal {
            out.exit_signal(signal).await;
        }
    }

    fn of(status: ExitStatus) -> Self {
        let signal = status.signal().map(|number| signal_name(number).to_owned());
        Self {
            exit: status.code().and_then(|code| u32::try_from(code).ok()),
            signal,
            reason: None,
            say: None,
            files: None,
        }
    }

    fn because(reason: impl Into<String>) -> Self {
        Self { exit: None, signal: None, reason: Some(reason.into()), say: None, files: None }
    }

    /// A no, said and recorded with the same words.
    pub(super) fn refused(sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        let (exit, reason) = (Some(super::REFUSED_STATUS), Some(sentence.clone()));
        Self { exit, signal: None, reason, say: Some(sentence), files: None }
    }
}

/// A program that was started, and its ends.
pub(crate) struct Program {
    child: Child,
    leader: u32,
    ends: Ends,
    /// Of a file session.
    reported: Option<Reported>,
}

enum Ends {
    Terminal(Master),
    Pipes { stdin: Option<ChildStdin>, stdout: ChildStdout, stderr: ChildStderr },
}

/// Starts what was asked for. Only a [`Permit`] gets here, and only its proof gets through `spawn` (P1).
///
/// Blocks until the program runs, which a home on a dead file server can delay for ever: never call it on the runtime.
pub(super) fn start(asked: &Asked, permit: &Permit, caller: &Caller) -> io::Result<Program> {
    let environment = environment(asked, permit, caller);
    let command = match &asked.wish {
        Wish::Exec(line) => Some(line.as_slice()),
        Wish::Files => return start_files(permit, &environment),
        Wish::Shell | Wish::Impossible(_) => None,
    };
    let launch = Launch { account: &permit.account, command, environment: &environment };
    let (child, ends) = match &asked.terminal {
        Some(wanted) => {
            let terminal = spawn::open_terminal(&permit.account, wanted.size)?;
            modes::set(&terminal.slave, &wanted.modes)?;
            let OnTerminal { child, master } = spawn::start_on_terminal(&launch, terminal, &permit.proof)?;
            (child, Ends::Terminal(Master::new(master)?))
        }
        None => {
            let Piped { child, stdin, stdout, stderr } = spawn::start_piped(&launch, &permit.proof)?;
            (child, Ends::Pipes { stdin: Some(stdin), stdout, stderr })
        }
    };
    let leader = child.id().unwrap_or_default();
    Ok(Program { child, leader, ends, reported: None })
}

fn start_files(permit: &Permit, environment: &[(String, String)]) -> io::Result<Program> {
    let (piped, reports) = spawn::start_files(&permit.account, environment, &permit.proof)?;
    let Piped { child, stdin, stdout, stderr } = piped;
    let leader = child.id().unwrap_or_default();
    let ends = Ends::Pipes { stdin: Some(stdin), stdout, stderr };
    Ok(Program { child, leader, ends, reported: Some(Reported::new(reports)?) })
}

/// Who is here and in which session, for the person's own scripts, beside what the client sent.
fn environment(asked: &Asked, permit: &Permit, caller: &Caller) -> Vec<(String, String)> {
    let mut environment = asked.environment.clone();
    if let Some(terminal) = &asked.terminal {
        environment.push(("TERM".to_owned(), terminal.term.clone()));
    }
    environment.push(("BELAY_PERSON".to_owned(), caller.person.to_string()));
    environment.push(("BELAY_SESSION".to_owned(), permit.id.to_string()));
    environment
}

impl Program {
    /// Ends a program that nobody waits for any more.
    pub(super) fn abandon(mut self) {
        let _ = self.child.start_kill();
    }

    /// Carries bytes until the program ends, the client leaves, the grant is lost or the agent stops.
    pub(crate) async fn run(self, inbox: &mut Inbox, out: &Outflow, watch: &Watch<'_>) -> Ending {
        let Self { child, leader, ends, mut reported } = self;
        // A file session is signalled by nobody: it would end between a deed and its report.
        let signalled = if reported.is_some() { None } else { child.id() };
        if let (Some(reported), Some(recording)) = (&mut reported, watch.recording) {
            reported.record(recording);
        }
        let unreadable = follow(reported.as_mut());
        let exited = CancellationToken::new();
        let outcome = match ends {
            Ends::Terminal(master) => {
                let output = out.pump_terminal(&master, &exited);
                watch
                    .carry(
                        child,
                        inbox,
                        Input::Terminal(&master),
                        output,
                        &Beside { exited: &exited, signalled },
                        unreadable,
                    )
                    .await
            }
            Ends::Pipes { stdin, stdout, stderr } => {
                let output = out.pump_pipes(stdout, stderr);
                watch
                    .carry(child, inbox, Input::Pipe(stdin), output, &Beside { exited: &exited, signalled }, unreadable)
                    .await
            }
        };
        let ending = Self::ending(outcome, leader);
        let Some(reported) = reported else { return ending };
        // It still holds its end of the reports then, so the number is its own.
        let files = reported.finish(|| spawn::kill_session(leader, Leader::Held)).await;
        Ending { files: Some(files), ..ending }
    }

    fn ending(outcome: Outcome, leader: u32) -> Ending {
        match outcome {
            Outcome::Ended(status) => Ending::of(status),
            Outcome::Left(status) => {
                let reason = Some("the client closed the channel or its connection was lost".to_owned());
                Ending { reason, ..status.map_or(Ending::because(""), Ending::of) }
            }
            Outcome::Broken(error) => Ending::because(format!("the program's end could not be awaited: {error}")),
            Outcome::Stopped => {
                let say = Some("the agent on this machine is stopping".to_owned());
                Ending { say, ..Ending::because("the agent stopped") }
            }
            Outcome::Lost(refusal, status) => {
                spawn::kill_session(leader, if status.is_some() { Leader::Reaped } else { Leader::Held });
                let say = Some(format!("this session was ended: {refusal}"));
                Ending { say, ..Ending::refused(refusal) }
            }
        }
    }
}

/// Takes in what a file session reports for as long as it is waited for; nothing else reports.
async fn follow(reported: Option<&mut Reported>) -> Unreadable {
    match reported {
        Some(reported) => reported.follow().await,
        None => std::future::pending().await,
    }
}

/// What ended the carrying.
enum Outcome {
    /// The program, by itself, with all its output handed over.
    Ended(ExitStatus),
    /// The client; with the program's end, if that was known.
    Left(Option<ExitStatus>),
    /// The agent's shutdown.
    Stopped,
    /// What it may not go on without (its grant, its record), with the refusal's sentence; and the program's end, if that was known.
    Lost(String, Option<ExitStatus>),
    /// The machine: the program's end cannot be known.
    Broken(String),
}

/// Where input goes.
enum Input<'a> {
    Terminal(&'a Master),
    Pipe(Option<ChildStdin>),
}

impl Input<'_> {
    /// Hands over a part of what waits. Cancel-safe: bytes count as taken only when they were written.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(master) => master.write(bytes).await,
            Self::Pipe(Some(stdin)) => stdin.write(bytes).await,
            Self::Pipe(None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The client's end of input: a pipe is closed; a terminal has no such thing, as in OpenSSH.
    fn end(&mut self) {
        if let Self::Pipe(stdin) = self {
            *stdin = None;
        }
    }
}

/// What belongs to a running program beside its ends.
struct Beside<'a> {
    /// Set when it has ended.
    exited: &'a CancellationToken,
    /// Its process, where the client may send it signals.
    signalled: Option<u32>,
}

/// What can end a session from outside.
pub(super) struct Watch<'a> {
    /// The grant.
    pub(super) standing: &'a Standing,
    /// What the session shows is recorded here, where the policy says so.
    pub(super) recording: Option<&'a Arc<Recording>>,
    /// The connection is gone.
    pub(super) gone: &'a CancellationToken,
    /// The agent stops.
    pub(super) stop: &'a CancellationToken,
}

impl Watch<'_> {
    /// One loop for all that can happen, in order of urgency.
    async fn carry(
        &self,
        mut child: Child,
        inbox: &mut Inbox,
        mut input: Input<'_>,
        output: impl Future<Output = ()>,
        beside: &Beside<'_>,
        unreadable: impl Future<Output = Unreadable>,
    ) -> Outcome {
        tokio::pin!(output, unreadable);
        let (lost, unrecordable) = (self.standing.lost(), self.unrecordable());
        tokio::pin!(lost, unrecordable);
        let mut status: Option<ExitStatus> = None;
        let mut shown = false;
        loop {
            if let (Some(status), true) = (status, shown) {
                return Outcome::Ended(status);
            }
            // Looked at before anything is waited for: it may have ended while the intent was proved.
            if inbox.is_finished() {
                input.end();
            }
            // The queue is borrowed by one arm only: the program's next bytes, or the client's next words.
            let front = Bytes::copy_from_slice(
                inbox.front().map_or(&[], |bytes| bytes.get(..INPUT_CHUNK_BYTES).unwrap_or(bytes)),
            );
            let echoed = !front.is_empty() && self.is_echoed(&input);
            tokio::select! {
                biased;
                refusal = &mut lost => return Outcome::Lost(refusal.to_string(), status),
                sentence = &mut unrecordable => return Outcome::Lost(sentence, status),
                () = self.stop.cancelled() => return Outcome::Stopped,
                Unreadable = &mut unreadable => return Outcome::Lost(UNFOLLOWED.to_owned(), status),
                () = self.gone.cancelled() => return Outcome::Left(status),
                incoming = inbox.next() => match incoming {
                    Incoming::Closed => return Outcome::Left(status),
                    Incoming::Overrun => return Outcome::Lost(OVERRUN.to_owned(), status),
                    Incoming::Input => {}
                    Incoming::Resize(size) => self.resize(&input, size),
                    Incoming::Signal(signal) if status.is_none() => send_signal(&input, beside.signalled, &signal),
                    Incoming::Signal(_) => {}
                },
                waited = child.wait(), if status.is_none() => match waited {
                    Ok(ended) => {
                        status = Some(ended);
                        beside.exited.cancel();
                    }
                    Err(error) => return Outcome::Broken(error.to_string()),
                },
                written = input.write(&front), if !front.is_empty() => match written {
                    Ok(count) => {
                        self.typed(&input, echoed, front.get(..count).unwrap_or_default());
                        inbox.taken(count);
                    }
                    Err(_) => inbox.discard(),
                },
                () = &mut output, if !shown => shown = true,
            }
        }
    }
}

impl Watch<'_> {
    /// Waits until the session must end because it cannot be recorded, and returns the sentence.
    async fn unrecordable(&self) -> String {
        match self.recording {
            Some(recording) => recording.impossible().await,
            None => std::future::pending().await,
        }
    }

    fn resize(&self, input: &Input<'_>, size: rustix::termios::Winsize) {
        input.resize(size);
        if let (Input::Terminal(_), Some(recording)) = (input, self.recording) {
            recording.resized(size.ws_col.into(), size.ws_row.into());
        }
    }

    /// Whether what is typed now is to be recorded: the policy says so, and the terminal shows it.
    fn is_echoed(&self, input: &Input<'_>) -> bool {
        let wanted = self.recording.is_some_and(|recording| recording.wants_input());
        wanted && matches!(input, Input::Terminal(master) if master.echoes())
    }

    /// Records what was typed if the terminal showed it before and still does: a program may have changed it meanwhile, and what
    /// is a password to either of the two moments is none of ours.
    fn typed(&self, input: &Input<'_>, echoed: bool, bytes: &[u8]) {
        if let (true, Some(recording)) = (echoed && self.is_echoed(input), self.recording) {
            recording.typed(bytes);
        }
    }
}

/// A signal the client asks for goes to the terminal's foreground group, or to the program's own.
fn send_signal(input: &Input<'_>, own: Option<u32>, signal: &Sig) {
    let foreground = match input {
        Input::Terminal(master) => master.foreground(),
        Input::Pipe(_) => None,
    };
    let own = own.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let (Some(group), Some(signal)) = (foreground.or(own), signal_of(signal)) {
        let _ = kill_process_group(group, signal);
    }
}

impl Input<'_> {
    fn resize(&self, size: rustix::termios::Winsize) {
        if let Self::Terminal(master) = self {
            let _ = master.resize(size);
        }
    }
}

/// The signals of RFC 4254 section 6.10.
fn signal_of(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::ABRT => Signal::ABORT,
        Sig::ALRM => Signal::ALARM,
        Sig::FPE => Signal::FPE,
        Sig::HUP => Signal::HUP,
        Sig::ILL => Signal::ILL,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::PIPE => Signal::PIPE,
        Sig::QUIT => Signal::QUIT,
        Sig::SEGV => Signal::SEGV,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        Sig::Custom(name) if name == "USR2" => Signal::USR2,
        Sig::Custom(_) => return None,
    })
}

/// The name of a signal number, as SSH writes it.
fn signal_name(number: i32) -> &'static str {
    match Signal::from_named_raw(number) {
        Some(Signal::ABORT) => "ABRT",
        Some(Signal::ALARM) => "ALRM",
        Some(Signal::FPE) => "FPE",
        Some(Signal::HUP) => "HUP",
        Some(Signal::ILL) => "ILL",
        Some(Signal::INT) => "INT",
        Some(Signal::KILL) => "KILL",
        Some(Signal::PIPE) => "PIPE",
        Some(Signal::QUIT) => "QUIT",
        Some(Signal::SEGV) => "SEGV",
        Some(Signal::TERM) => "TERM",
        Some(Signal::USR1) => "USR1",
        Some(Signal::USR2) => "USR2",
        Some(Signal::BUS) => "BUS@openssh.com",
        Some(Signal::XCPU) => "XCPU@openssh.com",
        Some(Signal::XFSZ) => "XFSZ@openssh.com",
        _ => "OTHER@openssh.com",
    }
}

/// The account a session runs as, for the log line at its start.
impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
