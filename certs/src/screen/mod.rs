//! What a terminal showed: as lines of text for a search and pages of them for an index, and as output that can do nothing but draw.
//!
//! Not here: recordings and their times (`recording`), and any terminal. Everything that is fed here was written by a
//! machine that may lie: no input makes it panic, keep more than a few screens, or say what a reader cannot see.

mod charset;
mod grid;
mod harmless;
mod leaving;
mod lines;
pub mod pages;
#[cfg(test)]
mod tests;
mod typed;
mod utf8;
mod visible;

pub use harmless::{Harmless, harmless};
pub use leaving::Line;
pub use lines::Lines;
pub use typed::Typed;
pub use visible::{deceives, visible};
