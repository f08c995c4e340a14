//! A machine that wants to become a device: one question, one answer.

use super::frames::{self, Frames};
use crate::{Gateway, act::enrol, limits, relay::presence::close};
use belay_protocol::{CloseCode, GatewayPhase, JoinAnswer, JoinAsked, JoinRefused, decode_frame};
use quinn::Connection;
use std::sync::Arc;

/// Answers one join request; the machine closes when it has the answer. A stop waits for no machine: it asks again.
pub(crate) async fn serve(gateway: Arc<Gateway>, connection: Connection) {
    if gateway.stop.run_until_cancelled(converse(&gateway, &connection)).await.is_none() {
        close(&connection, CloseCode::Draining);
    }
}

async fn converse(gateway: &Gateway, connection: &Connection) {
    match tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, answer(gateway, connection)).await {
        Ok(Ok(())) => {}
        Ok(Err(frames::Ended::Misbehaved(wrong))) => close(connection, wrong.close_code()),
        Ok(Err(frames::Ended::Lost(_))) => {}
        Err(_) => close(connection, CloseCode::TooSlow),
    }
    // The answer counts only when the machine has it: it closes, or the idle time ends it.
    let _ = tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, connection.closed()).await;
}

async fn answer(gateway: &Gateway, connection: &Connection) -> Result<(), frames::Ended> {
    let (mut send, recv) = connection.accept_bi().await.map_err(|error| frames::Ended::Lost(error.to_string()))?;
    let mut incoming = Frames::new(recv, GatewayPhase::AwaitingJoin);
    let asked: JoinAsked = decode_frame(&incoming.next().await?)?;
    let address = connection.remote_address().to_string();
    let answer = match enrol::join(gateway, asked, address).await {
        Ok(accepted) => JoinAnswer::JoinAccepted(accepted),
        Err(refused) => JoinAnswer::JoinRefused(JoinRefused { sentence: refused.sentence() }),
    };
    let frame = answer.encode().map_err(|error| frames::Ended::Lost(error.to_string()))?;
    frames::write(&mut send, &frame).await?;
    let _ = send.finish();
    Ok(())
}
