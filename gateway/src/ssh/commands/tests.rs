//! The commands on a real store: who may, what is recorded, what comes back.

mod answers;
mod rights;
mod world;
