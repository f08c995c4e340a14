//! The `belay` command: what people and their laptops do with Belay, through their own `ssh` and `ssh-keygen`.
//!
//! Each command is one file of `commands/`. Nothing here runs in the background and nothing is asynchronous.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod chain;
mod commands;
mod failure;
mod fetch;
mod gateway;
mod home;
mod interrupt;
mod invite;
mod keygen;
mod krl;
mod limits;
mod next_version;
mod policy_edit;
mod refresh;
mod runs;
mod screen;
#[cfg(test)]
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;
mod selector;
mod signatures;
mod ssh_agent;
mod ssh_config;
#[cfg(test)]
mod testing;
mod trusted;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// Reach and repair machines through a relay that cannot act on its own.
#[derive(Debug, Parser)]
#[command(name = "belay", version, propagate_version = true)]
struct Cli {
    /// Where pins, policies and ssh files live [default: ~/.config/belay]
    #[arg(long, global = true, env = "BELAY_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Your private key, or the .pub of one your ssh-agent holds [default: `identity` in config.toml of the home]
    #[arg(long, global = true, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let Cli { home, identity, command } = Cli::parse();
    let named = identity.is_some();
    match home::Home::open(home, identity).and_then(|home| command.run(&home, named)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen::note(&format!("belay: {}", failure.sentence()));
            ExitCode::from(failure.status())
        }
    }
}
