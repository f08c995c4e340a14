//! `cargo demo`: a real gateway and three real agents on this machine, brought up by the commands a person would type,
//! then a short tour with the real `ssh`.
//!
//! The installation itself is the harness's (`belay_tests::World`). Which directory may be used: `place.rs`.

mod desk;
mod place;
mod prove;
mod repair;
mod stop;
mod tour;

use anyhow::{Context, Result, bail};
use belay_tests::{Plan, World, daemon::end_all, programs::programs};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{ExitCode, exit},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: cargo demo -- [--once] [--dir DIR]

Starts a gateway and three agents in DIR (default ./.belay-demo), shows what they do, and stays up until Ctrl-C.
  --once     end after the tour: exit 0 only if every step did what it says
  --dir DIR  where everything lives; an earlier demo in it that has ended is removed first,
             and a directory that is something else is left alone";

/// Where the demo lives when nothing else is said.
const DIR: &str = ".belay-demo";
/// The ssh configurations and whose they are.
const CONFIGS: [(&str, &str); 4] = [
    ("ssh_config", "tech"),
    ("ssh_config.other", "other"),
    ("ssh_config.auditor", "auditor"),
    ("ssh_config.leaver", "leaver"),
];
/// As shells report a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Set once the tour is over: from then on Ctrl-C is the way to end, not a failure.
static UP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let (once, dir) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = end_on_signals() {
        eprintln!("demo: signals cannot be handled: {error}");
        return ExitCode::FAILURE;
    }
    match demo(once, &dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            end_all();
            ExitCode::FAILURE
        }
    }
}

fn demo(once: bool, dir: &Path) -> Result<()> {
    programs()?;
    let _place = place::claim(dir)?;
    let world = World::prepare(dir, Plan::provider())?;
    println!("bringing up a demo in {}", world.dir().display());
    world.bring_up(&|step| println!("  {step}"))?;
    println!("  the provider msp: imported by both customers, which are on its list; its technicians pin one hash");
    world.provide("msp", &["acme", "globex"])?;
    for technician in ["tech", "leaver"] {
        world.hire("msp", technician, "field")?;
    }
    for (file, person) in CONFIGS {
        write_config(&world, file, person)?;
    }
    tour::walk(&world)?;
    let repaired = repair::walk(&world);
    repair::end(&world)?;
    repaired?;
    desk::walk(&world)?;
    if once {
        world.stop()?;
        println!("\nthe demo did everything it says; it lies in {}", world.dir().display());
        return Ok(());
    }
    tell(&world);
    UP.store(true, Ordering::SeqCst);
    loop {
        // The end comes from the signal's thread.
        thread::park();
    }
}

/// A file at the top for each person, that takes in what `belay config` wrote.
fn write_config(world: &World, file: &str, person: &str) -> Result<()> {
    let written = world.person(person).ssh_config();
    let text =
        format!("# ssh as {person}: what `belay config` wrote from the policies.\nInclude \"{}\"\n", written.display());
    fs::write(world.dir().join(file), text).with_context(|| format!("cannot write {file}"))
}

fn tell(world: &World) {
    let dir = world.dir().display();
    println!(
        "\nIt stays up until Ctrl-C. Try, in another terminal:

  ssh -F {dir}/ssh_config web1.acme                     a shell, as {account}
  ssh -F {dir}/ssh_config db1.acme 'uname -a; exit 7'   a command and its exit status
  ssh -F {dir}/ssh_config gw devices                    what you may reach; `gw help` shows the rest
  ssh -F {dir}/ssh_config till1.globex                  another customer's machine, with the same laptop
  ssh -F {dir}/ssh_config.other web1.acme               somebody of that customer: nothing is granted to them here
  ssh -F {dir}/ssh_config.auditor gw log tail acme      what was done, for the auditor
  {programs}/belay --home {dir}/people/tech/belay who web1.acme   who can reach it, and which line says so
",
        account = world.account(),
        programs = programs().map_or_else(|_| Path::new("").display(), |programs| programs.dir().display()),
    );
}

/// Ends everything on Ctrl-C, a hang-up or `kill`, whatever the demo is doing.
fn end_on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let enter = runtime.enter();
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind)?);
    }
    drop(enter);
    thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = signals.as_mut_slice() else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        eprintln!("\nending the demo");
        end_all();
        exit(if UP.load(Ordering::SeqCst) { 0 } else { INTERRUPTED });
    });
    Ok(())
}

/// Whether only once, and where; none for `--help`.
fn arguments() -> Result<Option<(bool, PathBuf)>> {
    let (mut once, mut dir) = (false, PathBuf::from(DIR));
    let mut words = env::args_os().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--once") => once = true,
            Some("--dir") => dir = words.next().map(PathBuf::from).context("--dir needs a directory")?,
            Some("--help" | "-h") => return Ok(None),
            _ => bail!("{} is not understood", word.display()),
        }
    }
    Ok(Some((once, dir)))
}
