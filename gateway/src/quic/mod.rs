//! The door for machines: QUIC connections come in here, with a device's certificate or with a wish to join.
//!
//! Turns bytes into asks. What a device may do is decided by the rules and, in the end, by the device itself.

mod batches;
mod device;
mod endpoint;
mod frames;
mod join;
pub(crate) mod noise;
pub(crate) mod nudge;
mod offers;
mod outputs;
mod recordings;
mod statements;

use crate::{Gateway, limits, relay::presence::close};
use belay_protocol::{ALPN, ALPN_JOIN, CloseCode};
use quinn::{Connection, Endpoint, Incoming, crypto::rustls::HandshakeData};
use std::{pin::pin, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use endpoint::open;

/// Accepts connections until the gateway stops, with a certificate that never ends.
pub(crate) async fn serve(gateway: Arc<Gateway>, endpoint: Endpoint) {
    tokio::select! {
        () = accept(&gateway, &endpoint) => {}
        () = endpoint::keep_certificate(&gateway, &endpoint) => {}
    }
    endpoint.set_server_config(None);
}

async fn accept(gateway: &Arc<Gateway>, endpoint: &Endpoint) {
    loop {
        let incoming = tokio::select! {
            biased;
            () = gateway.stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        if endpoint.open_connections() > limits::DEVICES_MAX {
            incoming.refuse();
        } else {
            let unproved = match incoming.remote_address_validated() {
                true => None,
                false => match Arc::clone(&gateway.unproved).try_acquire_owned() {
                    Ok(permit) => Some(permit),
                    Err(_) => {
                        // Under load a caller first proves that its address is its own. It fails only for one who has.
                        let _ = incoming.retry();
                        continue;
                    }
                },
            };
            let gateway = Arc::clone(gateway);
            let tracker = gateway.tracker.clone();
            tracker.spawn(async move { greet(gateway, incoming, unproved).await });
        }
    }
}

/// One connection from its handshake to its end.
async fn greet(gateway: Arc<Gateway>, incoming: Incoming, unproved: Option<OwnedSemaphorePermit>) {
    let from = incoming.remote_address();
    // The place comes first: whoever loses it loses the wait and the handshake too.
    let place = gateway.threshold.admit(from.ip());
    let displaced = place.displaced();
    let connecting = async {
        let connection = displaced.run_until_cancelled(shake_hands(&gateway.handshakes, incoming)).await??;
        Some((connection, place))
    };
    let in_time = tokio::time::timeout(limits::FIRST_MESSAGE_WAIT, connecting);
    // On the heap, as is every stage that is over when a device is idle.
    let connected = Box::pin(gateway.stop.run_until_cancelled(in_time)).await;
    drop(unproved);
    let Some(Ok(Some((connection, place)))) = connected else {
        return tracing::debug!(%from, "a handshake failed or was too slow");
    };
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    match protocol.as_deref() {
        Some(ALPN) => device::serve(gateway, connection, place).await,
        // On the heap: the task of an idle device would keep room for a join.
        Some(ALPN_JOIN) => Box::pin(join::serve(gateway, connection, place)).await,
        _ => close(&connection, CloseCode::Incompatible),
    }
}

/// A handshake, paced so that not too many keep our processors busy at once.
///
/// Turns bound no memory, places do. So nobody who is silent holds a turn for long, and nobody waits for one for long.
async fn shake_hands(turns: &Semaphore, incoming: Incoming) -> Option<Connection> {
    let turn = tokio::time::timeout(limits::HANDSHAKE_TURN_WAIT, turns.acquire()).await;
    let mut connecting = pin!(incoming.into_future());
    let connected = match tokio::time::timeout(limits::HANDSHAKE_TURN, &mut connecting).await {
        Ok(connected) => connected,
        Err(_) => {
            drop(turn);
            connecting.await
        }
    };
    connected.ok()
}
