//! The command line. Secrets come from files, never from here: anyone on the machine can read a process's arguments.

use belay_certs::{DeviceName, TenantName};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Where the agent keeps its state unless told otherwise.
pub const STATE_DIR: &str = "/var/lib/belay-agent";

/// The agent of a machine that Belay reaches.
#[derive(Debug, Parser)]
#[command(name = "belay-agent", version, about = "Lets a tenant's people reach this machine, by signed policy alone")]
pub struct Command {
    /// How log lines look; what is logged is set by RUST_LOG.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What the agent can be told to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Ask to join a tenant, with a token that one of its people made.
    Join {
        /// The file made by `belay token`; a secret.
        #[arg(long)]
        token_file: PathBuf,
        /// Where to keep keys, policies and what is still to be recorded.
        #[arg(long, default_value = STATE_DIR)]
        state: PathBuf,
        /// The name to ask for: one DNS label. The machine's host name unless given.
        #[arg(long)]
        name: Option<DeviceName>,
    },
    /// Serve until told to stop.
    ///
    /// If the agent says that the machine's high-water mark is wrong, because the clock once ran far ahead: stop the agent,
    /// remove the file `clock` from the state directory as root, and start it again.
    Run {
        /// Where keys, policies and what is still to be recorded are kept.
        #[arg(long, default_value = STATE_DIR)]
        state: PathBuf,
    },
    /// One file session, as the account it is for. The agent starts it itself.
    #[command(hide = true)]
    FileSession {
        /// The number of the pipe on which it reports.
        #[arg(long)]
        report: i32,
        /// The user to become.
        #[arg(long)]
        uid: u32,
    },
    /// Set this machine's keys and policies aside, so that it can join anew: the only way back when the tenant's root keys
    /// are lost. Nothing is deleted. The agent must not run.
    Forget {
        /// The tenant that the machine leaves: said aloud, so that nobody forgets the wrong one.
        #[arg(long)]
        tenant: TenantName,
        /// Where they are kept.
        #[arg(long, default_value = STATE_DIR)]
        state: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_as_documented() {
        Command::command().debug_assert();
        let joined = Command::parse_from(["belay-agent", "join", "--token-file", "/run/token", "--name", "web1"]);
        let What::Join { token_file, state, name } = joined.what else { panic!("not join") };
        assert_eq!((token_file, state), (PathBuf::from("/run/token"), PathBuf::from(STATE_DIR)));
        assert_eq!(name.unwrap().as_str(), "web1");
        assert!(Command::try_parse_from(["belay-agent", "join", "--token-file", "t", "--name", "a b"]).is_err());
        let run = Command::parse_from(["belay-agent", "run"]);
        assert!(matches!((run.what, run.log_format), (What::Run { .. }, LogFormat::Text)));
        let json = Command::parse_from(["belay-agent", "run", "--log-format", "json"]);
        assert_eq!(json.log_format, LogFormat::Json);
    }
}
