//! The `belay-agent` binary: reads the command line, sets up logging, and calls the library.

use belay_agent::{
    config::{Command, LogFormat, What},
    files, join, run, spawn,
};
use clap::Parser;
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` is not set; russh prints requests to sign at debug.
const LOG_FILTER: &str = "info,russh=off";

fn main() -> ExitCode {
    let command = Command::parse();
    if let What::FileSession { report, uid } = command.what {
        return file_session(report, uid);
    }
    spawn::close_inherited();
    log_to_stderr(command.log_format);
    belay_agent::quic::install_crypto();
    // One thread carries everything: echo is a fifth faster than on a work-stealing pair (TARGETS.md, tuning 6), and what
    // waits for the disk has threads of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(act(command.what)),
        Err(error) => Err(format!("no threads can be started: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("belay-agent: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Not as the daemon: no threads, no log, and the account's rights before anything is read.
fn file_session(report: i32, uid: u32) -> ExitCode {
    let served = spawn::become_file_session(report, uid).and_then(|(report, home)| files::serve(report, home));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("belay: this file session cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

async fn act(what: What) -> Result<(), String> {
    match what {
        What::Join { token_file, state, name } => {
            let joined = join::join(&token_file, &state, name).await.map_err(|error| error.to_string())?;
            println!("{joined}");
        }
        // Served before there is a runtime.
        What::FileSession { .. } => {}
        What::Run { state } => run::run(&state).await.map_err(|error| error.to_string())?,
        What::Forget { state, tenant } => {
            let forgotten = join::forget(&state, &tenant).map_err(|error| error.to_string())?;
            println!("{forgotten}");
        }
    }
    Ok(())
}
