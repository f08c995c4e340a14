//! The next transport certificate: before the one in use ends, and when the gateway does not take it any more, because it ended
//! while the machine was switched off or its CA was retired. The host key proves who asks; nobody has to come to the machine.

use super::{
    ask::{ask_renewal, channel},
    endpoint::{self, Dial, Dialled, dial},
    frames::Ended,
};
use crate::{
    device::Device,
    limits::{JOIN_WAIT, RENEW_CHECK_EVERY, RENEW_CHECK_LEAST},
    state::identity::Identity,
    words::heard,
};
use belay_certs::{
    Timestamp,
    renewal::{self, RenewalRequest},
};
use belay_protocol::{ALPN_JOIN, CloseCode, RenewalAnswer, RenewalAsked};
use quinn::{Connection, ConnectionError};
use std::time::Duration;

/// What TLS alerts about a peer's certificate begin with, as QUIC carries them (RFC 9001, 4.8): `bad_certificate`.
const CERTIFICATE_ALERT_FIRST: u64 = 0x100 + 42;
/// The last of them: `decrypt_error`, for a signature that is another CA's of the same name (RFC 8446, 6.2).
const CERTIFICATE_ALERT_LAST: u64 = 0x100 + 51;

/// Whether the gateway ended the connection because it does not take our certificate.
pub(super) fn certificate_refused(connection: &Connection) -> bool {
    match connection.close_reason() {
        Some(ConnectionError::ConnectionClosed(close)) => {
            (CERTIFICATE_ALERT_FIRST..=CERTIFICATE_ALERT_LAST).contains(&u64::from(close.error_code))
        }
        Some(_) | None => false,
    }
}

/// Gets the next certificate from the gateway at `address` whenever the time has come, and again until it is there. It never
/// comes back. The connection in use goes on with the old one, and the next shows the new one.
pub(super) async fn keep_fresh(device: &Device, identity: &Identity, address: &str) -> Ended {
    loop {
        let now = device.authority.clock().now();
        let due = identity.renew_at();
        if due.is_some_and(|at| now >= at) {
            match renew(device, identity, address).await {
                Ok(()) => tracing::info!("the transport certificate was renewed"),
                Err(why) => tracing::warn!("{address} gave no new transport certificate: {why}"),
            }
        }
        // Whoever was refused just now asks again after as long as a certificate with a short life allows.
        let left = identity.renew_at().map_or(RENEW_CHECK_EVERY, |at| until(now, at).max(identity.patience()));
        tokio::time::sleep(left.clamp(RENEW_CHECK_LEAST, RENEW_CHECK_EVERY)).await;
    }
}

/// The time from `now` to `then`, none when that is over.
fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(then.micros().saturating_sub(now.micros())).unwrap_or(0))
}

/// Asks the gateway at `address` for a new certificate and keeps it.
///
/// Cut off half-way: the old one is there, and asks again. `kill -9` likewise, until the new one is durable.
///
/// # Errors
/// A sentence that says why there is none.
pub(super) async fn renew(device: &Device, identity: &Identity, address: &str) -> Result<(), String> {
    let gateway = device.authority.gateway();
    let with = Dial { address, transport_ca: &gateway.transport_ca, alpn: ALPN_JOIN, shown: None };
    let dialled = dial(&with).await.map_err(|unreached| unreached.to_string())?;
    let asked = tokio::time::timeout(JOIN_WAIT, converse(device, identity, &dialled)).await;
    dialled.close(CloseCode::Finished).await;
    match asked {
        Ok(Ok(RenewalAnswer::CertificateIssued(issued))) => {
            identity.issued(issued.chain, endpoint::fits).map_err(|error| heard(&error.to_string()))
        }
        Ok(Ok(RenewalAnswer::JoinRefused(refused))) => {
            Err(format!("the gateway refused: {}", heard(&refused.sentence)))
        }
        Ok(Err(ended)) => Err(ended.to_string()),
        Err(_) => Err(format!("it was silent for {} s", JOIN_WAIT.as_secs())),
    }
}

async fn converse(device: &Device, identity: &Identity, dialled: &Dialled) -> Result<RenewalAnswer, Ended> {
    let unmade = |refused: belay_certs::Invalid| Ended::Broken(refused.to_string());
    let asked = identity.ask().map_err(unmade)?;
    let request = RenewalRequest {
        join: identity.join(),
        transport_key: asked.key,
        channel: channel(dialled)?,
        issued: device.authority.clock().now().whole_second(),
    };
    let (request, by_host_key) = renewal::sign(&request, &device.host_key).map_err(unmade)?;
    ask_renewal(dialled, &RenewalAsked { request, by_host_key, csr: asked.csr }).await
}
