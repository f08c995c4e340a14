//! What a run printed, held against the digest that its device signed when the run ended.
//!
//! Not here: how that is proved (`job`), and what becomes of the bytes.

use crate::{
    failure::{Outcome, refused},
    gateway::Gateway,
};
use belay_certs::{DeviceAddress, Digest, Id, statement::RunEnd};

/// What the gateway has of an output.
#[derive(Debug, PartialEq, Eq)]
pub enum Printed {
    /// All of it: it is what the device signed.
    Proved(Vec<u8>),
    /// So much of it; the device has the rest, and nothing proves this part.
    Beginning {
        /// What there is.
        file: Vec<u8>,
        /// Bytes that have not come.
        missing: u64,
    },
}

/// Fetches the output file of a device, of which `end`, in the log at `index`, states `digest`.
///
/// # Errors
/// The gateway has none, or another.
pub fn fetch(
    gateway: &Gateway<'_>,
    job: &Id,
    device: &DeviceAddress,
    (end, digest, index): (&RunEnd, Digest, u64),
) -> Outcome<Printed> {
    let file = any(gateway, job, device)?;
    let (found, length) = (Digest::of(&file), file.len() as u64);
    if found == digest {
        return Ok(Printed::Proved(file));
    }
    if length < end.output_bytes {
        return Ok(Printed::Beginning { file, missing: end.output_bytes - length });
    }
    Err(refused(format!(
        "{device}: the gateway has an output of {length} bytes with the digest {found}, and the device signed one of {} bytes \
         with {digest} (entry {index}): what the gateway has was altered, and is neither shown nor packed",
        end.output_bytes
    )))
}

/// Whatever the gateway has of it.
///
/// # Errors
/// It has none.
pub fn any(gateway: &Gateway<'_>, job: &Id, device: &DeviceAddress) -> Outcome<Vec<u8>> {
    gateway.run(&["job", &job.to_string(), "--device", device.device.as_str(), "--output"], &[])
}
