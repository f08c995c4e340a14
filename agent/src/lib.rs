//! The daemon on a machine: dials out, never listens; checks, records, runs.
//!
//! Where to look: who may (`authority`), what is said and proved (`recorder`), what sessions showed (`recording`), how the gateway is reached (`quic`), what is
//! on disk (`state`), how a machine joins (`join`), a person's connection (`ssh`) and what it starts (`session`, `spawn`, `files`), and what orders run (`runs`).

mod accounts;
pub mod authority;
pub mod config;
pub mod device;
pub mod files;
pub mod join;
pub mod limits;
pub mod quic;
pub mod recorder;
pub mod recording;
pub mod run;
pub mod runs;
pub mod service;
mod session;
pub mod spawn;
pub mod ssh;
pub mod state;
#[cfg(test)]
mod testbed;
pub mod words;
