//! What is said between agent and gateway: frames, messages, phases, limits and close codes (PROTOCOL.md, beside this crate).
//!
//! Pure: bytes in, values out. No sockets, clocks or tasks live here, and nothing that is signed or stored: those are in `certs`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod close;
mod codec;
pub mod compatible;
pub mod extensions;
pub mod farewell;
pub mod flow;
pub mod frame;
pub mod join;
pub mod kinds;
pub mod limits;
pub mod message;
pub mod misbehaved;
pub mod nudge;
pub mod phase;
pub mod recording;
pub mod run;
pub mod session;
#[cfg(test)]
mod tests;
pub mod to_agent;
pub mod to_gateway;

pub use close::CloseCode;
pub use compatible::{ALPN, ALPN_JOIN, ALPN_PEER, MINOR, MINOR_OF_PRIVATE_RUNS, MINOR_OF_RECORDINGS, minor_spoken};
pub use extensions::Extensions;
pub use frame::{FrameReader, RawFrame};
pub use join::{
    CertificateIssued, JoinAccepted, JoinAnswer, JoinAsked, JoinQuestion, JoinRefused, PolicyBytes, RenewalAnswer,
    RenewalAsked,
};
pub use message::{Message, Unsendable, decode_frame, encode_frame};
pub use misbehaved::Misbehaved;
pub use phase::{AgentPhase, GatewayPhase, Phase};
pub use recording::{RecordingBegun, RecordingChunk, RecordingKept, RecordingRefused};
pub use run::{OutputBegun, OutputKept, RunCancelled, RunDeclined, RunOffered, RunOfferedSealed};
pub use session::Open;
pub use to_agent::{
    Drain, PolicyOffered, ReceiptGiven, RecordOffered, RefusalCode, StatementRefused, ToAgent, Welcome,
};
pub use to_gateway::{
    Facts, Hello, PolicyHeld, PolicyRefused, PolicyTaken, RecordRefused, RecordTaken, StatementMade, ToGateway,
};
