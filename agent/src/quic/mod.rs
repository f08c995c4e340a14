//! The tunnel: the one place that names quinn. It dials the gateway, says hello, carries control messages and hands session
//! streams to the SSH server. What a message changes is decided elsewhere (`authority`, `recorder`, `state`).

pub(crate) mod ask;
mod control;
pub(crate) mod endpoint;
mod facts;
mod frames;
mod nudged;
mod output;
mod recording;
mod renewal;
mod stream;
pub mod tunnel;

pub use endpoint::{Unreached, install_crypto};
