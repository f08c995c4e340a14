//! The agent's rules: what must hold of its statements, their delivery and its waits, as plain state machines.
//!
//! Pure: time and randomness are arguments; files and connections are in `belay-agent`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod backoff;
pub mod delivery;
pub mod file_reports;
pub mod journal;
pub mod limits;
pub mod mask;
pub mod output;
pub mod recording;
pub mod run_ledger;
pub mod sftp;
pub mod statement_chain;

pub use backoff::Backoff;
pub use delivery::Delivery;
pub use journal::{Damaged, Line, Replayed};
pub use run_ledger::RunLedger;
pub use statement_chain::{Made, Orphan, Position, StatementChain, What};
