//! Dials the gateway as a device whose state is at hand, to say what no honest agent says.

use base64::{Engine, engine::general_purpose::STANDARD};
use belay_protocol::{Extensions, Facts, Hello, MINOR};
use belay_tests::World;
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, crypto::rustls::QuicClientConfig};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use serde_json::Value;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Dials the gateway, as the device whose state is given or as nobody.
pub async fn dial(world: &World, protocol: &[u8], device: Option<&str>) -> (Endpoint, Connection) {
    dial_with(world, protocol, device, TransportConfig::default()).await
}

/// The same with a transport of one's own.
pub async fn dial_with(
    world: &World,
    protocol: &[u8],
    device: Option<&str>,
    transport: TransportConfig,
) -> (Endpoint, Connection) {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(world.gateway_dir().join("keys/transport-ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match device {
        None => builder.with_no_client_auth(),
        Some(device) => {
            let kept = fs::read(world.agent_dir(device).join("transport.json")).unwrap();
            let kept: Value = serde_json::from_slice(&kept).unwrap();
            let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
            let chain = kept["chain"].as_array().unwrap().iter().map(|der| CertificateDer::from(bytes(der))).collect();
            builder.with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(bytes(&kept["key"])).into()).unwrap()
        }
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, world.quic_port()).into();
    let connection = endpoint.connect_with(config, address, "gw.example").unwrap().await.unwrap();
    (endpoint, connection)
}

/// What an agent says first.
pub fn hello() -> Hello {
    Hello {
        minor: MINOR,
        agent_version: "0.1.0".to_owned(),
        policies: Vec::new(),
        record_serial: 0,
        statement_seq: 0,
        facts: Facts { hostname: "h".into(), os: "o".into(), kernel: "k".into(), arch: "a".into() },
        extensions: Extensions::default(),
    }
}
