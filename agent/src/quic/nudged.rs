//! The UDP socket of a connection, with an ear for the one datagram that is not QUIC: the gateway's nudge (PROTOCOL.md).
//!
//! Not here: what the agent says when it is nudged (`control.rs`).

use belay_protocol::nudge::is_nudged;
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Notify;

/// An endpoint on `local` for a connection to `gateway`; the bell rings when that address nudges.
pub(super) fn endpoint(local: SocketAddr, gateway: SocketAddr) -> io::Result<(Endpoint, Arc<Notify>)> {
    let (runtime, bell) = (Arc::new(TokioRuntime), Arc::new(Notify::new()));
    let socket = runtime.wrap_udp_socket(UdpSocket::bind(local)?)?;
    let listening = Arc::new(Listening { socket, gateway, bell: bell.clone() });
    let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, listening, runtime)?;
    Ok((endpoint, bell))
}

/// A socket that looks at what comes in before QUIC does, and takes nothing away: QUIC drops what is not QUIC.
#[derive(Debug)]
struct Listening {
    socket: Arc<dyn AsyncUdpSocket>,
    /// Whose nudges count.
    gateway: SocketAddr,
    bell: Arc<Notify>,
}

impl AsyncUdpSocket for Listening {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            let came = bufs.iter().zip(meta.iter()).take(count);
            let ours = came.filter(|(_, meta)| meta.addr == self.gateway);
            let mut bytes = ours.filter_map(|(buffer, meta)| Some((buffer.get(..meta.len)?, meta.stride)));
            if bytes.any(|(bytes, stride)| is_nudged(bytes, stride)) {
                self.bell.notify_one();
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_protocol::nudge::NUDGE;
    use std::{
        future::{Future, poll_fn},
        pin::pin,
    };

    /// Takes in the next datagram; whether it rang the bell.
    async fn rings(listening: &Listening) -> bool {
        let (mut bytes, mut meta) = ([0_u8; 2048], [RecvMeta::default()]);
        let taken = poll_fn(|cx| listening.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta)).await;
        assert_eq!(taken.unwrap(), 1);
        let mut rung = pin!(listening.bell.notified());
        poll_fn(|cx| Poll::Ready(rung.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn the_bell_rings_for_a_nudge_of_the_gateway_and_for_nothing_else() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (gateway, stranger, ours) = (bind(), bind(), bind());
        let to = ours.local_addr().unwrap();
        let socket = TokioRuntime.wrap_udp_socket(ours).unwrap();
        let listening = Listening { socket, gateway: gateway.local_addr().unwrap(), bell: Arc::new(Notify::new()) };
        for (from, bytes, expected) in
            [(&stranger, &NUDGE[..], false), (&gateway, b"\x0bbelay", false), (&gateway, &NUDGE[..], true)]
        {
            from.send_to(bytes, to).unwrap();
            assert_eq!(rings(&listening).await, expected, "{bytes:?}");
        }
    }
}
