//! The commands on a real store: who may, what is recorded, what comes back.

mod answers;
mod fetch;
mod follow;
mod rights;
pub(super) mod world;
