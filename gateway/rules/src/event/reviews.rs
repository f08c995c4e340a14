//! What auditors say of what was done, as their entries say it. Who said it is in the envelope, and of a session its device.

use crate::review::{Kind, Opinion};
use belay_certs::Id;
use serde::{Deserialize, Serialize};

/// A person has looked at a session or a job. Of several opinions the newest counts; all of them stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewGiven {
    /// Which session or job.
    pub subject: Id,
    /// Which of the two it is.
    pub of: Kind,
    /// What they think of it.
    pub verdict: Opinion,
    /// In their own words.
    pub note: String,
}
