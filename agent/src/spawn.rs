//! The only place that becomes another user: starts one program as an account, in a session of its own.
//!
//! Needs a [`Permission`] for it: no proof, no process (P1). Not here: what flows in and out (`session/`).
//!
//! If the agent dies between fork and exec the child has no controlling terminal and no open pipe and ends by itself.

use crate::{accounts::Account, limits::RUN_NICE};
use belay_certs::receipt::Permission;
use nix::sys::signal::{SigHandler, Signal};
use rustix::{
    fs::{Gid, MemfdFlags, Mode, OFlags, SealFlags, Uid},
    io::FdFlags,
    process::{DumpableBehavior, Pid, Resource, Rlimit},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::Winsize,
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// Closes what whoever started the agent left open: no program of any account may inherit it. Everything that the agent
/// opens itself is closed on exec. Call it before anything else is opened.
pub fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The directory's own number is among them and is closed already.
        let _ = nix::unistd::close(number);
    }
}

/// Where programs are looked for when the account is root, as Debian's login sets it.
const PATH_ROOT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The same for everybody else.
const PATH_USER: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";
/// Files are created readable by others and writable by nobody else unless the login shell says otherwise.
const UMASK: u32 = 0o022;
/// Rounds of ending processes that make new ones meanwhile.
const KILL_ROUNDS_MAX: usize = 10;
/// Terminals belong to this group where it exists (Linux: `tty` is 5 on every distribution).
const TTY_GROUP: u32 = 5;

/// What to start.
pub(crate) struct Launch<'a> {
    /// As whom.
    pub(crate) account: &'a Account,
    /// The command line for the account's shell; `None` is a login shell.
    pub(crate) command: Option<&'a [u8]>,
    /// Variables on top of the login environment.
    pub(crate) environment: &'a [(String, String)],
}

/// A program started with pipes.
pub(crate) struct Piped {
    /// The process; it leads its own session and process group.
    pub(crate) child: Child,
    /// Its standard input.
    pub(crate) stdin: ChildStdin,
    /// Its standard output.
    pub(crate) stdout: ChildStdout,
    /// Its standard error.
    pub(crate) stderr: ChildStderr,
}

/// A program started on a terminal.
pub(crate) struct OnTerminal {
    /// The process; it leads its own session and owns the terminal.
    pub(crate) child: Child,
    /// Our side of the terminal, non-blocking.
    pub(crate) master: OwnedFd,
}

/// A terminal that is ready for a program; opened before the program so that its size and modes are right from the start.
pub(crate) struct Terminal {
    /// Our side.
    pub(crate) master: OwnedFd,
    /// The program's side.
    pub(crate) slave: OwnedFd,
    /// The path of the program's side, as `SSH_TTY` shows it.
    pub(crate) path: String,
}

/// Opens a terminal that `account` owns.
///
/// The close-on-exec flag is set at opening, never after: a program of another account that is started at the same
/// moment must not inherit our side.
pub(crate) fn open_terminal(account: &Account, size: Winsize) -> io::Result<Terminal> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::process::geteuid().is_root() {
        let owner = Uid::from_raw(account.uid.as_raw());
        rustix::fs::fchown(&slave, Some(owner), Some(Gid::from_raw(TTY_GROUP)))?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    }
    rustix::termios::tcsetwinsize(&slave, size)?;
    Ok(Terminal { master, slave, path })
}

/// Starts the program with pipes. The proof is what permits it.
pub(crate) fn start_piped(launch: &Launch<'_>, _proof: &Permission) -> io::Result<Piped> {
    spawn_piped(&mut prepare(launch, Controlling::Nothing))
}

fn spawn_piped(command: &mut Command) -> io::Result<Piped> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok(Piped { child, stdin, stdout, stderr }),
        _ => Err(io::Error::other("the program was started without its pipes")),
    }
}

/// Starts the program on `terminal`. The proof is what permits it.
pub(crate) fn start_on_terminal(
    launch: &Launch<'_>,
    terminal: Terminal,
    _proof: &Permission,
) -> io::Result<OnTerminal> {
    let mut command = prepare(launch, Controlling::StandardInput);
    command.env("SSH_TTY", &terminal.path);
    command.stdin(terminal.slave.try_clone()?).stdout(terminal.slave.try_clone()?).stderr(terminal.slave);
    Ok(OnTerminal { child: command.spawn()?, master: terminal.master })
}

/// Starts this program again as a file session with pipes, and the reading end of its reports. The proof is what permits it.
///
/// It becomes the account by itself ([`become_file_session`]): the account may not be able to start this program, and a
/// process that changes its user after its start cannot be traced by that user, nor its pipe be written to.
pub(crate) fn start_files(
    account: &Account,
    environment: &[(String, String)],
    _proof: &Permission,
) -> io::Result<(Piped, OwnedFd)> {
    let (reading, writing) = io::pipe()?;
    let writing = OwnedFd::from(writing);
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("belay-agent").arg("file-session");
    command.arg("--report").arg(writing.as_raw_fd().to_string()).arg("--uid").arg(account.uid.to_string());
    set_environment(&mut command, account, environment);
    become_account(&mut command, account, Controlling::Nothing, Becomes::Itself { keeps: writing });
    let mut command = Command::from(command);
    Ok((spawn_piped(&mut command)?, reading.into()))
}

/// What a file session's process does first: it takes its end of the reports, becomes the account and goes to its home,
/// whose path it returns.
///
/// # Errors
/// It cannot: nothing may be served then.
pub fn become_file_session(report: RawFd, uid: u32) -> io::Result<(std::fs::File, PathBuf)> {
    let reports = std::fs::File::options().write(true).open(format!("/proc/self/fd/{report}"))?;
    nix::unistd::close(report)?;
    let user = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(user, user, user)?;
    // Changing the user does that already, unless the machine is set up otherwise or the user stays the same.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if rustix::process::getuid() != user || rustix::process::geteuid() != user {
        return Err(io::Error::other("the account could not be become"));
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    if std::env::set_current_dir(&home).is_err() {
        std::env::set_current_dir("/")?;
    }
    Ok((reports, home))
}

/// A script to run: the program that reads it, and all it is told.
pub(crate) struct Script<'a> {
    /// As whom.
    pub(crate) account: &'a Account,
    /// The interpreter, an absolute path.
    pub(crate) interpreter: &'a str,
    /// Its one argument before the script.
    pub(crate) argument: Option<&'a str>,
    /// The script's bytes.
    pub(crate) bytes: &'a [u8],
    /// Variables beside those of every run.
    pub(crate) environment: &'a [(String, String)],
}

/// A script that was started.
pub(crate) struct Running {
    /// The interpreter; it leads its own session and process group.
    pub(crate) child: Child,
    /// Its standard output.
    pub(crate) stdout: ChildStdout,
    /// Its standard error.
    pub(crate) stderr: ChildStderr,
}

/// Where the programs of a run are looked for, whatever the account: a runbook means the same on every machine.
pub(crate) const PATH_RUN: &str = PATH_ROOT;

/// Starts a script with nothing to read, no terminal and an environment of its own. The proof is what permits it.
///
/// The interpreter reads it from a sealed file in memory that has no name: nobody can change it between check and use, nothing
/// of it stays, and it works where no directory may hold programs.
pub(crate) fn start_script(script: &Script<'_>, _proof: &Permission) -> io::Result<Running> {
    let sealed = seal(script.bytes)?;
    let mut command = std::process::Command::new(script.interpreter);
    command.args(script.argument).arg(format!("/dev/fd/{}", sealed.as_raw_fd()));
    set_environment(&mut command, script.account, script.environment);
    command.env("PATH", PATH_RUN).env("LANG", "C.UTF-8");
    become_account(&mut command, script.account, Controlling::Nothing, Becomes::Script { sealed });
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => Ok(Running { child, stdout, stderr }),
        _ => Err(io::Error::other("the script was started without its pipes")),
    }
}

/// A file without a name that holds `bytes` and can never hold anything else. It is at its start, for an interpreter that reads
/// on from where it is.
fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Some machines allow only files that can never be programs themselves; kernels before 6.3 know no such thing.
    let made = rustix::fs::memfd_create("runbook", flags | MemfdFlags::NOEXEC_SEAL);
    let mut file = File::from(made.or_else(|_| rustix::fs::memfd_create("runbook", flags))?);
    file.write_all(bytes)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// What becomes the controlling terminal of the new session.
#[derive(Clone, Copy)]
enum Controlling {
    Nothing,
    StandardInput,
}

/// When the child becomes the account.
enum Becomes {
    /// Before it runs a line of code.
    Account,
    /// By itself and first of all, with everything but the user number changed before; one descriptor stays open.
    Itself { keeps: OwnedFd },
    /// Before it runs a line of code, with less of the processor, no core files, and the script's descriptor open.
    Script { sealed: OwnedFd },
}

fn prepare(launch: &Launch<'_>, controlling: Controlling) -> Command {
    let account = launch.account;
    let mut command = std::process::Command::new(&account.shell);
    let base = account.shell.file_name().unwrap_or(OsStr::new("sh"));
    match launch.command {
        Some(line) => {
            command.arg0(base).arg("-c").arg(OsStr::from_bytes(line));
        }
        None => {
            let mut login = std::ffi::OsString::from("-");
            login.push(base);
            command.arg0(login);
        }
    }
    set_environment(&mut command, account, launch.environment);
    become_account(&mut command, account, controlling, Becomes::Account);
    Command::from(command)
}

fn set_environment(command: &mut std::process::Command, account: &Account, more: &[(String, String)]) {
    command.env_clear();
    for (name, value) in login_environment(account) {
        command.env(name, value);
    }
    for (name, value) in more {
        command.env(name, value);
    }
}

/// The variables every login has, as OpenSSH sets them.
fn login_environment(account: &Account) -> [(&'static str, &OsStr); 5] {
    let path = if account.uid.is_root() { PATH_ROOT } else { PATH_USER };
    [
        ("HOME", account.home.as_os_str()),
        ("USER", OsStr::new(&account.name)),
        ("LOGNAME", OsStr::new(&account.name)),
        ("SHELL", account.shell.as_os_str()),
        ("PATH", OsStr::new(path)),
    ]
}

/// Arranges that the child leads a session, owns its terminal and is the account before it runs a line of code.
#[expect(unsafe_code, reason = "session, terminal and user can only be changed between fork and exec")]
fn become_account(command: &mut std::process::Command, account: &Account, controlling: Controlling, becomes: Becomes) {
    let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
    let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(group.as_raw())).collect();
    let home = std::ffi::CString::new(account.home.as_os_str().as_bytes()).unwrap_or_default();
    let as_root = rustix::process::geteuid().is_root();
    let after_fork = move || {
        // What the agent ignores (started by `nohup`, say) its programs must not ignore.
        for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
            // SAFETY: the default disposition runs no code of ours.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl)? };
        }
        rustix::process::setsid()?;
        if let Controlling::StandardInput = controlling {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        rustix::process::umask(Mode::from_raw_mode(UMASK));
        if let Becomes::Script { sealed } = &becomes {
            rustix::io::fcntl_setfd(sealed, FdFlags::empty())?;
            rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
            // One that is as low already, and may not change it, stays there.
            let _ = rustix::process::nice(RUN_NICE);
        }
        if as_root {
            rustix::thread::set_thread_groups(&groups)?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            if let Becomes::Account | Becomes::Script { .. } = becomes {
                rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            }
        }
        if let Becomes::Itself { keeps } = &becomes {
            rustix::io::fcntl_setfd(keeps, FdFlags::empty())?;
            return Ok(());
        }
        // As the account, for a home on NFS may be closed to root; a missing home is the root directory, as in OpenSSH.
        if rustix::process::chdir(home.as_c_str()).is_err() {
            rustix::process::chdir(c"/")?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls on values computed before the fork: it does not allocate, lock or
    // touch the parent's state, which is all that is allowed after fork in a process with several threads.
    unsafe {
        command.pre_exec(after_fork);
    }
}

/// Whether the number of a session's leader is still its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leader {
    /// It runs, or was not waited for: its number belongs to it.
    Held,
    /// It was waited for. Its number stays taken while its session has members, and may be anybody's after that.
    Reaped,
}

/// Ends every process of the session that `leader` leads, again and again until none is left: a process may be making
/// another one meanwhile. A process that left the session by itself is not found.
pub(crate) fn kill_session(leader: u32, held: Leader) {
    let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw) else { return };
    if held == Leader::Reaped && rustix::process::test_kill_process(leader).is_ok() {
        // A new process has the number, so the old session has no members.
        return;
    }
    kill_all(|| session_members(leader));
}

/// Ends what is left of a script whose agent died: the processes of the session that `leader` led which were started with
/// `variable` (`NAME=VALUE`, of a value nobody else has). A number alone could be anybody's by now.
pub(crate) fn kill_left_behind(leader: u32, variable: &str) {
    let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw) else { return };
    let is_marked = |pid: &Pid| {
        let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    };
    kill_all(|| session_members(leader).into_iter().filter(is_marked).collect());
}

fn kill_all(members: impl Fn() -> Vec<Pid>) {
    for _ in 0..KILL_ROUNDS_MAX {
        let members = members();
        if members.is_empty() {
            return;
        }
        for pid in members {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    tracing::error!("processes of a session that was ended could not all be ended");
}

/// The processes of the session, without those that ended and were not waited for: there is nothing left to end.
fn session_members(leader: Pid) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir(Path::new("/proc")) else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            session_of(&stat) == Some(leader)
        })
        .collect()
}

/// The session of a living process, from its `/proc/PID/stat` (proc(5)): `PID (NAME) STATE PARENT GROUP SESSION …`, where
/// the name may hold anything.
fn session_of(stat: &str) -> Option<Pid> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok().and_then(Pid::from_raw)?;
    (!matches!(state, "Z" | "X")).then_some(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_from_proc_whatever_the_program_is_called() {
        let pid = |number| Pid::from_raw(number);
        assert_eq!(session_of("7 (sh) S 1 7 7 34816 8 4194560"), pid(7));
        assert_eq!(session_of("9 (a) Z 1 2 3 (b) S 1 9 42 0 -1"), pid(42));
        assert_eq!(session_of("9 (sleep) Z 7 9 42 0 -1"), None);
        assert_eq!(session_of("2 (kthreadd) S 0 0 0 0 -1"), None);
        assert_eq!(session_of(""), None);
    }
}
