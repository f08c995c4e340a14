//! `cargo numbers`: what Belay costs, beside what its rivals cost in the same run. One line a figure.
//!
//! Nothing is switched off for it: policies, the log before every act and every signature are as in production. Trust CPU
//! seconds and ratios: a busy machine changes rates. What each figure measures stands at the head of its file.

mod agents;
mod bulk;
mod chatter;
mod echo;
mod fanout;
mod figure;
mod idle;
mod login;
mod meter;
mod ordered;
mod record;
mod recorded;
mod rivals;
mod searched;
mod sim;
mod size;

use anyhow::{Result, bail};
use belay_tests::{Plan, World, daemon::end_all, programs::programs};
use rivals::Rivals;
use std::{
    env,
    process::{ExitCode, exit},
    thread,
};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: cargo numbers [echo] [login] [bulk] [size] [idle] [record] [fanout] [agents] [recorded] [searched]

  echo    one byte to a program and back, through the real ssh, beside sshd and an OpenSSH reverse tunnel + ProxyJump
  login   `ssh host true`, cold, with the outer hop shared, and as one more session of an open connection
  bulk    256 MiB to and from a device
  size    programs, memory of an idle agent, start-up
  idle    1,000 simulated agents: gateway memory and CPU of each, and their return after `kill -9`
  record  durable events, beside a bare SQLite commit
  fanout  one order on 10,000 simulated agents, and one that is cancelled
  agents  one order on 100 real agents
  recorded  200 busy sessions with recordings and without; a search over what 300 sessions showed
  searched  a search over 5 GB that 10,000 sessions showed: half an hour and 12 GB of disk, so only when it is named";

/// What can be measured, in the order in which it is.
const ALL: [&str; 10] = ["echo", "login", "bulk", "size", "idle", "record", "fanout", "agents", "recorded", "searched"];

fn main() -> ExitCode {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some(word) = words.iter().find(|word| !ALL.contains(&word.as_str())) {
        println!("{USAGE}");
        return if word == "--help" { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let done = end_on_signals().and_then(|()| measure(&words));
    if let Err(error) = done {
        eprintln!("numbers: {error:#}");
        end_all();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(words: &[String]) -> Result<()> {
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    rustls::crypto::ring::default_provider().install_default().ok();
    println!("programs in {}; {}", programs()?.dir().display(), meter::machine());
    if ["echo", "login", "bulk", "size"].into_iter().any(wanted) {
        let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
        let world = World::prepare(&scratch.path().join("belay"), Plan::small())?;
        world.bring_up(&|_| {})?;
        let rivals = Rivals::start(&scratch.path().join("rivals"), &world)?;
        if wanted("echo") {
            echo::measure(&rivals)?;
        }
        if wanted("login") {
            login::measure(&rivals)?;
        }
        if wanted("bulk") {
            bulk::measure(&rivals)?;
        }
        drop(rivals);
        if wanted("size") {
            size::measure(&world)?;
        }
        world.stop()?;
    }
    if wanted("idle") {
        idle::measure()?;
    }
    if wanted("record") {
        record::measure()?;
    }
    if wanted("fanout") {
        fanout::measure()?;
    }
    if wanted("agents") {
        agents::measure()?;
    }
    if wanted("recorded") {
        recorded::measure()?;
    }
    if words.iter().any(|word| word == "searched") {
        searched::measure()?;
    }
    Ok(())
}

/// Ends everything on Ctrl-C, a hang-up or `kill`.
fn end_on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let enter = runtime.enter();
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind)?);
    }
    drop(enter);
    let [mut interrupt, mut terminate, mut hangup] = match <[_; 3]>::try_from(signals) {
        Ok(signals) => signals,
        Err(_) => bail!("signals cannot be waited for"),
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        eprintln!("\nending");
        end_all();
        exit(130);
    });
    Ok(())
}
