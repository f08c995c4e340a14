//! Whom the agent believes to be its gateway.

use super::*;
use belay_certs::{
    Id, Timestamp,
    transport::{ClientKey, TransportCa},
};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::server::WebPkiClientVerifier;

/// A gateway's endpoint on this machine that shows `chain` and wants a client certificate of `clients`, if any.
pub(crate) fn gateway(chain: &[Vec<u8>], key: &[u8], alpn: &[u8], clients: Option<&TransportCa>) -> Endpoint {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    gateway_on(socket, chain, key, alpn, clients)
}

/// As [`gateway`], on this socket.
pub(crate) fn gateway_on(
    socket: std::net::UdpSocket,
    chain: &[Vec<u8>],
    key: &[u8],
    alpn: &[u8],
    clients: Option<&TransportCa>,
) -> Endpoint {
    let config = Some(server_config(chain, key, alpn, clients));
    Endpoint::new(quinn::EndpointConfig::default(), config, socket, Arc::new(quinn::TokioRuntime)).unwrap()
}

fn server_config(chain: &[Vec<u8>], key: &[u8], alpn: &[u8], clients: Option<&TransportCa>) -> quinn::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let builder = match clients {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.certificate_der().to_vec().into()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let mut tls = builder.with_single_cert(chain, PrivatePkcs8KeyDer::from(key.to_vec()).into()).unwrap();
    tls.alpn_protocols = vec![alpn.to_vec()];
    quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}

/// A connection to a gateway that lets nobody open a stream, and that gateway's side of it.
pub(crate) async fn connection_without_streams() -> (Dialled, Endpoint, Connection) {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let issued = ca.issue_server("gw.example", today(), 30).unwrap();
    let mut config = server_config(&issued.chain, &issued.key_der, b"belay/1", None);
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, accepted) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await.unwrap() });
    (dialled.unwrap_or_else(|unreached| panic!("{unreached}")), endpoint, accepted)
}

fn today() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// Dials a gateway of `ca` while believing `pinned`; the gateway's own word on the handshake comes with it.
async fn dial_gateway(ca: &TransportCa, pinned: Digest, ours: &[u8], theirs: &[u8]) -> Result<(), Unreached> {
    let issued = ca.issue_server("gw.example", today(), 30).unwrap();
    let endpoint = gateway(&issued.chain, &issued.key_der, theirs, None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[pinned], alpn: ours, shown: None };
    let (dialled, _) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await });
    dialled.map(drop)
}

#[tokio::test]
async fn a_gateway_of_the_pinned_ca_is_believed_under_any_name() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    dial_gateway(&ca, ca.digest(), b"belay/1", b"belay/1").await.unwrap();
}

#[tokio::test]
async fn a_gateway_of_another_ca_hears_nothing() {
    let (ca, other) = (TransportCa::generate("gw", today()).unwrap(), TransportCa::generate("gw", today()).unwrap());
    let refused = dial_gateway(&other, ca.digest(), b"belay/1", b"belay/1").await.unwrap_err().to_string();
    assert!(refused.contains("was not reached"), "{refused}");
}

#[tokio::test]
async fn a_gateway_that_speaks_another_protocol_is_left() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    assert!(dial_gateway(&ca, ca.digest(), b"belay/1", b"belay-join/1").await.is_err());
}

#[tokio::test]
async fn a_device_certificate_of_the_same_ca_is_no_gateway() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let key = ClientKey::generate().unwrap();
    let chain = ca.issue_client(&key.csr_der().unwrap(), Id([1; 16]), today(), 30).unwrap();
    let endpoint = gateway(&chain, &key.pkcs8_der(), b"belay/1", None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, _) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await });
    assert!(dialled.is_err());
}

#[tokio::test]
async fn an_expired_gateway_certificate_is_refused() {
    let ca = TransportCa::generate("gw", today().plus(-40 * belay_certs::time::DAY)).unwrap();
    let issued = ca.issue_server("gw.example", today().plus(-31 * belay_certs::time::DAY), 30).unwrap();
    let endpoint = gateway(&issued.chain, &issued.key_der, b"belay/1", None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, _) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await });
    assert!(dialled.is_err());
}

#[test]
fn key_and_certificate_must_belong_together() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let (key, other) = (ClientKey::generate().unwrap(), ClientKey::generate().unwrap());
    let chain = ca.issue_client(&key.csr_der().unwrap(), Id([1; 16]), today(), 30).unwrap();
    assert!(fits(&Transport { key: key.pkcs8_der(), chain: chain.clone() }));
    assert!(!fits(&Transport { key: other.pkcs8_der(), chain }));
    assert!(!fits(&Transport { key: key.pkcs8_der(), chain: Vec::new() }));
}

#[test]
fn a_host_is_what_stands_before_the_port() {
    assert_eq!(host_of("gw.example:4433"), "gw.example");
    assert_eq!(host_of("[2001:db8::1]:4433"), "2001:db8::1");
    assert_eq!(host_of("127.0.0.1:4433"), "127.0.0.1");
}
