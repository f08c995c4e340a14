//! A device asks for its next transport certificate: it proves itself by its host key, whatever its last one is worth.
//!
//! Nothing is recorded here: a certificate permits nothing, and the connection it is for is recorded when it is there.

use super::{enrol::JoinRefusal, strangers};
use crate::Gateway;
use belay_certs::{
    Digest, Invalid,
    renewal::{self, RenewalRequest},
    transport,
};
use belay_protocol::RenewalAsked;
use std::time::Instant;

/// The one text for whoever did not prove a device's host key, whether there is such a device or not (P3).
const STRANGE_DEVICE: &str = "no device of this gateway asked for this certificate: the request is not signed by the host key of one that joined here";

/// What a device is told that asks again and again: one that is copied, or broken.
const TOO_OFTEN: &str = "this device got many certificates in a short time; it gets the next one later";

/// A certificate for the device that proves its host key on the TLS connection `channel`.
pub(crate) async fn renew(
    gateway: &Gateway,
    asked: RenewalAsked,
    channel: Option<Digest>,
    address: String,
) -> Result<Vec<Vec<u8>>, JoinRefusal> {
    let began = Instant::now();
    match check(gateway, &asked, channel).await {
        Ok(chain) => Ok(chain),
        Err(Some(told)) => Err(JoinRefusal(told)),
        Err(None) => {
            strangers::turn_away(gateway, began, format!("{address} asked for a device's certificate")).await;
            Err(JoinRefusal(STRANGE_DEVICE.to_owned()))
        }
    }
}

/// The certificate, or what a device that proved itself is told; nothing for a stranger.
async fn check(
    gateway: &Gateway,
    asked: &RenewalAsked,
    channel: Option<Digest>,
) -> Result<Vec<Vec<u8>>, Option<String>> {
    let stranger = |_: Invalid| None;
    let broken = |error: &dyn std::fmt::Display| Some(crate::broken(error).sentence);
    let join = RenewalRequest::parse(&asked.request).map_err(stranger)?.join;
    let transport_key = transport::csr_key_digest(&asked.csr).map_err(stranger)?;
    let channel = channel.ok_or_else(|| broken(&"TLS gives no keying material"))?;
    let row = gateway.store.device_by_join(join).await.map_err(|error| broken(&error))?.ok_or(None)?;
    let host_key = row.host_key().map_err(|error| broken(&error))?;
    renewal::check(&asked.request, &asked.by_host_key, &host_key, &channel, &transport_key).map_err(stranger)?;
    if let Some(reason) = gateway.barred(&row.standing()) {
        return Err(Some(reason));
    }
    if !gateway.noise.certificates.take(join, Instant::now()) {
        return Err(Some(TOO_OFTEN.to_owned()));
    }
    let chain = gateway.transport.for_device(&asked.csr, join, gateway.now()).map_err(|error| broken(&error))?;
    if gateway.noise.lines.take(join, Instant::now()) {
        tracing::info!(%join, "a device got a new certificate by its host key");
    }
    Ok(chain)
}
