//! QUIC and frames for whoever stands in for a gateway: what the real one does, without its care.

use belay_protocol::{FrameReader, Phase, RawFrame};
use quinn::{
    Endpoint, EndpointConfig, RecvStream, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{net::Ipv4Addr, sync::Arc};

/// An endpoint on a loopback port (0: a free one) that shows `chain` and speaks `protocols`. Call it inside a runtime.
pub fn listen(port: u16, chain: &[Vec<u8>], key: Vec<u8>, protocols: &[&[u8]]) -> Endpoint {
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    // Small: when nothing is read, whoever speaks feels it soon.
    transport.stream_receive_window(VarInt::from_u32(32 << 10));
    server.transport_config(Arc::new(transport));
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime)).unwrap()
}

/// The frames of one stream.
pub struct Frames<P> {
    stream: RecvStream,
    reader: FrameReader<P>,
    /// Bytes that are in no frame yet.
    arrived: Vec<u8>,
}

impl<P: Phase> Frames<P> {
    /// Reads from the phase given.
    pub fn new(stream: RecvStream, phase: P) -> Self {
        Self { stream, reader: FrameReader::new(phase), arrived: Vec::new() }
    }

    /// The next frame; none at the end of the stream or of the connection.
    pub async fn next(&mut self) -> Option<RawFrame> {
        loop {
            let mut rest = self.arrived.as_slice();
            let frame = self.reader.push(&mut rest).unwrap();
            self.arrived = rest.to_vec();
            if frame.is_some() {
                return frame;
            }
            self.arrived.extend_from_slice(&self.stream.read_chunk(usize::MAX, true).await.ok()??.bytes);
        }
    }
}
