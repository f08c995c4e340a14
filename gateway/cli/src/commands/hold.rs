//! `belay hold` and `belay release`: a recording stays whatever the policy's `keep` says, or goes by it again.

use super::desk::ran::What;
use crate::{
    failure::{Failure, Outcome, refused},
    gateway,
    home::Home,
    screen::say,
    trusted::Trusted,
};

/// `belay hold` and `belay release`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A session, as `belay sessions` shows it, or JOB/DEVICE for what a run printed
    #[arg(value_name = "SESSION|JOB/DEVICE")]
    what: What,
    /// Why: it stands in the tenant's log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Holds a recording.
///
/// # Errors
/// The gateway refuses, or none shows such a recording.
pub fn hold(home: &Home, args: &Args) -> Outcome {
    tell(home, "hold", args)
}

/// Lets one go.
///
/// # Errors
/// As [`hold`].
pub fn release(home: &Home, args: &Args) -> Outcome {
    tell(home, "release", args)
}

/// Every gateway is told: a session is known to one of them, and the others say that they have none.
fn tell(home: &Home, word: &str, args: &Args) -> Outcome {
    let trusted = Trusted::load(home)?;
    let gateways = trusted.gateways(home)?;
    let reason = gateway::quoted(&args.reason)?;
    let what = match &args.what {
        What::Session(session) => session.to_string(),
        What::Run(job, device) => format!("{job}/{device}"),
    };
    let mut why = None;
    for answer in gateway::at_once(&gateways, |gateway| gateway.run(&[word, &what, "--reason", &reason], &[])) {
        match answer {
            Ok(said) => {
                say(String::from_utf8_lossy(&said).trim_end());
                return Ok(());
            }
            // A gateway that could not be asked may have it: that is said rather than that another has not.
            Err(failure) if !matches!(why, Some(Failure::Unreachable(_))) => why = Some(failure),
            Err(_) => {}
        }
    }
    Err(why.unwrap_or_else(|| refused("no gateway is known")))
}
