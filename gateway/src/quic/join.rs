//! A machine that shows no certificate: it wants to become a device, or is one and wants its next certificate.

use super::frames::{self, Frames};
use crate::{
    Gateway,
    act::{enrol, renewal},
    limits,
    relay::presence::close,
    threshold::places::Place,
};
use belay_certs::{
    Digest,
    renewal::{CHANNEL_BYTES, CHANNEL_LABEL},
};
use belay_protocol::{
    CertificateIssued, CloseCode, GatewayPhase, JoinAnswer, JoinQuestion, JoinRefused, Misbehaved, RenewalAnswer,
    Unsendable,
};
use quinn::Connection;
use std::sync::Arc;

/// Answers one join request; the machine closes when it has the answer. A stop waits for no machine: it asks again.
///
/// Its place is its own until it was answered. Whoever loses it asks again; what was recorded meanwhile answers then.
pub(crate) async fn serve(gateway: Arc<Gateway>, connection: Connection, place: Place) {
    let displaced = place.displaced();
    tokio::select! {
        () = converse(&gateway, &connection, place) => {}
        () = gateway.stop.cancelled() => close(&connection, CloseCode::Draining),
        () = displaced.cancelled() => close(&connection, CloseCode::Busy),
    }
}

async fn converse(gateway: &Gateway, connection: &Connection, place: Place) {
    match tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, answer(gateway, connection)).await {
        Ok(Ok(())) => {}
        Ok(Err(frames::Ended::Misbehaved(wrong))) => close(connection, wrong.close_code()),
        Ok(Err(frames::Ended::Lost(_))) => {}
        Err(_) => close(connection, CloseCode::TooSlow),
    }
    drop(place);
    // The answer counts only when the machine has it: it closes, or the idle time ends it.
    let _ = tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, connection.closed()).await;
}

async fn answer(gateway: &Gateway, connection: &Connection) -> Result<(), frames::Ended> {
    let (mut send, recv) = connection.accept_bi().await.map_err(|error| frames::Ended::Lost(error.to_string()))?;
    gateway.threshold.join(connection.remote_address().ip()).await;
    let mut incoming = Frames::new(recv, GatewayPhase::AwaitingJoin);
    let frame = incoming.next().await?;
    let kind = frame.kind;
    let question = JoinQuestion::decode(&frame)?.ok_or(Misbehaved::Misdirected { kind })?;
    let frame = reply(gateway, connection, question).await.map_err(|error| frames::Ended::Lost(error.to_string()))?;
    frames::write(&mut send, &frame).await?;
    let _ = send.finish();
    Ok(())
}

/// The answer as a frame.
async fn reply(gateway: &Gateway, connection: &Connection, question: JoinQuestion) -> Result<Vec<u8>, Unsendable> {
    let address = connection.remote_address().to_string();
    match question {
        JoinQuestion::JoinAsked(asked) => match enrol::join(gateway, asked, address).await {
            Ok(accepted) => JoinAnswer::JoinAccepted(accepted),
            Err(refused) => JoinAnswer::JoinRefused(JoinRefused { sentence: refused.sentence() }),
        }
        .encode(),
        JoinQuestion::RenewalAsked(asked) => match renewal::renew(gateway, asked, channel(connection), address).await {
            Ok(chain) => RenewalAnswer::CertificateIssued(CertificateIssued { chain }),
            Err(refused) => RenewalAnswer::JoinRefused(JoinRefused { sentence: refused.sentence() }),
        }
        .encode(),
    }
}

/// What names this TLS connection to both of its ends and to nobody else; none if the library cannot tell.
fn channel(connection: &Connection) -> Option<Digest> {
    let mut material = [0; CHANNEL_BYTES];
    connection.export_keying_material(&mut material, CHANNEL_LABEL, b"").ok()?;
    Some(Digest::of(&material))
}

#[cfg(test)]
mod tests;
