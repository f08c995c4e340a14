//! What may be recorded: the events of Belay and the judges that turn a door's ask into events or a refusal.
//!
//! Pure: no clock, no randomness, no I/O. What is stored, the moment and the ids are arguments; the store brings them.
//!
//! | file | what it knows |
//! |---|---|
//! | `event.rs` | every kind of event: read this one to know what the product can do |
//! | `draft.rs`, `log_name.rs` | the event around it, and the log it belongs to |
//! | `ask.rs` | what a door may ask to be recorded, and how an ask can end |
//! | `refusal.rs` | the reasoned no's |
//! | `note.rs`, `tenant.rs`, `policy.rs`, `token.rs`, `join.rs`, `device.rs`, `presence.rs`, `statement.rs`, `library.rs`, `submission.rs`, `recording.rs` | one judge each |
//! | `aging.rs` | by which moment recordings grow old |
//! | `freeze.rs` | who and what may do nothing for now |
//! | `review.rs` | what waits until somebody has looked at it |
//! | `session.rs` | where a session stands |
//! | `job.rs`, `job/` | an order under way: waves, stop rule, window, and whose turn it is |
//! | `words.rs` | a command line that came over ssh, cut into words |
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod aging;
pub mod ask;
pub mod device;
pub mod draft;
pub mod event;
pub mod freeze;
pub mod job;
pub mod join;
pub mod library;
pub mod limits;
pub mod log_name;
pub mod note;
pub mod output;
pub mod policy;
pub mod presence;
pub mod recording;
pub mod refusal;
pub mod review;
pub mod session;
pub mod statement;
pub mod submission;
pub mod tenant;
pub mod token;
pub mod words;

#[cfg(test)]
mod fixtures;

pub use ask::{Ask, Bearer, Outcome, Outer, Recertified, Verdict};
pub use device::{DeviceHeld, DeviceState};
pub use draft::{Draft, Event};
pub use event::What;
pub use freeze::{Freeze, Freezes, Frozen};
pub use log_name::LogName;
pub use output::{OutputHeld, OutputName};
pub use recording::{RecordingHeld, RecordingName, RecordingState};
pub use refusal::Refusal;
pub use session::{SessionHeard, SessionState};
