//! The policy: who may do what on a tenant's devices. Read (`parse`), chained (`chain`), asked (`decide`, `reach`), compared.
//!
//! Not here: the other documents that a policy's people sign (`token`, `device`), and anything that acts on an answer.

mod chain;
mod decide;
mod difference;
mod document;
mod explain;
mod forward;
mod glob;
mod hours;
mod parse;
mod parse_grants;
mod policies;
mod raw;
mod reach;
mod refusal;
mod ticket;
mod values;

pub use chain::{Chain, Step};
pub use decide::{Action, DeviceFacts, Grant, Question, decide};
pub use difference::difference;
pub use document::{
    ActionKind, Devices, Gateway, GrantLine, LogIdentity, Person, Policy, Recording, Risk, Root, Runbooks, Serves,
};
pub use explain::{Explained, Fit, Kind, Meaning, Named, explain};
pub use forward::ForwardRule;
pub use glob::{DevicePattern, Glob};
pub use hours::Hours;
pub use policies::Policies;
pub use reach::{any_grant, in_tenant, may_anywhere, runbook_signer, why_nobody};
pub use refusal::Refusal;
pub use ticket::TicketPattern;
pub(crate) use values::check_recipient;

#[cfg(test)]
pub(crate) mod tests;
