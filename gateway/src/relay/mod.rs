//! The relay: which devices are connected, and raw bytes between a person and a device.
//!
//! Nothing here decides, records or understands what it carries.

pub(crate) mod bulk;
pub(crate) mod presence;
pub(crate) mod splice;
