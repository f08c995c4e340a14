//! How the gateway is reached and known: TLS 1.3 to a server certificate of a CA whose fingerprint the policy (or the token)
//! names. Nothing is said before that check.
//!
//! The server's name is not compared: the CA is the gateway's own and certifies nothing else for servers, and a gateway may
//! be dialled by address, through a forwarded port or under a second name.

use super::nudged;
use crate::{limits::*, state::identity::Transport, words::heard};
use belay_certs::{Digest, transport};
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, Endpoint, TransportConfig, VarInt, congestion::NewRenoConfig,
    crypto::rustls::QuicClientConfig,
};
use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// What a TLS handshake is started with.
pub(crate) struct Dial<'a> {
    /// The gateway as `host:port`.
    pub(crate) address: &'a str,
    /// SHA-256 of the CA certificates that may have certified it.
    pub(crate) transport_ca: &'a [Digest],
    /// The application protocol.
    pub(crate) alpn: &'a [u8],
    /// What the agent shows; none while joining.
    pub(crate) shown: Option<&'a Transport>,
}

/// Why a gateway could not be reached at one address.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// The name has no address.
    #[error("{address} has no address: {source}")]
    NoAddress {
        /// The gateway as the policy names it.
        address: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// It does not answer, or not as our gateway.
    #[error("{address} was not reached: {why}")]
    NoGateway {
        /// The gateway as the policy names it.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// This machine cannot even try.
    #[error("this machine cannot dial: {0}")]
    Here(String),
}

/// A connection with the socket it lives on.
pub(crate) struct Dialled {
    /// Dropped last: closing it early would cut off the closing words.
    endpoint: Endpoint,
    /// The connection.
    pub(crate) connection: Connection,
    /// Rung when the gateway nudges.
    pub(crate) nudged: Arc<Notify>,
}

impl Dialled {
    /// Waits until the other side knows that the connection is closed, for at most a moment.
    pub(crate) async fn close(self, code: belay_protocol::CloseCode) {
        self.connection.close(VarInt::from_u32(code.code()), code.meaning().as_bytes());
        let _ = tokio::time::timeout(CLOSE_WAIT, self.endpoint.wait_idle()).await;
    }
}

/// Dials one gateway address, trying the IP addresses of its name in turn.
///
/// Cut off half-way: nothing was said but a handshake.
///
/// # Errors
/// [`Unreached`], with what was wrong at the last of them.
pub(crate) async fn dial(dial: &Dial<'_>) -> Result<Dialled, Unreached> {
    let address = dial.address;
    let config = client_config(dial)?;
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|source| Unreached::NoAddress { address: address.to_owned(), source })?;
    let mut why = "its name has no address".to_owned();
    for socket in found.take(ADDRESSES_PER_NAME_MAX) {
        match shake(socket, host_of(address), config.clone()).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => why = error,
        }
    }
    Err(Unreached::NoGateway { address: address.to_owned(), why })
}

async fn shake(socket: SocketAddr, host: &str, config: ClientConfig) -> Result<Dialled, String> {
    let local: SocketAddr = match socket {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let (endpoint, nudged) = nudged::endpoint(local, socket).map_err(|error| error.to_string())?;
    let connecting = endpoint.connect_with(config, socket, host).map_err(|error| error.to_string())?;
    match tokio::time::timeout(HANDSHAKE_WAIT, connecting).await {
        Ok(Ok(connection)) => Ok(Dialled { endpoint, connection, nudged }),
        Ok(Err(error)) => Err(heard(&error.to_string())),
        Err(_) => Err(format!("no answer within {} s", HANDSHAKE_WAIT.as_secs())),
    }
}

/// `host` of `host:port`; brackets of an IPv6 address taken off.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn client_config(dial: &Dial<'_>) -> Result<ClientConfig, Unreached> {
    let here = |error: rustls::Error| Unreached::Here(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        PinnedCa { allowed: dial.transport_ca.to_vec(), algorithms: provider.signature_verification_algorithms };
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(here)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut tls = match dial.shown {
        Some(shown) => {
            let chain = shown.chain.iter().cloned().map(CertificateDer::from).collect();
            builder.with_client_auth_cert(chain, private_key(shown)).map_err(here)?
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![dial.alpn.to_vec()];
    // A resumed session would skip the fresh check of certificates on both sides.
    tls.resumption = Resumption::disabled();
    let quic = QuicClientConfig::try_from(tls).map_err(|error| Unreached::Here(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(lean()));
    Ok(config)
}

/// TARGETS.md, tuning 2 to 8. The MTU search stays below 1,452 bytes; sending in segments (GSO) is quinn's default.
fn lean() -> TransportConfig {
    let (mut transport, mut acknowledged) = (TransportConfig::default(), AckFrequencyConfig::default());
    acknowledged.ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_MAX));
    transport
        .ack_frequency_config(Some(acknowledged))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(millis(IDLE_TIMEOUT)).into()))
        .max_concurrent_bidi_streams(VarInt::from_u32(SESSIONS_IDLE))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(NewRenoConfig::default()));
    transport
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn private_key(shown: &Transport) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(shown.key.clone()).into()
}

/// Whether key and certificate of `transport` belong together.
pub(crate) fn fits(transport: &Transport) -> bool {
    let chain = transport.chain.iter().cloned().map(CertificateDer::from).collect();
    CertifiedKey::from_der(chain, private_key(transport), &rustls::crypto::ring::default_provider()).is_ok()
}

/// Believes a server whose chain leads to a CA certificate with one of these digests, as if it were the only root there is.
///
/// Its end counts and its beginning does not: a machine whose clock lost its battery must get through to say so.
#[derive(Debug)]
struct PinnedCa {
    allowed: Vec<Digest>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|certificate| self.allowed.contains(&Digest::of(certificate)));
        let ca = pinned.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let now = now.max(begin(end_entity)?);
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// When a certificate begins.
fn begin(certificate: &CertificateDer<'_>) -> Result<UnixTime, rustls::Error> {
    let begin = transport::begin(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(begin.seconds()).unwrap_or(0))))
}

/// Makes ring the process's cryptography; every binary and test calls it first.
pub fn install_crypto() {
    let _ = CryptoProvider::install_default(rustls::crypto::ring::default_provider());
}

#[cfg(test)]
pub(crate) mod tests;
