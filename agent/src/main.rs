//! The `belay-agent` binary: reads the command line, sets up logging, and calls the library.

use belay_agent::{
    config::{Command, LogFormat, What},
    files, join, run, spawn,
};
use clap::Parser;
use std::{io::IsTerminal, process::ExitCode};
use tokio::runtime::{Builder, LocalOptions};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

fn main() -> ExitCode {
    let command = Command::parse();
    if let What::FileSession { report, uid } = command.what {
        return file_session(report, uid);
    }
    spawn::close_inherited();
    log_to_stderr(command.log_format);
    belay_agent::quic::install_crypto();
    // One thread carries everything: echo is a fifth faster than on a work-stealing pair (TARGETS.md, tuning 6), and what
    // waits for the disk has threads of its own. Only a local runtime leaves out the scheduler for several, and libm with it.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
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

/// Without `RUST_LOG`, or with one that cannot be read: russh prints requests to sign at debug.
fn log_filter() -> Targets {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO).with_target("russh", LevelFilter::OFF))
}

fn log_to_stderr(format: LogFormat) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let logs = tracing_subscriber::registry().with(log_filter());
    match format {
        LogFormat::Json => logs.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => logs.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
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
