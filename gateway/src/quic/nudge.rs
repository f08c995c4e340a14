//! Waking the devices that were connected when the gateway's last run ended: they may not know yet that it did (PROTOCOL.md,
//! The nudge).
//!
//! Not here: who they are (the store), and the stateless resets that answer what they then say (`endpoint.rs`).

use crate::{Gateway, limits};
use belay_certs::{Id, Timestamp};
use belay_protocol::nudge::NUDGE;
use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

/// The devices that may believe that they are connected, and where they called from. Asked before the start is recorded: that
/// record says that nobody is connected.
pub(crate) async fn sleepers(gateway: &Gateway, now: Timestamp) -> anyhow::Result<Vec<(Id, SocketAddr)>> {
    let idle = i64::try_from(limits::QUIC_IDLE.as_micros())?;
    let since = Timestamp::from_micros(now.micros().saturating_sub(idle));
    let found = gateway.store.connected_since(since, limits::DEVICES_MAX).await?;
    // An address that we wrote and cannot read is no reason not to start.
    Ok(found.into_iter().filter_map(|(join, address)| Some((join, address.parse().ok()?))).collect())
}

/// Nudges them from `socket`, the one that devices are served on, until the gateway stops.
///
/// Cut off half-way: whoever was not nudged hears with its next keep-alive.
pub(crate) async fn wake(gateway: Arc<Gateway>, socket: UdpSocket, mut sleepers: Vec<(Id, SocketAddr)>) {
    let waking = async {
        for rest in limits::NUDGE_RESTS {
            tokio::time::sleep(rest).await;
            sleepers.retain(|(join, _)| !gateway.presence.is_present(*join));
            send(&socket, &sleepers).await;
        }
    };
    gateway.stop.run_until_cancelled(waking).await;
}

/// One nudge to each, [`limits::NUDGES_PER_SECOND`] at most.
async fn send(socket: &UdpSocket, to: &[(Id, SocketAddr)]) {
    const TICKS: usize = 50;
    for some in to.chunks(limits::NUDGES_PER_SECOND / TICKS) {
        for (_, address) in some {
            // One that does not leave is one that was lost.
            if let Err(error) = socket.send_to(&NUDGE, address) {
                tracing::debug!(%address, "a nudge did not leave: {error}");
            }
        }
        tokio::time::sleep(Duration::from_secs(1) / TICKS as u32).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Scene;
    use std::time::Instant;

    #[tokio::test]
    async fn whoever_is_not_back_is_nudged_each_time_and_whoever_is_gone_is_left_alone() {
        let scene = Scene::new().await;
        tokio::time::pause();
        let (device, ours) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let asleep = (Id([1; 16]), device.local_addr().unwrap());
        wake(Arc::clone(&scene.gateway), ours.try_clone().unwrap(), vec![asleep]).await;
        device.set_nonblocking(true).unwrap();
        for _ in limits::NUDGE_RESTS {
            let mut bytes = [0; 64];
            let (length, from) = device.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from), (&NUDGE[..], ours.local_addr().unwrap()));
        }
        assert!(device.recv_from(&mut [0; 64]).is_err(), "no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_thousand_are_nudged_over_twenty_seconds() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let sleepers: Vec<_> = (0..20_000).map(|_| (Id([1; 16]), to)).collect();
        let (began, clock) = (tokio::time::Instant::now(), Instant::now());
        send(&ours, &sleepers).await;
        assert_eq!(began.elapsed().as_secs(), 20, "{:?} of real time", clock.elapsed());
    }
}
