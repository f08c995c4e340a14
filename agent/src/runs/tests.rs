//! Runs against a gateway of this test: from the offer to the moment they are forgotten, and over every crash between.

pub(crate) mod bench;
mod crashes;
mod scripts;
mod sealed;
mod secrets;
mod verdicts;
