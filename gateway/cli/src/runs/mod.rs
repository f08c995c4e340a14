//! Orders and jobs on the laptop: what is made before anything is signed, and what is shown of what became of it.
//!
//! Which words make which command is not here: see `commands/run.rs`, `commands/jobs.rs` and `commands/runbook.rs`.

pub mod coming;
pub mod follow;
pub mod job;
pub mod library;
pub mod output;
pub mod plan;
pub mod progress;
pub mod readers;
pub mod submit;
pub mod told;

#[cfg(test)]
mod tests;
