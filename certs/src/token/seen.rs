//! What tokens and approvals have in common: a person who knew one version of the policy signed them at some moment.
//!
//! Not here: the documents (`token`, `device`), nor whether the person may (`policy::decide`).

use crate::limits::CLOCK_AHEAD_MICROS_MAX;
use crate::{
    Digest, Timestamp,
    invalid::{Fault, Invalid},
    policy::{Chain, Refusal},
};

/// The version the signer saw must not be newer than the one held, nor be another one under the same number.
///
/// A newer one would mean that somebody hides it from us.
pub(crate) fn check_version(chain: &Chain, version: u64, digest: &Digest) -> Result<(), Invalid> {
    let (held, tenant) = (chain.version(), chain.tenant());
    if version > held {
        return Err(Invalid::new(
            Fault::Mismatch,
            format!(
                "was signed under version {version} of the policy of {tenant}, but version {held} is held here: push it first"
            ),
        ));
    }
    if version == held && *digest != chain.digest() {
        return Err(Invalid::new(
            Fault::Fork,
            format!("was signed under another version {version} of the policy of {tenant} than the one held here"),
        ));
    }
    Ok(())
}

/// `issued` must not lie in the future.
pub(crate) fn check_issued(issued: Timestamp, now: Timestamp) -> Result<(), Invalid> {
    if issued > now.plus(CLOCK_AHEAD_MICROS_MAX) {
        let sentence = format!("was issued at {issued}, but the clock here says {now}: set the clock that is wrong");
        return Err(Invalid::new(Fault::Clock, sentence));
    }
    Ok(())
}

/// A refused action as a refused document.
pub(crate) fn refused(refusal: &Refusal) -> Invalid {
    let fault = match refusal {
        Refusal::PolicyExpired { .. } => Fault::Expired,
        Refusal::Clock { .. } | Refusal::ClockSetBack { .. } | Refusal::ClockBehindGateway { .. } => Fault::Clock,
        Refusal::DeviceRevoked { .. } => Fault::Spent,
        Refusal::ForeignDevice { .. } => Fault::ForeignTenant,
        Refusal::UnknownKey
        | Refusal::AmbiguousKey { .. }
        | Refusal::NoGrant { .. }
        | Refusal::ActionNotGranted { .. }
        | Refusal::AccountMissing { .. }
        | Refusal::AccountNotGranted { .. }
        | Refusal::OutsideHours { .. }
        | Refusal::TicketMissing { .. }
        | Refusal::TicketWrong { .. }
        | Refusal::ForwardNotGranted { .. }
        | Refusal::RunbookNotGranted { .. }
        | Refusal::RiskNotGranted { .. }
        | Refusal::TooManyDevices { .. }
        | Refusal::AgentTooOld { .. } => Fault::WrongSigner,
    };
    Invalid::new(fault, refusal.to_string())
}
