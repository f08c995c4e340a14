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
    let tls = server_tls(chain, key, alpn, clients);
    quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}

fn server_tls(chain: &[Vec<u8>], key: &[u8], alpn: &[u8], clients: Option<&TransportCa>) -> rustls::ServerConfig {
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
    tls
}

/// A connection to a gateway that lets nobody open a stream, and that gateway's side of it.
pub(crate) async fn connection_without_streams() -> (Dialled, Endpoint, Connection) {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let issued = ca.issue_server("gw.example", today(), 30 * belay_certs::time::DAY).unwrap();
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
    let issued = ca.issue_server("gw.example", today(), 30 * belay_certs::time::DAY).unwrap();
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
async fn a_gateway_is_asked_to_acknowledge_what_belongs_together_at_once() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let issued = ca.issue_server("gw.example", today(), 30 * belay_certs::time::DAY).unwrap();
    let endpoint = gateway(&issued.chain, &issued.key_der, b"belay/1", None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, accepted) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await.unwrap() });
    let dialled = dialled.unwrap_or_else(|unreached| panic!("{unreached}"));
    let (mut send, _recv) = dialled.connection.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let (_send, mut recv) = accepted.accept_bi().await.unwrap();
    recv.read_exact(&mut [0]).await.unwrap();
    assert_eq!(accepted.stats().frame_rx.ack_frequency, 1);
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
    let chain = ca.issue_client(&key.csr_der().unwrap(), Id([1; 16]), today(), 30 * belay_certs::time::DAY).unwrap();
    let endpoint = gateway(&chain, &key.pkcs8_der(), b"belay/1", None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, _) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await });
    assert!(dialled.is_err());
}

#[tokio::test]
async fn an_expired_gateway_certificate_is_refused() {
    let ca = TransportCa::generate("gw", today().plus(-40 * belay_certs::time::DAY)).unwrap();
    let issued =
        ca.issue_server("gw.example", today().plus(-31 * belay_certs::time::DAY), 30 * belay_certs::time::DAY).unwrap();
    let endpoint = gateway(&issued.chain, &issued.key_der, b"belay/1", None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, _) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await });
    assert!(dialled.is_err());
}

#[tokio::test]
async fn a_gateway_whose_certificate_begins_after_our_clock_is_believed_for_the_clock_may_be_wrong() {
    let later = today().plus(400 * belay_certs::time::DAY);
    let ca = TransportCa::generate("gw", later).unwrap();
    let issued = ca.issue_server("gw.example", later, 30 * belay_certs::time::DAY).unwrap();
    let endpoint = gateway(&issued.chain, &issued.key_der, b"belay/1", None);
    let address = endpoint.local_addr().unwrap().to_string();
    let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
    let (dialled, _) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await });
    dialled.unwrap_or_else(|unreached| panic!("{unreached}"));
}

#[tokio::test]
async fn a_gateway_whose_ca_the_pinned_one_certified_is_believed() {
    let old = TransportCa::generate("gw", today()).unwrap();
    let new = old.next("gw", today()).unwrap();
    for pinned in [old.digest(), new.digest()] {
        dial_gateway(&new, pinned, b"belay/1", b"belay/1").await.unwrap();
    }
    let retired = new.retired().unwrap();
    dial_gateway(&retired, new.digest(), b"belay/1", b"belay/1").await.unwrap();
    assert!(dial_gateway(&retired, old.digest(), b"belay/1", b"belay/1").await.is_err());
}

/// Gives tickets that can be told from others, and counts those that come back.
#[derive(Debug, Default)]
struct Ticketer {
    given: std::sync::atomic::AtomicUsize,
    back: std::sync::atomic::AtomicUsize,
}

impl rustls::server::ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3_600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.given.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(plain.to_vec())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.back.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(cipher.to_vec())
    }
}

#[tokio::test]
async fn an_agent_never_resumes_a_session_whatever_the_gateway_offers() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let issued = ca.issue_server("gw.example", today(), belay_certs::time::DAY).unwrap();
    let mut tls = server_tls(&issued.chain, &issued.key_der, b"belay/1", None);
    let ticketer = Arc::new(Ticketer::default());
    tls.ticketer = ticketer.clone();
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    for _ in 0..3 {
        let with = Dial { address: &address, transport_ca: &[ca.digest()], alpn: b"belay/1", shown: None };
        let (dialled, accepted) = tokio::join!(dial(&with), async { endpoint.accept().await.unwrap().await.unwrap() });
        let dialled = dialled.unwrap_or_else(|unreached| panic!("{unreached}"));
        // What the gateway says after its tickets has arrived: so have they.
        let (mut send, _recv) = accepted.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        dialled.connection.accept_bi().await.unwrap();
        dialled.close(belay_protocol::CloseCode::Finished).await;
    }
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert!(count(&ticketer.given) >= 3, "no tickets were offered, so nothing is shown");
    assert_eq!(count(&ticketer.back), 0);
}

#[test]
fn key_and_certificate_must_belong_together() {
    let ca = TransportCa::generate("gw", today()).unwrap();
    let (key, other) = (ClientKey::generate().unwrap(), ClientKey::generate().unwrap());
    let chain = ca.issue_client(&key.csr_der().unwrap(), Id([1; 16]), today(), 30 * belay_certs::time::DAY).unwrap();
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
