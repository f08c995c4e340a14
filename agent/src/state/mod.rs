//! What the agent keeps on disk, in one private directory held by one process. Each file says what is true after a crash.
//!
//! `pin.json` is written last by a join: with it the machine has joined, without it a join begins again with the same keys.

pub mod clock;
pub mod files;
pub mod forgetting;
pub mod identity;
pub(crate) mod log_view;
pub(crate) mod outbox;
pub(crate) mod policies;
pub mod record;
pub(crate) mod runs;

pub use files::{Broken, StateDir};
