//! Ctrl-C while something goes on at the gateway: a question for the person, not the end of the program.
//!
//! The signal is blocked and waited for in a thread of its own, which needs no handler. Programs started afterwards inherit the
//! block: the `ssh` that follows a job is not ended by the key either.

use crate::failure::{Outcome, While};
use nix::sys::signal::{SigSet, Signal};
use std::thread;

/// From now on `tell` is called at every Ctrl-C. Call it before any other thread is there: they inherit the block.
///
/// # Errors
/// The system refuses.
pub fn listen(tell: impl Fn() + Send + 'static) -> Outcome {
    let signals: SigSet = [Signal::SIGINT].into_iter().collect();
    signals.thread_block().during(|| "cannot listen for Ctrl-C".to_owned())?;
    thread::spawn(move || {
        while signals.wait().is_ok() {
            tell();
        }
    });
    Ok(())
}
