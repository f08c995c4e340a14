//! The QUIC endpoint: TLS with the gateway's own CA, lean transport settings, Retry under load.

use crate::limits;
use anyhow::Context;
use belay_certs::{Timestamp, transport::TransportCa};
use belay_protocol::{ALPN, ALPN_JOIN};
use quinn::{Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt, congestion::NewRenoConfig};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

/// Opens the door for devices on `listen`, and gives its socket once more, for nudges. A fresh server certificate is made at
/// every start.
pub(crate) fn open(
    listen: SocketAddr,
    name: &str,
    ca: &TransportCa,
    now: Timestamp,
) -> anyhow::Result<(Endpoint, UdpSocket)> {
    let mut server = ServerConfig::with_crypto(Arc::new(crypto(name, ca, now)?));
    server.transport_config(Arc::new(transport()?));
    server.max_incoming(limits::HANDSHAKES_BEFORE_RETRY * 4);
    let socket = UdpSocket::bind(listen).with_context(|| format!("UDP {listen} cannot be listened on"))?;
    let again = socket.try_clone().context("the UDP socket could not be shared")?;
    let endpoint = Endpoint::new(endpoint(ca), Some(server), socket, Arc::new(quinn::TokioRuntime))
        .context("the QUIC endpoint could not be opened")?;
    Ok((endpoint, again))
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

/// Devices prove a certificate of our CA; machines that join have none yet, so the check of *who* is at the door (P2:
/// a certificate carries no authority). No resumption: a resumed session would skip the certificate check.
fn crypto(name: &str, ca: &TransportCa, now: Timestamp) -> anyhow::Result<quinn::crypto::rustls::QuicServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.certificate_der().to_vec()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let issued = ca.issue_server(name, now, limits::TRANSPORT_DAYS)?;
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

fn transport() -> anyhow::Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
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
