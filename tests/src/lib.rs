//! The harness: lays out a whole Belay installation in one directory with the commands a person would type, and drives
//! it with the real `ssh`.
//!
//! Nothing here knows how the programs work inside. The behaviours that are tested live in `e2e/`, one a file.

pub mod call;
pub mod daemon;
pub mod export;
pub mod log;
pub mod person;
pub mod plan;
pub mod ports;
pub mod programs;
pub mod strace;
pub mod terminal;
pub mod wait;
pub mod world;

pub use call::{Said, run};
pub use daemon::Daemon;
pub use person::Person;
pub use plan::Plan;
pub use terminal::Terminal;
pub use world::World;
