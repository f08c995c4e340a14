//! What operators stop, as its entries say it. Who did it is in the envelope.

use crate::freeze::Frozen;
use belay_certs::{Id, PersonRef};
use serde::{Deserialize, Serialize};

/// A person ended somebody's session: the gateway closes the access that carries it. The device is in the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKilled {
    /// Which.
    pub session: Id,
    /// The outer connection that carries it, and ends with everything that it carries.
    pub access: Id,
    /// Whose session it is.
    pub of: PersonRef,
}

/// From here on nothing starts there, and what went on is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeBegun {
    /// A tenant, a device or a person.
    pub frozen: Frozen,
    /// The fingerprint of the frozen device's host key: whatever it is called from now on, it is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// From here on things start there again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeLifted {
    /// A tenant, a device or a person.
    pub frozen: Frozen,
}
