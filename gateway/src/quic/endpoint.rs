//! The QUIC endpoint: TLS with the gateway's own CA, lean transport settings, Retry under load.

use super::batches::Batches;
use crate::{Gateway, limits, relay::bulk::Bulk, transport::Transport};
use anyhow::Context;
use belay_certs::{
    Timestamp,
    time::SECOND,
    transport::{self, Issued, TransportCa},
};
use belay_protocol::{ALPN, ALPN_JOIN};
use quinn::{
    AckFrequencyConfig, Endpoint, EndpointConfig, IdleTimeout, Runtime, ServerConfig, TokioRuntime, TransportConfig,
    VarInt, congestion::NewRenoConfig,
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustix::net::sockopt;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

/// How long a new certificate is not tried again after a failure, in the unit of timestamps.
const CERTIFICATE_RETRY: i64 = 60 * SECOND;

/// Opens the door for devices on `listen`, and gives its socket once more, for nudges.
pub(crate) fn open(
    listen: SocketAddr,
    certificates: &Transport,
    bulk: Arc<Bulk>,
    now: Timestamp,
) -> anyhow::Result<(Endpoint, UdpSocket)> {
    let (server, _) = server_config(certificates, now)?;
    let socket = UdpSocket::bind(listen).with_context(|| format!("UDP {listen} cannot be listened on"))?;
    widen(&socket);
    let again = socket.try_clone().context("the UDP socket could not be shared")?;
    let opened = || {
        let runtime = Arc::new(TokioRuntime);
        let socket = Arc::new(Batches { socket: runtime.wrap_udp_socket(socket)?, bulk });
        Endpoint::new_with_abstract_socket(endpoint(&certificates.ca()), Some(server), socket, runtime)
    };
    Ok((opened().context("the QUIC endpoint could not be opened")?, again))
}

/// All devices share one socket: what a fleet answers at once waits in its buffer, and what finds no room there is lost and
/// comes a second later. The kernel may give less than is asked for; the gateway works with that too.
fn widen(socket: &UdpSocket) {
    let bytes = limits::UDP_BUFFER_BYTES;
    let given = sockopt::set_socket_recv_buffer_size(socket, bytes)
        .and_then(|()| sockopt::set_socket_send_buffer_size(socket, bytes))
        .and_then(|()| sockopt::socket_recv_buffer_size(socket));
    match given {
        // Linux gives twice what it was asked for, and counts its own structures in it.
        Ok(given) if given >= bytes => {}
        Ok(given) => tracing::info!(
            "the UDP socket may keep {given} bytes for {bytes} that were asked for: thousands of devices that answer at once \
             lose packets and are slow then; raise net.core.rmem_max and net.core.wmem_max to {bytes}"
        ),
        Err(error) => tracing::warn!("the buffers of the UDP socket could not be set: {error}"),
    }
}

/// Shows a new certificate, with a new key, whenever the one in use has lived two thirds of its life or the CA was
/// exchanged. Connections that are there go on; what fails is tried again.
pub(super) async fn keep_certificate(gateway: &Gateway, endpoint: &Endpoint) {
    let mut changes = gateway.transport.changes();
    let mut due;
    loop {
        changes.borrow_and_update();
        match server_config(&gateway.transport, gateway.now()) {
            Ok((server, renew_at)) => {
                endpoint.set_server_config(Some(server));
                due = renew_at;
            }
            Err(error) => {
                tracing::error!("no new transport certificate could be made: {error:#}");
                due = gateway.now().plus(CERTIFICATE_RETRY);
            }
        }
        loop {
            let left = u64::try_from(due.micros().saturating_sub(gateway.now().micros())).unwrap_or(0);
            let wait =
                Duration::from_micros(left).clamp(limits::CERTIFICATE_LOOK_LEAST, limits::CERTIFICATE_LOOK_EVERY);
            tokio::select! {
                _ = changes.changed() => break,
                () = tokio::time::sleep(wait) => if gateway.now() >= due { break },
            }
        }
    }
}

/// What new connections are served with, and when it is to be replaced.
fn server_config(certificates: &Transport, now: Timestamp) -> anyhow::Result<(ServerConfig, Timestamp)> {
    let issued = certificates.for_gateway(now)?;
    let leaf = issued.chain.first().context("an issued chain is never empty")?;
    let (renew_at, _) = transport::renewal(leaf)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto(&certificates.ca(), issued)?));
    server.transport_config(Arc::new(lean()?));
    server.max_incoming(limits::HANDSHAKES_MAX * 4);
    Ok((server, renew_at))
}

/// Connection ids and the key of stateless resets are the same at every start: a device that goes on speaking to a gateway
/// that was killed is told with its next packet that the connection is gone, instead of finding out by its idle time.
fn endpoint(ca: &TransportCa) -> EndpointConfig {
    let (_, secret) = ca.to_pem();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let derived = |what: &str| hmac::sign(&secret, what.as_bytes());
    let mut config =
        EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, derived("belay quic reset").as_ref())));
    let seed =
        derived("belay quic connection ids").as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(seed)))
        .min_reset_interval(limits::QUIC_RESET_EVERY);
    config
}

/// Devices prove a certificate of our CA, or of the one before it until that is retired; machines that join have none yet, so the check of *who* is at the door (P2:
/// a certificate carries no authority). No resumption: a resumed session would skip the certificate check.
fn crypto(ca: &TransportCa, issued: Issued) -> anyhow::Result<quinn::crypto::rustls::QuicServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    ca.roots().into_iter().try_for_each(|root| roots.add(CertificateDer::from(root.to_vec())))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let chain = issued.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key_der));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_JOIN.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls.try_into()?)
}

fn lean() -> anyhow::Result<TransportConfig> {
    let (mut transport, mut acknowledged) = (TransportConfig::default(), AckFrequencyConfig::default());
    acknowledged.ack_eliciting_threshold(VarInt::from_u32(limits::QUIC_UNACKNOWLEDGED_MAX));
    transport
        .ack_frequency_config(Some(acknowledged))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::STREAMS_FROM_DEVICE_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits::QUIC_STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(limits::QUIC_CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(limits::QUIC_CONNECTION_WINDOW_BYTES))
        .max_idle_timeout(Some(IdleTimeout::try_from(limits::QUIC_IDLE)?))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(NewRenoConfig::default()));
    Ok(transport)
}
