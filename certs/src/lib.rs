//! Who may: everything that is signed and proved in Belay, made and verified. TRUST.md beside this file says what each proof is worth.
//!
//! Not here: sockets, clocks, files, databases. Time is an argument.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod device;
pub mod digest;
pub mod entry;
pub mod envelope;
pub mod host_certificate;
pub mod invalid;
pub mod join;
pub mod keys;
pub mod limits;
pub mod names;
pub mod order;
pub mod output;
pub mod pattern;
pub mod policy;
mod reader;
pub mod receipt;
pub mod recording;
pub mod renewal;
pub mod runbook;
pub mod screen;
pub mod secrets;
pub mod sshsig;
pub mod statement;
pub mod time;
pub mod tlog;
pub mod token;
pub mod transport;

pub use digest::{Digest, Digester, Id};
pub use invalid::{Fault, Invalid};
pub use keys::{PrivateKey, PublicKey};
pub use names::{AccountName, DeviceAddress, DeviceName, PersonName, PersonRef, RunbookName, TenantName};
pub use sshsig::{Namespace, Signed};
pub use time::Timestamp;
