//! What the gateway does, between doors and store: each file one act, asked for by any door the same way (P6).

pub(crate) mod access;
pub(crate) mod approve;
pub(crate) mod devices;
pub(crate) mod enrol;
pub(crate) mod index;
pub(crate) mod jobs;
pub(crate) mod library;
pub(crate) mod orders;
pub(crate) mod policies;
pub(crate) mod renewal;
pub(crate) mod retention;
pub(crate) mod room;
pub(crate) mod shares;
pub(crate) mod silence;
pub(crate) mod strangers;
